//! `postern audit`: the log, exported and verified offline, single events of it, and evidence
//! for reviews; content taken out of it, and what it has of one person.

mod decisions;
mod forms;
mod masks;
mod privacy;
mod proofs;
mod witnesses;

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64;
use ed25519_dalek::VerifyingKey;
use postern_core::time::UnixMillis;
use postern_keys::audit::export::Header;
use postern_keys::audit::{Report, verify_export};
use serde_json::{Value, json};

use crate::evidence::{self, Framework, Period, Sources};
use crate::failure::{Failure, Outcome, Sort};
use crate::operator::{Operator, OperatorArgs};
use crate::output::Output;
use crate::service::Service;
use crate::span;

/// Largest key or checkpoint file.
const MAX_SMALL: usize = 64 << 10;
const DAY: Duration = Duration::from_secs(24 * 3600);

/// The audit chain.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Write the whole chain to a file, or a folder of evidence for a review.
    Export(ExportArgs),
    /// Verify an export, offline, and name the first event that is not as it was written.
    Verify(VerifyArgs),
    /// Turn the requests of an export into decision logs as OPA writes them.
    DecisionLog(decisions::DecisionLogArgs),
    /// Fetch a receipt for one event: it stands alone.
    Proof(proofs::ProofArgs),
    /// Check a receipt, offline.
    VerifyProof(proofs::VerifyProofArgs),
    /// Fetch the newest checkpoint, and check that it continues an older one.
    Checkpoint(proofs::CheckpointArgs),
    /// Take the content of old events out of the log; the chain still verifies.
    Retain(privacy::RetainArgs),
    /// Take the content of a person's events out of the log; the chain still verifies.
    Erase(privacy::EraseArgs),
    /// Write what the log has of one person.
    Person(privacy::PersonArgs),
}

/// Write the whole chain to a file, or a folder of evidence for a review.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  postern audit export --out audit.jsonl --key-out audit.pub --checkpoint-out audit.note
  postern audit export --format ocsf --out events.jsonl
  postern audit export --framework soc2 --from 2026-10-01 --to 2026-12-31 --out evidence-q4
  postern audit export --framework iso27001 --from 2026-01-01 --to 2026-12-31 --out evidence

With --framework, --out is a new folder: a report (report.html), the events of the period, a
receipt for each that is no request, an access review (keys by age and last use, roles,
identities, revocations), policy revisions and approvals, the whole signed log with key and checkpoint, and what the verifier
says of it. Both days belong to the period, in UTC.

Exit codes: 0 done, 1 written, and the log is broken, 2 usage, 3 cannot reach or write")]
pub struct ExportArgs {
    #[command(flatten)]
    operator: OperatorArgs,
    /// File to write, one JSON object a line; a folder with --framework.
    #[arg(long, value_name = "PATH")]
    out: PathBuf,
    /// How the file is written. Other forms than the chain are made of a log that holds, have
    /// only this tenant's and the service's events, and cannot be verified themselves.
    #[arg(long, value_enum, default_value_t, conflicts_with_all = ["framework", "checkpoint_out"])]
    format: forms::Format,
    /// Make a folder of evidence, arranged by this framework's controls.
    #[arg(long, requires_all = ["from", "to"], conflicts_with_all = ["key_out", "checkpoint_out"])]
    framework: Option<Framework>,
    /// First day of the period.
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = span::day, requires = "framework")]
    from: Option<UnixMillis>,
    /// Last day of the period.
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = span::day, requires = "framework")]
    to: Option<UnixMillis>,
    /// Also write the service's signing key. Compare it once by another way, then keep it.
    #[arg(long, value_name = "FILE")]
    key_out: Option<PathBuf>,
    /// Also write the newest signed checkpoint. Keep it apart: it shows a cut-off end.
    #[arg(long, value_name = "FILE")]
    checkpoint_out: Option<PathBuf>,
}

