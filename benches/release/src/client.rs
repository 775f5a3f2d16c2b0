//! One connection of a gateway: HTTP/1.1 over TLS, used again for each message.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

const PATIENCE: Duration = Duration::from_secs(20);

/// What believes the service whose authority is in `file`.
pub fn trusting(file: &Path) -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(file)?)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// A connection.
pub struct Client {
    stream: StreamOwned<ClientConnection, TcpStream>,
}

impl Client {
    /// Connects; the handshake comes with the first message.
    pub fn connect(config: &Arc<ClientConfig>, address: SocketAddr) -> Result<Self> {
        let socket = TcpStream::connect(address)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_nodelay(true)?;
        let name = ServerName::try_from("localhost")?;
        let client = ClientConnection::new(Arc::clone(config), name)?;
        Ok(Self { stream: StreamOwned::new(client, socket) })
    }

    /// Sends a sealed message; status and content of the answer.
    pub fn post(&mut self, body: &[u8]) -> Result<(u16, Vec<u8>)> {
        let length = body.len();
        let head = format!(
            "POST /crp/v1/message HTTP/1.1\r\nhost: localhost\r\n\
             content-type: application/crp\r\ncontent-length: {length}\r\n\r\n"
        );
        self.stream.write_all(&[head.as_bytes(), body].concat())?;
        let mut read = Vec::with_capacity(2048);
        let end = loop {
            self.more(&mut read)?;
            if let Some(at) = read.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
        };
        let head = String::from_utf8_lossy(&read[..end]).to_ascii_lowercase();
        let status = head.get(9..12).and_then(|text| text.parse().ok()).context("status")?;
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
        let length: usize = length.context("content-length")?.trim().parse()?;
        while read.len() < end + length {
            self.more(&mut read)?;
        }
        Ok((status, read.split_off(end)))
    }

    fn more(&mut self, read: &mut Vec<u8>) -> Result<()> {
        let mut some = [0; 4096];
        match self.stream.read(&mut some)? {
            0 => bail!("the key service closed the connection"),
            count => read.extend_from_slice(&some[..count]),
        }
        Ok(())
    }
}
