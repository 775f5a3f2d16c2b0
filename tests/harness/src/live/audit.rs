//! Requests that are not recorded.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Result;
use postern_rig::client::Request;
use postern_rig::wait::until;
use serde_json::{Value, json};

use super::{Caller, Seen, code, expect};
use crate::faults::{Exchange, Fault, Kind};
use crate::gateway::{Gateway, Site};

/// Requests whose records certainly fill the smallest buffer.
const MANY: usize = 400;
/// Requests whose records are left behind.
const LEFT: usize = 5;
/// Counts areas of a logger that is gone.
const TAKEN_OVER: &str = "wasmcustom.postern.audit.spill.reason=taken_over.total";
/// A logger that is silent is taken for gone after 5 s, and somebody looks each two.
const PATIENCE: Duration = Duration::from_secs(20);

/// Two listeners with the same gate, one without the audit logger: only that one refuses.
pub fn one_listener_without(site: &Site, seen: &mut Seen) -> Result<Vec<String>> {
    let mut config = site.config(None)?;
    config.copy_listener("ingress", "unlogged")?;
    let hcm = &mut config.listener("unlogged")?["filter_chains"][0]["filters"][0]["typed_config"];
    if let Some(logs) = hcm["access_log"].as_array_mut() {
        logs.retain(|log| log["name"] != "postern.audit");
    }
    let gateway = Gateway::with(site, &config)?;
    let unlogged = gateway.process.port("unlogged")?;
    let caller = Caller::new(site, "two_listeners")?;
    let request = caller.request(site, "api.test", "/api/a", Some("slack"));
    let mut lines = Vec::new();
    // The first request of a root is not covered by receipts.
    expect(&mut lines, "first, unlogged", 200, gateway.ask_at(unlogged, &request)?.status());
    for turn in 0..3 {
        let answer = gateway.ask_at(unlogged, &request)?;
        let what = format!("unlogged, turn {turn}");
        expect(
            &mut lines,
            &what,
            (503, "audit_unavailable".to_owned()),
            (answer.status(), code(&answer)),
        );
        expect(&mut lines, &format!("logged, turn {turn}"), 200, gateway.ask(&request)?.status());
    }
    // One uncovered and three logged.
    expect(&mut lines, "requests forwarded", 4, site.take_forwarded().len());
    seen.keep(site, gateway)?;
    Ok(lines)
}

/// A record that is lost costs the next request, and the chain says that it is missing.
pub fn gap(site: &Site, seen: &mut Seen) -> Result<Vec<String>> {
    let mut config = site.config(None)?;
    let hcm = &mut config.listener("ingress")?["filter_chains"][0]["filters"][0]["typed_config"];
    // What a logger that trapped looks like to the gate: this request has no record.
    let header = json!({"name": "x-lose-record", "present_match": true, "invert_match": true});
    for log in hcm["access_log"].as_array_mut().into_iter().flatten() {
        if log["name"] == "postern.audit" {
            log["filter"] = json!({"header_filter": {"header": header}});
        }
    }
    let gateway = Gateway::with(site, &config)?;
    let caller = Caller::new(site, "gap")?;
    let request = caller.request(site, "api.test", "/api/a", None);
    let lost = request.clone().with("x-lose-record", "1");
    let mut lines = Vec::new();
    expect(&mut lines, "before", 200, gateway.ask(&request)?.status());
    expect(&mut lines, "the one without a record", 200, gateway.ask(&lost)?.status());
    let refused = gateway.ask(&request)?;
    let want = (503, "audit_unavailable".to_owned());
    expect(&mut lines, "the next", want, (refused.status(), code(&refused)));
    expect(&mut lines, "recovered", 200, gateway.ask(&request)?.status());
    let records = site.wait_for_records(4)?;
    let kinds: Vec<(Value, Value)> = records
        .iter()
        .filter_map(|record| serde_json::from_slice::<Value>(record).ok())
        .map(|record| (record["kind"].clone(), record["count"].clone()))
        .collect();
    let request = || (json!("request"), Value::Null);
    let want = vec![request(), (json!("unlogged"), json!("1")), request(), request()];
    expect(&mut lines, "records", want, kinds);
    seen.keep(site, gateway)?;
    Ok(lines)
}

