//! WebSockets through the gateway: frames of either side as they stand on the wire.
//!
//! The upstream is a socket of our own, which notes what it gets behind the handshake.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{Caller, Seen, expect};
use crate::gateway::{Gateway, Site};
use crate::observation::{comparable, text};

/// Nothing more is expected after this long.
const QUIET: Duration = Duration::from_millis(400);
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two pieces, so that the gateway reads them one by one.
const PACE: Duration = Duration::from_millis(20);

const AGREE: &str = "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\
                     connection: Upgrade\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";

/// One WebSocket. Texts are templates; those of the caller are put into a mask.
#[derive(Clone, Copy)]
struct Row {
    name: &'static str,
    credential: &'static str,
    /// Head of the upstream's answer.
    answer: &'static str,
    /// Pieces that follow it.
    says: &'static [&'static str],
    /// What the caller sends once it has the answer: first byte and text of each frame.
    sends: &'static [(u8, &'static str)],
    /// What the caller gets.
    status: &'static str,
    gets: &'static str,
    /// Whether the gateway ends it.
    cut: bool,
    /// Texts of the frames that get to the upstream.
    passes: &'static [&'static str],
    /// Of the audit record.
    reason: Option<&'static str>,
    hits: u64,
}

const ROW: Row = Row {
    name: "",
    credential: "stream",
    answer: AGREE,
    says: &[],
    sends: &[],
    status: "101",
    gets: "",
    cut: false,
    passes: &[],
    reason: None,
    hits: 0,
};

const SPLIT: &[&str] =
    &["${byte 01}${byte 04}a ws${byte 89}", "${byte 01}p${byte 80}${byte 10}+Key/7pQ=x9Zt~2 "];

#[rustfmt::skip]
const ROWS: &[Row] = &[
    Row { name: "text both ways", says: &["${byte 81}${byte 05}Hello"], sends: &[(0x81, "hi"), (0x89, "p"), (0x88, "")], gets: "\\x81\\x05Hello", passes: &["hi", "p", ""], ..ROW },
    Row { name: "fragments both ways", says: &["${byte 01}${byte 03}Hel", "${byte 80}${byte 02}lo"], sends: &[(0x01, "in "), (0x80, "parts")], gets: "\\x81\\x05Hello", passes: &["in ", "parts"], ..ROW },
    Row { name: "the value in a message", says: &["${byte 81}${byte 1a}Bearer ${secret stream}!!"], gets: "\\x81\\x0c[REDACTED]!!", hits: 1, ..ROW },
    Row { name: "the value over fragments with a ping between", says: SPLIT, gets: "\\x89\\x01p\\x81\\x0da [REDACTED] ", hits: 1, ..ROW },
    Row { name: "the value in base64", says: &["${byte 81}${byte 18}${secret stream | base64}"], gets: "\\x81\n[REDACTED]", hits: 1, ..ROW },
    Row { name: "the value in a ping", says: &["${byte 89}${byte 11}${secret stream}"], cut: true, reason: Some("websocket_control"), hits: 1, ..ROW },
    Row { name: "the value in a close", says: &["${byte 88}${byte 13}${byte 03}${byte e8}${secret stream}"], cut: true, reason: Some("websocket_control"), hits: 1, ..ROW },
    Row { name: "binary of the upstream", says: &["${byte 82}${byte 11}${secret stream}"], cut: true, reason: Some("websocket_frame"), ..ROW },
    Row { name: "compressed by the upstream", says: &["${byte c1}${byte 07}${byte f2}H${byte cd}${byte c9}${byte c9}${byte 07}${byte 00}"], cut: true, reason: Some("websocket_frame"), ..ROW },
    Row { name: "HTTP of the upstream", says: &["HTTP/1.1 200 OK\r\n\r\n${secret stream}"], cut: true, reason: Some("websocket_frame"), ..ROW },
    Row { name: "a message without end", says: &["${byte 81}${byte 7f}${byte 00}${byte 00}${byte 00}${byte 00}${byte 7f}${byte ff}${byte ff}${byte ff}aaaa"], cut: true, reason: Some("websocket_message"), ..ROW },
    Row { name: "a placeholder of the caller", sends: &[(0x81, "say <CREDENTIAL:stream>")], cut: true, reason: Some("in_message"), ..ROW },
    Row { name: "an encoded placeholder over fragments", sends: &[(0x01, "%3cCRED"), (0x80, "ENTIAL:stream%3e")], cut: true, passes: &["%3cCRED"], reason: Some("in_message"), ..ROW },
    Row { name: "a placeholder in a close", sends: &[(0x88, "xx<CREDENTIAL:stream>")], cut: true, reason: Some("in_message"), ..ROW },
    Row { name: "the value from the caller", sends: &[(0x81, "say ${secret stream}")], cut: true, reason: Some("secret_in_request"), ..ROW },
    Row { name: "the value from the caller over fragments", sends: &[(0x01, "say ws+Ke"), (0x80, "y/7pQ=x9Zt~2")], cut: true, passes: &["say ws+Ke"], reason: Some("secret_in_request"), ..ROW },
    Row { name: "the value in a pong of the caller", sends: &[(0x8a, "${secret stream}")], cut: true, reason: Some("secret_in_request"), ..ROW },
    Row { name: "binary of the caller", sends: &[(0x82, "hi")], cut: true, reason: Some("websocket_frame"), ..ROW },
    Row { name: "compressed by the caller", sends: &[(0xc1, "hi")], cut: true, reason: Some("websocket_frame"), ..ROW },
    Row { name: "extensions that nobody offered", answer: "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-extensions: permessage-deflate\r\n", says: &["${byte 81}${byte 05}Hello"], status: "502", reason: Some("websocket_extensions"), ..ROW },
    Row { name: "another protocol", answer: "HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\nconnection: Upgrade\r\n", says: &["${byte 81}${byte 05}Hello"], status: "502", reason: Some("websocket_extensions"), ..ROW },
    Row { name: "declined, with an echo", answer: "HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nx-echo: ${secret stream}\r\n", status: "403", hits: 1, ..ROW },
    Row { name: "a credential without leave", credential: "slack", status: "403", reason: Some("credential_websocket"), ..ROW },
    Row { name: "no credential", credential: "", status: "400", reason: Some("upgrade"), ..ROW },
];

