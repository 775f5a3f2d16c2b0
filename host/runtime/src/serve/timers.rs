//! The timers of one stream, on one clock.
//!
//! Invariant: a stream that waits for anything is ended by one of these, as the file says;
//! moving a deadline later costs nothing until the old one has come.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use crate::config::Timers as Settings;
use crate::proxy::deadlines::Deadlines;
pub(super) use crate::proxy::deadlines::Timer;

/// Far enough for a timer that is off.
const NEVER: Duration = Duration::from_secs(365 * 86_400);

/// The timers of a stream that runs.
pub(super) struct Timers {
    deadlines: Deadlines<Instant>,
    sleep: Pin<Box<Sleep>>,
}

impl Timers {
    /// A stream that begins now.
    pub fn start(settings: &Settings) -> Self {
        let now = Instant::now();
        let deadlines = Deadlines::start(settings, now);
        let first = deadlines.earliest().map_or(now + NEVER, |(_, due)| due);
        Self { deadlines, sleep: Box::pin(sleep_until(first)) }
    }

    /// Something has moved.
    pub fn moved(&mut self) {
        self.deadlines.moved(Instant::now());
    }

    /// The request has left the filters whole, or is being answered.
    pub fn request_left(&mut self) {
        self.deadlines.request_left();
    }

    /// The upstream has this long from now.
    pub fn route(&mut self, time: Option<Duration>) {
        let due = self.deadlines.route(time, Instant::now());
        if let Some(due) = due.filter(|due| *due < self.sleep.deadline()) {
            self.sleep.as_mut().reset(due);
        }
    }

    /// The answer has come whole.
    pub fn answer_came(&mut self) {
        self.deadlines.answer_came();
    }

    /// The first that runs out.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Timer> {
        loop {
            ready!(self.sleep.as_mut().poll(cx));
            let now = Instant::now();
            if let Some(timer) = self.deadlines.take(now) {
                return Poll::Ready(timer);
            }
            let next = self.deadlines.earliest().map_or(now + NEVER, |(_, due)| due);
            self.sleep.as_mut().reset(next);
        }
    }
}
