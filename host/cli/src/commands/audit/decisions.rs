//! `postern audit decision-log`: records of requests as OPA's decision logs have them.
//!
//! Owns the mapping (`host/keys/AUDIT.md` has the table) and nothing of what is masked, which
//! is `masks`. Invariant: only an export that holds is turned, and of a record nothing appears
//! that is not in the audit log.

use std::io::BufReader;
use std::path::PathBuf;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64;
use postern_core::time::UnixMillis;
use postern_keys::audit::export::Line;
use postern_keys::audit::verify_export;
use serde_json::{Map, Value, json};

use super::masks::{Masked, Masks};
use super::read_key;
use crate::failure::{Failure, Outcome, Sort};
use crate::output::Output;
use crate::span;

/// Turn the requests of an export into decision logs as OPA writes them.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  postern audit decision-log audit.jsonl --key audit.pub --out decisions.jsonl
  postern audit decision-log audit.jsonl --key audit.pub --mask mask.rego --out decisions.jsonl

One JSON object a line, with the field names of OPA's decision logs: labels, decision_id,
bundles, path, input, result, requested_by, timestamp, metrics, erased, masked, custom. The export
is verified first. A mask is a policy as OPA has them: the rule data.system.log.mask gives a set
of paths such as /input/postern/identity/user, or objects {op, path, value}, and data.system.log.drop
says which are left out; input is the event.

Exit codes: 0 written, 1 the export does not hold or a mask cannot be applied, 2 usage, 3 a file
cannot be read or written")]
pub struct DecisionLogArgs {
    /// The export.
    file: PathBuf,
    /// The signing key: base64url, or a file that holds it.
    #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
    key: String,
    /// File to write, one JSON object a line.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// A module (`.rego`) with data.system.log.mask, data.system.log.drop or both; may be given
    /// again.
    #[arg(long = "mask", value_name = "FILE")]
    masks: Vec<PathBuf>,
    /// The decision that gates ask for, as OPA writes it.
    #[arg(long, value_name = "PATH", default_value = "envoy/authz/allow")]
    path: String,
}

pub fn decision_log(args: &DecisionLogArgs, out: Output) -> Outcome {
    let key = read_key(&args.key)?;
    let mut masks = Masks::read(&args.masks)?;
    let chain = std::fs::read(&args.file).or_environment(args.file.display())?;
    let progress = out.progress("verifying");
    let report = verify_export(BufReader::new(chain.as_slice()), &key, std::iter::empty());
    if let Some(broken) = &report.broken {
        return Err(Failure::found(format!("nothing written, the export is broken: {broken}")));
    }
    let (mut text, mut written, mut dropped) = (String::new(), 0_u64, 0_u64);
    for (n, record) in chain.split(|byte| *byte == b'\n').skip(1).filter_map(request) {
        match masks.apply(event(&n, &record, &args.path), at(&record))? {
            Masked::Event(event) => {
                text.push_str(&format!("{event}\n"));
                written += 1;
            }
            Masked::Dropped => dropped += 1,
        }
    }
    drop(progress);
    postern_files::write_private(&args.out, text.as_bytes()).or_environment("cannot write")?;
    let file = args.out.display();
    let document = json!({"file": file.to_string(), "decisions": written, "dropped": dropped});
    out.result(&document, &format!("{written} decisions in {file}, {dropped} dropped"))
}

/// The record of a line that has one, and the number of its event.
fn request(line: &[u8]) -> Option<(String, Value)> {
    let line: Line = serde_json::from_slice(line).ok()?;
    let event: Value = serde_json::from_slice(&B64.decode(line.bytes?).ok()?).ok()?;
    let text = event.get("record").filter(|_| event["kind"] == "request")?.as_str()?;
    let record: Value = serde_json::from_str(text).ok()?;
    (record["kind"] == "request").then_some((line.n, record))
}

fn at(record: &Value) -> u64 {
    number(&record["time"]).unwrap_or_default()
}

fn number(value: &Value) -> Option<u64> {
    value.as_str()?.parse().ok()
}

