//! Listeners: an address, optional TLS, one HTTP connection manager.

use super::http::{Codec, Http};
use super::read::Table;
use super::tls::{HTTP1, HTTP2, ServerTls};

/// Envoy's own limit for what it holds of a message.
pub(super) const BUFFER: usize = 1024 * 1024;

/// Host (an IP address, for a cluster also a name) and port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// IP address or name.
    pub host: String,
    /// Port; for a listener 0 lets the system choose.
    pub port: u16,
}

/// One listener with one filter chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Its name.
    pub name: String,
    /// Name of the filter chain (`xds.filter_chain_name`); empty without.
    pub chain: String,
    /// Where it listens.
    pub address: Address,
    /// Bytes of one message that are held at most, each way.
    pub buffer: usize,
    /// TLS towards callers.
    pub tls: Option<ServerTls>,
    /// What is spoken on it.
    pub http: Http,
}

impl Address {
    /// Reads an `address`.
    pub(super) fn read(mut table: Table<'_, '_>) -> Option<Self> {
        let socket = table.need_table("socket_address");
        table.done();
        let mut socket = socket?;
        let host = socket.need_text("address");
        socket.need("port_value");
        let port = socket.number("port_value");
        socket.done();
        Some(Self { host: host?, port: port? })
    }
}

impl Listener {
    /// Reads one of `static_resources.listeners`.
    pub(super) fn read(mut table: Table<'_, '_>) -> Option<Self> {
        let report = table.report;
        let name = table.need_text("name");
        let address = table.need_table("address").and_then(Address::read);
        let buffer = table.number("per_connection_buffer_limit_bytes").unwrap_or(BUFFER);
        let chain = table.single("filter_chains");
        table.done();
        let mut chain = chain?;
        let chain_name = chain.text("name").unwrap_or_default();
        let socket = chain.get("transport_socket");
        let tls = chain.table("transport_socket").map(ServerTls::read);
        let filter = chain.single("filters");
        chain.done();
        let http = filter.and_then(read_manager);
        let tls = match tls {
            Some(read) => Some(read?),
            None => None,
        };
        if let (Some(socket), Some(tls), Some(http)) = (socket, &tls, &http)
            && let Some(other) = not_spoken(http.codec, tls)
        {
            report.problem(&socket, format!("expected no {other} beside this codec_type"));
        }
        Some(Self { name: name?, chain: chain_name, address: address?, buffer, tls, http: http? })
    }
}

/// What a caller could be promised and would not get.
fn not_spoken(codec: Codec, tls: &ServerTls) -> Option<&'static str> {
    let other = match codec {
        Codec::Auto => return None,
        Codec::Http1 => HTTP2,
        Codec::Http2 => HTTP1,
    };
    tls.alpn.iter().any(|name| name == other).then_some(other)
}

fn read_manager(mut filter: Table<'_, '_>) -> Option<Http> {
    filter.need_text("name");
    let config = filter.need_table("typed_config");
    filter.done();
    Http::read(config?)
}
