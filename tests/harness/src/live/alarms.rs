//! Names that `deploy/prometheus/rules.yaml` reads, held against what a gateway shows.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Result;
use postern_rig::client::Request;
use postern_rig::upstream;
use postern_rig::wait::until;
use serde_json::json;

use super::{Caller, Seen, expect};
use crate::gateway::{Gateway, Site};
use crate::root;

const PATIENCE: Duration = Duration::from_secs(10);
/// A module defines a counter when it first counts; these a good and a refused request reach.
const REACHED: &[&str] = &[
    "postern_gate_allowed_total",
    "postern_gate_denied_total",
    "postern_gate_alarmed_total",
    "postern_credential_injected_total",
    "postern_credential_scrubbed_total",
    "postern_audit_batch_total",
    "envoy_cluster_upstream_cx_connect_fail",
];

/// Everything is let through, and looked at.
const POLICY: &str = r#"package live
result := {"allowed": true, "obligations": [{"kind": "alarm"}]}
"#;

/// After one request of each kind the gateway shows them, and the rules read no other name for
/// the same thing.
pub fn counters(site: &Site, seen: &mut Seen) -> Result<Vec<String>> {
    let mut config = site.config(None)?;
    config.module("gate", |gate| {
        gate["policy"] = json!({"rego": {"query": "data.live.result", "inline": POLICY}});
    });
    let gateway = Gateway::fresh(site, &config)?;
    let caller = Caller::new(site, "alarms")?;
    let secret = caller.secret(site, "slack");
    for upstream in site.upstreams.values() {
        let chunks = vec![json!({"token": secret}).to_string().into_bytes()];
        upstream.answer(upstream::Answer { chunks, ..upstream::Answer::default() });
    }
    let mut lines = Vec::new();
    let answer = gateway.ask(&caller.request(site, "api.test", "/api/a", Some("slack")))?;
    expect(&mut lines, "status", 200, answer.status());
    gateway.ask(&Request::new("GET", "api.test", "/api/a"))?;
    site.wait_for_records(2)?;

    let shown = families(&gateway)?;
    let rules = std::fs::read_to_string(root().join("deploy/prometheus/rules.yaml"))?;
    for name in REACHED {
        expect(&mut lines, &format!("{name} is shown"), true, shown.contains(*name));
        expect(&mut lines, &format!("{name} is read"), true, rules.contains(*name));
    }
    seen.keep(site, gateway)?;
    Ok(lines)
}

/// The batch is acknowledged a moment after its records have come: the page is asked for again.
fn families(gateway: &Gateway) -> Result<BTreeSet<String>> {
    let mut shown = BTreeSet::new();
    until(PATIENCE, || {
        let text = gateway.process.admin("/stats/prometheus").ok()?;
        let text = String::from_utf8_lossy(&text.content).into_owned();
        let family = |line: &str| line.strip_prefix("# TYPE ")?.split(' ').next().map(String::from);
        shown = text.lines().filter_map(family).collect();
        REACHED.iter().all(|name| shown.contains(*name)).then_some(())
    });
    Ok(shown)
}
