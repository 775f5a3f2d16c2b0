//! Proofs of possession of a key (DPoP, RFC 9449, 4.2 and 4.3).
//!
//! Owns what a proof says by itself: form, type, key and signature. Whether it is about a
//! request, a token and a moment is for whoever has these.
//!
//! Invariant: the key is the one in the proof, public and of one algorithm, and the only thing
//! that it proves is that somebody has it; its thumbprint has to be known from elsewhere.

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::algorithm::Algorithm;
use crate::json;
use crate::jwk::Key;
use crate::jws::{Keys, Unverified};
use crate::refusal::Refusal;
use crate::signatures::Signatures;

/// Most characters of a proof.
pub const LENGTH: usize = 4 << 10;
/// Most characters of a claim.
const TEXT: usize = 2048;

/// A proof whose signature holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// SHA-256 thumbprint of the key (RFC 7638).
    pub key: [u8; 32],
    /// `jti`.
    pub id: String,
    /// `htm`.
    pub method: String,
    /// `htu`.
    pub target: String,
    /// `iat`, in seconds.
    pub issued: u64,
    /// `ath`.
    pub token: Option<String>,
    /// `nonce`, where it has one.
    pub nonce: Option<String>,
}

impl Proof {
    /// Verifies a proof under the key that it brings.
    ///
    /// With `expected` it has to be by the key of this thumbprint, which is looked at first: a
    /// signature by another is not worth verifying.
    pub fn verify(
        text: &[u8],
        expected: Option<&[u8; 32]>,
        signatures: &(impl Signatures + ?Sized),
    ) -> Result<Self, Refusal> {
        if text.len() > LENGTH {
            return Err(Refusal::TooLong);
        }
        let proof = Unverified::parse_with(text, Keys::Brought)?;
        let jwk = proof.brought().ok_or(Refusal::Header)?;
        let key = key(jwk, proof.algorithm()).ok_or(Refusal::Header)?;
        let print = thumbprint(jwk).ok_or(Refusal::Header)?;
        if expected.is_some_and(|expected| *expected != print) {
            return Err(Refusal::UnknownKey);
        }
        let (kind, payload) = proof.verify_under(&key, signatures)?;
        if !kind.is_some_and(|kind| kind.eq_ignore_ascii_case("dpop+jwt")) {
            return Err(Refusal::Type);
        }
        let claims = json::object(payload).ok_or(Refusal::Json)?;
        let text = |name: &'static str| match claims.get(name).map(Value::as_str) {
            Some(Some(text)) if (1..=TEXT).contains(&text.len()) => Ok(text.to_owned()),
            _ => Err(Refusal::Claim(name)),
        };
        Ok(Self {
            key: print,
            id: text("jti")?,
            method: text("htm")?,
            target: text("htu")?,
            issued: claims.get("iat").and_then(Value::as_u64).ok_or(Refusal::Claim("iat"))?,
            token: claims.contains_key("ath").then(|| text("ath")).transpose()?,
            nonce: claims.contains_key("nonce").then(|| text("nonce")).transpose()?,
        })
    }
}

/// The key, for the algorithm of the header: a key that says another one is none.
fn key(jwk: &Map<String, Value>, algorithm: Algorithm) -> Option<Key> {
    let mut jwk = jwk.clone();
    jwk.entry("alg").or_insert_with(|| Value::from(algorithm.name()));
    Key::read(&jwk)
}

