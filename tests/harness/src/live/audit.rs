//! Requests that are not recorded.

use anyhow::Result;
use serde_json::{Value, json};

use super::{Caller, Seen, code, expect};
use crate::envoy::{Gateway, Site};

/// Two listeners with the same gate, one without the audit logger: only that one refuses.
pub fn one_listener_without(site: &Site, seen: &mut Seen) -> Result<Vec<String>> {
    let mut config = site.config(None)?;
    config.copy_listener("ingress", "unlogged")?;
    let hcm = &mut config.listener("unlogged")?["filter_chains"][0]["filters"][0]["typed_config"];
    if let Some(logs) = hcm["access_log"].as_array_mut() {
        logs.retain(|log| log["name"] != "postern.audit");
    }
    let gateway = Gateway::with(site, &config)?;
    let unlogged = gateway.envoy.port("unlogged")?;
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
