//! `postern audit retain`, `erase` and `person`: content that is taken out of the log, and what
//! the log knows of one person.
//!
//! Owns no rule of its own: which events are about a person and what a tombstone says is the
//! key service's crate's. Invariant: nothing is taken out without `--yes`, and what a person is
//! given comes from a log that was verified.

use std::path::PathBuf;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64;
use postern_core::time::UnixMillis;
use postern_keys::admin::Removal;
use postern_keys::audit::export::Line;
use postern_keys::audit::removal::{Person, Which};
use postern_keys::audit::verify_export;
use serde_json::{Value, json};

use crate::failure::{Failure, Outcome, Sort};
use crate::operator::{Operator, OperatorArgs};
use crate::output::Output;
use crate::span;

/// Take the content of old events out of the log.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  postern audit retain --keep 400d
  postern audit retain --keep 400d --yes

Takes the content of this tenant's events that are older out of the key service's database; at
least 30 days are kept. Number, hash and signature stay, and an event says which are gone, so that
the chain still verifies. Exports and backups that were made before still have the content.

Exit codes: 0 done, 1 refused, 2 called wrongly, or without --yes, 3 cannot reach")]
pub struct RetainArgs {
    #[command(flatten)]
    operator: OperatorArgs,
    /// How much of the past keeps its content, such as 400d.
    #[arg(long, value_name = "TIME", value_parser = span::parse)]
    keep: Duration,
    /// Do it: what is taken out does not come back.
    #[arg(long)]
    yes: bool,
}

/// Take the content of a person's events out of the log.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  postern audit person ada --out ada.json         keep it, or hand it over, first
  postern audit erase ada
  postern audit erase ada --yes

Takes the content of each event of this tenant that names the person out of the key service's
database, whatever its age: requests by the user's short hash, changes by user or person.
The event that says so has how many and which numbers, and not the name. API keys and people are
removed by their own commands; exports and backups that were made before still have the content.

Exit codes: 0 done, 1 refused, 2 called wrongly, or without --yes, 3 cannot reach")]
pub struct EraseArgs {
    #[command(flatten)]
    operator: OperatorArgs,
    /// The user, as API keys, tokens and sessions name them.
    user: String,
    /// Do it: what is taken out does not come back.
    #[arg(long)]
    yes: bool,
}

/// Write what the log has of one person.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  postern audit person ada --out ada.json

Fetches and verifies the log, and writes each event of this tenant that names the person, with its
number and hash. Only what names them: an approval's caller under an API key is the key's hash.

Exit codes: 0 written, 1 the log is broken, 3 cannot reach or write")]
pub struct PersonArgs {
    #[command(flatten)]
    operator: OperatorArgs,
    /// The user, as API keys, tokens and sessions name them.
    user: String,
    /// File to write.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Runs `audit retain`.
pub fn retain(args: &RetainArgs, out: Output) -> Outcome {
    let keep = u64::try_from(args.keep.as_millis()).unwrap_or(u64::MAX);
    let end = UnixMillis(span::now().0.saturating_sub(keep));
    let what = format!("events before {}", span::shown(end));
    if !args.yes {
        return Err(asked(&what));
    }
    remove(&Operator::load(&args.operator)?, Which::Before(end.0), &what, out)
}

/// Runs `audit erase`.
pub fn erase(args: &EraseArgs, out: Output) -> Outcome {
    let what = format!("events about {}", args.user);
    if !args.yes {
        return Err(asked(&what));
    }
    remove(&Operator::load(&args.operator)?, Which::Person(args.user.clone()), &what, out)
}

fn asked(what: &str) -> Failure {
    let text = format!("the content of {what} would be gone for good: give --yes to do it");
    Failure::usage(text)
}

/// Asks until there is no more: each request takes some, and leaves its own tombstone.
fn remove(operator: &Operator, which: Which, what: &str, out: Output) -> Outcome {
    let service = operator.service()?;
    let progress = out.progress("removing");
    let (mut removed, mut tombstones, mut next) = (0, Vec::new(), Some(0));
    while let Some(after) = next {
        let body = json!(Removal { which: which.clone(), after });
        let taken = service.signed(operator, "POST", "/audit/removals", Some(&body))?;
        removed += taken["removed"].as_u64().unwrap_or(0);
        tombstones.extend(taken["tombstone"].as_str().map(str::to_owned));
        next = taken["more"].as_u64();
        if next.is_some_and(|more| more <= after) {
            // Asked for ever, and taken for the end it would leave what is behind.
            return Err(Failure::found("the key service does not get on: not all is removed"));
        }
    }
    drop(progress);
    let said = match tombstones.as_slice() {
        [] => format!("no content of {what} is left"),
        all => {
            format!("took out the content of {removed} {what}; said by event {}", all.join(", "))
        }
    };
    out.result(&json!({"removed": removed, "tombstones": tombstones}), &said)
}

/// Runs `audit person`.
pub fn person(args: &PersonArgs, out: Output) -> Outcome {
    let operator = Operator::load(&args.operator)?;
    let service = operator.service()?;
    let progress = out.progress("reading the log");
    let key = super::signing_key(&service.get("/audit/signing-key")?)?;
    let (chain, _) = super::whole_chain(&service, &operator)?;
    let report = verify_export(chain.as_slice(), &key, None);
    drop(progress);
    if let Some(broken) = &report.broken {
        return Err(Failure::found(format_args!("the log is broken: {broken}")));
    }
    let events = about(&chain, &Person::new(&operator.tenant, &args.user));
    let document = json!({
        "tenant": operator.tenant, "user": args.user, "made": span::shown(span::now()),
        "log_events": report.good, "removed": report.removed, "events": events,
    });
    let mut text = serde_json::to_vec_pretty(&document).or_bug("document")?;
    text.push(b'\n');
    postern_files::write_private(&args.out, &text).or_environment("cannot write")?;
    let said = format!("{} events about {} in {}", events.len(), args.user, args.out.display());
    out.result(&json!({"events": events.len(), "file": args.out.display().to_string()}), &said)
}

fn about(chain: &[u8], person: &Person) -> Vec<Value> {
    let event = |line: &[u8]| {
        let line: Line = serde_json::from_slice(line).ok()?;
        let bytes = B64.decode(line.bytes?).ok()?;
        let event: Value = serde_json::from_slice(&bytes).ok()?;
        person.is_in(&event).then(|| json!({"n": line.n, "hash": line.hash, "event": event}))
    };
    chain.split(|byte| *byte == b'\n').skip(1).filter_map(event).collect()
}
