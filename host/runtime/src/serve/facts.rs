//! Properties of a stream that are no part of its messages, as modules read them.
//!
//! Numbers are 64 bits, little endian; times are nanoseconds. Names and meanings are those
//! of Envoy's attributes.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::certificate;
use crate::config::Hosts;
use crate::proxy::exchange::{Exchange, Facts};
use crate::proxy::failure::Flags;

/// What is known of a connection.
pub(crate) struct Connected<'a> {
    pub id: u64,
    pub peer: SocketAddr,
    pub local: SocketAddr,
    pub tls: Option<&'a rustls::ServerConnection>,
    /// What our own certificate says.
    pub own: &'a Facts,
}

fn text(facts: &mut Facts, path: &[&str], value: impl Into<String>) {
    facts.insert(path.join("\0").into_bytes(), value.into().into_bytes());
}

fn number(facts: &mut Facts, path: &[&str], value: u64) {
    facts.insert(path.join("\0").into_bytes(), value.to_le_bytes().to_vec());
}

fn flag(facts: &mut Facts, path: &[&str], value: bool) {
    facts.insert(path.join("\0").into_bytes(), vec![u8::from(value)]);
}

/// `source.…`, `destination.…`, `connection.…`.
pub(crate) fn of_connection(it: &Connected<'_>) -> Facts {
    let mut facts = Facts::new();
    for (name, address) in [("source", it.peer), ("destination", it.local)] {
        text(&mut facts, &[name, "address"], address.to_string());
        number(&mut facts, &[name, "port"], u64::from(address.port()));
    }
    number(&mut facts, &["connection", "id"], it.id);
    number(&mut facts, &["connection_id"], it.id);
    // Envoy learns the name from a listener filter, which this gateway does not have either.
    text(&mut facts, &["connection", "requested_server_name"], "");
    let Some(tls) = it.tls else {
        flag(&mut facts, &["connection", "mtls"], false);
        return facts;
    };
    let version = match tls.protocol_version() {
        Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2",
        Some(rustls::ProtocolVersion::TLSv1_3) => "TLSv1.3",
        _ => "",
    };
    text(&mut facts, &["connection", "tls_version"], version);
    let certificate = tls.peer_certificates().and_then(<[_]>::first);
    flag(&mut facts, &["connection", "mtls"], certificate.is_some());
    text(&mut facts, &["connection", "subject_peer_certificate"], "");
    facts.extend(it.own.iter().map(|(path, value)| (path.clone(), value.clone())));
    if let Some(certificate) = certificate {
        facts.extend(certificate::facts(certificate, "peer"));
        text(&mut facts, &["connection", "peer_certificate"], pem(certificate));
        let digest = ring::digest::digest(&ring::digest::SHA256, certificate);
        let hex: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        text(&mut facts, &["connection", "sha256_peer_certificate_digest"], hex);
    }
    facts
}

fn pem(certificate: &[u8]) -> String {
    let mut pem = "-----BEGIN CERTIFICATE-----\n".to_owned();
    let base64 = BASE64_STANDARD.encode(certificate);
    for (index, character) in base64.chars().enumerate() {
        if index > 0 && index % 64 == 0 {
            pem.push('\n');
        }
        pem.push(character);
    }
    pem + "\n-----END CERTIFICATE-----\n"
}

/// When a request has come.
pub(crate) fn at_start(exchange: &mut Exchange, chain: &str, protocol: &str, now: SystemTime) {
    let facts = &mut exchange.facts;
    text(facts, &["request", "protocol"], protocol);
    number(facts, &["request", "time"], since_1970(now));
    text(facts, &["xds", "filter_chain_name"], chain);
    number(facts, &["response", "flags"], 0);
    number(facts, &["upstream", "request_attempt_count"], 0);
}

/// When the request goes to its upstream. Its address is known by now where the cluster has
/// only one, and else when there is a connection ([`at_host`]).
pub(super) fn at_upstream(exchange: &mut Exchange, hosts: &Hosts) {
    let facts = &mut exchange.facts;
    number(facts, &["upstream", "request_attempt_count"], 1);
    text(facts, &["upstream", "transport_failure_reason"], "");
    text(facts, &["upstream", "locality"], "");
    if let [address] = hosts.addresses.as_slice()
        && let Ok(host) = address.host.parse::<IpAddr>()
    {
        at_host(exchange, SocketAddr::new(host, address.port));
    }
}

/// When the host is known that answers.
pub(super) fn at_host(exchange: &mut Exchange, host: SocketAddr) {
    let facts = &mut exchange.facts;
    text(facts, &["upstream", "address"], host.to_string());
    number(facts, &["upstream", "port"], host.port().into());
}

/// When the upstream's answer has come whole, before filters see its end.
pub(super) fn at_answer(exchange: &mut Exchange, took: Duration) {
    number(&mut exchange.facts, &["response", "backend_latency"], nanos(took));
}

/// What is known at the end of a stream.
pub(crate) struct End {
    pub flags: Flags,
    pub duration: Duration,
}

/// Before the loggers run.
pub(crate) fn at_end(exchange: &mut Exchange, end: &End) {
    let facts = &mut exchange.facts;
    number(facts, &["response", "flags"], end.flags.bits());
    number(facts, &["request", "duration"], nanos(end.duration));
}

fn since_1970(time: SystemTime) -> u64 {
    nanos(time.duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_connection_says_where_it_comes_from_and_that_it_is_plain() {
        let (peer, local) = ("192.0.2.1:4711".parse().unwrap(), "127.0.0.1:80".parse().unwrap());
        let facts = of_connection(&Connected { id: 7, peer, local, tls: None, own: &Facts::new() });
        let of = |path: &str| facts.get(path.as_bytes()).cloned().unwrap_or_default();
        assert_eq!(of("source\0address"), b"192.0.2.1:4711");
        assert_eq!(of("source\0port"), 4711u64.to_le_bytes());
        assert_eq!(of("destination\0port"), 80u64.to_le_bytes());
        assert_eq!(of("connection\0mtls"), [0]);
        assert_eq!(of("connection\0id"), 7u64.to_le_bytes());
    }

    #[test]
    fn a_certificate_is_shown_in_lines_of_64() {
        let shown = pem(&[0; 100]);
        let lines: Vec<usize> = shown.lines().map(str::len).collect();
        assert_eq!(lines, [27, 64, 64, 8, 25]);
    }
}
