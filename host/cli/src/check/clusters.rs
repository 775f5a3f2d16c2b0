//! Rules for the clusters that credentials go to and for the key service's cluster.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Allowed;
use super::bootstrap::{Bootstrap, Cluster, protocol_options};
use super::listeners::{check_tls_version, is_loopback};
use super::modules::{Instance, Module};
use super::report::Report;
use super::routes::check_keys;
use super::yaml::At;

/// The rules over clusters.
pub fn check(bootstrap: &Bootstrap<'_>, allowed: Allowed, report: &mut Report) {
    let mut seen = BTreeSet::new();
    for plugin in &bootstrap.plugins {
        for (name, upstream) in plugin.upstreams() {
            match bootstrap.cluster(&name) {
                None => report.error(
                    &plugin.place(&format!("upstreams.{name}")),
                    format!("no cluster is called {name:?}"),
                ),
                Some(cluster) if seen.insert(name.clone()) => {
                    check_credentialed(cluster, &upstream, allowed, report);
                }
                Some(_) => {}
            }
        }
        check_key_service(bootstrap, plugin, &mut seen, report);
        check_issuers(bootstrap, plugin, &mut seen, report);
        check_bundles(bootstrap, plugin, &mut seen, report);
    }
}

fn check_credentialed(
    cluster: &Cluster<'_>,
    upstream: &Value,
    allowed: Allowed,
    report: &mut Report,
) {
    check_filters(cluster, upstream, report);
    check_keys(&cluster.at, report);
    if let Some(options) = protocol_options(&cluster.at) {
        check_keys(&options, report);
    }
    let tls_name = upstream.get("tls_name").and_then(Value::as_str);
    match tls_context(&cluster.at) {
        Some(tls) => check_tls(&tls, tls_name, report),
        None if allowed.plain_upstream && on_loopback(&cluster.at) => {
            report.note(&cluster.at, "credentials go to this cluster in plain HTTP, on loopback only");
        }
        None => report.missing(
            &cluster.at,
            "transport_socket",
            "credentials would leave in plain HTTP: expected TLS (on loopback: --allow-plain-upstream)",
        ),
    }
}

/// The credential module is the last filter before the codec, so that no other sees the value.
pub fn check_filters(cluster: &Cluster<'_>, upstream: &Value, report: &mut Report) {
    let is_credential = |(_, instance): &(At<'_>, Option<Instance<'_>>)| {
        instance.as_ref().is_some_and(|i| i.module == Some(Module::Credential))
    };
    let Some(position) = cluster.filters.iter().position(is_credential) else {
        let path = "typed_extension_protocol_options.HttpProtocolOptions.http_filters";
        let text = format!(
            "{:?} stands in upstreams: expected the credential module here, \
                            followed by upstream_codec",
            cluster.name
        );
        return report.missing(&cluster.at, path, text);
    };
    let after: Vec<_> = cluster.filters.iter().skip(position + 1).collect();
    let codec = |entry: &At<'_>| entry.text_of("name") == Some("envoy.filters.http.upstream_codec");
    for (entry, _) in after.iter().filter(|(entry, _)| !codec(entry)) {
        report.error(entry, "stands after the credential module and could read what it injects");
    }
    let (entry, instance) = &cluster.filters[position];
    if let (Some(instance), Some(authority)) = (instance, upstream.get("authority")) {
        check_head_waits(instance, authority.as_str().unwrap_or_default(), report);
    }
    if !after.iter().any(|(entry, _)| codec(entry)) {
        report.error(entry, "expected envoy.filters.http.upstream_codec after this filter");
    }
}

/// A token endpoint's answer is read before its head leaves; any other upstream does without,
/// since uploads would be buffered while a value is asked for.
fn check_head_waits(instance: &Instance<'_>, authority: &str, report: &mut Report) {
    let key = "allow_on_headers_stop_iteration";
    let on = instance.plugin.get(key).is_some_and(|at| at.is_true());
    match (instance.mints_at(authority), on) {
        (true, false) => report.missing(
            &instance.plugin,
            key,
            format!("expected true: answers of {authority} mint, and their head has to wait"),
        ),
        (false, true) => report.missing(
            &instance.plugin,
            key,
            format!("expected false: nothing of {authority} mints, and it would buffer uploads"),
        ),
        _ => {}
    }
}

