//! A vault of HashiCorp's REST shapes on loopback, and what the base keeps in it.
//!
//! Invariant: the key service is told where such a value is and never what it is.

// The server of the library's own tests, which fails loudly.
#[allow(clippy::unwrap_used, clippy::expect_used, dead_code, missing_docs)]
#[path = "../../../../host/vaults/tests/hashicorp/server.rs"]
mod server;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use postern_core::time::UnixMillis;
use postern_crp::message::store;
use postern_keys::Config;
use postern_keys::admin::InVault;
use postern_keys::config::Vault;
use serde_json::json;

use super::{Backend, CredentialSeed, Party, TENANTS};

/// Starts it with the values that are in it; serves as long as the process. Its entry in the
/// configuration of the key service.
pub(super) fn start(
    credentials: &BTreeMap<String, CredentialSeed>,
    folder: &Path,
) -> Result<BTreeMap<String, Vault>> {
    let server = server::Server::start();
    for (name, credential) in credentials.iter().filter(|(_, credential)| credential.vault) {
        let place = format!("|secret/{}/{name}", credential.tenant);
        server.put(&place, json!({"value": credential.value}));
    }
    postern_files::write_private(folder.join("secret-id"), b"first-secret-id")?;
    let address = format!("http://127.0.0.1:{}", server.port());
    let approle = json!({"role_id": server::ROLE, "secret_id_file": "secret-id"});
    let tenants: BTreeMap<&str, &str> = TENANTS.iter().map(|name| (*name, *name)).collect();
    let yaml = json!({
        "data_dir": "unused",
        "vaults": {"main": {
            "hashicorp": {"address": address, "approle": approle}, "tenants": tenants,
            "timeout_ms": 4000,
        }},
    });
    Ok(Config::parse(yaml.to_string().as_bytes(), folder)?.vaults)
}

/// Says where the value of a credential is.
pub(super) fn put(
    backend: &Backend,
    operator: &Party,
    request: &store::Request,
    now: UnixMillis,
) -> Result<()> {
    let name = &request.credential;
    let json = |binding: &store::Binding| serde_json::from_slice(binding.json());
    let new = InVault {
        name: name.clone(),
        description: String::new(),
        from: BTreeMap::from([(String::new(), format!("vault:main/{name}#value"))]),
        bindings: request.bindings.iter().map(json).collect::<Result<_, _>>()?,
        replace: false,
        not_after: None,
        approval: request.guard.approval.name().to_owned(),
        require_passkey: request.guard.passkey,
        approvers: request.guard.approvers,
    };
    let body = serde_json::to_vec(&new)?;
    let stored = operator.operate(backend, "/api/v1/credentials", &body, now);
    stored.with_context(|| format!("credential {name} of the vault"))
}