/// Other ways out of HTTP, where WebSockets are let through: fields beside a key and a good
/// credential, status, and whether the request gets to the upstream.
const OTHERS: &[(&str, &str, bool)] = &[
    ("connection: upgrade\r\nupgrade: websocket\r\n", "400", false),
    (
        "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 8\r\n",
        "400",
        false,
    ),
    (
        "connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n",
        "200",
        true,
    ),
    ("connection: upgrade\r\nupgrade: foo\r\n", "403", false),
];

/// Each row on a connection of its own.
pub fn of_text(site: &Site, seen: &mut Seen) -> Result<Vec<String>> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut config = site.config(None)?;
    config.cluster_at("api", listener.local_addr()?.port())?;
    let binding = site.world.base.credentials.get("stream").context("no such credential")?;
    let binding = serde_json::to_value(&binding.binding)?;
    for module in ["gate", "credential"] {
        config.module(module, |document| {
            document["bindings"].as_array_mut().into_iter().for_each(|it| it.push(binding.clone()));
        });
    }
    let hcm = &mut config.listener("ingress")?["filter_chains"][0]["filters"][0]["typed_config"];
    hcm["upgrade_configs"] = json!([{"upgrade_type": "websocket"}]);
    let gateway = Gateway::with(site, &config)?;
    let caller = Caller::new(site, "websocket")?;
    site.world.take_records()?;
    let mut lines = Vec::new();
    for row in ROWS {
        let found = run(site, &gateway, &caller, &listener, row).context(row.name)?;
        lines.extend(found.into_iter().map(|line| format!("{}: {line}", row.name)));
    }
    lines.extend(early(site, &gateway, &caller, &listener)?);
    for (fields, status, reached) in OTHERS {
        let found = other(site, &gateway, &caller, &listener, (fields, status, *reached))?;
        lines.extend(found.into_iter().map(|line| format!("{fields:?}: {line}")));
    }
    seen.keep(site, gateway)?;
    Ok(lines)
}