/// RFC 7638, 3: the members that the type needs, sorted, without spaces. All of them were
/// read as base64url, or as the name of a curve.
fn thumbprint(jwk: &Map<String, Value>) -> Option<[u8; 32]> {
    let names: &[&str] = match jwk.get("kty")?.as_str()? {
        "OKP" => &["crv", "kty", "x"],
        "EC" => &["crv", "kty", "x", "y"],
        "RSA" => &["e", "kty", "n"],
        _ => return None,
    };
    let member = |name: &&str| Some(format!("\"{name}\":\"{}\"", jwk.get(*name)?.as_str()?));
    let members: Option<Vec<String>> = names.iter().map(member).collect();
    Some(Sha256::digest(format!("{{{}}}", members?.join(","))).into())
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64;
    use ed25519_dalek::{Signer, SigningKey};
    use serde_json::json;

    use super::*;
    use crate::Pure;

    /// RFC 9449, 4.2: figure 2.
    const TOKEN_REQUEST: &str = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19.eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rva2VuIiwiaWF0IjoxNTYyMjYyNjE2fQ.2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg";
    /// RFC 9449, 7.1: figure 13.
    const RESOURCE_REQUEST: &str = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19.eyJqdGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIjoiR0VUIiwiaHR1IjoiaHR0cHM6Ly9yZXNvdXJjZS5leGFtcGxlLm9yZy9wcm90ZWN0ZWRyZXNvdXJjZSIsImlhdCI6MTU2MjI2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNFc05yV0JiMHhXWG9hTnk1OUlpS0NBcWtzbVFFbyJ9.2oW9RP35yRqzhrtNP86L-Ey71EOptxRimPPToA1plemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLjA";
    /// RFC 9449, 6.1: `jkt`.
    const THUMBPRINT: &str = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I";

    fn verify(text: &str) -> Result<Proof, Refusal> {
        Proof::verify(text.as_bytes(), None, &Pure)
    }

    fn proof(header: &Value, claims: &Value) -> String {
        let encode = |value: &Value| B64.encode(value.to_string());
        let signed = format!("{}.{}", encode(header), encode(claims));
        let signature = SigningKey::from_bytes(&[7; 32]).sign(signed.as_bytes());
        format!("{signed}.{}", B64.encode(signature.to_bytes()))
    }

    fn jwk() -> Value {
        let x = B64.encode(SigningKey::from_bytes(&[7; 32]).verifying_key().as_bytes());
        json!({"kty": "OKP", "crv": "Ed25519", "x": x})
    }

    fn header() -> Value {
        json!({"typ": "dpop+jwt", "alg": "EdDSA", "jwk": jwk()})
    }

    fn claims() -> Value {
        json!({"jti": "a", "htm": "GET", "htu": "https://a.test/", "iat": 7, "ath": "b"})
    }

    #[test]
    fn the_examples_of_the_rfc_hold() {
        let first = verify(TOKEN_REQUEST).unwrap();
        let want = Proof {
            key: B64.decode(THUMBPRINT).unwrap().try_into().unwrap(),
            id: "-BwC3ESc6acc2lTc".to_owned(),
            method: "POST".to_owned(),
            target: "https://server.example.com/token".to_owned(),
            issued: 1_562_262_616,
            token: None,
            nonce: None,
        };
        assert_eq!(first, want);
        let second = verify(RESOURCE_REQUEST).unwrap();
        let token = Sha256::digest("Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU");
        assert_eq!(second.token, Some(B64.encode(token)));
        assert_eq!((second.key, second.method.as_str()), (want.key, "GET"));
        assert_eq!(second.target, "https://resource.example.org/protectedresource");
    }

    #[test]
    fn a_proof_says_everything_and_is_signed_by_its_own_key() {
        assert_eq!(verify(&proof(&header(), &claims())).unwrap().token.as_deref(), Some("b"));
        let with = |mut value: Value, name: &str, to: Value| {
            value[name] = to;
            value
        };
        let without = |mut value: Value, name: &str| {
            value.as_object_mut().unwrap().remove(name);
            value
        };
        let stranger = SigningKey::from_bytes(&[8; 32]).verifying_key();
        let stranger = B64.encode(stranger.as_bytes());
        for (header, reason) in [
            (with(header(), "typ", json!("JWT")), Refusal::Type),
            (with(header(), "typ", json!("at+jwt")), Refusal::Type),
            (without(header(), "typ"), Refusal::Type),
            (without(header(), "jwk"), Refusal::Header),
            (with(header(), "jwk", json!("a")), Refusal::Header),
            (with(header(), "jku", json!("https://a.test")), Refusal::Header),
            (with(header(), "crit", json!(["a"])), Refusal::Header),
            (with(header(), "alg", json!("ES256")), Refusal::Header),
            (with(header(), "alg", json!("none")), Refusal::Algorithm),
            (with(header(), "alg", json!("HS256")), Refusal::Algorithm),
            (with(header(), "jwk", with(jwk(), "d", json!("AAAA"))), Refusal::Header),
            (with(header(), "jwk", with(jwk(), "alg", json!("ES256"))), Refusal::Header),
            (with(header(), "jwk", with(jwk(), "x", json!(stranger))), Refusal::Signature),
            (with(header(), "jwk", json!({"kty": "oct", "k": "AAAA"})), Refusal::Header),
        ] {
            assert_eq!(verify(&proof(&header, &claims())), Err(reason), "{header}");
        }
        for name in ["jti", "htm", "htu", "iat"] {
            assert_eq!(
                verify(&proof(&header(), &without(claims(), name))),
                Err(Refusal::Claim(name))
            );
        }
        for (name, value) in [
            ("jti", json!(7)),
            ("jti", json!("")),
            ("htm", json!(["GET"])),
            ("iat", json!(-1)),
            ("iat", json!(1.5)),
            ("iat", json!("7")),
            ("ath", json!(7)),
            ("ath", json!("")),
            ("htu", json!("a".repeat(2049))),
        ] {
            let bad = proof(&header(), &with(claims(), name, value.clone()));
            assert!(matches!(verify(&bad), Err(Refusal::Claim(_))), "{name} {value}");
        }
        let long = with(claims(), "more", json!("a".repeat(LENGTH)));
        assert_eq!(verify(&proof(&header(), &long)), Err(Refusal::TooLong));
        let (signed, _) = TOKEN_REQUEST.rsplit_once('.').unwrap();
        let (_, other) = RESOURCE_REQUEST.rsplit_once('.').unwrap();
        assert_eq!(verify(&format!("{signed}.{other}")), Err(Refusal::Signature));
        assert_eq!(verify("a.b"), Err(Refusal::Form));
    }
}
