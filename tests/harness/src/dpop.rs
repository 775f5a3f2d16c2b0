//! Proofs of possession of scenarios (DPoP, RFC 9449), signed when the request is sent.

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use postern_core::time::UnixMillis;
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::scenario::RequestSpec;
use crate::template::Names;
use crate::world::{entropy, issuer};

/// A token and the proof that comes along.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Spec {
    /// Name of the token.
    pub token: String,
    /// Name of the key that signs; `p256-holder` when absent.
    pub key: Option<String>,
    /// Overlay on the header.
    pub header: Value,
    /// Overlay on the claims; `"+60"` is a minute from now.
    pub claims: Value,
    /// The nonce that came up as this number in a challenge.
    pub nonce: Option<usize>,
    /// Scheme of `Authorization`; `DPoP` when absent.
    pub scheme: Option<String>,
    /// No proof.
    pub without: bool,
    /// Two lines of it.
    pub twice: bool,
}

/// The request with token and proof. Without a description it stays as it is.
pub fn signed(
    request: &RequestSpec,
    tls: bool,
    names: &dyn Names,
    now: UnixMillis,
) -> Result<RequestSpec> {
    let Some(spec) = &request.dpop else { return Ok(request.clone()) };
    let token = names.token(&spec.token).context("no such token")?;
    let key = spec.key.as_deref().unwrap_or("p256-holder");
    let scheme = if tls { "https" } else { "http" };
    let path = request.path.split('?').next().unwrap_or_default();
    let mut usual = json!({
        "htm": request.method,
        "htu": format!("{scheme}://{}{path}", request.authority),
        "ath": URL_SAFE_NO_PAD.encode(Sha256::digest(&token)),
    });
    if let Some(number) = spec.nonce {
        usual["nonce"] = json!(names.nonce(number).context("no such nonce yet")?);
    }
    let proof = proof(key, usual, (&spec.header, &spec.claims), now);
    let lines = if spec.without { 0 } else { 1 + usize::from(spec.twice) };
    let scheme = spec.scheme.as_deref().unwrap_or("DPoP");
    let authorization = format!("{scheme} {}", String::from_utf8(token)?);
    let mut request = request.clone();
    request.fields.push([("authorization".to_owned(), authorization)].into());
    let proofs = std::iter::repeat_n(("dpop".to_owned(), proof), lines);
    request.fields.extend(proofs.map(|line| [line].into()));
    Ok(request)
}

/// A proof by this key about something; overlays on its header and on its claims.
pub fn proof(
    key: &str,
    about: Value,
    (header, claims): (&Value, &Value),
    now: UnixMillis,
) -> String {
    let usual = json!({
        "typ": "dpop+jwt", "alg": issuer::algorithm(key), "jwk": issuer::holder_key(key),
    });
    let header = issuer::merged(usual, header);
    let usual = json!({"jti": URL_SAFE_NO_PAD.encode(entropy().0), "iat": "+0"});
    let usual = issuer::merged(usual, &about);
    let claims = issuer::dated(issuer::merged(usual, claims), now);
    issuer::signed(key, &header, &claims.to_string())
}
