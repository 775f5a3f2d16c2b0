//! A certificate authority that lives as long as a test: TLS without files of the user.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::RigError;

/// Issues certificates for names on 127.0.0.1.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    /// A new one with a fresh key.
    pub fn new() -> Result<Self, RigError> {
        let mut params = named("Postern rig root", Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let key = KeyPair::generate().map_err(tls)?;
        let issuer = CertifiedIssuer::self_signed(params, key).map_err(tls)?;
        Ok(Self { issuer })
    }

    /// The root certificate, for a `trusted_ca` file.
    pub fn root_pem(&self) -> String {
        self.issuer.pem()
    }

    /// A server's side of TLS for `name`, HTTP/1.1 only.
    pub fn server(&self, name: &str) -> Result<Arc<ServerConfig>, RigError> {
        let params = named(name, vec![name.to_owned()])?;
        let key = KeyPair::generate().map_err(tls)?;
        let leaf = params.signed_by(&key, &self.issuer).map_err(tls)?;
        let private = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(tls)?
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], private)
            .map_err(tls)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

/// A verifier takes a leaf that is named like its issuer for a self-signed one.
fn named(common: &str, hosts: Vec<String>) -> Result<CertificateParams, RigError> {
    let mut params = CertificateParams::new(hosts).map_err(tls)?;
    params.distinguished_name.push(DnType::CommonName, common);
    Ok(params)
}

fn tls(error: impl std::fmt::Display) -> RigError {
    RigError::Tls(error.to_string())
}
