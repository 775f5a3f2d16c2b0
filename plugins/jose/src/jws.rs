//! The compact serialization of a JWS (RFC 7515, 7.1) and its header.
//!
//! Invariant: the header chooses among configured keys and nothing else. One that asks for
//! more to be understood (`crit`), or brings a key or the address of one (`jwk`, `jku`,
//! `x5u`, `x5c`), is refused unless the caller ignores that; no address is ever read.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64;
use serde_json::{Map, Value};

use crate::algorithm::Algorithm;
use crate::jwk::{KEY_ID, KeySet};
use crate::refusal::Refusal;
use crate::signatures::Signatures;
use crate::{json, jwk};

/// Most characters of a token.
pub const LENGTH: usize = 16 << 10;
/// Most characters of a header.
const HEADER: usize = 2 << 10;
/// Parameters that change what is signed.
const NOT_UNDERSTOOD: [&str; 3] = ["crit", "b64", "zip"];
/// Parameters that say where the key is.
const BRINGS_KEYS: [&str; 4] = ["jku", "jwk", "x5u", "x5c"];

/// What becomes of a header that brings a key along, or an address of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// It is refused: no good issuer of access tokens writes such headers.
    Refused,
    /// It is ignored: the issuer always writes `jku`, and its keys are pinned.
    Pinned,
    /// It has to bring the key itself, and no address of one (RFC 9449, 4.2).
    Brought,
}

/// A token that nobody has verified.
#[derive(Clone, Debug)]
pub struct Unverified {
    algorithm: Algorithm,
    key_id: Option<String>,
    kind: Option<String>,
    /// The key that the header brings along, where it has to.
    jwk: Option<Map<String, Value>>,
    signed: Vec<u8>,
    payload: Vec<u8>,
    signature: Vec<u8>,
}

/// A payload whose signature holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// `typ`.
    pub kind: Option<String>,
    /// Id of the key.
    pub key_id: Option<String>,
    /// What was signed.
    pub payload: Vec<u8>,
}

impl Unverified {
    /// Takes a token apart.
    pub fn parse(token: &[u8]) -> Result<Self, Refusal> {
        Self::parse_with(token, Keys::Refused)
    }

    /// Takes a token apart; `keys` says what becomes of a header that brings a key.
    pub fn parse_with(token: &[u8], keys: Keys) -> Result<Self, Refusal> {
        if token.len() > LENGTH {
            return Err(Refusal::TooLong);
        }
        let mut parts = token.split(|byte| *byte == b'.');
        let mut part = || parts.next().ok_or(Refusal::Form);
        let (header, payload, signature) = (part()?, part()?, part()?);
        if parts.next().is_some() || header.len() > HEADER {
            return Err(Refusal::Form);
        }
        let decoded = |part: &[u8]| B64.decode(part).map_err(|_| Refusal::Form);
        let end = token.len().saturating_sub(signature.len()).saturating_sub(1);
        let signed = token.get(..end).ok_or(Refusal::Form)?.to_vec();
        let header = json::object(&decoded(header)?).ok_or(Refusal::Json)?;
        let (algorithm, key_id, kind) = read(&header, keys)?;
        let (payload, signature) = (decoded(payload)?, decoded(signature)?);
        let brought = header.get("jwk").filter(|_| keys == Keys::Brought);
        let jwk = brought.and_then(Value::as_object).cloned();
        Ok(Self { algorithm, key_id, kind, jwk, signed, payload, signature })
    }

    /// The payload, if a key of this set has signed it.
    pub fn verify(
        &self,
        keys: &KeySet,
        signatures: &(impl Signatures + ?Sized),
    ) -> Result<Verified, Refusal> {
        let key = self.find(keys)?;
        if !signatures.hold(key, &self.signed, &self.signature) {
            return Err(Refusal::Signature);
        }
        let (kind, key_id) = (self.kind.clone(), self.key_id.clone());
        Ok(Verified { kind, key_id, payload: self.payload.clone() })
    }

    /// `typ` and the payload, if this key has signed them.
    pub fn verify_under(
        &self,
        key: &jwk::Key,
        signatures: &(impl Signatures + ?Sized),
    ) -> Result<(Option<&str>, &[u8]), Refusal> {
        let own = key.algorithm() == self.algorithm;
        if !own || !signatures.hold(key, &self.signed, &self.signature) {
            return Err(Refusal::Signature);
        }
        Ok((self.kind.as_deref(), &self.payload))
    }

    /// The key that it brings along, where it has to.
    pub fn brought(&self) -> Option<&Map<String, Value>> {
        self.jwk.as_ref()
    }

    fn find<'k>(&self, keys: &'k KeySet) -> Result<&'k jwk::Key, Refusal> {
        if keys.keys().is_empty() {
            return Err(Refusal::NoKeys);
        }
        let known = self.key_id.as_deref().is_some_and(|id| keys.knows(id));
        let missing = if known { Refusal::Algorithm } else { Refusal::UnknownKey };
        keys.find(self.key_id.as_deref(), self.algorithm).ok_or(missing)
    }

    /// The id of the key that it asks for.
    pub fn key_id(&self) -> Option<&str> {
        self.key_id.as_deref()
    }

    /// The issuer that it claims: only to choose whose keys to verify with.
    pub fn claimed_issuer(&self) -> Option<String> {
        self.claimed("iss")
    }

    /// The subject that it claims, for the same.
    pub fn claimed_subject(&self) -> Option<String> {
        self.claimed("sub")
    }

    fn claimed(&self, name: &str) -> Option<String> {
        let claims = json::object(&self.payload)?;
        Some(claims.get(name)?.as_str()?.to_owned())
    }

    /// The algorithm that it says.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

type Header = (Algorithm, Option<String>, Option<String>);

fn read(header: &Map<String, Value>, keys: Keys) -> Result<Header, Refusal> {
    let has = |names: &[&str]| names.iter().any(|name| header.contains_key(*name));
    let brings = match keys {
        Keys::Refused => has(&BRINGS_KEYS),
        Keys::Pinned => false,
        Keys::Brought => has(&["jku", "x5u", "x5c"]) || !has(&["jwk"]),
    };
    if has(&NOT_UNDERSTOOD) || brings {
        return Err(Refusal::Header);
    }
    let text = |name: &str| match header.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(Refusal::Header),
    };
    let key_id = text("kid")?;
    if key_id.as_ref().is_some_and(|id| id.len() > KEY_ID) {
        return Err(Refusal::Header);
    }
    let algorithm = text("alg")?.and_then(|name| Algorithm::find(&name));
    Ok((algorithm.ok_or(Refusal::Algorithm)?, key_id, text("typ")?))
}
