//! Configuration as a gateway takes it or does not.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use serde_json::json;

use super::{Caller, Seen, expect};
use crate::gateway::{Gateway, Site};
use crate::root;

/// The gateway does not start, and its log names every problem with its path.
pub fn every_problem(site: &Site, seen: &mut Seen) -> Result<Vec<String>> {
    let mut config = site.config(None)?;
    config.module("gate", |document| {
        document["key_service"]["gateway_id"] = json!("xyz");
        document["body_limit"] = json!("lots");
        document["colour"] = json!("red");
        document["bindings"][0]["site"]["style"] = json!("tattoo");
        document["bindings"][1]["paths"] = json!([]);
    });
    let refused = site.launch().check(&config, &site.world.environment)?;
    let Err(log) = refused else { return Ok(vec!["the configuration was taken".into()]) };
    let paths = [
        "key_service.gateway_id",
        "body_limit",
        "colour",
        "bindings[0].site.style",
        "bindings[1].paths",
    ];
    let missing = paths.iter().filter(|path| !log.contains(*path));
    let lines = missing.map(|path| format!("{path} is not in the log")).collect();
    seen.text("log of the check", log);
    Ok(lines)
}

/// A module without its keys does not start, and says which one.
pub fn missing_keys(site: &Site, seen: &mut Seen) -> Result<Vec<String>> {
    let config = site.config(None)?;
    let mut lines = Vec::new();
    for name in ["POSTERN_PERMIT_KEY", "POSTERN_SHARED_KEY"] {
        let mut environment = site.world.environment.clone();
        environment.retain(|(have, _)| have != name);
        match site.launch().check(&config, &environment)? {
            Ok(_) => lines.push(format!("the configuration was taken without {name}")),
            Err(log) if !log.contains(name) => lines.push(format!("{name} is not in the log")),
            Err(log) => seen.text("log of the check", log),
        }
    }
    Ok(lines)
}

/// The shipped file allows each module exactly what `envoy/imports/` lists
/// and does not withhold.
pub fn capabilities(site: &Site, _: &mut Seen) -> Result<Vec<String>> {
    let mut config = site.config(None)?;
    let mut lines = Vec::new();
    for module in ["gate", "credential", "audit"] {
        let withheld = listed(&format!("{module}.withheld.txt")).unwrap_or_default();
        let listed: BTreeSet<String> =
            listed(&format!("{module}.txt"))?.difference(&withheld).cloned().collect();
        config.plugin(module, |plugin| {
            let allowed =
                &plugin["vm_config"]["capability_restriction_config"]["allowed_capabilities"];
            let allowed: BTreeSet<String> =
                allowed.as_object().into_iter().flat_map(|map| map.keys().cloned()).collect();
            expect(&mut lines, module, listed.clone(), allowed);
        });
    }
    Ok(lines)
}

fn listed(file: &str) -> Result<BTreeSet<String>> {
    let text = std::fs::read_to_string(root().join("envoy/imports").join(file));
    Ok(text.with_context(|| file.to_owned())?.lines().filter_map(capability).collect())
}

/// `import env.proxy_log` and `export proxy_on_tick` are capabilities; the entry points that
/// every module has are not.
fn capability(line: &str) -> Option<String> {
    match line.split_once(' ')? {
        ("import", name) => name.rsplit('.').next().map(str::to_owned),
        ("export", "proxy_on_memory_allocate") => None,
        ("export", name) if name.starts_with("proxy_on_") => Some(name.to_owned()),
        _ => None,
    }
}

/// Prometheus shows refusals by their reason.
pub fn counters(site: &Site, seen: &mut Seen) -> Result<Vec<String>> {
    let gateway = Gateway::fresh(site, &site.config(None)?)?;
    let caller = Caller::new(site, "counters")?;
    let mut request = caller.request(site, "api.test", "/api/a", None);
    request.fields.retain(|(name, _)| name != b"x-tap-key");
    gateway.ask(&request)?;
    let text = gateway.process.admin("/stats/prometheus")?;
    let text = String::from_utf8_lossy(&text.content).into_owned();
    let line = "postern_gate_denied_total{reason=\"credentials_missing\"} 1";
    let lines = if text.contains(line) {
        Vec::new()
    } else {
        let ours: Vec<&str> = text.lines().filter(|line| line.starts_with("postern")).collect();
        vec![format!("want {line}, got {ours:?}")]
    };
    seen.keep(site, gateway)?;
    Ok(lines)
}
