//! The structured fields of a proof (RFC 9651), in their one canonical form.
//!
//! Invariant: every reader here takes at most one spelling of a value, so that the text
//! that was received is the text that was signed.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
#[cfg(any(test, feature = "mint"))]
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use super::{FIELD, TAG, Window, key_id};
use crate::key::PublicKey;
use crate::refusal::Refusal;

/// Most characters of a field other than the token's.
const LENGTH: usize = 1024;

/// Fewest characters of a nonce.
pub(crate) const LEAST_NONCE: usize = 16;

/// Most fields that are covered beside those that always are.
pub(crate) const MOST_FIELDS: usize = 8;

/// The components that every request's proof covers, with or without a digest.
fn usual(digest: bool) -> String {
    let digest = if digest { "\"content-digest\" " } else { "" };
    format!("(\"@method\" \"@authority\" \"@path\" \"@query\" {digest}\"{FIELD}\"")
}

/// The covered components with these fields behind the usual ones.
#[cfg(any(test, feature = "mint"))]
pub(crate) fn components(digest: bool, fields: &[&str]) -> String {
    let more: String = fields.iter().map(|name| format!(" \"{name}\"")).collect();
    format!("{}{more})", usual(digest))
}

/// The fields behind the usual components, and what follows the list.
pub(super) fn further(value: &str, digest: bool) -> Option<(Vec<&str>, &str)> {
    let rest = value.strip_prefix(usual(digest).as_str())?;
    let (list, parameters) = rest.split_once(')')?;
    let mut names: Vec<&str> = Vec::new();
    let mut left = list;
    while let Some(next) = left.strip_prefix(" \"") {
        let (name, rest) = next.split_once('"')?;
        if !is_further(name) || names.last().is_some_and(|last| *last >= name) {
            return None;
        }
        names.push(name);
        left = rest;
    }
    (left.is_empty() && names.len() <= MOST_FIELDS).then_some((names, parameters))
}

/// A field name in lower case (RFC 9110, 5.1) that has no place of its own.
pub(crate) fn is_further(name: &str) -> bool {
    let token = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"!#$%&'*+-.^_`|~".contains(&byte)
    };
    let own = [FIELD, "content-digest", "signature", "signature-input"];
    (1..=64).contains(&name.len()) && name.bytes().all(token) && !own.contains(&name)
}

/// A value that reads the same on every way: one line of visible text.
pub(crate) fn is_value(value: &str) -> bool {
    let text = value.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    text && !value.is_empty() && value.trim_ascii() == value
}

/// The only member of a dictionary: its key and its value as they stand.
pub(super) fn member(field: &str) -> Option<(&str, &str)> {
    let (key, value) = field.split_once('=')?;
    let first = |byte: u8| byte.is_ascii_lowercase() || byte == b'*';
    let other = |byte: u8| first(byte) || byte.is_ascii_digit() || b"_-.".contains(&byte);
    let good = key.bytes().next().is_some_and(first) && key.bytes().all(other);
    (good && key.len() <= 64 && field.len() <= LENGTH).then_some((key, value))
}

/// A byte sequence of `N` bytes.
fn sequence<const N: usize>(text: &str) -> Option<[u8; N]> {
    let inner = text.strip_prefix(':')?.strip_suffix(':')?;
    BASE64_STANDARD.decode(inner).ok()?.try_into().ok()
}

/// The signature under `label`.
pub(super) fn signature(field: &str, label: &str) -> Option<[u8; 64]> {
    let (key, value) = member(field)?;
    sequence(value).filter(|_| key == label)
}

/// Reads `content-digest`: one sha-256.
pub(super) fn parse_digest(field: &str) -> Result<[u8; 32], Refusal> {
    let (key, value) = member(field).ok_or(Refusal::ProofDigest)?;
    sequence(value).filter(|_| key == "sha-256").ok_or(Refusal::ProofDigest)
}

