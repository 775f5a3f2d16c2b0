//! Whether a proof holds a nonce that this gateway has issued (RFC 9449, section 9), and the next
//! one (section 8.2).

use postern_core::authenticator::NextNonce;
use postern_core::denial::{Denial, NonceNeeded, Ours, ProofKind, TokenReason};
use postern_core::nonces::Nonces;
use postern_core::time::UnixMillis;

/// Refuses a proof without a good one, and says which the next proof has to hold; for a proof
/// with one, which the next may hold.
pub fn check(
    nonces: &dyn Nonces,
    nonce: Option<&str>,
    proof: ProofKind,
    now: UnixMillis,
) -> Result<Option<NextNonce>, Denial> {
    let reason = match nonce {
        Some(nonce) if nonces.is_issued(nonce, now) => {
            return Ok(nonces.issue(now).map(|nonce| NextNonce { proof, nonce }));
        }
        Some(_) => TokenReason::NonceStale,
        None => TokenReason::NonceMissing,
    };
    let nonce = nonces.issue(now).ok_or(Denial::Internal(Ours::NoncesUnwritten))?;
    Err(Denial::NonceNeeded(Box::new(NonceNeeded { reason, proof, nonce })))
}
