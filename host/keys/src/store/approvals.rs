//! Approvals: who asked for what, who decided, and what was used of it. Previews, sealed, in a
//! table of their own.
//!
//! Invariant: every read and write of an approval names the tenant; a row is vouched for only
//! while its MAC holds, so that planting or editing one in the database approves nothing.

use postern_core::time::UnixMillis;
use sqlx::FromRow;

use crate::approvals::{Approval, CLAIM_MS, Decision, Grant, Requester, Verdict};
use crate::envelope::{Dek, RowBytes, RowKeys, open_preview, seal_preview};
use crate::fault::Fault;
use crate::store::{Connection, at, exact, millis};

/// An approval is forgotten after this: 30 days.
const KEPT_MS: u64 = 30 * 24 * 3600 * 1000;
/// What a grant gave is forgotten after this; its event stays.
const GRANTED_KEPT_MS: u64 = 3600 * 1000;
/// Most rows of a list.
const LISTED: i64 = 500;

#[derive(FromRow)]
struct Row {
    approval_id: Vec<u8>,
    tenant: String,
    subject: Vec<u8>,
    requester: String,
    agent: String,
    organisation: String,
    digest: Vec<u8>,
    scope: Vec<u8>,
    credentials: String,
    needed: i64,
    passkey: i64,
    created_ms: i64,
    expires_ms: i64,
    decisions: String,
    decided_ms: Option<i64>,
    grant_until_ms: Option<i64>,
    claimed_ms: Option<i64>,
    released: String,
    mac: Vec<u8>,
}

impl Row {
    fn bytes(&self) -> RowBytes {
        RowBytes::of("approvals")
            .part(&self.approval_id)
            .part(self.tenant.as_bytes())
            .part(&self.subject)
            .part(self.requester.as_bytes())
            .part(self.agent.as_bytes())
            .part(self.organisation.as_bytes())
            .part(&self.digest)
            .part(&self.scope)
            .part(self.credentials.as_bytes())
            .number(self.needed)
            .number(self.passkey)
            .number(self.created_ms)
            .number(self.expires_ms)
            .part(self.decisions.as_bytes())
            .maybe_number(self.decided_ms)
            .maybe_number(self.grant_until_ms)
            .maybe_number(self.claimed_ms)
            .part(self.released.as_bytes())
    }

    fn of(approval: &Approval, rows: &RowKeys) -> Result<Self, Fault> {
        let mut row = Self {
            approval_id: approval.id.to_vec(),
            tenant: approval.tenant.clone(),
            subject: approval.requester.subject_hash.to_vec(),
            requester: approval.requester.user.clone(),
            agent: approval.requester.agent.clone(),
            organisation: approval.requester.organisation.clone(),
            digest: approval.digest.to_vec(),
            scope: approval.scope.clone(),
            credentials: json(&approval.credentials)?,
            needed: approval.needed.into(),
            passkey: approval.passkey.into(),
            created_ms: millis(approval.created),
            expires_ms: millis(approval.expires),
            decisions: json(&approval.decisions)?,
            decided_ms: approval.decided.map(millis),
            grant_until_ms: approval.grant.map(|grant| millis(grant.until)),
            claimed_ms: approval.claimed.map(millis),
            released: json(&approval.released)?,
            mac: Vec::new(),
        };
        row.mac = rows.sign(&row.bytes());
        Ok(row)
    }

    fn approval(self) -> Result<Approval, Fault> {
        Ok(Approval {
            id: exact(&self.approval_id, "approval")?,
            tenant: self.tenant,
            requester: Requester {
                subject_hash: exact(&self.subject, "approval")?,
                user: self.requester,
                agent: self.agent,
                organisation: self.organisation,
            },
            digest: exact(&self.digest, "approval")?,
            preview: None,
            credentials: read(&self.credentials)?,
            needed: u8::try_from(self.needed).map_err(|_| Fault::Malformed("approval"))?,
            passkey: self.passkey != 0,
            created: at(self.created_ms),
            expires: at(self.expires_ms),
            scope: self.scope,
            decisions: read(&self.decisions)?,
            decided: self.decided_ms.map(at),
            grant: self.grant_until_ms.map(|until| Grant { until: at(until) }),
            claimed: self.claimed_ms.map(at),
            released: read(&self.released)?,
        })
    }
}

