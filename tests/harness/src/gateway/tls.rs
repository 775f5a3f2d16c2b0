//! A listener that speaks TLS.

use anyhow::Result;
use postern_rig::authority::Identity;
use postern_rig::gateway::Config;
use serde_json::{Value, json};

use super::Site;

/// Whose client certificates a listener takes.
#[derive(Clone, Copy)]
pub enum Clients<'a> {
    /// It asks for none.
    None,
    /// Of this authority, from every client.
    Required(&'a str),
    /// Of this authority, from clients that have one.
    Optional(&'a str),
}

/// Makes `ingress` a listener of TLS.
pub fn speak(
    site: &Site,
    config: &mut Config,
    front: &Identity,
    clients: Clients<'_>,
) -> Result<()> {
    let folder = site.world.folder.path();
    let file = |name: &str, text: &str| -> Result<Value> {
        let path = folder.join(name);
        postern_files::write_private(&path, text.as_bytes())?;
        Ok(json!({"filename": path.display().to_string()}))
    };
    let mut common = json!({"alpn_protocols": ["h2", "http/1.1"], "tls_certificates": [{
        "certificate_chain": file("front.pem", &front.certificate)?,
        "private_key": file("front.key", &front.key)?,
    }]});
    if let Clients::Required(ca) | Clients::Optional(ca) = clients {
        common["validation_context"] = json!({"trusted_ca": file("clients.pem", ca)?});
    }
    let chain = &mut config.listener("ingress")?["filter_chains"][0];
    if let Clients::Optional(_) = clients {
        // A client can be a hop with clients of its own.
        chain["filters"][0]["typed_config"]["forward_client_cert_details"] = json!("FORWARD_ONLY");
    }
    chain["transport_socket"] = json!({"name": "tls", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        "require_client_certificate": matches!(clients, Clients::Required(_)),
        "common_tls_context": common,
    }});
    Ok(())
}
