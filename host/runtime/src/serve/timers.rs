//! The timers of one stream, on one clock.
//!
//! Invariant: a stream that waits for anything is ended by one of these, as the file says;
//! moving a deadline later costs nothing until the old one has come.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use crate::config::Timers as Settings;

/// What ran out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Timer {
    /// Nothing has moved (`stream_idle_timeout`).
    Idle,
    /// The request took too long to arrive and pass the filters (`request_timeout`).
    Request,
    /// The stream took too long (`max_stream_duration`).
    Stream,
    /// The upstream took too long (`timeout` of the route).
    Route,
}

/// When each runs out; `None` is off.
#[derive(Debug, Clone, Copy)]
struct Deadlines {
    idle_time: Option<Duration>,
    idle: Option<Instant>,
    request: Option<Instant>,
    stream: Option<Instant>,
    route: Option<Instant>,
}

impl Deadlines {
    fn start(settings: &Settings, now: Instant) -> Self {
        let after = |time: Option<Duration>| time.map(|time| now + time);
        Self {
            idle_time: settings.stream_idle,
            idle: after(settings.stream_idle),
            request: after(settings.request),
            stream: after(settings.stream),
            route: None,
        }
    }

    fn moved(&mut self, now: Instant) {
        self.idle = self.idle_time.map(|time| now + time);
    }

    /// One has run out, and starts anew or ends: filters may take their time with what is
    /// answered then. Nothing outlives `max_stream_duration`.
    fn fired(&mut self, timer: Timer, now: Instant) {
        match timer {
            Timer::Idle => self.moved(now),
            Timer::Request => self.request = None,
            Timer::Route => self.route = None,
            Timer::Stream => {}
        }
    }

    /// The one that runs out first.
    fn earliest(&self) -> Option<(Timer, Instant)> {
        let all = [
            (Timer::Route, self.route),
            (Timer::Request, self.request),
            (Timer::Stream, self.stream),
            (Timer::Idle, self.idle),
        ];
        let on = all.into_iter().filter_map(|(timer, due)| Some((timer, due?)));
        on.min_by_key(|(_, due)| *due)
    }
}

/// Far enough for a timer that is off.
const NEVER: Duration = Duration::from_secs(365 * 86_400);

/// The timers of a stream that runs.
pub(super) struct Timers {
    deadlines: Deadlines,
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
        self.deadlines.request = None;
    }

    /// The upstream has this long from now.
    pub fn route(&mut self, time: Option<Duration>) {
        self.deadlines.route = time.map(|time| Instant::now() + time);
        if let Some(due) = self.deadlines.route.filter(|due| *due < self.sleep.deadline()) {
            self.sleep.as_mut().reset(due);
        }
    }

    /// The answer has come whole.
    pub fn answer_came(&mut self) {
        self.deadlines.route = None;
    }

    /// The first that runs out.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Timer> {
        loop {
            ready!(self.sleep.as_mut().poll(cx));
            let now = Instant::now();
            match self.deadlines.earliest() {
                Some((timer, due)) if due <= now => {
                    self.deadlines.fired(timer, now);
                    return Poll::Ready(timer);
                }
                Some((_, due)) => self.sleep.as_mut().reset(due),
                None => self.sleep.as_mut().reset(now + NEVER),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn deadlines(now: Instant) -> Deadlines {
        let settings = Settings {
            idle: None,
            stream_idle: Some(SECOND * 3),
            request: Some(SECOND * 4),
            request_headers: None,
            stream: Some(SECOND * 10),
        };
        Deadlines::start(&settings, now)
    }

    #[test]
    fn a_stream_on_which_nothing_moves_is_idle() {
        let now = Instant::now();
        let mut deadlines = deadlines(now);
        assert_eq!(deadlines.earliest(), Some((Timer::Idle, now + SECOND * 3)));
        deadlines.moved(now + SECOND * 2);
        assert_eq!(deadlines.earliest(), Some((Timer::Request, now + SECOND * 4)));
        deadlines.request = None;
        assert_eq!(deadlines.earliest(), Some((Timer::Idle, now + SECOND * 5)));
    }

    #[test]
    fn a_stream_that_moves_still_ends() {
        let now = Instant::now();
        let mut deadlines = deadlines(now);
        deadlines.request = None;
        deadlines.moved(now + SECOND * 9);
        assert_eq!(deadlines.earliest(), Some((Timer::Stream, now + SECOND * 10)));
    }

    #[test]
    fn a_reply_to_a_timer_that_ran_out_has_time_to_pass_the_filters() {
        let now = Instant::now();
        let mut deadlines = deadlines(now);
        deadlines.route = Some(now + SECOND);
        deadlines.fired(Timer::Route, now + SECOND);
        assert_eq!(deadlines.earliest(), Some((Timer::Idle, now + SECOND * 3)));
        deadlines.fired(Timer::Idle, now + SECOND * 3);
        assert_eq!(deadlines.earliest(), Some((Timer::Request, now + SECOND * 4)));
        deadlines.fired(Timer::Request, now + SECOND * 4);
        assert_eq!(deadlines.earliest(), Some((Timer::Idle, now + SECOND * 6)));
        deadlines.moved(now + SECOND * 9);
        deadlines.fired(Timer::Stream, now + SECOND * 10);
        assert_eq!(deadlines.earliest(), Some((Timer::Stream, now + SECOND * 10)));
    }

    #[test]
    fn an_upstream_has_the_time_of_its_route() {
        let now = Instant::now();
        let mut deadlines = deadlines(now);
        deadlines.route = Some(now + SECOND);
        assert_eq!(deadlines.earliest(), Some((Timer::Route, now + SECOND)));
    }
}
