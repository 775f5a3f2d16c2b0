//! Content that was taken out of the log, and the event that says so: its tombstone.
//!
//! Owns what a tombstone says (AUDIT.md, Removal), whose events are about a person, and the
//! removal itself. The hashes stay, so that chain, tree and checkpoints hold as before.
//! Invariant: content goes in the transaction of its tombstone, which names exactly the events
//! that lose it; a tombstone never loses its own.

use std::borrow::Cow;

use postern_core::hex;
use postern_core::record::user_hash;
use postern_core::time::UnixMillis;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::audit::entry::decimal;
use crate::audit::{AuditLog, Event, export};
use crate::fault::Fault;
use crate::store::Connection;

/// Kind of a tombstone.
pub const KIND: &str = "content_removed";
const LABEL: &[u8] = b"audit removed/1\0";
/// Most events of one tombstone, and most that are looked at for it: a request is one
/// transaction, which nobody should wait for.
const MOST: usize = 1_000;
const LOOKED_AT: i64 = 20_000;
/// Youngest events that retention may take: a wrong clock or date must not empty the log.
pub const LEAST_AGE_MS: u64 = 30 * 24 * 3600 * 1000;

/// What a tombstone says of the events that lost their content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Removed {
    /// Number of the first.
    pub first: u64,
    /// Number of the last.
    pub last: u64,
    /// How many.
    pub count: u64,
    /// SHA-256 over their numbers and hashes.
    pub digest: [u8; 32],
}

impl Removed {
    /// What an event says, if it is a tombstone as the service writes them.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Wire<'a> {
            #[serde(borrow)]
            first: Cow<'a, str>,
            #[serde(borrow)]
            last: Cow<'a, str>,
            #[serde(borrow)]
            count: Cow<'a, str>,
            #[serde(borrow)]
            digest: Cow<'a, str>,
        }
        let wire: Wire<'_> = serde_json::from_slice(bytes).ok()?;
        Some(Self {
            first: decimal(&wire.first)?,
            last: decimal(&wire.last)?,
            count: decimal(&wire.count)?,
            digest: hex::read::<32>(wire.digest.as_bytes())?,
        })
    }

    fn told(self, event: Event) -> Event {
        event
            .with("first", self.first.to_string())
            .with("last", self.last.to_string())
            .with("count", self.count.to_string())
            .with_hex("digest", &self.digest)
    }
}

/// The events of one tombstone as they come by, in order.
#[derive(Clone)]
pub(crate) struct Tally {
    first: u64,
    last: u64,
    count: u64,
    hashes: Sha256,
}

impl Default for Tally {
    fn default() -> Self {
        Self { first: 0, last: 0, count: 0, hashes: Sha256::new_with_prefix(LABEL) }
    }
}

impl Tally {
    pub(super) fn push(&mut self, n: u64, hash: &[u8; 32]) {
        if self.count == 0 {
            self.first = n;
        }
        self.last = n;
        self.count = self.count.saturating_add(1);
        self.hashes.update(n.to_be_bytes());
        self.hashes.update(hash);
    }

    pub(super) fn first(&self) -> u64 {
        self.first
    }

    pub(super) fn removed(self) -> Removed {
        let Self { first, last, count, hashes } = self;
        Removed { first, last, count, digest: hashes.finalize().into() }
    }
}

/// Whose content goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Which {
    /// Of events before this moment, in milliseconds since 1970.
    Before(u64),
    /// Of events about this person.
    Person(String),
}

impl Which {
    fn takes(&self, tenant: &str, bytes: &[u8]) -> bool {
        let Ok(event) = serde_json::from_slice::<Value>(bytes) else { return false };
        match self {
            _ if event["kind"] == KIND => false,
            Self::Before(end) => {
                let at = event["at"].as_str().and_then(decimal);
                at.is_some_and(|at| at < *end)
            }
            Self::Person(user) => Person::new(tenant, user).is_in(&event),
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Before(_) => "retention",
            Self::Person(_) => "erasure",
        }
    }
}

/// The names under which the log knows a person.
pub struct Person {
    name: String,
    short: String,
    caller: String,
}

impl Person {
    /// A user of a tenant.
    pub fn new(tenant: &str, user: &str) -> Self {
        let caller = Sha256::new()
            .chain_update(b"postern subject/1\0")
            .chain_update(tenant)
            .chain_update([0])
            .chain_update(user)
            .finalize();
        let short = hex::lower(&user_hash(tenant, user));
        Self { name: user.to_owned(), short, caller: hex::lower(&caller) }
    }

    /// Whether an event names the person: as `user` or `person`, as who decided, as `caller`, or in a
    /// gateway's record by the short hash.
    pub fn is_in(&self, event: &Value) -> bool {
        let is = |member: &str, text: &str| event[member].as_str() == Some(text);
        let record = event["record"].as_str();
        let record = record.and_then(|text| serde_json::from_str::<Value>(text).ok());
        is("user", &self.name)
            || is("person", &self.name)
            || is("by", &self.name) && event["kind"] == "approval_decided"
            || is("id", &self.name) && event["what"] == "user"
            || is("caller", &self.caller)
            || record.is_some_and(|record| record["user"].as_str() == Some(&self.short))
    }
}

