//! The signature of a released key: pinned algorithms, the chain and the name of the vault.
//!
//! Invariant: the header chooses between two algorithms, and its certificates are believed only
//! when they chain to a root that is trusted for TLS and name the host that was asked.

use base64::Engine;
use base64::prelude::{BASE64_STANDARD as STD, BASE64_URL_SAFE_NO_PAD as B64};
use postern_core::redacted::Redacted;
use postern_core::time::UnixMillis;
use rustls::pki_types::{
    CertificateDer, ServerName, SignatureVerificationAlgorithm, TrustAnchor, UnixTime,
};
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::time::Duration;
use webpki::{EndEntityCert, KeyUsage};

use crate::Refused;

/// Most certificates.
const CHAIN: usize = 6;

#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    x5c: Vec<String>,
    crit: Option<IgnoredAny>,
}

/// The payload of `jws`, if it is signed in the name of `host` under one of `roots` at `now`.
///
/// # Errors
/// What does not hold.
pub fn verify(
    jws: &str,
    host: &str,
    roots: &[TrustAnchor<'_>],
    now: UnixMillis,
) -> Result<Vec<u8>, Refused> {
    let malformed = || Refused::Malformed("released key");
    let (signed, signature) = jws.rsplit_once('.').ok_or_else(malformed)?;
    let (head, payload) = signed.split_once('.').ok_or_else(malformed)?;
    let decoded = |part: &str| B64.decode(part).map_err(|_| malformed());
    let (head, payload, signature) = (decoded(head)?, decoded(payload)?, decoded(signature)?);
    let header: Header = serde_json::from_slice(&head).map_err(|_| malformed())?;
    if header.crit.is_some() {
        return Err(Refused::Signature("unknown critical members"));
    }
    let algorithm = algorithm(&header.alg)?;
    let chain = chain(&header.x5c)?;
    let (leaf, issuers) = chain.split_first().ok_or_else(malformed)?;
    let leaf = EndEntityCert::try_from(leaf).map_err(chained)?;
    named(&leaf, issuers, host, roots, now)?;
    let holds = leaf.verify_signature(algorithm, signed.as_bytes(), &signature);
    holds.map_err(|_| Refused::Signature("its signature does not hold"))?;
    Ok(payload)
}

/// Never by the header alone: `none`, HMAC and weaker hashes are not there.
fn algorithm(name: &str) -> Result<&'static dyn SignatureVerificationAlgorithm, Refused> {
    match name {
        "RS256" => Ok(webpki::ring::RSA_PKCS1_2048_8192_SHA256),
        "PS256" => Ok(webpki::ring::RSA_PSS_2048_8192_SHA256_LEGACY_KEY),
        _ => Err(Refused::Signature("expected the algorithm RS256 or PS256")),
    }
}

fn chain(x5c: &[String]) -> Result<Vec<CertificateDer<'static>>, Refused> {
    if x5c.is_empty() || x5c.len() > CHAIN {
        return Err(Refused::Signature("expected one to six certificates"));
    }
    let read = |text: &String| STD.decode(text).map(CertificateDer::from);
    let all: Result<_, _> = x5c.iter().map(read).collect();
    all.map_err(|_| Refused::Malformed("released key"))
}

fn named(
    leaf: &EndEntityCert<'_>,
    issuers: &[CertificateDer<'_>],
    host: &str,
    roots: &[TrustAnchor<'_>],
    now: UnixMillis,
) -> Result<(), Refused> {
    let algorithms = webpki::ALL_VERIFICATION_ALGS;
    let time = UnixTime::since_unix_epoch(Duration::from_millis(now.0));
    let usage = KeyUsage::server_auth();
    leaf.verify_for_usage(algorithms, roots, issuers, time, usage, None, None).map_err(chained)?;
    let name = ServerName::try_from(host).map_err(|_| Refused::Malformed("host name"))?;
    leaf.verify_is_valid_for_subject_name(&name).map_err(chained)
}

fn chained(error: webpki::Error) -> Refused {
    Refused::Chain(Redacted::new(&error.to_string()))
}
