//! The audit log: its state, checkpoints, proofs, exports.

use postern_core::hex;

use super::{Answered, Operator, bad_request, not_found};
use crate::audit::Break;
use crate::fault::Fault;
use crate::service::{HttpAnswer, Service};

impl Service {
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

    pub(super) async fn show_checkpoint(&self) -> Result<HttpAnswer, Fault> {
        Ok(self.last_checkpoint().await?.map_or_else(not_found, text))
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
