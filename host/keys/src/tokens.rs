//! Capability tokens that the service issues for invites, under a key of each tenant.
//!
//! Owns the key, the one that comes after it, their ids, and what a token says. Invariant: a
//! private half is sealed by the tenant's data key and leaves nothing but signatures, and is gone
//! when another one signs; under one key the same [`Issue`] gives the same token.

use ed25519_dalek::SigningKey;
use postern_capability::PublicKey;
use postern_capability::claims::Claims;
use postern_capability::form::Set;
use postern_capability::mint::{self, MintError};
use postern_core::hex;
use postern_core::identity::TRUST_LEVELS;
use postern_core::secret::Secret;
use postern_core::time::UnixMillis;
use sha2::{Digest, Sha256};

use crate::envelope::{Dek, Scope};
use crate::fault::Fault;
use crate::service::Inner;
use crate::store::invites::{Grant, Issue};
use crate::store::{Connection, deks};

/// `iss` of these tokens.
pub const ISSUER: &str = "postern-keys";

/// The key of a tenant.
pub struct IssuerKey {
    /// `kid`.
    pub id: String,
    key: SigningKey,
}

impl IssuerKey {
    /// The key of `tenant` that signs; drawn on first use.
    pub async fn of(
        service: &Inner,
        db: &mut Connection,
        tenant: &str,
        now: UnixMillis,
    ) -> Result<Self, Fault> {
        Self::named(service, db, tenant, &signs(tenant), now).await
    }

    /// The key that signs after it; drawn on first use.
    pub async fn next_of(
        service: &Inner,
        db: &mut Connection,
        tenant: &str,
        now: UnixMillis,
    ) -> Result<Self, Fault> {
        Self::named(service, db, tenant, &next(tenant), now).await
    }

    async fn named(
        service: &Inner,
        db: &mut Connection,
        tenant: &str,
        name: &str,
        now: UnixMillis,
    ) -> Result<Self, Fault> {
        let dek = dek(service, &mut *db, tenant, now).await?;
        Self::from_seed(&deks::seed(db, &dek, name, now).await?)
    }

    /// The next key signs from now on, and the one before is gone; `None` when none was drawn.
    pub async fn change(
        service: &Inner,
        db: &mut Connection,
        tenant: &str,
        now: UnixMillis,
    ) -> Result<Option<Self>, Fault> {
        let dek = dek(service, &mut *db, tenant, now).await?;
        let names = (next(tenant), signs(tenant));
        if !deks::replace_seed(&mut *db, &dek, (&names.0, &names.1), now).await? {
            return Ok(None);
        }
        Self::of(service, db, tenant, now).await.map(Some)
    }

    fn from_seed(seed: &Secret) -> Result<Self, Fault> {
        let seed = seed.expose().try_into().map_err(|_| Fault::Malformed("key length"))?;
        let key = SigningKey::from_bytes(seed);
        let hash = Sha256::digest(key.verifying_key().as_bytes());
        let id = format!("invites-{}", hex::lower(hash.get(..8).unwrap_or_default()));
        Ok(Self { id, key })
    }

    /// The public half.
    pub fn public(&self) -> [u8; 32] {
        *self.key.verifying_key().as_bytes()
    }

    /// The token of an invite.
    ///
    /// # Errors
    /// When a claim is not of the form that the specification of tokens asks for.
    pub fn token(
        &self,
        (tenant, invite): (&str, &str),
        grant: &Grant,
        issue: &Issue,
    ) -> Result<String, MintError> {
        let level = TRUST_LEVELS.iter().position(|level| *level == grant.trust);
        let claims = Claims {
            issuer: Some(ISSUER.to_owned()),
            subject: Some(subject(invite)),
            audience: Some(issue.audience.clone()),
            expires: Some(issue.expires),
            issued_at: Some(issue.issued),
            id: Some(issue.id),
            holder: PublicKey::parse(&issue.holder),
            tenant: Some(tenant.to_owned()),
            organisation: Some(grant.organisation.clone()),
            scopes: set(&grant.scopes),
            roles: set(&grant.roles),
            trust: level.and_then(|level| u8::try_from(level).ok()),
            credentials: set(&grant.credentials),
            hosts: set(&grant.hosts),
            methods: set(&grant.methods),
            paths: set(&grant.paths),
            document: Some(grant.document.clone()),
            depth: Some(grant.depth),
            ..Claims::default()
        };
        mint::mint(&claims, &self.id, &self.key)
    }

    /// Whether tokens can be made of this grant, for whatever holder and gateway.
    pub fn can_grant(&self, tenant: &str, grant: &Grant) -> bool {
        let audience = "https://gateway.example".to_owned();
        let issue = Issue { holder: self.public(), audience, id: [0; 16], issued: 1, expires: 2 };
        self.token((tenant, "AbCd0123"), grant, &issue).is_ok()
    }
}

async fn dek(
    service: &Inner,
    db: &mut Connection,
    tenant: &str,
    now: UnixMillis,
) -> Result<Dek, Fault> {
    deks::dek(db, &Scope::Tenant(tenant.to_owned()), service.kek.as_ref(), now).await
}

/// Name of the seed of the key that signs.
fn signs(tenant: &str) -> String {
    format!("invites/1/{tenant}")
}

/// Name of the seed of the key that comes after it.
fn next(tenant: &str) -> String {
    format!("invites-next/1/{tenant}")
}

/// Whom the tokens of an invite name, as user and as agent.
pub fn subject(invite: &str) -> String {
    format!("invite:{invite}")
}

fn set(items: &[String]) -> Option<Set> {
    (!items.is_empty()).then(|| items.iter().cloned().collect())
}
