//! The `envoy.yaml` of plugins that are named in code: one listener, one route, their
//! clusters. JSON is YAML, so that no text has to be escaped.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use super::plugin::{Plugin, span};

/// Where every request goes.
const UPSTREAM: &str = "upstream";

/// What stands in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listing {
    pub filters: Vec<Plugin>,
    pub upstream: Vec<Plugin>,
    pub loggers: Vec<Plugin>,
    pub clusters: BTreeSet<String>,
    pub route_timeout: Duration,
    pub idle_timeout: Duration,
    pub request_timeout: Duration,
    pub buffer: usize,
}

impl Default for Listing {
    /// Envoy's defaults.
    fn default() -> Self {
        Self {
            filters: Vec::new(),
            upstream: Vec::new(),
            loggers: Vec::new(),
            clusters: BTreeSet::new(),
            route_timeout: Duration::from_secs(15),
            idle_timeout: Duration::from_secs(300),
            request_timeout: Duration::ZERO,
            buffer: 1 << 20,
        }
    }
}

impl Listing {
    /// Every plugin, wherever it stands.
    pub fn plugins(&self) -> impl Iterator<Item = &Plugin> {
        self.filters.iter().chain(&self.upstream).chain(&self.loggers)
    }

    /// The whole file.
    pub fn document(&self) -> Value {
        let others = self.clusters.iter().filter(|name| *name != UPSTREAM);
        let others = others.map(|name| cluster(name));
        let clusters: Vec<Value> = std::iter::once(self.first_cluster()).chain(others).collect();
        json!({"static_resources": {
            "listeners": [{
                "name": "lab",
                "address": address(0),
                "per_connection_buffer_limit_bytes": self.buffer,
                "filter_chains": [{"filters": [{
                    "name": "manager",
                    "typed_config": self.manager(),
                }]}],
            }],
            "clusters": clusters,
        }})
    }

    fn manager(&self) -> Value {
        let router = last("router", "filters.http.router.v3.Router");
        let filters: Vec<Value> =
            self.filters.iter().map(filter).chain(std::iter::once(router)).collect();
        let logger = "access_loggers.wasm.v3.WasmAccessLog";
        let loggers: Vec<Value> = self.loggers.iter().map(|it| entry(it, logger)).collect();
        json!({
            "@type": url("filters.network.http_connection_manager.v3.HttpConnectionManager"),
            "stat_prefix": "lab",
            "stream_idle_timeout": span(self.idle_timeout),
            "request_timeout": span(self.request_timeout),
            "access_log": loggers,
            "http_filters": filters,
            "route_config": {"name": "lab", "virtual_hosts": [{
                "name": "all",
                "domains": ["*"],
                "routes": [{"match": {"prefix": "/"}, "route": {
                    "cluster": UPSTREAM, "timeout": span(self.route_timeout),
                }}],
            }]},
        })
    }

    fn first_cluster(&self) -> Value {
        let mut first = cluster(UPSTREAM);
        first["per_connection_buffer_limit_bytes"] = json!(self.buffer);
        if !self.upstream.is_empty() {
            let codec = last("codec", "filters.http.upstream_codec.v3.UpstreamCodec");
            let filters: Vec<Value> =
                self.upstream.iter().map(filter).chain(std::iter::once(codec)).collect();
            first["typed_extension_protocol_options"] = json!({
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                    "@type": url("upstreams.http.v3.HttpProtocolOptions"),
                    "explicit_http_config": {"http_protocol_options": {}},
                    "http_filters": filters,
                },
            });
        }
        first
    }
}

fn url(kind: &str) -> String {
    format!("type.googleapis.com/envoy.extensions.{kind}")
}

fn filter(plugin: &Plugin) -> Value {
    entry(plugin, "filters.http.wasm.v3.Wasm")
}

fn entry(plugin: &Plugin, kind: &str) -> Value {
    json!({"name": plugin.name, "typed_config": {"@type": url(kind), "config": plugin.config()}})
}

fn last(name: &str, kind: &str) -> Value {
    json!({"name": name, "typed_config": {"@type": url(kind)}})
}

fn address(port: u16) -> Value {
    json!({"socket_address": {"address": "127.0.0.1", "port_value": port}})
}

fn cluster(name: &str) -> Value {
    json!({
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [
            {"endpoint": {"address": address(9)}},
        ]}]},
    })
}
