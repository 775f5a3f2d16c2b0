//! How often somebody may try to sign in or to register.
//!
//! Signatures and codes cannot be guessed; this keeps the work of refusing small. Counted in
//! the memory of one process, by network address. Invariant: bounded in memory, and full
//! means refused.

use std::collections::HashMap;
use std::net::IpAddr;

use postern_core::time::UnixMillis;

/// Attempts of one source in a minute.
pub(crate) const MOST: u32 = 20;
/// Sources that are remembered.
const SOURCES: usize = 4096;

/// Where an attempt comes from: an address, of IPv6 the /64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Source(u64);

impl Source {
    pub(crate) fn of(address: Option<IpAddr>) -> Self {
        Self(match address.map(|address| address.to_canonical()) {
            None => 0,
            Some(IpAddr::V4(four)) => u64::from(u32::from(four)) | 1 << 63,
            Some(IpAddr::V6(six)) => (u128::from(six) >> 64) as u64,
        })
    }
}

#[derive(Debug, Default)]
pub(crate) struct Attempts {
    minute: u64,
    counts: HashMap<Source, u32>,
}

impl Attempts {
    /// Counts one; `false` when it is one too many.
    pub(crate) fn count(&mut self, source: Source, now: UnixMillis) -> bool {
        let minute = now.0 / 60_000;
        if minute != self.minute {
            self.minute = minute;
            self.counts.clear();
        }
        if self.counts.len() >= SOURCES && !self.counts.contains_key(&source) {
            return false;
        }
        let count = self.counts.entry(source).or_default();
        *count = count.saturating_add(1);
        *count <= MOST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(text: &str) -> Source {
        Source::of(text.parse().ok())
    }

    #[test]
    fn one_too_many_of_a_source_is_refused_until_the_next_minute() {
        let mut attempts = Attempts::default();
        let now = UnixMillis(60_000);
        assert!((0..MOST).all(|_| attempts.count(from("192.0.2.1"), now)));
        assert!(!attempts.count(from("192.0.2.1"), now));
        assert!(attempts.count(from("192.0.2.2"), now));
        assert!(attempts.count(from("192.0.2.1"), UnixMillis(120_000)));
    }

    #[test]
    fn a_network_of_ipv6_is_one_source_and_full_is_refused() {
        let mut attempts = Attempts::default();
        assert_eq!(from("2001:db8::1"), from("2001:db8::2"));
        assert_ne!(from("2001:db8::1"), from("2001:db8:0:1::1"));
        // As a listener for both sees IPv4.
        assert_eq!(from("::ffff:192.0.2.1"), from("192.0.2.1"));
        assert_ne!(from("::ffff:192.0.2.1"), from("::ffff:192.0.2.2"));
        let now = UnixMillis(0);
        let fits = (0..SOURCES).all(|n| attempts.count(Source(n as u64), now));
        assert!(fits && !attempts.count(from("192.0.2.1"), now));
        assert!(attempts.count(Source(1), now));
    }
}
