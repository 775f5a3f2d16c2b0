//! The report as one HTML file without scripts, and its charts as SVG.
//!
//! Invariant: every text from the log or from a list reaches the page through the template's
//! escaping; sizes in the charts are numbers made here.

use std::collections::BTreeMap;

use minijinja::{AutoEscape, Environment, context};
use postern_core::time::UnixMillis;
use serde_json::{Value, json};

use super::{Period, activity};
use crate::span;

const TEMPLATE: &str = include_str!("report.html");
const DAY: u64 = 24 * 3600 * 1000;
/// Most bars of the chart over time.
const BARS: u64 = 92;
/// Most rows of a table in the page; the files have all.
const ROWS: usize = 500;
/// Height of the chart over time, and length of the longest bar of the others.
const HEIGHT: u64 = 120;
const LENGTH: u64 = 420;

/// The page.
pub(super) fn html(
    period: Period,
    summary: &Value,
    events: &[Value],
    (review, tables): (&Value, &Value),
) -> Result<String, minijinja::Error> {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.add_template("report", TEMPLATE)?;
    let changes: Vec<Value> =
        events.iter().filter(|event| event["event"]["kind"] != "request").map(change).collect();
    let named = |list: &str| bars(&counted(&review[list]));
    environment.get_template("report")?.render(context! {
        summary,
        controls => period.framework.controls(),
        days => days(period, events),
        height => HEIGHT,
        kinds => bars(&count(events, |event| event["event"]["kind"].as_str())),
        refusals => bars(&count(events, refusal)),
        releases => bars(&count(events, released)),
        more => changes.len().saturating_sub(ROWS),
        changes => changes.iter().take(ROWS).collect::<Vec<_>>(),
        review,
        tables,
        by_age => named("by_age"),
        by_last_use => named("by_last_use"),
    })
}

/// Why a request was refused.
fn refusal(event: &Value) -> Option<&str> {
    let record = event["event"].get("record")?;
    let decision = record["decision"].as_str().filter(|decision| *decision != "allow")?;
    record["reason"].as_str().or(Some(decision))
}

/// Which credential was released.
fn released(event: &Value) -> Option<&str> {
    let event = &event["event"];
    (event["kind"] == "credential_release").then(|| event["credential"].as_str())?
}

fn count<'a>(
    events: &'a [Value],
    name: impl Fn(&'a Value) -> Option<&'a str>,
) -> Vec<(String, u64)> {
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for name in events.iter().filter_map(name) {
        *counts.entry(name).or_default() += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().map(|(name, n)| (name.to_owned(), n)).collect();
    counts.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    counts.truncate(25);
    counts
}

fn counted(groups: &Value) -> Vec<(String, u64)> {
    let group =
        |group: &Value| Some((group["name"].as_str()?.to_owned(), group["count"].as_u64()?));
    groups.as_array().into_iter().flatten().filter_map(group).collect()
}

/// Bars that lie, the longest as long as there is room.
fn bars(counts: &[(String, u64)]) -> Vec<Value> {
    let most = counts.iter().map(|(_, n)| *n).max().unwrap_or(0).max(1);
    let bar = |(row, (name, n)): (usize, &(String, u64))| {
        let length = n * LENGTH / most;
        json!({"name": name, "count": n, "y": row * 20, "length": length.max(u64::from(*n > 0))})
    };
    counts.iter().enumerate().map(bar).collect()
}

/// Bars that stand, one for a day or several: requests allowed, refused, and other events.
fn days(period: Period, events: &[Value]) -> Vec<Value> {
    let length = period.to.0.saturating_sub(period.from.0).div_ceil(DAY).max(1);
    let each = length.div_ceil(BARS);
    let mut counts = vec![[0_u64; 3]; usize::try_from(length.div_ceil(each)).unwrap_or(1)];
    for event in events {
        let at = activity::time(&event["event"]).unwrap_or(0);
        let day = at.saturating_sub(period.from.0) / DAY / each;
        let sort = match (&event["event"]["kind"], &event["event"]["record"]["decision"]) {
            (kind, decision) if kind == "request" => usize::from(decision != "allow"),
            _ => 2,
        };
        if let Some(counts) = usize::try_from(day).ok().and_then(|day| counts.get_mut(day)) {
            counts[sort] += 1;
        }
    }
    let most = counts.iter().map(|counts| counts.iter().sum()).max().unwrap_or(0).max(1);
    let bar = |(index, counts): (usize, &[u64; 3])| {
        let start = UnixMillis(period.from.0 + index as u64 * each * DAY);
        let [allowed, refused, other] = counts.map(|count| count * HEIGHT / most);
        json!({
            "day": span::shown(start).get(..10), "x": index * 9,
            "allowed": {"count": counts[0], "y": HEIGHT - allowed, "height": allowed},
            "refused": {"count": counts[1], "y": HEIGHT - allowed - refused, "height": refused},
            "other": {
                "count": counts[2], "y": HEIGHT - allowed - refused - other, "height": other,
            },
        })
    };
    counts.iter().enumerate().map(bar).collect()
}

/// An event that is no request, as a row.
fn change(event: &Value) -> Value {
    let members = event["event"].as_object().into_iter().flatten();
    let known = ["v", "n", "at", "kind", "tenant", "attestation", "record"];
    let rest: Vec<String> = members
        .filter(|(name, _)| !known.contains(&name.as_str()))
        .map(|(name, value)| match value.as_str() {
            Some(text) => format!("{name} {text}"),
            None => format!("{name} {value}"),
        })
        .collect();
    let at = UnixMillis(activity::time(&event["event"]).unwrap_or(0));
    json!({
        "n": event["n"], "at": span::shown(at), "kind": event["event"]["kind"],
        "what": rest.join(" · "),
    })
}

#[cfg(test)]
mod tests {
    use super::super::Framework;
    use super::*;

    fn page(label: &str) -> String {
        let event = |n: u64, members: Value| {
            let mut event = json!({"at": (n * DAY).to_string(), "n": n.to_string()});
            event.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
            json!({"n": n.to_string(), "hash": "h", "event": event})
        };
        let request = |decision: &str| {
            let record = json!({"decision": decision, "policy": "<i>p7"});
            json!({"kind": "request", "record": record})
        };
        let events = [
            event(1, json!({"kind": "identity_enrolled", "label": label})),
            event(1, request("allow")),
            event(2, request("deny:policy_denied")),
        ];
        let (from, to) = (UnixMillis(DAY), UnixMillis(3 * DAY));
        let period = Period { framework: Framework::Soc2, from, to };
        let summary = json!({"framework": "SOC 2", "tenant": "acme", "whole": true});
        let review = super::super::review::of(&json!({}), to);
        let tables = super::super::period::of(&events);
        html(period, &summary, &events, (&review, &tables)).unwrap()
    }

    #[test]
    fn nothing_from_the_log_becomes_markup() {
        let page = page("<script>alert(1)</script>\"'");
        assert!(page.contains("label &lt;script&gt;alert(1)"), "{page}");
        assert!(!page.contains("<script"));
        assert!(page.contains("&lt;i&gt;p7") && !page.contains("<i>p7"), "{page}");
    }

    #[test]
    fn the_charts_count_what_the_events_say() {
        let page = page("ada");
        assert!(page.contains("1970-01-02: 1 allowed, 0 refused, 1 other"), "{page}");
        assert!(page.contains("1970-01-03: 0 allowed, 1 refused, 0 other"), "{page}");
        assert!(page.contains("deny:policy_denied") && page.contains("CC6.3"), "{page}");
    }
}
