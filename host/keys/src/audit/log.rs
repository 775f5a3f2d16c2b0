//! The sequencer: numbers, links and signs events.
//!
//! Invariant: [`AuditLog::append`] runs inside a transaction that took the write lock when
//! it began ([`crate::store::write`]), so two writers never give out the same number.

use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use postern_core::chain::{START, service_link};
use postern_core::secret::Secret;
use postern_core::time::UnixMillis;
use sqlx::SqliteConnection;

use crate::audit::Event;
use crate::fault::Fault;
use crate::store::{exact, millis};

/// Where an event stands on the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Number, from 1; 0 before the first event.
    pub n: u64,
    /// Hash.
    pub hash: [u8; 32],
}

/// Signs and appends.
pub struct AuditLog {
    key: SigningKey,
    attestation: &'static str,
}

impl AuditLog {
    /// The log of the key whose seed is `seed`; `attestation` marks every event.
    pub fn new(seed: &Secret, attestation: &'static str) -> Result<Self, Fault> {
        let seed = exact(seed.expose(), "audit key")?;
        Ok(Self { key: SigningKey::from_bytes(&seed), attestation })
    }

    /// The key that verifies events and checkpoints.
    pub fn public_key(&self) -> VerifyingKey {
        self.key.verifying_key()
    }

    /// Signs `message` with the log's key.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.key.sign(message).to_bytes()
    }

    /// Appends `event` behind the last one.
    pub async fn append(
        &self,
        db: &mut SqliteConnection,
        event: Event,
        now: UnixMillis,
    ) -> Result<Link, Fault> {
        let last = head(&mut *db).await?;
        let n = last.n.saturating_add(1);
        let tenant = event.tenant().map(str::to_owned);
        let bytes = event.bytes(n, now, self.attestation);
        let hash = service_link(&last.hash, &bytes);
        sqlx::query(
            "INSERT INTO audit_events (n, at_ms, tenant, prev, hash, sig, bytes) VALUES (?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(i64::try_from(n).map_err(|_| Fault::Malformed("event number"))?)
        .bind(millis(now))
        .bind(tenant)
        .bind(last.hash.as_slice())
        .bind(hash.as_slice())
        .bind(self.sign(&hash).as_slice())
        .bind(bytes)
        .execute(db)
        .await?;
        Ok(Link { n, hash })
    }
}

/// The last event; number 0 and [`START`] when there is none.
pub async fn head(db: &mut SqliteConnection) -> Result<Link, Fault> {
    let row: Option<(i64, Vec<u8>)> =
        sqlx::query_as("SELECT n, hash FROM audit_events ORDER BY n DESC LIMIT 1")
            .fetch_optional(db)
            .await?;
    let Some((n, hash)) = row else { return Ok(Link { n: 0, hash: START }) };
    let n = u64::try_from(n).map_err(|_| Fault::Malformed("event number"))?;
    Ok(Link { n, hash: exact(&hash, "event hash")? })
}