/// The value of `content-digest` for content (RFC 9530, 2).
pub fn content_digest(content: &[u8]) -> String {
    digest_field(&Sha256::digest(content).into())
}

/// The value of `content-digest` for a SHA-256.
pub fn digest_field(digest: &[u8; 32]) -> String {
    format!("sha-256=:{}:", BASE64_STANDARD.encode(digest))
}

/// The parameters of the signature.
#[derive(Default)]
pub(super) struct Parameters<'a> {
    pub(super) created: u64,
    pub(super) nonce: &'a str,
    expires: Option<u64>,
    algorithm: Option<&'a str>,
    pub(super) key_id: Option<&'a str>,
}

impl<'a> Parameters<'a> {
    /// Reads `;name=value…`; each at most once, and no other.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let (mut created, mut nonce, mut tag) = (None, None, None);
        let mut found = Self::default();
        for parameter in text.strip_prefix(';')?.split(';') {
            let (name, value) = parameter.split_once('=')?;
            match name {
                "created" => once(&mut created, integer(value)?)?,
                "expires" => once(&mut found.expires, integer(value)?)?,
                "nonce" => once(&mut nonce, string(value)?)?,
                "tag" => once(&mut tag, string(value)?)?,
                "alg" => once(&mut found.algorithm, string(value)?)?,
                "keyid" => once(&mut found.key_id, string(value)?)?,
                _ => return None,
            }
        }
        found.created = created?;
        found.nonce = nonce.filter(|text| is_nonce(text))?;
        (tag? == TAG).then_some(found)
    }

    /// Whether they say what they must, now.
    pub(super) fn check(&self, holder: &PublicKey, window: Window) -> Result<(), Refusal> {
        let algorithm = self.algorithm.is_none_or(|name| name == "ed25519");
        let key = self.key_id.is_none_or(|id| id == key_id(holder));
        if !algorithm || !key {
            return Err(Refusal::ProofParameters);
        }
        let over = self.expires.is_some_and(|expires| expires < window.now);
        if over || self.created < window.now.saturating_sub(window.past) {
            return Err(Refusal::ProofStale);
        }
        if self.created > window.now.saturating_add(window.future) {
            return Err(Refusal::ProofFuture);
        }
        Ok(())
    }
}

fn once<T>(slot: &mut Option<T>, value: T) -> Option<()> {
    slot.replace(value).is_none().then_some(())
}

/// A non-negative integer without leading zeros (RFC 9651, 3.3.1).
fn integer(text: &str) -> Option<u64> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit()) && (1..=15).contains(&text.len());
    let canonical = text == "0" || !text.starts_with('0');
    (digits && canonical).then(|| text.parse().ok())?
}

/// A string that needs no escapes; a `;` in it would have ended the parameter before.
fn string(text: &str) -> Option<&str> {
    let inner = text.strip_prefix('"')?.strip_suffix('"')?;
    let plain = |byte: u8| (b' '..=b'~').contains(&byte) && byte != b'"' && byte != b'\\';
    inner.bytes().all(plain).then_some(inner)
}

/// A nonce of a proof.
pub(crate) fn is_nonce(text: &str) -> bool {
    let alphabet = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (LEAST_NONCE..=64).contains(&text.len()) && text.bytes().all(alphabet)
}

/// A nonce of random bytes.
#[cfg(any(test, feature = "mint"))]
pub(crate) fn nonce(random: &[u8; 16]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(random)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_strings_have_one_spelling() {
        for (text, number) in [("0", Some(0)), ("17", Some(17)), ("017", None), ("-1", None)] {
            assert_eq!(integer(text), number, "{text}");
        }
        for text in ["", "+1", "1.0", "1234567890123456", " 1"] {
            assert_eq!(integer(text), None, "{text}");
        }
        for text in ["a", "\"", "\"a", "a\"", "\"a\\\"\"", "\"\u{e9}\"", " \"a\""] {
            assert_eq!(string(text), None, "{text}");
        }
        assert_eq!(string("\"a b\""), Some("a b"));
    }
}
