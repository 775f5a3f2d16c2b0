//! Whether an authenticated caller was revoked since, and whether anybody would know.
//!
//! Comes between authentication and scopes. Invariant: no answer of the directory and no
//! signature of a token overrules the list.

use crate::denial::{Denial, PolicyReason, TokenReason};
use crate::gate::Pipeline;
use crate::gate::head::Head;
use crate::identity::{Identity, Kind as Established};
use crate::key_service::KeyServiceFault;
use crate::revocation::Kind;
use crate::time::UnixMillis;

/// Refuses what is on the list, and what cannot be known not to be.
pub(super) fn check(
    pipeline: &Pipeline,
    identity: &Identity,
    head: &Head,
    now: UnixMillis,
) -> Result<(), Denial> {
    let list = &pipeline.revocations;
    if list.shuts_gateway() {
        return Err(Denial::PolicyDenied(PolicyReason::GatewayRevoked));
    }
    if names(identity).into_iter().any(|(kind, id)| list.is_revoked(kind, id.as_bytes())) {
        return Err(Denial::InvalidToken(TokenReason::Revoked));
    }
    if !list.freshness(now).allows(head.method.as_bytes()) {
        return Err(Denial::KeyService(KeyServiceFault::RevocationStale));
    }
    Ok(())
}

/// Everything about a caller that can be revoked.
fn names(identity: &Identity) -> [(Kind, &str); 3] {
    let token = match identity.kind {
        Established::ApiKey => Kind::ApiKey,
        _ => Kind::Token,
    };
    [(token, &identity.token_id), (Kind::Agent, &identity.agent), (Kind::User, &identity.user)]
}
