//! Time as the core sees it: an argument, never a clock.

use std::time::Duration;

use sha2::{Digest, Sha256};

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixMillis(pub u64);

impl UnixMillis {
    /// This moment plus `span`, saturating.
    #[must_use]
    pub fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add(millis(span)))
    }

    /// How long since `earlier`; zero when that lies ahead.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// Whole seconds since the epoch.
    #[must_use]
    pub fn seconds(self) -> u64 {
        self.0 / 1000
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// Fresh randomness from the host, good for one event.
pub struct Entropy(pub [u8; 32]);

impl Entropy {
    /// Two independent values from one, for an event that may start two exchanges.
    pub fn split(self) -> (Self, Self) {
        let half = |which: &[u8]| {
            let label = Sha256::new_with_prefix(b"postern entropy/1\0");
            Self(label.chain_update(which).chain_update(self.0).finalize().into())
        };
        (half(&[0]), half(&[1]))
    }
}

/// What an event that may start a key-service exchange brings along.
pub struct Moment {
    /// Now, by the host's clock.
    pub now: UnixMillis,
    /// Randomness for this event alone.
    pub entropy: Entropy,
}
