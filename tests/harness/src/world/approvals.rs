//! Approvals that came up in a scenario: it writes `APPROVAL-1` for the first in what it wants,
//! and `${approval 1}` in what it sends; when they end is written as 0.

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::Value;

use crate::observation::Observation;

/// What an operator says about an approval before a step.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ruling {
    /// Its number, from 1.
    pub approval: usize,
    /// `approve` or `deny`.
    pub verdict: Verdict,
    /// For how many seconds alike requests are approved too.
    pub grant: Option<u32>,
}

/// Yes or no.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Yes.
    Approve,
    /// No.
    Deny,
}

impl Ruling {
    /// Path and content of the operator's request about approval `id`.
    pub fn request(&self, id: &str) -> (String, Vec<u8>) {
        let verdict = match self.verdict {
            Verdict::Approve => "approve",
            Verdict::Deny => "deny",
        };
        let said = serde_json::json!({"grant": self.grant});
        (format!("/api/v1/approvals/{id}/{verdict}"), said.to_string().into_bytes())
    }
}

/// Ids that came up, in order.
#[derive(Debug, Default)]
pub struct Seen(Vec<String>);

impl Seen {
    /// The id with this number, from 1.
    pub fn id(&self, number: usize) -> Option<&str> {
        number.checked_sub(1).and_then(|index| self.0.get(index)).map(String::as_str)
    }

    /// The same, or an error.
    pub fn known(&self, number: usize) -> Result<&str> {
        self.id(number).with_context(|| format!("no approval {number} came up yet"))
    }

    /// Writes numbers for the ids of an observation.
    pub fn settle(&mut self, seen: &mut Observation) {
        let body = &mut seen.answer.body;
        let Ok(document) = serde_json::from_str::<Value>(body) else { return };
        let (Some(id), Some(expires)) =
            (document["approval"].as_str(), document["expires"].as_u64())
        else {
            return;
        };
        let known = self.0.iter().position(|known| known == id);
        let at = known.unwrap_or_else(|| {
            self.0.push(id.to_owned());
            self.0.len() - 1
        });
        let number = format!("APPROVAL-{}", at + 1);
        let ends = format!("\"expires\":{expires}");
        *body = body.replace(id, &number).replace(&ends, "\"expires\":0");
    }
}
