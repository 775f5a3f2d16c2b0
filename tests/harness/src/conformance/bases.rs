//! The configuration that both gateways get, made from a short description.
//!
//! Invariant: the two documents are equal but for ports and for bases that our gateway does not
//! take yet, which are marked so.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use postern_rig::gateway::{self, Config};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::gateway::plugins;

/// Listeners and clusters.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bases {
    bases: BTreeMap<String, Base>,
    clusters: BTreeMap<String, Cluster>,
}

/// One listener.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Base {
    /// In the order of the chain.
    filters: Vec<Plugin>,
    #[serde(default)]
    loggers: Vec<Plugin>,
    /// Where every request goes, when there are no `hosts`.
    #[serde(default = "direct")]
    cluster: String,
    /// Virtual hosts as they stand.
    #[serde(default)]
    hosts: Value,
    /// Bytes of a message that are held at most.
    #[serde(default)]
    buffer: Option<u32>,
    /// Put over the connection manager.
    #[serde(default)]
    http: Value,
}

/// A filter of a chain: a plugin, if nothing else is said.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Plugin {
    name: String,
    /// The typed configuration of a filter that is no plugin.
    #[serde(default)]
    native: Value,
    /// File below `target/plugins/conformance`, without its ending.
    #[serde(default = "probe")]
    module: String,
    /// The base's name, when there is none: each base has machines of its own.
    vm: Option<String>,
    #[serde(default)]
    root: String,
    #[serde(default = "reload")]
    policy: String,
    /// `allow_on_headers_stop_iteration`.
    #[serde(default)]
    stop: bool,
    /// What roots and streams without a script of their own do.
    #[serde(default)]
    script: String,
    /// Put over `vm_config`.
    #[serde(default)]
    machine: Value,
}

/// A cluster.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cluster {
    to: Place,
    #[serde(default)]
    filters: Vec<Plugin>,
    /// Put over the cluster.
    #[serde(default)]
    over: Value,
}

/// Who is behind a cluster.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Place {
    /// The upstream that scenarios script.
    Upstream,
    /// Who answers call-outs by their path.
    Calls,
    /// nginx.
    Nginx,
    /// A gRPC service.
    Grpc,
    /// Nobody listens.
    Nobody,
}

/// Ports of the parts round the gateway.
#[derive(Clone, Copy)]
pub struct Ports {
    /// The upstream.
    pub upstream: u16,
    /// Who answers call-outs.
    pub calls: u16,
    /// nginx.
    pub nginx: u16,
    /// The gRPC service.
    pub grpc: u16,
}

fn direct() -> String {
    "direct".to_owned()
}

fn probe() -> String {
    "probe".to_owned()
}

fn reload() -> String {
    "FAIL_RELOAD".to_owned()
}

const TYPES: &str = "type.googleapis.com/";
const OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

fn typed(name: &str) -> String {
    format!("{TYPES}{name}")
}

impl Bases {
    /// Reads the description.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        serde_saphyr::from_str(&text).with_context(|| path.display().to_string())
    }

    /// The document for a gateway.
    pub fn config(&self, ports: Ports) -> Result<Config> {
        let listeners: Vec<Value> =
            self.bases.iter().map(|(name, base)| base.listener(name)).collect();
        let clusters = self.clusters.iter().map(|(name, cluster)| cluster.document(name, ports));
        let document = json!({
            "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}},
            "static_resources": {"listeners": listeners, "clusters": clusters.collect::<Vec<_>>()},
        });
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("bases.json");
        postern_files::write_atomic(&path, document.to_string().as_bytes())?;
        Ok(Config::read(&path)?)
    }

    /// The listeners.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.bases.keys().map(String::as_str)
    }
}

impl Base {
    fn listener(&self, name: &str) -> Value {
        let manager = "envoy.extensions.filters.network.http_connection_manager.v3";
        let mut http = json!({
            "@type": typed(&format!("{manager}.HttpConnectionManager")),
            "stat_prefix": name,
            "use_remote_address": true,
            "http_protocol_options": {"enable_trailers": true},
            "access_log": self.loggers.iter().map(|it| it.logger(name)).collect::<Vec<_>>(),
            "http_filters": chain(&self.filters, name, "router.v3.Router"),
            "route_config": {"name": name, "virtual_hosts": self.virtual_hosts()},
        });
        gateway::merge(&mut http, &object(&self.http));
        let mut listener = json!({
            "name": name,
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
            "filter_chains": [{"filters": [
                {"name": "envoy.filters.network.http_connection_manager", "typed_config": http},
            ]}],
        });
        if let Some(buffer) = self.buffer {
            listener["per_connection_buffer_limit_bytes"] = json!(buffer);
        }
        listener
    }

