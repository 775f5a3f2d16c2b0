//! Modules that trap or never return, played by modules of a few bytes.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use postern_rig::gateway::Config;
use postern_rig::wait::until;
use serde_json::json;

use super::module::{LOOP, Module, ON_TRAP_FIELD, UNREACHABLE};
use super::{Caller, Seen, code, expect};
use crate::gateway::{Gateway, Site};

/// Longer than the longest backoff of envoy/envoy.yaml.
const PATIENCE: Duration = Duration::from_secs(5);

/// A gate that traps in every request: 503, nothing forwarded, and still a record.
pub fn gate(site: &Site, seen: &mut Seen) -> Result<Vec<String>> {
    let module = Module::gate(&[UNREACHABLE]).written(site, "trapping-gate")?;
    let mut config = site.config(None)?;
    instead(&mut config, "gate", &module);
    let gateway = Gateway::fresh(site, &config)?;
    let caller = Caller::new(site, "trapped_gate")?;
    let mut lines = Vec::new();
    site.world.take_records()?;
    for _ in 0..3 {
        let answer = gateway.ask(&caller.request(site, "api.test", "/api/a", Some("slack")))?;
        expect(&mut lines, "status", 503, answer.status());
    }
    expect(&mut lines, "requests forwarded", 0, site.take_forwarded().len());
    for record in site.wait_for_records(3)? {
        let record: serde_json::Value = serde_json::from_slice(&record)?;
        expect(&mut lines, "reason", "\"draft_absent\"".to_owned(), record["reason"].to_string());
    }
    seen.keep(site, gateway)?;
    Ok(lines)
}

/// A logger that traps: the first request is not covered, every later one is refused.
pub fn audit(site: &Site, seen: &mut Seen) -> Result<Vec<String>> {
    let module = Module::audit(&[UNREACHABLE]).written(site, "trapping-audit")?;
    let mut config = site.config(None)?;
    instead(&mut config, "audit", &module);
    let gateway = Gateway::fresh(site, &config)?;
    let caller = Caller::new(site, "trapped_audit")?;
    let request = caller.request(site, "api.test", "/api/a", Some("slack"));
    let mut lines = Vec::new();
    expect(&mut lines, "first", 200, gateway.ask(&request)?.status());
    for _ in 0..3 {
        let answer = gateway.ask(&request)?;
        let want = (503, "audit_unavailable".to_owned());
        expect(&mut lines, "later", want, (answer.status(), code(&answer)));
    }
    expect(&mut lines, "requests forwarded", 1, site.take_forwarded().len());
    seen.keep(site, gateway)?;
    Ok(lines)
}

/// A gate that trapped is loaded again: after the backoff requests pass, and it is counted.
pub fn recovers(site: &Site, seen: &mut Seen) -> Result<Vec<String>> {
    let module = Module::gate(&[ON_TRAP_FIELD]).written(site, "sometimes-trapping-gate")?;
    let gateway = Gateway::fresh(site, &only_gate(site, &module)?)?;
    let caller = Caller::new(site, "recovers")?;
    let request = caller.request(site, "api.test", "/api/a", None);
    let mut lines = Vec::new();
    expect(&mut lines, "before", 200, gateway.ask(&request)?.status());
    for turn in 1..=2 {
        let trapping = request.clone().with("x-trap", "1");
        expect(&mut lines, "the one that traps", 503, gateway.ask(&trapping)?.status());
        let passed = || match gateway.ask(&request).map(|answer| answer.status()) {
            Ok(503) => None,
            other => Some(other),
        };
        let passed = until(PATIENCE, passed).context("the gate did not come back")??;
        expect(&mut lines, "after the backoff", 200, passed);
        let reloads = gateway.process.stat(RELOADED);
        expect(&mut lines, RELOADED, Some(turn), reloads);
    }
    expect(&mut lines, "requests forwarded", 3, site.take_forwarded().len());
    seen.keep(site, gateway)?;
    Ok(lines)
}

const RELOADED: &str = "wasm.gate.vm_reload_success";

/// A gate that never returns is stopped at its deadline: 503, and the worker serves others.
pub fn looping(site: &Site, seen: &mut Seen) -> Result<Vec<String>> {
    let module = Module::gate(LOOP).written(site, "looping-gate")?;
    let mut config = only_gate(site, &module)?;
    config.copy_listener("ingress", "without")?;
    let hcm = &mut config.listener("without")?["filter_chains"][0]["filters"][0]["typed_config"];
    if let Some(filters) = hcm["http_filters"].as_array_mut() {
        filters.retain(|filter| filter["name"] != "postern.gate");
    }
    let gateway = Gateway::fresh(site, &config)?;
    let without = gateway.process.port("without")?;
    let request = Caller::new(site, "looping")?.request(site, "api.test", "/api/a", None);
    let mut lines = Vec::new();
    for turn in 0..3 {
        let what = format!("turn {turn}");
        expect(&mut lines, &what, 503, gateway.ask(&request)?.status());
        expect(&mut lines, &what, 200, gateway.ask_at(without, &request)?.status());
    }
    expect(&mut lines, "requests forwarded", 3, site.take_forwarded().len());
    seen.keep(site, gateway)?;
    Ok(lines)
}

/// A module that wants all memory there can be is refused before anything is served.
pub fn greedy(site: &Site, seen: &mut Seen) -> Result<Vec<String>> {
    let module = Module::gate(&[UNREACHABLE]).with_pages(1 << 16).written(site, "greedy-gate")?;
    let config = only_gate(site, &module)?;
    let refused = site.launch().check(&config, &site.world.environment)?;
    let Err(log) = refused else { return Ok(vec!["the module was taken".into()]) };
    let mut lines = Vec::new();
    expect(&mut lines, "the log names it", true, log.contains("greedy-gate.wasm"));
    seen.text("log of the check", log);
    Ok(lines)
}

/// With `module` as the gate, and upstreams that take what it lets through: no credential
/// module asks for a permit.
fn only_gate(site: &Site, module: &Path) -> Result<Config> {
    const OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    let mut config = site.config(None)?;
    instead(&mut config, "gate", module);
    let filters = &mut config.cluster("api")?["typed_extension_protocol_options"][OPTIONS];
    if let Some(filters) = filters["http_filters"].as_array_mut() {
        filters.retain(|filter| filter["name"] != "postern.credential");
    }
    Ok(config)
}

fn instead(config: &mut Config, name: &str, module: &Path) {
    config.plugin(name, |plugin| {
        let vm = &mut plugin["vm_config"];
        vm["code"]["local"]["filename"] = module.display().to_string().into();
        let allowed = &mut vm["capability_restriction_config"]["allowed_capabilities"];
        allowed["proxy_get_header_map_value"] = json!({});
    });
}
