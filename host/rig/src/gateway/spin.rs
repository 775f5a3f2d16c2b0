//! A spin.toml that does what an envoy.yaml does, for tests and the demo.
//!
//! The modules' documents stay as they are but for one thing: on Spin a cluster is its
//! authority. Where Envoy verifies a name that is not the authority (`sni`), the authority
//! becomes that name with the cluster's port; where the authority has to stay, since bindings
//! name it, the host is told to connect elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Map, Value};

use super::Config;
use super::config::walk;
use crate::RigError;

/// Which variable of the component is which of the modules' in Envoy.
const SECRETS: [(&str, &str); 4] = [
    ("POSTERN_GATE_KEY", "gate_key"),
    ("POSTERN_CREDENTIAL_KEY", "credential_key"),
    ("POSTERN_AUDIT_KEY", "audit_key"),
    ("POSTERN_INTROSPECTION_SECRET", "introspection_secret"),
];

/// A manifest and what has to be said beside it.
pub struct Application {
    /// The text of the spin.toml.
    pub manifest: String,
    /// Arguments of `postern gateway`.
    pub args: Vec<String>,
}

/// A cluster as Envoy connects to it.
#[derive(Clone, Default)]
struct Cluster {
    port: u16,
    /// Name that is verified; `None` without TLS.
    tls: Option<String>,
}

/// The environment of an Envoy, for the component's variables.
pub fn variables(environment: &[(String, String)]) -> Vec<(String, String)> {
    let named = |name: &str| SECRETS.iter().find(|(envoy, _)| *envoy == name).map(|it| it.1);
    let renamed = environment.iter().map(|(name, value)| match named(name) {
        Some(variable) => {
            (format!("SPIN_VARIABLE_{}", variable.to_ascii_uppercase()), value.clone())
        }
        None => (name.clone(), value.clone()),
    });
    renamed.collect()
}

impl Application {
    /// Reads it out of `config`.
    pub fn of(config: &Config, component: &Path) -> Result<Self, RigError> {
        let mut config = config.clone();
        let (clusters, trusted) = clusters(config.document())?;
        let (mut plain, mut args) = (BTreeSet::new(), Vec::new());
        let mut elsewhere = BTreeMap::new();
        let mut documents = Vec::new();
        for name in ["gate", "credential", "audit"] {
            let mut found = Value::Null;
            config.module(name, |document| found = document.clone());
            walk(&mut found, &mut |object| {
                aim(object, &clusters, &mut plain, &mut elsewhere);
            });
            documents.push((name, found.to_string()));
        }
        for (authority, port) in elsewhere {
            args.extend(["--connect-to".to_owned(), format!("{authority}=127.0.0.1:{port}")]);
        }
        for file in trusted {
            args.extend(["--trust".to_owned(), file]);
        }
        Ok(Self { manifest: manifest(component, &documents, &plain), args })
    }
}

fn clusters(document: &Value) -> Result<(BTreeMap<String, Cluster>, BTreeSet<String>), RigError> {
    let (mut found, mut trusted) = (BTreeMap::new(), BTreeSet::new());
    for cluster in document["static_resources"]["clusters"].as_array().into_iter().flatten() {
        let endpoint = &cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0];
        let port = endpoint["endpoint"]["address"]["socket_address"]["port_value"].as_u64();
        let port = port.and_then(|port| u16::try_from(port).ok()).unwrap_or_default();
        let socket = &cluster["transport_socket"]["typed_config"];
        let tls = socket["sni"].as_str().map(str::to_owned);
        let ca = &socket["common_tls_context"]["validation_context"]["trusted_ca"]["filename"];
        trusted.extend(ca.as_str().map(str::to_owned));
        let name = cluster["name"].as_str().map(str::to_owned);
        let name = name.ok_or_else(|| RigError::Config("a cluster without a name".into()))?;
        found.insert(name, Cluster { port, tls });
    }
    // Of clusters that nothing was said about, the files need not exist.
    trusted.retain(|file| Path::new(file).is_file());
    Ok((found, trusted))
}

/// Directs one object of a document: one with `cluster` and `authority`, or `upstreams`.
fn aim(
    object: &mut Map<String, Value>,
    clusters: &BTreeMap<String, Cluster>,
    plain: &mut BTreeSet<String>,
    elsewhere: &mut BTreeMap<String, u16>,
) {
    let mut stays = |authority: &str, cluster: &Cluster| {
        let usual = if cluster.tls.is_some() { 443 } else { 80 };
        let with_port = if authority.contains(':') {
            authority.to_owned()
        } else {
            format!("{authority}:{usual}")
        };
        elsewhere.insert(with_port, cluster.port);
        if cluster.tls.is_none() {
            plain.insert(authority.to_owned());
        }
    };
    if let Some(Value::Object(upstreams)) = object.get("upstreams") {
        for (name, upstream) in upstreams {
            if let (Some(cluster), Some(authority)) =
                (clusters.get(name), upstream["authority"].as_str())
            {
                stays(authority, cluster);
            }
        }
    }
    let cluster = object.get("cluster").and_then(Value::as_str).and_then(|it| clusters.get(it));
    let (Some(cluster), Some(Value::String(authority))) = (cluster, object.get("authority")) else {
        return;
    };
    match &cluster.tls {
        Some(name) if name != authority => {
            object.insert("authority".into(), format!("{name}:{}", cluster.port).into());
        }
        _ => stays(authority, cluster),
    }
}

fn manifest(component: &Path, documents: &[(&str, String)], plain: &BTreeSet<String>) -> String {
    let mut text = String::from(
        "spin_manifest_version = 2\n\n[application]\nname = \"postern\"\nversion = \"0.0.0\"\n\n\
         [variables]\n",
    );
    for (_, name) in SECRETS {
        // Who introspects nothing has no secret for it.
        let need = if name.ends_with("_key") { "required = true" } else { "default = \"\"" };
        let _ = writeln!(text, "{name} = {{ {need}, secret = true }}");
    }
    text.push_str("\n[[trigger.http]]\nroute = \"/...\"\ncomponent = \"gateway\"\n");
    let _ = write!(
        text,
        "\n[component.gateway]\nsource = {}\nallowed_outbound_hosts = [\"*://*:*\"]\n\n\
         [component.gateway.variables]\n",
        quoted(&component.display().to_string())
    );
    for (_, name) in SECRETS {
        let _ = writeln!(text, "{name} = \"{{{{ {name} }}}}\"");
    }
    let plain: Vec<&str> = plain.iter().map(String::as_str).collect();
    let _ = writeln!(text, "danger_plain_http = {}", quoted(&plain.join(",")));
    for (name, document) in documents {
        let _ = writeln!(text, "{name} = {}", quoted(document));
    }
    text
}

/// A basic string of TOML; its escapes are JSON's.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}
