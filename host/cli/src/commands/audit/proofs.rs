//! `postern audit proof`, `verify-proof` and `checkpoint`: single events and the log's growth,
//! without an export of all of it.

use std::path::PathBuf;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64;
use ed25519_dalek::VerifyingKey;
use postern_core::hex;
use postern_keys::audit::checkpoint::Checkpoint;
use postern_keys::audit::proof::{Consistency, Inclusion, NotProven};
use serde_json::{Value, json};

use super::{read_key, read_text};
use crate::failure::{Failure, Outcome, Sort};
use crate::operator::{Operator, OperatorArgs};
use crate::output::Output;
use crate::service::Service;

/// Fetch a receipt for one event.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  postern audit proof 1742 --out 1742.tlog-proof
  postern audit proof --decision 000102030405060708090a0b0c0d0e0f --out refusal.tlog-proof
  postern audit verify-proof 1742.tlog-proof --key audit.pub

A caller who was refused has the decision's id in the answer. The file holds the event, the hashes beside its way through the log's tree (RFC 6962), and a
signed checkpoint: it stands alone, and needs nobody's word but the key. There is one as soon
as a checkpoint covers the event, within a minute.")]
pub struct ProofArgs {
    #[command(flatten)]
    operator: OperatorArgs,
    /// Number of the event.
    #[arg(required_unless_present = "decision", conflicts_with = "decision")]
    n: Option<u64>,
    /// Of the request that was decided under this id.
    #[arg(long, value_name = "HEX", value_parser = decision)]
    decision: Option<String>,
    /// File to write.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Check a receipt, offline.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  postern audit verify-proof 1742.tlog-proof --key audit.pub

Exit codes: 0 the event is in the log, 1 the proof does not hold, 3 a file cannot be read")]
pub struct VerifyProofArgs {
    /// The receipt.
    file: PathBuf,
    /// The signing key: base64url, or a file that holds it.
    #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
    key: String,
}

/// Fetch the newest checkpoint, and check that it continues an older one.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  postern audit checkpoint --key audit.pub --out monday.checkpoint
  postern audit checkpoint --key audit.pub --since monday.checkpoint --out tuesday.checkpoint
  postern audit checkpoint --key audit.pub --witnesses 2 --out seen.checkpoint

With --since, a log that was cut off, rolled back or written anew since then is found, without
reading it. Keep the files where the service's host cannot reach them.

Exit codes: 0 done, 1 the log does not continue, 3 cannot reach or read")]
pub struct CheckpointArgs {
    #[command(flatten)]
    operator: OperatorArgs,
    /// The signing key: base64url, or a file that holds it.
    #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
    key: String,
    /// A checkpoint that was kept.
    #[arg(long, value_name = "FILE")]
    since: Option<PathBuf>,
    /// Fetch the newest that so many witnesses have signed; audit verify looks at what they signed.
    #[arg(long, value_name = "N", conflicts_with = "since",
          value_parser = clap::value_parser!(u8).range(1..))]
    witnesses: Option<u8>,
    /// File to write.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// A decision's id as answers have it.
fn decision(text: &str) -> Result<String, String> {
    let read = hex::read::<16>(text.as_bytes());
    read.map(|id| hex::lower(&id)).ok_or_else(|| "expected 32 hexadecimal digits".to_owned())
}

/// Runs `audit proof`.
pub fn proof(args: &ProofArgs, out: Output) -> Outcome {
    let operator = Operator::load(&args.operator)?;
    let named = match (args.n, &args.decision) {
        (Some(n), _) => n.to_string(),
        (None, id) => format!("decision/{}", id.as_deref().unwrap_or_default()),
    };
    let path = format!("/audit/proof/{named}");
    let text = operator.service()?.signed_bytes(&operator, "GET", &path, None);
    let text = text.map_err(|failure| {
        let why = "no receipt (a checkpoint covers an event within a minute)";
        Failure::environment(format_args!("event {named}: {why}: {failure}"))
    })?;
    postern_files::write_private(&args.out, &text).or_environment("cannot write")?;
    let proof = Inclusion::parse(&String::from_utf8_lossy(&text)).or_environment("receipt")?;
    let (n, file) = (proof.line.n.parse::<u64>().or_environment("receipt")?, args.out.display());
    let document = json!({"event": n, "file": file.to_string()});
    out.result(&document, &format!("receipt for event {n} in {file}"))
}