fn check_key_service(
    bootstrap: &Bootstrap<'_>,
    plugin: &Instance<'_>,
    seen: &mut BTreeSet<String>,
    report: &mut Report,
) {
    let Some(name) = plugin.text(&["key_service", "cluster"]) else { return };
    let authority = plugin.text(&["key_service", "authority"]).unwrap_or("");
    let place = plugin.place("key_service.cluster");
    let asked = Asked { name, authority, what: "the key service", place };
    asked.check(bootstrap, seen, true, report);
}

/// What issuers say of tokens and of their keys is believed because of the connection alone.
fn check_issuers(
    bootstrap: &Bootstrap<'_>,
    plugin: &Instance<'_>,
    seen: &mut BTreeSet<String>,
    report: &mut Report,
) {
    for (index, one) in plugin.list("authenticators").iter().enumerate() {
        let places = [
            ("introspected.endpoint", "/introspected/endpoint", true),
            ("jwt.jwks.from", "/jwt/jwks/from", false),
        ];
        for (path, pointer, bounded) in places {
            let Some(endpoint) = one.pointer(pointer) else { continue };
            let text = |key: &str| endpoint.get(key).and_then(Value::as_str).unwrap_or_default();
            let place = plugin.place(&format!("authenticators[{index}].{path}.cluster"));
            let (name, authority) = (text("cluster"), text("authority"));
            let asked = Asked { name, authority, what: "the issuer", place };
            asked.check(bootstrap, seen, bounded, report);
        }
    }
}

/// Bundles are signed; whoever else reads them learns what the policy is.
fn check_bundles(
    bootstrap: &Bootstrap<'_>,
    plugin: &Instance<'_>,
    seen: &mut BTreeSet<String>,
    report: &mut Report,
) {
    let from = ["policy", "rego", "bundle", "poll", "from"];
    let text = |key| plugin.text(&[from.as_slice(), &[key]].concat());
    let Some(name) = text("cluster") else { return };
    let authority = text("authority").unwrap_or_default();
    let place = plugin.place("policy.rego.bundle.poll.from.cluster");
    let asked = Asked { name, authority, what: "the server of bundles", place };
    asked.check(bootstrap, seen, false, report);
}

/// Somebody whom a module asks.
struct Asked<'a> {
    name: &'a str,
    authority: &'a str,
    what: &'a str,
    place: At<'a>,
}

impl Asked<'_> {
    /// Once for each cluster; `bounded` where callers make the questions.
    fn check(
        &self,
        bootstrap: &Bootstrap<'_>,
        seen: &mut BTreeSet<String>,
        bounded: bool,
        report: &mut Report,
    ) {
        let name = self.name;
        let Some(cluster) = bootstrap.cluster(name) else {
            return report.error(&self.place, format!("no cluster is called {name:?}"));
        };
        if !seen.insert(format!("{} {name}", self.what)) {
            return;
        }
        check_keys(&cluster.at, report);
        if let Some(options) = protocol_options(&cluster.at) {
            check_keys(&options, report);
        }
        let host = self.authority.rsplit_once(':').map_or(self.authority, |(host, _)| host);
        match tls_context(&cluster.at) {
            Some(tls) => check_tls(&tls, Some(host).filter(|host| !host.is_empty()), report),
            None => {
                let text = format!("expected TLS to {}", self.what);
                report.missing(&cluster.at, "transport_socket", text);
            }
        }
        if bounded {
            check_breaker(cluster, report);
        }
    }
}

/// Look-ups are not cancelled when their caller goes away: only this bounds them.
fn check_breaker(cluster: &Cluster<'_>, report: &mut Report) {
    let thresholds = cluster.at.get("circuit_breakers").map(|at| at.list("thresholds"));
    let bounded = |at: &At<'_>| at.get("max_requests").is_some();
    if !thresholds.unwrap_or_default().iter().any(bounded) {
        let text = "missing: callers that go away leave their look-ups running";
        report.missing(&cluster.at, "circuit_breakers.thresholds[0].max_requests", text);
    }
}

