//! The sequencer: numbers, links and signs events.
//!
//! Invariant: [`AuditLog::append`] runs inside a transaction that took the write lock when
//! it began ([`crate::store::Pool::write`]), so two writers never give out the same number.

use std::sync::{Mutex, PoisonError};

use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use postern_attest::note;
use postern_core::chain::{START, service_link};
use postern_core::secret::Secret;
use postern_core::time::UnixMillis;

use crate::audit::Event;
use crate::fault::Fault;
use crate::store::{Connection, exact, millis};

/// Events of one statement; each binds seven values.
const ROWS: usize = 64;

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
    /// What was appended here last: a guess at the head, which the database confirms or not.
    last: Mutex<Option<Link>>,
}

impl AuditLog {
    /// The log of the key whose seed is `seed`; `attestation` marks every event.
    pub fn new(seed: &Secret, attestation: &'static str) -> Result<Self, Fault> {
        let seed = exact(seed.expose(), "audit key")?;
        Ok(Self { key: SigningKey::from_bytes(&seed), attestation, last: Mutex::default() })
    }

    /// The key that verifies events and checkpoints.
    pub fn public_key(&self) -> VerifyingKey {
        self.key.verifying_key()
    }

    /// Signs `message` with the log's key.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.key.sign(message).to_bytes()
    }

    /// Signs `text` as a note of the log's key.
    pub fn note(&self, text: &str, name: &str) -> String {
        // Our names are ones that a note can have; an empty note would be opened by nobody.
        note::sign(text, name, &[&self.key]).unwrap_or_default()
    }

    /// Appends `event` behind the last one, in one statement where that was appended here.
    pub async fn append(
        &self,
        db: &mut Connection,
        event: Event,
        now: UnixMillis,
    ) -> Result<Link, Fault> {
        let known = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = known {
            let row = self.row(last, event.clone(), now)?;
            if insert_behind(&mut *db, &row, now).await? {
                return Ok(self.appended(row.link));
            }
        }
        self.append_all(db, vec![event], now).await
    }

    fn appended(&self, link: Link) -> Link {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(link);
        link
    }

    /// Appends `events` in their order; gives the last one. A batch of records costs one
    /// look at the head and a statement for each [`ROWS`] events.
    pub async fn append_all(
        &self,
        db: &mut Connection,
        events: Vec<Event>,
        now: UnixMillis,
    ) -> Result<Link, Fault> {
        let mut last = head(&mut *db).await?;
        let mut rows = Vec::with_capacity(events.len());
        for event in events {
            let row = self.row(last, event, now)?;
            last = row.link;
            rows.push(row);
        }
        for rows in rows.chunks(ROWS) {
            insert(&mut *db, rows, now).await?;
        }
        Ok(self.appended(last))
    }

    fn row(&self, last: Link, event: Event, now: UnixMillis) -> Result<Row, Fault> {
        let n = last.n.saturating_add(1);
        let number = i64::try_from(n).map_err(|_| Fault::Malformed("event number"))?;
        let tenant = event.tenant().map(str::to_owned);
        let bytes = event.bytes(n, now, self.attestation);
        let hash = service_link(&last.hash, &bytes);
        let sig = self.sign(&hash);
        Ok(Row { link: Link { n, hash }, number, tenant, prev: last.hash, sig, bytes })
    }
}

/// An event with its place on the chain.
struct Row {
    link: Link,
    number: i64,
    tenant: Option<String>,
    prev: [u8; 32],
    sig: [u8; 64],
    bytes: Vec<u8>,
}

const INSERT: &str = "INSERT INTO audit_events (n, at_ms, tenant, prev, hash, sig, bytes) VALUES";

/// The places of the values of row `index`.
fn places(index: usize) -> String {
    let places: Vec<String> = (1..=7).map(|place| format!("${}", index * 7 + place)).collect();
    format!("({})", places.join(", "))
}

async fn insert(db: &mut Connection, rows: &[Row], now: UnixMillis) -> Result<(), Fault> {
    let values: Vec<String> = (0..rows.len()).map(places).collect();
    let statement = format!("{INSERT} {}", values.join(", "));
    // Made of numbers alone.
    let mut query = sqlx::query(sqlx::AssertSqlSafe(statement));
    for row in rows {
        query = query
            .bind(row.number)
            .bind(millis(now))
            .bind(row.tenant.as_deref())
            .bind(row.prev.as_slice())
            .bind(row.link.hash.as_slice())
            .bind(row.sig.as_slice())
            .bind(row.bytes.as_slice());
    }
    query.execute(db).await?;
    Ok(())
}

/// Inserts `row` if the event that it follows is the head; whether it was.
async fn insert_behind(db: &mut Connection, row: &Row, now: UnixMillis) -> Result<bool, Fault> {
    let done = sqlx::query(
        "INSERT INTO audit_events (n, at_ms, tenant, prev, hash, sig, bytes)
         SELECT $1, $2, $3, $4, $5, $6, $7
         WHERE EXISTS (SELECT 1 FROM audit_head h WHERE h.n = $8 AND h.hash = $9)",
    )
    .bind(row.number)
    .bind(millis(now))
    .bind(row.tenant.as_deref())
    .bind(row.prev.as_slice())
    .bind(row.link.hash.as_slice())
    .bind(row.sig.as_slice())
    .bind(row.bytes.as_slice())
    .bind(row.number.saturating_sub(1))
    .bind(row.prev.as_slice())
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// The last event; number 0 and [`START`] when there is none.
pub async fn head(db: &mut Connection) -> Result<Link, Fault> {
    let row: Option<(i64, Vec<u8>)> =
        sqlx::query_as("SELECT n, hash FROM audit_head").fetch_optional(db).await?;
    let Some((n, hash)) = row else { return Ok(Link { n: 0, hash: START }) };
    let n = u64::try_from(n).map_err(|_| Fault::Malformed("event number"))?;
    Ok(Link { n, hash: exact(&hash, "event hash")? })
}
