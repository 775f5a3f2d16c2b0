//! What a gateway's file says to a person who starts it.

use postern_runtime::config::{Filter, Gateway, Output, Plugin, VirtualHost};
use serde_json::Value;

use super::Variables;

/// Read before the gateway takes the file.
pub struct Facts {
    /// Names of variables that modules want and nobody has set.
    pub unset: Vec<String>,
    /// Names of modules that accept simulated evidence.
    pub simulated: Vec<String>,
    /// A request to try at the first listener.
    example: Option<Example>,
}

/// What a request needs to get through.
struct Example {
    host: String,
    path: String,
    fields: Vec<String>,
}

impl Facts {
    /// What `gateway` says.
    pub fn of(gateway: &Gateway, variables: &Variables) -> Self {
        let plugins = plugins(gateway);
        let wanted = plugins.iter().flat_map(|plugin| &plugin.environment);
        let mut unset: Vec<String> =
            wanted.filter(|name| variables.value(name).is_none()).cloned().collect();
        let accepts = |plugin: &&Plugin| !settings(plugin)["danger_allow_simulated"].is_null();
        let simulated = plugins.iter().filter(|plugin| accepts(plugin));
        let mut simulated: Vec<String> = simulated.map(|plugin| plugin.name.clone()).collect();
        for names in [&mut unset, &mut simulated] {
            names.sort();
            names.dedup();
        }
        Self { unset, simulated, example: Example::of(gateway) }
    }

    /// A command to try, once it is known where the first listener is.
    pub fn curl(&self, url: &str) -> Option<String> {
        let Example { host, path, fields } = self.example.as_ref()?;
        let fields = fields.iter().map(|field| format!(" -H '{field}'")).collect::<String>();
        Some(format!("curl -i -H 'Host: {host}'{fields} {url}{path}"))
    }
}

impl Example {
    /// For a host that a credential is bound to, else for any.
    fn of(gateway: &Gateway) -> Option<Self> {
        let http = &gateway.listeners.first()?.http;
        let gates = http.filters.iter().filter_map(|filter| filter.plugin().map(settings));
        let gate = gates.into_iter().find(|gate| gate.get("authenticators").is_some());
        let gate = gate.unwrap_or(Value::Null);
        let bindings = gate["bindings"].as_array().cloned().unwrap_or_default();
        let hosts: Vec<&str> = http.routes.hosts.iter().filter_map(plain_domain).collect();
        let bound = hosts.iter().find_map(|host| {
            let binding = bindings.iter().find(|binding| binding["authority"] == **host)?;
            Some((*host, binding))
        });
        let mut fields: Vec<String> = api_key(&gate).into_iter().collect();
        let Some((host, binding)) = bound else {
            let host = (*hosts.first()?).to_owned();
            return Some(Self { host, path: "/".to_owned(), fields });
        };
        let credential = binding["credential"].as_str().unwrap_or_default();
        fields.push(format!("X-TAP-Credential: {credential}"));
        let path = binding["paths"][0].as_str().unwrap_or("/").trim_end_matches("**").to_owned();
        Some(Self { host: host.to_owned(), path, fields })
    }
}

/// A domain without a wildcard.
fn plain_domain(host: &VirtualHost) -> Option<&str> {
    host.domains.iter().map(String::as_str).find(|domain| !domain.contains('*'))
}

/// The field of the first API key that the gate takes.
fn api_key(gate: &Value) -> Option<String> {
    let kinds = gate["authenticators"].as_array()?;
    let key = kinds.iter().find_map(|kind| kind.get("api_key"))?;
    let header = key["header"].as_str().unwrap_or("authorization");
    let prefix = key["prefixes"][0].as_str().unwrap_or("pk_");
    let bearer = if header.eq_ignore_ascii_case("authorization") { "Bearer " } else { "" };
    Some(format!("{header}: {bearer}{prefix}…"))
}

/// A module's configuration; null where it is not JSON.
fn settings(plugin: &Plugin) -> Value {
    serde_json::from_slice(&plugin.configuration).unwrap_or(Value::Null)
}

/// Every module's configuration, wherever it stands.
fn plugins(gateway: &Gateway) -> Vec<&Plugin> {
    let listeners = gateway.listeners.iter().map(|listener| &listener.http);
    let in_listeners = listeners.flat_map(|http| {
        let loggers = http.access_log.iter().filter_map(|log| match &log.output {
            Output::Plugin(plugin) => Some(plugin),
            Output::Stdout(_) => None,
        });
        http.filters.iter().filter_map(Filter::plugin).chain(loggers)
    });
    let clusters = gateway.clusters.values().flat_map(|cluster| &cluster.filters);
    in_listeners.chain(clusters.filter_map(Filter::plugin)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shipped(change: &dyn Fn(&str) -> String) -> Facts {
        let text = change(crate::init::SHIPPED);
        Facts::of(&Gateway::parse(&text).unwrap(), &Variables::default())
    }

    #[test]
    fn the_shipped_file_says_what_to_try_and_what_to_beware_of() {
        let facts = shipped(&str::to_owned);
        assert_eq!(facts.simulated, ["audit", "credential", "gate"]);
        assert!(facts.unset.iter().any(|name| name == "POSTERN_PERMIT_KEY"), "{:?}", facts.unset);
        assert_eq!(
            facts.curl("http://127.0.0.1:10000").unwrap(),
            "curl -i -H 'Host: slack.com' -H 'authorization: Bearer pk_…' \
             -H 'X-TAP-Credential: slack' http://127.0.0.1:10000/api/"
        );
    }

    #[test]
    fn without_a_binding_there_is_no_credential_to_try() {
        let facts = shipped(&|text| text.replace("domains: [slack.com]", "domains: ['*.test']"));
        assert_eq!(
            facts.curl("https://[::1]:1").unwrap(),
            "curl -i -H 'Host: local.test' -H 'authorization: Bearer pk_…' https://[::1]:1/"
        );
    }
}