fn json(value: &impl serde::Serialize) -> Result<String, Fault> {
    serde_json::to_string(value).map_err(|_| Fault::Malformed("approval"))
}

fn read<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, Fault> {
    serde_json::from_str(text).map_err(|_| Fault::Malformed("approval"))
}

/// The approval `id` of `tenant`, without its preview.
pub async fn find(
    db: &mut Connection,
    rows: &RowKeys,
    tenant: &str,
    id: &[u8; 16],
) -> Result<Option<Approval>, Fault> {
    let found: Option<Row> =
        sqlx::query_as("SELECT * FROM approvals WHERE tenant = $1 AND approval_id = $2")
            .bind(tenant)
            .bind(id.as_slice())
            .fetch_optional(db)
            .await?;
    found.map(|row| vouched(rows, row)).transpose()
}

fn vouched(rows: &RowKeys, row: Row) -> Result<Approval, Fault> {
    rows.check(&row.bytes(), &row.mac)?;
    row.approval()
}

/// Which approvals and grants end.
#[derive(Clone, Copy)]
pub enum Ending<'a> {
    /// All, of every tenant.
    All,
    /// Those that this person of a tenant has said yes to.
    By(&'a str, &'a str),
}

impl Ending<'_> {
    fn holds(self, approval: &Approval) -> bool {
        match self {
            Self::All => true,
            Self::By(_, person) => {
                let yes = |one: &Decision| one.verdict == Verdict::Approve && one.by == person;
                approval.decisions.iter().any(yes)
            }
        }
    }
}

/// Ends approvals that could still be used, and grants; how many there were. Previews go with
/// them.
pub async fn end_open(
    db: &mut Connection,
    rows: &RowKeys,
    ending: Ending<'_>,
    now: UnixMillis,
) -> Result<u64, Fault> {
    let mut found: Vec<Row> = sqlx::query_as(
        "SELECT * FROM approvals WHERE (claimed_ms IS NULL AND expires_ms > $1) OR claimed_ms > $2
         OR grant_until_ms > $1",
    )
    .bind(millis(now))
    .bind(millis(UnixMillis(now.0.saturating_sub(CLAIM_MS))))
    .fetch_all(&mut *db)
    .await?;
    if let Ending::By(tenant, _) = ending {
        found.retain(|row| row.tenant == tenant);
    }
    let mut ended: u64 = 0;
    for row in found {
        let mut approval = vouched(rows, row)?;
        if !ending.holds(&approval) {
            continue;
        }
        (approval.expires, approval.grant) = (approval.expires.min(now), None);
        // One that is in use is used up.
        let over = UnixMillis(now.0.saturating_sub(CLAIM_MS));
        approval.claimed = approval.claimed.map(|at| at.min(over));
        change(&mut *db, rows, &approval).await?;
        forget_preview(&mut *db, &approval.id).await?;
        ended = ended.saturating_add(1);
    }
    Ok(ended)
}

/// Approvals of the same request by the same caller for the same agent, newest first.
pub async fn of_request(
    db: &mut Connection,
    rows: &RowKeys,
    tenant: &str,
    subject: &[u8; 32],
    agent: &str,
    digest: &[u8; 32],
) -> Result<Vec<Approval>, Fault> {
    let found: Vec<Row> = sqlx::query_as(
        "SELECT * FROM approvals WHERE tenant = $1 AND digest = $2 AND subject = $3 AND agent = $4
         ORDER BY created_ms DESC, approval_id LIMIT 8",
    )
    .bind(tenant)
    .bind(digest.as_slice())
    .bind(subject.as_slice())
    .bind(agent)
    .fetch_all(db)
    .await?;
    found.into_iter().map(|row| vouched(rows, row)).collect()
}

/// Approvals from which a grant for `scope` is in force.
pub async fn granting(
    db: &mut Connection,
    rows: &RowKeys,
    tenant: &str,
    scope: &[u8],
    now: UnixMillis,
) -> Result<Vec<Approval>, Fault> {
    let found: Vec<Row> = sqlx::query_as(
        "SELECT * FROM approvals WHERE tenant = $1 AND scope = $2 AND grant_until_ms > $3
         ORDER BY grant_until_ms DESC LIMIT 8",
    )
    .bind(tenant)
    .bind(scope)
    .bind(millis(now))
    .fetch_all(db)
    .await?;
    found.into_iter().map(|row| vouched(rows, row)).collect()
}

