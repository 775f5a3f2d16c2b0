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

/// A line whose fields decode, and what its event says of itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) n: u64,
    pub(super) prev: [u8; 32],
    pub(super) hash: [u8; 32],
    pub(super) withheld: bool,
    pub(super) genuine: bool,
}

impl Entry {
    /// A line that does not decode stands for an event that was changed.
    pub(super) const UNREADABLE: Self =
        Self { n: 0, prev: START, hash: START, withheld: false, genuine: false };
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
        let hashed = match &bytes {
            None => true,
            Some(bytes) => service_link(&prev, bytes) == hash && number(bytes) == Some(n),
        };
        let signed = |key| self.signatures.hold(key, &hash, &sig);
        let genuine = hashed && self.key.as_ref().is_some_and(signed);
        Some(Entry { n, prev, hash, withheld: bytes.is_none(), genuine })
    }
}

/// A line without its end. White space around the object would be a change that is not seen.
pub(super) fn object(line: &str) -> Option<&str> {
    let text = line.strip_suffix('\n').unwrap_or(line);
    (text.starts_with('{') && text.ends_with('}')).then_some(text)
}

/// The number an event gives itself.
fn number(bytes: &[u8]) -> Option<u64> {
    #[derive(serde::Deserialize)]
    struct Numbered<'a> {
        #[serde(borrow)]
        n: std::borrow::Cow<'a, str>,
    }
    decimal(&serde_json::from_slice::<Numbered<'_>>(bytes).ok()?.n)
}

/// A number as it is written: no sign, no zero in front.
pub(super) fn decimal(text: &str) -> Option<u64> {
    text.parse().ok().filter(|n: &u64| n.to_string() == text)
}
