//! `authenticators[].jwt`: access tokens that are JWTs of one issuer.

use std::time::Duration;

use serde::Deserialize;

use super::authenticators::{AUTHORIZATION, header};
use super::capability::seconds;
use super::demand::NonceDemand;
use super::tokens::{self, Claims, ClaimsWire, KeySetWire, KeySource, span};
use crate::config::{ConfigError, Problems};

/// `jwt` as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JwtWire {
    /// Field that holds the token. Default `Authorization`, where the Bearer scheme is
    /// expected; any other field holds the bare token.
    pub header: Option<String>,
    /// Issuer, compared exactly with `iss`. Required.
    pub issuer: Option<String>,
    /// Audiences, one of which the token has to be for (RFC 8707). Required, at least one.
    #[serde(default)]
    pub audience: Vec<String>,
    /// `at+jwt`: only access tokens as RFC 9068 has them. Default: none, tokens without a
    /// type or with `JWT` are good too.
    #[serde(rename = "type")]
    pub kind: Option<TypeWire>,
    /// How far clocks may be apart. Default `30s`, limit `60s`.
    pub leeway: Option<String>,
    /// Longest life of a token, from `iat` (or now) to `exp`. Default `24h`, limit `720h`.
    pub max_life: Option<String>,
    /// Where the issuer's keys come from. Required. The key says the algorithm.
    pub jwks: Option<KeySetWire>,
    /// Which claims become which part of the identity document.
    #[serde(default)]
    pub claims: ClaimsWire,
    /// Values of `tid` that are accepted (tenants of Entra ID). Default: any, the claim is
    /// not looked at.
    pub tenants: Option<Vec<String>>,
    /// Most verified tokens that are remembered by each worker. Default 1024, limit 16384;
    /// 0 remembers none.
    pub cache: Option<u32>,
    /// Takes tokens that are bound to a key (`cnf: {jkt}`), with a proof in each request (DPoP,
    /// RFC 9449), in `Authorization: DPoP`. Default: such tokens are refused.
    pub dpop: Option<DpopWire>,
}

/// `jwt.dpop` as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DpopWire {
    /// How old a proof may be. Default `30s`, `1s` to `60s`.
    pub past: Option<String>,
    /// How far the caller's clock may be ahead. Default `5s`, limit `10s`.
    pub future: Option<String>,
    /// Refuses tokens of this issuer that are bound to nothing. Default false.
    #[serde(default)]
    pub required: bool,
    /// Which requests have to prove with a nonce that this gateway has issued (RFC 9449, 9):
    /// `writes`, `all` or `never`, the default. A request without one gets it.
    #[serde(default)]
    pub nonce: NonceDemand,
}

/// `jwt.type` as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum TypeWire {
    /// RFC 9068.
    #[serde(rename = "at+jwt")]
    AccessToken,
}

/// Access tokens of one issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jwt {
    /// Lower-case name of the field.
    pub header: String,
    /// `iss`.
    pub issuer: String,
    /// `aud` has to name one.
    pub audiences: Vec<String>,
    /// Only `at+jwt`.
    pub access_tokens_only: bool,
    /// How far clocks may be apart.
    pub leeway: Duration,
    /// Longest life.
    pub max_life: Duration,
    /// Keys of the issuer.
    pub keys: KeySource,
    /// Names of claims.
    pub claims: Claims,
    /// Accepted values of `tid`.
    pub tenants: Option<Vec<String>>,
    /// Most remembered tokens.
    pub cache: usize,
    /// When proofs are good, where tokens may be bound to a key.
    pub dpop: Option<Dpop>,
}

/// Tokens that are bound to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dpop {
    /// How old a proof may be.
    pub past: Duration,
    /// How far the caller's clock may be ahead.
    pub future: Duration,
    /// No other tokens than bound ones.
    pub required: bool,
    /// Which requests have to prove with a nonce that was issued.
    pub nonce: NonceDemand,
}

const LEEWAY: Duration = Duration::from_secs(30);
const MOST_LEEWAY: Duration = Duration::from_secs(60);
const LIFE: Duration = Duration::from_secs(24 * 3600);
const MOST_LIFE: Duration = Duration::from_secs(720 * 3600);
const CACHE: u32 = 1024;
const LARGEST_CACHE: u32 = 16384;

pub(super) fn jwt(wire: JwtWire) -> Result<Jwt, ConfigError> {
    let mut problems = Problems::default();
    let header = header(wire.header, &mut problems);
    let issuer = problems.required("issuer", wire.issuer.filter(|text| !text.is_empty()));
    let audiences = tokens::audiences(wire.audience, &mut problems);
    let leeway = leeway(wire.leeway, &mut problems);
    let max_life = span(&mut problems, "max_life", wire.max_life, LIFE);
    if !(Duration::from_secs(1)..=MOST_LIFE).contains(&max_life) {
        problems.note("max_life", "expected 1s to 720h");
    }
    let keys = problems.required("jwks", wire.jwks);
    let keys = keys.and_then(|wire| problems.part("jwks", tokens::key_source(wire)));
    let claims = problems.part("claims", tokens::claims(wire.claims));
    if wire.tenants.as_ref().is_some_and(|list| list.is_empty() || list.len() > 256) {
        problems.note("tenants", "expected 1 to 256");
    }
    let cache = cache(wire.cache, &mut problems);
    let dpop = proofs(wire.dpop, &header, &mut problems);
    let read = (|| {
        Some(Jwt {
            header,
            issuer: issuer?,
            audiences,
            access_tokens_only: wire.kind.is_some(),
            leeway,
            max_life,
            keys: keys?,
            claims: claims?,
            tenants: wire.tenants,
            cache,
            dpop,
        })
    })();
    problems.finish(read)
}

/// When proofs are good, in the only field whose scheme says that one comes along.
pub(super) fn proofs(
    written: Option<DpopWire>,
    header: &str,
    problems: &mut Problems,
) -> Option<Dpop> {
    let dpop = written.and_then(|wire| problems.part("dpop", dpop(wire)));
    if dpop.is_some() && header != AUTHORIZATION {
        problems.note("dpop", "expected the header Authorization, whose scheme says it");
    }
    dpop
}

fn dpop(wire: DpopWire) -> Result<Dpop, ConfigError> {
    let mut problems = Problems::default();
    let mut span = |path, text: Option<String>, default: &str, (least, most)| {
        let text = text.as_deref().unwrap_or(default);
        problems.scalar(path, seconds(text, least, most)).unwrap_or_default()
    };
    let past = span("past", wire.past, "30s", (1, 60));
    let future = span("future", wire.future, "5s", (0, 10));
    problems.finish(Some(Dpop { past, future, required: wire.required, nonce: wire.nonce }))
}

/// How far clocks may be apart.
pub(super) fn leeway(written: Option<String>, problems: &mut Problems) -> Duration {
    let leeway = span(problems, "leeway", written, LEEWAY);
    if leeway > MOST_LEEWAY {
        problems.note("leeway", "expected at most 60s");
    }
    leeway
}

/// Most remembered tokens.
pub(super) fn cache(written: Option<u32>, problems: &mut Problems) -> usize {
    let cache = written.unwrap_or(CACHE);
    if cache > LARGEST_CACHE {
        problems.note("cache", "expected at most 16384");
    }
    usize::try_from(cache).unwrap_or_default()
}
