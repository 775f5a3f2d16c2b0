//! The collector: takes batches of edge records onto the service chain.
//!
//! Invariant: a record is appended at most once for (gateway, boot, vm, seq), and nothing
//! is refused for being out of order: a gap, a break or a second version of a chain is
//! named by an event of its own, and the records that came are kept.

use postern_core::chain::{START, edge_link};
use postern_core::hex;
use postern_core::key_service::Batch;
use postern_core::time::UnixMillis;

use crate::audit::{AuditLog, Event};
use crate::envelope::{RowBytes, RowKeys};
use crate::fault::Fault;
use crate::store::{Connection, exact};

/// Whose batch it is.
#[derive(Clone, Copy, Debug)]
pub struct Sender<'a> {
    /// Gateway.
    pub gateway: &'a [u8; 16],
    /// Its tenant.
    pub tenant: &'a str,
}

/// What is known of one edge chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    next: u64,
    head: [u8; 32],
}

/// Appends what is new in `batch`; gives the number expected next.
pub async fn collect(
    db: &mut Connection,
    rows: &RowKeys,
    audit: &AuditLog,
    sender: Sender<'_>,
    batch: &Batch,
    now: UnixMillis,
) -> Result<u64, Fault> {
    let known = known(&mut *db, rows, sender, batch).await?;
    let mut events: Vec<Event> = oddity(&known, sender, batch).into_iter().collect();
    let mut head = batch.prev;
    let mut next = batch.first;
    for record in &batch.records {
        head = edge_link(&head, record);
        if next >= known.next {
            events.push(event(sender, batch, next, record));
        }
        next = next.saturating_add(1);
    }
    if !events.is_empty() {
        audit.append_all(&mut *db, events, now).await?;
    }
    if next <= known.next {
        return Ok(known.next);
    }
    remember(db, rows, sender, batch, Known { next, head }).await?;
    Ok(next)
}

/// What is wrong with where the batch stands, as an event.
fn oddity(known: &Known, sender: Sender<'_>, batch: &Batch) -> Option<Event> {
    let seen = |kind| about(kind, sender, batch).with("expected", known.next.to_string());
    if batch.first > known.next {
        return Some(seen("edge_gap").with("first", batch.first.to_string()));
    }
    // The head after the records that are already known must be the known head.
    let skip = usize::try_from(known.next.saturating_sub(batch.first)).unwrap_or(usize::MAX);
    if skip > batch.records.len() {
        return None;
    }
    let head = batch.records.iter().take(skip).fold(batch.prev, |head, r| edge_link(&head, r));
    (head != known.head).then(|| seen("edge_break").with("seq", known.next.to_string()))
}

fn event(sender: Sender<'_>, batch: &Batch, seq: u64, record: &[u8]) -> Event {
    let event = about("request", sender, batch).with("seq", seq.to_string());
    match str::from_utf8(record) {
        Ok(text) => event.with("record", text),
        Err(_) => event.with_hex("record_hex", record),
    }
}

fn about(kind: &'static str, sender: Sender<'_>, batch: &Batch) -> Event {
    Event::new(kind, sender.tenant)
        .with("gateway", hex::lower(sender.gateway))
        .with("boot", hex::lower(&batch.boot))
        .with("vm", hex::lower(&batch.vm))
}

async fn known(
    db: &mut Connection,
    rows: &RowKeys,
    sender: Sender<'_>,
    batch: &Batch,
) -> Result<Known, Fault> {
    let found: Option<(i64, Vec<u8>, Vec<u8>)> = sqlx::query_as(
        "SELECT next, head, mac FROM edge_chains WHERE gateway = $1 AND boot = $2 AND vm = $3",
    )
    .bind(sender.gateway.as_slice())
    .bind(batch.boot.as_slice())
    .bind(batch.vm.as_slice())
    .fetch_optional(db)
    .await?;
    let Some((next, head, mac)) = found else { return Ok(Known { next: 0, head: START }) };
    rows.check(&row(sender, batch, next, &head), &mac)?;
    let next = u64::try_from(next).map_err(|_| Fault::Malformed("edge chain"))?;
    Ok(Known { next, head: exact(&head, "edge chain")? })
}

/// The row of a chain as its MAC sees it.
fn row(sender: Sender<'_>, batch: &Batch, next: i64, head: &[u8]) -> RowBytes {
    RowBytes::of("edge_chains")
        .part(sender.gateway)
        .part(&batch.boot)
        .part(&batch.vm)
        .number(next)
        .part(head)
}

async fn remember(
    db: &mut Connection,
    rows: &RowKeys,
    sender: Sender<'_>,
    batch: &Batch,
    known: Known,
) -> Result<(), Fault> {
    let next = i64::try_from(known.next).map_err(|_| Fault::Malformed("edge chain"))?;
    sqlx::query(
        "INSERT INTO edge_chains (gateway, boot, vm, next, head, mac) VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (gateway, boot, vm)
         DO UPDATE SET next = excluded.next, head = excluded.head, mac = excluded.mac",
    )
    .bind(sender.gateway.as_slice())
    .bind(batch.boot.as_slice())
    .bind(batch.vm.as_slice())
    .bind(next)
    .bind(known.head.as_slice())
    .bind(rows.sign(&row(sender, batch, next, &known.head)))
    .execute(db)
    .await?;
    Ok(())
}
