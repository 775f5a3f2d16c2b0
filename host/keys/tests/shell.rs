//! The HTTP shell over real sockets: TLS only, limits, clean end.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use postern_crp::Role;
use postern_crp::message::Status;
use postern_keys::audit::verify_export;
use postern_keys::{http, operator_auth, tls};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use support::*;

fn connect(address: SocketAddr, roots: &RootCertStore) -> StreamOwned<ClientConnection, TcpStream> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots.clone())
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let client = ClientConnection::new(Arc::new(config), name).unwrap();
    StreamOwned::new(client, TcpStream::connect(address).unwrap())
}

fn exchange(address: SocketAddr, roots: &RootCertStore, request: Vec<u8>) -> String {
    let mut stream = connect(address, roots);
    stream.write_all(&request).unwrap();
    let mut answer = Vec::new();
    // The end without close_notify is an error to rustls; what came before it counts.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn request(method: &str, path: &str, fields: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {length}\r\n{fields}\r\n"
    );
    [head.as_bytes(), body].concat()
}

/// An operator enrolled now.
async fn operator(world: &World) -> Party {
    let now = http::now();
    let (_, operator) = world.service.mint("acme", now).await.unwrap();
    let mut party = Party::new("");
    let enrolled = world.ask(&party, &enrolment(operator.token, Role::Operator, &party), now).await;
    assert_eq!(status(&enrolled), Status::Ok);
    party.id = operator.operator_id;
    party
}

