//! What callers send that no scenario file can say: bytes as they stand on the wire.
//!
//! Where the two gateways differ, ours is the stricter one, and the row says why.

use std::time::Duration;

use anyhow::{Context, Result};
use postern_rig::client::Client;
use postern_rig::upstream::Answer;

use super::{Caller, expect};
use crate::gateway::{Gateway, Site};
use crate::scenario::Boundary;

const PATIENCE: Duration = Duration::from_secs(3);

/// The statuses of the answers on the connection, in order.
enum Want {
    Both(&'static [u16]),
    Differs { envoy: &'static [u16], host: &'static [u16], why: &'static str },
}

use Want::{Both, Differs};

const ONE_HOST: &str = "one host (RFC 9112, 3.2): Envoy joins them to a name that no route has";
const LINE_END: &str = "lines end with CR LF (RFC 9112, 2.2): Envoy takes LF";
const NO_FOLDING: &str = "no folding (RFC 9112, 5.2): Envoy joins the lines";
const ONE_SPACE: &str = "one space (RFC 9112, 3): Envoy takes any white space";
const CHUNKS: &str = "a chunk is as long as it says (RFC 9112, 7.1): Envoy takes more";
const BEFORE: &str = "CONNECT is refused before the filters: in Envoy by the gate";

/// Name, bytes and answers. `{}` stands for fields with a good key and a credential; the
/// rest is a template like those of scenario files.
#[rustfmt::skip]
const ROWS: &[(&str, &str, Want)] = &[
    ("a good request", "GET /api/a HTTP/1.1\r\nhost: api.test\r\n{}\r\n", Both(&[200])),
    // The request line.
    ("trace", "trace /api/a HTTP/1.1\r\nhost: api.test\r\n{}\r\n", Both(&[400])),
    ("a method that nobody knows", "FOO /api/a HTTP/1.1\r\nhost: api.test\r\n{}\r\n", Both(&[400])),
    ("HTTP/1.0", "GET /api/a HTTP/1.0\r\nhost: api.test\r\n{}\r\n", Both(&[426])),
    ("HTTP/0.9", "GET /api/a\r\nhost: api.test\r\n{}\r\n", Both(&[426])),
    ("TLS on a plain port", "${byte 16}${byte 03}${byte 01}${byte 00}${byte a5}\r\n\r\n", Both(&[400])),
    ("two spaces", "GET  /api/a HTTP/1.1\r\nhost: api.test\r\n{}\r\n", Differs { envoy: &[200], host: &[400], why: ONE_SPACE }),
    ("# in the path", "GET /api/a#b HTTP/1.1\r\nhost: api.test\r\n{}\r\n", Both(&[400])),
    ("a path that is not one", "GET api/a HTTP/1.1\r\nhost: api.test\r\n{}\r\n", Both(&[400])),
    ("* for another method than OPTIONS", "GET * HTTP/1.1\r\nhost: api.test\r\n{}\r\n", Both(&[400])),
    ("OPTIONS *", "OPTIONS * HTTP/1.1\r\nhost: api.test\r\n{}\r\n", Both(&[404])),
    ("CONNECT", "CONNECT api.test:443 HTTP/1.1\r\nhost: api.test:443\r\n{}\r\n", Differs { envoy: &[405], host: &[404], why: BEFORE }),
    ("CONNECT to a path", "CONNECT /api/a HTTP/1.1\r\nhost: api.test\r\n{}\r\n", Both(&[400])),
    ("absolute form, another host", "GET http://api.test/api/a HTTP/1.1\r\nhost: other.test\r\n{}\r\n", Both(&[200])),
    ("absolute form, not bound there", "GET http://other.test/api/a HTTP/1.1\r\nhost: api.test\r\n{}\r\n", Both(&[403])),
    ("absolute form of https", "GET https://api.test/api/a HTTP/1.1\r\nhost: api.test\r\n{}\r\n", Both(&[403])),
    // Hosts.
    ("no host", "GET /api/a HTTP/1.1\r\n{}\r\n", Both(&[400])),
    ("two hosts", "GET /api/a HTTP/1.1\r\nhost: api.test\r\nhost: other.test\r\n{}\r\n", Differs { envoy: &[404], host: &[400], why: ONE_HOST }),
    ("the same host twice", "GET /api/a HTTP/1.1\r\nhost: api.test\r\nhost: api.test\r\n{}\r\n", Differs { envoy: &[404], host: &[400], why: ONE_HOST }),
    ("userinfo in a host", "GET /api/a HTTP/1.1\r\nhost: other.test@api.test\r\n{}\r\n", Both(&[404])),
    ("a path in a host", "GET /api/a HTTP/1.1\r\nhost: api.test/api\r\n{}\r\n", Both(&[400])),
    // Field lines.
    ("bare LF", "GET /api/a HTTP/1.1\nhost: api.test\n{}\n", Differs { envoy: &[200], host: &[400], why: LINE_END }),
    ("bare LF hides a field", "GET /api/a HTTP/1.1\r\nhost: api.test\r\nx: a\nhost: other.test\r\n{}\r\n", Differs { envoy: &[404], host: &[400], why: LINE_END }),
    ("bare CR", "GET /api/a HTTP/1.1\r\nhost: api.test\r\nx: a\rb: c\r\n{}\r\n", Differs { envoy: &[200], host: &[400], why: LINE_END }),
    ("folding", "GET /api/a HTTP/1.1\r\nhost: api.test\r\nx: a\r\n b\r\n{}\r\n", Differs { envoy: &[200], host: &[400], why: NO_FOLDING }),
    ("a space before the colon", "GET /api/a HTTP/1.1\r\nhost: api.test\r\nx : a\r\n{}\r\n", Both(&[400])),
    ("no colon", "GET /api/a HTTP/1.1\r\nhost: api.test\r\nx\r\n{}\r\n", Both(&[400])),
    ("NUL", "GET /api/a HTTP/1.1\r\nhost: api.test\r\nx: a${byte 00}b\r\n{}\r\n", Both(&[400])),
    ("an underscore in a name", "GET /api/a HTTP/1.1\r\nhost: api.test\r\nx_tap_key: a\r\n{}\r\n", Both(&[400])),
    ("101 fields", "GET /api/a HTTP/1.1\r\nhost: api.test\r\n{}x: y${repeat 98 \r\nx: y}\r\n\r\n", Both(&[431])),
    ("33 KiB of fields", "GET /api/a HTTP/1.1\r\nhost: api.test\r\n{}x: ${repeat 33792 y}\r\n\r\n", Both(&[431])),
    ("33 KiB of target", "GET /api/${repeat 33792 y} HTTP/1.1\r\nhost: api.test\r\n{}\r\n", Both(&[431])),
    ("upgrade", "GET /api/a HTTP/1.1\r\nhost: api.test\r\nconnection: upgrade\r\nupgrade: websocket\r\n{}\r\n", Both(&[403])),
    ("upgrade to HTTP/2", "GET /api/a HTTP/1.1\r\nhost: api.test\r\nconnection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n{}\r\n", Both(&[200])),
    ("the key is nominated", "GET /api/a HTTP/1.1\r\nhost: api.test\r\nconnection: x-tap-key\r\n{}\r\n", Both(&[401])),
    // Where a message ends.
    ("a length beside chunks", "POST /api/a HTTP/1.1\r\nhost: api.test\r\n{}content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /api/b HTTP/1.1\r\nhost: api.test\r\n{}\r\n", Both(&[400])),
    ("chunks beside a length", "POST /api/a HTTP/1.1\r\nhost: api.test\r\n{}transfer-encoding: chunked\r\ncontent-length: 60\r\n\r\n0\r\n\r\nGET /api/b HTTP/1.1\r\nhost: api.test\r\n{}\r\n", Both(&[400])),
    ("two lengths", "POST /api/a HTTP/1.1\r\nhost: api.test\r\n{}content-length: 0\r\ncontent-length: 4\r\n\r\nGET ", Both(&[400])),
    ("a list of lengths", "POST /api/a HTTP/1.1\r\nhost: api.test\r\n{}content-length: 4, 4\r\n\r\nabcd", Both(&[400])),
    ("a length with a sign", "POST /api/a HTTP/1.1\r\nhost: api.test\r\n{}content-length: +4\r\n\r\nabcd", Both(&[400])),
    ("chunks behind a space", "POST /api/a HTTP/1.1\r\nhost: api.test\r\n{}transfer-encoding : chunked\r\n\r\n0\r\n\r\n", Both(&[400])),
    ("chunks behind a tab", "POST /api/a HTTP/1.1\r\nhost: api.test\r\n{}transfer-encoding: ${byte 0b}chunked\r\n\r\n0\r\n\r\n", Both(&[400])),
    ("another coding", "POST /api/a HTTP/1.1\r\nhost: api.test\r\n{}transfer-encoding: xchunked\r\n\r\n0\r\n\r\n", Both(&[501])),
    ("chunked twice", "POST /api/a HTTP/1.1\r\nhost: api.test\r\n{}transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", Both(&[501])),
    ("a size that is none", "POST /api/a HTTP/1.1\r\nhost: api.test\r\n{}transfer-encoding: chunked\r\n\r\nzz\r\na\r\n0\r\n\r\n", Both(&[400])),
    ("a size beyond 64 bits", "POST /api/a HTTP/1.1\r\nhost: api.test\r\n{}transfer-encoding: chunked\r\n\r\n10000000000000001\r\na\r\n0\r\n\r\n", Both(&[400])),
    ("a chunk that is longer than its size", "POST /api/a HTTP/1.1\r\nhost: api.test\r\n{}transfer-encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n", Differs { envoy: &[200], host: &[400], why: CHUNKS }),
    ("a length in the trailers", "POST /api/a HTTP/1.1\r\nhost: api.test\r\n{}transfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\ncontent-length: 5\r\n\r\n", Both(&[400])),
    ("a request inside content", "POST /api/a HTTP/1.1\r\nhost: api.test\r\n{}content-length: 43\r\n\r\nGET /api/b HTTP/1.1\r\nhost: api.test\r\nx: y\r\n", Both(&[200])),
    ("a request without a key behind content", "POST /api/a HTTP/1.1\r\nhost: api.test\r\n{}content-length: 1\r\n\r\naGET /api/b HTTP/1.1\r\nhost: api.test\r\n\r\n", Both(&[200, 401])),
];

/// Each row on a connection of its own: its answers, and nothing but what was answered 200
/// reaches an upstream. The upstream hands back what it got; no secret comes through.
pub fn as_they_stand(site: &Site, gateway: &Gateway) -> Result<Vec<String>> {
    let caller = Caller::new(site, "bytes")?;
    for upstream in site.upstreams.values() {
        upstream
            .script(|request| Answer { chunks: vec![request.raw.clone()], ..Answer::default() });
    }
    let auth = "x-tap-key: ${key alice}\r\nx-tap-credential: slack\r\n";
    let secret = caller.secret(site, "slack").into_bytes();
    site.world.take_records()?;
    let (mut lines, mut answers) = (Vec::new(), 0);
    for (name, bytes, want) in ROWS {
        let (want, why) = match (want, site.boundary) {
            (Both(want), _) => (want, ""),
            (Differs { envoy: want, why, .. }, Boundary::Envoy)
            | (Differs { host: want, why, .. }, _) => (want, *why),
        };
        let mut client = Client::connect(gateway.port(), PATIENCE)?;
        client.send(&caller.expand(site, &bytes.replace("{}", auth))?)?;
        let mut got = Vec::new();
        while got.len() < want.len() {
            let Some(answer) = client.answer(false).context(*name)? else { break };
            got.push(answer.status());
            let shown = memchr::memmem::find(&answer.raw, &secret).is_some();
            expect(&mut lines, &format!("{name}: shows the secret"), false, shown);
        }
        let passed = got.iter().filter(|status| **status == 200).count();
        expect(&mut lines, &format!("{name} {why}"), want.to_vec(), got);
        expect(&mut lines, &format!("{name}: forwarded"), passed, site.take_forwarded().len());
        answers += want.len();
    }
    expect(&mut lines, "records", answers, site.wait_for_records(answers)?.len());
    expect(&mut lines, "forwarded late", 0, site.take_forwarded().len());
    Ok(lines)
}