/// One event, before masks.
pub(super) fn event(n: &str, record: &Value, path: &str) -> Value {
    let named = record["policy"].as_str().unwrap_or_default();
    let (document, revision) = named.split_once(' ').unwrap_or((named, named));
    let mut event = json!({
        "labels": {"app": "postern", "id": record["gateway"]},
        "bundles": {"policy": {"revision": revision}},
        "path": path,
        "input": input(record),
        "timestamp": timestamp(at(record)),
        "custom": custom(n, record, document),
    });
    put(&mut event["labels"], "tenant", &record["tenant"]);
    put(&mut event, "decision_id", &record["decision_id"]);
    put(&mut event, "requested_by", &record["agent"]);
    if let Some(millis) = record["decide_ms"].as_u64() {
        event["metrics"] = json!({"timer_server_handler_ns": millis.saturating_mul(1_000_000)});
    }
    match record["decision"].as_str() {
        Some("allow") => event["result"] = json!({"allowed": true}),
        Some(denied) if denied.starts_with("deny:") => {
            event["result"] = json!({"allowed": false});
            put(&mut event["result"], "http_status", &record["status"]);
        }
        // Nobody decided: the caller went away, or the gate's own record is missing.
        _ => event["error"] = json!({"code": "undecided", "message": "no decision was made"}),
    }
    event
}

/// What the audit log has of the document that policies read.
fn input(record: &Value) -> Value {
    let mut http = Map::new();
    let mut identity = Value::Object(Map::new());
    for (name, from) in [("method", "method"), ("path", "route")] {
        if !record[from].is_null() {
            http.insert(name.to_owned(), record[from].clone());
        }
    }
    for (name, from) in [
        ("kind", "identity"),
        ("tenant", "tenant"),
        ("user", "user"),
        ("agent", "agent"),
        ("token_id", "key"),
        ("scopes", "scopes"),
        ("platform", "platform"),
    ] {
        put(&mut identity, name, &record[from]);
    }
    let mut postern = json!({"identity": identity});
    let names = record["credentials"].as_array().into_iter().flatten();
    let credentials: Vec<Value> = names.map(|name| json!({"name": name})).collect();
    if !credentials.is_empty() {
        postern["credentials"] = Value::Array(credentials);
    }
    json!({"attributes": {"request": {"http": http}}, "postern": postern})
}

/// What OPA has no name for.
fn custom(n: &str, record: &Value, document: &str) -> Value {
    let mut custom = json!({"audit_event": n, "policy_document": document});
    for name in ["decision", "reason", "scope_check", "digest", "duration_us", "status"] {
        put(&mut custom, name, &record[name]);
    }
    custom
}

fn put(object: &mut Value, name: &str, value: &Value) {
    if !value.is_null() {
        object[name] = value.clone();
    }
}

/// RFC 3339 with milliseconds.
fn timestamp(millis: u64) -> String {
    let whole = span::shown(UnixMillis(millis));
    format!("{}.{:03}Z", whole.trim_end_matches('Z'), millis % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_become_the_events_of_the_golden_file() {
        let data = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data");
        let read = |name: &str| std::fs::read_to_string(format!("{data}/{name}")).unwrap();
        let mut masks = Masks::read(&[format!("{data}/decision-log.mask.rego").into()]).unwrap();
        let records = read("decision-log.records.jsonl");
        let golden = read("decision-log.golden.jsonl");
        assert_eq!(records.lines().count(), golden.lines().count());
        for ((n, record), want) in (41..).zip(records.lines()).zip(golden.lines()) {
            let record: Value = serde_json::from_str(record).unwrap();
            let event = event(&format!("{n}"), &record, "envoy/authz/allow");
            let Masked::Event(event) = masks.apply(event, at(&record)).unwrap() else {
                panic!("dropped");
            };
            assert_eq!(event, serde_json::from_str::<Value>(want).unwrap());
        }
    }

    #[test]
    fn only_requests_are_turned() {
        let line = |event: Value| {
            let bytes = Some(B64.encode(event.to_string()));
            let text = || "x".to_owned();
            let (n, gone) = ("7".into(), None);
            let line = Line { n, prev: text(), hash: text(), sig: text(), bytes, gone };
            serde_json::to_vec(&line).unwrap()
        };
        let record = |kind: &str| json!({"kind": kind, "time": "1"}).to_string();
        let of = |event: Value| request(&line(event)).map(|(n, _)| n);
        assert_eq!(of(json!({"kind": "request", "record": record("request")})), Some("7".into()));
        assert_eq!(of(json!({"kind": "request", "record": record("chain_started")})), None);
        assert_eq!(of(json!({"kind": "key_created"})), None);
        assert_eq!(request(b"no line"), None);
    }
}
