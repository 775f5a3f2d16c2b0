//! Invites: create, list, revoke; and the key that signs what they are exchanged for.
//!
//! Invariant: only id, salt and hash arrive, and none of them but the id leaves.

use postern_core::hex;
use postern_core::identity::{ROLES, TRUST_LEVELS};
use postern_core::revocation::Kind;
use postern_core::time::UnixMillis;
use serde::{Deserialize, Serialize};

use super::keys::stored;
use super::{Operator, bad_request, conflict, not_found};
use crate::fault::Fault;
use crate::service::{HttpAnswer, Service};
use crate::store::invites::{self, Grant, New};
use crate::store::revocations::{self, Revocation};
use crate::tokens::{self, IssuerKey};

/// Longest time until an invite has to be exchanged: 90 days.
const LONGEST_MS: u64 = 90 * 24 * 3600 * 1000;
/// Life of a token: what a gateway can be made to accept, and enough to be of use.
const LIFE: std::ops::RangeInclusive<u32> = 30..=86_400;
/// Most invites of a tenant that can still be exchanged.
const MOST_OPEN: i64 = 1000;
/// Most entries of a list: as a claim can have.
const MOST: usize = 32;

/// `POST /api/v1/invites`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewInvite {
    /// Eight base62 characters.
    pub id: String,
    /// 16 bytes, base64url.
    pub salt: String,
    /// `SHA-256("postern key/1\0" || salt || invite)`, base64url.
    pub hash: String,
    /// What its token says.
    pub grant: Grant,
    /// Milliseconds since 1970 from which it cannot be exchanged, at most 90 days ahead.
    pub not_after: u64,
}

fn acceptable(grant: &Grant) -> bool {
    let lists = [
        &grant.scopes,
        &grant.roles,
        &grant.credentials,
        &grant.hosts,
        &grant.methods,
        &grant.paths,
    ];
    lists.iter().all(|list| list.len() <= MOST)
        && TRUST_LEVELS.contains(&grant.trust.as_str())
        && grant.roles.iter().all(|role| ROLES.contains(&role.as_str()))
        && LIFE.contains(&grant.life_seconds)
}

impl Service {
    pub(super) async fn list_invites(
        &self,
        operator: &Operator,
        now: UnixMillis,
    ) -> Result<HttpAnswer, Fault> {
        let mut db = self.inner.pool.read(operator.reach()).await?;
        let invites = invites::all(&mut db, &self.inner.rows, &operator.tenant, now).await?;
        Ok(HttpAnswer::json(&serde_json::json!({ "invites": invites })))
    }

    pub(super) async fn create_invite(
        &self,
        operator: &Operator,
        body: &[u8],
        now: UnixMillis,
    ) -> Result<HttpAnswer, Fault> {
        let Ok(new) = serde_json::from_slice::<NewInvite>(body) else {
            return Ok(bad_request("Expected id, salt, hash, grant and not_after"));
        };
        let Some((id, hashed)) = stored(&new.id, &new.salt, &new.hash) else {
            return Ok(bad_request("Expected id, salt and hash of their lengths"));
        };
        if !(now.0..=now.0.saturating_add(LONGEST_MS)).contains(&new.not_after) {
            return Ok(bad_request("Expected an end within 90 days"));
        }
        let mut db = self.inner.pool.write(operator.reach()).await?;
        let key = IssuerKey::of(&self.inner, &mut db, &operator.tenant, now).await?;
        if !acceptable(&new.grant) || !key.can_grant(&operator.tenant, &new.grant) {
            return Ok(bad_request(
                "Expected a document, scopes, known roles and trust, and a life of 30 s to 24 h, \
                 in the forms of a capability token",
            ));
        }
        if invites::open(&mut db, &operator.tenant, now).await? >= MOST_OPEN {
            return Ok(conflict("1 000 invites are open; revoke one first"));
        }
        let invite = New {
            tenant: &operator.tenant,
            id: &id,
            stored: &hashed,
            grant: &new.grant,
            issuer: &operator.id,
            not_after: UnixMillis(new.not_after),
        };
        if !invites::add(&mut db, &self.inner.rows, &invite, now).await? {
            return Ok(conflict("This invite id is taken"));
        }
        let event = operator
            .event("invite_created")
            .with("invite", new.id.as_str())
            .with("document", new.grant.document.as_str())
            .with("organisation", new.grant.organisation.as_str())
            .with("trust", new.grant.trust.as_str())
            .with_list("roles", &new.grant.roles)
            .with_list("scopes", &new.grant.scopes)
            .with_list("credentials", &new.grant.credentials)
            .with("until", new.not_after.to_string());
        self.recorded(db, event, now).await?;
        Ok(HttpAnswer::json(&serde_json::json!({ "id": new.id })))
    }

