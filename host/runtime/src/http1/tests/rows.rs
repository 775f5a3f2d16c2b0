//! Requests, what Envoy 1.40 answered to each, and what is made of them here.
//!
//! Measured with the options of `envoy/envoy.yaml`: no HTTP/1.0, no length beside chunks,
//! trailers, 100 fields, 32 KiB, underscores refused. After each refusal Envoy closed the
//! connection, with flags `DPE`.

use bytes::BytesMut;

use super::{LIMITS, drain};
use crate::http1::{
    Decoder, Malformed, Scheme, Version, is_authority, refuse_underscores, request_framing,
    request_head, request_target,
};

/// What a row was answered: with the route's 200, or refused.
type Envoy = Option<(u16, &'static str)>;

const OK: Envoy = None;
const CODEC: Envoy = Some((400, "http1.codec_error"));
const CHARACTERS: Envoy = Some((400, "http1.invalid_characters"));
const BOTH: Envoy = Some((400, "http1.content_length_and_chunked_not_allowed"));
const UNDERSCORE: Envoy = Some((400, "http1.unexpected_underscore"));
const URL: Envoy = Some((400, "http1.invalid_url"));
const SCHEME: Envoy = Some((400, "http1.invalid_scheme"));
const TLS: Envoy = Some((403, "http1.https_url_on_plaintext_connection"));
const AUTHORITY: Envoy = Some((400, "http.invalid_authority"));
const VERSION: Envoy = Some((426, "low_version"));
const MANY: Envoy = Some((431, "http1.too_many_headers"));
const LARGE: Envoy = Some((431, "http1.headers_too_large"));
const CODING: Envoy = Some((501, "http1.invalid_transfer_encoding"));

/// Text of the answer by status.
const BODIES: &[(u16, &str)] = &[
    (400, "Bad Request"),
    (403, "Forbidden"),
    (426, "Upgrade Required"),
    (431, "Request Header Fields Too Large"),
    (501, "Not Implemented"),
];

/// First lines, before `host: h` and an empty line.
const LINES: &[(&str, Envoy, Option<Malformed>)] = &[
    ("GET / HTTP/1.1", OK, None),
    ("MSEARCH / HTTP/1.1", OK, None),
    ("M-SEARCH / HTTP/1.1", CODEC, Some(Malformed::Syntax)),
    ("get / HTTP/1.1", CODEC, Some(Malformed::Syntax)),
    ("FOO / HTTP/1.1", CODEC, Some(Malformed::Syntax)),
    ("GETX / HTTP/1.1", CODEC, Some(Malformed::Syntax)),
    ("PRI / HTTP/1.1", CODEC, Some(Malformed::Syntax)),
    ("G(T / HTTP/1.1", CODEC, Some(Malformed::Syntax)),
    ("! / HTTP/1.1", CODEC, Some(Malformed::Syntax)),
    ("\x01GET / HTTP/1.1", CODEC, Some(Malformed::Syntax)),
    // Refused by both, here before the head is whole.
    ("G\0T / HTTP/1.1", CHARACTERS, Some(Malformed::Syntax)),
    (" / HTTP/1.1", CODEC, Some(Malformed::Syntax)),
    (" GET / HTTP/1.1", CODEC, Some(Malformed::Syntax)),
    ("garbage", CODEC, Some(Malformed::Syntax)),
    ("GET", CODEC, Some(Malformed::Syntax)),
    ("GET HTTP/1.1", CODEC, Some(Malformed::Syntax)),
    ("GET  HTTP/1.1", CODEC, Some(Malformed::Syntax)),
    ("GET / HTTP/1.0", VERSION, Some(Malformed::Version)),
    ("GET / HTTP/0.9", VERSION, Some(Malformed::Version)),
    ("GET / HTTP/1.2", VERSION, Some(Malformed::Version)),
    ("GET / HTTP/2.0", VERSION, Some(Malformed::Version)),
    ("GET /", VERSION, Some(Malformed::Version)),
    ("GET / HTTP/11.1", CODEC, Some(Malformed::Syntax)),
    ("GET / HTTP/1.10", CODEC, Some(Malformed::Syntax)),
    ("GET / HTTP/1.", CODEC, Some(Malformed::Syntax)),
    ("GET / HTTP/a.b", CODEC, Some(Malformed::Syntax)),
    ("GET / http/1.1", CODEC, Some(Malformed::Syntax)),
    ("GET / FTP/1.1", CODEC, Some(Malformed::Syntax)),
    ("GET / X", CODEC, Some(Malformed::Syntax)),
    ("GET / HTTP/1.1 x", CODEC, Some(Malformed::Syntax)),
    // One space each (RFC 9112, 3); Envoy takes any white space.
    ("GET  / HTTP/1.1", OK, Some(Malformed::Syntax)),
    ("GET /  HTTP/1.1", OK, Some(Malformed::Syntax)),
    ("GET / HTTP/1.1 ", OK, Some(Malformed::Syntax)),
    ("GET\t/\tHTTP/1.1", OK, Some(Malformed::Syntax)),
    ("GET /\t HTTP/1.1", OK, Some(Malformed::Syntax)),
    ("GET /a b HTTP/1.1", CODEC, Some(Malformed::Syntax)),
    ("GET /\u{e9} HTTP/1.1", CODEC, Some(Malformed::Syntax)),
    ("GET /\0 HTTP/1.1", CHARACTERS, Some(Malformed::Character)),
    ("GET /\x01 HTTP/1.1", CHARACTERS, Some(Malformed::Character)),
    ("GET /\x7f HTTP/1.1", CHARACTERS, Some(Malformed::Character)),
    ("GET / HTTP/1.\x01", CHARACTERS, Some(Malformed::Character)),
    ("GET /<>\"{}|\\^` HTTP/1.1", OK, None),
    ("GET /_ HTTP/1.1", OK, None),
    ("GET http://x/y HTTP/1.1", OK, None),
    ("GET http:/x HTTP/1.1", CODEC, Some(Malformed::Syntax)),
    ("GET a HTTP/1.1", CODEC, Some(Malformed::Syntax)),
    ("GET * HTTP/1.1", URL, Some(Malformed::Target)),
    ("CONNECT / HTTP/1.1", URL, Some(Malformed::Target)),
    ("GET ftp://x/y HTTP/1.1", SCHEME, Some(Malformed::Scheme)),
    ("GET https://x/y HTTP/1.1", TLS, Some(Malformed::Insecure)),
];

/// Lines after `GET / HTTP/1.1` and `host: h`, before an empty line.
const FIELDS: &[(&[u8], Envoy, Option<Malformed>)] = &[
    (b"x: a\tb\r\n", OK, None),
    (b"x: \xff\xfe\r\n", OK, None),
    (b"x:\r\n", OK, None),
    (b"x\r\n", CODEC, Some(Malformed::Syntax)),
    (b"x : a\r\n", CODEC, Some(Malformed::Syntax)),
    (b"x\ty: a\r\n", CODEC, Some(Malformed::Syntax)),
    (b": a\r\n", CODEC, Some(Malformed::Syntax)),
    (b"x(y: a\r\n", CODEC, Some(Malformed::Syntax)),
    (b"x\xc3\xa9: a\r\n", CODEC, Some(Malformed::Syntax)),
    (b"x: a\0b\r\n", CHARACTERS, Some(Malformed::Character)),
    (b"x: a\x01b\r\n", CHARACTERS, Some(Malformed::Character)),
    (b"x: a\x7fb\r\n", CHARACTERS, Some(Malformed::Character)),
    (b"x: \x0ba\r\n", CHARACTERS, Some(Malformed::Character)),
    (b"x\0y: a\r\n", CHARACTERS, Some(Malformed::Character)),
    (b"x\x01\r\n", CHARACTERS, Some(Malformed::Character)),
    (b"transfer-encoding: \x0bchunked\r\n", CHARACTERS, Some(Malformed::Character)),
    (b"a_b: c\r\n", UNDERSCORE, Some(Malformed::Underscore)),
    // No folding (RFC 9112, 5.2) and no bare CR or LF (2.2): Envoy takes all of these.
    (b"x: a\r\n b\r\n", OK, Some(Malformed::Syntax)),
    (b"x: a\r\n\tb\r\n", OK, Some(Malformed::Syntax)),
    (b"x: a\n", OK, Some(Malformed::LineEnd)),
    (b"x: a\rb\r\n", OK, Some(Malformed::LineEnd)),
    (b"x: a\r\r\n", OK, Some(Malformed::LineEnd)),
    (b"\n", OK, Some(Malformed::LineEnd)),
    // One host (RFC 9112, 3.2): Envoy joins them to `h,i`.
    (b"host: i\r\n", OK, Some(Malformed::Host)),
];

/// Fields and content after `POST / HTTP/1.1` and `host: h`.
const FRAMES: &[(&str, Envoy, Option<Malformed>)] = &[
    ("content-length: 1\r\n\r\na", OK, None),
    ("content-length: 01\r\n\r\na", OK, None),
    ("content-length:\t1\t\r\n\r\na", OK, None),
    ("content-length:\r\n\r\na", CODEC, Some(Malformed::ContentLength)),
    ("content-length: +1\r\n\r\na", CODEC, Some(Malformed::ContentLength)),
    ("content-length: -1\r\n\r\na", CODEC, Some(Malformed::ContentLength)),
    ("content-length: 0x1\r\n\r\na", CODEC, Some(Malformed::ContentLength)),
    ("content-length: 1 1\r\n\r\na", CODEC, Some(Malformed::ContentLength)),
    ("content-length: 1, 1\r\n\r\na", CODEC, Some(Malformed::ContentLength)),
    ("content-length: 99999999999999999999\r\n\r\na", CODEC, Some(Malformed::ContentLength)),
    ("content-length: 1\r\ncontent-length: 1\r\n\r\na", CODEC, Some(Malformed::ContentLength)),
    ("content-length: 1\r\ncontent-length: 2\r\n\r\na", CODEC, Some(Malformed::ContentLength)),
    ("content-length: 1\r\ntransfer-encoding: chunked\r\n\r\n", BOTH, Some(Malformed::Framing)),
    ("transfer-encoding: chunked\r\ncontent-length: 1\r\n\r\n", BOTH, Some(Malformed::Framing)),
    ("content-length: 1\r\ntransfer-encoding: gzip\r\n\r\n", BOTH, Some(Malformed::Framing)),
    ("Transfer-Encoding: Chunked\r\n\r\n0\r\n\r\n", OK, None),
    ("transfer-encoding: gzip, chunked\r\n\r\n", CODING, Some(Malformed::TransferEncoding)),
    ("transfer-encoding: chunked, chunked\r\n\r\n", CODING, Some(Malformed::TransferEncoding)),
    ("transfer-encoding: chunked,\r\n\r\n", CODING, Some(Malformed::TransferEncoding)),
    ("transfer-encoding: chunked;q=1\r\n\r\n", CODING, Some(Malformed::TransferEncoding)),
    ("transfer-encoding: gzip\r\n\r\n", CODING, Some(Malformed::TransferEncoding)),
    ("transfer-encoding: identity\r\n\r\n", CODING, Some(Malformed::TransferEncoding)),
    ("transfer-encoding:\r\n\r\n", CODING, Some(Malformed::TransferEncoding)),
];

/// Chunked content.
const CHUNKS: &[(&str, Envoy, Option<Malformed>)] = &[
    ("1\r\na\r\n0\r\n\r\n", OK, None),
    ("0000000000000001\r\na\r\n0\r\n\r\n", OK, None),
    ("1;a=b\r\na\r\n0;c\r\n\r\n", OK, None),
    ("1 ;a=b\r\na\r\n0\r\n\r\n", OK, None),
    ("0\r\nx: y\r\n\r\n", OK, None),
    ("zz\r\na\r\n0\r\n\r\n", CODEC, Some(Malformed::Chunk)),
    ("\r\na\r\n0\r\n\r\n", CODEC, Some(Malformed::Chunk)),
    ("0x1\r\na\r\n0\r\n\r\n", CODEC, Some(Malformed::Chunk)),
    ("-1\r\na\r\n0\r\n\r\n", CODEC, Some(Malformed::Chunk)),
    (" 1\r\na\r\n0\r\n\r\n", CODEC, Some(Malformed::Chunk)),
    ("10000000000000001\r\na\r\n0\r\n\r\n", CODEC, Some(Malformed::Chunk)),
    ("1\na\r\n0\r\n\r\n", CODEC, Some(Malformed::LineEnd)),
    ("1;a=b\na\r\n0\r\n\r\n", CODEC, Some(Malformed::LineEnd)),
    ("1;a=\rb\r\na\r\n0\r\n\r\n", CODEC, Some(Malformed::LineEnd)),
    ("0\r\nx : y\r\n\r\n", CODEC, Some(Malformed::Syntax)),
    ("0\r\nx: \0\r\n\r\n", CHARACTERS, Some(Malformed::Character)),
    ("0\r\nx\0: y\r\n\r\n", CHARACTERS, Some(Malformed::Character)),
    ("0\r\na_b: c\r\n\r\n", UNDERSCORE, Some(Malformed::Underscore)),
    // Where Envoy is laxer than RFC 9112, 7.1.
    ("1 \r\na\r\n0\r\n\r\n", OK, Some(Malformed::Chunk)),
    ("00000000000000001\r\na\r\n0\r\n\r\n", OK, Some(Malformed::Chunk)),
    ("1;a=\0b\r\na\r\n0\r\n\r\n", OK, Some(Malformed::Chunk)),
    ("1\r\na\n0\r\n\r\n", OK, Some(Malformed::Chunk)),
    ("1\r\nab\r\n0\r\n\r\n", OK, Some(Malformed::Chunk)),
    ("1\r\na\r\n0\r\n\n", OK, Some(Malformed::LineEnd)),
    ("0\r\nx: y\n\r\n", OK, Some(Malformed::LineEnd)),
    ("0\r\nx: y\r\n z\r\n\r\n", OK, Some(Malformed::Syntax)),
    ("0\r\ncontent-length: 5\r\n\r\n", OK, Some(Malformed::Trailer)),
    ("0\r\ntransfer-encoding: chunked\r\n\r\n", OK, Some(Malformed::Trailer)),
    ("0\r\nhost: q\r\n\r\n", OK, Some(Malformed::Trailer)),
];

/// Values of `host`.
const HOSTS: &[(&str, Envoy, Option<Malformed>)] = &[
    ("h", OK, None),
    ("", OK, None),
    ("a b", AUTHORITY, Some(Malformed::Host)),
    ("a/b", AUTHORITY, Some(Malformed::Host)),
    ("a?b", AUTHORITY, Some(Malformed::Host)),
    ("a<b", AUTHORITY, Some(Malformed::Host)),
    ("u@h", OK, None),
];

/// Before a good request.
const LEADS: &[(&str, Envoy, Option<Malformed>)] = &[
    ("\r\n", OK, None),
    ("\r\n\r\n\r\n", OK, None),
    ("\n", OK, Some(Malformed::LineEnd)),
    ("\r", OK, Some(Malformed::LineEnd)),
];

/// Reads a request as a server with the options of `envoy/envoy.yaml` would.
fn read(bytes: &[u8]) -> Result<(), Malformed> {
    let mut buffer = BytesMut::from(bytes);
    let head = request_head(&mut buffer, &LIMITS)?.ok_or(Malformed::Truncated)?;
    if head.version == Version::Http10 {
        return Err(Malformed::Version);
    }
    refuse_underscores(&head.fields)?;
    request_target(&head.method, &head.target, Scheme::Http)?;
    let host = head.fields.iter().find(|(name, _)| name == b"host");
    if !host.is_none_or(|(_, host)| is_authority(host)) {
        return Err(Malformed::Host);
    }
    let mut decoder = Decoder::new(request_framing(&head)?, &LIMITS);
    let (_, trailers) = drain(&mut decoder, &mut buffer)?;
    refuse_underscores(&trailers)
}

/// The refusal is the one that is wanted, and Envoy's unless Envoy is laxer; never the
/// other way around.
fn check(bytes: &[u8], envoy: Envoy, want: Option<Malformed>) {
    let shown = String::from_utf8_lossy(bytes);
    let shown: String = shown.chars().take(200).collect();
    assert_eq!(read(bytes).err(), want, "{shown:?}");
    // The one refusal that both make for another reason.
    if let (Some((status, details)), Some(malformed)) = (envoy, want)
        && !bytes.starts_with(b"G\0T")
    {
        let body = BODIES.iter().find(|(of, _)| *of == status).map_or("", |(_, body)| body);
        assert_eq!(malformed.answer(), (status, details, body), "{shown:?}");
    }
    assert!(envoy.is_none() || want.is_some(), "laxer than Envoy: {shown:?}");
}

#[test]
fn requests_are_refused_with_the_answers_of_envoy() {
    for (line, envoy, want) in LINES {
        check(format!("{line}\r\nhost: h\r\n\r\n").as_bytes(), *envoy, *want);
    }
    for (fields, envoy, want) in FIELDS {
        let bytes = [b"GET / HTTP/1.1\r\nhost: h\r\n", *fields, b"\r\n"].concat();
        check(&bytes, *envoy, *want);
    }
    for (frame, envoy, want) in FRAMES {
        check(format!("POST / HTTP/1.1\r\nhost: h\r\n{frame}").as_bytes(), *envoy, *want);
    }
    for (chunks, envoy, want) in CHUNKS {
        let head = "POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n";
        check(format!("{head}{chunks}").as_bytes(), *envoy, *want);
    }
    for (host, envoy, want) in HOSTS {
        check(format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n").as_bytes(), *envoy, *want);
    }
    for (lead, envoy, want) in LEADS {
        check(format!("{lead}GET / HTTP/1.1\r\nhost: h\r\n\r\n").as_bytes(), *envoy, *want);
    }
}

#[test]
fn lines_of_a_head_end_with_cr_lf() {
    for bytes in [
        "GET / HTTP/1.1\nhost: h\n\n",
        "GET / HTTP/1.1\nhost: h\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: h\r\n\n",
    ] {
        check(bytes.as_bytes(), OK, Some(Malformed::LineEnd));
    }
    // Envoy waits for more.
    assert_eq!(read(b"GET / HTTP/1.1\r\nhost: h\r\rx"), Err(Malformed::LineEnd));
    let bytes = b"GET / HTTP/1.1\rhost: h\r\n\r\n";
    check(bytes, CODEC, Some(Malformed::LineEnd));
    let bytes = b"GET / HTTP/1.1\r\n x: a\r\nhost: h\r\n\r\n";
    check(bytes, CODEC, Some(Malformed::Syntax));
}

#[test]
fn an_http_1_0_request_is_sent_away_whatever_it_says() {
    for bytes in [
        "GET / HTTP/1.0\r\n\r\n",
        "GET / HTTP/1.0\r\nhost: h\r\nconnection: keep-alive\r\n\r\n",
        "POST / HTTP/1.0\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    ] {
        check(bytes.as_bytes(), VERSION, Some(Malformed::Version));
    }
}

/// A request whose head has so many bytes: by a field, and by its target.
fn heads_of(length: usize) -> [String; 2] {
    let rest = "GET / HTTP/1.1\r\nhost: h\r\nx: \r\n\r\n".len();
    let field = format!("GET / HTTP/1.1\r\nhost: h\r\nx: {}\r\n\r\n", "a".repeat(length - rest));
    let rest = "GET / HTTP/1.1\r\nhost: h\r\n\r\n".len();
    let target = format!("GET /{} HTTP/1.1\r\nhost: h\r\n\r\n", "a".repeat(length - rest));
    [field, target]
}

#[test]
fn heads_and_trailers_have_the_limits_of_envoy() {
    let max = LIMITS.max_head;
    for (length, envoy, want) in [
        (max, OK, None),
        (max + 1, LARGE, Some(Malformed::HeadTooLarge)),
        (max + 1024, LARGE, Some(Malformed::HeadTooLarge)),
        (100 * 1024, LARGE, Some(Malformed::HeadTooLarge)),
    ] {
        for head in heads_of(length) {
            check(head.as_bytes(), envoy, want);
        }
        let value = "a".repeat(length - "x: \r\n\r\n".len());
        let chunked = "POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n0\r\n";
        check(format!("{chunked}x: {value}\r\n\r\n").as_bytes(), envoy, want);
    }
    for (count, envoy, want) in [(100, OK, None), (101, MANY, Some(Malformed::TooManyFields))] {
        let fields = |count| (0..count).map(|n| format!("f{n}: y\r\n")).collect::<String>();
        let head = format!("GET / HTTP/1.1\r\nhost: h\r\n{}\r\n", fields(count - 1));
        check(head.as_bytes(), envoy, want);
        let chunked = "POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n0\r\n";
        check(format!("{chunked}{}\r\n", fields(count)).as_bytes(), envoy, want);
    }
}

#[test]
fn any_number_of_empty_lines_is_dropped_before_a_request() {
    let lead = "\r\n".repeat(20_000);
    check(format!("{lead}GET / HTTP/1.1\r\nhost: h\r\n\r\n").as_bytes(), OK, None);
    let mut buffer = BytesMut::from(lead.as_str());
    assert_eq!(request_head(&mut buffer, &LIMITS), Ok(None));
    assert!(buffer.is_empty());
}

#[test]
fn what_is_no_request_is_refused_at_once() {
    // Envoy answers the first at once and the others when their line ends.
    for bytes in [b"\x16\x03\x01".as_slice(), b"FOO", b"get", b"GETX"] {
        assert_eq!(read(bytes), Err(Malformed::Syntax));
    }
    assert_eq!(Malformed::Truncated.answer(), (0, "downstream_remote_disconnect", ""));
}
