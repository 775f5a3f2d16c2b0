//! Where the gateway is, and connections to it.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::PATIENCE;

const CONNECT: Duration = Duration::from_secs(5);
/// Where operating systems keep the certificates that they trust.
const ROOTS: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// Why a target cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// Not a URL that can be attacked.
    #[error("{0}")]
    Url(String),
    /// A name without an address, or certificates that cannot be read.
    #[error("{0}")]
    Unreachable(String),
}

/// A gateway.
#[derive(Clone)]
pub struct Target {
    address: SocketAddr,
    tls: Option<Tls>,
}

#[derive(Clone)]
struct Tls {
    name: ServerName<'static>,
    roots: Arc<RootCertStore>,
}

/// A connection, plain or not.
pub(super) enum Wire {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Target {
    /// Reads `http://HOST:PORT` or `https://HOST:PORT`; `roots` verify the latter.
    pub fn parse(url: &str, roots: Option<&Path>) -> Result<Self, TargetError> {
        let wrong = || TargetError::Url(format!("{url}: expected http://HOST:PORT or https://…"));
        let (scheme, rest) = url.split_once("://").ok_or_else(wrong)?;
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        let secure = match scheme {
            "http" => false,
            "https" => true,
            _ => return Err(wrong()),
        };
        if authority.is_empty() || authority.contains(['/', '?', '#', '@']) {
            return Err(wrong());
        }
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => {
                (host, port.parse().map_err(|_| wrong())?)
            }
            _ => (authority, if secure { 443 } else { 80 }),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let unknown = |why: String| TargetError::Unreachable(format!("{host}: {why}"));
        let mut addresses = (host, port).to_socket_addrs().map_err(|e| unknown(e.to_string()))?;
        let address = addresses.next().ok_or_else(|| unknown("no address".into()))?;
        let tls = if secure { Some(Tls::new(host, roots)?) } else { None };
        Ok(Self { address, tls })
    }

    /// A plain one on this machine.
    pub fn plain(port: u16) -> Self {
        Self { address: SocketAddr::from(([127, 0, 0, 1], port)), tls: None }
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn connect(&self, protocol: &[u8]) -> io::Result<Wire> {
        let stream = TcpStream::connect_timeout(&self.address, CONNECT)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let Some(tls) = &self.tls else { return Ok(Wire::Plain(stream)) };
        let config = tls.config(protocol).map_err(io::Error::other)?;
        let connection =
            ClientConnection::new(config, tls.name.clone()).map_err(io::Error::other)?;
        Ok(Wire::Tls(Box::new(StreamOwned::new(connection, stream))))
    }

    /// The same for HTTP/2 by the book.
    pub(super) async fn connect_async(&self) -> io::Result<Async> {
        let connecting = tokio::net::TcpStream::connect(self.address);
        let stream = tokio::time::timeout(CONNECT, connecting).await??;
        stream.set_nodelay(true)?;
        let Some(tls) = &self.tls else { return Ok(Async::Plain(stream)) };
        let config = tls.config(b"h2").map_err(io::Error::other)?;
        let connector = tokio_rustls::TlsConnector::from(config);
        Ok(Async::Tls(Box::new(connector.connect(tls.name.clone(), stream).await?)))
    }
}

/// A connection of the runtime's.
pub(super) enum Async {
    Plain(tokio::net::TcpStream),
    Tls(Box<tokio_rustls::client::TlsStream<tokio::net::TcpStream>>),
}

impl Tls {
    fn new(host: &str, roots: Option<&Path>) -> Result<Self, TargetError> {
        let bad = |why: String| TargetError::Unreachable(why);
        let name = ServerName::try_from(host.to_owned()).map_err(|e| bad(e.to_string()))?;
        let usual = || ROOTS.iter().map(Path::new).find(|file| file.exists());
        let file = roots.or_else(usual).ok_or_else(|| bad("no certificates to trust".into()))?;
        let said = |error: &dyn std::fmt::Display| bad(format!("{}: {error}", file.display()));
        let mut store = RootCertStore::empty();
        for root in CertificateDer::pem_file_iter(file).map_err(|e| said(&e))? {
            store.add(root.map_err(|e| said(&e))?).map_err(|e| said(&e))?;
        }
        Ok(Self { name, roots: Arc::new(store) })
    }

    fn config(&self, protocol: &[u8]) -> Result<Arc<ClientConfig>, rustls::Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider);
        let builder = builder.with_safe_default_protocol_versions()?;
        let roots = Arc::clone(&self.roots);
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![protocol.to_vec()];
        Ok(Arc::new(config))
    }
}

impl Read for Wire {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(into),
            Self::Tls(stream) => stream.read(into),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_and_others_are_refused() {
        let target = Target::parse("http://127.0.0.1:10000/", None).unwrap();
        assert_eq!(target.address().to_string(), "127.0.0.1:10000");
        assert_eq!(Target::parse("http://[::1]", None).unwrap().address().to_string(), "[::1]:80");
        for url in ["127.0.0.1:1", "ftp://a", "http://", "http://a:b", "http://a/b", "http://u@a"] {
            assert!(matches!(Target::parse(url, None), Err(TargetError::Url(_))), "{url}");
        }
    }
}
