//! The proof that a request brings along with a token that is bound to a key (RFC 9449, 7).
//!
//! Owns what a proof has to say of this request, this token and this moment. Invariant: a
//! proof is good once, for one request, with the token that it names; its `jti` is used up
//! only when everything else is as it has to be, a nonce of this gateway's included where the
//! configuration asks for one.

use std::rc::Rc;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64;
use postern_core::authenticator::{NextNonce, Presented};
use postern_core::config::gate::Dpop;
use postern_core::denial::{Denial, Ours, ProofKind, TokenReason};
use postern_core::fields::Fields;
use postern_core::nonces::{Met, Nonces};
use postern_core::time::UnixMillis;
use postern_jose::dpop::Proof;
use postern_jose::{Refusal, Signatures};
use sha2::{Digest as _, Sha256};

use crate::Services;
use crate::cache::Digest;
use crate::nonce;

/// The field with the proof.
const FIELD: &str = "dpop";

/// When proofs are good, and where they are remembered.
pub struct Proofs {
    window: Dpop,
    nonces: Rc<dyn Nonces>,
    signatures: Rc<dyn Signatures>,
}

/// What of a head a proof is about.
pub struct Shown {
    method: Option<String>,
    target: Option<String>,
    /// `Some(None)` where it is not one line.
    proof: Option<Option<Vec<u8>>>,
}

impl Shown {
    /// Takes it from a head.
    pub fn of(presented: &Presented<'_>) -> Self {
        let fields = presented.fields;
        let proof = fields.has(FIELD).then(|| fields.only(FIELD).map(<[u8]>::to_vec));
        Self { method: text(fields, ":method"), target: target(fields), proof }
    }
}

fn text(fields: &Fields, name: &str) -> Option<String> {
    Some(str::from_utf8(fields.only(name)?).ok()?.to_owned())
}

fn target(fields: &Fields) -> Option<String> {
    let part = |name| text(fields, name);
    normal(&format!("{}://{}{}", part(":scheme")?, part(":authority")?, part(":path")?))
}

/// A target as two are compared (RFC 9449, 4.3: RFC 3986, 6.2.2 and 6.2.3), without query
/// and fragment: scheme and host in lower case, no default port, and the path as it stands.
fn normal(uri: &str) -> Option<String> {
    let (scheme, rest) = uri.split_once("://")?;
    let scheme = scheme.to_ascii_lowercase();
    let end = rest.find(['?', '#']).unwrap_or(rest.len());
    let rest = rest.get(..end)?;
    let start = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at_checked(start)?;
    let authority = authority.to_ascii_lowercase();
    let port = match scheme.as_str() {
        "https" => ":443",
        "http" => ":80",
        _ => return None,
    };
    let host = authority.strip_suffix(port).unwrap_or(&authority);
    let path = if path.is_empty() { "/" } else { path };
    (!host.is_empty()).then(|| format!("{scheme}://{host}{path}"))
}

impl Proofs {
    /// Proofs within this window, remembered there.
    pub fn new(window: Dpop, services: &Services) -> Self {
        let (nonces, signatures) = (Rc::clone(&services.nonces), Rc::clone(&services.signatures));
        Self { window, nonces, signatures }
    }

    /// Whether tokens have to be bound.
    pub fn required(&self) -> bool {
        self.window.required
    }

    /// Holds the proof of a request against the key that its token is bound to; `token` is the
    /// token's SHA-256. Gives the nonce of the next proof, where proofs need one.
    pub fn check(
        &self,
        shown: &Shown,
        key: &Digest,
        token: &Digest,
        now: UnixMillis,
    ) -> Result<Option<NextNonce>, Denial> {
        let proof = self.read(shown, key, token, now).map_err(Denial::InvalidProof)?;
        let next = match self.window.nonce.is_for(&proof.method) {
            true => nonce::check(&*self.nonces, proof.nonce.as_deref(), ProofKind::Dpop, now)?,
            false => None,
        };
        let nonce = Sha256::new()
            .chain_update(b"postern dpop/1\0")
            .chain_update(proof.key)
            .chain_update(proof.id.as_bytes());
        match self.nonces.meet(&nonce.finalize().into(), now) {
            Met::New => Ok(next),
            Met::Before => Err(Denial::InvalidProof(TokenReason::Replayed)),
            Met::Full => Err(Denial::RateLimited),
            Met::Forged => Err(Denial::Internal(Ours::NoncesForged)),
            Met::Unwritten => Err(Denial::Internal(Ours::NoncesUnwritten)),
        }
    }

    fn read(
        &self,
        shown: &Shown,
        key: &Digest,
        token: &Digest,
        now: UnixMillis,
    ) -> Result<Proof, TokenReason> {
        let line = shown.proof.as_ref().ok_or(TokenReason::ProofMissing)?;
        let line = line.as_ref().ok_or(TokenReason::Repeated)?;
        let proof = Proof::verify(line, Some(key), &*self.signatures);
        let proof = proof.map_err(|refusal| match refusal {
            Refusal::UnknownKey => TokenReason::Bound,
            _ => TokenReason::Proof,
        })?;
        if proof.token.as_deref() != Some(B64.encode(token).as_str()) {
            return Err(TokenReason::ProofToken);
        }
        let target = normal(&proof.target).ok_or(TokenReason::ProofRequest)?;
        let about = (shown.method.as_deref(), shown.target.as_deref());
        if about != (Some(proof.method.as_str()), Some(target.as_str())) {
            return Err(TokenReason::ProofRequest);
        }
        let (now, issued) = (now.seconds(), proof.issued);
        let soon = now.saturating_add(self.window.future.as_secs());
        if issued > soon || issued.saturating_add(self.window.past.as_secs()) < now {
            return Err(TokenReason::ProofTime);
        }
        Ok(proof)
    }
}

#[cfg(test)]
mod tests {
    use postern_core::denial::PROOF_ALGORITHMS;

    use super::*;

    #[test]
    fn targets_are_compared_without_what_makes_no_difference() {
        for (uri, want) in [
            ("https://A.test/b?c#d", Some("https://a.test/b")),
            ("HTTPS://a.test:443/b", Some("https://a.test/b")),
            ("http://a.test:80", Some("http://a.test/")),
            ("https://a.test:80/B", Some("https://a.test:80/B")),
            ("https://a.test?b", Some("https://a.test/")),
            ("https://u@a.test/", Some("https://u@a.test/")),
            ("https:///b", None),
            ("/b", None),
            ("ftp://a.test/", None),
        ] {
            assert_eq!(normal(uri).as_deref(), want, "{uri}");
        }
    }

    #[test]
    fn every_algorithm_that_challenges_name_is_one() {
        for name in PROOF_ALGORITHMS.split(' ') {
            assert!(postern_jose::Algorithm::find(name).is_some(), "{name}");
        }
    }

    #[test]
    fn paths_are_compared_as_they_stand() {
        for (one, other) in [
            ("https://a.test/b", "https://a.test/b/"),
            ("https://a.test/b", "https://a.test/%62"),
            ("https://a.test/b", "http://a.test/b"),
            ("https://a.test/b", "https://a.test.evil/b"),
        ] {
            assert_ne!(normal(one), normal(other));
        }
    }
}
