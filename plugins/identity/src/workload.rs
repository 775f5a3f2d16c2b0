//! SPIFFE IDs to the identity document, as configured.
//!
//! Invariant: an ID of a trust domain that is not accepted, or that no entry is for, is
//! nobody; what the entry does not say is the least.

use postern_core::authenticator::Revocable;
use postern_core::config::gate::Workloads;
use postern_core::denial::TokenReason;
use postern_core::identity::{Identity, Kind};
use postern_core::revocation;
use postern_core::spiffe::SpiffeId;

/// Longest name of an agent, and of anything that can be revoked.
const NAME: usize = 128;

/// What is known of an SVID beside its SPIFFE ID.
pub struct Document {
    /// Which kind of SVID.
    pub kind: Kind,
    /// What names this one.
    pub token_id: String,
    /// Its end, in seconds, where that is known.
    pub expires: Option<u64>,
}

/// The identity document of a verified SVID, for a gate of `tenant`.
pub fn identity(
    workloads: &Workloads,
    id: &SpiffeId,
    document: Document,
    tenant: &str,
) -> Result<Identity, TokenReason> {
    if !workloads.trusts(id.trust_domain()) {
        return Err(TokenReason::TrustDomain);
    }
    let workload = workloads.find(id).ok_or(TokenReason::Unmapped)?;
    let agent = workload.agent.clone().unwrap_or_else(|| id.as_str().to_owned());
    if agent.len() > NAME {
        return Err(TokenReason::TooLong);
    }
    Ok(Identity {
        subject: id.as_str().to_owned(),
        kind: document.kind,
        tenant: tenant.to_owned(),
        organisation: workload.organisation.clone(),
        user: workload.user.clone(),
        agent,
        roles: workload.roles.clone(),
        scopes: workload.scopes.clone(),
        trust: workload.trust.clone(),
        clearance: workload.clearance.clone(),
        document: None,
        token_id: document.token_id,
        expires: document.expires,
        platform: None,
    })
}

/// A workload can be revoked by its ID, whatever it shows and whoever it is here.
pub fn revocable(id: &SpiffeId) -> Option<Revocable> {
    let id = id.as_str();
    (id.len() <= NAME).then(|| (revocation::Kind::Token, id.to_owned()))
}
