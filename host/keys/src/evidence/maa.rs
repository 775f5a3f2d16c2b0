//! The attest call of Microsoft Azure Attestation for SEV-SNP
//! (`POST /attest/SevSnpVm?api-version=2022-08-01`).
//!
//! The token is passed on unread but for its form: gateways verify it under pinned keys, so
//! whoever answers here can only keep it from being had. Run against a local server of this
//! shape; not run against Azure. Invariant: every call has a deadline, and no answer is
//! larger than [`ANSWER`].

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64;
use postern_core::redacted::Redacted;
use serde_json::{Value, json};
use ureq::Agent;

use super::host::Facts;
use crate::fault::Fault;
use crate::outgoing::agent;

/// Longest wait.
const PATIENCE: Duration = Duration::from_secs(4);
/// Largest answer.
const ANSWER: u64 = 32 << 10;
/// Longest token.
const TOKEN: usize = 16 << 10;

/// A client of one instance.
pub struct Maa {
    url: String,
    agent: Agent,
}

impl Maa {
    /// Of the instance at `url`, without a path.
    pub fn new(url: &str) -> Self {
        let url = format!("{}/attest/SevSnpVm?api-version=2022-08-01", url.trim_end_matches('/'));
        Self { url, agent: agent(PATIENCE) }
    }

    /// A token about `report`, whose report data is the hash of `runtime`.
    pub(super) fn attest(
        &self,
        report: &[u8],
        facts: &Facts,
        runtime: &[u8],
    ) -> Result<String, Fault> {
        let endorsements = json!({"Uvm": [B64.encode(&facts.uvm)]}).to_string();
        let inner = json!({
            "SnpReport": B64.encode(report),
            "VcekCertChain": B64.encode(&facts.chain),
            "Endorsements": B64.encode(endorsements),
        });
        let body = json!({
            "report": B64.encode(inner.to_string()),
            "runtimeData": {"data": B64.encode(runtime), "dataType": "JSON"},
        });
        let answer = self.post(&body.to_string())?;
        let token = answer.get("token").and_then(Value::as_str);
        let token = token.filter(|token| is_compact(token));
        token.map(str::to_owned).ok_or_else(|| failed("attestation service: expected a token"))
    }

    fn post(&self, body: &str) -> Result<Value, Fault> {
        let request = self.agent.post(&self.url).header("content-type", "application/json");
        let mut answer =
            request.send(body).map_err(|e| failed(&format!("attestation service: {e}")))?;
        let status = answer.status().as_u16();
        let content = answer.body_mut().with_config().limit(ANSWER).read_to_vec();
        let content = content.map_err(|e| failed(&format!("attestation service: {e}")))?;
        let value: Value = serde_json::from_slice(&content).unwrap_or(Value::Null);
        if status == 200 {
            return Ok(value);
        }
        let code = value["error"]["code"].as_str().unwrap_or("no code").to_owned();
        Err(failed(&format!("attestation service: {status} {code}")))
    }
}

fn failed(why: &str) -> Fault {
    Fault::Attestation(Redacted::new(why))
}

/// Three parts of base64url: what may stand in the document without escapes.
fn is_compact(token: &str) -> bool {
    let byte = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    token.len() <= TOKEN && token.bytes().all(byte) && token.split('.').count() == 3
}
