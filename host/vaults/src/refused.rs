//! Why there is no value: the error map.
//!
//! Invariant: no variant holds a value, a token or the text of an answer.

use postern_core::redacted::Redacted;

/// What went wrong on the way to a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The vault says that there is no such secret, or the secret has no such field.
    #[error("has no such {0}")]
    NotFound(&'static str),
    /// The login is good, and may not read this.
    #[error("does not let this login read the secret (403)")]
    Forbidden,
    /// The login is not good any more, and no new one was had.
    #[error("does not accept the {0}: expired, revoked or wrong")]
    LoginExpired(&'static str),
    /// 429, with the seconds that were asked for.
    #[error("throttled (429)")]
    Throttled(Option<u64>),
    /// No connection, no answer in time, sealed, or an error of its own.
    #[error("unreachable: {0}")]
    Unreachable(Redacted),
    /// Not as documented, larger than is read, or told that it was asked wrongly.
    #[error("malformed: {0}")]
    Malformed(&'static str),
}

impl Refused {
    /// Of an answer that is not 200.
    #[must_use]
    pub fn of_status(status: u16, wait: Option<u64>) -> Self {
        match status {
            400 => Self::Malformed("the vault does not understand the request (400)"),
            403 => Self::Forbidden,
            404 => Self::NotFound("secret"),
            // 412: a replica that has not seen the token yet.
            // 307: a standby that cannot forward while another takes over; not followed, for the
            // token would go with it.
            307 | 412 | 500..=599 => Self::Unreachable(Redacted::new(&format!("answers {status}"))),
            429 => Self::Throttled(wait),
            300..=306 | 308..=399 => Self::Malformed("a redirect, which is not followed"),
            _ => Self::Malformed("unexpected status"),
        }
    }

    /// Whether the vault could not be asked, so that a value of before may still be right.
    ///
    /// Everything else is an answer, or a login that somebody has to see to.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Throttled(_) | Self::Unreachable(_))
    }

    pub(crate) fn late() -> Self {
        Self::Unreachable(Redacted::new("no answer in time"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_vault_that_could_not_be_asked_leaves_a_value_of_before_in_use() {
        for (status, may_pass) in [
            (200, false),
            (301, false),
            (307, true),
            (400, false),
            (403, false),
            (404, false),
            (405, false),
            (412, true),
            (429, true),
            (500, true),
            (503, true),
        ] {
            assert_eq!(Refused::of_status(status, None).may_pass(), may_pass, "{status}");
        }
        assert!(!Refused::LoginExpired("token").may_pass());
    }
}
