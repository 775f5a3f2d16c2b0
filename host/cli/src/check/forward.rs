//! Rules for the gate's forward endpoint: what may be forwarded also gets there.
//!
//! The gate writes the target's authority into the request, and the proxy chooses the route
//! by it. Invariant: how a domain is looked up is as in Envoy; routes that depend on more
//! than the authority count as fitting.

use postern_core::authority::Authority;
use serde_json::Value;

use super::Allowed;
use super::bootstrap::{Bootstrap, Manager};
use super::modules::{Instance, Module};
use super::report::Report;
use super::routes::targets;
use super::yaml::At;

/// The rules over managers whose gate has the endpoint.
pub fn check(bootstrap: &Bootstrap<'_>, _: Allowed, report: &mut Report) {
    for manager in &bootstrap.managers {
        for (_, gate) in manager.filters_of(Module::Gate) {
            if gate.has("forward") {
                check_gate(manager, gate, report);
            }
        }
    }
}

fn check_gate(manager: &Manager<'_>, gate: &Instance<'_>, report: &mut Report) {
    let Some(table) = manager.at.get("route_config") else { return };
    for (cluster, upstream) in gate.upstreams() {
        let authority = upstream.get("authority").and_then(Value::as_str);
        let Some(authority) = authority.and_then(Authority::parse) else { continue };
        let place = gate.place("forward");
        if authority.is_address() {
            let text = format!("{cluster} is an address, and no target may be one");
            report.note(&place, text);
        } else if !leads(&table, &authority.to_string(), &cluster) {
            let text = format!(
                "no route for {authority} leads to {cluster}: what is forwarded there is refused"
            );
            report.error(&place, text);
        }
    }
}

/// Whether some route of the virtual host for `authority` goes to `cluster`.
fn leads(table: &At<'_>, authority: &str, cluster: &str) -> bool {
    let fitting = table.list("virtual_hosts").into_iter().filter_map(|host| {
        let domains = host.list("domains");
        let best = domains.iter().filter_map(|at| fit(at.text()?, authority)).max()?;
        Some((best, host))
    });
    let Some((_, host)) = fitting.max_by_key(|(best, _)| *best) else { return false };
    let mut actions = host.list("routes").into_iter().filter_map(|route| route.get("route"));
    actions.any(|action| targets(&action).contains(&cluster))
}

/// How well a domain fits: exact before suffix before prefix wildcards before `*`, and of
/// two of a kind the longer.
fn fit(domain: &str, authority: &str) -> Option<(u8, usize)> {
    let domain = domain.to_ascii_lowercase();
    if domain == authority {
        return Some((3, domain.len()));
    }
    let longer = authority.len() >= domain.len();
    match (domain.strip_prefix('*'), domain.strip_suffix('*')) {
        (Some(""), _) => Some((0, 0)),
        (Some(suffix), _) => (longer && authority.ends_with(suffix)).then_some((2, domain.len())),
        (None, Some(prefix)) => {
            (longer && authority.starts_with(prefix)).then_some((1, domain.len()))
        }
        (None, None) => None,
    }
}