/// Verify an export.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  postern audit verify audit.jsonl --key audit.pub
  postern audit verify audit.jsonl --key GYH9HAEh… --checkpoint audit.note --strict
  postern audit verify audit.jsonl --key audit.pub --checkpoint mon.note --checkpoint tue.note
  postern audit verify audit.jsonl --key audit.pub --checkpoint seen.note --witness w.example+…

Content that was taken out (audit retain, erase) is good where a signed event says so; it is counted.
A checkpoint that was kept apart shows a cut-off end, a log that was rolled back together with
its head, and one that was written anew by whoever holds the key. One that witnesses have signed
shows that the log was the same for all who asked them.

Exit codes: 0 the chain holds, 1 it is broken (the event is named) or, with --strict, not all
of it could be looked at, 3 a file cannot be read")]
pub struct VerifyArgs {
    /// The export.
    file: PathBuf,
    /// The signing key: base64url, or a file that holds it.
    #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
    key: String,
    /// A signed checkpoint that was kept apart from the export; may be given again.
    #[arg(long = "checkpoint", value_name = "FILE")]
    checkpoints: Vec<PathBuf>,
    /// A witness that has to have signed a --checkpoint, name+hash+key; may be given again.
    #[arg(long = "witness", value_name = "VKEY", requires = "checkpoints")]
    witnesses: Vec<String>,
    /// How many of them have to have signed the same one. Default: all.
    #[arg(long, value_name = "N", requires = "witnesses")]
    quorum: Option<usize>,
    /// Also fail when something could not be looked at: events whose content is withheld
    /// (another tenant's, or taken out), or a cut-off end, which only --checkpoint shows.
    #[arg(long)]
    strict: bool,
}

/// Runs one of them.
pub fn run(command: Command, out: Output) -> Outcome {
    match command {
        Command::Export(args) => match args.framework.zip(args.from).zip(args.to) {
            Some(((framework, from), to)) => {
                gather(&args, Period { framework, from, to: to.after(DAY) }, out)
            }
            None => export(&args, out),
        },
        Command::Verify(args) => verify(&args, out),
        Command::DecisionLog(args) => decisions::decision_log(&args, out),
        Command::Proof(args) => proofs::proof(&args, out),
        Command::VerifyProof(args) => proofs::verify_proof(&args, out),
        Command::Checkpoint(args) => proofs::checkpoint(&args, out),
        Command::Retain(args) => privacy::retain(&args, out),
        Command::Erase(args) => privacy::erase(&args, out),
        Command::Person(args) => privacy::person(&args, out),
    }
}

/// Fetches and verifies everything that a folder of evidence is made of.
fn gather(args: &ExportArgs, period: Period, out: Output) -> Outcome {
    if period.to <= period.from {
        return Err(Failure::usage("--to: expected a day that is not before --from"));
    }
    let operator = Operator::load(&args.operator)?;
    let service = operator.service()?;
    let progress = out.progress("gathering evidence");
    // Before the chain, as the export must reach it. A log of the first minute has none.
    let note = checkpoint(&service, &operator).ok();
    let note = note.and_then(|note| String::from_utf8(note).ok());
    let (chain, _) = whole_chain(&service, &operator)?;
    let key = service.get("/audit/signing-key")?;
    let mut lists = json!({});
    for name in ["keys", "gateways", "credentials", "revocations", "users"] {
        let list = service.signed(&operator, "GET", &format!("/api/v1/{name}"), None)?;
        merge(&mut lists, list);
    }
    let public = signing_key(&key)?;
    let verdict = verify_export(chain.as_slice(), &public, note.as_deref());
    let tenant = operator.tenant.clone();
    let sources = Sources { chain, key, note, verdict, lists, tenant };
    let summary = evidence::write(&args.out, period, &sources, span::now())?;
    drop(progress);
    let broken = sources.verdict.broken.as_ref();
    let state = broken.map_or("the log is whole".to_owned(), |broken| format!("BROKEN: {broken}"));
    let text = format!(
        "{} events of the period in {}: read report.html first; {state}",
        summary["period_events"],
        args.out.display()
    );
    out.result(&summary, &text)?;
    if broken.is_none() { Ok(()) } else { Err(Failure::reported()) }
}