/// Runs `audit verify-proof`.
pub fn verify_proof(args: &VerifyProofArgs, out: Output) -> Outcome {
    let key = read_key(&args.key)?;
    let text = read_text(&args.file)?;
    let proof = Inclusion::parse(&text);
    let included = proof.and_then(|proof| proof.verify(&key).map(|included| (proof, included)));
    let (proof, included) = match included {
        Ok(good) => good,
        Err(error) => return broken(&error.to_string(), out),
    };
    let bytes = proof.line.bytes.as_ref().and_then(|bytes| B64.decode(bytes).ok());
    let event = bytes.and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
    let shown = event.as_ref().map_or("(its content is withheld)".to_owned(), Value::to_string);
    let size = included.checkpoint.head.n;
    let text = format!("good: event {} is in the log of {size} events\n{shown}", included.n);
    let document = json!({
        "good": true, "n": included.n, "event": event,
        "checkpoint": {"events": size, "root": B64.encode(included.checkpoint.root)},
    });
    out.result(&document, &text)
}

/// Runs `audit checkpoint`.
pub fn checkpoint(args: &CheckpointArgs, out: Output) -> Outcome {
    let key = read_key(&args.key)?;
    let operator = Operator::load(&args.operator)?;
    let service = operator.service()?;
    let since = args.since.as_deref().map(read_text).transpose()?;
    let since = since.map(|note| Checkpoint::open(&note, &key)).transpose();
    let since = match since {
        Ok(since) => since,
        Err(error) => return broken(&format!("--since: {error}"), out),
    };
    let (note, point) = match since {
        None => newest(&service, &operator, &key, args.witnesses)?,
        Some(old) => continued(&service, &operator, &old, &key)?,
    };
    let point = match point {
        Ok(point) => point,
        Err(error) => return broken(&error.to_string(), out),
    };
    postern_files::write_atomic(&args.out, note.as_bytes()).or_environment("cannot write")?;
    let size = point.head.n;
    let said = match since {
        None => format!("checkpoint of {size} events in {}", args.out.display()),
        Some(old) => format!(
            "good: {size} events, which begin with the {} of {}; checkpoint in {}",
            old.head.n,
            args.since.as_deref().unwrap_or(&args.out).display(),
            args.out.display()
        ),
    };
    out.result(&json!({"good": true, "events": size, "root": B64.encode(point.root)}), &said)
}

type Checked = (String, Result<Checkpoint, NotProven>);

fn newest(
    service: &Service<'_>,
    operator: &Operator,
    key: &VerifyingKey,
    witnesses: Option<u8>,
) -> Outcome<Checked> {
    let note = match witnesses {
        None => super::checkpoint(service, operator)?,
        Some(n) => {
            let path = format!("/log/checkpoint?witnesses={n}");
            service.signed_bytes(operator, "GET", &path, None).map_err(|failure| {
                let why = "no checkpoint that so many witnesses have signed";
                Failure::environment(format_args!("{why}: {failure}"))
            })?
        }
    };
    let note = String::from_utf8_lossy(&note).into_owned();
    let point = Checkpoint::open(&note, key).map_err(|_| NotProven::Checkpoint);
    Ok((note, point))
}

/// The newest checkpoint with a proof that it continues `old`. One that covers less has none
/// and needs none.
fn continued(
    service: &Service<'_>,
    operator: &Operator,
    old: &Checkpoint,
    key: &VerifyingKey,
) -> Outcome<Checked> {
    let (note, point) = newest(service, operator, key, None)?;
    if !point.is_ok_and(|point| point.head.n >= old.head.n) {
        let proof = Consistency { old: old.head.n, path: Vec::new(), note: note.clone() };
        return Ok((note, proof.verify(old, key)));
    }
    let path = format!("/log/consistency?from={}", old.head.n);
    let text = service.signed_bytes(operator, "GET", &path, None)?;
    let proof = match Consistency::parse(&String::from_utf8_lossy(&text)) {
        Ok(proof) => proof,
        Err(error) => return Ok((note, Err(error))),
    };
    let point = proof.verify(old, key);
    Ok((proof.note, point))
}

pub(super) fn broken(why: &str, out: Output) -> Outcome {
    out.result(&json!({"good": false, "broken": why}), &format!("broken: {why}"))?;
    Err(Failure::reported())
}
