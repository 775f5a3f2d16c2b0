//! A client that speaks TLS, with a certificate or without one.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::authority::Identity;
use crate::client::Request;
use crate::message::{Direction, Message, Reader};

/// How to connect.
pub struct TlsClient<'a> {
    /// The server's authority, in PEM.
    pub roots: &'a str,
    /// What the client says of itself.
    pub identity: Option<&'a Identity>,
    /// The server's name.
    pub name: &'a str,
    /// Reads give up after this.
    pub patience: Duration,
}

impl TlsClient<'_> {
    /// Sends bytes to a port on 127.0.0.1; everything that comes back until the peer closes.
    /// A handshake that is refused is an error.
    pub fn ask(&self, port: u16, bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut stream = self.connect(port)?;
        stream.write_all(bytes)?;
        let mut answer = Vec::new();
        match stream.read_to_end(&mut answer) {
            // A peer that has answered may close without a word (RFC 8446, 6.1).
            Err(error) if error.kind() != io::ErrorKind::UnexpectedEof || answer.is_empty() => {
                Err(error)
            }
            _ => Ok(answer),
        }
    }

    /// One request on a connection of its own, and its final answer; `None` when the peer
    /// closed without one.
    pub fn exchange(&self, port: u16, request: &Request) -> io::Result<Option<Message>> {
        let mut reader = Reader::new(self.connect(port)?);
        for piece in &request.pieces() {
            // As on plain connections: an early answer may come before everything is written.
            if reader.connection().write_all(piece).is_err() {
                break;
            }
        }
        let to_head = request.method.eq_ignore_ascii_case("HEAD");
        loop {
            match reader.next(Direction::Answer { to_head })? {
                Some(message) if (100..200).contains(&message.status()) => {}
                other => return Ok(other),
            }
        }
    }

    fn connect(&self, port: u16) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
        let config = Arc::new(self.config().map_err(io::Error::other)?);
        let name = ServerName::try_from(self.name.to_owned()).map_err(io::Error::other)?;
        let connection = ClientConnection::new(config, name).map_err(io::Error::other)?;
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(self.patience))?;
        Ok(StreamOwned::new(connection, stream))
    }

    fn config(&self) -> Result<ClientConfig, Box<dyn std::error::Error + Send + Sync>> {
        let mut roots = RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(self.roots.as_bytes()) {
            roots.add(root?)?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider);
        let builder = builder.with_safe_default_protocol_versions()?.with_root_certificates(roots);
        let Some(identity) = self.identity else { return Ok(builder.with_no_client_auth()) };
        let chain = CertificateDer::pem_slice_iter(identity.certificate.as_bytes());
        let chain = chain.collect::<Result<Vec<_>, _>>()?;
        let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes())?;
        Ok(builder.with_client_auth_cert(chain, key)?)
    }
}