fn run(
    site: &Site,
    gateway: &Gateway,
    caller: &Caller,
    listener: &TcpListener,
    row: &Row,
) -> Result<Vec<String>> {
    let upstream = is_reached(row).then(|| peer(site, caller, listener, row)).transpose()?;
    let mut client = connect(gateway)?;
    client.write_all(&handshake(site, caller, row.credential)?)?;
    let head = head_of(&mut client)?;
    for (first, words) in row.sends {
        client.write_all(&frame(*first, &caller.expand(site, words)?))?;
        std::thread::sleep(PACE);
    }
    let mut lines = Vec::new();
    let status = head.split(' ').nth(1).unwrap_or_default().to_owned();
    // Envoy closes a second after it has cut.
    let (got, ended) = rest_of(&mut client, if row.cut { PATIENCE } else { QUIET })?;
    expect(&mut lines, "status", row.status.to_owned(), status);
    if row.status == "101" {
        expect(&mut lines, "the caller gets", row.gets.to_owned(), text(&got));
        expect(&mut lines, "cut", row.cut, ended);
    }
    drop(client);
    let secret = caller.secret(site, "stream").into_bytes();
    let shown = memchr::memmem::find(&got, &secret).is_some();
    expect(&mut lines, "shows the secret", false, shown);
    if let Some(upstream) = upstream {
        let (head, got) = upstream.join().ok().context("upstream")??;
        let frames = row
            .passes
            .iter()
            .zip(row.sends)
            .map(|(words, (first, _))| text(&frame(*first, words.as_bytes())));
        expect(&mut lines, "passes", frames.collect::<String>(), text(&got));
        lines.extend(leaves(site, caller, &head));
    }
    lines.extend(recorded(site, row)?);
    Ok(lines)
}

/// Whether the handshake gets to the upstream.
fn is_reached(row: &Row) -> bool {
    row.credential == "stream"
}

/// The handshake as the upstream got it.
fn leaves(site: &Site, caller: &Caller, head: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let head = head.replace(": Upgrade\r\n", ": upgrade\r\n");
    let bearer = format!("authorization: Bearer {}\r\n", caller.secret(site, "stream"));
    for wanted in [bearer.as_str(), "upgrade: websocket\r\n", "connection: upgrade\r\n"] {
        expect(&mut lines, &format!("the handshake has {wanted:?}"), true, head.contains(wanted));
    }
    for unwanted in ["sec-websocket-extensions", "x-tap-"] {
        let has = head.to_ascii_lowercase().contains(unwanted);
        expect(&mut lines, &format!("the handshake has {unwanted:?}"), false, has);
    }
    lines
}

fn recorded(site: &Site, row: &Row) -> Result<Vec<String>> {
    let records = site.wait_for_records(1)?;
    let record = records.first().and_then(|record| comparable(record)).unwrap_or_default();
    let mut lines = Vec::new();
    let reason = record.get("reason").and_then(Value::as_str);
    expect(&mut lines, "reason", row.reason, reason);
    let hits = record.get("scrub_hits").and_then(Value::as_str).unwrap_or("0");
    expect(&mut lines, "hits", row.hits.to_string(), hits.to_owned());
    Ok(lines)
}

/// A frame behind the handshake, before the upstream has answered, never gets there.
fn early(
    site: &Site,
    gateway: &Gateway,
    caller: &Caller,
    listener: &TcpListener,
) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    let mut client = connect(gateway)?;
    let sent = [handshake(site, caller, "stream")?, frame(0x81, b"early")].concat();
    client.write_all(&sent)?;
    let (got, _) = rest_of(&mut client, QUIET)?;
    drop(client);
    let agreed = memchr::memmem::find(&got, b" 101 ").is_some();
    expect(&mut lines, "early bytes: agreed", false, agreed);
    listener.set_nonblocking(true)?;
    while let Ok((mut stream, _)) = listener.accept() {
        stream.set_nonblocking(false)?;
        let (got, _) = rest_of(&mut stream, QUIET)?;
        let frame = frame(0x81, b"early");
        let passed = memchr::memmem::find(&got, &frame).is_some();
        expect(&mut lines, "early bytes: passed", false, passed);
    }
    listener.set_nonblocking(false)?;
    site.wait_for_records(1)?;
    Ok(lines)
}

