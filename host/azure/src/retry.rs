//! When to ask again, by the error map.
//!
//! Invariant: at most [`TRIES`] requests, and only what the map calls transient is repeated.

use std::time::Duration;

use crate::Refused;

/// Requests for one answer, in all.
pub const TRIES: u32 = 3;
/// The first pause; each next is twice as long.
const FIRST: Duration = Duration::from_millis(400);
/// Longest pause, whatever the vault asks for: who waits has a deadline of its own.
pub const LONGEST: Duration = Duration::from_secs(5);

/// How long to wait before another request, when `tried` have failed, the last with `refused`.
#[must_use]
pub fn after(tried: u32, refused: &Refused) -> Option<Duration> {
    if tried >= TRIES || !refused.is_transient() {
        return None;
    }
    let asked = match refused {
        Refused::Throttled(Some(seconds)) => Duration::from_secs(*seconds),
        _ => Duration::ZERO,
    };
    let doubled = FIRST.saturating_mul(1 << tried.saturating_sub(1).min(8));
    Some(doubled.max(asked).min(LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_pass_is_tried_three_times_with_longer_pauses() {
        let ms = Duration::from_millis;
        for (tried, refused, want) in [
            (1, Refused::Slow, Some(ms(400))),
            (2, Refused::Away(503), Some(ms(800))),
            (3, Refused::Away(503), None),
            (1, Refused::Throttled(Some(2)), Some(ms(2000))),
            (1, Refused::Throttled(Some(3600)), Some(LONGEST)),
            (1, Refused::NotFound, None),
            (1, Refused::Unauthorised, None),
            (1, Refused::Unwrap, None),
        ] {
            assert_eq!(after(tried, &refused), want, "{tried} {refused}");
        }
    }
}
