//! The deadline of a callback, so that a loop is a trap and a busy machine is not.
//!
//! Half of the time passes on the wall clock and costs nothing. A callback that still runs
//! then is looked at on every tick: it ends when its thread has computed for the other
//! half. A thread that waits for a processor is not at fault.
//!
//! Invariant: no callback outlives ten times its deadline, whatever the system says about
//! its processor time.

use std::time::{Duration, Instant};

use wasmtime::{Store, UpdateDeadline};

use super::host::Host;
use super::machine::ticks;

/// Halves of a deadline after which it has passed, computing or not.
const MOST_HALVES: u32 = 20;

/// The deadline of the callback that runs.
#[derive(Debug, Default)]
pub(super) struct Deadline {
    half: Duration,
    /// When the first half was over: on the wall, and in this thread's processor time.
    first_half: Option<(Instant, Option<Duration>)>,
}

impl Deadline {
    fn passed(&mut self) -> bool {
        let now = processor_time();
        let (wall, processor) = *self.first_half.get_or_insert_with(|| (Instant::now(), now));
        let waited = wall.elapsed();
        let computed = match (now, processor) {
            (Some(now), Some(before)) => now.saturating_sub(before),
            _ => waited,
        };
        computed >= self.half || waited >= self.half.saturating_mul(MOST_HALVES)
    }
}

/// Once for each store.
pub(super) fn install(store: &mut Store<Host>) {
    store.epoch_deadline_callback(|mut context| {
        let passed = context.data_mut().deadline.passed();
        Ok(if passed { UpdateDeadline::Interrupt } else { UpdateDeadline::Continue(1) })
    });
}

/// Before each callback.
pub(super) fn set(store: &mut Store<Host>, deadline: Duration) {
    let half = deadline / 2;
    store.data_mut().deadline = Deadline { half, first_half: None };
    store.set_epoch_deadline(ticks(half));
}

/// Processor time of this thread: the first number of its `schedstat`, in nanoseconds.
/// A file, since the clock has no safe call in the standard library; it is read only for
/// callbacks that are late. `None` where there is no such file: the wall clock then counts.
fn processor_time() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split(' ').next()?.parse().ok().map(Duration::from_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_waits_has_not_used_its_time() {
        let mut deadline = Deadline { half: Duration::from_secs(3600), first_half: None };
        assert!(!deadline.passed());
        assert!(!deadline.passed());
    }

    #[test]
    fn a_thread_that_computes_runs_out_of_it() {
        let mut deadline = Deadline { half: Duration::from_millis(10), first_half: None };
        let start = Instant::now();
        while !deadline.passed() {
            assert!(start.elapsed() < Duration::from_secs(20));
        }
    }
}
