//! API keys: create, list, rotate with overlap, revoke.
//!
//! Invariant: only id, salt and hash arrive, and none of them but the id leaves.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64;
use postern_core::api_key::{KeyId, StoredKey};
use postern_core::identity::{ROLES, TRUST_LEVELS};
use postern_core::revocation::Kind;
use postern_core::time::UnixMillis;
use serde::{Deserialize, Serialize};

use super::{Operator, bad_request, conflict, has_room, not_found};
use crate::fault::Fault;
use crate::service::{HttpAnswer, Service};
use crate::store::api_keys::{self, Grant};
use crate::store::revocations::Revocation;

/// Longest overlap of a rotation: 30 days.
const MAX_OVERLAP_S: u64 = 30 * 24 * 3600;
/// Longest text and most entries of a grant, as the directory's message has room for.
const MAX_TEXT: usize = 128;
const MAX_LIST: usize = 32;

/// `POST /api/v1/keys`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewKey {
    /// Eight base62 characters.
    pub id: String,
    /// 16 bytes, base64url.
    pub salt: String,
    /// `SHA-256("postern key/1\0" || salt || key)`, base64url.
    pub hash: String,
    /// Whose it is and what it may do.
    pub grant: Grant,
}

/// `POST /api/v1/keys/{id}/rotate`: the new key takes over the grant, and lives anew.
///
/// Rotation replaces: while its successor is active, the old key does not count towards
/// [`api_keys::MAX_ACTIVE`]. So that this stays one more key and no chain of them, a key is
/// rotated only when it has no active successor and no predecessor that still works.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rotation {
    /// Eight base62 characters.
    pub id: String,
    /// 16 bytes, base64url.
    pub salt: String,
    /// The new key's hash, base64url.
    pub hash: String,
    /// Seconds for which the old key stays good, at most 30 days, and never longer than it
    /// would have been.
    pub overlap_seconds: u64,
    /// Milliseconds since 1970 from which the new key is no good.
    pub not_after: u64,
}

/// Id and hash as they are sent.
pub(super) fn stored(id: &str, salt: &str, hash: &str) -> Option<(KeyId, StoredKey)> {
    let salt = B64.decode(salt).ok()?.try_into().ok()?;
    let hash = B64.decode(hash).ok()?.try_into().ok()?;
    Some((KeyId::new(id.as_bytes())?, StoredKey { salt, hash }))
}

fn acceptable(grant: &Grant, now: UnixMillis) -> bool {
    let text =
        |text: &String| (1..=MAX_TEXT).contains(&text.len()) && !text.chars().any(char::is_control);
    let list = |list: &Vec<String>| list.len() <= MAX_LIST && list.iter().all(text);
    [&grant.user, &grant.organisation, &grant.agent, &grant.trust].into_iter().all(text)
        && [&grant.clearance, &grant.platform].into_iter().flatten().all(text)
        && list(&grant.scopes)
        && list(&grant.roles)
        && TRUST_LEVELS.contains(&grant.trust.as_str())
        && grant.roles.iter().all(|role| ROLES.contains(&role.as_str()))
        && grant.not_after.is_none_or(|end| end > now.0)
}

impl Service {
    pub(super) async fn list_keys(
        &self,
        operator: &Operator,
        now: UnixMillis,
    ) -> Result<HttpAnswer, Fault> {
        let mut db = self.inner.pool.read(operator.reach()).await?;
        let keys = api_keys::all(&mut db, &self.inner.rows, &operator.tenant, now).await?;
        Ok(HttpAnswer::json(&serde_json::json!({ "keys": keys })))
    }