fn merge(into: &mut Value, list: Value) {
    if let (Some(into), Value::Object(list)) = (into.as_object_mut(), list) {
        into.extend(list);
    }
}

fn export(args: &ExportArgs, out: Output) -> Outcome {
    let operator = Operator::load(&args.operator)?;
    let service = operator.service()?;
    let progress = out.progress("exporting");
    // Before the chain, which may grow meanwhile: the export must reach the checkpoint.
    let note = args.checkpoint_out.as_ref().map(|_| checkpoint(&service, &operator)).transpose()?;
    let (mut chain, mut events) = whole_chain(&service, &operator)?;
    if args.format != forms::Format::Chain {
        let key = signing_key(&service.get("/audit/signing-key")?)?;
        if let Some(broken) = verify_export(chain.as_slice(), &key, None).broken {
            return Err(Failure::found(format_args!(
                "nothing written, the log is broken: {broken}"
            )));
        }
        (chain, events) = forms::written(&chain, args.format, &B64.encode(key.as_bytes()));
    }
    drop(progress);
    postern_files::write_private(&args.out, &chain).or_environment("cannot write")?;
    if let Some(path) = &args.key_out {
        let key = service.get("/audit/signing-key")?;
        postern_files::write_atomic(path, &key).or_environment("cannot write")?;
    }
    if let Some((path, note)) = args.checkpoint_out.as_ref().zip(note) {
        postern_files::write_atomic(path, &note).or_environment("cannot write")?;
    }
    let text = format!("{events} events in {}", args.out.display());
    out.result(&json!({"file": args.out.display().to_string(), "events": events}), &text)
}

fn checkpoint(service: &Service<'_>, operator: &Operator) -> Outcome<Vec<u8>> {
    let note = service.signed_bytes(operator, "GET", "/log/checkpoint", None);
    note.map_err(|failure| {
        let why = "no checkpoint (the first is signed within a minute)";
        Failure::environment(format_args!("{why}: {failure}"))
    })
}

/// The chain as long as it was at the first of its parts, and the number of its events.
fn whole_chain(service: &Service<'_>, operator: &Operator) -> Outcome<(Vec<u8>, usize)> {
    let part = |after: usize| {
        service.signed_bytes(operator, "GET", &format!("/audit/export?after={after}"), None)
    };
    let mut chain = part(0)?;
    let lines = |bytes: &[u8]| bytes.iter().filter(|byte| **byte == b'\n').count();
    let header = chain.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let header: Header = serde_json::from_slice(header).or_environment("audit export")?;
    let promised: usize = header.count.parse().or_environment("audit export")?;
    let mut events = lines(&chain).saturating_sub(1);
    while events < promised {
        let part = part(events)?;
        let before = events;
        for line in part.split_inclusive(|byte| *byte == b'\n').take(promised - events) {
            chain.extend_from_slice(line);
            events += 1;
        }
        if events == before {
            // What is missing is for `audit verify` to name.
            break;
        }
    }
    Ok((chain, events))
}

fn verify(args: &VerifyArgs, out: Output) -> Outcome {
    let key = read_key(&args.key)?;
    let notes = args.checkpoints.iter().map(|path| read_text(path));
    let notes = notes.collect::<Outcome<Vec<String>>>()?;
    let file = File::open(&args.file).or_environment(args.file.display())?;
    let progress = out.progress("verifying");
    let report = verify_export(BufReader::new(file), &key, notes.iter().map(String::as_str));
    drop(progress);
    let unseen = unseen(&report, !notes.is_empty());
    let mut text = sentence(&report, !notes.is_empty());
    let seen = match (&report.broken, witnesses(args)?) {
        (None, Some(asked)) => Some(asked.looked(&notes, &key)),
        _ => None,
    };
    let seen = match seen {
        Some(Err(why)) => return proofs::broken(&why, out),
        Some(Ok(seen)) => seen,
        None => Vec::new(),
    };
    seen.iter().for_each(|seen| text.push_str(&format!("\nseen by {seen}")));
    let lacking = args.strict && report.broken.is_none() && !unseen.is_empty();
    if lacking {
        text = format!("not good enough for --strict: {}\n{text}", unseen.join(", "));
    }
    let mut document = document(&report, &unseen);
    document["seen"] = json!(seen);
    out.result(&document, &text)?;
    if report.broken.is_none() && !lacking { Ok(()) } else { Err(Failure::reported()) }
}