/// What one request took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Events that lost their content.
    pub removed: usize,
    /// Number of the tombstone, where there were any.
    pub tombstone: Option<u64>,
    /// The last event that was looked at; `None` when there are no more.
    pub more: Option<u64>,
}

/// Takes content of `tenant`'s events behind number `after`; `event` says who asked.
pub(crate) async fn remove(
    db: &mut Connection,
    audit: &AuditLog,
    (tenant, which): (&str, &Which),
    after: u64,
    event: Event,
    now: UnixMillis,
) -> Result<Taken, Fault> {
    let (numbers, tally, more) = find(&mut *db, (tenant, which), after, LOOKED_AT).await?;
    if numbers.is_empty() {
        return Ok(Taken { removed: 0, tombstone: None, more });
    }
    let event = tally.removed().told(event).with("why", which.reason());
    let tombstone = audit.append(&mut *db, event, now).await?.n;
    let gone = i64::try_from(tombstone).map_err(|_| Fault::Malformed("event number"))?;
    // PostgreSQL's role has no right to change a row, and calls what changes just this.
    let statement = match db.backend_name() {
        "SQLite" => "UPDATE audit_events SET bytes = x'', gone = $2 WHERE n = $1",
        _ => "SELECT remove_audit_content($1, $2)",
    };
    for n in &numbers {
        sqlx::query(statement).bind(n).bind(gone).execute(&mut *db).await?;
    }
    Ok(Taken { removed: numbers.len(), tombstone: Some(tombstone), more })
}

/// The events that lose their content, and where to go on: among so many numbers at a time.
pub(crate) async fn find(
    db: &mut Connection,
    (tenant, which): (&str, &Which),
    after: u64,
    looked_at: i64,
) -> Result<(Vec<i64>, Tally, Option<u64>), Fault> {
    let (mut numbers, mut tally) = (Vec::new(), Tally::default());
    let start = i64::try_from(after).map_err(|_| Fault::Malformed("event number"))?;
    let mut last = start;
    loop {
        let rows = export::page(&mut *db, last).await?;
        if rows.is_empty() {
            return Ok((numbers, tally, None));
        }
        for row in rows {
            if numbers.len() == MOST {
                return Ok((numbers, tally, Some(last.unsigned_abs())));
            }
            // Numbers in between may be other tenants', which are not seen here.
            if row.n.saturating_sub(start) > looked_at {
                return Ok((numbers, tally, Some(row.n.saturating_sub(1).unsigned_abs())));
            }
            last = row.n;
            let mine = row.tenant.as_deref() == Some(tenant) && row.gone.is_none();
            if mine && which.takes(tenant, &row.bytes) {
                tally.push(row.n.unsigned_abs(), &crate::store::exact(&row.hash, "event hash")?);
                numbers.push(row.n);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_person_is_found_under_every_name_and_nobody_else_is() {
        let ada = Person::new("acme", "ada");
        let record = json!({"user": hex::lower(&user_hash("acme", "ada"))}).to_string();
        for event in [
            json!({"kind": "request", "record": record}),
            json!({"kind": "key_created", "user": "ada"}),
            json!({"kind": "signed_in", "person": "ada"}),
            json!({"kind": "approval_decided", "by": "ada"}),
            json!({"kind": "revoked", "what": "user", "id": "ada"}),
            json!({"kind": "approval_requested", "caller": ada.caller}),
        ] {
            assert!(ada.is_in(&event), "{event}");
            assert!(!Person::new("acme", "ad").is_in(&event), "{event}");
            assert!(!Person::new("other", "bob").is_in(&event), "{event}");
        }
        for event in [
            json!({"kind": "revoked", "what": "agent", "id": "ada"}),
            json!({"kind": "request", "record": "{\"agent\":\"ada\"}"}),
            json!({"kind": "request", "record": "ada"}),
            json!({"kind": "credential_stored", "credential": "ada"}),
        ] {
            assert!(!ada.is_in(&event), "{event}");
        }
        // The short hash of another tenant's user of this name is another.
        let other = json!({"user": hex::lower(&user_hash("other", "ada"))}).to_string();
        assert!(!ada.is_in(&json!({"kind": "request", "record": other})));
    }

    #[test]
    fn a_tombstone_is_never_taken() {
        let old = br#"{"kind":"content_removed","at":"5","user":"ada"}"#;
        for which in [Which::Before(10), Which::Person("ada".to_owned())] {
            assert!(!which.takes("acme", old), "{which:?}");
        }
        assert!(Which::Before(6).takes("acme", br#"{"kind":"x","at":"5"}"#));
        assert!(!Which::Before(5).takes("acme", br#"{"kind":"x","at":"5"}"#));
    }
}