    pub(super) async fn create_key(
        &self,
        operator: &Operator,
        body: &[u8],
        now: UnixMillis,
    ) -> Result<HttpAnswer, Fault> {
        let Ok(new) = serde_json::from_slice::<NewKey>(body) else {
            return Ok(bad_request("Expected id, salt, hash and grant"));
        };
        let Some((id, key)) = stored(&new.id, &new.salt, &new.hash) else {
            return Ok(bad_request("Expected id, salt and hash of their lengths"));
        };
        if !acceptable(&new.grant, now) {
            return Ok(bad_request(
                "Expected a grant of short texts, known roles and trust, a later end",
            ));
        }
        let mut db = self.inner.pool.write(operator.reach()).await?;
        if !has_room(&mut db, &operator.tenant, &new.grant.user, now).await? {
            return Ok(conflict("This user has 10 active keys; revoke one first"));
        }
        if !api_keys::add(&mut db, &self.inner.rows, &operator.tenant, &id, &key, &new.grant, now)
            .await?
        {
            return Ok(conflict("This key id is taken"));
        }
        let event = operator
            .event("key_created")
            .with("key", new.id.as_str())
            .with("user", new.grant.user.as_str())
            .with("organisation", new.grant.organisation.as_str())
            .with("agent", new.grant.agent.as_str())
            .with("trust", new.grant.trust.as_str())
            .with_list("roles", &new.grant.roles)
            .with_list("scopes", &new.grant.scopes);
        let event = new.grant.platform.iter().fold(event, |event, it| event.with("platform", it));
        let end = new.grant.not_after.map(|end| end.to_string());
        let event = end.into_iter().fold(event, |event, end| event.with("until", end));
        self.recorded(db, event, now).await?;
        self.show_key(operator, &new.id, now).await
    }

    pub(super) async fn rotate_key(
        &self,
        operator: &Operator,
        old: &str,
        body: &[u8],
        now: UnixMillis,
    ) -> Result<HttpAnswer, Fault> {
        let Ok(new) = serde_json::from_slice::<Rotation>(body) else {
            return Ok(bad_request("Expected id, salt, hash, overlap_seconds and not_after"));
        };
        let Some((id, key)) = stored(&new.id, &new.salt, &new.hash) else {
            return Ok(bad_request("Expected id, salt and hash of their lengths"));
        };
        if new.overlap_seconds > MAX_OVERLAP_S || new.not_after <= now.0 {
            return Ok(bad_request("Expected an overlap of at most 30 days and a later end"));
        }
        let mut db = self.inner.pool.write(operator.reach()).await?;
        let found =
            api_keys::metadata(&mut db, &self.inner.rows, &operator.tenant, old, now).await?;
        let Some(found) = found.filter(|found| found.state == "active") else {
            return Ok(not_found());
        };
        if api_keys::in_rotation(&mut db, &operator.tenant, old, now).await? {
            return Ok(conflict("An earlier rotation still overlaps; revoke its old key first"));
        }
        let end = UnixMillis(now.0.saturating_add(new.overlap_seconds.saturating_mul(1000)));
        api_keys::supersede(&mut db, &self.inner.rows, &operator.tenant, old, &id, end).await?;
        // Gateways may know it with its old end.
        let told = Revocation::told(Kind::ApiKey, old.as_bytes(), end);
        self.tell(&mut db, operator, told, now).await?;
        let grant = Grant { not_after: Some(new.not_after), ..found.grant };
        if !api_keys::add(&mut db, &self.inner.rows, &operator.tenant, &id, &key, &grant, now)
            .await?
        {
            return Ok(conflict("This key id is taken"));
        }
        let event = operator.event("key_rotated").with("key", old).with("by", new.id.as_str());
        self.recorded(db, event.with("until", end.0.to_string()), now).await?;
        self.show_key(operator, &new.id, now).await
    }

    pub(super) async fn revoke_key(
        &self,
        operator: &Operator,
        id: &str,
        now: UnixMillis,
    ) -> Result<HttpAnswer, Fault> {
        let mut db = self.inner.pool.write(operator.reach()).await?;
        if !api_keys::revoke(&mut db, &self.inner.rows, &operator.tenant, id, now).await? {
            return Ok(not_found());
        }
        let told = Revocation::told(Kind::ApiKey, id.as_bytes(), now);
        self.tell(&mut db, operator, told, now).await?;
        self.recorded(db, operator.event("key_revoked").with("key", id), now).await?;
        self.show_key(operator, id, now).await
    }

    async fn show_key(
        &self,
        operator: &Operator,
        id: &str,
        now: UnixMillis,
    ) -> Result<HttpAnswer, Fault> {
        let mut db = self.inner.pool.read(operator.reach()).await?;
        let found =
            api_keys::metadata(&mut db, &self.inner.rows, &operator.tenant, id, now).await?;
        Ok(found.map_or_else(not_found, |key| HttpAnswer::json(&key)))
    }
}
