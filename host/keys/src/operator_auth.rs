//! Operator-signed requests: HTTP message signatures (RFC 9421) with an Ed25519 key.
//!
//! One profile, strict: `Signature-Input` must be exactly
//! ```text
//! postern=("@method" "@authority" "@path" "@query" "content-digest");created=N;nonce="…";keyid="…";alg="ed25519";tag="postern-operator"
//! ```
//! with the operator's id (hexadecimal) as `keyid` and 16 random bytes (base64url) as
//! `nonce`. `Content-Digest` (RFC 9530) is `sha-256`, also of empty content.
//!
//! Owns both sides, so that the command line and the service cannot disagree. Knows no
//! HTTP library. Written here and not taken from the crate `httpsig`: that one parses every
//! profile, several algorithms and optional parameters, where the safe verifier accepts a
//! single text; this is smaller than the code that would restrict it.
//!
//! Invariant: [`verify`] rebuilds the signature base from the request as received and the
//! parsed parameters; nothing of the signed text is taken from the sender.

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD as B64};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use postern_core::hex;
use postern_core::time::UnixMillis;
use sha2::{Digest, Sha256};

/// How far `created` may be from now, both ways, in seconds.
pub const WINDOW_S: u64 = 60;
const LABEL: &str = "postern";
const COMPONENTS: &str = r#"("@method" "@authority" "@path" "@query" "content-digest")"#;
const TAIL: &str = r#";alg="ed25519";tag="postern-operator""#;

/// The parts of a request that are signed.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Method, upper case.
    pub method: &'a str,
    /// `Host`, with the port unless it is 443.
    pub authority: &'a str,
    /// Path as sent.
    pub path: &'a str,
    /// Query without `?`; empty where there is none.
    pub query: &'a str,
    /// Content.
    pub body: &'a [u8],
}

/// The three fields of a signed request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fields {
    /// `Content-Digest`.
    pub content_digest: String,
    /// `Signature-Input`.
    pub signature_input: String,
    /// `Signature`.
    pub signature: String,
}

/// What a signature says of itself, before it is verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Operator id.
    pub operator: [u8; 16],
    /// Seconds since 1970.
    pub created: u64,
    /// Request id.
    pub nonce: [u8; 16],
}

/// Why a request is not an operator's. The client learns only that it is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A field is missing or not of this profile.
    #[error("request is not signed as an operator's")]
    Profile,
    /// `created` is outside the window.
    #[error("signature is not from the last minute")]
    Time,
    /// The content is not the one digested.
    #[error("content is not the signed content")]
    Content,
    /// The signature does not verify.
    #[error("signature is not by this operator")]
    Signature,
}

/// Signs a request.
pub fn sign(request: &Request<'_>, claim: &Claim, key: &SigningKey) -> Fields {
    let content_digest = digest(request.body);
    let parameters = claim.parameters();
    let base = base(request, &content_digest, &parameters);
    let signature = BASE64_STANDARD.encode(key.sign(base.as_bytes()).to_bytes());
    Fields {
        content_digest,
        signature_input: format!("{LABEL}={parameters}"),
        signature: format!("{LABEL}=:{signature}:"),
    }
}

impl Claim {
    /// Reads `Signature-Input`.
    ///
    /// # Errors
    /// [`Refusal::Profile`] unless it is exactly what [`sign`] writes.
    pub fn parse(signature_input: &str) -> Result<Self, Refusal> {
        Self::read(signature_input)
            .filter(|claim| signature_input == format!("{LABEL}={}", claim.parameters()))
            .ok_or(Refusal::Profile)
    }

    fn read(text: &str) -> Option<Self> {
        let text = text.strip_prefix(LABEL)?.strip_prefix('=')?.strip_prefix(COMPONENTS)?;
        let text = text.strip_prefix(";created=")?;
        let (created, text) = text.split_once(";nonce=\"")?;
        let (nonce, text) = text.split_once("\";keyid=\"")?;
        let (operator, _) = text.split_once('"')?;
        Some(Self {
            operator: hex::read(operator.as_bytes())?,
            created: created.parse().ok()?,
            nonce: B64.decode(nonce).ok()?.try_into().ok()?,
        })
    }

    fn parameters(&self) -> String {
        let (nonce, operator) = (B64.encode(self.nonce), hex::lower(&self.operator));
        format!(
            "{COMPONENTS};created={};nonce=\"{nonce}\";keyid=\"{operator}\"{TAIL}",
            self.created
        )
    }

    /// When the nonce may be forgotten.
    pub fn nonce_until(&self) -> UnixMillis {
        UnixMillis(self.created.saturating_add(WINDOW_S + 1).saturating_mul(1000))
    }
}