fn witnesses(args: &VerifyArgs) -> Outcome<Option<witnesses::Asked>> {
    if args.witnesses.is_empty() {
        return Ok(None);
    }
    witnesses::Asked::read(&args.witnesses, args.quorum).map(Some)
}

/// What a chain that holds may still hide.
fn unseen(report: &Report, with_checkpoint: bool) -> Vec<String> {
    let mut unseen = Vec::new();
    if report.withheld > 0 {
        unseen.push(format!("events without their content: {}", report.withheld));
    }
    if !with_checkpoint {
        unseen.push("no checkpoint".to_owned());
    }
    unseen
}

fn document(report: &Report, unseen: &[String]) -> Value {
    json!({
        "unseen": unseen,
        "good": report.broken.is_none(),
        "events": report.good,
        "withheld": report.withheld,
        "removed": report.removed,
        "head": B64.encode(report.head),
        "broken": report.broken.as_ref().map(ToString::to_string),
    })
}

fn sentence(report: &Report, with_checkpoint: bool) -> String {
    match &report.broken {
        Some(broken) => format!("broken: {broken} ({} events before it hold)", report.good),
        None if with_checkpoint => {
            format!("good: {}, complete up to the checkpoint", events(report))
        }
        None => {
            format!("good: {} (without --checkpoint a cut-off end is not seen)", events(report))
        }
    }
}

/// Content that is missing is said: it is another tenant's, or someone took it out.
fn events(report: &Report) -> String {
    let mut text = format!("{} events", report.good);
    for (count, why) in [(report.withheld, "without their content"), (report.removed, "erased")] {
        if count > 0 {
            text.push_str(&format!(", {count} of them {why}"));
        }
    }
    text
}

/// A key given as text or as the file that holds it (also as JSON `{"key": …}`).
pub(super) fn read_key(text: &str) -> Outcome<VerifyingKey> {
    if let Some(key) = decode_key(text) {
        return Ok(key);
    }
    key_in(&read_text(Path::new(text))?).ok_or_else(|| {
        Failure::usage(format_args!("{text}: expected an Ed25519 public key in base64url"))
    })
}

fn key_in(held: &str) -> Option<VerifyingKey> {
    let json = serde_json::from_str::<Value>(held).ok();
    let inner = json.as_ref().and_then(|json| json.get("key")).and_then(Value::as_str);
    decode_key(inner.unwrap_or(held))
}

/// As the service serves it.
/// The key that `/audit/signing-key` serves.
pub(crate) fn signing_key(served: &[u8]) -> Outcome<VerifyingKey> {
    let key = key_in(&String::from_utf8_lossy(served));
    key.ok_or_else(|| Failure::environment("audit signing key: expected a key"))
}

fn decode_key(text: &str) -> Option<VerifyingKey> {
    let bytes: [u8; 32] = B64.decode(text.trim()).ok()?.try_into().ok()?;
    VerifyingKey::from_bytes(&bytes).ok()
}

fn read_text(path: &Path) -> Outcome<String> {
    let bytes = postern_files::read_bounded(path, MAX_SMALL).or_environment("cannot read")?;
    String::from_utf8(bytes).or_environment(path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_without_content_are_said() {
        let report =
            |withheld| Report { good: 5, withheld, removed: 0, head: [0; 32], broken: None };
        assert_eq!(sentence(&report(0), true), "good: 5 events, complete up to the checkpoint");
        let said = sentence(&report(2), true);
        assert!(said.starts_with("good: 5 events, 2 of them without their content"), "{said}");
        let said = sentence(&Report { removed: 3, ..report(0) }, true);
        assert!(said.starts_with("good: 5 events, 3 of them erased"), "{said}");
    }
}
