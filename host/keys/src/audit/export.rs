//! The export format: one JSON object a line.
//!
//! ```text
//! {"postern_audit":1,"key":"<b64url A_sig>","count":"N","head":"<b64url>"}
//! {"n":"1","prev":"…","hash":"…","sig":"…","bytes":"<b64url of the exact bytes>"}
//! ```
//! Events of other tenants come without `bytes`: their hash and signature keep the chain
//! whole, and say nothing else. Invariant: lines are written from stored bytes; nothing is
//! rendered again.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64;
use serde::{Deserialize, Serialize};
use sqlx::SqliteConnection;

use crate::audit::{AuditLog, Link, log};
use crate::fault::Fault;

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
    /// The exact bytes; absent where they belong to another tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<String>,
}

type Row = (i64, Option<String>, Vec<u8>, Vec<u8>, Vec<u8>, Vec<u8>);

/// Events read at a time.
const PAGE: i64 = 500;

/// Events of one part: an answer of moderate size, written well within one request's time.
pub const PART: u64 = 20_000;

/// Writes the chain as `tenant` may see it; `None` sees everything. With `after`, only the
/// [`PART`] behind that event, and the header only before the first: the parts put together
/// are the whole. A long chain can be had in no other way.
pub async fn export(
    db: &mut SqliteConnection,
    audit: &AuditLog,
    tenant: Option<&str>,
    after: Option<u64>,
) -> Result<String, Fault> {
    let head = log::head(&mut *db).await?;
    let mut out = String::new();
    if after.is_none_or(|after| after == 0) {
        push(&mut out, &header(audit, head))?;
    }
    let end = after.map_or(head.n, |after| head.n.min(after.saturating_add(PART)));
    let mut last = i64::try_from(after.unwrap_or(0)).unwrap_or(i64::MAX);
    while last.unsigned_abs() < end {
        let rows = page(&mut *db, last).await?;
        let Some(row) = rows.last() else { break };
        last = row.0;
        for row in rows.into_iter().filter(|row| row.0.unsigned_abs() <= end) {
            push(&mut out, &line(row, tenant))?;
        }
    }
    Ok(out)
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
pub(super) async fn page(db: &mut SqliteConnection, after: i64) -> Result<Vec<Row>, Fault> {
    Ok(sqlx::query_as(
        "SELECT n, tenant, prev, hash, sig, bytes FROM audit_events WHERE n > ? ORDER BY n LIMIT ?",
    )
    .bind(after)
    .bind(PAGE)
    .fetch_all(db)
    .await?)
}

/// A row as a line; bytes only for `tenant` and the service itself.
pub(super) fn line(row: Row, tenant: Option<&str>) -> Line {
    let (n, owner, prev, hash, sig, bytes) = row;
    let visible = tenant.is_none() || owner.is_none() || owner.as_deref() == tenant;
    Line {
        n: n.to_string(),
        prev: B64.encode(prev),
        hash: B64.encode(hash),
        sig: B64.encode(sig),
        bytes: visible.then(|| B64.encode(bytes)),
    }
}

fn push(out: &mut String, line: &impl Serialize) -> Result<(), Fault> {
    out.push_str(&serde_json::to_string(line).map_err(|_| Fault::Malformed("export line"))?);
    out.push('\n');
    Ok(())
}
