//! TLS towards callers: who is let in, and what modules learn of who they are.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use postern_rig::authority::{Authority, DnType, Identity};
use postern_rig::gateway::Config;
use postern_rig::tls::TlsClient;
use serde_json::{Value, json};

use super::{Seen, expect, telling};
use crate::gateway::{Clients, Gateway, Site, speak};

const PATIENCE: Duration = Duration::from_secs(10);
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: api.test\r\nconnection: close\r\n\r\n";

/// Properties, with what a caller with a certificate and one without has of each.
const PROPERTIES: [(&str, Option<&str>, Option<&str>); 8] = [
    (
        "connection\0subject_peer_certificate",
        Some("CN=\\#caf\\C3\\A9\\, 1,OU=team\\+a,O=rig"),
        Some(""),
    ),
    ("connection\0uri_san_peer_certificate", Some("spiffe://rig.test/one"), None),
    ("connection\0dns_san_peer_certificate", Some("one.test"), None),
    ("connection\0subject_local_certificate", Some("CN=front.test"), Some("CN=front.test")),
    (
        "connection\0uri_san_local_certificate",
        Some("spiffe://rig.test/front"),
        Some("spiffe://rig.test/front"),
    ),
    ("connection\0dns_san_local_certificate", Some("front.test"), Some("front.test")),
    ("connection\0requested_server_name", Some(""), Some("")),
    ("connection\0tls_version", Some("TLSv1.3"), Some("TLSv1.3")),
];

/// A ClientHello of TLS 1.1 (RFC 4346, 7.4.1.2) with one cipher suite.
fn old_hello() -> Vec<u8> {
    let body = [&[0x03, 0x02][..], &[7; 32], &[0], &[0, 2, 0x00, 0x2f], &[1, 0]].concat();
    let length = |bytes: &[u8]| u8::try_from(bytes.len()).unwrap_or_default();
    let hello = [&[1, 0, 0, length(&body)][..], &body].concat();
    [&[0x16, 0x03, 0x01, 0, length(&hello)][..], &hello].concat()
}

/// With and without client certificates.
pub fn callers(site: &Site, seen: &mut Seen) -> Result<Vec<String>> {
    let authority = Authority::new()?;
    let stranger = Authority::new()?;
    let names = ["spiffe://rig.test/front", "front.test"];
    let front = authority.identity(&[(DnType::CommonName, "front.test")], &names)?;
    let subject = [
        (DnType::OrganizationName, "rig"),
        (DnType::OrganizationalUnitName, "team+a"),
        (DnType::CommonName, "#caf\u{e9}, 1"),
    ];
    let names = ["spiffe://rig.test/one", "spiffe://rig.test/two", "one.test", "two.test"];
    let known = authority.identity(&subject, &names)?;
    let unknown = stranger.identity(&subject, &names)?;
    let ended = authority.ended("spiffe://rig.test/one")?;
    let roots = authority.root_pem();
    let client =
        |identity| TlsClient { roots: &roots, identity, name: "front.test", patience: PATIENCE };
    let mut lines = Vec::new();
    for required in [true, false] {
        let gateway = start(site, &front, required.then_some(roots.as_str()))?;
        let port = gateway.process.port("ingress")?;
        let what = if required { "mutual" } else { "plain" };
        let answer = client(Some(&known)).ask(port, REQUEST);
        told(&mut lines, what, &told_upstream(site, answer), required);
        let without = client(None).ask(port, REQUEST).is_ok();
        expect(&mut lines, &format!("{what}: without a certificate"), !required, without);
        let other = client(Some(&unknown)).ask(port, REQUEST).is_ok();
        expect(&mut lines, &format!("{what}: of another authority"), !required, other);
        let late = client(Some(&ended)).ask(port, REQUEST).is_ok();
        expect(&mut lines, &format!("{what}: with one that has expired"), !required, late);
        expect(&mut lines, &format!("{what}: TLS 1.1 is answered"), false, greets(port)?);
        site.take_forwarded();
        seen.keep(site, gateway)?;
    }
    Ok(lines)
}

fn start(site: &Site, front: &Identity, client_ca: Option<&str>) -> Result<Gateway> {
    let mut config = site.config(None)?;
    let paths: Vec<&str> = PROPERTIES.iter().map(|(path, ..)| *path).collect();
    let module = telling::written(site, &paths)?;
    only(&mut config, &module)?;
    speak(site, &mut config, front, client_ca.map_or(Clients::None, Clients::Required))?;
    Gateway::with(site, &config)
}

/// Leaves the one module in the listener, and none in front of the upstream.
fn only(config: &mut Config, module: &Path) -> Result<()> {
    let manager =
        &mut config.listener("ingress")?["filter_chains"][0]["filters"][0]["typed_config"];
    if let Some(loggers) = manager["access_log"].as_array_mut() {
        loggers.retain(|logger| logger["typed_config"]["config"].is_null());
    }
    let plugin = json!({
        "name": "telling",
        "failure_policy": "FAIL_CLOSED",
        "vm_config": {
            "vm_id": "telling",
            "runtime": "envoy.wasm.runtime.v8",
            "code": {"local": {"filename": module.display().to_string()}},
        },
    });
    manager["http_filters"][0] = json!({"name": "telling", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
        "config": plugin,
    }});
    let options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    let filters =
        &mut config.cluster("api")?["typed_extension_protocol_options"][options]["http_filters"];
    if let Some(filters) = filters.as_array_mut() {
        filters.retain(|filter: &Value| filter["typed_config"]["config"].is_null());
    }
    Ok(())
}

/// The fields of the one request that came of an answer.
fn told_upstream(site: &Site, answer: std::io::Result<Vec<u8>>) -> Vec<Option<String>> {
    let answered = answer.is_ok_and(|answer| answer.starts_with(b"HTTP/1.1 200"));
    let requests = site.upstreams.get("api").map(|upstream| upstream.take()).unwrap_or_default();
    let request = requests.first().filter(|_| answered);
    let field = |number: usize| request.and_then(|request| request.text(&format!("p-{number}")));
    (0..PROPERTIES.len()).map(field).collect()
}

fn told(lines: &mut Vec<String>, what: &str, got: &[Option<String>], with_certificate: bool) {
    for ((path, with, without), got) in PROPERTIES.iter().zip(got) {
        let want = if with_certificate { with } else { without };
        let what = format!("{what}: {}", path.replace('\0', "."));
        expect(lines, &what, want.map(str::to_owned), got.clone());
    }
}

/// Whether the gateway says hello to a client of TLS 1.1.
fn greets(port: u16) -> Result<bool> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(&old_hello())?;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    // A record of the handshake; an alert is 21.
    Ok(answer.first() == Some(&22))
}
