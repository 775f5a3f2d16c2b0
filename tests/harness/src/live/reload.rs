//! A filter that stands in a file of its own (ECDS), replaced while the gateway runs.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use postern_rig::gateway::Config;
use postern_rig::wait::until;
use serde_json::{Value, json};

use super::{Caller, Seen, expect};
use crate::gateway::{Gateway, Site};

const PATIENCE: Duration = Duration::from_secs(20);
const FILTER: &str = "postern.gate";
/// Another field for the key, so that it shows which configuration serves.
const OTHER: &str = "x-other-key";

/// A configuration that is refused leaves the one before; the next good one takes over.
pub fn from_a_file(site: &Site, seen: &mut Seen) -> Result<Vec<String>> {
    let file = site.world.folder.path().join("gate-filter.json");
    let mut config = site.config(None)?;
    let filter = taken_out(&mut config, &file)?;
    write(&file, &filter)?;
    let gateway = Gateway::fresh(site, &config)?;
    let caller = Caller::new(site, "from_a_file")?;
    let request = caller.request(site, "api.test", "/api/a", Some("slack"));
    let mut elsewhere = request.clone();
    for (name, _) in &mut elsewhere.fields {
        if name == b"x-tap-key" {
            *name = OTHER.as_bytes().to_vec();
        }
    }
    let mut lines = Vec::new();
    expect(&mut lines, "at the start", 200, gateway.ask(&request)?.status());

    let mut refused = filter.clone();
    configuration(&mut refused)["colour"] = json!("red");
    write(&file, &refused)?;
    wait_for(&gateway, "config_fail", 1)?;
    expect(&mut lines, "after a refusal", 200, gateway.ask(&request)?.status());
    expect(&mut lines, "after a refusal, elsewhere", 401, gateway.ask(&elsewhere)?.status());

    let reloads = stat(&gateway, "config_reload");
    let mut changed = filter;
    configuration(&mut changed)["authenticators"][0]["api_key"]["header"] = json!(OTHER);
    write(&file, &changed)?;
    wait_for(&gateway, "config_reload", reloads + 1)?;
    let taken = || matches!(gateway.ask(&elsewhere).ok()?.status(), 200).then_some(());
    until(PATIENCE, taken).context("the new configuration does not serve")?;
    expect(&mut lines, "after a change", 401, gateway.ask(&request)?.status());
    expect(&mut lines, "refusals", 1, stat(&gateway, "config_fail"));
    seen.keep(site, gateway)?;
    Ok(lines)
}

/// Puts a reference to `file` in the place of the gate, which it gives.
fn taken_out(config: &mut Config, file: &Path) -> Result<Value> {
    let hcm = &mut config.listener("ingress")?["filter_chains"][0]["filters"][0]["typed_config"];
    let filters = hcm["http_filters"].as_array_mut().context("no filters")?;
    let gate = filters.iter_mut().find(|filter| filter["name"] == FILTER).context("no gate")?;
    let typed = gate["typed_config"].take();
    *gate = json!({"name": FILTER, "config_discovery": {
        "config_source": {"path_config_source": {"path": file.display().to_string()}},
        "type_urls": [typed["@type"]],
    }});
    Ok(typed)
}

fn configuration(filter: &mut Value) -> &mut Value {
    &mut filter["config"]["configuration"]["value"]
}

/// Replaces the file by renaming another, as both gateways want it.
fn write(file: &Path, filter: &Value) -> Result<()> {
    let resource = json!({
        "@type": "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig",
        "name": FILTER,
        "typed_config": filter,
    });
    let document = json!({"resources": [resource]});
    Ok(postern_files::write_atomic(file, document.to_string().as_bytes())?)
}

fn stat(gateway: &Gateway, name: &str) -> u64 {
    let name = format!("extension_config_discovery.http_filter.{FILTER}.{name}");
    gateway.process.stat(&name).unwrap_or_default()
}

fn wait_for(gateway: &Gateway, name: &str, least: u64) -> Result<()> {
    let there = until(PATIENCE, || (stat(gateway, name) >= least).then_some(()));
    there.with_context(|| format!("{name} is still below {least}"))
}
