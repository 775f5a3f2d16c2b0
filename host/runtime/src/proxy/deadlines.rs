//! When the timers of one stream run out, on whatever clock is asked for.
//!
//! Invariant: a stream that waits for anything is ended by one of these, as the file says;
//! nothing here reads a clock, so that sockets and virtual time follow the same rules.

use std::ops::Add;
use std::time::Duration;

use super::failure::Failure;
use crate::config::Timers;

/// What ran out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timer {
    /// Nothing has moved (`stream_idle_timeout`).
    Idle,
    /// The request took too long to arrive and pass the filters (`request_timeout`).
    Request,
    /// The stream took too long (`max_stream_duration`).
    Stream,
    /// The upstream took too long (`timeout` of the route).
    Route,
}

impl Timer {
    /// What is said then; `whole` if the request had come whole.
    pub fn failure(self, whole: bool) -> Failure {
        match self {
            Self::Idle => Failure::StreamIdle { whole },
            Self::Request => Failure::RequestTimeout { whole },
            Self::Stream => Failure::MaxDuration { whole },
            Self::Route => Failure::Timeout,
        }
    }
}

/// When each runs out; `None` is off. `T` is a point in time.
#[derive(Debug, Clone, Copy)]
pub struct Deadlines<T> {
    idle_time: Option<Duration>,
    idle: Option<T>,
    request: Option<T>,
    stream: Option<T>,
    route: Option<T>,
}

impl<T: Copy + Ord + Add<Duration, Output = T>> Deadlines<T> {
    /// A stream that begins now.
    pub fn start(settings: &Timers, now: T) -> Self {
        let after = |time: Option<Duration>| time.map(|time| now + time);
        Self {
            idle_time: settings.stream_idle,
            idle: after(settings.stream_idle),
            request: after(settings.request),
            stream: after(settings.stream),
            route: None,
        }
    }

    /// Something has moved.
    pub fn moved(&mut self, now: T) {
        self.idle = self.idle_time.map(|time| now + time);
    }

    /// The request has left the filters whole, or is being answered.
    pub fn request_left(&mut self) {
        self.request = None;
    }

    /// The upstream has this long from now; when that is over.
    pub fn route(&mut self, time: Option<Duration>, now: T) -> Option<T> {
        self.route = time.map(|time| now + time);
        self.route
    }

    /// The answer has come whole.
    pub fn answer_came(&mut self) {
        self.route = None;
    }

    /// The one that has run out first by now. It starts anew or ends: filters may take their
    /// time with what is answered then. Nothing outlives `max_stream_duration`.
    pub fn take(&mut self, now: T) -> Option<Timer> {
        let (timer, _) = self.earliest().filter(|(_, due)| *due <= now)?;
        match timer {
            Timer::Idle => self.moved(now),
            Timer::Request => self.request = None,
            Timer::Route => self.route = None,
            Timer::Stream => {}
        }
        Some(timer)
    }

    /// The one that runs out first.
    pub fn earliest(&self) -> Option<(Timer, T)> {
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
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn deadlines(now: Duration) -> Deadlines<Duration> {
        let settings = Timers {
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
        let now = SECOND;
        let mut deadlines = deadlines(now);
        assert_eq!(deadlines.earliest(), Some((Timer::Idle, now + SECOND * 3)));
        deadlines.moved(now + SECOND * 2);
        assert_eq!(deadlines.earliest(), Some((Timer::Request, now + SECOND * 4)));
        deadlines.request_left();
        assert_eq!(deadlines.earliest(), Some((Timer::Idle, now + SECOND * 5)));
    }

    #[test]
    fn a_stream_that_moves_still_ends() {
        let now = SECOND;
        let mut deadlines = deadlines(now);
        deadlines.request_left();
        deadlines.moved(now + SECOND * 9);
        assert_eq!(deadlines.earliest(), Some((Timer::Stream, now + SECOND * 10)));
    }

    #[test]
    fn a_reply_to_a_timer_that_ran_out_has_time_to_pass_the_filters() {
        let now = SECOND;
        let mut deadlines = deadlines(now);
        deadlines.route(Some(SECOND), now);
        assert_eq!(deadlines.take(now + SECOND), Some(Timer::Route));
        assert_eq!(deadlines.earliest(), Some((Timer::Idle, now + SECOND * 3)));
        assert_eq!(deadlines.take(now + SECOND * 3), Some(Timer::Idle));
        assert_eq!(deadlines.earliest(), Some((Timer::Request, now + SECOND * 4)));
        assert_eq!(deadlines.take(now + SECOND * 4), Some(Timer::Request));
        assert_eq!(deadlines.earliest(), Some((Timer::Idle, now + SECOND * 6)));
        deadlines.moved(now + SECOND * 9);
        assert_eq!(deadlines.take(now + SECOND * 10), Some(Timer::Stream));
        assert_eq!(deadlines.earliest(), Some((Timer::Stream, now + SECOND * 10)));
    }

    #[test]
    fn an_upstream_has_the_time_of_its_route() {
        let now = SECOND;
        let mut deadlines = deadlines(now);
        deadlines.route(Some(SECOND), now);
        assert_eq!(deadlines.earliest(), Some((Timer::Route, now + SECOND)));
    }
}