fn tls_context<'a>(cluster: &At<'a>) -> Option<At<'a>> {
    let config = cluster.at(&["transport_socket", "typed_config"])?;
    config.text_of("@type")?.ends_with(".UpstreamTlsContext").then_some(config)
}

/// Verified, to the name the configuration gives.
fn check_tls(tls: &At<'_>, name: Option<&str>, report: &mut Report) {
    check_tls_version(tls, report);
    check_reachable(tls, report);
    check_own_certificate(tls, report);
    let context = tls.at(&["common_tls_context", "validation_context"]);
    let context = context.or_else(|| {
        tls.at(&["common_tls_context", "combined_validation_context", "default_validation_context"])
    });
    let path = "common_tls_context.validation_context";
    let Some(context) = context else {
        return report.missing(tls, path, "missing: without it any certificate is accepted");
    };
    if context.get("trusted_ca").is_none() && context.get("system_root_certs").is_none() {
        report.missing(&context, "trusted_ca", "missing: without it any certificate is accepted");
    }
    if context.get("trust_chain_verification").and_then(|at| at.text()) == Some("ACCEPT_UNTRUSTED")
    {
        report.missing(&context, "trust_chain_verification", "expected VERIFY_TRUST_CHAIN");
    }
    let Some(name) = name else {
        return report.error(tls, "TLS without a name to verify: expected tls_name in upstreams");
    };
    if tls.text_of("sni") != Some(name) {
        report.missing(tls, "sni", format!("expected {name:?}"));
    }
    let matchers = context.list("match_typed_subject_alt_names");
    let exact = |at: &At<'_>| at.at(&["matcher", "exact"]).and_then(|at| at.text()) == Some(name);
    if matchers.is_empty() || !matchers.iter().all(exact) {
        let text = format!(
            "expected one exact match of {name:?}: a certificate for another name \
                            must not do"
        );
        report.missing(&context, "match_typed_subject_alt_names", text);
    }
}

/// What is shown to whoever asks for a client certificate: one pair, in files.
fn check_own_certificate(tls: &At<'_>, report: &mut Report) {
    let Some(list) = tls.at(&["common_tls_context", "tls_certificates"]) else { return };
    let pairs = list.items();
    let [pair] = pairs.as_slice() else {
        return report.error(&list, "expected one certificate with its key, or none");
    };
    for (key, why) in [
        ("certificate_chain", "expected filename"),
        ("private_key", "expected filename: a key written here is in every copy of this file"),
    ] {
        if pair.at(&[key, "filename"]).is_none() {
            report.missing(pair, key, why);
        }
    }
}

/// To upstreams Envoy speaks at most TLS 1.2 unless told: a minimum above that never connects.
fn check_reachable(tls: &At<'_>, report: &mut Report) {
    let Some(params) = tls.at(&["common_tls_context", "tls_params"]) else { return };
    let version = |key| params.text_of(key).unwrap_or("TLS_AUTO");
    let newest = version("tls_maximum_protocol_version") == "TLSv1_3";
    if version("tls_minimum_protocol_version") == "TLSv1_3" && !newest {
        let text = "expected TLSv1_3: as a client Envoy goes no higher than TLS 1.2 by itself, so \
                    it would never connect";
        report.missing(&params, "tls_maximum_protocol_version", text);
    }
}

fn on_loopback(cluster: &At<'_>) -> bool {
    let groups = cluster.get("load_assignment").map(|at| at.list("endpoints")).unwrap_or_default();
    let endpoints: Vec<At<'_>> =
        groups.iter().flat_map(|group| group.list("lb_endpoints")).collect();
    let local = |at: &At<'_>| at.at(&["endpoint", "address"]).is_some_and(|at| is_loopback(&at));
    !endpoints.is_empty() && endpoints.iter().all(local)
}
