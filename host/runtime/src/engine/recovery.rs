//! What to do with requests after a machine has trapped (`failure_policy`).
//!
//! Sans I/O: `now` and chance are arguments, starting a new machine is the caller's.
//!
//! Envoy's rules: the interval counts from the last start, the first one too, and is drawn
//! anew at each request, up to half as long again. It does not grow with failures: Envoy
//! reads `max_interval` and does nothing with it.
//!
//! Invariant: nothing passes without its filter unless the policy is `FailOpen`, and a
//! machine that traps at once on each start is started at most once in an interval.

use std::time::Duration;

/// Envoy's failure policies of a plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailurePolicy {
    /// Every later request is refused.
    FailClosed,
    /// Every later request passes by.
    FailOpen,
    /// The next request starts a new machine, then at most one in an interval.
    FailReload {
        /// `reload_config.backoff.base_interval`; Envoy's default is 1 s.
        backoff: Duration,
    },
}

/// What to do with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The machine is alive.
    Run,
    /// Start a new machine, tell [`Recovery::reloaded`] or [`Recovery::trapped`], then run.
    Reload,
    /// Answer 503 (`wasm_fail_stream`).
    Refuse,
    /// Leave this filter out.
    Bypass,
}

/// State of one plugin on one worker; times count from any fixed moment.
#[derive(Debug, Clone)]
pub struct Recovery {
    policy: FailurePolicy,
    alive: bool,
    last_start: Duration,
}

impl Recovery {
    /// A machine that was started at the moment from which time counts.
    pub fn new(policy: FailurePolicy) -> Self {
        Self::started(policy, Duration::ZERO)
    }

    /// A machine that was started at `now`.
    pub fn started(policy: FailurePolicy, now: Duration) -> Self {
        Self { policy, alive: true, last_start: now }
    }

    /// The machine is dead, or a new one could not be started.
    pub fn trapped(&mut self) {
        self.alive = false;
    }

    /// What to do with a request at `now`; `chance` is any number, drawn evenly. `Reload`
    /// counts as the attempt, so it comes once in an interval even if starting fails.
    pub fn verdict(&mut self, now: Duration, chance: u32) -> Verdict {
        if self.alive {
            return Verdict::Run;
        }
        match self.policy {
            FailurePolicy::FailClosed => Verdict::Refuse,
            FailurePolicy::FailOpen => Verdict::Bypass,
            FailurePolicy::FailReload { backoff } => {
                let more = (backoff / 2).mul_f64(f64::from(chance) / f64::from(u32::MAX));
                if now.saturating_sub(self.last_start) < backoff.saturating_add(more) {
                    return Verdict::Refuse;
                }
                self.last_start = now;
                Verdict::Reload
            }
        }
    }

    /// The new machine is up.
    pub fn reloaded(&mut self) {
        self.alive = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_machine_starts_again_once_the_interval_since_its_last_start_is_over() {
        let mut it = Recovery::new(FailurePolicy::FailReload { backoff: SECOND });
        assert_eq!(it.verdict(SECOND / 2, 0), Verdict::Run);
        it.trapped();
        assert_eq!(it.verdict(SECOND / 2, 0), Verdict::Refuse);
        assert_eq!(it.verdict(SECOND, 0), Verdict::Reload);
        it.reloaded();
        assert_eq!(it.verdict(SECOND, 0), Verdict::Run);
        it.trapped();
        assert_eq!(it.verdict(SECOND + SECOND / 2, 0), Verdict::Refuse);
        assert_eq!(it.verdict(SECOND * 3, 0), Verdict::Reload);
    }

    #[test]
    fn chance_makes_the_interval_up_to_half_as_long_again() {
        for (chance, most) in [(0, 1000), (u32::MAX / 2, 1250), (u32::MAX, 1500)] {
            let policy = FailurePolicy::FailReload { backoff: SECOND };
            let mut it = Recovery::started(policy, SECOND);
            it.trapped();
            let at = |milliseconds| SECOND + Duration::from_millis(milliseconds);
            assert_eq!(it.verdict(at(most - 1), chance), Verdict::Refuse, "{chance}");
            assert_eq!(it.verdict(at(most), chance), Verdict::Reload, "{chance}");
        }
    }

    #[test]
    fn a_reload_that_fails_is_not_tried_again_within_the_interval() {
        let mut it = Recovery::new(FailurePolicy::FailReload { backoff: SECOND });
        it.trapped();
        assert_eq!(it.verdict(SECOND, 0), Verdict::Reload);
        it.trapped();
        assert_eq!(it.verdict(SECOND, 0), Verdict::Refuse);
    }

    #[test]
    fn closed_refuses_and_open_passes_by_for_ever() {
        for (policy, want) in [
            (FailurePolicy::FailClosed, Verdict::Refuse),
            (FailurePolicy::FailOpen, Verdict::Bypass),
        ] {
            let mut it = Recovery::new(policy);
            it.trapped();
            assert_eq!(it.verdict(SECOND * 3600, 0), want);
        }
    }
}
