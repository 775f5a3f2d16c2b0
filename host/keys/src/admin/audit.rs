//! The audit log: its state, checkpoints, proofs, exports, and content that is taken out.

use postern_core::hex;
use postern_core::time::UnixMillis;
use serde::{Deserialize, Serialize};

use super::{Answered, Operator, bad_request, not_found};
use crate::audit::Break;
use crate::audit::removal::{self, LEAST_AGE_MS, Which};
use crate::fault::Fault;
use crate::service::{HttpAnswer, Service};
use crate::store::Reach;

/// `POST /audit/removals`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Removal {
    /// Whose content goes.
    pub which: Which,
    /// Begin behind this event; `more` of the last answer.
    #[serde(default)]
    pub after: u64,
}

/// Longest name of a person.
const MAX_PERSON: usize = 256;

impl Removal {
    fn read(body: &[u8], now: UnixMillis) -> Result<Self, &'static str> {
        let removal: Self = serde_json::from_slice(body)
            .map_err(|_| "Expected which, as before or person, and after")?;
        match &removal.which {
            Which::Before(end) if *end > now.0.saturating_sub(LEAST_AGE_MS) => {
                Err("Expected a time at least 30 days ago: younger events are kept")
            }
            Which::Person(name) if !(1..=MAX_PERSON).contains(&name.len()) => {
                Err("Expected a name of 1 to 256 bytes")
            }
            // What an operator or a grant decided is no person's.
            Which::Person(name)
                if ["operator:", "grant:"].iter().any(|one| name.starts_with(one)) =>
            {
                Err("Expected the name of a person")
            }
            _ => Ok(removal),
        }
    }
}

impl Service {
    /// Takes content of this tenant's events out, and leaves a tombstone.
    pub(super) async fn remove_content(
        &self,
        operator: &Operator,
        body: &[u8],
        now: UnixMillis,
    ) -> Result<HttpAnswer, Fault> {
        let Removal { which, after } = match Removal::read(body, now) {
            Ok(removal) => removal,
            Err(expected) => return Ok(bad_request(expected)),
        };
        let mut db = self.inner.pool.write(operator.reach()).await?;
        let event = operator.event(removal::KIND);
        let what = (operator.tenant.as_str(), &which);
        let taken = removal::remove(&mut db, &self.inner.audit, what, after, event, now).await?;
        db.commit().await?;
        Ok(HttpAnswer::json(&serde_json::json!({
            "removed": taken.removed,
            "tombstone": taken.tombstone.map(|n| n.to_string()),
            "more": taken.more,
        })))
    }

    pub(super) async fn show_integrity(&self) -> Result<HttpAnswer, Fault> {
        let report = self.integrity().await?;
        Ok(HttpAnswer::json(&serde_json::json!({
            "intact": report.broken.is_none(),
            "good": report.good.to_string(),
            "head": hex::lower(&report.head),
            "broken": report.broken.as_ref().map(Break::to_string),
            "checkpoint": self.last_checkpoint().await?,
        })))
    }

    /// The newest checkpoint, or with `witnesses=N` the newest that so many have signed.
    pub(super) async fn show_checkpoint(&self, query: &str) -> Result<HttpAnswer, Fault> {
        let note = match query.strip_prefix("witnesses=").map(str::parse) {
            None if query.is_empty() => self.last_checkpoint().await?,
            Some(Ok(witnesses @ 1..)) => self.cosigned_checkpoint(witnesses).await?,
            _ => return Ok(bad_request("Expected witnesses=NUMBER")),
        };
        Ok(note.map_or_else(not_found, text))
    }

    pub(super) async fn show_proof(
        &self,
        operator: &Operator,
        n: &str,
    ) -> Result<HttpAnswer, Fault> {
        let Ok(n) = n.parse() else { return Ok(bad_request("Expected the number of an event")) };
        let proof = self.proof(Some(&operator.tenant), n).await?;
        Ok(proof.map_or_else(not_covered, |proof| text(proof.text())))
    }

    /// A receipt for the request that was decided under this id, as its caller was told it.
    pub(super) async fn show_decision_proof(
        &self,
        operator: &Operator,
        id: &str,
    ) -> Result<HttpAnswer, Fault> {
        let Some(id) = hex::read::<16>(id.as_bytes()) else {
            return Ok(bad_request("Expected the 16 bytes of a decision's id in hex"));
        };
        match self.decided(&operator.tenant, &id).await? {
            Some(n) => self.show_proof(operator, &n.to_string()).await,
            None => Ok(not_found()),
        }
    }

    /// The event of a request that was decided under `id`. The record's text stands in the event
    /// escaped once; what a caller may put into a record is escaped twice, and is not found.
    async fn decided(&self, tenant: &str, id: &[u8; 16]) -> Result<Option<i64>, Fault> {
        let mark = format!(r#"\"decision_id\":\"{}\""#, hex::lower(id));
        let mut db = self.inner.pool.read(Reach::Tenant(tenant)).await?;
        let find = match db.backend_name() {
            "SQLite" => {
                "SELECT n FROM audit_events WHERE tenant = $1 AND instr(bytes, $2) > 0
                 ORDER BY n LIMIT 1"
            }
            _ => {
                "SELECT n FROM audit_events WHERE tenant = $1 AND position($2 IN bytes) > 0
                 ORDER BY n LIMIT 1"
            }
        };
        let query = sqlx::query_as(find).bind(tenant).bind(mark.into_bytes());
        let row: Option<(i64,)> = query.fetch_optional(&mut *db).await?;
        Ok(row.map(|(n,)| n))
    }

    pub(super) async fn show_consistency(&self, query: &str) -> Result<HttpAnswer, Fault> {
        let Some(Ok(old)) = query.strip_prefix("from=").map(str::parse) else {
            return Ok(bad_request("Expected from=NUMBER"));
        };
        let proof = self.consistency(old).await?;
        Ok(proof.map_or_else(not_covered, |proof| text(proof.text())))
    }

    pub(super) async fn show_export(
        &self,
        operator: &Operator,
        query: &str,
    ) -> Result<Answered, Fault> {
        let after = match query.strip_prefix("after=").map(str::parse) {
            None if query.is_empty() => None,
            Some(Ok(after)) => Some(after),
            _ => return Ok(Answered::Whole(bad_request("Expected after=NUMBER or nothing"))),
        };
        self.export(Some(&operator.tenant), after).await.map(Answered::Export)
    }
}

fn text(text: String) -> HttpAnswer {
    HttpAnswer { status: 200, content_type: "text/plain", body: text.into_bytes() }
}

fn not_covered() -> HttpAnswer {
    let title = "No checkpoint covers this; the next is signed within a minute of an event";
    HttpAnswer::problem(404, "not_found", title)
}
