//! The resources of `envoy/istio` and `deploy/istio`, put into a proxy's file as Istio's control
//! plane puts them.
//!
//! The control plane itself does not run here: this applies the documented rules of
//! `EnvoyFilter` (where a patch is inserted, how messages merge) and of `WasmPlugin` (which
//! plugin configuration it becomes) to a file whose clusters have the names that Istio gives.

use anyhow::{Context, Result};
use postern_files::yaml::Node;
use postern_rig::gateway::Config;
use postern_rig::upstream;
use serde_json::{Value, json};

use super::{Caller, Seen, code, expect};
use crate::gateway::{Gateway, Site};
use crate::root;

const KEY_SERVICE: &str = "outbound|8843||keys.postern.svc.cluster.local";
/// The upstream of the resources.
const SHIPPED: &str = "slack.com";
/// The one that stands in its place here.
const HERE: &str = "api.test";

/// All modules by `EnvoyFilter`.
pub fn filters(site: &Site, seen: &mut Seen) -> Result<Vec<String>> {
    installed(site, seen, "envoy/istio/postern.yaml")
}

/// The gate by `WasmPlugin`.
pub fn plugin(site: &Site, seen: &mut Seen) -> Result<Vec<String>> {
    installed(site, seen, "envoy/istio/gate-wasmplugin.yaml")
}

/// The gate by `TrafficExtension`.
pub fn extension(site: &Site, seen: &mut Seen) -> Result<Vec<String>> {
    installed(site, seen, "deploy/istio/gateway.yaml")
}

/// What a waypoint gets, but for the names of its clusters.
pub fn waypoint(site: &Site, seen: &mut Seen) -> Result<Vec<String>> {
    installed(site, seen, "deploy/istio/waypoint.yaml")
}

/// Who has no key is refused; a credential is injected, scrubbed, and on record.
fn installed(site: &Site, seen: &mut Seen, file: &str) -> Result<Vec<String>> {
    let mut config = bare(site)?;
    let text = std::fs::read_to_string(root().join(file))?;
    let text = text.replace(SHIPPED, HERE).replace("/etc/postern/modules/", "target/plugins/");
    let text = text.replace("inbound-vip|443|http|", "outbound|443||");
    let text = text.replace("inbound-vip|8843|http|", "outbound|8843||");
    let resources = Node::parse_all(&text).map_err(anyhow::Error::msg)?;
    for resource in &resources {
        apply(site, &mut config, resource.to_json())?;
    }
    config.modules_from(&crate::gateway::plugins());
    let gateway = Gateway::with(site, &config)?;
    let mut lines = Vec::new();

    let caller = Caller::new(site, &format!("istio/{file}"))?;
    let secret = caller.secret(site, "slack");
    for upstream in site.upstreams.values() {
        let chunks = vec![json!({"token": secret}).to_string().into_bytes()];
        upstream.answer(upstream::Answer { chunks, ..upstream::Answer::default() });
    }
    let request = caller.request(site, HERE, "/api/a", Some("slack"));
    let answer = gateway.ask(&request)?;
    expect(&mut lines, "status", 200, answer.status());
    let shown = String::from_utf8_lossy(&answer.content).contains(&secret);
    expect(&mut lines, "the caller sees the secret", false, shown);
    let got = site.take_forwarded();
    let field = got.first().and_then(|request| request.text("authorization"));
    expect(&mut lines, "field", Some(format!("Bearer {secret}")), field);

    let anonymous = postern_rig::client::Request::new("GET", HERE, "/api/a");
    let answer = gateway.ask(&anonymous)?;
    expect(
        &mut lines,
        "without a key",
        (401, "credentials_missing".to_owned()),
        (answer.status(), code(&answer)),
    );
    // Receipts: the gate finds those of the logger, so it goes on.
    expect(&mut lines, "again", 200, gateway.ask(&request)?.status());
    expect(&mut lines, "records", 3, site.wait_for_records(3)?.len());
    seen.keep(site, gateway)?;
    Ok(lines)
}

/// The proxy's file before any of the resources, with Istio's names.
fn bare(site: &Site) -> Result<Config> {
    let mut config = site.config(None)?;
    let upstream = format!("outbound|443||{HERE}");
    for (old, new) in [("key_service", KEY_SERVICE), ("api", upstream.as_str())] {
        let cluster = config.cluster(old)?;
        cluster["name"] = json!(new);
        cluster["load_assignment"]["cluster_name"] = json!(new);
    }
    config.cluster(&upstream)?["typed_extension_protocol_options"] = Value::Null;
    config.route("ingress", HERE, &upstream, HERE)?;
    let clusters = config.document()["static_resources"]["clusters"].as_array_mut();
    clusters
        .context("clusters")?
        .retain(|one| one["name"] == upstream || one["name"] == KEY_SERVICE);
    let hcm = manager(&mut config)?;
    if let Some(hosts) = hcm["route_config"]["virtual_hosts"].as_array_mut() {
        hosts.retain(|host| host["name"] == HERE);
    }
    for key in ["http_filters", "access_log"] {
        let list = hcm[key].as_array_mut().context(key)?;
        list.retain(|one| !one["name"].as_str().is_some_and(|name| name.starts_with("postern.")));
    }
    Ok(config)
}

