//! Envoy Gateway: `EnvoyExtensionPolicy` for the gate, `EnvoyPatchPolicy` for what it cannot say.
//!
//! Envoy Gateway names a plugin's VM after the resource and its place there, and puts plugins
//! behind every filter of its own. Invariant: the modules share that name, or the gate would
//! find no receipts.

use super::super::bootstrap::Cluster;
use super::super::clusters;
use super::super::modules::{Instance, Module};
use super::super::report::Report;
use super::super::yaml::At;
use super::{Resource, wasm_plugin};

/// Puts plugins before the router, by route.
pub const POLICY: &str = "EnvoyExtensionPolicy";
/// Changes what Envoy Gateway has made, by JSON Patch.
pub const PATCHES: &str = "EnvoyPatchPolicy";
const OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/// The name of the first plugin's VM.
pub fn vm_id((namespace, name): (&str, &str)) -> String {
    format!("envoyextensionpolicy/{namespace}/{name}/wasm/0")
}

/// The plugins of a policy.
pub fn plugins<'a>(spec: &At<'a>) -> Vec<Instance<'a>> {
    let instance = |at: &At<'a>| Instance::of_resource(module_of(at), at, at.get("config"));
    spec.list("wasm").iter().map(instance).collect()
}

/// Where the code comes from.
fn source<'a>(wasm: &At<'a>) -> Option<At<'a>> {
    wasm.at(&["code", "image"]).or_else(|| wasm.at(&["code", "http"]))
}

fn module_of(wasm: &At<'_>) -> Option<Module> {
    let of_url = source(wasm).and_then(|at| at.text_of("url").and_then(Module::of_file));
    of_url.or_else(|| wasm.text_of("name").and_then(Module::of_name))
}

/// The rules over an `EnvoyExtensionPolicy`.
pub fn check_policy(spec: &At<'_>, report: &mut Report) {
    for (index, wasm) in spec.list("wasm").iter().enumerate() {
        match module_of(wasm) {
            Some(Module::Gate) => check_gate(wasm, index, report),
            Some(Module::Credential) => report.error(
                wasm,
                "expected the credential module in http_filters of each credentialed cluster, by \
                 EnvoyPatchPolicy: here, the router can still change where the request goes",
            ),
            Some(Module::Audit) => report.error(
                wasm,
                "expected the audit module as an access logger, by EnvoyPatchPolicy: a filter is \
                 skipped where an earlier one has answered",
            ),
            None => report.note(wasm, "not one of our modules, by its url and name"),
        }
    }
    for key in ["lua", "extProc"] {
        if let Some(at) = spec.get(key) {
            let text = "expected none: Envoy Gateway puts it before the gate, where it sees and \
                        answers callers that nobody has checked";
            report.error(&at, text);
        }
    }
    if spec.get("targetRefs").is_none() && spec.get("targetRef").is_none() {
        report.missing(spec, "targetRefs", "missing: it would be for nothing");
    }
    for target in spec.list("targetRefs").into_iter().chain(spec.get("targetRef")) {
        if target.text_of("kind") != Some("Gateway") || target.get("sectionName").is_some() {
            let text = "expected a whole Gateway: its other routes would pass without the gate";
            report.error(&target, text);
        }
    }
}

fn check_gate(wasm: &At<'_>, index: usize, report: &mut Report) {
    if index > 0 {
        let text =
            "expected the gate first: a plugin before it sees callers that nobody has checked";
        report.error(wasm, text);
    }
    if let Some(at) = wasm.get("failOpen").filter(|at| !is_false(at)) {
        report.error(&at, "expected false: a gate that fails open is skipped");
    }
    match source(wasm) {
        Some(source) => wasm_plugin::check_origin(&source, report),
        None => report.missing(wasm, "code", "missing, expected image or http"),
    }
    let body = wasm.at(&["config", "body"]);
    if body.and_then(|at| at.text()).unwrap_or("hold") == "hold" {
        let text = "expected stream: an EnvoyExtensionPolicy cannot make headers wait for the content, \
                    so they would leave before it was read";
        report.missing(wasm, "config.body", text);
    }
    check_environment(wasm, report);
}

fn is_false(at: &At<'_>) -> bool {
    at.node.to_json() == serde_json::Value::Bool(false)
}

fn check_environment(wasm: &At<'_>, report: &mut Report) {
    let settings = wasm.get("config").map(|at| at.node.to_json()).unwrap_or_default();
    let needed = Module::Gate.environment_with(&settings);
    let listed = wasm.get("env").map(|at| at.list("hostKeys")).unwrap_or_default();
    for name in &needed {
        if !listed.iter().any(|at| at.text() == Some(name)) {
            let text = format!("{name} is missing: the gate module needs it");
            report.missing(wasm, "env.hostKeys", text);
        }
    }
    for at in &listed {
        let name = at.text().unwrap_or_default();
        if name.starts_with("POSTERN_") && !needed.iter().any(|one| one == name) {
            report.error(at, format!("the gate module must not hold {name}"));
        }
    }
}

/// The rules over an `EnvoyPatchPolicy`: each module where it belongs.
pub fn check_patches(spec: &At<'_>, report: &mut Report) {
    for patch in spec.list("jsonPatches") {
        let Some(value) = patch.at(&["operation", "value"]) else { continue };
        let path = patch.at(&["operation", "path"]).and_then(|at| at.text()).unwrap_or_default();
        for instance in value.walk().iter().filter_map(Instance::of_plugin) {
            match instance.module {
                Some(Module::Audit) if !path.ends_with("/access_log") => report.error(
                    &patch,
                    "expected the audit module in access_log of the HttpConnectionManager",
                ),
                Some(Module::Credential) if path != "/typed_extension_protocol_options" => report
                    .error(
                        &patch,
                        "expected the credential module at /typed_extension_protocol_options of a \
                     cluster: anywhere else the router can still change where the request goes",
                    ),
                Some(Module::Gate) => {
                    report.error(&patch, "expected the gate in an EnvoyExtensionPolicy");
                }
                _ => {}
            }
        }
    }
}

/// Each upstream of the gate has the credential module in its cluster.
pub fn check_upstreams(gate: &Instance<'_>, resources: &[Resource<'_>], report: &mut Report) {
    let ours = resources.iter().filter(|resource| resource.kind == PATCHES);
    let patches: Vec<At<'_>> =
        ours.flat_map(|resource| resource.spec.list("jsonPatches")).collect();
    for (name, upstream) in gate.upstreams() {
        match patches.iter().find_map(|patch| credential(patch, &name)) {
            Some(cluster) => clusters::check_filters(&cluster, &upstream, report),
            None => report.error(
                &gate.place(&format!("upstreams.{name}")),
                format!("expected an EnvoyPatchPolicy that puts the credential module into {name}"),
            ),
        }
    }
}

/// The cluster that a patch makes of `name`, if it puts the credential module there.
fn credential<'a>(patch: &At<'a>, name: &str) -> Option<Cluster<'a>> {
    let written = patch.text_of("name").filter(|written| *written == name)?;
    let value = patch.at(&["operation", "value"])?;
    let options = value.get(OPTIONS)?;
    let cluster = Cluster::with_options(written, Some(&options), value);
    let ours = |one: &Instance<'_>| one.module == Some(Module::Credential);
    cluster.filters.iter().any(|(_, one)| one.as_ref().is_some_and(ours)).then_some(cluster)
}
