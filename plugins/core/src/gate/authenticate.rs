//! Turns a directory entry into a principal, or into `invalid_token`.
//!
//! Invariant: unknown, wrong, expired and revoked keys cost the same comparison and get
//! the same answer.

use crate::api_key::{PresentedKey, StoredKey};
use crate::denial::{Denial, TokenReason};
use crate::identity::{DirectoryRecord, Identity, KeyState, Kind, Principal};
use crate::key_service::KeyEntry;
use crate::time::UnixMillis;

/// Authenticates the caller who presented `key`, for which the directory has `entry`.
pub(super) fn authenticate(
    key: &PresentedKey,
    entry: Option<KeyEntry>,
    tenant: &str,
    now: UnixMillis,
) -> Result<Principal, Denial> {
    let stored = entry.as_ref().map_or(&StoredKey::DUMMY, |entry| &entry.stored);
    let matches = key.matches(stored);
    let record = entry.map(|entry| entry.record);
    match verdict(record.as_ref(), matches, tenant, now) {
        Some(reason) => Err(Denial::InvalidToken(reason)),
        None => record
            .map(|record| Principal::authenticated(identity(key, record)))
            .ok_or(Denial::InvalidToken(TokenReason::Unknown)),
    }
}

fn verdict(
    record: Option<&DirectoryRecord>,
    matches: bool,
    tenant: &str,
    now: UnixMillis,
) -> Option<TokenReason> {
    let Some(record) = record else { return Some(TokenReason::Unknown) };
    // Only the holder of the whole key learns, in the audit, what became of it.
    if !matches {
        return Some(TokenReason::Mismatch);
    }
    if record.state == KeyState::Revoked {
        return Some(TokenReason::Revoked);
    }
    if record.not_after.is_some_and(|end| end <= now) {
        return Some(TokenReason::Expired);
    }
    (record.tenant != tenant).then_some(TokenReason::Tenant)
}

fn identity(key: &PresentedKey, record: DirectoryRecord) -> Identity {
    let id = key.id();
    Identity {
        subject: format!("key:{}", id.as_str()),
        kind: Kind::ApiKey,
        tenant: record.tenant,
        organisation: record.organisation,
        user: record.user,
        agent: record.agent,
        roles: record.roles,
        scopes: record.scopes,
        trust: record.trust,
        clearance: record.clearance,
        document: None,
        token_id: id.as_str().to_owned(),
        expires: record.not_after.map(UnixMillis::seconds),
        platform: record.platform,
    }
}