    /// Takes an invite back, and the token that it was exchanged for.
    pub(super) async fn revoke_invite(
        &self,
        operator: &Operator,
        id: &str,
        now: UnixMillis,
    ) -> Result<HttpAnswer, Fault> {
        let mut db = self.inner.pool.write(operator.reach()).await?;
        let (rows, tenant) = (&self.inner.rows, &operator.tenant);
        let Some(issue) = invites::revoke(&mut db, rows, tenant, id, now).await? else {
            return Ok(not_found());
        };
        let event = operator.event("invite_revoked").with("invite", id);
        let lives = issue.filter(|issue| now.seconds() < issue.expires);
        let event = match &lives {
            Some(issue) => {
                let token = hex::lower(&issue.id);
                let until = Some(UnixMillis(issue.expires.saturating_mul(1000)));
                let id = token.as_bytes().to_vec();
                let revocation = Revocation { kind: Kind::Token, id, from: now, until };
                if revocations::add(&mut db, rows, tenant, &revocation, now).await?.is_err() {
                    return Ok(conflict("The list is full; revoke an agent or a user"));
                }
                event.with("token", token)
            }
            None => event,
        };
        self.recorded(db, event, now).await?;
        let token = lives.map(|issue| hex::lower(&issue.id));
        Ok(HttpAnswer::json(&serde_json::json!({ "id": id, "token": token })))
    }

    /// What gateways put into `capability.issuers`.
    pub(super) async fn show_issuer(
        &self,
        operator: &Operator,
        now: UnixMillis,
    ) -> Result<HttpAnswer, Fault> {
        let mut db = self.inner.pool.write(operator.reach()).await?;
        let key = IssuerKey::of(&self.inner, &mut db, &operator.tenant, now).await?;
        db.commit().await?;
        Ok(shown(&key))
    }

    /// The key that signs after the one that does: gateways have it before it does.
    pub(super) async fn next_issuer(
        &self,
        operator: &Operator,
        now: UnixMillis,
    ) -> Result<HttpAnswer, Fault> {
        let mut db = self.inner.pool.write(operator.reach()).await?;
        let key = IssuerKey::next_of(&self.inner, &mut db, &operator.tenant, now).await?;
        let event = operator.event("invite_issuer_next").with("key", key.id.as_str());
        self.recorded(db, event, now).await?;
        Ok(shown(&key))
    }

    /// From now on it signs.
    pub(super) async fn change_issuer(
        &self,
        operator: &Operator,
        now: UnixMillis,
    ) -> Result<HttpAnswer, Fault> {
        let mut db = self.inner.pool.write(operator.reach()).await?;
        let tenant = &operator.tenant;
        let before = IssuerKey::of(&self.inner, &mut db, tenant, now).await?;
        let Some(key) = IssuerKey::change(&self.inner, &mut db, tenant, now).await? else {
            return Ok(conflict("There is no next key: draw one, and let gateways have it first"));
        };
        let event = operator
            .event("invite_issuer_changed")
            .with("key", key.id.as_str())
            .with("before", before.id.as_str());
        self.recorded(db, event, now).await?;
        Ok(shown(&key))
    }
}

/// As a gate's configuration has it.
fn shown(key: &IssuerKey) -> HttpAnswer {
    use base64::Engine;
    use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64;
    HttpAnswer::json(&serde_json::json!({
        "kid": key.id, "issuer": tokens::ISSUER, "key": B64.encode(key.public()),
    }))
}
