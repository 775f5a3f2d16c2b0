//! `capability` among the authenticators: whose tokens are believed, and how long.
//!
//! Invariant: a key id names one key of this gate's tenant.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use super::demand::NonceDemand;
use super::forward::endpoint;
use crate::config::{ConfigError, Problems, units};

/// The field that carries the token.
pub const FIELD: &str = "postern-capability";
const MOST_ISSUERS: usize = 16;
const MOST_TOKENS: u32 = 16_384;

/// `capability` as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CapabilityWire {
    /// What tokens have to name as `aud`: this gateway. Required.
    pub audience: Option<String>,
    /// Keys that tokens of this tenant are issued with. Required, 1 to 16; the first four are
    /// verified two times faster, for 640 KiB of memory each.
    #[serde(default)]
    pub issuers: Vec<IssuerWire>,
    /// Longest life of a token, from `iat` to `exp`. Default `15m`, `1s` to `24h`.
    pub max_life: Option<String>,
    /// When the proof of possession of a request is good.
    #[serde(default)]
    pub proof: ProofWire,
    /// Where invites are exchanged for tokens. Default: nowhere.
    pub invites: Option<InvitesWire>,
    /// Verified tokens that each worker keeps, so that they cost no signature when they come
    /// again. Default 1024, limit 16384; 0 keeps none.
    pub cache: Option<u32>,
}

/// `invites` as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InvitesWire {
    /// Path of the endpoint, exact; anybody may `POST` to it. Default `/.postern/invites`.
    pub path: Option<String>,
}

const INVITES: &str = "/.postern/invites";

/// One key as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IssuerWire {
    /// The `kid` by which tokens name it. Required.
    pub kid: Option<String>,
    /// What tokens that it has signed have to name as `iss`. Required.
    pub issuer: Option<String>,
    /// The Ed25519 public key: 32 bytes in base64url. Required.
    pub key: Option<String>,
}

/// `proof` as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProofWire {
    /// How old it may be. Default `30s`, `1s` to `60s`.
    pub past: Option<String>,
    /// How far the caller's clock may be ahead. Default `5s`, limit `10s`.
    pub future: Option<String>,
    /// Which requests have to prove with a nonce that this gateway has issued: `writes`, `all`
    /// or `never`, the default. A request without one gets it, in `postern-nonce`.
    #[serde(default)]
    pub nonce: NonceDemand,
}

/// Whose capability tokens are believed, and how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capability {
    /// This gateway.
    pub audience: String,
    /// Keys of this tenant's issuers.
    pub issuers: Vec<Issuer>,
    /// Longest life of a token.
    pub max_life: Duration,
    /// How old a proof may be.
    pub past: Duration,
    /// How far the caller's clock may be ahead.
    pub future: Duration,
    /// Which requests have to prove with a nonce that was issued.
    pub nonce: NonceDemand,
    /// Path of the endpoint for invites.
    pub invites: Option<String>,
    /// Verified tokens that are kept.
    pub cache: usize,
}

/// A key of an issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issuer {
    /// `kid`.
    pub kid: String,
    /// `iss`.
    pub issuer: String,
    /// Ed25519.
    pub key: [u8; 32],
}

/// Reads it.
pub(super) fn capability(wire: CapabilityWire) -> Result<Capability, ConfigError> {
    let mut problems = Problems::default();
    let audience = problems.required("audience", wire.audience);
    let audience = audience.and_then(|text| problems.scalar("audience", name(text, 128)));
    let issuers = issuers(wire.issuers, &mut problems);
    let mut span = |path, text: Option<String>, default: &str, (least, most)| {
        let text = text.as_deref().unwrap_or(default);
        problems.scalar(path, seconds(text, least, most)).unwrap_or_default()
    };
    let max_life = span("max_life", wire.max_life, "15m", (1, 86_400));
    let past = span("proof.past", wire.proof.past, "30s", (1, 60));
    let future = span("proof.future", wire.proof.future, "5s", (0, 10));
    let cache = wire.cache.unwrap_or(1024);
    if cache > MOST_TOKENS {
        problems.note("cache", "expected 0 to 16384");
    }
    let cache = usize::try_from(cache).unwrap_or_default();
    let invites = wire.invites.and_then(|wire| {
        let path = wire.path.unwrap_or_else(|| INVITES.to_owned());
        problems.scalar("invites.path", endpoint(&path).map(|_| path))
    });
    let nonce = wire.proof.nonce;
    let read = audience.map(|audience| Capability {
        audience,
        issuers,
        max_life,
        past,
        future,
        nonce,
        invites,
        cache,
    });
    problems.finish(read)
}