/// A request that is no WebSocket: refused, or sent on as what it is without the upgrade.
fn other(
    site: &Site,
    gateway: &Gateway,
    caller: &Caller,
    listener: &TcpListener,
    (fields, status, reached): (&str, &str, bool),
) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n";
    let row = Row { answer, ..ROW };
    let upstream = reached.then(|| peer(site, caller, listener, &row)).transpose()?;
    let mut client = connect(gateway)?;
    let head = format!(
        "GET /api/live HTTP/1.1\r\nhost: api.test\r\nx-tap-key: ${{key alice}}\r\n\
         x-tap-credential: stream\r\n{fields}\r\n"
    );
    client.write_all(&caller.expand(site, &head)?)?;
    let head = head_of(&mut client)?;
    expect(&mut lines, "status", Some(status), head.split(' ').nth(1));
    drop(client);
    if let Some(upstream) = upstream {
        // The connection may be kept: what counts is the head.
        let head = upstream.join().ok().context("upstream")?.map(|(head, _)| head)?;
        expect(&mut lines, "an upgrade leaves", false, head.to_lowercase().contains("upgrade"));
    }
    site.wait_for_records(1)?;
    Ok(lines)
}

fn connect(gateway: &Gateway) -> io::Result<TcpStream> {
    let client = TcpStream::connect((Ipv4Addr::LOCALHOST, gateway.port()))?;
    client.set_read_timeout(Some(PATIENCE))?;
    client.set_nodelay(true)?;
    Ok(client)
}

fn handshake(site: &Site, caller: &Caller, credential: &str) -> Result<Vec<u8>> {
    let credential = match credential {
        "" => String::new(),
        name => format!("x-tap-credential: {name}\r\n"),
    };
    let head = format!(
        "GET /api/live HTTP/1.1\r\nhost: api.test\r\nx-tap-key: ${{key alice}}\r\n{credential}\
         connection: keep-alive, Upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\
         sec-websocket-extensions: permessage-deflate; client_max_window_bits\r\n\r\n"
    );
    caller.expand(site, &head)
}

/// A frame of a caller.
fn frame(first: u8, words: &[u8]) -> Vec<u8> {
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    let masked: Vec<u8> = words.iter().zip(mask.iter().cycle()).map(|(a, b)| a ^ b).collect();
    let length = u8::try_from(words.len()).unwrap_or(u8::MAX);
    [&[first, 0x80 | length], &mask[..], &masked].concat()
}

type Heard = io::Result<(String, Vec<u8>)>;

/// The upstream of one row: the handshake, and what came behind it.
fn peer(
    site: &Site,
    caller: &Caller,
    listener: &TcpListener,
    row: &Row,
) -> Result<JoinHandle<Heard>> {
    let listener = listener.try_clone()?;
    let answer = caller.expand(site, &format!("{}\r\n", row.answer))?;
    let says: Vec<Vec<u8>> =
        row.says.iter().map(|piece| caller.expand(site, piece)).collect::<Result<_>>()?;
    Ok(std::thread::spawn(move || {
        let (mut stream, _) = listener.accept()?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        let head = head_of(&mut stream)?;
        for piece in [answer].into_iter().chain(says) {
            // The gateway may have had enough.
            let _ = stream.write_all(&piece);
            std::thread::sleep(PACE);
        }
        // Until the gateway closes, or keeps an idle connection.
        let (got, _) = rest_of(&mut stream, PATIENCE)?;
        Ok((head, got))
    }))
}

fn head_of(stream: &mut TcpStream) -> io::Result<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte)? > 0 {
        head.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

/// Everything until it is quiet, and whether the peer has closed.
fn rest_of(stream: &mut TcpStream, quiet: Duration) -> io::Result<(Vec<u8>, bool)> {
    stream.set_read_timeout(Some(quiet))?;
    let (mut got, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return Ok((got, true)),
            Ok(count) => got.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok((got, true)),
            Err(_) => return Ok((got, false)),
        }
    }
}