/// Verifies time, content and signature. Whether the nonce is new is for the caller's
/// table to say.
///
/// # Errors
/// See [`Refusal`].
pub fn verify(
    request: &Request<'_>,
    fields: &Fields,
    claim: &Claim,
    key: &VerifyingKey,
    now: UnixMillis,
) -> Result<(), Refusal> {
    if now.seconds().abs_diff(claim.created) > WINDOW_S {
        return Err(Refusal::Time);
    }
    let content_digest = digest(request.body);
    if fields.content_digest != content_digest {
        return Err(Refusal::Content);
    }
    let signature = fields.signature.strip_prefix(LABEL).and_then(|text| text.strip_prefix("=:"));
    let signature = signature.and_then(|text| text.strip_suffix(':')).ok_or(Refusal::Profile)?;
    let signature = BASE64_STANDARD.decode(signature).map_err(|_| Refusal::Profile)?;
    let signature = Signature::from_slice(&signature).map_err(|_| Refusal::Profile)?;
    let base = base(request, &content_digest, &claim.parameters());
    key.verify_strict(base.as_bytes(), &signature).map_err(|_| Refusal::Signature)
}

/// RFC 9421 2.5.
fn base(request: &Request<'_>, content_digest: &str, parameters: &str) -> String {
    let Request { method, authority, path, query, .. } = request;
    let authority = authority.to_ascii_lowercase();
    format!(
        "\"@method\": {method}\n\"@authority\": {authority}\n\"@path\": {path}\n\"@query\": ?{query}\n\
         \"content-digest\": {content_digest}\n\"@signature-params\": {parameters}"
    )
}

/// RFC 9530.
fn digest(body: &[u8]) -> String {
    format!("sha-256=:{}:", BASE64_STANDARD.encode(Sha256::digest(body)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_795_332_000_000);
    const REQUEST: Request<'static> = Request {
        method: "POST",
        authority: "localhost:8843",
        path: "/api/v1/keys",
        query: "",
        body: b"{}",
    };

    fn claim() -> Claim {
        Claim { operator: [3; 16], created: NOW.seconds(), nonce: [4; 16] }
    }

    fn key() -> SigningKey {
        SigningKey::from_bytes(&[5; 32])
    }

    fn check(request: &Request<'_>, fields: &Fields, now: UnixMillis) -> Result<(), Refusal> {
        let claim = Claim::parse(&fields.signature_input)?;
        verify(request, fields, &claim, &key().verifying_key(), now)
    }

    #[test]
    fn what_is_signed_verifies() {
        let fields = sign(&REQUEST, &claim(), &key());
        assert_eq!(check(&REQUEST, &fields, NOW), Ok(()));
        let upper = Request { authority: "LOCALHOST:8843", ..REQUEST };
        assert_eq!(check(&upper, &fields, NOW), Ok(()));
    }

    #[test]
    fn a_change_of_any_signed_part_is_refused() {
        let fields = sign(&REQUEST, &claim(), &key());
        for (request, refusal) in [
            (Request { method: "PUT", ..REQUEST }, Refusal::Signature),
            (Request { authority: "other:8843", ..REQUEST }, Refusal::Signature),
            (Request { path: "/api/v1/key", ..REQUEST }, Refusal::Signature),
            (Request { query: "a=1", ..REQUEST }, Refusal::Signature),
            (Request { body: b"{ }", ..REQUEST }, Refusal::Content),
        ] {
            assert_eq!(check(&request, &fields, NOW), Err(refusal), "{request:?}");
        }
    }

    #[test]
    fn the_window_is_a_minute_both_ways() {
        let fields = sign(&REQUEST, &claim(), &key());
        let at = |shift: i64| {
            check(&REQUEST, &fields, UnixMillis(NOW.0.saturating_add_signed(shift * 1000)))
        };
        assert_eq!((at(60), at(-60)), (Ok(()), Ok(())));
        assert_eq!((at(61), at(-61)), (Err(Refusal::Time), Err(Refusal::Time)));
    }

    #[test]
    fn any_other_profile_is_refused() {
        let fields = sign(&REQUEST, &claim(), &key());
        for (from, to) in [
            ("\"@query\" ", ""),
            ("ed25519", "hmac-sha256"),
            ("postern-operator", "other"),
            ("postern=", "sig1="),
            (";created", ";expires=1;created"),
            ("0303", "03"),
        ] {
            let signature_input = fields.signature_input.replacen(from, to, 1);
            let changed = Fields { signature_input, ..fields.clone() };
            assert_eq!(check(&REQUEST, &changed, NOW), Err(Refusal::Profile), "{from}");
        }
        let other = Fields { signature: "postern=:AAAA:".into(), ..fields };
        assert_eq!(check(&REQUEST, &other, NOW), Err(Refusal::Profile));
    }

    #[test]
    fn another_operators_key_or_a_changed_nonce_is_refused() {
        let fields = sign(&REQUEST, &claim(), &SigningKey::from_bytes(&[6; 32]));
        assert_eq!(check(&REQUEST, &fields, NOW), Err(Refusal::Signature));
        let fields = sign(&REQUEST, &claim(), &key());
        let parameters = Claim { nonce: [9; 16], ..claim() }.parameters();
        let changed = Fields { signature_input: format!("{LABEL}={parameters}"), ..fields };
        assert_eq!(check(&REQUEST, &changed, NOW), Err(Refusal::Signature));
    }
}
