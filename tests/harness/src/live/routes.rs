//! What leaves must be what was checked.

use anyhow::Result;
use postern_rig::upstream::Upstream;
use serde_json::json;

use super::{Caller, Seen, code, expect};
use crate::gateway::{Gateway, Site};

/// A credential goes over TLS to the name it is bound to.
pub fn over_tls(site: &Site, seen: &mut Seen) -> Result<Vec<String>> {
    let upstream = Upstream::start(Some(site.authority.server("slack.com")?))?;
    let mut config = site.config(None)?;
    config.cluster_at("slack", upstream.port())?;
    config.cluster_trusts("slack", &site.ca, "slack.com")?;
    // The base's route, through the cluster that has TLS.
    let table = json!({"slack": {"authority": "api.test", "tls_name": "slack.com"}});
    for module in ["gate", "credential"] {
        config.module(module, |document| {
            postern_rig::gateway::merge(&mut document["upstreams"], &json!({"api": null}));
            postern_rig::gateway::merge(&mut document["upstreams"], &table);
        });
    }
    config.route("ingress", "api.test", "slack", "api.test")?;
    let gateway = Gateway::with(site, &config)?;
    let caller = Caller::new(site, "tls")?;
    let answer = gateway.ask(&caller.request(site, "api.test", "/api/a", Some("slack")))?;
    let mut lines = Vec::new();
    expect(&mut lines, "status", 200, answer.status());
    let got = upstream.take();
    let field = got.first().and_then(|request| request.text("authorization"));
    expect(&mut lines, "field", Some(format!("Bearer {}", caller.secret(site, "slack"))), field);
    // The same cluster when the certificate is for another name.
    let stranger = Upstream::start(Some(site.authority.server("evil.example")?))?;
    config.cluster_at("slack", stranger.port())?;
    seen.keep(site, gateway)?;
    let gateway = Gateway::with(site, &config)?;
    let answer = gateway.ask(&caller.request(site, "api.test", "/api/a", Some("slack")))?;
    expect(&mut lines, "status for another name", 503, answer.status());
    expect(&mut lines, "requests to another name", 0, stranger.take().len());
    seen.keep(site, gateway)?;
    Ok(lines)
}

/// A route that matches on the field we inject is not taken: the cluster is chosen before.
pub fn injected_field(site: &Site, seen: &mut Seen) -> Result<Vec<String>> {
    let mut config = site.config(None)?;
    let hcm = &mut config.listener("ingress")?["filter_chains"][0]["filters"][0]["typed_config"];
    for host in hcm["route_config"]["virtual_hosts"].as_array_mut().into_iter().flatten() {
        if host["name"] == "api.test" {
            let mut trap = host["routes"][0].clone();
            trap["match"]["headers"] =
                json!([{"name": "x-api-key", "string_match": {"contains": "maps-"}}]);
            trap["route"]["cluster"] = json!("other");
            if let Some(routes) = host["routes"].as_array_mut() {
                routes.insert(0, trap);
            }
        }
    }
    let gateway = Gateway::with(site, &config)?;
    let caller = Caller::new(site, "injected_field")?;
    let answer = gateway.ask(&caller.request(site, "api.test", "/api/a", Some("maps")))?;
    let mut lines = Vec::new();
    expect(&mut lines, "status", 200, answer.status());
    expect(
        &mut lines,
        "requests at api",
        Some(1),
        site.upstreams.get("api").map(|u| u.take().len()),
    );
    expect(
        &mut lines,
        "requests at other",
        Some(0),
        site.upstreams.get("other").map(|u| u.take().len()),
    );
    seen.keep(site, gateway)?;
    Ok(lines)
}

/// A path that the route changes behind the gate is checked as it leaves.
pub fn rewritten_path(site: &Site, seen: &mut Seen) -> Result<Vec<String>> {
    rewritten(site, seen, "path", &json!({"prefix_rewrite": "/admin"}))
}

/// An authority that the route changes behind the gate is checked as it leaves.
pub fn rewritten_authority(site: &Site, seen: &mut Seen) -> Result<Vec<String>> {
    rewritten(site, seen, "authority", &json!({"host_rewrite_literal": "evil.example"}))
}

fn rewritten(
    site: &Site,
    seen: &mut Seen,
    what: &str,
    over: &serde_json::Value,
) -> Result<Vec<String>> {
    let mut config = site.config(None)?;
    let hcm = &mut config.listener("ingress")?["filter_chains"][0]["filters"][0]["typed_config"];
    for host in hcm["route_config"]["virtual_hosts"].as_array_mut().into_iter().flatten() {
        if host["name"] == "api.test" {
            postern_rig::gateway::merge(&mut host["routes"][0]["route"], over);
        }
    }
    let gateway = Gateway::with(site, &config)?;
    let caller = Caller::new(site, &format!("rewritten_{what}"))?;
    let answer = gateway.ask(&caller.request(site, "api.test", "/api/a", Some("slack")))?;
    let mut lines = Vec::new();
    expect(&mut lines, "status", 403, answer.status());
    expect(&mut lines, "requests forwarded", 0, site.take_forwarded().len());
    seen.keep(site, gateway)?;
    Ok(lines)
}

/// Without the gate there is no permit, and without a permit nothing is forwarded.
pub fn without_gate(site: &Site, seen: &mut Seen) -> Result<Vec<String>> {
    let mut config = site.config(None)?;
    let hcm = &mut config.listener("ingress")?["filter_chains"][0]["filters"][0]["typed_config"];
    if let Some(filters) = hcm["http_filters"].as_array_mut() {
        filters.retain(|filter| filter["name"] != "postern.gate");
    }
    let gateway = Gateway::with(site, &config)?;
    let caller = Caller::new(site, "without_gate")?;
    let mut lines = Vec::new();
    for credential in [None, Some("slack")] {
        let answer = gateway.ask(&caller.request(site, "api.test", "/api/a", credential))?;
        expect(&mut lines, "status", 403, answer.status());
        expect(&mut lines, "code", "policy_denied".to_owned(), code(&answer));
    }
    expect(&mut lines, "requests forwarded", 0, site.take_forwarded().len());
    seen.keep(site, gateway)?;
    Ok(lines)
}
