//! Turns what authenticators have established into the principal, or into `invalid_token`.
//!
//! Invariant: the only place where a [`Principal`] is made; it is of the tenant that this
//! gate serves, and where several credentials came together, all of them say so.

use std::rc::Rc;

use crate::authenticator::{Established, NextNonce, Revocable};
use crate::denial::{Denial, Ours, TokenReason};
use crate::identity::Principal;
use crate::limits::Limits;

/// A caller, and what he has signed besides.
pub(super) struct Admitted {
    pub(super) principal: Principal,
    /// The digest that the content must have.
    pub(super) content: Option<[u8; 32]>,
    /// What each of his credentials allows at most.
    pub(super) limits: Vec<Rc<dyn Limits>>,
    /// What they asked for beyond that.
    pub(super) attempts: Vec<String>,
    /// Everything of all his credentials that can be revoked.
    pub(super) names: Vec<Revocable>,
    /// Nonces that the caller is told.
    pub(super) offers: Vec<NextNonce>,
}

/// Admits the caller whom these name; the last one gives the identity document.
pub(super) fn admit(established: Vec<Established>, tenant: &str) -> Result<Admitted, Denial> {
    let invalid = |reason| Err(Denial::InvalidToken(reason));
    if established.iter().any(|one| one.identity().tenant != tenant) {
        return invalid(TokenReason::Tenant);
    }
    let mut digests = established.iter().filter_map(Established::content);
    let content = digests.next();
    if digests.any(|other| Some(other) != content) {
        return invalid(TokenReason::Combined);
    }
    let agents: Vec<&str> = established.iter().map(|one| one.identity().agent.as_str()).collect();
    let mut named = agents.iter().filter(|agent| !agent.is_empty());
    let agent = named.next().map(|agent| (*agent).to_owned()).unwrap_or_default();
    if named.any(|other| *other != agent) {
        return invalid(TokenReason::Combined);
    }
    // Who is behind a request does not decide about it, so that name must not get lost behind
    // a caller who has none.
    let mut users = established.iter().rev().map(|one| &one.identity().user);
    let user = users.find(|user| !user.is_empty()).cloned().unwrap_or_default();
    let limits = established.iter().filter_map(|one| one.limits().cloned()).collect();
    let attempts = established.iter().flat_map(|one| one.attempts().to_vec()).collect();
    let names = established.iter().flat_map(|one| one.names().to_vec()).collect();
    let offers = established.iter().filter_map(|one| one.offer().cloned()).collect();
    let last = established.into_iter().next_back().ok_or(Denial::Internal(Ours::Unreachable))?;
    let mut identity = last.into_identity();
    (identity.agent, identity.user) = (agent, user);
    let principal = Principal::authenticated(identity);
    Ok(Admitted { principal, content, limits, attempts, names, offers })
}
