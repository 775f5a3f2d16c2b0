//! `postern attest`: appraises the evidence of a key service and prints each check.
//!
//! Owns the report; the checks are those that gateways make (`postern-crp`). Invariant:
//! the pins come from a file of the person who asks, never from the service.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64;
use postern_core::config::evidence;
use postern_core::hex;
use postern_core::time::UnixMillis;
use postern_crp::evidence::{Evidence, Seen, Trust, appraise_noting};
use serde_json::json;

use crate::failure::{Failure, Outcome, Sort};
use crate::output::Output;
use crate::service::{Endpoint, Service};
use crate::{random, span};

/// Largest file that is read here.
const MAX_FILE: usize = 64 << 10;

/// Evidence.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Appraise evidence: a file's, or what a running service shows for a fresh challenge.
    Verify(VerifyArgs),
}

/// Appraise evidence.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  postern attest verify --pins pins.json --url https://keys.internal:8843 --ca keys-ca.pem
  postern attest verify --pins pins.json evidence.json
  postern attest verify --sim-key KEY --at 1795329000 evidence.json

pins.json is the table key_service.evidence of a module, in JSON. Each check that passed is
printed, then the one that failed. Exit code 0 when all passed, 1 when one failed.")]
pub struct VerifyArgs {
    /// A document of evidence, as /crp/v1/evidence gives it.
    #[arg(required_unless_present = "url", conflicts_with = "url")]
    file: Option<PathBuf>,
    /// Where a key service runs.
    #[arg(long, value_name = "URL", requires = "ca")]
    url: Option<String>,
    /// PEM of the authority of its certificate.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// What hardware has to show.
    #[arg(long, value_name = "FILE", required_unless_present = "sim_key")]
    pins: Option<PathBuf>,
    /// Accept simulated evidence of this key (base64url) instead.
    #[arg(long, value_name = "KEY", conflicts_with = "pins", allow_hyphen_values = true)]
    sim_key: Option<String>,
    /// Appraise as of this second since 1970, not as of now.
    #[arg(long, value_name = "SECONDS", conflicts_with = "url")]
    at: Option<u64>,
}

/// Runs `attest`.
pub fn run(command: &Command, out: Output) -> Outcome {
    let Command::Verify(args) = command;
    let (trust, label) = trust(args)?;
    let (document, nonce) = document(args)?;
    let now = args.at.map_or_else(span::now, |at| UnixMillis(at.saturating_mul(1000)));
    let mut passed = Vec::new();
    let judged = appraise_noting(&document, &trust, Seen::default(), now, &mut |check| {
        passed.push(check);
    });
    let judged = judged.and_then(|evidence| match &nonce {
        None => Ok(evidence),
        Some(nonce) => evidence.answers(nonce).map(|()| {
            passed.push("challenge: answers ours");
            evidence
        }),
    });
    let judged = judged.map_err(|refusal| refusal.to_string());
    report(&passed, label, &judged, out)?;
    judged.map(|_| ()).map_err(|_| Failure::found(""))
}

fn trust(args: &VerifyArgs) -> Outcome<(Trust, &'static str)> {
    if let Some(key) = &args.sim_key {
        let key = B64.decode(key).ok().and_then(|key| key.try_into().ok());
        let key = key.ok_or_else(|| Failure::usage("--sim-key: expected 32 bytes in base64url"))?;
        return Ok((Trust::Simulated(key), "SIMULATED"));
    }
    let path = args.pins.as_deref().ok_or_else(|| Failure::usage("expected --pins"))?;
    let accepted = evidence::parse(&read(path)?).or_environment(path.display())?;
    Ok((Trust::of(&accepted).or_environment(path.display())?, accepted.label()))
}

/// The document, and the nonce that it has to answer.
fn document(args: &VerifyArgs) -> Outcome<(Vec<u8>, Option<[u8; 32]>)> {
    if let Some(file) = &args.file {
        return Ok((read(file)?, None));
    }
    let (Some(url), Some(ca)) = (&args.url, &args.ca) else {
        return Err(Failure::usage("expected a file, or --url and --ca"));
    };
    let ca = String::from_utf8(read(ca)?).or_environment(ca.display())?;
    let endpoint = Endpoint { url: url.clone(), ca, simulated: None, evidence: None };
    let nonce = random::bytes()?;
    let document = Service::new(&endpoint)?.challenged(&nonce)?;
    Ok((document, Some(nonce)))
}

fn read(path: &Path) -> Outcome<Vec<u8>> {
    postern_files::read_bounded(path, MAX_FILE).or_environment(path.display())
}

fn report(passed: &[&str], label: &str, judged: &Result<Evidence, String>, out: Output) -> Outcome {
    let mut lines: Vec<String> = passed.iter().map(|check| format!("ok      {check}")).collect();
    let mut document = json!({
        "good": judged.is_ok(), "attestation": label, "passed": passed,
    });
    match judged {
        Ok(evidence) => {
            document["epoch"] = evidence.epoch().into();
            document["kex"] = hex::lower(evidence.kex()).into();
            document["release_set"] = evidence.releases().into();
            lines.push(format!("good: {label}, epoch {}", evidence.epoch()));
        }
        Err(refusal) => {
            document["refused"] = refusal.as_str().into();
            lines.push(format!("FAILED  {refusal}"));
        }
    }
    out.result(&document, &lines.join("\n"))
}
