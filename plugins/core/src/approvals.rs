//! Approvals as gate and key service see them: what is asked for, and where it stands.
//!
//! The gate sends the parts that the request digest covers, and not the digest: what a person
//! is shown and what the approval is bound to come from the same bytes, so that no gateway can
//! show one request and have another approved.
//!
//! Invariant: [`Requested::digest`] is the digest of the permit for the same request.

use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::digest::{self, request_digest};
use crate::fields::Fields;
use crate::key_service::{CallId, CallResult, Turn};
use crate::time::{Moment, UnixMillis};

/// Most bytes of content that are sent to be shown.
pub const MOST_CONTENT: usize = 16 * 1024;
/// The field by which a request names its approval; `new` asks for one.
pub const FIELD: &str = "postern-approval";

/// Parts of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requested {
    /// Method.
    pub method: String,
    /// Scheme.
    pub scheme: String,
    /// Authority, as the caller sent it.
    pub authority: String,
    /// Path with query, as it is forwarded.
    pub path: String,
    /// Bound fields, ascending by lower-case name; of one name in the request's order.
    pub fields: Vec<(String, Vec<u8>)>,
    /// SHA-256 of the content; `None` when it was not read.
    pub content_digest: Option<[u8; 32]>,
    /// Bytes of content.
    pub content_length: u64,
    /// The first of them, [`MOST_CONTENT`] at most.
    pub content: Vec<u8>,
}

impl Requested {
    /// The parts of a head with `bound` fields, without content. `None` for bytes that are no
    /// text where text belongs.
    pub fn of(head: &Fields, bound: &[&str]) -> Option<Self> {
        let text = |name| {
            let bytes = head.only(name).unwrap_or_default();
            str::from_utf8(bytes).ok().map(str::to_owned)
        };
        let fields = digest::names(bound)
            .into_iter()
            .flat_map(|name| head.all(name).map(move |value| (name.to_owned(), value.to_vec())));
        Some(Self {
            method: text(":method")?,
            scheme: text(":scheme")?,
            authority: text(":authority")?,
            path: text(":path")?,
            fields: fields.collect(),
            ..Self::default()
        })
    }

    /// The request digest.
    pub fn digest(&self) -> [u8; 32] {
        let pseudo = [
            (":method", self.method.as_bytes()),
            (":scheme", self.scheme.as_bytes()),
            (":authority", self.authority.as_bytes()),
            (":path", self.path.as_bytes()),
        ];
        let fields = self.fields.iter().map(|(name, value)| (name.as_str(), value.as_slice()));
        let head: Fields = pseudo.into_iter().chain(fields).collect();
        let names: Vec<&str> = self.fields.iter().map(|(name, _)| name.as_str()).collect();
        request_digest(&head, &names, self.content_digest)
    }

    /// Whether the content, where all of it is here, is the one whose digest is bound.
    pub fn is_true(&self) -> bool {
        let here = u64::try_from(self.content.len()).unwrap_or(u64::MAX);
        match self.content_digest {
            None => self.content.is_empty() && self.content_length == 0,
            // A part is all that fits, so that nobody is shown less than there is room for.
            Some(_) if here < self.content_length => self.content.len() == MOST_CONTENT,
            Some(digest) => {
                let found: [u8; 32] = Sha256::digest(&self.content).into();
                here == self.content_length && found == digest
            }
        }
    }

    /// Path without query.
    pub fn bare_path(&self) -> &str {
        self.path.split_once('?').map_or(self.path.as_str(), |(path, _)| path)
    }
}

/// What a gate asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Agent.
    pub agent: String,
    /// User for whom it acts.
    pub user: String,
    /// Organisation.
    pub organisation: String,
    /// Hash of the caller.
    pub subject_hash: [u8; 32],
    /// Only a passkey approves it.
    pub passkey: bool,
    /// How long a person has.
    pub life: Duration,
    /// The approval that the caller names.
    pub named: Option<[u8; 16]>,
    /// The request.
    pub requested: Requested,
    /// Credentials that it carries, ascending.
    pub credentials: Vec<String>,
}

