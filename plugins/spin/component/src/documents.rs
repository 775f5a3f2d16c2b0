//! The variables of the component: three documents, three identities, a secret, and who is spoken
//! to without TLS.
//!
//! Invariant: an instance is configured once; a document that was refused refuses every
//! request of the instance.

use std::cell::OnceCell;
use std::rc::Rc;

use postern_core::config::MAX_DOCUMENT;
use postern_spin::hosts::PLAIN;
use spin_sdk::variables;

use crate::gateway::Gateway;
use crate::{Configure, host};

/// What `[component.ID.variables]` of the `spin.toml` gives.
#[derive(Default)]
pub struct Documents {
    /// `gate`: the gate's document, JSON, as in Envoy.
    pub gate: String,
    /// `credential`: the credential module's.
    pub credential: String,
    /// `audit`: the audit module's.
    pub audit: String,
    /// `gate_key`: Ed25519 seed of the gate's identity, 32 bytes in base64url.
    pub gate_key: Option<String>,
    /// `credential_key`: that of the credential module.
    pub credential_key: Option<String>,
    /// `audit_key`: that of the audit module.
    pub audit_key: Option<String>,
    /// `introspection_secret`: the gate's secret at introspection endpoints, where it has one.
    pub introspection_secret: Option<String>,
    /// `danger_plain_http`: authorities without TLS, with commas; absent is nobody.
    pub plain: String,
}

thread_local! {
    static GATEWAY: OnceCell<Option<Rc<Gateway>>> = const { OnceCell::new() };
}

/// The gateway of this instance; `None` when its documents were refused.
pub async fn configured(configure: Configure) -> Option<Rc<Gateway>> {
    if let Some(known) = known() {
        return known;
    }
    let documents = read().await;
    // Requests that come together may all have read them; the first one counts.
    if let Some(known) = known() {
        return known;
    }
    let gateway = match configure(&documents) {
        Ok(gateway) => Some(Rc::new(gateway)),
        Err(error) => {
            host::report(&error);
            None
        }
    };
    let _ = GATEWAY.try_with(|cell| cell.set(gateway.clone()));
    gateway
}

fn known() -> Option<Option<Rc<Gateway>>> {
    GATEWAY.try_with(|cell| cell.get().cloned()).ok().flatten()
}

async fn read() -> Documents {
    Documents {
        gate: document("gate").await,
        credential: document("credential").await,
        audit: document("audit").await,
        gate_key: variable("gate_key").await,
        credential_key: variable("credential_key").await,
        audit_key: variable("audit_key").await,
        introspection_secret: variable("introspection_secret").await,
        plain: variable(PLAIN).await.unwrap_or_default(),
    }
}

/// One that is absent or too long is empty, which no parser takes.
async fn document(name: &str) -> String {
    let text = variable(name).await.unwrap_or_default();
    if text.len() > MAX_DOCUMENT { String::new() } else { text }
}

async fn variable(name: &str) -> Option<String> {
    variables::get(name).await.ok()
}
