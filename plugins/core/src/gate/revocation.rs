//! Whether an authenticated caller was revoked since, and whether anybody would know.
//!
//! Comes between authentication and scopes. Invariant: no answer of the directory and no
//! signature of a token overrules the list, and of several credentials each is looked up.

use crate::authenticator::Revocable;
use crate::denial::{Denial, PolicyReason, TokenReason};
use crate::gate::Pipeline;
use crate::gate::head::Head;
use crate::key_service::KeyServiceFault;
use crate::time::UnixMillis;

/// Refuses a caller of whom anything is on the list, or cannot be known not to be.
pub(super) fn check(
    pipeline: &Pipeline,
    caller: &[Revocable],
    head: &Head,
    now: UnixMillis,
) -> Result<(), Denial> {
    let list = &pipeline.revocations;
    if list.shuts_gateway() {
        return Err(Denial::PolicyDenied(PolicyReason::GatewayRevoked));
    }
    if caller.iter().any(|(kind, id)| list.is_revoked(*kind, id.as_bytes())) {
        return Err(Denial::InvalidToken(TokenReason::Revoked));
    }
    if !list.freshness(now).allows(head.method.as_bytes()) {
        return Err(Denial::KeyService(KeyServiceFault::RevocationStale));
    }
    Ok(())
}
