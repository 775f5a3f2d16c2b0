//! A folder of evidence for a review of one period: what happened, who had access, and what
//! shows that the log was not bent.
//!
//! Owns what the folder holds; the log's format and its verifier are the key service's
//! crate's. Invariant: nothing in the folder says more than the log and the operators'
//! interface do, which hold no secret; what is counted is counted from the verified export.

mod activity;
mod framework;
mod period;
mod report;
mod review;

use std::path::Path;

use postern_core::time::UnixMillis;
use postern_keys::audit::Report;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

pub use activity::Log;
pub use framework::Framework;

use crate::failure::{Failure, Outcome, Sort};
use crate::span;

/// What a review is about.
#[derive(Clone, Copy, Debug)]
pub struct Period {
    /// Whose questions.
    pub framework: Framework,
    /// First moment.
    pub from: UnixMillis,
    /// First moment behind it.
    pub to: UnixMillis,
}

/// What was fetched.
pub struct Sources {
    /// The export, as it came.
    pub chain: Vec<u8>,
    /// The signing key, as it came.
    pub key: Vec<u8>,
    /// The newest checkpoint, where there is one.
    pub note: Option<String>,
    /// What the verifier says of both.
    pub verdict: Report,
    /// Lists of the operators' interface: keys, gateways, credentials, revocations, users.
    pub lists: Value,
    /// Whose.
    pub tenant: String,
}

/// Writes the folder; what its verdict is.
pub fn write(folder: &Path, period: Period, sources: &Sources, now: UnixMillis) -> Outcome<Value> {
    fresh(folder)?;
    let log = Log::read(&sources.chain);
    let events = log.within(period.from, period.to);
    let review = review::of(&sources.lists, now);
    let tables = period::of(&events);
    let summary = json!({
        "framework": period.framework.title(),
        "tenant": sources.tenant,
        "from": span::shown(period.from),
        "to": span::shown(period.to),
        "made": span::shown(now),
        "whole": sources.verdict.broken.is_none(),
        "broken": sources.verdict.broken.as_ref().map(ToString::to_string),
        "log_events": sources.verdict.good,
        "withheld": sources.verdict.withheld,
        "removed": sources.verdict.removed,
        "checkpoint": sources.note.is_some(),
        "covered": sources.note.as_deref().map(activity::covered),
        "period_events": events.len(),
    });
    let page = report::html(period, &summary, &events, (&review, &tables)).or_bug("report")?;
    let mut files = vec![
        ("chain.jsonl".to_owned(), sources.chain.clone()),
        ("signing-key.json".to_owned(), sources.key.clone()),
        ("events.json".to_owned(), pretty(&json!(events))),
        ("access-review.json".to_owned(), pretty(&review)),
        ("policies-and-approvals.json".to_owned(), pretty(&tables)),
        ("verdict.json".to_owned(), pretty(&summary)),
        ("report.html".to_owned(), page.into_bytes()),
        ("README.txt".to_owned(), include_bytes!("README.txt").to_vec()),
    ];
    if let Some(note) = &sources.note {
        files.push(("newest.checkpoint".to_owned(), note.clone().into_bytes()));
        files.extend(log.proofs(note, &events));
    }
    files.push(("SHA256SUMS".to_owned(), sums(&files).into_bytes()));
    for (name, bytes) in files {
        let path = folder.join(name);
        if let Some(parent) = path.parent() {
            postern_files::create_private_dir(parent).or_environment("cannot write")?;
        }
        postern_files::write_private(&path, &bytes).or_environment("cannot write")?;
    }
    Ok(summary)
}

/// Evidence is not mixed with what is there already.
fn fresh(folder: &Path) -> Outcome {
    let entries = std::fs::read_dir(folder).map(|mut entries| entries.next().is_some());
    if entries.unwrap_or(false) {
        let text = format!("--out {}: expected a new or empty folder", folder.display());
        return Err(Failure::usage(text));
    }
    postern_files::create_private_dir(folder).or_environment("cannot write")
}

fn pretty(value: &Value) -> Vec<u8> {
    let mut text = serde_json::to_vec_pretty(value).unwrap_or_default();
    text.push(b'\n');
    text
}

/// As `sha256sum -c` reads it.
fn sums(files: &[(String, Vec<u8>)]) -> String {
    let line = |(name, bytes): &(String, Vec<u8>)| {
        format!("{}  {name}\n", postern_core::hex::lower(&Sha256::digest(bytes)))
    };
    files.iter().map(line).collect()
}
