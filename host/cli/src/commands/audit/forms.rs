//! `postern audit export --format`: the events of a log as OCSF events or CloudEvents.
//!
//! Owns the mapping (`host/keys/AUDIT.md` has the tables). Invariant: of an event nothing appears
//! that is not in the log, and what has no member of its own there is kept under `unmapped`.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64;
use postern_core::time::UnixMillis;
use postern_keys::audit::export::Line;
use serde_json::{Map, Value, json};

use crate::span;

/// Version of OCSF's schema.
const OCSF: &str = "1.8.0";
/// Members that each event has a place for.
const PLACED: [&str; 6] = ["v", "n", "at", "kind", "tenant", "record"];

/// How an export is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// The signed chain, which `audit verify` reads
    #[default]
    Chain,
    /// Events of the Open Cybersecurity Schema Framework 1.8, one a line
    Ocsf,
    /// CloudEvents 1.0 in JSON, one a line
    Cloudevents,
}

/// Every event of a chain that has content, in this form; how many.
pub(super) fn written(chain: &[u8], format: Format, key: &str) -> (Vec<u8>, usize) {
    let (mut out, mut count) = (Vec::new(), 0);
    for (line, event) in chain.split(|byte| *byte == b'\n').skip(1).filter_map(read) {
        let event = match format {
            Format::Ocsf => ocsf(&line, &event),
            _ => cloud_event(&line, &event, key),
        };
        out.extend_from_slice(event.to_string().as_bytes());
        out.push(b'\n');
        count += 1;
    }
    (out, count)
}

/// A line's event, with a gateway's record decoded.
fn read(line: &[u8]) -> Option<(Line, Value)> {
    let line: Line = serde_json::from_slice(line).ok()?;
    let mut event: Value = serde_json::from_slice(&B64.decode(line.bytes.as_ref()?).ok()?).ok()?;
    let record = event["record"].as_str().and_then(|text| serde_json::from_str::<Value>(text).ok());
    if let Some(record) = record {
        event["record"] = record;
    }
    Some((line, event))
}

fn time(event: &Value) -> u64 {
    number(&event["at"]).unwrap_or(0)
}

fn number(value: &Value) -> Option<u64> {
    value.as_str()?.parse().ok()
}

/// CloudEvents 1.0.2, structured JSON.
fn cloud_event(line: &Line, event: &Value, key: &str) -> Value {
    let at = time(event);
    let whole = span::shown(UnixMillis(at));
    let kind = event["kind"].as_str().unwrap_or_default();
    let mut made = json!({
        "specversion": "1.0", "id": line.n, "source": format!("urn:postern:audit:{key}"),
        "type": format!("postern.audit.{kind}"),
        "time": format!("{}.{:03}Z", whole.trim_end_matches('Z'), at % 1000),
        "datacontenttype": "application/json", "sequence": format!("{:0>20}", line.n),
        "posternhash": line.hash, "data": event,
    });
    put(&mut made, "subject", &event["tenant"]);
    made
}

/// A request is an API Activity (6003), everything else Entity Management (3004).
fn ocsf(line: &Line, event: &Value) -> Value {
    let record = &event["record"];
    let mut made = match record["kind"].as_str() {
        // What the record says of itself stays apart from what the service says of the event.
        Some("request") => activity(record, rest(event, &PLACED)),
        _ => management(event),
    };
    let uid = |name: &str| made[name].as_u64().unwrap_or(0);
    made["type_uid"] = (uid("class_uid") * 100 + uid("activity_id")).into();
    made["time"] = number(&record["time"]).unwrap_or_else(|| time(event)).into();
    made["metadata"] = json!({
        "version": OCSF, "uid": line.n, "log_name": "postern-audit", "logged_time": time(event),
        "product": {"name": "Postern", "vendor_name": "Postern"},
    });
    put(&mut made["metadata"], "tenant_uid", &event["tenant"]);
    made["unmapped"]["kind"] = event["kind"].clone();
    made["unmapped"]["hash"] = line.hash.clone().into();
    made
}

