//! What to do with requests after a machine has trapped (`failure_policy`).
//!
//! Sans I/O: `now` is an argument, starting a new machine is the caller's.
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
        /// `reload_config.backoff.base_interval`; Envoy's default is 1 s. Without Envoy's
        /// jitter of up to a quarter more.
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
    last_reload: Option<Duration>,
}

impl Recovery {
    /// A machine that has just been started.
    pub fn new(policy: FailurePolicy) -> Self {
        Self { policy, alive: true, last_reload: None }
    }

    /// The machine is dead, or a new one could not be started.
    pub fn trapped(&mut self) {
        self.alive = false;
    }

    /// What to do with a request at `now`. `Reload` counts as the attempt, so it comes once
    /// in an interval even if starting fails.
    pub fn verdict(&mut self, now: Duration) -> Verdict {
        if self.alive {
            return Verdict::Run;
        }
        match self.policy {
            FailurePolicy::FailClosed => Verdict::Refuse,
            FailurePolicy::FailOpen => Verdict::Bypass,
            FailurePolicy::FailReload { backoff } => {
                let waiting =
                    self.last_reload.is_some_and(|last| now.saturating_sub(last) < backoff);
                if waiting {
                    return Verdict::Refuse;
                }
                self.last_reload = Some(now);
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
    fn first_trap_reloads_at_once_and_a_second_within_the_interval_waits() {
        let mut it = Recovery::new(FailurePolicy::FailReload { backoff: SECOND });
        assert_eq!(it.verdict(SECOND), Verdict::Run);
        it.trapped();
        assert_eq!(it.verdict(SECOND), Verdict::Reload);
        it.reloaded();
        assert_eq!(it.verdict(SECOND), Verdict::Run);
        it.trapped();
        assert_eq!(it.verdict(SECOND + SECOND / 2), Verdict::Refuse);
        assert_eq!(it.verdict(SECOND * 2), Verdict::Reload);
    }

    #[test]
    fn a_reload_that_fails_is_not_tried_again_within_the_interval() {
        let mut it = Recovery::new(FailurePolicy::FailReload { backoff: SECOND });
        it.trapped();
        assert_eq!(it.verdict(SECOND), Verdict::Reload);
        it.trapped();
        assert_eq!(it.verdict(SECOND), Verdict::Refuse);
    }

    #[test]
    fn closed_refuses_and_open_passes_by_for_ever() {
        for (policy, want) in [
            (FailurePolicy::FailClosed, Verdict::Refuse),
            (FailurePolicy::FailOpen, Verdict::Bypass),
        ] {
            let mut it = Recovery::new(policy);
            it.trapped();
            assert_eq!(it.verdict(SECOND * 3600), want);
        }
    }
}
