//! JSON Web Tokens: rules for claims (RFC 7519, RFC 8725, RFC 9068).
//!
//! Invariant: issuer and audience are always checked, and a token without an end is none.

use serde_json::{Map, Value};

use crate::json;
use crate::jwk::KeySet;
use crate::jws::{Unverified, Verified};
use crate::refusal::Refusal;
use crate::signatures::Signatures;

/// Longest leeway that a configuration should allow, in seconds.
pub const LEEWAY: u64 = 60;
/// Most audiences of a token.
const AUDIENCES: usize = 32;
/// Later than any date that a token could mean.
const TIMES: f64 = 9_007_199_254_740_992.0;

/// What kind of token is accepted (RFC 8725, 3.11: explicit typing).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `at+jwt` with everything that RFC 9068 (2.2) requires.
    AccessToken,
    /// Without `typ`, `JWT` or `at+jwt`: what older issuers give out for access tokens.
    Plain,
    /// Without `typ`, `JWT` or `JOSE` (JWT-SVID, 2).
    Svid,
}

/// What a token has to satisfy.
#[derive(Clone, Debug)]
pub struct Rules {
    /// `iss`, exactly.
    pub issuer: String,
    /// `aud` names one of these; none of them means no token is good.
    pub audiences: Vec<String>,
    /// What kind of token.
    pub kind: Kind,
    /// How far clocks may be apart, in seconds.
    pub leeway: u64,
}

/// A verified token.
#[derive(Clone, Debug, PartialEq)]
pub struct Token {
    claims: Map<String, Value>,
    key_id: Option<String>,
    expires: u64,
}

impl Token {
    /// A claim.
    pub fn claim(&self, name: &str) -> Option<&Value> {
        self.claims.get(name)
    }

    /// All claims.
    pub fn claims(&self) -> &Map<String, Value> {
        &self.claims
    }

    /// `sub`.
    pub fn subject(&self) -> Option<&str> {
        self.claim("sub").and_then(Value::as_str)
    }

    /// `exp`, in seconds.
    pub fn expires(&self) -> u64 {
        self.expires
    }

    /// The key that it was verified under.
    pub fn key_id(&self) -> Option<&str> {
        self.key_id.as_deref()
    }
}

/// Verifies a token as of `now`, in seconds.
pub fn verify(
    token: &[u8],
    keys: &KeySet,
    rules: &Rules,
    now: u64,
    signatures: &(impl Signatures + ?Sized),
) -> Result<Token, Refusal> {
    check(&Unverified::parse(token)?, keys, rules, now, signatures)
}

/// The same, of a token that was taken apart before.
pub fn check(
    token: &Unverified,
    keys: &KeySet,
    rules: &Rules,
    now: u64,
    signatures: &(impl Signatures + ?Sized),
) -> Result<Token, Refusal> {
    let Verified { kind, key_id, payload } = token.verify(keys, signatures)?;
    if !rules.kind.admits(kind.as_deref()) {
        return Err(Refusal::Type);
    }
    let claims = json::object(&payload).ok_or(Refusal::Json)?;
    let expires = rules.check(&claims, now)?;
    Ok(Token { claims, key_id, expires })
}

impl Kind {
    fn admits(self, kind: Option<&str>) -> bool {
        let kind = kind.map(str::to_ascii_lowercase);
        // `application/` may be left out (RFC 7515, 4.1.9).
        let kind = kind.as_deref().map(|kind| kind.strip_prefix("application/").unwrap_or(kind));
        match self {
            Self::AccessToken => kind == Some("at+jwt"),
            Self::Plain => matches!(kind, None | Some("jwt" | "at+jwt")),
            Self::Svid => matches!(kind, None | Some("jwt" | "jose")),
        }
    }

    /// Claims that have to be there as texts, beside those that every kind has.
    fn required(self) -> &'static [&'static str] {
        match self {
            Self::AccessToken => &["sub", "client_id", "jti"],
            Self::Plain => &[],
            Self::Svid => &["sub"],
        }
    }
}

impl Rules {
    /// Checks the claims and returns when they end.
    fn check(&self, claims: &Map<String, Value>, now: u64) -> Result<u64, Refusal> {
        // An SVID has no issuer: its trust domain has chosen the keys.
        let issuer = text(claims, "iss")?;
        if issuer != Some(self.issuer.as_str()) && !(self.kind == Kind::Svid && issuer.is_none()) {
            return Err(if issuer.is_some() { Refusal::Issuer } else { Refusal::Claim("iss") });
        }
        if !audiences(claims)?.iter().any(|it| self.audiences.iter().any(|own| own == it)) {
            return Err(Refusal::Audience);
        }
        let expires = self.times(claims, now)?;
        for name in ["sub", "jti", "client_id"] {
            let required = self.kind.required().contains(&name);
            if text(claims, name)?.is_none_or(str::is_empty) && required {
                return Err(Refusal::Claim(name));
            }
        }
        Ok(expires)
    }

    fn times(&self, claims: &Map<String, Value>, now: u64) -> Result<u64, Refusal> {
        let expires = time(claims, "exp")?.ok_or(Refusal::Claim("exp"))?;
        let issued = time(claims, "iat")?;
        if self.kind == Kind::AccessToken && issued.is_none() {
            return Err(Refusal::Claim("iat"));
        }
        let soon = now.saturating_add(self.leeway);
        let starts = [time(claims, "nbf")?, issued];
        if starts.into_iter().flatten().any(|start| start > soon) {
            return Err(Refusal::NotYet);
        }
        if expires.saturating_add(self.leeway) <= now {
            return Err(Refusal::Expired);
        }
        Ok(expires)
    }
}

/// A claim that is a text where it is there.
pub fn text<'a>(
    claims: &'a Map<String, Value>,
    name: &'static str,
) -> Result<Option<&'a str>, Refusal> {
    match claims.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Refusal::Claim(name)),
    }
}

/// One text or an array of texts (RFC 7519, 4.1.3).
pub fn audiences(claims: &Map<String, Value>) -> Result<Vec<&str>, Refusal> {
    let audiences = match claims.get("aud") {
        Some(Value::String(one)) => Some(vec![one.as_str()]),
        Some(Value::Array(all)) => all.iter().map(Value::as_str).collect(),
        _ => None,
    };
    audiences.filter(|all| all.len() <= AUDIENCES).ok_or(Refusal::Claim("aud"))
}

/// A NumericDate (RFC 7519, 2), in whole seconds; fractions are cut off.
pub fn time(claims: &Map<String, Value>, name: &'static str) -> Result<Option<u64>, Refusal> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let seconds = value.as_f64().filter(|seconds| (0.0..TIMES).contains(seconds));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "just checked")]
    let whole = seconds.map(|seconds| seconds as u64);
    whole.map(Some).ok_or(Refusal::Claim(name))
}