/// With nobody to take the records every request is refused, by and by. With the collector
/// back the very first one passes, and what was refused meanwhile is counted.
pub fn full(site: &Site, seen: &mut Seen) -> Result<Vec<String>> {
    let mut config = site.config(None)?;
    config.module("audit", |document| document["buffer"] = "64KiB".into());
    let gateway = Gateway::with(site, &config)?;
    let request = Caller::new(site, "full")?.request(site, "api.test", "/api/a", Some("slack"));
    let mut lines = Vec::new();
    expect(&mut lines, "before", 200, gateway.ask(&request)?.status());
    let fault = Fault { is: Kind::Down, to: vec![Exchange::Audit], flaw: None };
    site.world.backend.stand.set(fault);
    let anonymous = Request::new("GET", "api.test", "/api/a");
    let mut listed = 1;
    while listed < MANY && gateway.ask(&anonymous)?.status() == 401 {
        listed += 1;
    }
    for turn in 0..3 {
        let answer = gateway.ask(&request)?;
        let want = (503, "audit_unavailable".to_owned());
        expect(&mut lines, &format!("full, turn {turn}"), want, (answer.status(), code(&answer)));
    }
    site.world.backend.stand.set(Fault::default());
    let records = site.wait_for_records(listed + 1)?;
    expect(&mut lines, "records", listed + 1, records.len());
    let last = records.last().and_then(|record| serde_json::from_slice::<Value>(record).ok());
    let last = last.map(|record| (record["kind"].clone(), record["count"].clone()));
    // Three, and the one that ended the filling.
    expect(&mut lines, "the last record", Some((json!("dropped"), json!("4"))), last);
    expect(&mut lines, "recovered", 200, gateway.ask(&request)?.status());
    expect(&mut lines, "requests forwarded", 2, site.take_forwarded().len());
    seen.keep(site, gateway)?;
    Ok(lines)
}

/// Records that wait when the logger is replaced, with nobody to take them, reach the collector
/// once each: another logger finds them in shared data.
pub fn left(site: &Site, seen: &mut Seen) -> Result<Vec<String>> {
    let mut config = site.config(None)?;
    let mut gateway = Gateway::changing(site, &config)?;
    let request = Caller::new(site, "left")?.request(site, "api.test", "/api/a", Some("slack"));
    let mut lines = Vec::new();
    expect(&mut lines, "before", 200, gateway.ask(&request)?.status());
    site.wait_for_records(1)?;
    let fault = Fault { is: Kind::Down, to: vec![Exchange::Audit], flaw: None };
    site.world.backend.stand.set(fault);
    for turn in 0..LEFT {
        expect(&mut lines, &format!("turn {turn}"), 200, gateway.ask(&request)?.status());
    }
    config.module("audit", |document| document["batch"] = json!({"records": 50}));
    gateway.change(site, &config)?;
    expect(&mut lines, "another logger", 200, gateway.ask(&request)?.status());
    // The first logger is gone when another one has what it left.
    let taken_over = until(PATIENCE, || gateway.process.stat(TAKEN_OVER).filter(|n| *n > 0));
    expect(&mut lines, "taken over", true, taken_over.is_some());
    site.world.backend.stand.set(Fault::default());
    let records = site.wait_for_records(LEFT + 1)?;
    let ids: BTreeSet<String> = records
        .iter()
        .filter_map(|record| serde_json::from_slice::<Value>(record).ok())
        .map(|record| record["decision_id"].to_string())
        .collect();
    expect(&mut lines, "records", LEFT + 1, records.len());
    expect(&mut lines, "decisions", LEFT + 1, ids.len());
    seen.keep(site, gateway)?;
    Ok(lines)
}
