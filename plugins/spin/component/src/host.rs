//! Time, randomness and waiting, as a component gets them.
//!
//! Owns the only clock and the only source of randomness. Invariant: what is missing is
//! `None`, never a default.

use std::pin::pin;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::future::{Either, select};
use postern_core::config::ConfigError;
use postern_core::redacted::Redacted;
use postern_core::time::{Entropy, Moment, UnixMillis};
use spin_sdk::wasip3::clocks::monotonic_clock;

/// The host's clock. A clock before 1970 reads 0, at which every permit has expired.
#[expect(clippy::disallowed_methods, reason = "this is where time comes from")]
pub fn now() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Random bytes.
#[expect(clippy::disallowed_methods, reason = "this is where randomness comes from")]
pub fn random<const N: usize>() -> Option<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).ok()?;
    Some(bytes)
}

/// Fresh randomness for one event.
pub fn entropy() -> Option<Entropy> {
    random().map(Entropy)
}

/// Now, with fresh randomness.
pub fn moment() -> Option<Moment> {
    entropy().map(|entropy| Moment { now: now(), entropy })
}

/// Waits.
pub async fn sleep(span: Duration) {
    monotonic_clock::wait_for(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)).await;
}

/// What `work` gives, if it comes in time.
pub async fn within<T>(span: Duration, work: impl Future<Output = T>) -> Option<T> {
    // A timeout of 0 would be none at some hosts.
    let deadline = pin!(sleep(span.max(Duration::from_millis(1))));
    match select(pin!(work), deadline).await {
        Either::Left((done, _)) => Some(done),
        Either::Right(((), _)) => None,
    }
}

/// Writes every problem of the documents to the log, one a line.
pub fn report(error: &ConfigError) {
    for problem in &error.problems {
        log(&format!("configuration: {}", Redacted::new(&problem.to_string())));
    }
}

/// A line of the log, which is standard error.
pub fn log(line: &str) {
    eprintln!("postern: {line}");
}