/// Approvals of a tenant, newest first, 500 at most; with `waiting` those alone that nobody
/// has decided yet. Rows that this service did not write are left out.
pub async fn all(
    db: &mut Connection,
    rows: &RowKeys,
    tenant: &str,
    waiting: Option<UnixMillis>,
) -> Result<Vec<Approval>, Fault> {
    let query = match waiting {
        Some(_) => {
            "SELECT * FROM approvals WHERE tenant = $1 AND decided_ms IS NULL AND expires_ms > $3
             ORDER BY created_ms DESC, approval_id LIMIT $2"
        }
        None => {
            "SELECT * FROM approvals WHERE tenant = $1 AND created_ms >= $3
             ORDER BY created_ms DESC, approval_id LIMIT $2"
        }
    };
    let found: Vec<Row> = sqlx::query_as(query)
        .bind(tenant)
        .bind(LISTED)
        .bind(waiting.map_or(0, millis))
        .fetch_all(db)
        .await?;
    let (good, forged): (Vec<Row>, Vec<Row>) =
        found.into_iter().partition(|row| rows.holds(&row.bytes(), &row.mac));
    if !forged.is_empty() {
        tracing::error!(count = forged.len(), "approvals that this service did not write");
    }
    good.into_iter().map(Row::approval).collect()
}

/// How many approvals wait, and how many were asked for since a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Of this caller or agent, waiting.
    pub waiting: i64,
    /// Of this caller or agent, asked for since then; what a grant gave was not asked for.
    pub asked: i64,
    /// Of the tenant, waiting.
    pub tenant_waiting: i64,
}

/// How much a person is asked.
pub async fn load(
    db: &mut Connection,
    tenant: &str,
    requester: &Requester,
    since: UnixMillis,
    now: UnixMillis,
) -> Result<Load, Fault> {
    let (tenant_waiting,): (i64,) = sqlx::query_as(
        "SELECT COUNT(*) FROM approvals WHERE tenant = $1 AND decided_ms IS NULL AND expires_ms > $2",
    )
    .bind(tenant)
    .bind(millis(now))
    .fetch_one(&mut *db)
    .await?;
    let mut own = [0, 0];
    let queries = [
        "SELECT COUNT(*) FROM approvals WHERE tenant = $1 AND decided_ms IS NULL AND expires_ms > $2
         AND (subject = $3 OR (agent = $4 AND agent <> ''))",
        "SELECT COUNT(*) FROM approvals WHERE tenant = $1 AND created_ms > $2
         AND (subject = $3 OR (agent = $4 AND agent <> '')) AND (claimed_ms IS NULL OR claimed_ms > created_ms)",
    ];
    for ((query, from), count) in queries.into_iter().zip([now, since]).zip(&mut own) {
        (*count,) = sqlx::query_as::<_, (i64,)>(query)
            .bind(tenant)
            .bind(millis(from))
            .bind(requester.subject_hash.as_slice())
            .bind(&requester.agent)
            .fetch_one(&mut *db)
            .await?;
    }
    let [waiting, asked] = own;
    Ok(Load { waiting, asked, tenant_waiting })
}

/// Adds an approval with its sealed preview.
pub async fn add(
    db: &mut Connection,
    rows: &RowKeys,
    approval: &Approval,
    preview: Option<&[u8]>,
) -> Result<(), Fault> {
    let row = Row::of(approval, rows)?;
    sqlx::query(
        "INSERT INTO approvals (approval_id, tenant, subject, requester, agent, organisation, digest,
         scope, credentials, needed, passkey, created_ms, expires_ms, decisions, decided_ms,
         grant_until_ms, claimed_ms, released, mac)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)",
    )
    .bind(&row.approval_id)
    .bind(row.tenant)
    .bind(row.subject)
    .bind(row.requester)
    .bind(row.agent)
    .bind(row.organisation)
    .bind(row.digest)
    .bind(row.scope)
    .bind(row.credentials)
    .bind(row.needed)
    .bind(row.passkey)
    .bind(row.created_ms)
    .bind(row.expires_ms)
    .bind(row.decisions)
    .bind(row.decided_ms)
    .bind(row.grant_until_ms)
    .bind(row.claimed_ms)
    .bind(row.released)
    .bind(row.mac)
    .execute(&mut *db)
    .await?;
    if let Some(sealed) = preview {
        sqlx::query("INSERT INTO approval_previews (approval_id, sealed) VALUES ($1, $2)")
            .bind(row.approval_id)
            .bind(sealed)
            .execute(db)
            .await?;
    }
    Ok(())
}