/// GET, signed by an operator.
fn signed(party: &Party, path: &str) -> Vec<u8> {
    let parts = operator_auth::Request {
        method: "GET",
        authority: "localhost",
        path,
        query: "",
        body: b"",
    };
    let fields = operator_auth::sign(&parts, &claim(party, http::now()), &signing(party));
    let fields = format!(
        "content-digest: {}\r\nsignature-input: {}\r\nsignature: {}\r\n",
        fields.content_digest, fields.signature_input, fields.signature
    );
    request("GET", path, &fields, b"")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shell_speaks_tls_only_bounds_requests_and_stops() {
    let world = World::on_disk().await;
    let running = http::start(world.service.clone(), &world.config).await.unwrap();
    let address = running.address();
    let roots = roots(&world);
    let signed = signed(&operator(&world).await, "/api/v1/keys");
    let replayed = signed.clone();
    let crp = "content-type: application/crp\r\n";
    let rows = [
        (request("GET", "/health", "", b""), "200", "\"attestation\":\"SIMULATED\""),
        (request("GET", "/ready", "", b""), "200", "\"ready\":true"),
        (request("GET", "/crp/v1/evidence", "", b""), "200", "\"kind\":\"sim\""),
        (
            request("POST", "/crp/v1/evidence", "", b"{\"nonce\":\"AAAAAAAAAAAAAAAAAAAAAA\"}"),
            "200",
            "sim",
        ),
        (request("POST", "/crp/v1/evidence", "", b"{}"), "400", "bad_request"),
        (request("GET", "/audit/signing-key", "", b""), "200", "Ed25519"),
        (
            request("POST", "/crp/v1/message", crp, b"rubbish"),
            "400",
            "x-crp-attestation: SIMULATED",
        ),
        (request("POST", "/crp/v1/message", "", b"rubbish"), "400", ""),
        (request("POST", "/crp/v1/message", crp, &vec![0; 65_537]), "413", ""),
        (request("GET", "/api/v1/credentials", "", b""), "401", "invalid_token"),
        (request("GET", "/nothing", "", b""), "401", "invalid_token"),
        (request("DELETE", "/health", "", b""), "405", ""),
        (signed, "200", "\"keys\":[]"),
        (replayed, "401", "invalid_token"),
    ];
    let asked = tokio::task::spawn_blocking(move || {
        for (request, status, part) in rows {
            let answer = exchange(address, &roots, request.clone());
            let first = String::from_utf8_lossy(&request[..40]).into_owned();
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{first}: {answer}");
            assert!(answer.contains(part), "{first}: {answer}");
        }
        let mut plain = TcpStream::connect(address).unwrap();
        plain.write_all(&request("GET", "/health", "", b"")).unwrap();
        let mut answer = Vec::new();
        let _ = plain.read_to_end(&mut answer);
        assert!(!String::from_utf8_lossy(&answer).contains("HTTP/1.1"));
    });
    asked.await.unwrap();
    running.stop().await;
    assert!(TcpStream::connect(address).is_err());
}

fn roots(world: &World) -> RootCertStore {
    let pem = std::fs::read(tls::authority_file(&world.config).unwrap()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(&pem).unwrap()).unwrap();
    roots
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_send_slowly_do_not_keep_others_out() {
    let mut world = World::on_disk().await;
    world.config.limits.in_flight = 2;
    let running = http::start(world.service.clone(), &world.config).await.unwrap();
    let (address, roots) = (running.address(), roots(&world));
    let asked = tokio::task::spawn_blocking(move || {
        let crp = "content-type: application/crp\r\n";
        let whole = request("POST", "/crp/v1/message", crp, &[0; 1000]);
        let slow: Vec<_> = (0..8)
            .map(|_| {
                let mut stream = connect(address, &roots);
                stream.write_all(&whole[..whole.len() - 1]).unwrap();
                stream
            })
            .collect();
        let answer = exchange(address, &roots, request("GET", "/ready", "", b""));
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        drop(slow);
    });
    asked.await.unwrap();
    running.stop().await;
}

/// Reads to the end, and says how the connection ended: with a clean end or a reset.
fn ended(mut stream: StreamOwned<ClientConnection, TcpStream>) -> bool {
    stream.sock.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let end = stream.read_to_end(&mut Vec::new());
    !end.is_err_and(|e| matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_asks_nothing_is_closed() {
    let mut world = World::on_disk().await;
    world.config.limits.idle = Duration::from_millis(300);
    let running = http::start(world.service.clone(), &world.config).await.unwrap();
    let (address, roots) = (running.address(), roots(&world));
    let asked = tokio::task::spawn_blocking(move || {
        let handshake_only = || {
            let mut stream = connect(address, &roots);
            stream.conn.complete_io(&mut stream.sock).unwrap();
            stream
        };
        let mut half_a_head = handshake_only();
        half_a_head.write_all(b"GET /health HTTP/1.1\r\nhost: ").unwrap();
        let mut after_a_request = handshake_only();
        after_a_request.write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
        let mut preface_only = handshake_only();
        preface_only.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
        let rows = [handshake_only(), half_a_head, after_a_request, preface_only];
        for (at, stream) in rows.into_iter().enumerate() {
            assert!(ended(stream), "row {at}");
        }
        // Not even TLS.
        let mut silent = TcpStream::connect(address).unwrap();
        silent.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let end = silent.read(&mut [0]);
        assert!(!end.is_err_and(|e| e.kind() == ErrorKind::WouldBlock), "still open");
    });
    asked.await.unwrap();
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_connections_are_open_than_the_limit_says() {
    let mut world = World::on_disk().await;
    world.config.limits.connections = 2;
    let running = http::start(world.service.clone(), &world.config).await.unwrap();
    let (address, roots) = (running.address(), roots(&world));
    let asked = tokio::task::spawn_blocking(move || {
        let open = || {
            let mut stream = connect(address, &roots);
            stream.conn.complete_io(&mut stream.sock).map(|_| stream)
        };
        let (first, _second) = (open().unwrap(), open().unwrap());
        assert!(open().is_err(), "a third");
        drop(first);
        let again = (0..1000).find_map(|_| open().ok());
        assert!(again.is_some(), "the place of one that left");
    });
    asked.await.unwrap();
    running.stop().await;
}

/// The content of chunks, if they end as they should.
fn unchunked(mut rest: &str) -> Option<String> {
    let mut content = String::new();
    loop {
        let (size, more) = rest.split_once("\r\n")?;
        let size = usize::from_str_radix(size, 16).ok()?;
        if size == 0 {
            return Some(content);
        }
        content.push_str(more.get(..size)?);
        rest = more.get(size..)?.strip_prefix("\r\n")?;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_of_thousands_is_streamed_and_checked_in_a_time_of_its_own() {
    let mut world = World::in_memory().await;
    let acme = operator(&world).await;
    for _ in 0..750 {
        world.service.mint("acme", http::now()).await.unwrap();
    }
    let key = world.service.audit_key();
    for (seconds, good) in [(60, true), (0, false)] {
        world.config.limits.audit = Duration::from_secs(seconds);
        let running = http::start(world.service.clone(), &world.config).await.unwrap();
        let (address, roots) = (running.address(), roots(&world));
        let asks = ["/audit/export", "/audit/integrity"].map(|path| signed(&acme, path));
        let others = request("GET", "/ready", "", b"");
        let asked = tokio::task::spawn_blocking(move || {
            let answers = asks.map(|ask| exchange(address, &roots, ask));
            assert!(exchange(address, &roots, others).starts_with("HTTP/1.1 200 "));
            answers
        });
        let [export, integrity] = asked.await.unwrap();
        if good {
            let (head, content) = export.split_once("\r\n\r\n").unwrap();
            assert!(head.contains("transfer-encoding: chunked"), "{head}");
            let report = verify_export(unchunked(content).unwrap().as_bytes(), &key, None);
            assert!(report.broken.is_none() && report.good > 3000, "{report:?}");
            assert!(integrity.contains("\"intact\":true"), "{integrity}");
        } else {
            // Not even begun, or broken off: never an answer that looks whole.
            let content = export.split_once("\r\n\r\n").map(|(_, content)| content);
            let begun = export.starts_with("HTTP/1.1 200 ");
            assert!(!begun || content.and_then(unchunked).is_none(), "{export}");
            assert!(integrity.starts_with("HTTP/1.1 503 "), "{integrity}");
        }
        // The service stays open for the second round.
        drop(running);
    }
}
