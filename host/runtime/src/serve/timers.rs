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
    /// The request took too long to arrive (`request_timeout`).
    Request,
    /// The stream took too long (`max_stream_duration`).
    Stream,
    /// The upstream took too long (`timeout` of the route).
    Route,
}

/// Far enough for a timer that is off.
const NEVER: Duration = Duration::from_secs(365 * 86_400);

/// Deadlines; `None` is off.
pub(super) struct Timers {
    idle_time: Option<Duration>,
    idle: Option<Instant>,
    request: Option<Instant>,
    stream: Option<Instant>,
    route: Option<Instant>,
    sleep: Pin<Box<Sleep>>,
}

impl Timers {
    /// A stream that begins now.
    pub fn start(settings: &Settings) -> Self {
        let now = Instant::now();
        let after = |time: Option<Duration>| time.map(|time| now + time);
        let mut timers = Self {
            idle_time: settings.stream_idle,
            idle: after(settings.stream_idle),
            request: after(settings.request),
            stream: after(settings.stream),
            route: None,
            sleep: Box::pin(sleep_until(now + NEVER)),
        };
        if let Some((_, due)) = timers.earliest() {
            timers.sleep.as_mut().reset(due);
        }
        timers
    }

    /// Something has moved.
    pub fn moved(&mut self) {
        self.idle = self.idle_time.map(|time| Instant::now() + time);
    }

    /// The request has come whole.
    pub fn request_came(&mut self) {
        self.request = None;
    }

    /// The upstream has this long from now.
    pub fn route(&mut self, time: Option<Duration>) {
        self.route = time.map(|time| Instant::now() + time);
        if let Some(due) = self.route.filter(|due| *due < self.sleep.deadline()) {
            self.sleep.as_mut().reset(due);
        }
    }

    /// The answer has come whole.
    pub fn answer_came(&mut self) {
        self.route = None;
    }

    /// The first that runs out.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Timer> {
        loop {
            ready!(self.sleep.as_mut().poll(cx));
            let now = Instant::now();
            match self.earliest() {
                Some((timer, due)) if due <= now => return Poll::Ready(timer),
                Some((_, due)) => self.sleep.as_mut().reset(due),
                None => self.sleep.as_mut().reset(now + NEVER),
            }
        }
    }

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

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn settings() -> Settings {
        Settings {
            idle: None,
            stream_idle: Some(SECOND * 3),
            request: Some(SECOND * 4),
            request_headers: None,
            stream: Some(SECOND * 10),
        }
    }

    /// The tests run on a clock that jumps to the next timer.
    fn run(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(test);
    }

    #[test]
    fn a_stream_on_which_nothing_moves_is_idle() {
        run(async {
            let (start, mut timers) = (Instant::now(), Timers::start(&settings()));
            tokio::time::advance(SECOND * 2).await;
            timers.moved();
            timers.request_came();
            assert_eq!(poll_fn(|cx| timers.poll(cx)).await, Timer::Idle);
            assert!(start.elapsed() >= SECOND * 5);
        });
    }

    #[test]
    fn a_stream_that_moves_still_ends() {
        run(async {
            let mut timers = Timers::start(&settings());
            for _ in 0..9 {
                tokio::time::advance(SECOND).await;
                timers.moved();
            }
            timers.request_came();
            assert_eq!(poll_fn(|cx| timers.poll(cx)).await, Timer::Stream);
        });
    }

    #[test]
    fn an_upstream_has_the_time_of_its_route() {
        run(async {
            let (start, mut timers) = (Instant::now(), Timers::start(&settings()));
            timers.route(Some(SECOND));
            assert_eq!(poll_fn(|cx| timers.poll(cx)).await, Timer::Route);
            assert!(start.elapsed() < SECOND * 2);
            timers.answer_came();
            assert_eq!(poll_fn(|cx| timers.poll(cx)).await, Timer::Idle);
        });
    }
}