fn activity(record: &Value, event: Value) -> Value {
    let text = |name: &str| record[name].as_str().unwrap_or_default();
    let activity = match text("method") {
        "POST" => 1,
        "GET" | "HEAD" | "OPTIONS" => 2,
        "PUT" | "PATCH" => 3,
        "DELETE" => 4,
        "" => 0,
        _ => 99,
    };
    // Success: the gate allowed it. What the upstream answered is `api.response.code`.
    let (severity, status) = match text("decision") {
        "allow" => (1, 1),
        denied if denied.starts_with("deny:") => (2, 2),
        _ => (1, 0),
    };
    let operation = format!("{} {}", text("method"), text("route"));
    let mut made = json!({
        "class_uid": 6003, "category_uid": 6, "activity_id": activity, "severity_id": severity,
        "status_id": status, "api": {"operation": operation.trim(), "service": {"name": "postern"}},
        "actor": actor(record), "src_endpoint": {"name": "not recorded"},
        "dst_endpoint": {"uid": text("gateway"), "svc_name": "postern gateway"},
        "unmapped": rest(record, &MAPPED),
    });
    made["unmapped"]["event"] = event;
    put(&mut made, "status_code", &record["decision"]);
    put(&mut made, "status_detail", &record["reason"]);
    if record["decision_id"].is_string() {
        made["api"]["request"] = json!({"uid": record["decision_id"]});
    }
    put(&mut made["api"], "response", &code(&record["status"]));
    if let Some(micros) = number(&record["duration_us"]) {
        made["duration"] = (micros / 1000).into();
    }
    let names = record["credentials"].as_array().into_iter().flatten();
    let credentials: Vec<Value> =
        names.map(|name| json!({"name": name, "type": "credential"})).collect();
    if !credentials.is_empty() {
        made["resources"] = credentials.into();
    }
    made
}

/// Members of a record that have a place.
const MAPPED: [&str; 16] = [
    "agent",
    "credentials",
    "decision",
    "decision_id",
    "duration_us",
    "gateway",
    "kind",
    "method",
    "reason",
    "route",
    "status",
    "tenant",
    "time",
    "user",
    "v",
    "key",
];

fn code(status: &Value) -> Value {
    status.as_u64().map_or(Value::Null, |code| json!({"code": code}))
}

/// Who called: the user's short hash and the agent; before authentication nobody is known.
fn actor(record: &Value) -> Value {
    let mut made = json!({"app_name": record["agent"].as_str().unwrap_or("not authenticated")});
    if record["user"].is_string() {
        made["user"] = json!({"uid": record["user"]});
        put(&mut made["user"], "credential_uid", &record["key"]);
    }
    made
}

fn management(event: &Value) -> Value {
    let kind = event["kind"].as_str().unwrap_or_default();
    let (activity, name) = what(kind);
    let mut made = json!({
        "class_uid": 3004, "category_uid": 3, "activity_id": activity, "activity_name": name,
        "severity_id": 1, "entity": entity(kind, event), "unmapped": rest(event, &PLACED),
    });
    if let Some(record) = event.get("record") {
        made["unmapped"]["record"] = record.clone();
    }
    if event["decision"] == "refused" {
        (made["status_id"], made["severity_id"]) = (2.into(), 2.into());
        put(&mut made, "status_detail", &event["reason"]);
    }
    let by = |name: &str| event[name].as_str();
    let user = match (by("operator"), by("by").or(by("person"))) {
        (Some(operator), _) => json!({"uid": operator, "type": "operator"}),
        (None, Some(person)) => json!({"name": person}),
        (None, None) => Value::Null,
    };
    if !user.is_null() {
        made["actor"] = json!({"user": user});
    }
    made
}

/// The activity of Entity Management that a kind's last word says.
fn what(kind: &str) -> (u8, &'static str) {
    match kind.rsplit('_').next().unwrap_or_default() {
        "created" | "made" | "minted" | "stored" | "registered" | "added" | "requested" => {
            (1, "Create")
        }
        "release" | "used" => (2, "Read"),
        "rotated" | "decided" | "classified" | "cleared" | "authorised" => (3, "Update"),
        "deleted" | "removed" => (4, "Delete"),
        "enrolled" => (6, "Enroll"),
        "restored" => (8, "Enable"),
        "revoked" => (9, "Disable"),
        _ => (99, "Other"),
    }
}

/// What the event is about: the kind's first word, and the id or name of it.
fn entity(kind: &str, event: &Value) -> Value {
    let sort = kind.split('_').next().unwrap_or_default();
    let named = ["credential", "key", "approval", "invite", "person", "user", "set", "framework"];
    let more = ["section", "agent", "id", "gateway", "vm", "operator"];
    let found = named.iter().chain(&more).find_map(|name| event[*name].as_str());
    json!({"type": sort, "name": found.unwrap_or(sort)})
}

