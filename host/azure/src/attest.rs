//! The attest call of Microsoft Azure Attestation for SEV-SNP.
//!
//! The token is passed on unread but for its form: whoever relies on it verifies it. Invariant:
//! what is taken for a token can stand in JSON without escapes, and is of bounded length.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64;
use serde::Deserialize;
use serde_json::json;

use crate::Refused;
use crate::call::Call;

/// Longest token.
const TOKEN: usize = 16 << 10;

/// A report and what endorses it.
pub struct Evidence<'a> {
    /// The report.
    pub report: &'a [u8],
    /// PEM of VCEK, ASK and ARK.
    pub chain: &'a str,
    /// `COSE_Sign1` over the measurement of the utility machine.
    pub uvm: &'a [u8],
}

/// Asks the instance at `base` for a token about `evidence`, whose report data is the hash of
/// `runtime`.
#[must_use]
pub fn request(base: &str, evidence: &Evidence<'_>, runtime: &[u8]) -> Call {
    let endorsements = json!({"Uvm": [B64.encode(evidence.uvm)]}).to_string();
    let report = json!({
        "SnpReport": B64.encode(evidence.report),
        "VcekCertChain": B64.encode(evidence.chain),
        "Endorsements": B64.encode(endorsements),
    });
    let body = json!({
        "report": B64.encode(report.to_string()),
        "runtimeData": {"data": B64.encode(runtime), "dataType": "JSON"},
    });
    let base = base.trim_end_matches('/');
    let url = format!("{base}/attest/SevSnpVm?api-version=2022-08-01");
    Call { url, body: Some(body.to_string()) }
}

#[derive(Deserialize)]
struct Attested<'a> {
    token: &'a str,
}

/// The token.
///
/// # Errors
/// When there is none.
pub fn token(content: &[u8]) -> Result<String, Refused> {
    let attested = serde_json::from_slice::<Attested<'_>>(content).ok();
    let token = attested.map(|attested| attested.token).filter(|token| is_compact(token));
    token.map(str::to_owned).ok_or(Refused::Malformed("attestation token"))
}

/// Three parts of base64url.
fn is_compact(token: &str) -> bool {
    let byte = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    token.len() <= TOKEN && token.bytes().all(byte) && token.split('.').count() == 3
}
