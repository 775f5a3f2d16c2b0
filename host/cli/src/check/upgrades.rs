//! Rules for connections that leave HTTP: only a WebSocket may, and only through the gate.

use super::Allowed;
use super::bootstrap::{Bootstrap, Manager};
use super::modules::{Instance, Module};
use super::report::Report;
use super::yaml::At;

/// The rules over managers with a gate.
pub fn check(bootstrap: &Bootstrap<'_>, _: Allowed, report: &mut Report) {
    for manager in bootstrap.managers.iter().filter(|manager| manager.has_gate()) {
        let configs = manager.at.list("upgrade_configs");
        configs.iter().for_each(|config| check_config(config, report));
        for (_, gate) in manager.filters_of(Module::Gate) {
            check_gate(manager, gate, &configs, report);
        }
    }
}

fn check_config(config: &At<'_>, report: &mut Report) {
    let kind = config.text_of("upgrade_type").unwrap_or_default();
    if !kind.eq_ignore_ascii_case("websocket") {
        report.missing(
            config,
            "upgrade_type",
            "expected websocket: what leaves HTTP otherwise cannot be read, and the gate refuses it",
        );
    }
    if let Some(filters) = config.get("filters") {
        report.error(&filters, "expected no filters: the gate would not stand among them");
    }
}

/// A binding's leave and the proxy's belong together.
fn check_gate(manager: &Manager<'_>, gate: &Instance<'_>, configs: &[At<'_>], report: &mut Report) {
    let leave = |binding: &serde_json::Value| binding.get("websocket").is_some();
    let index = gate.list("bindings").iter().position(leave);
    match (index, configs) {
        (Some(index), []) => {
            let place = gate.place(&format!("bindings[{index}].websocket"));
            report.note(&place, "no WebSocket gets here without upgrade_configs of the manager");
        }
        (None, [_, ..]) => {
            let place = manager.at.nearest("upgrade_configs");
            report.note(&place, "no binding has websocket: text, so the gate refuses each of them");
        }
        _ => {}
    }
}
