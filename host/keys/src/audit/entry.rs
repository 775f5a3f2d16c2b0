//! One line of an export, decoded and judged by itself.
//!
//! Owns what *genuine* means (AUDIT.md, Verdict): everything about a line that needs no other
//! line. Invariant: an entry is genuine only when its signature was checked and, where it has
//! bytes, these were hashed.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64;
use ed25519_dalek::VerifyingKey;
use postern_capability::key::{PublicKey, Signatures, Strict};
use postern_capability::tables::Tables;
use postern_core::chain::{START, service_link};

use crate::audit::export::Line;
use crate::audit::removal::{self, Removed};

/// A line whose fields decode, and what its event says of itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) n: u64,
    pub(super) prev: [u8; 32],
    pub(super) hash: [u8; 32],
    pub(super) withheld: bool,
    /// The event by which the content was taken out.
    pub(super) gone: Option<u64>,
    /// What this event says was taken out.
    pub(super) removed: Option<Removed>,
    pub(super) genuine: bool,
}

impl Entry {
    /// A line that does not decode stands for an event that was changed.
    pub(super) const UNREADABLE: Self = Self {
        n: 0,
        prev: START,
        hash: START,
        withheld: false,
        gone: None,
        removed: None,
        genuine: false,
    };
}

/// Judges lines under one key.
pub(super) struct Judge {
    key: Option<PublicKey>,
    signatures: Box<dyn Signatures + Send>,
}

impl Judge {
    /// For a few lines.
    pub(super) fn of_few(key: &VerifyingKey) -> Self {
        Self { key: PublicKey::parse(key.as_bytes()), signatures: Box::new(Strict) }
    }

    /// For many: the key's multiples are made first, so that each signature takes a third of
    /// the time. The verdicts are the same.
    pub(super) fn of_many(key: &VerifyingKey) -> Self {
        let key = PublicKey::parse(key.as_bytes());
        Self { signatures: Box::new(Tables::new(&key)), key }
    }

    /// A line as it is written.
    pub(super) fn text(&self, text: &str) -> Entry {
        let line = object(text).and_then(|text| serde_json::from_str(text).ok());
        line.map_or(Entry::UNREADABLE, |line| self.line(line))
    }

    /// A line.
    pub(super) fn line(&self, line: Line) -> Entry {
        self.decode(line).unwrap_or(Entry::UNREADABLE)
    }

    fn decode(&self, line: Line) -> Option<Entry> {
        let n = decimal(&line.n)?;
        let prev: [u8; 32] = B64.decode(line.prev).ok()?.try_into().ok()?;
        let hash: [u8; 32] = B64.decode(line.hash).ok()?.try_into().ok()?;
        let sig: [u8; 64] = B64.decode(line.sig).ok()?.try_into().ok()?;
        let bytes = match line.bytes {
            None => None,
            Some(text) => Some(B64.decode(text).ok()?),
        };
        let gone = match (line.gone, &bytes) {
            (None, _) => None,
            // Content that is here is not gone; and a tombstone comes later.
            (Some(_), Some(_)) => return None,
            (Some(text), None) => Some(decimal(&text).filter(|tombstone| *tombstone > n)?),
        };
        let head = bytes.as_deref().map(head);
        let hashed = match (&bytes, head) {
            (Some(bytes), Some(head)) => {
                service_link(&prev, bytes) == hash && head.is_some_and(|head| head.n == n)
            }
            _ => true,
        };
        let is_tombstone = head.flatten().is_some_and(|head| head.tombstone);
        let removed = bytes.as_deref().filter(|_| is_tombstone).and_then(Removed::read);
        let signed = |key| self.signatures.hold(key, &hash, &sig);
        let genuine = hashed && self.key.as_ref().is_some_and(signed);
        let withheld = bytes.is_none() && gone.is_none();
        Some(Entry { n, prev, hash, withheld, gone, removed, genuine })
    }
}

/// A line without its end. White space around the object would be a change that is not seen.
pub(super) fn object(line: &str) -> Option<&str> {
    let text = line.strip_suffix('\n').unwrap_or(line);
    (text.starts_with('{') && text.ends_with('}')).then_some(text)
}

/// What an event says of itself.
#[derive(Clone, Copy)]
struct Head {
    n: u64,
    tombstone: bool,
}

fn head(bytes: &[u8]) -> Option<Head> {
    #[derive(serde::Deserialize)]
    struct Wire<'a> {
        #[serde(borrow)]
        n: std::borrow::Cow<'a, str>,
        #[serde(borrow, default)]
        kind: std::borrow::Cow<'a, str>,
    }
    let wire: Wire<'_> = serde_json::from_slice(bytes).ok()?;
    Some(Head { n: decimal(&wire.n)?, tombstone: wire.kind == removal::KIND })
}

/// A number as it is written: no sign, no zero in front.
pub(super) fn decimal(text: &str) -> Option<u64> {
    text.parse().ok().filter(|n: &u64| n.to_string() == text)
}
