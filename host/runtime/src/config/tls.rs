//! TLS contexts, towards callers and towards upstreams.
//!
//! Invariant: towards an upstream there is always a CA and exactly one name to verify;
//! a context that would accept any certificate is a problem.

use super::read::Table;

/// Names of HTTP/1.1 and HTTP/2 in ALPN (RFC 7301, 6 and RFC 9113, 3.2).
pub const HTTP1: &str = "http/1.1";
/// HTTP/2 over TLS.
pub const HTTP2: &str = "h2";

/// A TLS version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// TLS 1.2 (RFC 5246).
    Tls12,
    /// TLS 1.3 (RFC 8446).
    Tls13,
}

/// Towards callers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerTls {
    /// PEM file of the certificate chain.
    pub certificate: String,
    /// PEM file of its key.
    pub key: String,
    /// What is offered by ALPN (RFC 7301), best first; nothing if it is empty.
    pub alpn: Vec<String>,
    /// PEM file of the CAs of client certificates, which are verified where there is one.
    pub client_ca: Option<String>,
    /// Whether a client has to have one.
    pub client_required: bool,
    /// Least and greatest version.
    pub versions: (Version, Version),
}

/// Towards an upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientTls {
    /// Server name indication.
    pub sni: String,
    /// The DNS name that the certificate must hold.
    pub name: String,
    /// PEM file of the CAs.
    pub ca: String,
    /// PEM files of our own certificate chain and its key, shown where the upstream asks.
    pub own: Option<(String, String)>,
    /// What the file says of ALPN; the cluster's protocol decides where it says nothing.
    pub alpn: Vec<String>,
    /// Least and greatest version.
    pub versions: (Version, Version),
}

const WORDS: &[(&str, Version)] = &[("TLSv1_2", Version::Tls12), ("TLSv1_3", Version::Tls13)];
const PACKAGE: &str = "envoy.extensions.transport_sockets.tls.v3";

/// The typed config of a `transport_socket`.
fn context<'a, 'r>(mut socket: Table<'a, 'r>, kind: &str) -> Option<Table<'a, 'r>> {
    socket.need_text("name");
    let config = socket.need_table("typed_config");
    socket.done();
    let mut config = config?;
    config.typed(&format!("{PACKAGE}.{kind}"))?;
    Some(config)
}

/// Envoy's defaults: up to 1.3 towards callers, up to 1.2 towards upstreams.
fn versions(common: &mut Table<'_, '_>, newest: Version) -> (Version, Version) {
    let Some(mut params) = common.table("tls_params") else { return (Version::Tls12, newest) };
    let least = params.word("tls_minimum_protocol_version", WORDS).unwrap_or(Version::Tls12);
    let most = params.word("tls_maximum_protocol_version", WORDS).unwrap_or(newest);
    if least > most {
        params.report.problem(&params.at, "expected a maximum that is not below the minimum");
    }
    params.done();
    (least, most)
}

/// `alpn_protocols`: only what is spoken here.
fn alpn(common: &mut Table<'_, '_>) -> Vec<String> {
    for at in common.list("alpn_protocols") {
        let known = at.text().filter(|name| [HTTP1, HTTP2].contains(name));
        common.expected(&at, known, "h2 or http/1.1");
    }
    common.texts("alpn_protocols")
}

fn file(table: &mut Table<'_, '_>, key: &'static str) -> Option<String> {
    let mut source = table.need_table(key)?;
    let name = source.need_text("filename");
    source.done();
    name
}

impl ServerTls {
    /// Reads the `transport_socket` of a filter chain.
    pub(super) fn read(socket: Table<'_, '_>) -> Option<Self> {
        let mut config = context(socket, "DownstreamTlsContext")?;
        let required = config.flag("require_client_certificate");
        let common = config.need_table("common_tls_context");
        config.done();
        let mut common = common?;
        let versions = versions(&mut common, Version::Tls13);
        let alpn = alpn(&mut common);
        let pair = common.single("tls_certificates").and_then(read_pair);
        let validation = common.table("validation_context");
        let client_ca = validation.and_then(|mut validation| {
            let ca = file(&mut validation, "trusted_ca");
            validation.done();
            ca
        });
        if required && client_ca.is_none() {
            let text = "expected a validation_context, since client certificates are required";
            common.report.problem(&common.at, text);
        }
        common.done();
        let (certificate, key) = pair?;
        Some(Self { certificate, key, alpn, client_ca, client_required: required, versions })
    }
}

fn read_pair(mut table: Table<'_, '_>) -> Option<(String, String)> {
    let (certificate, key) =
        (file(&mut table, "certificate_chain"), file(&mut table, "private_key"));
    table.done();
    Some((certificate?, key?))
}

impl ClientTls {
    /// Reads the `transport_socket` of a cluster.
    pub(super) fn read(socket: Table<'_, '_>) -> Option<Self> {
        let mut config = context(socket, "UpstreamTlsContext")?;
        let sni = config.need_text("sni");
        let common = config.need_table("common_tls_context");
        config.done();
        let mut common = common?;
        let versions = versions(&mut common, Version::Tls12);
        let alpn = alpn(&mut common);
        let own = match common.get("tls_certificates").is_some() {
            true => common.single("tls_certificates").and_then(read_pair),
            false => None,
        };
        let validation = common.need_table("validation_context");
        common.done();
        let mut validation = validation?;
        let ca = file(&mut validation, "trusted_ca");
        let matcher = validation.single("match_typed_subject_alt_names");
        validation.done();
        let name = matcher.and_then(read_name);
        Some(Self { sni: sni?, name: name?, ca: ca?, own, alpn, versions })
    }
}

fn read_name(mut table: Table<'_, '_>) -> Option<String> {
    table.need("san_type");
    table.word("san_type", &[("DNS", ())]);
    let matcher = table.need_table("matcher");
    table.done();
    let mut matcher = matcher?;
    let name = matcher.need_text("exact");
    matcher.done();
    name
}
