//! Rules for the resources by which Istio and Envoy Gateway put the modules into their gateways.
//!
//! Owns what only these resources say: where a patch stands, what `WasmPlugin` cannot
//! express, and routes and destinations. Plugins inside of them are checked as in any other
//! file. Invariant: a resource of a kind that is not known here is noted, never called good.
//! Istio's own defaults are those of its API, version 1.30.

mod envoy_gateway;
mod network;
mod patches;
mod target;
mod wasm_plugin;

#[cfg(test)]
mod deployed;
#[cfg(test)]
mod tests;

use super::Allowed;
use super::modules::{self, Instance, Module, VM_ID};
use super::report::Report;
use super::yaml::{At, Node};
use super::{clusters, logs};
use target::WAYPOINT;

/// One resource.
struct Resource<'a> {
    kind: &'a str,
    /// Namespace and name.
    names: (&'a str, &'a str),
    spec: At<'a>,
}

impl<'a> Resource<'a> {
    fn read(node: &'a Node) -> Option<Self> {
        let root = At::root(node);
        root.text_of("apiVersion")?;
        let kind = root.text_of("kind")?;
        let of = |key| root.at(&["metadata", key]).and_then(|at| at.text()).unwrap_or_default();
        let names @ (_, name) = (of("namespace"), of("name"));
        let spec = At { path: format!("{kind}/{name}"), ..root }.get("spec")?;
        Some(Self { kind, names, spec })
    }
}

/// Whether these documents are resources of Kubernetes.
pub fn is_resource(nodes: &[Node]) -> bool {
    nodes.iter().all(|node| At::root(node).text_of("apiVersion").is_some())
}

/// Checks the resources of one file together.
pub fn check(nodes: &[Node], allowed: Allowed, report: &mut Report) {
    let mut resources = Vec::new();
    for node in nodes {
        if At::root(node).text_of("kind") == Some("ConfigMap") {
            check_files(&At::root(node), allowed, report);
            continue;
        }
        match Resource::read(node) {
            Some(resource) => resources.push(resource),
            None => report.missing(&At::root(node), "spec", "missing, with kind"),
        }
    }
    let plugins: Vec<Instance<'_>> = resources.iter().flat_map(plugins_of).collect();
    modules::check_plugins(&plugins, vm_id(&resources).as_deref(), allowed, report);
    for resource in &resources {
        match resource.kind {
            kind if wasm_plugin::is_one(kind) => wasm_plugin::check(kind, &resource.spec, report),
            "EnvoyFilter" => patches::check(&resource.spec, report),
            envoy_gateway::POLICY => envoy_gateway::check_policy(&resource.spec, report),
            envoy_gateway::PATCHES => envoy_gateway::check_patches(&resource.spec, report),
            "VirtualService" | "DestinationRule" | "Gateway" | "ServiceEntry" => {}
            kind => report.note(&resource.spec, format!("a {kind} is not checked here")),
        }
        logs::check_formats(&resource.spec, &plugins, report);
    }
    check_whole(&resources, &plugins, report);
    network::check(&resources, &plugins, report);
}

/// Configurations that a `ConfigMap` holds as files, each as if it stood alone.
fn check_files(map: &At<'_>, allowed: Allowed, report: &mut Report) {
    let name = map.at(&["metadata", "name"]).and_then(|at| at.text()).unwrap_or_default();
    let data = At { path: format!("ConfigMap/{name}"), ..map.clone() }.get("data");
    for (file, at) in data.iter().flat_map(At::entries) {
        let Some(text) = at.text().filter(|_| file.ends_with(".yaml")) else {
            report.note(&at, "not a configuration, by its name");
            continue;
        };
        report.block(&at, super::check(text, None, allowed));
    }
}

/// The name that the modules' VMs have in common: none with Istio's own resources, and one that
/// comes from the resource with Envoy Gateway's.
fn vm_id(resources: &[Resource<'_>]) -> Option<String> {
    if resources.iter().any(|one| wasm_plugin::is_one(one.kind)) {
        return None;
    }
    let policy = resources.iter().find(|one| one.kind == envoy_gateway::POLICY);
    Some(policy.map_or_else(|| VM_ID.to_owned(), |one| envoy_gateway::vm_id(one.names)))
}

fn plugins_of<'a>(resource: &Resource<'a>) -> Vec<Instance<'a>> {
    match resource.kind {
        kind if wasm_plugin::is_one(kind) => wasm_plugin::plugin(kind, &resource.spec),
        envoy_gateway::POLICY => envoy_gateway::plugins(&resource.spec),
        _ => resource.spec.walk().iter().filter_map(Instance::of_plugin).collect(),
    }
}

/// The three modules need one another, and each upstream its own credential module.
fn check_whole(resources: &[Resource<'_>], plugins: &[Instance<'_>], report: &mut Report) {
    let Some(gate) = plugins.iter().find(|plugin| plugin.module == Some(Module::Gate)) else {
        return;
    };
    if !plugins.iter().any(|plugin| plugin.module == Some(Module::Audit)) {
        report.error(
            &gate.plugin,
            "the gate stands here without the audit access log: it will refuse every request after \
             the first",
        );
    }
    if resources.iter().any(|one| one.kind == envoy_gateway::POLICY) {
        return envoy_gateway::check_upstreams(gate, resources, report);
    }
    let patches: Vec<At<'_>> = resources
        .iter()
        .filter(|resource| resource.kind == "EnvoyFilter")
        .flat_map(|resource| resource.spec.list("configPatches"))
        .collect();
    for (name, upstream) in gate.upstreams() {
        let place = gate.place(&format!("upstreams.{name}"));
        let Some(service) = Service::of_cluster(&name) else {
            let text = "expected the name of a cluster as Istio gives it, such as \
                        \"outbound|443||slack.com\"";
            report.error(&place, text);
            continue;
        };
        match patches.iter().find_map(|patch| patches::credential(patch, &service)) {
            Some(cluster) => clusters::check_filters(&cluster, &upstream, report),
            None => report.error(
                &place,
                format!("expected an EnvoyFilter that puts the credential module into {name}"),
            ),
        }
    }
}

/// A destination, as the names of Istio's clusters have it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Service<'a> {
    port: &'a str,
    host: &'a str,
}

impl<'a> Service<'a> {
    /// `outbound|443||slack.com`: direction, port, subset, host. A waypoint has
    /// `inbound-vip|443|http|slack.com` instead.
    fn of_cluster(name: &'a str) -> Option<Self> {
        let parts: Vec<&str> = name.split('|').collect();
        match parts.as_slice() {
            ["outbound", port, _, host] | [WAYPOINT, port, _, host]
                if port.parse::<u16>().is_ok() && !host.is_empty() =>
            {
                Some(Self { port, host })
            }
            _ => None,
        }
    }
}
