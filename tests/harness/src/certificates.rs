//! Client certificates of scenarios, and how their callers connect.
//!
//! Owns one authority for the whole run. Invariant: in a run the same description is the same
//! certificate, so that all boundaries see one fingerprint.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use postern_rig::authority::{Authority, DnType, Identity};
use postern_rig::client::{self, Request};
use postern_rig::message::Message;
use postern_rig::tls::TlsClient;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::scenario::{RequestSpec, Scenario};

/// The name of the listener's certificate.
pub const FRONT: &str = "front.test";

/// A client certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CertificateSeed {
    /// Subject alternative names, in their order; those with `://` are URIs.
    pub names: Vec<String>,
}

/// Who issues all of them.
pub fn authority() -> Result<&'static Authority> {
    static AUTHORITY: OnceLock<Authority> = OnceLock::new();
    if let Some(authority) = AUTHORITY.get() {
        return Ok(authority);
    }
    let authority = Authority::new()?;
    Ok(AUTHORITY.get_or_init(|| authority))
}

/// The listener's own.
pub fn front() -> Result<Arc<Identity>> {
    issued(&CertificateSeed { names: vec![FRONT.to_owned()] })
}

/// The certificate of this description.
pub fn issued(seed: &CertificateSeed) -> Result<Arc<Identity>> {
    static ISSUED: Mutex<BTreeMap<CertificateSeed, Arc<Identity>>> = Mutex::new(BTreeMap::new());
    let mut issued = ISSUED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(identity) = issued.get(seed) {
        return Ok(Arc::clone(identity));
    }
    let names: Vec<&str> = seed.names.iter().map(String::as_str).collect();
    let identity = Arc::new(authority()?.identity(&[(DnType::CommonName, "caller")], &names)?);
    issued.insert(seed.clone(), Arc::clone(&identity));
    Ok(identity)
}

/// `x5t#S256` of a certificate (RFC 8705, 3.1).
pub fn thumbprint(identity: &Identity) -> Result<String> {
    let body: String =
        identity.certificate.lines().filter(|line| !line.starts_with("-----")).collect();
    let der = STANDARD.decode(body.trim())?;
    Ok(URL_SAFE_NO_PAD.encode(Sha256::digest(der)))
}

/// How a request comes to the listener.
pub struct Connection {
    /// Over TLS, as all requests of a scenario that has certificates.
    pub tls: bool,
    /// What the caller shows.
    pub certificate: Option<Arc<Identity>>,
}

impl Connection {
    /// The connection of a request.
    pub fn of(scenario: &Scenario, request: &RequestSpec) -> Result<Self> {
        let seeds = &scenario.seed.certificates;
        let certificate = request.certificate.as_ref().map(|name| {
            let seed = seeds.get(name).with_context(|| format!("no certificate {name}"))?;
            issued(seed)
        });
        Ok(Self { tls: !seeds.is_empty(), certificate: certificate.transpose()? })
    }

    /// Sends a request to a port of a gateway.
    pub fn ask(&self, port: u16, request: &Request, patience: Duration) -> Result<Message> {
        let answer = if self.tls {
            let roots = authority()?.root_pem();
            let identity = self.certificate.as_deref();
            TlsClient { roots: &roots, identity, name: FRONT, patience }.exchange(port, request)
        } else {
            client::exchange(port, request, patience)
        };
        answer?.context("the gateway closed without an answer")
    }
}