/// The members without a place.
fn rest(from: &Value, placed: &[&str]) -> Value {
    let members = from.as_object().into_iter().flatten();
    let rest = members.filter(|(name, _)| !placed.contains(&name.as_str()));
    Value::Object(rest.map(|(name, value)| (name.clone(), value.clone())).collect::<Map<_, _>>())
}

fn put(object: &mut Value, name: &str, value: &Value) {
    if !value.is_null() {
        object[name] = value.clone();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines of an export without hashes: records of requests and events of every kind.
    fn chain() -> Vec<u8> {
        let data = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data");
        let read = |name: &str| std::fs::read_to_string(format!("{data}/{name}")).unwrap();
        let records = read("decision-log.records.jsonl");
        let requests = records.lines().map(|record| {
            json!({"kind": "request", "tenant": "acme", "gateway": "00", "record": record})
        });
        let others = read("audit-events.jsonl");
        let others = others.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let mut chain = b"header\n".to_vec();
        for (n, mut event) in (1..).zip(requests.chain(others)) {
            event["n"] = format!("{n}").into();
            event["at"] = (1_795_332_000_000_u64 + n).to_string().into();
            let line = json!({
                "n": format!("{n}"), "prev": "p", "hash": format!("h{n}"), "sig": "s",
                "bytes": B64.encode(event.to_string()),
            });
            chain.extend_from_slice(format!("{line}\n").as_bytes());
        }
        chain
    }

    /// `tests/clients/python/ocsf.py` holds the golden file against OCSF's schema.
    /// `POSTERN_WRITE_VECTORS=1` writes it anew.
    #[test]
    fn events_take_the_forms_of_the_golden_files() {
        for (format, name) in [(Format::Ocsf, "ocsf"), (Format::Cloudevents, "cloudevents")] {
            let (made, count) = written(&chain(), format, "KEY");
            let data = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data");
            let path = format!("{data}/audit-events.{name}.golden.jsonl");
            if std::env::var_os("POSTERN_WRITE_VECTORS").is_some() {
                postern_files::write_atomic(&path, &made).unwrap();
            }
            assert!(count > 20, "{count}");
            assert!(std::fs::read(&path).unwrap() == made, "{path} is not what the code makes");
        }
    }

    #[test]
    fn a_record_and_its_event_each_say_what_they_said() {
        let record = json!({
            "kind": "request", "time": "1795332000000", "attestation": "simulated", "seq": "7",
        });
        let event = json!({
            "v": 1, "n": "1", "at": "1795332009000", "kind": "request", "tenant": "acme",
            "attestation": "maa", "boot": "01", "vm": "02", "record": record.to_string(),
        });
        let line = json!({
            "n": "1", "prev": "p", "hash": "h", "sig": "s",
            "bytes": B64.encode(event.to_string()),
        });
        let (made, _) = written(format!("header\n{line}\n").as_bytes(), Format::Ocsf, "K");
        let made: Value = serde_json::from_slice(&made).unwrap();
        assert_eq!(
            (&made["time"], &made["metadata"]["logged_time"]),
            (&json!(1_795_332_000_000_u64), &json!(1_795_332_009_000_u64))
        );
        let unmapped = &made["unmapped"];
        assert_eq!(
            (&unmapped["attestation"], &unmapped["seq"]),
            (&json!("simulated"), &json!("7"))
        );
        let of_event = json!({"attestation": "maa", "boot": "01", "vm": "02"});
        assert_eq!(unmapped["event"], of_event);
    }

    #[test]
    fn content_that_is_not_here_makes_no_event() {
        let line = r#"{"n":"1","prev":"p","hash":"h","sig":"s","gone":"2"}"#;
        assert_eq!(
            written(format!("header\n{line}\nno line\n").as_bytes(), Format::Ocsf, "K").1,
            0
        );
    }

    #[test]
    fn every_kind_says_what_was_done() {
        let rows = [
            ("key_created", 1),
            ("key_used", 2),
            ("credential_release", 2),
            ("approval_decided", 3),
            ("content_removed", 4),
            ("identity_enrolled", 6),
            ("restored", 8),
            ("key_revoked", 9),
            ("edge_gap", 99),
        ];
        for (kind, activity) in rows {
            assert_eq!(what(kind).0, activity, "{kind}");
        }
    }
}
