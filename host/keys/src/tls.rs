//! TLS of the service: given files, or an authority and certificate made on first start.
//!
//! The made authority signs one certificate and its key is then dropped: nothing on disk
//! can sign another. Gateways and the command line trust `tls/ca.pem`.
//!
//! Invariant: TLS 1.2 or newer; a private key that others can read is refused; where client
//! certificates are demanded, one that is shown is good or the handshake fails.

mod clients;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use postern_core::redacted::Redacted;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256};
use x509_cert::der::{Decode, Encode};

use crate::config::{Config, Tls};
use crate::fault::Fault;

const MAX_PEM: usize = 256 * 1024;
const NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// Where the authority is that the made certificate chains to; `None` with given files.
pub fn authority_file(config: &Config) -> Option<PathBuf> {
    (config.tls == Tls::Own).then(|| config.data_dir.join("tls/ca.pem"))
}

/// What a browser can be told to take instead of an authority: base64 of the SHA-256 of the
/// SubjectPublicKeyInfo (RFC 7469, 2.4) of a file's first certificate.
///
/// # Errors
/// When the file cannot be read or holds no certificate.
pub fn key_pin(certificate: &Path) -> Result<String, Fault> {
    let pem = postern_files::read_bounded(certificate, MAX_PEM)
        .map_err(|e| Fault::file(certificate, &e))?;
    let leaf = CertificateDer::from_pem_slice(&pem).map_err(tls)?;
    let leaf = x509_cert::Certificate::from_der(&leaf).map_err(tls)?;
    let key = leaf.tbs_certificate().subject_public_key_info().to_der().map_err(tls)?;
    Ok(BASE64_STANDARD.encode(Sha256::digest(key)))
}

/// The server's TLS settings, making certificate and key where there are none.
///
/// # Errors
/// When a file cannot be read, is too open, or is not a certificate and its key.
pub fn server_config(config: &Config) -> Result<Arc<ServerConfig>, Fault> {
    let (certificate, key) = match &config.tls {
        Tls::Files { certificate, key } => (certificate.clone(), key.clone()),
        Tls::Own => own(&config.data_dir.join("tls"))?,
    };
    let chain = postern_files::read_bounded(&certificate, MAX_PEM)
        .map_err(|e| Fault::file(&certificate, &e))?;
    let chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_slice_iter(&chain).collect::<Result<_, _>>().map_err(tls)?;
    let secret = postern_files::read_private(&key, MAX_PEM).map_err(|e| Fault::file(&key, &e))?;
    let secret = zeroize::Zeroizing::new(secret);
    let secret = PrivateKeyDer::from_pem_slice(&secret).map_err(tls)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(tls)?;
    let builder = match &config.clients {
        None => builder.with_no_client_auth(),
        Some(clients) => builder.with_client_cert_verifier(clients::verifier(clients, provider)?),
    };
    let mut server = builder.with_single_cert(chain, secret).map_err(tls)?;
    if config.clients.is_some() {
        clients::verify_each_time(&mut server);
    }
    server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(server))
}

fn own(dir: &Path) -> Result<(PathBuf, PathBuf), Fault> {
    let (ca, certificate) = (dir.join("ca.pem"), dir.join("server.pem"));
    let key = dir.join("server.key");
    if [&ca, &certificate, &key].into_iter().all(|file| file.exists()) {
        return Ok((certificate, key));
    }
    let made = make().map_err(tls)?;
    postern_files::create_private_dir(dir).map_err(|e| Fault::file(dir, &e))?;
    let failed = |path: &Path, error: std::io::Error| Fault::file(path, &error);
    postern_files::write_private(&key, made.key.as_bytes()).map_err(|e| failed(&key, e))?;
    postern_files::write_atomic(&certificate, made.certificate.as_bytes())
        .map_err(|e| failed(&certificate, e))?;
    postern_files::write_atomic(&ca, made.authority.as_bytes()).map_err(|e| failed(&ca, e))?;
    Ok((certificate, key))
}

struct Made {
    authority: String,
    certificate: String,
    key: zeroize::Zeroizing<String>,
}

fn make() -> Result<Made, rcgen::Error> {
    let mut authority = CertificateParams::new(Vec::<String>::new())?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    authority.distinguished_name.push(DnType::CommonName, "Postern key service authority");
    let authority_key = KeyPair::generate()?;
    let root = authority.self_signed(&authority_key)?;
    let issuer = Issuer::new(authority, authority_key);
    let mut leaf = CertificateParams::new(NAMES.map(str::to_owned))?;
    leaf.distinguished_name.push(DnType::CommonName, "Postern key service");
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    leaf.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    let certificate = leaf.signed_by(&key, &issuer)?;
    Ok(Made {
        authority: root.pem(),
        certificate: certificate.pem(),
        key: zeroize::Zeroizing::new(key.serialize_pem()),
    })
}

fn tls(error: impl std::fmt::Display) -> Fault {
    Fault::Tls(Redacted::new(&error.to_string()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_certificate_is_made_once_with_a_private_key_file() {
        let dir = tempfile::tempdir().unwrap();
        let config = Config::local(dir.path());
        server_config(&config).unwrap();
        let ca = authority_file(&config).unwrap();
        let first = std::fs::read(&ca).unwrap();
        server_config(&config).unwrap();
        assert_eq!(std::fs::read(&ca).unwrap(), first);
        let key = dir.path().join("tls/server.key");
        assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(server_config(&config).is_err());
    }
}