/// A span of whole seconds within limits.
pub(super) fn seconds(text: &str, least: u64, most: u64) -> Result<Duration, &'static str> {
    let span = units::duration(text)?;
    let whole = span.subsec_nanos() == 0 && (least..=most).contains(&span.as_secs());
    whole.then_some(span).ok_or("expected whole seconds within the limits")
}

fn issuers(wire: Vec<IssuerWire>, problems: &mut Problems) -> Vec<Issuer> {
    if wire.is_empty() || wire.len() > MOST_ISSUERS {
        problems.note("issuers", "expected 1 to 16");
    }
    let issuers = problems.list("issuers", wire, issuer);
    for (index, one) in issuers.iter().enumerate() {
        if issuers.iter().take(index).any(|earlier| earlier.kid == one.kid) {
            problems.note(format!("issuers[{index}].kid"), "expected another than before");
        }
    }
    issuers
}

fn issuer(wire: IssuerWire) -> Result<Issuer, ConfigError> {
    let mut problems = Problems::default();
    let kid = problems.required("kid", wire.kid);
    let kid = kid.and_then(|text| problems.scalar("kid", name(text, 64)));
    let issuer = problems.required("issuer", wire.issuer);
    let issuer = issuer.and_then(|text| problems.scalar("issuer", name(text, 128)));
    let key = problems.required("key", wire.key);
    let key = key.and_then(|text| problems.scalar("key", public_key(&text)));
    let read = (|| Some(Issuer { kid: kid?, issuer: issuer?, key: key? }))();
    problems.finish(read)
}

fn public_key(text: &str) -> Result<[u8; 32], &'static str> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or("expected 32 bytes in base64url")
}

/// A name as tokens write it (`plugins/capability/SPEC.md`, 3.1).
fn name(text: String, most: usize) -> Result<String, &'static str> {
    let allowed = |byte: u8| byte.is_ascii_graphic() && !b"\"\\*,".contains(&byte);
    let fits = (1..=most).contains(&text.len()) && text.bytes().all(allowed);
    fits.then_some(text).ok_or("expected visible characters without \" \\ * and comma")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(document: Value) -> Result<Capability, Vec<String>> {
        let wire: CapabilityWire = serde_json::from_value(document).unwrap();
        capability(wire).map_err(|error| error.problems.iter().map(ToString::to_string).collect())
    }

    fn good() -> Value {
        let key = URL_SAFE_NO_PAD.encode([7; 32]);
        json!({"audience": "https://gw.test", "issuers": [{"kid": "k1", "issuer": "i", "key": key}]})
    }

    #[test]
    fn defaults_are_those_of_the_specification() {
        let read = read(good()).unwrap();
        assert_eq!((read.max_life, read.cache), (Duration::from_secs(900), 1024));
        assert_eq!((read.past.as_secs(), read.future.as_secs()), (30, 5));
        assert_eq!(read.issuers, [Issuer { kid: "k1".into(), issuer: "i".into(), key: [7; 32] }]);
    }

    #[test]
    fn a_nonce_is_remembered_for_longer_than_any_window() {
        let mut document = good();
        document["proof"] = json!({"past": "60s", "future": "10s"});
        let read = read(document).unwrap();
        assert!(crate::nonces::MEMORY >= read.past + read.future + Duration::from_secs(1));
    }

    #[test]
    fn every_problem_is_named() {
        let key = URL_SAFE_NO_PAD.encode([7; 31]);
        let bad = json!({"audience": "a b", "issuers": [
            {"kid": "k*", "key": key}, {"kid": "k1", "issuer": "i", "key": URL_SAFE_NO_PAD.encode([7; 32])},
            {"kid": "k1", "issuer": "i", "key": URL_SAFE_NO_PAD.encode([8; 32])}],
            "max_life": "25h", "proof": {"past": "61s", "future": "1500ms"}, "cache": 20000,
            "invites": {"path": "/a/**"}});
        let text = "expected visible characters without \" \\ * and comma";
        let span = "expected whole seconds within the limits";
        assert_eq!(
            read(bad).unwrap_err(),
            [
                format!("audience: {text}"),
                format!("issuers[0].kid: {text}"),
                "issuers[0].issuer: missing".to_owned(),
                "issuers[0].key: expected 32 bytes in base64url".to_owned(),
                "issuers[1].kid: expected another than before".to_owned(),
                format!("max_life: {span}"),
                format!("proof.past: {span}"),
                format!("proof.future: {span}"),
                "cache: expected 0 to 16384".to_owned(),
                "invites.path: expected a clean absolute path, exact, not /".to_owned(),
            ]
        );
        assert_eq!(
            read(json!({})).unwrap_err(),
            ["audience: missing", "issuers: expected 1 to 16"]
        );
    }
}
