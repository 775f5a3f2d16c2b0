//! Waiting for a condition with a deadline: the only place here that lets time pass.

use std::time::{Duration, Instant};

/// Asks `condition` until it gives something or `limit` has passed.
pub fn until<T>(limit: Duration, mut condition: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now().checked_add(limit);
    loop {
        if let Some(found) = condition() {
            return Some(found);
        }
        if end.is_none_or(|end| Instant::now() >= end) {
            return None;
        }
        std::thread::park_timeout(Duration::from_millis(10));
    }
}
