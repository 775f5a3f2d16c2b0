//! `postern check`: what is wrong with a configuration, all of it at once.
//!
//! Owns the lint rules over an `envoy.yaml` and a `spin.toml`, and the call of the modules' and the key
//! service's own parsers.
//! Knows no network and no file. Invariant: a rule only reads the document; what a module
//! would refuse is decided by the module's parser and nowhere else.

mod bootstrap;
mod clusters;
mod forward;
mod istio;
mod key_service;
mod listeners;
mod logs;
mod modules;
mod report;
mod routes;
mod running;
mod scopes;
mod spin;
#[cfg(test)]
mod tests;
mod upgrades;

pub use modules::Module;
use postern_files::yaml;
pub use report::{Report, Severity};
pub use running::Running;

use bootstrap::Bootstrap;
use yaml::{At, Node};

/// What the caller of the check has agreed to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Allowed {
    /// Evidence of kind `sim`.
    pub simulated: bool,
    /// Credentialed clusters without TLS, on loopback only.
    pub plain_upstream: bool,
}

/// One group of rules.
type Rule = fn(&Bootstrap<'_>, Allowed, &mut Report);

/// Every rule over an Envoy bootstrap, in the order of the report.
const RULES: &[Rule] = &[
    listeners::check,
    modules::check,
    routes::check,
    forward::check,
    upgrades::check,
    clusters::check,
    logs::check,
];

/// Checks one file: an Envoy bootstrap, the configuration of one module, or resources of
/// Kubernetes, which are looked at together.
pub fn check(text: &str, module: Option<Module>, allowed: Allowed) -> Report {
    let mut report = Report::default();
    match Node::parse_all(text).as_deref() {
        Err(error) => report.unreadable(error),
        Ok([]) => report.unreadable("there is nothing in it"),
        Ok(nodes) if istio::is_resource(nodes) => istio::check(nodes, allowed, &mut report),
        Ok([node]) => check_document(&At::root(node), module, allowed, &mut report),
        Ok([_, second, ..]) => report.error(
            &At::root(second),
            "expected one document, unless all are resources of Kubernetes (with apiVersion and kind)",
        ),
    }
    report.in_order()
}

/// Checks a spin.toml.
pub fn check_spin(text: &str, allowed: Allowed) -> Report {
    let mut report = Report::default();
    spin::check(text, allowed, &mut report);
    report
}

fn check_document(root: &At<'_>, module: Option<Module>, allowed: Allowed, report: &mut Report) {
    if let Some(module) = module {
        return modules::check_bare(module, root, allowed, report);
    }
    if key_service::is_one(root) {
        return key_service::check(root, allowed, report);
    }
    if root.get("static_resources").is_some() {
        let bootstrap = Bootstrap::read(root, report);
        return RULES.iter().for_each(|rule| rule(&bootstrap, allowed, report));
    }
    match Module::of_settings(root) {
        Some(module) => modules::check_bare(module, root, allowed, report),
        None => report.error(
            root,
            "expected an envoy.yaml (with static_resources), a keys.yaml or the configuration of a module \
             (say which with --module)",
        ),
    }
}
