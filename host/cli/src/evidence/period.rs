//! What the period shows besides counts: which policy revisions decided, what gateways were
//! allowed to run, and which approvals people gave.
//!
//! Invariant: every row is read from the verified export, and names the events it comes from.

use std::collections::BTreeMap;

use postern_core::time::UnixMillis;
use serde_json::{Value, json};

use super::activity;
use crate::span;

/// The tables of a period.
pub(super) fn of(events: &[Value]) -> Value {
    json!({
        "policies": policies(events),
        "gateway_sets": named(events, &["gateway_set_authorised", "gateway_set_removed"]),
        "approvals": approvals(events),
    })
}

/// A policy that decided.
#[derive(Default)]
struct Decided {
    first: (u64, String),
    last: (u64, String),
    requests: u64,
    refused: u64,
}

/// Each revision: from when to when it decided, and what.
fn policies(events: &[Value]) -> Vec<Value> {
    let mut all: BTreeMap<&str, Decided> = BTreeMap::new();
    for event in events {
        let record = &event["event"]["record"];
        let Some(policy) = record["policy"].as_str() else { continue };
        let at = activity::time(&event["event"]).unwrap_or(0);
        let n = event["n"].as_str().unwrap_or_default().to_owned();
        let decided = all.entry(policy).or_default();
        if decided.requests == 0 {
            decided.first = (at, n.clone());
        }
        decided.last = (at, n);
        decided.requests += 1;
        decided.refused += u64::from(record["decision"] != "allow");
    }
    let mut rows: Vec<(&str, Decided)> = all.into_iter().collect();
    rows.sort_by_key(|(_, decided)| decided.first.0);
    let row = |(policy, decided): (&str, Decided)| {
        json!({
            "policy": policy, "requests": decided.requests, "refused": decided.refused,
            "first": shown(decided.first.0), "first_event": decided.first.1,
            "last": shown(decided.last.0), "last_event": decided.last.1,
        })
    };
    rows.into_iter().map(row).collect()
}

/// Events of these kinds, with what they name.
fn named(events: &[Value], kinds: &[&str]) -> Vec<Value> {
    let row = |event: &Value| {
        let inner = &event["event"];
        let kind = inner["kind"].as_str().filter(|kind| kinds.contains(kind))?;
        let at = shown(activity::time(inner).unwrap_or(0));
        let gateway = inner["gateway"].as_str().unwrap_or("every");
        Some(json!({
            "n": event["n"], "at": at, "kind": kind, "set": inner["set"], "gateway": gateway,
            "operator": inner["operator"], "policy": inner["policy"], "modules": inner["modules"],
        }))
    };
    events.iter().filter_map(row).collect()
}

/// What became of each approval that the period has something of.
fn approvals(events: &[Value]) -> Vec<Value> {
    let mut all: BTreeMap<&str, Value> = BTreeMap::new();
    for event in events {
        let inner = &event["event"];
        let Some(step) = inner["kind"].as_str().and_then(|kind| kind.strip_prefix("approval_"))
        else {
            continue;
        };
        let Some(id) = inner["approval"].as_str() else { continue };
        let row = all.entry(id).or_insert_with(|| json!({"approval": id, "used": 0}));
        for name in ["agent", "by", "how", "verdict", "class"] {
            if let Some(said) = inner.get(name) {
                row[name] = said.clone();
            }
        }
        let at = shown(activity::time(inner).unwrap_or(0));
        match step {
            "used" if inner["decision"] == "refused" => row["refused"] = inner["reason"].clone(),
            "used" => row["used"] = (row["used"].as_u64().unwrap_or(0) + 1).into(),
            step => row[step] = at.into(),
        }
    }
    all.into_values().collect()
}

fn shown(at: u64) -> String {
    span::shown(UnixMillis(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(n: u64, members: Value) -> Value {
        let mut event = members;
        event["at"] = (n * 1000).to_string().into();
        json!({"n": n.to_string(), "event": event})
    }

    fn decided(n: u64, policy: &str, decision: &str) -> Value {
        let record = json!({"policy": policy, "decision": decision});
        event(n, json!({"kind": "request", "record": record}))
    }

    #[test]
    fn revisions_are_listed_in_the_order_in_which_they_decided() {
        let events = [
            decided(1, "b 1", "allow"),
            decided(2, "b 1", "deny:policy_denied"),
            decided(3, "a 2", "allow"),
            event(4, json!({"kind": "request", "record": {"decision": "none"}})),
        ];
        let tables = of(&events);
        let row = |at: usize| {
            let row = &tables["policies"][at];
            let text = |name: &str| row[name].as_str().unwrap().to_owned();
            let count = |name: &str| row[name].as_u64().unwrap();
            let events = (text("first_event"), text("last_event"));
            (text("policy"), count("requests"), count("refused"), events)
        };
        assert_eq!(row(0), ("b 1".into(), 2, 1, ("1".into(), "2".into())));
        assert_eq!(row(1), ("a 2".into(), 1, 0, ("3".into(), "3".into())));
        assert_eq!(tables["policies"].as_array().unwrap().len(), 2);
    }

    #[test]
    fn an_approval_is_one_row_whatever_became_of_it() {
        let step = |n, step: &str, more: Value| {
            let mut members = json!({"kind": format!("approval_{step}"), "approval": "7f"});
            members.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            event(n, members)
        };
        let events = [
            step(1, "requested", json!({"agent": "bot"})),
            step(2, "decided", json!({"verdict": "approve"})),
            step(3, "used", json!({})),
            step(4, "used", json!({})),
        ];
        let rows = of(&events)["approvals"].clone();
        let want = json!([{
            "approval": "7f", "agent": "bot", "verdict": "approve", "used": 2,
            "requested": "1970-01-01T00:00:01Z", "decided": "1970-01-01T00:00:02Z",
        }]);
        assert_eq!(rows, want);
    }
}
