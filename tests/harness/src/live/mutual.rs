//! A key service that demands client certificates, and what the gateway shows it.

use std::path::Path;

use anyhow::Result;
use postern_rig::authority::{Authority, DnType, Identity};
use postern_rig::gateway::Config;
use serde_json::json;

use super::{Caller, Seen, code, expect};
use crate::gateway::{Gateway, Site};

const NAME: &str = "gateway-1.acme.test";
const REFUSED: &str = "key_service_unavailable";

/// The gateway gets values only while its own certificate is good.
pub fn key_service(site: &Site, seen: &mut Seen) -> Result<Vec<String>> {
    let (authority, stranger) = (Authority::new()?, Authority::new()?);
    let (port, ca) = site.world.serve_to_clients(&authority.root_pem(), NAME)?;
    let named = |authority: &Authority, name| {
        authority.identity(&[(DnType::CommonName, "gateway")], &[name])
    };
    let rows = [
        ("none", None, 503),
        ("other_authority", Some(named(&stranger, NAME)?), 503),
        ("other_name", Some(named(&authority, "gateway-2.acme.test")?), 503),
        ("expired", Some(authority.ended(NAME)?), 503),
        ("good", Some(named(&authority, NAME)?), 200),
    ];
    let mut lines = Vec::new();
    for (what, identity, status) in rows {
        let mut config = site.config(None)?;
        config.cluster_at("key_service", port)?;
        config.cluster_trusts("key_service", &ca, "localhost")?;
        if let Some(identity) = &identity {
            shows(&mut config, &site.world.folder.path().join(what), identity)?;
        }
        let gateway = Gateway::with(site, &config)?;
        let caller = Caller::new(site, &format!("certificate_{what}"))?;
        let answer = gateway.ask(&caller.request(site, "api.test", "/api/a", Some("slack")))?;
        expect(&mut lines, what, status, answer.status());
        let problem = if status == 200 { "" } else { REFUSED };
        expect(&mut lines, what, problem.to_owned(), code(&answer));
        seen.keep(site, gateway)?;
    }
    Ok(lines)
}

/// Gives the cluster of the key service a certificate of the gateway's own. In files of its own:
/// Envoy reads none again whose name it knows.
fn shows(config: &mut Config, folder: &Path, identity: &Identity) -> Result<()> {
    postern_files::create_private_dir(folder)?;
    let file = |name: &str, text: &str| -> Result<serde_json::Value> {
        let path = folder.join(name);
        postern_files::write_private(&path, text.as_bytes())?;
        Ok(json!({"filename": path.display().to_string()}))
    };
    let pair = json!([{
        "certificate_chain": file("gateway.pem", &identity.certificate)?,
        "private_key": file("gateway-tls.key", &identity.key)?,
    }]);
    let tls = &mut config.cluster("key_service")?["transport_socket"]["typed_config"];
    tls["common_tls_context"]["tls_certificates"] = pair;
    Ok(())
}
