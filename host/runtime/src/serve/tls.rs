//! TLS contexts from the files that the configuration names.
//!
//! Invariant: TLS 1.2 or newer; a private key that others can read is refused; towards an
//! upstream the certificate must hold the name that the file says.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};

use super::{ServeError, certificate};
use crate::config::{ClientTls, Gateway, HTTP1, HTTP2, ServerTls, Version};
use crate::proxy::exchange::Facts;

const MAX_PEM: usize = 1 << 20;

/// Towards an upstream.
#[derive(Clone)]
pub(super) struct Client {
    pub config: Arc<ClientConfig>,
    pub name: ServerName<'static>,
}

/// Why a context cannot be made.
type Problem = String;

/// Towards callers.
fn server(tls: &ServerTls) -> Result<Arc<ServerConfig>, Problem> {
    let chain = certificates(&tls.certificate)?;
    let secret = private_key(&tls.key)?;
    let builder = ServerConfig::builder_with_provider(provider());
    let builder = builder.with_protocol_versions(&versions(tls.versions)).map_err(text)?;
    let builder = match &tls.client_ca {
        None => builder.with_no_client_auth(),
        Some(file) => {
            let roots = Arc::new(roots(file)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider());
            let verifier = match tls.client_required {
                true => verifier,
                false => verifier.allow_unauthenticated(),
            };
            builder.with_client_cert_verifier(verifier.build().map_err(text)?)
        }
    };
    let mut config = builder.with_single_cert(chain, secret).map_err(text)?;
    // As in Envoy: what the file lists and nothing else.
    config.alpn_protocols = tls.alpn.iter().map(|name| name.clone().into_bytes()).collect();
    Ok(Arc::new(config))
}

/// Towards an upstream.
fn client(tls: &ClientTls, http2: bool) -> Result<Client, Problem> {
    if tls.sni != tls.name {
        return Err(format!("expected sni to be the name that is verified, {:?}", tls.name));
    }
    let name = ServerName::try_from(tls.name.clone()).map_err(text)?;
    let builder = ClientConfig::builder_with_provider(provider());
    let builder = builder.with_protocol_versions(&versions(tls.versions)).map_err(text)?;
    let builder = builder.with_root_certificates(roots(&tls.ca)?);
    let mut config = match &tls.own {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let pair = (certificates(certificate)?, private_key(key)?);
            builder.with_client_auth_cert(pair.0, pair.1).map_err(text)?
        }
    };
    let spoken = if http2 { HTTP2 } else { HTTP1 };
    config.alpn_protocols = vec![spoken.into()];
    Ok(Client { config: Arc::new(config), name })
}

/// Everything for TLS, read before anything runs.
pub(super) struct Certificates {
    /// In the order of the listeners.
    pub servers: Vec<Option<Arc<rustls::ServerConfig>>>,
    /// What the listeners' own certificates say, in their order.
    pub own: Vec<Facts>,
    /// By name of the cluster.
    pub clients: BTreeMap<String, Client>,
}

impl Certificates {
    pub fn load(gateway: &Gateway) -> Result<Self, ServeError> {
        let named = |what: String| move |problem| ServeError::Tls { what, problem };
        let servers = gateway.listeners.iter().map(|listener| {
            let tls = listener.tls.as_ref().map(server).transpose();
            tls.map_err(named(format!("listener {:?}", listener.name)))
        });
        let servers = servers.collect::<Result<_, _>>()?;
        let own = gateway.listeners.iter().map(|listener| own(listener.tls.as_ref())).collect();
        let mut clients = BTreeMap::new();
        for (name, cluster) in &gateway.clusters {
            if let Some(settings) = &cluster.tls {
                let client = client(settings, cluster.http2.is_some())
                    .map_err(named(format!("cluster {name:?}")))?;
                clients.insert(name.clone(), client);
            }
        }
        Ok(Self { servers, own, clients })
    }
}

/// What a listener's certificate says of itself.
fn own(tls: Option<&ServerTls>) -> Facts {
    let chain = tls.and_then(|tls| certificates(&tls.certificate).ok());
    let first = chain.as_deref().and_then(<[_]>::first);
    first.map(|first| certificate::facts(first, "local")).unwrap_or_default()
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn versions((least, most): (Version, Version)) -> Vec<&'static SupportedProtocolVersion> {
    let all =
        [(Version::Tls12, &rustls::version::TLS12), (Version::Tls13, &rustls::version::TLS13)];
    let wanted = all.into_iter().filter(|(version, _)| (least..=most).contains(version));
    wanted.map(|(_, version)| version).collect()
}

fn certificates(file: &str) -> Result<Vec<CertificateDer<'static>>, Problem> {
    let pem = postern_files::read_bounded(Path::new(file), MAX_PEM).map_err(text)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let chain = chain.map_err(|e| format!("{file}: {e}"))?;
    if chain.is_empty() { Err(format!("{file}: no certificate")) } else { Ok(chain) }
}

fn private_key(file: &str) -> Result<PrivateKeyDer<'static>, Problem> {
    let secret = postern_files::read_private(Path::new(file), MAX_PEM).map_err(text)?;
    PrivateKeyDer::from_pem_slice(&secret).map_err(|e| format!("{file}: {e}"))
}

/// A bundle may hold certificates that rustls does not take, as system bundles do; one that
/// it takes is enough.
fn roots(file: &str) -> Result<RootCertStore, Problem> {
    let mut roots = RootCertStore::empty();
    let (taken, _) = roots.add_parsable_certificates(certificates(file)?);
    if taken == 0 { Err(format!("{file}: no certificate of an authority")) } else { Ok(roots) }
}

fn text(error: impl std::fmt::Display) -> Problem {
    error.to_string()
}