/// Where an approval stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It waits for people.
    Pending,
    /// It may be used, once.
    Approved,
    /// Somebody said no.
    Denied,
    /// Nobody decided, or nobody used it, in time.
    Expired,
    /// It was used.
    Used,
}

impl State {
    /// Every state, by its number on the wire.
    pub const ALL: [Self; 5] =
        [Self::Pending, Self::Approved, Self::Denied, Self::Expired, Self::Used];

    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Denied => "denied",
            Self::Expired => "expired",
            Self::Used => "used",
        }
    }
}

/// What a caller may know of its approval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Which.
    pub id: [u8; 16],
    /// Where it stands.
    pub state: State,
    /// This very answer has used it: the request may go on.
    pub claimed: bool,
    /// No good from then on.
    pub expires: UnixMillis,
}

/// An approval that was used for the request at hand. Made by [`Standing::claim`] alone.
#[derive(Debug, PartialEq, Eq)]
pub struct Claimed([u8; 16]);

impl Standing {
    /// The approval, if this answer has used it.
    pub fn claim(&self) -> Option<Claimed> {
        (self.claimed && self.state == State::Used).then_some(Claimed(self.id))
    }
}

impl Claimed {
    /// Its id, for the permit.
    pub fn id(&self) -> [u8; 16] {
        self.0
    }
}

/// The authenticated outcome of a question about an approval.
pub type Told = Result<Standing, NotTold>;

/// There is nothing to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotTold {
    /// No such approval of this caller.
    #[error("no such approval")]
    Unknown,
    /// People are asked too much already.
    #[error("too many approvals")]
    Rate,
}

/// Asks the key service for approvals.
pub trait Approvals {
    /// Uses the approval that is named if it serves, and else asks for one.
    fn ask(&self, ask: Ask, at: Moment) -> Turn<Told>;
    /// How the approval `id` of a caller stands.
    fn poll(&self, id: [u8; 16], subject_hash: [u8; 32], at: Moment) -> Turn<Told>;
    /// Takes the reply of a call that this asked for.
    fn heard(&self, call: CallId, result: CallResult, at: Moment) -> Turn<Told>;
    /// The stream is gone; forget its call.
    fn abandon(&self, call: CallId);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head() -> Fields {
        [
            (":method", "POST"),
            (":scheme", "https"),
            (":authority", "gw.example"),
            (":path", "/api/x?y=1"),
            ("x-b", "2"),
            ("content-type", "a/b"),
            ("x-a", "1"),
            ("x-other", "0"),
            ("x-a", "3"),
        ]
        .into_iter()
        .collect()
    }

    #[test]
    fn its_digest_is_that_of_the_request() {
        let content = Some([9; 32]);
        for bound in [&["x-a", "x-b"][..], &["x-b", "x-a", "x-a"], &[], &["content-type"]] {
            let requested = Requested::of(&head(), bound).unwrap();
            let requested = Requested { content_digest: content, ..requested };
            assert_eq!(requested.digest(), request_digest(&head(), bound, content), "{bound:?}");
        }
    }

    #[test]
    fn content_that_is_whole_has_the_digest_that_is_bound() {
        let whole = |content: &[u8], length, digest| Requested {
            content: content.to_vec(),
            content_length: length,
            content_digest: digest,
            ..Requested::default()
        };
        let digest = Some(Sha256::digest(b"abc").into());
        assert!(whole(b"abc", 3, digest).is_true());
        assert!(!whole(b"ab", 3, digest).is_true());
        let part = [b'a'; MOST_CONTENT];
        assert!(whole(&part, 16 * 1024 + 1, digest).is_true());
        assert!(!whole(&part[1..], 16 * 1024 + 1, digest).is_true());
        assert!(!whole(b"abd", 3, digest).is_true());
        assert!(!whole(b"abcd", 3, digest).is_true());
        assert!(!whole(b"a", 1, None).is_true());
        assert!(whole(b"", 0, None).is_true());
    }
}
