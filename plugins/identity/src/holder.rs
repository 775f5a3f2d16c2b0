//! Who presents a token: what it has shown on its connection, and its proof.
//!
//! Invariant: a token that says it is bound is good only on a connection with that
//! certificate, or with a proof by that key over this request, every time it comes.

use postern_core::authenticator::{NextNonce, Presented};
use postern_core::denial::{Denial, TokenReason};
use postern_core::time::UnixMillis;

use crate::cache::Digest;
use crate::certificate;
use crate::confirmation::Confirmation;
use crate::dpop::{Proofs, Shown};

/// What came with a token.
#[derive(Default)]
pub struct Holder {
    /// What the caller has shown on its connection, PEM.
    certificate: Option<Vec<u8>>,
    /// What a proof has to be about, where the caller says that one comes along.
    proof: Option<Shown>,
}

impl Holder {
    /// Takes it from a head; `proven` where the scheme says that a proof comes along (RFC 9449,
    /// 7.1).
    pub fn of(shown: &Presented<'_>, proven: bool) -> Self {
        let certificate = shown.certificate.map(<[u8]>::to_vec);
        Self { certificate, proof: proven.then(|| Shown::of(shown)) }
    }

    /// The holder is the one that the token, whose SHA-256 this is, was made for. Gives the nonce
    /// that his next proof may hold.
    pub fn confirm(
        &self,
        bound: &Confirmation,
        proofs: Option<&Proofs>,
        token: &Digest,
        now: UnixMillis,
    ) -> Result<Option<NextNonce>, Denial> {
        let invalid = |reason| Err(Denial::InvalidToken(reason));
        match (bound, &self.proof) {
            (Confirmation::Key(key), Some(shown)) => match proofs {
                Some(proofs) => proofs.check(shown, key, token, now),
                None => invalid(TokenReason::Bound),
            },
            // Nobody may send such a token as if it were anybody's (RFC 9449, 7.2).
            (Confirmation::Key(_), None) => invalid(TokenReason::Bound),
            (_, Some(_)) => invalid(TokenReason::Scheme),
            (Confirmation::Certificate(thumbprint), None) => {
                let shown = self.certificate.as_deref().and_then(certificate::thumbprint);
                if shown.as_ref() == Some(thumbprint) {
                    Ok(None)
                } else {
                    invalid(TokenReason::Bound)
                }
            }
            (Confirmation::Bearer, None) if proofs.is_some_and(Proofs::required) => {
                invalid(TokenReason::Unbound)
            }
            (Confirmation::Bearer, None) => Ok(None),
        }
    }
}
