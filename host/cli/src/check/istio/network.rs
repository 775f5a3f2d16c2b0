//! Routes and destinations: a credentialed request goes to one place, once, over TLS.

use std::collections::BTreeMap;

use serde_json::Value;

use super::super::modules::Instance;
use super::super::report::Report;
use super::super::yaml::At;
use super::{Resource, Service};

/// What is known of a host that the modules speak to.
struct Host {
    /// The name in its certificate.
    tls_name: Option<String>,
    /// Whether it is the key service.
    is_key_service: bool,
}

/// The hosts of a file's plugins; none when it has no plugins, and then every host counts.
struct Hosts(Option<BTreeMap<String, Host>>);

impl Hosts {
    fn of(plugins: &[Instance<'_>]) -> Self {
        let mut hosts = BTreeMap::new();
        for plugin in plugins {
            for (name, upstream) in plugin.upstreams() {
                let tls_name = upstream.get("tls_name").and_then(Value::as_str).map(str::to_owned);
                if let Some(service) = Service::of_cluster(&name) {
                    let host = Host { tls_name, is_key_service: false };
                    hosts.insert(service.host.to_owned(), host);
                }
            }
            let key_service = plugin.text(&["key_service", "cluster"]);
            if let Some(service) = key_service.and_then(Service::of_cluster) {
                let authority = plugin.text(&["key_service", "authority"]);
                let name = authority.and_then(|text| text.split(':').next()).map(str::to_owned);
                let host = Host { tls_name: name, is_key_service: true };
                hosts.insert(service.host.to_owned(), host);
            }
        }
        Self((!plugins.is_empty()).then_some(hosts))
    }

    fn concerns(&self, host: &str) -> bool {
        self.0.as_ref().is_none_or(|hosts| hosts.contains_key(host))
    }

    fn get(&self, host: &str) -> Option<&Host> {
        self.0.as_ref()?.get(host)
    }
}

/// The rules over VirtualServices and DestinationRules.
pub fn check(resources: &[Resource<'_>], plugins: &[Instance<'_>], report: &mut Report) {
    let hosts = Hosts::of(plugins);
    check_rules(resources, plugins, report);
    for resource in resources {
        match resource.kind {
            "VirtualService" => {
                let routes = resource.spec.list("http").into_iter();
                let leads =
                    |route: &At<'_>| destinations(route).iter().any(|host| hosts.concerns(host));
                routes.filter(leads).for_each(|route| check_route(&route, report));
            }
            "DestinationRule" => {
                let host = resource.spec.text_of("host").unwrap_or_default();
                if hosts.concerns(host) {
                    check_destination(&resource.spec, hosts.get(host), report);
                }
            }
            _ => {}
        }
    }
}

/// Where destinations are described here, each host that is spoken to needs a rule with TLS.
fn check_rules(resources: &[Resource<'_>], plugins: &[Instance<'_>], report: &mut Report) {
    let rules: Vec<&Resource<'_>> =
        resources.iter().filter(|one| one.kind == "DestinationRule").collect();
    if rules.is_empty() {
        return;
    }
    let has = |host: &str| rules.iter().any(|rule| rule.spec.text_of("host") == Some(host));
    for plugin in plugins {
        for (name, _) in plugin.upstreams() {
            let service = Service::of_cluster(&name);
            if service.is_some_and(|service| !has(service.host)) {
                let place = plugin.place(&format!("upstreams.{name}"));
                report.error(&place, format!("expected a DestinationRule with TLS for {name}"));
            }
        }
    }
}

fn destinations<'a>(route: &At<'a>) -> Vec<&'a str> {
    let host = |one: &At<'a>| one.at(&["destination", "host"]).and_then(|at| at.text());
    route.list("route").iter().filter_map(host).collect()
}

fn check_route(route: &At<'_>, report: &mut Report) {
    let attempts = route.at(&["retries", "attempts"]).and_then(|at| at.number());
    if attempts != Some(0) {
        report.missing(
            route,
            "retries.attempts",
            "expected 0: Istio sends a request up to three times where nothing is said, and a \
             credentialed one is sent once",
        );
    }
    for key in ["mirror", "mirrors"] {
        if let Some(at) = route.get(key) {
            report.error(&at, "expected no mirrors where a credential is injected");
        }
    }
    let secret = |name: &str| ["authorization", "cookie"].contains(&name.to_lowercase().as_str());
    for operation in ["set", "add"] {
        let fields = route.at(&["headers", "request", operation]);
        for (name, at) in fields.iter().flat_map(|at| at.entries()) {
            if secret(name) {
                report.error(&at, "a credential in a resource is no secret; expected a binding");
            }
        }
    }
}

fn check_destination(rule: &At<'_>, host: Option<&Host>, report: &mut Report) {
    match rule.at(&["trafficPolicy", "tls"]) {
        Some(tls) => check_tls(&tls, host, report),
        None => {
            let text = "missing: credentials would leave in plain HTTP";
            report.missing(rule, "trafficPolicy.tls", text);
        }
    }
    // What stands here holds instead, for a port or a subset.
    let policies = rule.list("subsets").into_iter().filter_map(|one| one.get("trafficPolicy"));
    for policy in policies.chain(rule.get("trafficPolicy")) {
        let ports = policy.list("portLevelSettings").into_iter().filter_map(|one| one.get("tls"));
        let subset = policy.get("tls").filter(|at| !at.path.ends_with(".spec.trafficPolicy.tls"));
        ports.chain(subset).for_each(|tls| check_tls(&tls, host, report));
    }
    let bound = rule.at(&["trafficPolicy", "connectionPool", "http", "http2MaxRequests"]);
    if host.is_some_and(|host| host.is_key_service) && bound.is_none() {
        report.missing(
            rule,
            "trafficPolicy.connectionPool.http.http2MaxRequests",
            "missing: callers that go away leave their look-ups running",
        );
    }
}

fn check_tls(tls: &At<'_>, host: Option<&Host>, report: &mut Report) {
    if !matches!(tls.text_of("mode"), Some("SIMPLE" | "MUTUAL" | "ISTIO_MUTUAL")) {
        report.missing(tls, "mode", "expected SIMPLE, MUTUAL or ISTIO_MUTUAL");
    }
    if let Some(at) = tls.get("insecureSkipVerify").filter(|at| at.is_true()) {
        report.error(&at, "expected none: any certificate would do");
    }
    check_names(tls, host.and_then(|host| host.tls_name.as_deref()), report);
}

/// Verified, to the name that the modules' configuration gives.
fn check_names(tls: &At<'_>, name: Option<&str>, report: &mut Report) {
    if tls.text_of("mode") == Some("ISTIO_MUTUAL") {
        return;
    }
    if tls.get("caCertificates").is_none() && tls.get("credentialName").is_none() {
        let text = "missing: without it a certificate may be accepted from anybody";
        report.missing(tls, "caCertificates", text);
    }
    let listed = tls.list("subjectAltNames");
    let fits = |at: &At<'_>| name.is_none_or(|name| at.text() == Some(name));
    if listed.is_empty() || !listed.iter().all(fits) {
        let name = name.unwrap_or("the upstream's name");
        report.missing(
            tls,
            "subjectAltNames",
            format!("expected {name}: a certificate for another name must not do"),
        );
    }
}