/// Writes what can change, with a new MAC. The caller's transaction holds the write lock, so
/// that nobody decides or uses it between look and change.
pub async fn change(db: &mut Connection, rows: &RowKeys, approval: &Approval) -> Result<(), Fault> {
    let row = Row::of(approval, rows)?;
    sqlx::query(
        "UPDATE approvals SET expires_ms = $1, decisions = $2, decided_ms = $3, grant_until_ms = $4,
         claimed_ms = $5, released = $6, mac = $7 WHERE tenant = $8 AND approval_id = $9",
    )
    .bind(row.expires_ms)
    .bind(row.decisions)
    .bind(row.decided_ms)
    .bind(row.grant_until_ms)
    .bind(row.claimed_ms)
    .bind(row.released)
    .bind(row.mac)
    .bind(row.tenant)
    .bind(row.approval_id)
    .execute(db)
    .await?;
    Ok(())
}

/// The sealed preview of an approval.
pub async fn preview(db: &mut Connection, id: &[u8; 16]) -> Result<Option<Vec<u8>>, Fault> {
    let row: Option<(Vec<u8>,)> =
        sqlx::query_as("SELECT sealed FROM approval_previews WHERE approval_id = $1")
            .bind(id.as_slice())
            .fetch_optional(db)
            .await?;
    Ok(row.map(|(sealed,)| sealed))
}

/// Seals the previews of `tenant` by `new`. One that does not open was lost before: it goes, as
/// it would with its decision.
pub async fn previews_again(
    db: &mut Connection,
    tenant: &str,
    old: &Dek,
    new: &Dek,
) -> Result<(), Fault> {
    let rows: Vec<(Vec<u8>, Vec<u8>)> = sqlx::query_as(
        "SELECT p.approval_id, p.sealed FROM approval_previews p
         JOIN approvals a ON a.approval_id = p.approval_id WHERE a.tenant = $1",
    )
    .bind(tenant)
    .fetch_all(&mut *db)
    .await?;
    for (id, sealed) in rows {
        let id = exact(&id, "approval")?;
        let Ok(preview) = open_preview(old, tenant, &id, &sealed) else {
            forget_preview(&mut *db, &id).await?;
            continue;
        };
        sqlx::query("UPDATE approval_previews SET sealed = $1 WHERE approval_id = $2")
            .bind(seal_preview(new, tenant, &id, &preview)?)
            .bind(id.as_slice())
            .execute(&mut *db)
            .await?;
    }
    Ok(())
}

/// Deletes a preview. The database's log still holds it: whoever commits this has that emptied
/// ([`crate::epoch::Epochs::mark_deleted`]).
pub async fn forget_preview(db: &mut Connection, id: &[u8; 16]) -> Result<(), Fault> {
    sqlx::query("DELETE FROM approval_previews WHERE approval_id = $1")
        .bind(id.as_slice())
        .execute(db)
        .await?;
    Ok(())
}

/// Deletes the previews of approvals that have ended, and approvals that ended long ago.
/// `true` when there were previews, which the database's log still holds.
pub async fn prune(db: &mut Connection, now: UnixMillis) -> Result<bool, Fault> {
    let ended = sqlx::query(
        "DELETE FROM approval_previews WHERE approval_id IN
         (SELECT approval_id FROM approvals WHERE expires_ms <= $1)",
    )
    .bind(millis(now))
    .execute(&mut *db)
    .await?;
    let before = UnixMillis(now.0.saturating_sub(KEPT_MS));
    sqlx::query(
        "DELETE FROM approvals WHERE expires_ms < $1 AND (grant_until_ms IS NULL OR grant_until_ms < $2)",
    )
    .bind(millis(before))
    .bind(millis(now))
    .execute(&mut *db)
    .await?;
    // What a grant gave serves the one release after it, and nobody is shown it again.
    let hour = UnixMillis(now.0.saturating_sub(GRANTED_KEPT_MS));
    sqlx::query(
        "DELETE FROM approvals WHERE claimed_ms = created_ms AND created_ms < $1
         AND grant_until_ms IS NULL",
    )
    .bind(millis(hour))
    .execute(db)
    .await?;
    Ok(ended.rows_affected() > 0)
}
