//! Rules for routes: a credentialed request goes to one place, once.

use std::collections::BTreeSet;

use super::Allowed;
use super::bootstrap::{Bootstrap, Manager};
use super::modules::Module;
use super::report::Report;
use super::yaml::At;

/// Keys that send a request again, elsewhere as well, or somewhere the route does not name.
pub const SENDS_ELSEWHERE: &[(&str, &str)] = &[
    ("retry_policy", "no retries"),
    ("retry_policy_typed_config", "no retries"),
    ("hedge_policy", "no hedging"),
    ("request_mirror_policies", "no mirrors"),
    ("internal_redirect_policy", "no internal redirects"),
    ("internal_redirect_action", "no internal redirects"),
];

/// Keys by which something other than the route table picks the cluster.
const CHOSEN_LATER: &[&str] =
    &["cluster_header", "cluster_specifier_plugin", "inline_cluster_specifier_plugin"];

/// The rules over inline route tables.
pub fn check(bootstrap: &Bootstrap<'_>, _: Allowed, report: &mut Report) {
    let credentialed = bootstrap.credentialed();
    for manager in &bootstrap.managers {
        let Some(table) = manager.at.get("route_config") else { continue };
        let mut reached = false;
        for host in table.list("virtual_hosts") {
            reached |= check_host(manager, &host, &credentialed, report);
        }
        if reached {
            check_keys(&table, report);
        }
        if reached && !manager.has_gate() {
            report.error(
                &table,
                "routes to a credentialed cluster, but no gate stands in \
                                  http_filters: every such request is refused",
            );
        }
    }
}

/// Whether some route of the host leads to a credentialed cluster.
fn check_host(
    manager: &Manager<'_>,
    host: &At<'_>,
    credentialed: &BTreeSet<String>,
    report: &mut Report,
) -> bool {
    let mut reached = false;
    for route in host.list("routes") {
        let Some(action) = route.get("route") else { continue };
        let later = CHOSEN_LATER.iter().filter_map(|key| action.get(key));
        if !credentialed.is_empty() {
            later.for_each(|at| {
                report.error(
                    &at,
                    "the request could choose a credentialed cluster: expected cluster",
                );
            });
        }
        if targets(&action).iter().any(|name| credentialed.contains(*name)) {
            reached = true;
            check_keys(&action, report);
            check_overrides(manager, &route, report);
        }
    }
    if reached {
        check_keys(host, report);
        check_overrides(manager, host, report);
    }
    reached
}

/// The clusters that an action names.
pub fn targets<'a>(action: &At<'a>) -> Vec<&'a str> {
    let weighted = action.at(&["weighted_clusters", "clusters"]).map(|at| at.items());
    let weighted = weighted.unwrap_or_default();
    let weighted = weighted.iter().filter_map(|at| at.text_of("name"));
    weighted.chain(action.text_of("cluster")).collect()
}

/// Reports what must stay off wherever credentialed requests pass.
pub fn check_keys(at: &At<'_>, report: &mut Report) {
    for (key, expected) in SENDS_ELSEWHERE {
        if let Some(found) = at.get(key) {
            report.error(&found, format!("expected {expected} where a credential is injected"));
        }
    }
}

/// A per-route setting of the gate's filter can turn the gate off.
fn check_overrides(manager: &Manager<'_>, at: &At<'_>, report: &mut Report) {
    let Some(overrides) = at.get("typed_per_filter_config") else { return };
    for (entry, _) in manager.filters_of(Module::Gate) {
        let name = entry.text_of("name").unwrap_or("");
        if let Some(found) = overrides.get(name) {
            report.error(&found, "expected the gate to be the same on every route");
        }
    }
}
