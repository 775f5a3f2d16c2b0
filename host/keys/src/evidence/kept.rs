//! What was made for the epoch's runtime data, kept between questions.
//!
//! Invariant: nothing is made with the lock held; one makes at a time, and whoever asks
//! meanwhile has the old one or waits a bounded time; after a failure nothing is tried again
//! for [`FAILED_MS`].

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use postern_core::redacted::Redacted;
use postern_core::time::UnixMillis;

use crate::fault::Fault;

/// How long a report and its token are used; gateways take tokens of an hour.
const FRESH_MS: u64 = 30 * 60 * 1000;
/// From this age on upkeep makes new ones, so that nobody has to wait for them.
const RENEW_MS: u64 = 25 * 60 * 1000;
/// How long a failure is the answer.
const FAILED_MS: u64 = 30 * 1000;
/// Longest wait for what another makes.
const PATIENCE: Duration = Duration::from_secs(4);

type Hash = [u8; 32];

/// What was made for one runtime data.
struct Made {
    runtime: Hash,
    at: UnixMillis,
    members: String,
}

struct Failed {
    runtime: Hash,
    at: UnixMillis,
    fault: Fault,
}

#[derive(Default)]
struct State {
    latest: Option<Made>,
    failed: Option<Failed>,
    making: bool,
}

impl State {
    fn made(&self, runtime: &Hash) -> Option<&Made> {
        self.latest.as_ref().filter(|made| made.runtime == *runtime)
    }

    fn failed(&self, runtime: &Hash, now: UnixMillis) -> Option<&Fault> {
        let failed = self.failed.as_ref().filter(|failed| failed.runtime == *runtime)?;
        (now.0.abs_diff(failed.at.0) < FAILED_MS).then_some(&failed.fault)
    }

    /// Whether there is something of this runtime data that is younger than `age`.
    fn is_younger(&self, runtime: &Hash, age: u64, now: UnixMillis) -> bool {
        self.made(runtime).is_some_and(|made| now.0.abs_diff(made.at.0) < age)
    }
}

/// The members of the document, by runtime data.
#[derive(Default)]
pub(super) struct Kept {
    state: Mutex<State>,
    changed: Condvar,
}

impl Kept {
    /// The members for `runtime`: fresh ones, or what `make` gives, or, when that cannot be
    /// had now, old ones until gateways find them too old.
    pub(super) fn get(
        &self,
        runtime: Hash,
        now: UnixMillis,
        make: impl FnOnce() -> Result<String, Fault>,
    ) -> Result<String, Fault> {
        match self.look(&runtime, now) {
            Some(answer) => answer,
            None => self.make(runtime, now, make),
        }
    }

    /// Makes new members when those for `runtime` are missing or will soon be old.
    pub(super) fn renew(
        &self,
        runtime: Hash,
        now: UnixMillis,
        make: impl FnOnce() -> Result<String, Fault>,
    ) -> Result<(), Fault> {
        let mut state = self.lock();
        let tried = state.making || state.failed(&runtime, now).is_some();
        if tried || state.is_younger(&runtime, RENEW_MS, now) {
            return Ok(());
        }
        state.making = true;
        drop(state);
        self.make(runtime, now, make).map(|_| ())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer; `None` makes the caller the one that makes it.
    fn look(&self, runtime: &Hash, now: UnixMillis) -> Option<Result<String, Fault>> {
        let end = Instant::now() + PATIENCE;
        let mut state = self.lock();
        loop {
            let failed = state.failed(runtime, now);
            let settled =
                state.making || failed.is_some() || state.is_younger(runtime, FRESH_MS, now);
            if let Some(made) = state.made(runtime).filter(|_| settled) {
                return Some(Ok(made.members.clone()));
            }
            if let Some(fault) = failed {
                return Some(Err(fault.clone()));
            }
            if !state.making {
                state.making = true;
                return None;
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Some(Err(Fault::Attestation(Redacted::new("evidence is being made"))));
            }
            let woken = self.changed.wait_timeout(state, left);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// As the one maker: the network is asked without the lock.
    fn make(
        &self,
        runtime: Hash,
        now: UnixMillis,
        make: impl FnOnce() -> Result<String, Fault>,
    ) -> Result<String, Fault> {
        let turn = Turn(self);
        let made = make();
        let mut state = self.lock();
        let answer = match made {
            Ok(members) => {
                state.latest = Some(Made { runtime, at: now, members: members.clone() });
                state.failed = None;
                Ok(members)
            }
            Err(fault) => {
                tracing::warn!(%fault, "no new evidence");
                state.failed = Some(Failed { runtime, at: now, fault: fault.clone() });
                state.made(&runtime).map(|old| old.members.clone()).ok_or(fault)
            }
        };
        drop(state);
        drop(turn);
        answer
    }
}

/// The turn of the one maker. It ends whatever happens.
struct Turn<'a>(&'a Kept);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.lock().making = false;
        self.0.changed.notify_all();
    }
}
