//! Requests of components to others.
//!
//! One connection for each request: the pool that Spin has is not here. Invariant: whom a
//! component speaks to was checked against its `allowed_outbound_hosts` first, and a
//! certificate is verified against the name that it asked for.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::uri::{PathAndQuery, Scheme};
use http::{Request, Response, Uri};
use http_body_util::BodyExt;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody};

use crate::outbound::Rule;

/// Longest wait for a connection and for the head of an answer, unless a component says less.
const LONGEST: Duration = Duration::from_secs(60);

/// What all components of a process send with.
#[derive(Clone)]
pub struct Client {
    tls: Arc<ClientConfig>,
    elsewhere: Arc<BTreeMap<(String, u16), SocketAddr>>,
}

/// A connection, plain or not.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Client {
    /// Verifies certificates against the authorities of the web and those in `trust`, PEM;
    /// connects to another address for the hosts and ports of `elsewhere`.
    pub fn new(
        trust: &[u8],
        elsewhere: BTreeMap<(String, u16), SocketAddr>,
    ) -> Result<Self, String> {
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.into() };
        for certificate in CertificateDer::pem_slice_iter(trust) {
            let certificate = certificate.map_err(|error| error.to_string())?;
            roots.add(certificate).map_err(|error| error.to_string())?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let tls = Arc::new(config.with_root_certificates(roots).with_no_client_auth());
        Ok(Self { tls, elsewhere: Arc::new(elsewhere) })
    }

    /// Sends a request if the component may.
    pub async fn send(
        self,
        allowed: Arc<[Rule]>,
        request: Request<WasiBody>,
        options: RequestOptions,
    ) -> Result<Response<WasiBody>, Error> {
        let target = Target::of(request.uri()).ok_or(Error::HttpRequestUriInvalid)?;
        let scheme = if target.tls { "https" } else { "http" };
        if !allowed.iter().any(|rule| rule.allows(scheme, &target.host, Some(target.port))) {
            tracing::warn!(host = target.host, port = target.port, "not in allowed_outbound_hosts");
            return Err(Error::HttpRequestDenied);
        }
        let connect = options.connect_timeout.unwrap_or(LONGEST).min(LONGEST);
        let stream = timeout(connect, self.connect(&target)).await;
        let stream = stream.map_err(|_| Error::ConnectionTimeout)??;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to an upstream ended");
            }
        });
        let first = options.first_byte_timeout.unwrap_or(LONGEST).min(LONGEST);
        let response = timeout(first, sender.send_request(in_origin_form(request)?)).await;
        let response = response.map_err(|_| Error::HttpResponseTimeout)??;
        Ok(response.map(|body| body.map_err(Error::from).boxed_unsync()))
    }

    async fn connect(&self, target: &Target) -> Result<Box<dyn Stream>, Error> {
        let elsewhere = self.elsewhere.get(&(target.host.clone(), target.port));
        let stream = match elsewhere {
            Some(address) => TcpStream::connect(address).await,
            None => TcpStream::connect((target.host.as_str(), target.port)).await,
        };
        let stream = stream.map_err(Error::Connect)?;
        stream.set_nodelay(true).map_err(Error::Connect)?;
        if !target.tls {
            return Ok(Box::new(stream));
        }
        let name = ServerName::try_from(target.host.clone());
        let name = name.map_err(|error| Error::Tls(io::Error::other(error)))?;
        let connector = TlsConnector::from(Arc::clone(&self.tls));
        Ok(Box::new(connector.connect(name, stream).await.map_err(Error::Tls)?))
    }
}

struct Target {
    tls: bool,
    host: String,
    port: u16,
}

impl Target {
    fn of(uri: &Uri) -> Option<Self> {
        let tls = uri.scheme() == Some(&Scheme::HTTPS);
        let host = uri.host()?.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        Some(Self { tls, host, port: uri.port_u16().unwrap_or(if tls { 443 } else { 80 }) })
    }
}

/// To the origin itself (RFC 9112, 3.2.1), whose name is in `host` already.
fn in_origin_form(mut request: Request<WasiBody>) -> Result<Request<WasiBody>, Error> {
    let path = request.uri().path_and_query().cloned();
    let path = path.unwrap_or_else(|| PathAndQuery::from_static("/"));
    let origin = Uri::builder().path_and_query(path).build();
    *request.uri_mut() = origin.map_err(|_| Error::HttpRequestUriInvalid)?;
    Ok(request)
}
