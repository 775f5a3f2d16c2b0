//! Challenges: derived, so that nobody fills the database by asking for them.
//!
//! A challenge is a MAC over its purpose, the browser that it was made for, and its end. The
//! browser brings the end back, and the challenge is made again. For a step-up it is the
//! request itself: the authenticator signs over what is decided about.
//!
//! Invariant: a challenge is good for one browser, for one purpose, until its end, and once.

use std::time::Duration;

use postern_core::time::UnixMillis;
use sqlx::SqliteConnection;

use super::ceremony::Challenge;
use crate::approvals::Approval;
use crate::envelope::{RowBytes, RowKeys};
use crate::fault::Fault;
use crate::store::{millis, nonces};

/// How long a challenge is good.
pub(crate) const LIFE: Duration = Duration::from_secs(300);

/// What an answer to a challenge brings about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    SignIn,
    Register,
}

/// A challenge and its end, as a page carries them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Given {
    pub(crate) challenge: Challenge,
    pub(crate) ends: UnixMillis,
}

impl Given {
    /// For the browser that `browser` stands for.
    pub(crate) fn new(
        rows: &RowKeys,
        purpose: Purpose,
        browser: &[u8; 32],
        now: UnixMillis,
    ) -> Self {
        let ends = now.after(LIFE);
        Self { challenge: derive(rows, purpose, browser, ends), ends }
    }

    /// The challenge that ends at `ends`, while it is good.
    pub(crate) fn again(
        rows: &RowKeys,
        purpose: Purpose,
        browser: &[u8; 32],
        ends: UnixMillis,
        now: UnixMillis,
    ) -> Option<Self> {
        let good = now < ends && ends <= now.after(LIFE);
        good.then(|| Self { challenge: derive(rows, purpose, browser, ends), ends })
    }

    /// Uses it up; `false` when it was used before.
    pub(crate) async fn take(self, db: &mut SqliteConnection) -> Result<bool, Fault> {
        nonces::fresh(db, &self.challenge, &self.challenge, self.ends).await
    }
}

fn derive(rows: &RowKeys, purpose: Purpose, browser: &[u8; 32], ends: UnixMillis) -> Challenge {
    let name: &[u8] = match purpose {
        Purpose::SignIn => b"sign-in",
        Purpose::Register => b"register",
    };
    let bytes = RowBytes::of("pages/challenge").part(name).part(browser).number(millis(ends));
    first_half(&rows.sign(&bytes))
}

/// The challenge by which a passkey decides about a request: the first 16 bytes of
/// [`Approval::challenge`], which covers id and digest. Longer ones the library does not take,
/// and WebAuthn asks for 16.
pub(crate) fn of_request(approval: &Approval) -> Challenge {
    first_half(&approval.challenge())
}

fn first_half(bytes: &[u8]) -> Challenge {
    let mut half = [0; 16];
    half.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    half
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::Dek;

    #[test]
    fn a_challenge_is_for_one_purpose_browser_and_time() {
        let rows = RowKeys::new(&Dek::draw().unwrap()).unwrap();
        let now = UnixMillis(1_000_000);
        let given = Given::new(&rows, Purpose::SignIn, &[1; 32], now);
        let again = |purpose, browser: u8, ends, now| {
            Given::again(&rows, purpose, &[browser; 32], ends, now).map(|given| given.challenge)
        };
        let ends = given.ends;
        assert_eq!(again(Purpose::SignIn, 1, ends, now), Some(given.challenge));
        assert_ne!(again(Purpose::Register, 1, ends, now), Some(given.challenge));
        assert_ne!(again(Purpose::SignIn, 2, ends, now), Some(given.challenge));
        assert_ne!(again(Purpose::SignIn, 1, UnixMillis(ends.0 - 1), now), Some(given.challenge));
        assert_eq!(again(Purpose::SignIn, 1, ends, ends), None);
        assert_eq!(again(Purpose::SignIn, 1, UnixMillis(ends.0 + 1), now), None);
    }
}
