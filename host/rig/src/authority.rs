//! A certificate authority that lives as long as a test: TLS without files of the user.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, IsCa, KeyPair, SanType,
};

pub use rcgen::DnType;
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::RigError;

/// A certificate and its key, in PEM.
pub struct Identity {
    /// The certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

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

    /// A certificate whose subject has these parts, in their order; names with `://` are URIs.
    pub fn identity(
        &self,
        subject: &[(DnType, &str)],
        names: &[&str],
    ) -> Result<Identity, RigError> {
        let (uris, hosts): (Vec<&str>, Vec<&str>) =
            names.iter().partition(|name| name.contains("://"));
        let hosts: Vec<String> = hosts.into_iter().map(str::to_owned).collect();
        let mut params = CertificateParams::new(Vec::<String>::new()).map_err(tls)?;
        for uri in uris {
            params.subject_alt_names.push(SanType::URI(uri.try_into().map_err(tls)?));
        }
        let of_hosts = CertificateParams::new(hosts).map_err(tls)?;
        params.subject_alt_names.extend(of_hosts.subject_alt_names);
        params.distinguished_name = DistinguishedName::new();
        for (kind, text) in subject {
            params.distinguished_name.push(kind.clone(), *text);
        }
        self.signed(&params)
    }

    /// A certificate for one name that was good until 2020.
    pub fn ended(&self, name: &str) -> Result<Identity, RigError> {
        let mut params = named(name, vec![name.to_owned()])?;
        params.not_before = rcgen::date_time_ymd(2019, 1, 1);
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
        self.signed(&params)
    }

    fn signed(&self, params: &CertificateParams) -> Result<Identity, RigError> {
        let key = KeyPair::generate().map_err(tls)?;
        let leaf = params.signed_by(&key, &self.issuer).map_err(tls)?;
        Ok(Identity { certificate: leaf.pem(), key: key.serialize_pem() })
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
