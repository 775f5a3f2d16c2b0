//! `EnvoyFilter`: each patch puts a module where it belongs.

use super::super::bootstrap::Cluster;
use super::super::listeners;
use super::super::modules::{Instance, Module};
use super::super::report::Report;
use super::super::yaml::At;
use super::{Service, target};

/// The rules over the patches of one resource.
pub fn check(spec: &At<'_>, report: &mut Report) {
    if spec.walk().iter().filter_map(Instance::of_plugin).any(|one| one.module.is_some()) {
        target::check(spec, "workloadSelector", report);
    }
    for patch in spec.list("configPatches") {
        let Some(value) = patch.at(&["patch", "value"]) else { continue };
        for instance in value.walk().iter().filter_map(Instance::of_plugin) {
            match instance.module {
                Some(Module::Gate) => check_gate(&patch, report),
                Some(Module::Credential) => check_credential(&patch, report),
                Some(Module::Audit) => check_audit(&patch, &value, report),
                None => {}
            }
        }
    }
}

fn place<'a>(patch: &At<'a>) -> (Option<&'a str>, Option<&'a str>) {
    (patch.text_of("applyTo"), patch.at(&["patch", "operation"]).and_then(|at| at.text()))
}

fn check_gate(patch: &At<'_>, report: &mut Report) {
    if place(patch) != (Some("HTTP_FILTER"), Some("INSERT_FIRST")) {
        report.error(
            patch,
            "expected applyTo: HTTP_FILTER and operation: INSERT_FIRST for the gate: a filter before \
             it answers callers that nobody has checked",
        );
    }
}

fn check_credential(patch: &At<'_>, report: &mut Report) {
    if place(patch) != (Some("CLUSTER"), Some("MERGE")) {
        return report.error(
            patch,
            "expected applyTo: CLUSTER and operation: MERGE for the credential module: anywhere else \
             the router can still change where the request goes",
        );
    }
    if patch.at(&["match", "cluster", "service"]).is_none() {
        report.missing(
            patch,
            "match.cluster.service",
            "missing: the module would stand in every cluster",
        );
    }
}

fn check_audit(patch: &At<'_>, value: &At<'_>, report: &mut Report) {
    let manager = value.get("typed_config");
    let loggers = manager.as_ref().map(|at| at.list("access_log")).unwrap_or_default();
    let ours = |entry: &At<'_>| {
        let plugin = entry.at(&["typed_config", "config"]);
        let instance = plugin.as_ref().and_then(Instance::of_plugin);
        instance.is_some_and(|instance| instance.module == Some(Module::Audit))
    };
    let entry = loggers.into_iter().find(ours);
    let (Some(manager), Some(entry), (Some("NETWORK_FILTER"), Some("MERGE"))) =
        (manager, entry, place(patch))
    else {
        return report.error(
            patch,
            "expected the audit module in access_log of the HttpConnectionManager, with applyTo: \
             NETWORK_FILTER and operation: MERGE",
        );
    };
    if let Some(filter) = entry.get("filter") {
        report.error(&filter, "expected no filter: a record that is not written stops the gate");
    }
    listeners::check_timers(&manager, report);
}

/// The cluster that a patch makes of `service`, if it puts the credential module there.
pub fn credential<'a>(patch: &At<'a>, service: &Service<'_>) -> Option<Cluster<'a>> {
    let matched = patch.at(&["match", "cluster"])?;
    let port = matched.get("portNumber").and_then(|at| at.number());
    let port_fits = port.is_none_or(|port| port.to_string() == service.port);
    if matched.text_of("service") != Some(service.host) || !port_fits {
        return None;
    }
    let cluster = Cluster::read(patch.at(&["patch", "value"])?);
    let ours = |one: &Instance<'_>| one.module == Some(Module::Credential);
    cluster.filters.iter().any(|(_, one)| one.as_ref().is_some_and(ours)).then_some(cluster)
}
