//! `WasmPlugin`, and `TrafficExtension`, which says where the plugin stands beside `wasm` and
//! what it is below.

use super::super::modules::{Instance, Module};
use super::super::report::Report;
use super::super::yaml::At;
use super::target;

/// Whether resources of this kind describe a plugin.
pub fn is_one(kind: &str) -> bool {
    matches!(kind, "WasmPlugin" | "TrafficExtension")
}

/// The part that describes the plugin.
fn wasm<'a>(kind: &str, spec: &At<'a>) -> Option<At<'a>> {
    match kind {
        "TrafficExtension" => spec.get("wasm"),
        _ => Some(spec.clone()),
    }
}

/// The plugin of a resource.
pub fn plugin<'a>(kind: &str, spec: &At<'a>) -> Vec<Instance<'a>> {
    let found = wasm(kind, spec);
    let instance =
        found.map(|at| Instance::of_resource(module_of(spec, &at), &at, at.get("pluginConfig")));
    instance.into_iter().collect()
}

/// By the file or image, or else by the resource's name.
fn module_of(spec: &At<'_>, wasm: &At<'_>) -> Option<Module> {
    let of_url = wasm.text_of("url").and_then(Module::of_file);
    let name = spec.path.split(['/', '.']).nth(1).unwrap_or_default();
    of_url.or_else(|| name.split('-').find_map(Module::of_name))
}

/// The rules over one resource.
pub fn check(kind: &str, spec: &At<'_>, report: &mut Report) {
    let Some(wasm) = wasm(kind, spec) else {
        return report.missing(spec, "wasm", "missing: nothing else of this kind is ours");
    };
    let Some(module) = module_of(spec, &wasm) else {
        return report.note(&wasm, "not one of our modules, by its url and name");
    };
    match module {
        Module::Gate => check_gate(spec, &wasm, report),
        Module::Credential => report.error(
            &wasm,
            "expected the credential module in http_filters of each credentialed cluster, by \
             EnvoyFilter: here, the router can still change where the request goes",
        ),
        Module::Audit => report.error(
            &wasm,
            "expected the audit module as an access logger, by EnvoyFilter: a filter is skipped \
             where an earlier one has answered",
        ),
    }
    if let Some(at) = spec.get("match") {
        report.error(&at, "expected none: what it does not match passes without the module");
    }
    if let Some(at) = wasm.get("type").filter(|at| at.text() != Some("HTTP")) {
        report.error(&at, "expected HTTP");
    }
    check_strategy(&wasm, report);
    check_origin(&wasm, report);
    check_environment(module, &wasm, report);
    target::check(spec, "selector", report);
}

/// Where it stands is said of the resource, in both kinds.
fn check_gate(spec: &At<'_>, wasm: &At<'_>, report: &mut Report) {
    match spec.get("phase") {
        Some(at) if at.text() == Some("AUTHN") => {}
        Some(at) => report.error(&at, "expected AUTHN: the gate decides before anything else does"),
        None => report.missing(spec, "phase", "missing, expected AUTHN"),
    }
    // The gate's own default for `body` is `hold`.
    let body = wasm.at(&["pluginConfig", "body"]);
    if body.and_then(|at| at.text()).unwrap_or("hold") == "hold" {
        report.missing(
            wasm,
            "pluginConfig.body",
            "expected stream: a WasmPlugin cannot make headers wait for the content, so they would \
             leave before it was read (for body: hold use an EnvoyFilter)",
        );
    }
}

fn check_strategy(wasm: &At<'_>, report: &mut Report) {
    let expected = "expected FAIL_RELOAD: a filter that fails open is skipped, one that fails \
                    closed stays closed for ever";
    match wasm.get("failStrategy") {
        Some(at) if at.text() == Some("FAIL_RELOAD") => {}
        Some(at) => report.error(&at, expected),
        None => report.missing(wasm, "failStrategy", expected),
    }
}

/// What was reviewed is what runs: a file that the operator put there, or a digest.
pub fn check_origin(wasm: &At<'_>, report: &mut Report) {
    let Some(url) = wasm.get("url") else {
        return report.missing(wasm, "url", "missing");
    };
    let text = url.text().unwrap_or_default();
    let pinned = text.contains("@sha256:") || wasm.get("sha256").is_some();
    if text.starts_with("http://") {
        report
            .error(&url, "expected oci:// or https://: anybody on the way could change the module");
    } else if !text.starts_with("file://") && !pinned {
        report.error(&url, "expected a digest (@sha256:…, or sha256): a tag can be moved");
    }
}

fn check_environment(module: Module, wasm: &At<'_>, report: &mut Report) {
    let listed = wasm.get("vmConfig").map(|at| at.list("env")).unwrap_or_default();
    let settings = wasm.get("pluginConfig").map(|at| at.node.to_json()).unwrap_or_default();
    let names = module.environment_with(&settings);
    for needed in &names {
        if !listed.iter().any(|one| one.text_of("name") == Some(needed)) {
            let text = format!("{needed} is missing: the {} module needs it", module.name());
            report.missing(wasm, "vmConfig.env", text);
        }
    }
    for one in listed {
        let name = one.text_of("name").unwrap_or_default();
        if !name.starts_with("POSTERN_") {
            continue;
        }
        if !names.iter().any(|one| one == name) {
            report.error(&one, format!("the {} module must not hold {name}", module.name()));
        }
        if one.text_of("valueFrom") != Some("HOST") || one.get("value").is_some() {
            report.error(
                &one,
                "values written here are shown to whoever may read it; expected valueFrom: HOST",
            );
        }
    }
}