    fn virtual_hosts(&self) -> Value {
        if !self.hosts.is_null() {
            return self.hosts.clone();
        }
        let route = json!({"cluster": self.cluster, "timeout": "5s"});
        json!([{"name": "all", "domains": ["*"], "routes": [
            {"name": "everything", "match": {"prefix": "/"}, "route": route},
        ]}])
    }
}

/// Plugins, then the filter that ends every chain.
fn chain(plugins: &[Plugin], base: &str, last: &str) -> Value {
    let wasm = typed("envoy.extensions.filters.http.wasm.v3.Wasm");
    let filters = plugins.iter().map(|plugin| {
        let config = match plugin.native.is_null() {
            true => json!({"@type": wasm, "config": plugin.config(base)}),
            false => plugin.native.clone(),
        };
        json!({"name": plugin.name, "typed_config": config})
    });
    let last = json!({"@type": typed(&format!("envoy.extensions.filters.http.{last}"))});
    filters.chain([json!({"name": "last", "typed_config": last})]).collect()
}

/// Nothing to merge is an empty object: null would put null over everything.
fn object(over: &Value) -> Value {
    if over.is_null() { json!({}) } else { over.clone() }
}

impl Plugin {
    fn logger(&self, base: &str) -> Value {
        let kind = typed("envoy.extensions.access_loggers.wasm.v3.WasmAccessLog");
        json!({"name": self.name, "typed_config": {"@type": kind, "config": self.config(base)}})
    }

    fn config(&self, base: &str) -> Value {
        let file = plugins().join("conformance").join(format!("{}.wasm", self.module));
        let mut machine = json!({
            "vm_id": self.vm.as_deref().unwrap_or(base),
            "runtime": "envoy.wasm.runtime.v8",
            "code": {"local": {"filename": file.display().to_string()}},
            "environment_variables": {"host_env_keys": ["PROBE_GIVEN", "PROBE_NOT_SET"]},
        });
        gateway::merge(&mut machine, &object(&self.machine));
        let text = json!({"@type": typed("google.protobuf.StringValue"), "value": self.script});
        let mut config = json!({
            "name": self.name,
            "root_id": self.root,
            "failure_policy": self.policy,
            "allow_on_headers_stop_iteration": self.stop,
            "vm_config": machine,
            "configuration": text,
        });
        if self.policy == "FAIL_RELOAD" {
            let times = json!({"base_interval": "0.05s", "max_interval": "0.05s"});
            config["reload_config"] = json!({"backoff": times});
        }
        config
    }
}

impl Cluster {
    fn document(&self, name: &str, ports: Ports) -> Value {
        let port = match self.to {
            Place::Upstream => ports.upstream,
            Place::Calls => ports.calls,
            Place::Nginx => ports.nginx,
            Place::Grpc => ports.grpc,
            // Below what the system gives away, so that nobody comes to listen there.
            Place::Nobody => 1,
        };
        let address = json!({"socket_address": {"address": "127.0.0.1", "port_value": port}});
        let mut options = json!({
            "@type": typed(OPTIONS),
            "explicit_http_config": {"http_protocol_options": {"enable_trailers": true}},
        });
        if !self.filters.is_empty() {
            options["http_filters"] = chain(&self.filters, name, "upstream_codec.v3.UpstreamCodec");
        }
        let mut cluster = json!({
            "name": name,
            "type": "STATIC",
            "connect_timeout": "1s",
            "load_assignment": {"cluster_name": name, "endpoints": [
                {"lb_endpoints": [{"endpoint": {"address": address}}]},
            ]},
            "typed_extension_protocol_options": {OPTIONS: options},
        });
        gateway::merge(&mut cluster, &object(&self.over));
        cluster
    }
}
