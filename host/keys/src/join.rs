//! Join tokens: what lets a new key become an identity.
//!
//! `crpj_<43 base62><6 base62 CRC-32>`: single use, ten minutes, bound to tenant, role and
//! id, stored as a hash. Minted by whoever has the service's files
//! ([`Service::mint`], `postern enrol --local`) or by an operator of the tenant.
//!
//! Invariant: a token exists in clear only in what minting returns.

use std::time::Duration;

use postern_core::api_key::ALPHABET;
use postern_core::secret::Secret;
use postern_core::time::UnixMillis;
use postern_crp::Role;
use sha2::{Digest, Sha256};

use crate::fault::Fault;
use crate::random;
use crate::service::{Inner, Service};
use crate::store::identities::{self, Admitted};
use crate::store::{self, Connection, Reach};

/// How long a token is good.
pub const LIFE: Duration = Duration::from_secs(600);
const PREFIX: &[u8] = b"crpj_";
const LENGTH: usize = 43;

/// Tokens for one gateway: its three identities share an id.
pub struct GatewayTokens {
    /// Id of the gateway to be.
    pub gateway_id: [u8; 16],
    /// For the `gate` identity.
    pub gate: Secret,
    /// For the `credential` identity.
    pub credential: Secret,
    /// For the `audit` identity.
    pub audit: Secret,
}

/// A token for an operator.
pub struct OperatorToken {
    /// Id of the operator to be.
    pub operator_id: [u8; 16],
    /// The token.
    pub token: Secret,
}

impl Service {
    /// Makes `tenant` unless it is there, and tokens for a gateway and an operator of it.
    /// Whoever can call this holds the key-encryption key already.
    ///
    /// # Errors
    /// When the name is not `[a-z0-9][a-z0-9_-]{0,62}` or the database fails.
    pub async fn mint(
        &self,
        tenant: &str,
        now: UnixMillis,
    ) -> Result<(GatewayTokens, OperatorToken), Fault> {
        if postern_core::placeholder::Name::new(tenant).is_none() {
            return Err(Fault::Malformed("tenant name: expected [a-z0-9][a-z0-9_-]{0,62}"));
        }
        let inner = &self.inner;
        let mut db = inner.pool.write(Reach::Tenant(tenant)).await?;
        if store::add_tenant(&mut db, tenant, now).await? {
            let event = crate::audit::Event::new("tenant_created", tenant);
            inner.audit.append(&mut db, event, now).await?;
        }
        let gateway = inner.mint_gateway(&mut db, tenant, now).await?;
        let operator = inner.mint_operator(&mut db, tenant, now).await?;
        db.commit().await?;
        Ok((gateway, operator))
    }
}

impl Inner {
    /// Tokens for one gateway.
    pub(crate) async fn mint_gateway(
        &self,
        db: &mut Connection,
        tenant: &str,
        now: UnixMillis,
    ) -> Result<GatewayTokens, Fault> {
        let gateway_id = random::bytes()?;
        Ok(GatewayTokens {
            gateway_id,
            gate: self.mint_one(&mut *db, tenant, Role::Gate, gateway_id, now).await?,
            credential: self.mint_one(&mut *db, tenant, Role::Credential, gateway_id, now).await?,
            audit: self.mint_one(db, tenant, Role::Audit, gateway_id, now).await?,
        })
    }

    async fn mint_operator(
        &self,
        db: &mut Connection,
        tenant: &str,
        now: UnixMillis,
    ) -> Result<OperatorToken, Fault> {
        let operator_id = random::bytes()?;
        let token = self.mint_one(db, tenant, Role::Operator, operator_id, now).await?;
        Ok(OperatorToken { operator_id, token })
    }

    async fn mint_one(
        &self,
        db: &mut Connection,
        tenant: &str,
        role: Role,
        gateway: [u8; 16],
        now: UnixMillis,
    ) -> Result<Secret, Fault> {
        let token = draw()?;
        let admitted = Admitted { tenant: tenant.to_owned(), role, gateway };
        let (hash, end) = (hash(&token), now.after(LIFE));
        identities::add_token(&mut *db, &self.rows, &hash, &admitted, end).await?;
        self.audit.append(db, admitted.event("join_token_made"), now).await?;
        Ok(token)
    }
}

/// As stored.
pub(crate) fn hash(token: &Secret) -> [u8; 32] {
    Sha256::new().chain_update(b"crp join\0").chain_update(token.expose()).finalize().into()
}

fn draw() -> Result<Secret, Fault> {
    let mut token = PREFIX.to_vec();
    while token.len() < PREFIX.len() + LENGTH {
        let byte = random::bytes::<1>()?[0];
        // 248 is the largest multiple of 62 in a byte: above it digits would not be even.
        if byte < 248 {
            token.push(ALPHABET[usize::from(byte % 62)]);
        }
    }
    let mut left = crc32fast::hash(&token);
    let mut crc = [b'0'; 6];
    for digit in crc.iter_mut().rev() {
        *digit = ALPHABET[(left % 62) as usize];
        left /= 62;
    }
    token.extend_from_slice(&crc);
    Ok(Secret::new(token))
}
