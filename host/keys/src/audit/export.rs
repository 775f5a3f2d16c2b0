//! The export format: one JSON object a line.
//!
//! ```text
//! {"postern_audit":1,"key":"<b64url A_sig>","count":"N","head":"<b64url>"}
//! {"n":"1","prev":"…","hash":"…","sig":"…","bytes":"<b64url of the exact bytes>"}
//! ```
//! Events of other tenants come without `bytes`: their hash and signature keep the chain
//! whole, and say nothing else. Events whose content was taken out have `gone` in its place: the
//! number of the event that says so. Invariant: lines are written from stored bytes; nothing is
//! rendered again.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64;
use serde::{Deserialize, Serialize};

use crate::audit::{AuditLog, Link, log};
use crate::fault::Fault;
use crate::store::Connection;

/// The first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// Format version, 1.
    pub postern_audit: u8,
    /// Public key of the chain.
    pub key: String,
    /// Number of events.
    pub count: String,
    /// Hash of the last one.
    pub head: String,
}

/// Every further line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// Number, from 1.
    pub n: String,
    /// Hash of the event before.
    pub prev: String,
    /// Hash of this event.
    pub hash: String,
    /// Signature over the hash.
    pub sig: String,
    /// The exact bytes; absent where they belong to another tenant, or are gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<String>,
    /// Number of the event by which the content was taken out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gone: Option<String>,
}

/// A stored event.
#[derive(sqlx::FromRow)]
pub(crate) struct Row {
    pub(crate) n: i64,
    pub(crate) tenant: Option<String>,
    prev: Vec<u8>,
    pub(crate) hash: Vec<u8>,
    sig: Vec<u8>,
    pub(crate) bytes: Vec<u8>,
    pub(crate) gone: Option<i64>,
}

/// Events read at a time: no more of them are in memory.
pub const PAGE: i64 = 100;

/// Events of one answer where a client asks with `after`: what was sent before a connection
/// broke need not be sent again.
pub const PART: u64 = 20_000;

/// An export under way. Lines come page by page, in the order of the chain: a page is read
/// when it is asked for, behind the last number and up to the end the chain had at first.
pub struct Export {
    tenant: Option<String>,
    header: Option<Header>,
    after: i64,
    end: u64,
}

impl Export {
    /// The chain as `tenant` may see it; `None` sees everything. With `after`, only the
    /// [`PART`] behind that event, and the header only before the first: the parts put
    /// together are the whole.
    pub async fn begin(
        db: &mut Connection,
        audit: &AuditLog,
        tenant: Option<&str>,
        after: Option<u64>,
    ) -> Result<Self, Fault> {
        let head = log::head(db).await?;
        let from = after.unwrap_or(0);
        Ok(Self {
            tenant: tenant.map(str::to_owned),
            header: (from == 0).then(|| header(audit, head)),
            after: i64::try_from(from).unwrap_or(i64::MAX),
            end: after.map_or(head.n, |after| head.n.min(after.saturating_add(PART))),
        })
    }

    /// The next lines; `None` when there are no more.
    pub async fn page(&mut self, db: &mut Connection) -> Result<Option<Vec<u8>>, Fault> {
        let mut out = Vec::new();
        if let Some(header) = self.header.take() {
            push(&mut out, &header)?;
        }
        if self.after.unsigned_abs() < self.end {
            let rows = page(db, self.after).await?;
            // What should be there and is not is for the verifier to name.
            self.after = rows.last().map_or(i64::MAX, |row| row.n);
            for row in rows.into_iter().filter(|row| row.n.unsigned_abs() <= self.end) {
                push(&mut out, &line(row, self.tenant.as_deref()))?;
            }
        }
        Ok((!out.is_empty()).then_some(out))
    }
}

fn header(audit: &AuditLog, head: Link) -> Header {
    Header {
        postern_audit: 1,
        key: B64.encode(audit.public_key().as_bytes()),
        count: head.n.to_string(),
        head: B64.encode(head.hash),
    }
}

/// The next rows behind number `after`.
pub(crate) async fn page(db: &mut Connection, after: i64) -> Result<Vec<Row>, Fault> {
    Ok(sqlx::query_as(
        "SELECT n, tenant, prev, hash, sig, bytes, gone FROM audit_events
         WHERE n > $1 ORDER BY n LIMIT $2",
    )
    .bind(after)
    .bind(PAGE)
    .fetch_all(db)
    .await?)
}

/// A row as a line; bytes only for `tenant` and the service itself.
pub(crate) fn line(row: Row, tenant: Option<&str>) -> Line {
    let owner = row.tenant.as_deref();
    let visible = tenant.is_none() || owner.is_none() || owner == tenant;
    Line {
        n: row.n.to_string(),
        prev: B64.encode(row.prev),
        hash: B64.encode(row.hash),
        sig: B64.encode(row.sig),
        bytes: (visible && row.gone.is_none()).then(|| B64.encode(row.bytes)),
        gone: row.gone.filter(|_| visible).map(|n| n.to_string()),
    }
}

fn push(out: &mut Vec<u8>, line: &impl Serialize) -> Result<(), Fault> {
    serde_json::to_writer(&mut *out, line).map_err(|_| Fault::Malformed("export line"))?;
    out.push(b'\n');
    Ok(())
}