fn manager(config: &mut Config) -> Result<&mut Value> {
    Ok(&mut config.listener("ingress")?["filter_chains"][0]["filters"][0]["typed_config"])
}

fn apply(site: &Site, config: &mut Config, mut resource: Value) -> Result<()> {
    match resource["kind"].as_str() {
        Some("WasmPlugin") => {
            let spec = &mut resource["spec"];
            here(site, "gate", &mut spec["pluginConfig"]);
            let filter = translated(spec);
            filters_of(config)?.insert(0, filter);
        }
        Some("TrafficExtension") => {
            let wasm = &mut resource["spec"]["wasm"];
            here(site, "gate", &mut wasm["pluginConfig"]);
            let filter = translated(wasm);
            filters_of(config)?.insert(0, filter);
        }
        Some("EnvoyFilter") => {
            for patch in resource["spec"]["configPatches"].as_array_mut().into_iter().flatten() {
                each_plugin(&mut patch["patch"]["value"], &mut |name, document| {
                    here(site, name, document);
                });
                merge_patch(config, patch)?;
            }
        }
        kind => anyhow::bail!("{kind:?}: not a kind of these files"),
    }
    Ok(())
}

fn filters_of(config: &mut Config) -> Result<&mut Vec<Value>> {
    manager(config)?["http_filters"].as_array_mut().context("http_filters")
}

/// The module's configuration in this world, under Istio's names.
fn here(site: &Site, module: &str, document: &mut Value) {
    let stream = document["body"] == "stream";
    *document = site.world.module(module, document.take(), None);
    document["key_service"]["cluster"] = json!(KEY_SERVICE);
    if let Some(upstreams) = document.get_mut("upstreams").and_then(Value::as_object_mut) {
        upstreams.retain(|name, _| name == "api");
        if let Some(api) = upstreams.remove("api") {
            upstreams.insert(format!("outbound|443||{HERE}"), api);
        }
    }
    if stream {
        document["body"] = json!("stream");
    }
}

fn each_plugin(value: &mut Value, change: &mut impl FnMut(&str, &mut Value)) {
    match value {
        Value::Object(object) if object.contains_key("vm_config") => {
            let name = object.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
            if let Some(configuration) = object.get_mut("configuration") {
                change(&name, &mut configuration["value"]);
            }
        }
        Value::Object(object) => object.values_mut().for_each(|child| each_plugin(child, change)),
        Value::Array(items) => items.iter_mut().for_each(|child| each_plugin(child, change)),
        _ => {}
    }
}

/// What a `WasmPlugin` becomes: no name for its VM, its configuration as text.
fn translated(spec: &Value) -> Value {
    let file = spec["url"].as_str().unwrap_or_default().trim_start_matches("file://");
    let environment = spec["vmConfig"]["env"].as_array().into_iter().flatten();
    let host_keys: Vec<&Value> = environment.map(|one| &one["name"]).collect();
    json!({
        "name": "istio-ingress.postern-gate",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
            "config": {
                "name": "istio-ingress.postern-gate",
                "failure_policy": spec["failStrategy"],
                "configuration": {
                    "@type": "type.googleapis.com/google.protobuf.StringValue",
                    "value": spec["pluginConfig"].to_string(),
                },
                "vm_config": {
                    "runtime": "envoy.wasm.runtime.v8",
                    "code": {"local": {"filename": file}},
                    "environment_variables": {"host_env_keys": host_keys},
                },
            },
        },
    })
}

fn merge_patch(config: &mut Config, patch: &Value) -> Result<()> {
    let value = &patch["patch"]["value"];
    match (patch["applyTo"].as_str(), patch["patch"]["operation"].as_str()) {
        (Some("HTTP_FILTER"), Some("INSERT_FIRST")) => filters_of(config)?.insert(0, value.clone()),
        (Some("NETWORK_FILTER"), Some("MERGE")) => merge(manager(config)?, &value["typed_config"]),
        (Some("LISTENER"), Some("MERGE")) => merge(config.listener("ingress")?, value),
        (Some("CLUSTER"), Some("MERGE")) => {
            let cluster = &patch["match"]["cluster"];
            let service = cluster["service"].as_str().context("service")?;
            merge(
                config.cluster(&format!("outbound|{}||{service}", cluster["portNumber"]))?,
                value,
            );
        }
        other => anyhow::bail!("{other:?}: not a patch of these files"),
    }
    Ok(())
}

/// As messages of Protocol Buffers merge: lists grow, an entry of a map is replaced.
fn merge(base: &mut Value, over: &Value) {
    match (base, over) {
        (Value::Array(base), Value::Array(over)) => base.extend(over.iter().cloned()),
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                let map = key == "typed_extension_protocol_options";
                match base.get_mut(key).filter(|value| !map && !value.is_null()) {
                    Some(old) => merge(old, value),
                    None => drop(base.insert(key.clone(), value.clone())),
                }
            }
        }
        (base, over) => *base = over.clone(),
    }
}
