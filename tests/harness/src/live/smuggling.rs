//! Messages whose end two readers could see in two places, completing the rows of
//! [`super::bytes`]: what is answered, and every request that an upstream saw.
//!
//! Each row hides a request in what follows the first one. It may reach an upstream only
//! where every reader of RFC 9112 agrees that it is a request of its own.

use std::time::Duration;

use anyhow::{Context, Result};
use postern_rig::client::Client;

use super::{Caller, expect};
use crate::gateway::{Gateway, Site};
use crate::scenario::Boundary;

const PATIENCE: Duration = Duration::from_secs(3);

/// Statuses in order, and `METHOD target content` of what an upstream saw.
struct Want(&'static [u16], &'static [&'static str]);

/// Where ours is the stricter one, and why.
type Envoy = Option<(Want, &'static str)>;

const REFUSED: Want = Want(&[400], &[]);
const NO_CODING: Want = Want(&[501], &[]);
const FIRST: &[&str] = &["POST /api/a abc"];

const LINE_END: &str = "lines end with CR LF (RFC 9112, 2.2): Envoy takes LF";
const NO_FOLDING: &str = "no folding (RFC 9112, 5.2): Envoy joins the lines";
const ONE_HOST: &str = "one host (RFC 9112, 3.2): Envoy joins them to a name that no route has";
const EXTENSION: &str = "a control byte in an extension is refused: Envoy takes any";
const CHUNK_END: &str = "CR LF ends a chunk (RFC 9112, 7.1): Envoy looks for the line's end";

/// Name, the lines after `host` and the rest, and what is wanted. `HIDDEN` is a whole good
/// request.
#[rustfmt::skip]
const ROWS: &[(&str, &str, Want, Envoy)] = &[
    // Two messages that everybody reads alike, so that the table is seen to work.
    ("length, then a request", "content-length: 3\r\n\r\nabcHIDDEN", Want(&[200, 200], &["POST /api/a abc", "GET /api/hidden "]), None),
    ("chunks, then a request", "transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nHIDDEN", Want(&[200, 200], &["POST /api/a abc", "GET /api/hidden "]), None),
    ("Chunked in capitals", "Transfer-Encoding: CHUNKED\r\n\r\n3\r\nabc\r\n0\r\n\r\n", Want(&[200], FIRST), None),
    ("a request within a length", "content-length: LENGTH\r\n\r\nHIDDEN", Want(&[200], &["POST /api/a HIDDEN"]), None),
    ("0.CL: no length, then a request", "\r\nHIDDEN", Want(&[200, 200], &["POST /api/a ", "GET /api/hidden "]), None),
    // CL.TE, TE.CL, TE.0.
    ("CL.TE", "content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nHIDDEN", REFUSED, None),
    ("TE.CL", "transfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n5c\r\nHIDDEN\r\n0\r\n\r\n", REFUSED, None),
    ("TE.0", "transfer-encoding: chunked\r\ncontent-length: 0\r\n\r\nHIDDEN", REFUSED, None),
    ("TE.TE, the second unknown", "transfer-encoding: chunked\r\ntransfer-encoding: cow\r\n\r\n0\r\n\r\nHIDDEN", NO_CODING, None),
    ("TE.TE, the first unknown", "transfer-encoding: cow\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nHIDDEN", NO_CODING, None),
    ("chunked, identity", "transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\nHIDDEN", NO_CODING, None),
    ("identity, chunked", "transfer-encoding: identity, chunked\r\n\r\n0\r\n\r\nHIDDEN", NO_CODING, None),
    ("identity", "transfer-encoding: identity\r\n\r\nHIDDEN", NO_CODING, None),
    ("gzip, chunked", "transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\nHIDDEN", NO_CODING, None),
    ("chunked with a parameter", "transfer-encoding: chunked;q=1\r\n\r\n0\r\n\r\nHIDDEN", NO_CODING, None),
    ("chunked in quotes", "transfer-encoding: \"chunked\"\r\n\r\n0\r\n\r\nHIDDEN", NO_CODING, None),
    ("no coding at all", "transfer-encoding:\r\n\r\n0\r\n\r\nHIDDEN", NO_CODING, None),
    ("coding behind an empty line of it", "transfer-encoding:\r\n chunked\r\n\r\n0\r\n\r\nHIDDEN", REFUSED, Some((Want(&[200, 200], &["POST /api/a ", "GET /api/hidden "]), NO_FOLDING))),
    ("folded coding beside a length", "content-length: 5\r\ntransfer-encoding:\r\n chunked\r\n\r\n0\r\n\r\nHIDDEN", REFUSED, None),
    ("coding with NUL", "transfer-encoding: chunked${byte 00}\r\n\r\n0\r\n\r\nHIDDEN", REFUSED, None),
    ("coding behind bare CR", "x: y\rtransfer-encoding: chunked\r\ncontent-length: 3\r\n\r\nabcHIDDEN", REFUSED, Some((Want(&[200, 200], &["POST /api/a abc", "GET /api/hidden "]), "a bare CR is refused (RFC 9112, 2.2): Envoy takes it as a byte of the value"))),
    ("coding behind bare LF", "x: y\ntransfer-encoding: chunked\r\ncontent-length: 3\r\n\r\nabcHIDDEN", REFUSED, None),
    ("an underscore for the hyphen", "transfer_encoding: chunked\r\ncontent-length: 3\r\n\r\nabcHIDDEN", REFUSED, None),
    // Lengths.
    ("the same length twice", "content-length: 3\r\ncontent-length: 3\r\n\r\nabcHIDDEN", REFUSED, None),
    ("two lengths", "content-length: 3\r\ncontent-length: 0\r\n\r\nabcHIDDEN", REFUSED, None),
    ("+3", "content-length: +3\r\n\r\nabcHIDDEN", REFUSED, None),
    ("-3", "content-length: -3\r\n\r\nabcHIDDEN", REFUSED, None),
    ("3,3", "content-length: 3,3\r\n\r\nabcHIDDEN", REFUSED, None),
    ("0x3", "content-length: 0x3\r\n\r\nabcHIDDEN", REFUSED, None),
    ("3e0", "content-length: 3e0\r\n\r\nabcHIDDEN", REFUSED, None),
    ("3 0", "content-length: 3 0\r\n\r\nabcHIDDEN", REFUSED, None),
    ("nothing", "content-length:\r\n\r\nHIDDEN", REFUSED, None),
    ("beyond 64 bits", "content-length: 18446744073709551619\r\n\r\nabcHIDDEN", REFUSED, None),
    ("spaces round it", "content-length:  \t3 \t\r\n\r\nabc", Want(&[200], FIRST), None),
    ("leading zeros", "content-length: 003\r\n\r\nabc", Want(&[200], FIRST), None),
    ("folded", "content-length: 3\r\n 0\r\n\r\nabcHIDDEN", REFUSED, None),
    ("a vertical tab", "content-length: ${byte 0b}3\r\n\r\nabcHIDDEN", REFUSED, None),
    ("a space in front of the name", " content-length: 3\r\n\r\nabcHIDDEN", REFUSED, None),
    ("a space behind the name", "content-length : 3\r\n\r\nabcHIDDEN", REFUSED, None),
    ("the length is nominated", "connection: content-length\r\ncontent-length: LENGTH\r\n\r\nHIDDEN", Want(&[200], &["POST /api/a HIDDEN"]), None),
    ("the coding is nominated", "connection: transfer-encoding\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", Want(&[200], FIRST), None),
    ("the host is nominated", "connection: host\r\ncontent-length: 3\r\n\r\nabc", REFUSED, None),
    // Chunks.
    ("an extension", "transfer-encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\n\r\n", Want(&[200], FIRST), None),
    ("an extension with LF", "transfer-encoding: chunked\r\n\r\n3;a\nabc\r\n0\r\n\r\nHIDDEN", REFUSED, None),
    ("an extension with CR", "transfer-encoding: chunked\r\n\r\n3;a\rb\r\nabc\r\n0\r\n\r\n", REFUSED, None),
    ("an extension with NUL", "transfer-encoding: chunked\r\n\r\n3;a${byte 00}\r\nabc\r\n0\r\n\r\n", REFUSED, Some((Want(&[200], FIRST), EXTENSION))),
    ("a size in front of LF", "transfer-encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\nHIDDEN", REFUSED, None),
    ("a chunk that ends with LF", "transfer-encoding: chunked\r\n\r\n3\r\nabc\n0\r\n\r\nHIDDEN", REFUSED, Some((Want(&[200, 200], &["POST /api/a abc", "GET /api/hidden "]), LINE_END))),
    ("a chunk that ends with two other bytes", "transfer-encoding: chunked\r\n\r\n3\r\nabcXX0\r\n\r\nHIDDEN", REFUSED, None),
    ("bytes behind a chunk", "transfer-encoding: chunked\r\n\r\n3\r\nabcdef\r\n0\r\n\r\nHIDDEN", REFUSED, Some((Want(&[200, 200], &["POST /api/a abc", "GET /api/hidden "]), CHUNK_END))),
    ("+3 as a size", "transfer-encoding: chunked\r\n\r\n+3\r\nabc\r\n0\r\n\r\nHIDDEN", REFUSED, None),
    ("-1 as a size", "transfer-encoding: chunked\r\n\r\n-1\r\nabc\r\n0\r\n\r\nHIDDEN", REFUSED, None),
    ("0x3 as a size", "transfer-encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\nHIDDEN", REFUSED, None),
    ("a space in front of a size", "transfer-encoding: chunked\r\n\r\n 3\r\nabc\r\n0\r\n\r\nHIDDEN", REFUSED, None),
    ("a size that wraps to 3", "transfer-encoding: chunked\r\n\r\n10000000000000003\r\nabc\r\n0\r\n\r\nHIDDEN", REFUSED, None),
    ("no size", "transfer-encoding: chunked\r\n\r\n\r\nabc\r\n0\r\n\r\nHIDDEN", REFUSED, None),
    ("a request in the trailers", "transfer-encoding: chunked\r\n\r\n0\r\nHIDDEN", REFUSED, None),
    ("a coding in the trailers", "transfer-encoding: chunked\r\n\r\n0\r\ntransfer-encoding: chunked\r\n\r\nHIDDEN", REFUSED, None),
    ("a host in the trailers", "transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nhost: other.test\r\n\r\nHIDDEN", REFUSED, None),
    // Hosts and the rest.
    ("two hosts, the second other", "host: other.test\r\ncontent-length: 3\r\n\r\nabc", REFUSED, Some((Want(&[404], &[]), ONE_HOST))),
    ("a folded host", "host:\r\n other.test\r\ncontent-length: 3\r\n\r\nabc", REFUSED, Some((Want(&[404], &[]), ONE_HOST))),
    ("content is expected and sent at once", "expect: 100-continue\r\ncontent-length: 3\r\n\r\nabcHIDDEN", Want(&[200, 200], &["POST /api/a abc", "GET /api/hidden "]), None),
    ("another expectation", "expect: 200-maybe\r\ncontent-length: 3\r\n\r\nabc", Want(&[200], FIRST), None),
    ("close, then a request", "connection: close\r\ncontent-length: 3\r\n\r\nabcHIDDEN", Want(&[200], FIRST), None),
];

/// Whole messages of other versions.
#[rustfmt::skip]
const VERSIONS: &[(&str, &str, Want)] = &[
    ("HTTP/1.0 with chunks", "POST /api/a HTTP/1.0\r\nhost: api.test\r\n{}transfer-encoding: chunked\r\n\r\n0\r\n\r\nHIDDEN", Want(&[426], &[])),
    ("HTTP/1.0 that stays", "POST /api/a HTTP/1.0\r\nhost: api.test\r\nconnection: keep-alive\r\n{}content-length: 3\r\n\r\nabcHIDDEN", Want(&[426], &[])),
    ("HTTP/0.9, then a request", "GET /api/a\r\n\r\nHIDDEN", Want(&[426], &[])),
    ("HTTP/1.2", "GET /api/a HTTP/1.2\r\nhost: api.test\r\n{}\r\nHIDDEN", Want(&[426], &[])),
    ("HTTP/2.0", "GET /api/a HTTP/2.0\r\nhost: api.test\r\n{}\r\nHIDDEN", Want(&[426], &[])),
    ("no version number", "GET /api/a HTTP/\r\nhost: api.test\r\n{}\r\nHIDDEN", Want(&[400], &[])),
    ("a request in the target", "GET /api/a HTTP/1.1\rHIDDEN HTTP/1.1\r\nhost: api.test\r\n{}\r\n", Want(&[400], &[])),
];

/// Each row on a connection of its own; nothing reaches an upstream that no row says.
pub fn what_each_side_saw(site: &Site, gateway: &Gateway) -> Result<Vec<String>> {
    let caller = Caller::new(site, "smuggling")?;
    let auth = "x-tap-key: ${key alice}\r\nx-tap-credential: slack\r\n";
    let hidden = format!("GET /api/hidden HTTP/1.1\r\nhost: api.test\r\n{auth}\r\n");
    let length = caller.expand(site, &hidden)?.len().to_string();
    let shown = String::from_utf8(caller.expand(site, &hidden)?)?;
    let whole = |bytes: &str| {
        let bytes = bytes.replace("{}", auth).replace("LENGTH", &length);
        caller.expand(site, &bytes.replace("HIDDEN", &hidden))
    };
    let mut lines = Vec::new();
    site.take_forwarded();
    for (name, rest, want, envoy) in ROWS {
        let first = format!("POST /api/a HTTP/1.1\r\nhost: api.test\r\n{{}}{rest}");
        let (want, why) = match envoy {
            Some((want, why)) if site.boundary == Boundary::Envoy => (want, *why),
            Some((_, why)) => (want, *why),
            None => (want, ""),
        };
        one(site, gateway, (name, why, &whole(&first)?, &shown), want, &mut lines)?;
    }
    for (name, bytes, want) in VERSIONS {
        one(site, gateway, (name, "", &whole(bytes)?, &shown), want, &mut lines)?;
    }
    Ok(lines)
}

/// Sends a row and ends the connection on our side, so that no more than it can be answered.
fn one(
    site: &Site,
    gateway: &Gateway,
    (name, why, bytes, hidden): (&str, &str, &[u8], &str),
    want: &Want,
    lines: &mut Vec<String>,
) -> Result<()> {
    let mut client = Client::connect(gateway.port(), PATIENCE)?;
    client.send(bytes)?;
    let mut statuses = Vec::new();
    while statuses.len() < want.0.len() {
        let Some(answer) = client.answer(false).context(name.to_owned())? else { break };
        statuses.push(answer.status());
    }
    drop(client);
    // Whatever a row has left behind would be in front of this one, or instead of it.
    let next = Client::connect(gateway.port(), PATIENCE).and_then(|mut client| {
        client.send(b"GET /api/next HTTP/1.1\r\nhost: api.test\r\n\r\n")?;
        client.answer(false)
    });
    let next = next?.map(|answer| answer.status());
    expect(lines, &format!("{name}: the next caller"), Some(401), next);
    let seen: Vec<String> = site
        .take_forwarded()
        .iter()
        .map(|request| {
            let content = String::from_utf8_lossy(&request.content).replace(hidden, "HIDDEN");
            format!("{} {} {content}", request.word(0), request.word(1))
        })
        .collect();
    expect(lines, &format!("{name} {why}: answers"), want.0.to_vec(), statuses);
    let wanted: Vec<String> = want.1.iter().map(|text| (*text).to_owned()).collect();
    expect(lines, &format!("{name} {why}: upstream"), wanted, seen);
    Ok(())
}
