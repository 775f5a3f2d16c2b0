//! Rows are answers of a real Envoy 1.40, with `envoy` as `server` and the machine's own
//! address in `x-forwarded-for` written as here.

use super::*;
use crate::config::{Codec, EscapedSlashes, Http, Http2, HttpLimits, RouteTable, Timers};
use crate::view::Direction;

pub(super) fn http() -> Http {
    Http {
        codec: Codec::Auto,
        http2: Http2::default(),
        websocket: false,
        stat_prefix: String::new(),
        use_remote_address: true,
        forwards_certificates: false,
        timers: Timers {
            idle: None,
            stream_idle: None,
            request: None,
            request_headers: None,
            stream: None,
        },
        limits: HttpLimits { max_fields: 100, max_field_bytes: 32_768, reject_underscores: true },
        normalize_path: true,
        merge_slashes: true,
        escaped_slashes: EscapedSlashes::Reject,
        access_log: Vec::new(),
        filters: Vec::new(),
        routes: RouteTable::default(),
    }
}

pub(super) fn from(scheme: Scheme) -> Arrival {
    Arrival { scheme, peer: [192, 0, 2, 2].into(), mutual: false, request_id: "id".to_owned() }
}

/// Lines separated by `|`; a bare `name:` is empty.
pub(super) fn pairs(text: &str) -> Pairs {
    let lines = text.split('|').filter(|line| !line.is_empty());
    lines
        .map(|line| {
            let at = line[1..].find(':').expect("a colon") + 1;
            (line[..at].into(), line[at + 1..].trim_start().into())
        })
        .collect()
}

pub(super) fn text(pairs: &Pairs) -> String {
    let utf8 = String::from_utf8_lossy;
    let lines: Vec<String> = pairs
        .iter()
        .map(|(name, value)| format!("{}: {}", utf8(name), utf8(value)).trim_end().to_owned())
        .collect();
    lines.join("|")
}

fn get(target: &str, fields: &str) -> Result<Accepted, Refusal> {
    let fields = pairs(fields);
    arrived(b"GET", target.as_bytes(), fields, &http(), &from(Scheme::Http))
}

/// What the gateway adds to every request at the end.
const ADDED: &str = "|x-forwarded-for: 192.0.2.2|x-forwarded-proto: http\
                     |x-envoy-external-address: 192.0.2.2|x-request-id: id";

#[test]
fn fields_of_one_hop_end_here() {
    let start = ":authority: a.test|:path: /|:method: GET|:scheme: http";
    for (fields, want) in [
        ("user-agent: x|x-two: 1|x-two: 2", "|user-agent: x|x-two: 1|x-two: 2"),
        ("connection: close, X-Nom|x-nom: v|x-keep: 1", "|x-keep: 1"),
        ("connection: keep-alive, TE, x-a|te: trailers|x-a: 1", "|te: trailers"),
        ("connection: x-a|connection: x-b|x-a: 1|x-b: 2", ""),
        ("connection: authorization|authorization: s", ""),
        ("connection: cookie|cookie: c", ""),
        ("connection: content-length|content-length: 2", ""),
        ("connection: a,,,,,,,,,,,b", ""),
        ("connection: t0,t1,t2,t3,t4,t5,t6,t7,t8", ""),
        ("keep-alive: timeout=5|proxy-connection: close|x-keep: 1", "|x-keep: 1"),
        ("transfer-encoding: chunked|trailer: X-T", "|trailer: X-T"),
        ("te: trailers", "|te: trailers"),
        ("te: gzip", ""),
        ("te: trailers, deflate;q=0.5", "|te: trailers"),
        ("te: gzip, trailers", "|te: trailers"),
        ("te: trailers|te: gzip", "|te: trailers"),
        ("te: Trailers", ""),
        ("te: trailers;q=0", ""),
        ("te:", "|te:"),
        ("connection: te|te: gzip", ""),
        ("upgrade: websocket", ""),
        ("connection: upgrade, HTTP2-Settings|upgrade: h2c|http2-settings: a", ""),
        ("connection: upgrade|upgrade: H2C", ""),
        ("http2-settings: a", "|http2-settings: a"),
        ("connection: xupgrade|upgrade: x", ""),
        ("expect: 100-Continue|content-length: 2", "|content-length: 2"),
        ("expect: foo", "|expect: foo"),
        ("accept:|accept: b|accept:|accept: c", "|accept: b,c"),
        (
            "cookie: a|cookie: b|authorization: a|authorization: b",
            "|cookie: a|cookie: b|authorization: a,b",
        ),
    ] {
        let accepted = get("/", &format!("host: a.test|{fields}")).expect(fields);
        assert_eq!(text(&accepted.pairs), format!("{start}{want}{ADDED}"), "{fields}");
    }
}

#[test]
fn what_an_edge_says_is_said_by_nobody_else() {
    let theirs = "x-first: 1|x-request-id: mine|host: a.test|cookie: a=1\
        |x-forwarded-for: 1.1.1.1, 2.2.2.2|x-forwarded-for: 3.3.3.3|x-forwarded-proto: bogus\
        |x-forwarded-host: h|x-forwarded-port: 9|x-forwarded-client-cert: c\
        |x-envoy-external-address: 9.9.9.9|x-envoy-internal: true|x-envoy-original-path: /o\
        |x-envoy-original-host: o|x-envoy-original-url: u|x-envoy-upstream-rq-timeout-ms: 7\
        |x-envoy-retry-on: 5xx|x-envoy-expected-rq-timeout-ms: 1|x-envoy-max-retries: 2\
        |x-envoy-attempt-count: 2|x-envoy-foo: f|via: 1.1 x|x-envoy-upstream-service-time: 5";
    let kept = ":authority: a.test|:path: /|:method: GET|:scheme: http|x-first: 1|x-request-id: id\
        |cookie: a=1|x-forwarded-for: 1.1.1.1, 2.2.2.2,3.3.3.3,192.0.2.2|x-forwarded-proto: http\
        |x-forwarded-host: h|x-forwarded-port: 9|x-envoy-external-address: 192.0.2.2\
        |x-envoy-attempt-count: 2|x-envoy-foo: f|via: 1.1 x|x-envoy-upstream-service-time: 5";
    assert_eq!(text(&get("/", theirs).unwrap().pairs), kept);

    let forwarding = Http { forwards_certificates: true, ..http() };
    for (mutual, kept) in [(true, true), (false, false)] {
        let from = Arrival { mutual, ..from(Scheme::Https) };
        let fields = pairs("host: a.test|x-forwarded-client-cert: c");
        let seen = arrived(b"GET", b"/", fields, &forwarding, &from).unwrap().pairs;
        assert_eq!(text(&seen).contains("client-cert: c"), kept, "{mutual}");
    }

    let http = Http { use_remote_address: false, ..http() };
    let inside = |fields: &str| {
        let fields = pairs(&format!("host: a.test|{fields}"));
        text(&arrived(b"GET", b"/", fields, &http, &from(Scheme::Http)).unwrap().pairs)
    };
    let start = ":authority: a.test|:path: /|:method: GET|:scheme:";
    for (fields, want) in [
        ("", " http|x-forwarded-proto: http|x-request-id: id"),
        ("x-forwarded-proto: https", " https|x-forwarded-proto: https|x-request-id: id"),
        ("x-forwarded-proto: bogus", " http|x-forwarded-proto: bogus|x-request-id: id"),
        (
            "x-request-id:|x-envoy-original-host: o|x-envoy-original-url: u|x-z: 1",
            " http|x-request-id: id|x-envoy-original-host: o|x-z: 1|x-forwarded-proto: http",
        ),
        (
            "x-request-id: mine|x-forwarded-for: 1.2.3.4|x-envoy-retry-on: 5xx",
            " http|x-request-id: mine|x-forwarded-for: 1.2.3.4|x-forwarded-proto: http",
        ),
    ] {
        assert_eq!(inside(fields), format!("{start}{want}"), "{fields}");
    }
}

#[test]
fn a_target_is_read_in_every_form() {
    let origin = |authority: &str, path: &str| {
        format!(":authority: {authority}|:path: {path}|:method: GET|:scheme: http")
    };
    let absolute = |authority: &str, path: &str| {
        format!(":authority: {authority}|:scheme: http|:path: {path}|:method: GET")
    };
    for (target, want) in [
        ("//b.test/x", origin("a.test", "/b.test/x")),
        ("/a/../..", origin("a.test", "/")),
        ("/%", origin("a.test", "/%")),
        ("http://b.test/x?y", absolute("b.test", "/x?y")),
        ("HTTP://B.test:81/x", absolute("B.test:81", "/x")),
        ("http://u:p@b.test/x", absolute("b.test", "/x")),
        ("http://u:p:q@b.test/x", absolute("b.test", "/x")),
        ("http://@b.test/x", absolute("b.test", "/x")),
        ("http://b.test", absolute("b.test", "/")),
        ("http://b.test/a/../c", absolute("b.test", "/c")),
        ("http://[::1]:80/x", absolute("[::1]:80", "/x")),
        ("http://b.test:0/x", absolute("b.test:0", "/x")),
        ("http://b.test:080/x", absolute("b.test:080", "/x")),
        ("http://b.test./x", absolute("b.test.", "/x")),
        ("http://1.2.3.4/x", absolute("1.2.3.4", "/x")),
        ("http://-b-/x", absolute("-b-", "/x")),
        ("http://a..b/x", absolute("a..b", "/x")),
        ("http://b/?a", absolute("b", "/?a")),
        ("http://b.test/*", absolute("b.test", "/*")),
    ] {
        let accepted = get(target, "host: a.test").expect(target);
        assert_eq!(text(&accepted.pairs), format!("{want}{ADDED}"), "{target}");
    }
}

#[test]
fn the_absolute_form_replaces_whatever_host_says() {
    for fields in ["x: 1", "host: a b|x: 1", "host: a|host: a|x: 1"] {
        let accepted = get("http://b.test/x", fields).unwrap();
        let want = ":authority: b.test|:scheme: http|:path: /x|:method: GET|x: 1";
        assert_eq!(text(&accepted.pairs), format!("{want}{ADDED}"));
    }
}

#[test]
fn the_scheme_is_that_of_the_connection_or_of_the_target() {
    let https = |target: &str| {
        let fields = pairs("host: a.test|x-forwarded-proto: http");
        arrived(b"GET", target.as_bytes(), fields, &http(), &from(Scheme::Https)).unwrap().pairs
    };
    for (target, scheme) in
        [("/x", "https"), ("https://b.test/x", "https"), ("http://b.test/x", "http")]
    {
        let pairs = https(target);
        assert_eq!(value(&pairs, ":scheme"), Some(scheme.as_bytes()), "{target}");
        assert_eq!(value(&pairs, "x-forwarded-proto"), Some(b"https".as_slice()));
    }
}

#[test]
fn an_authority_is_taken_as_it_stands_or_refused() {
    for host in [
        "A.Test:8080",
        "a.test:",
        "a.test:99999",
        "a@b",
        "[::1]:80",
        "a,b",
        "user:pw@a.test",
        "a_b",
        "a.test.",
        "a%41",
        "a:b:c",
        "!$&'()*+,;=~-._",
        "",
    ] {
        let accepted = get("/", &format!("host: {host}")).expect(host);
        assert_eq!(value(&accepted.pairs, ":authority"), Some(host.as_bytes()));
    }
    for host in ["a b", "a/b", "a\u{ff}", "a\tb", "a\"b", "a#b", "a\\b", "a?b"] {
        let refusal = get("/", &format!("host: {host}")).unwrap_err();
        assert_eq!(refusal.reply.details, b"http.invalid_authority", "{host}");
    }
    let twice = get("/", "host: a.test|host: b.test").unwrap();
    assert_eq!(value(&twice.pairs, ":authority"), Some(b"a.test,b.test".as_slice()));
}

/// Method, target, fields; status, details, text, flags, whether the connection ends, and
/// what loggers see.
type Row = (
    &'static str,
    &'static str,
    &'static str,
    u32,
    &'static str,
    &'static str,
    &'static str,
    bool,
    &'static str,
);

#[rustfmt::skip]
const REFUSED: &[Row] = &[
    ("GET", "/", "host: a|connection: x-forwarded-for", 400, "http1.connection_header_rejected", "Bad Request", "DPE", true, ""),
    ("GET", "/", "host: a|connection: X-Forwarded-Host", 400, "http1.connection_header_rejected", "Bad Request", "DPE", true, ""),
    ("GET", "/", "host: a|connection: :path", 400, "http1.connection_header_rejected", "Bad Request", "DPE", true, ""),
    ("GET", "/", "host: a|connection: t0,t1,t2,t3,t4,t5,t6,t7,t8,t9", 400, "http1.connection_header_rejected", "Bad Request", "DPE", true, ""),
    ("GET", "/", "host: a|x_a: 1", 400, "http1.unexpected_underscore", "Bad Request", "DPE", true, ""),
    ("FOO", "/", "host: a", 400, "http1.codec_error", "Bad Request", "DPE", true, ""),
    ("get", "/", "host: a", 400, "http1.codec_error", "Bad Request", "DPE", true, ""),
    ("M-SEARCH", "/", "host: a", 400, "http1.codec_error", "Bad Request", "DPE", true, ""),
    ("GET", "x", "host: a", 400, "http1.codec_error", "Bad Request", "DPE", true, ""),
    ("GET", "?x", "host: a", 400, "http1.codec_error", "Bad Request", "DPE", true, ""),
    ("GET", "a.test:80", "host: a", 400, "http1.codec_error", "Bad Request", "DPE", true, ""),
    ("GET", "http:b/x", "host: a", 400, "http1.codec_error", "Bad Request", "DPE", true, ""),
    ("GET", "/a b", "host: a", 400, "http1.codec_error", "Bad Request", "DPE", true, ""),
    ("GET", "/\u{e9}", "host: a", 400, "http1.codec_error", "Bad Request", "DPE", true, ""),
    ("GET", "*", "host: a", 400, "http1.invalid_url", "Bad Request", "DPE", true, ""),
    ("GET", "http:///x", "host: a", 400, "http1.invalid_url", "Bad Request", "DPE", true, ""),
    ("GET", "http://b.test:/x", "host: a", 400, "http1.invalid_url", "Bad Request", "DPE", true, ""),
    ("GET", "http://b.test:65536/x", "host: a", 400, "http1.invalid_url", "Bad Request", "DPE", true, ""),
    ("GET", "http://b:8a/x", "host: a", 400, "http1.invalid_url", "Bad Request", "DPE", true, ""),
    ("GET", "http://:80/x", "host: a", 400, "http1.invalid_url", "Bad Request", "DPE", true, ""),
    ("GET", "http://b_c.test/x", "host: a", 400, "http1.invalid_url", "Bad Request", "DPE", true, ""),
    ("GET", "http://%62.test/x", "host: a", 400, "http1.invalid_url", "Bad Request", "DPE", true, ""),
    ("GET", "http://u@b@c/x", "host: a", 400, "http1.invalid_url", "Bad Request", "DPE", true, ""),
    ("GET", "http://a,b/x", "host: a", 400, "http1.invalid_url", "Bad Request", "DPE", true, ""),
    ("GET", "http://[::1/x", "host: a", 400, "http1.invalid_url", "Bad Request", "DPE", true, ""),
    ("GET", "http://[zz]/x", "host: a", 400, "http1.invalid_url", "Bad Request", "DPE", true, ""),
    ("GET", "ftp://b.test/x", "host: a", 400, "http1.invalid_scheme", "Bad Request", "DPE", true, ""),
    ("GET", "hTTps://b.test/x", "host: a", 403, "http1.https_url_on_plaintext_connection", "Forbidden", "DPE", true, ""),
    ("CONNECT", "/x", "host: a", 400, "http1.invalid_url", "Bad Request", "DPE", true, ""),
    ("CONNECT", "b.test", "host: a", 400, "http1.invalid_url", "Bad Request", "DPE", true, ""),
    ("CONNECT", "http://b.test:80", "host: a", 400, "http1.invalid_url", "Bad Request", "DPE", true, ""),
    ("CONNECT", "b.test:443", "host: a", 404, "route_not_found", "", "NR", true, ":authority: b.test:443|:method: CONNECT"),
    ("GET", "/x", "x: 1", 400, "missing_host_header", "", "-", true, ":path: /x|:method: GET"),
    ("GET", "/x", "host: a|connection: host", 400, "missing_host_header", "", "-", true, ":path: /x|:method: GET"),
    ("OPTIONS", "*", "host: a", 404, "absolute_path_rejected", "", "-", false, ":authority: a|:path: *|:method: OPTIONS"),
    ("OPTIONS", "*x", "host: a", 404, "absolute_path_rejected", "", "-", false, ":authority: a|:path: *x|:method: OPTIONS"),
    ("GET", "http://b?q", "host: a", 404, "absolute_path_rejected", "", "-", false, ":authority: b|:scheme: http|:path: ?q|:method: GET"),
    ("GET", "http://b?/x", "host: a|connection: close", 404, "absolute_path_rejected", "", "-", true, ":authority: b|:scheme: http|:path: ?/x|:method: GET"),
    ("GET", "/a%2fb", "host: a", 400, "path_normalization_failed", "", "-", true, ":authority: a|:path: /a%2fb|:method: GET"),
    ("GET", "/%00", "host: a", 400, "path_normalization_failed", "", "-", true, ":authority: a|:path: /%00|:method: GET"),
    ("GET", "/a#b", "host: a", 400, "path_normalization_failed", "", "-", true, ":authority: a|:path: /a#b|:method: GET"),
    ("GET", "http://b/x#f", "host: a", 400, "path_normalization_failed", "", "-", true, ":authority: b|:scheme: http|:path: /x#f|:method: GET"),
    ("QUERY", "/x", "host: a", 400, "query_missing_content_type", "", "-", true, ":authority: a|:path: /x|:method: QUERY"),
];

#[test]
fn what_cannot_be_read_in_one_way_is_refused_in_the_words_of_envoy() {
    for (method, target, fields, status, details, body, flags, closes, seen) in REFUSED {
        let (method, target) = (method.as_bytes(), target.as_bytes());
        let refusal = arrived(method, target, pairs(fields), &http(), &from(Scheme::Http));
        let refusal = refusal.expect_err(details);
        let Refusal { reply, .. } = &refusal;
        let said = (reply.status, String::from_utf8_lossy(&reply.details));
        assert_eq!(said, (*status, (*details).into()), "{fields}");
        assert_eq!(reply.body, body.as_bytes(), "{details}");
        assert_eq!(refusal.flags.to_string(), *flags, "{details}");
        assert_eq!(refusal.closes, *closes, "{details}");
        assert_eq!(text(&refusal.seen), *seen, "{details}");
    }
}

#[test]
fn an_upgrade_is_forbidden_and_logged_as_a_request() {
    for fields in [
        "connection: upgrade|upgrade: foo/2",
        "connection: Upgrade|upgrade: websocket",
        "connection: upgrade|upgrade: h2c, websocket",
        "connection: upgrade|upgrade:",
    ] {
        let refusal = get("/x", &format!("host: a|{fields}")).unwrap_err();
        assert_eq!((refusal.reply.status, refusal.closes), (403, true), "{fields}");
        assert_eq!(refusal.reply.details, b"upgrade_failed");
        assert_eq!(value(&refusal.seen, "x-request-id"), Some(b"id".as_slice()));
    }
}

#[test]
fn what_the_caller_waits_for_and_whether_it_stays_is_known() {
    for (fields, continues, closes) in [
        ("", false, false),
        ("expect: 100-continue", true, false),
        ("expect: foo", false, false),
        ("connection: close", false, true),
        ("connection: CLOSE, keep-alive", false, true),
        ("connection: keep-alive", false, false),
        ("proxy-connection: close", false, true),
    ] {
        let accepted = get("/", &format!("host: a|{fields}")).unwrap();
        let known = (accepted.expects_continue, accepted.closes);
        assert_eq!(known, (continues, closes), "{fields}");
    }
}

#[test]
fn the_router_tells_what_it_has_replaced() {
    let second = Some(std::time::Duration::from_millis(30_000));
    let both = Rewritten { authority: Some(b"a.test"), path: Some(b"/both/a") };
    for (timeout, rewritten, want) in [
        (second, Rewritten::default(), "x: 1|x-envoy-expected-rq-timeout-ms: 30000"),
        (None, Rewritten::default(), "x: 1"),
        (
            second,
            both,
            "x: 1|x-envoy-expected-rq-timeout-ms: 30000|x-envoy-original-host: a.test\
             |x-envoy-original-path: /both/a",
        ),
    ] {
        let mut fields = pairs("x: 1");
        routed(&mut fields, timeout, rewritten);
        assert_eq!(text(&fields), want);
    }
}

/// `:method`, fields, end, fields on the wire after `host`.
#[rustfmt::skip]
const LEAVES: &[(&str, &str, bool, &str, Content)] = &[
    ("GET", "x: 1", true, "|x: 1", Content::None),
    ("GET", "content-length: 0", true, "|content-length: 0", Content::None),
    ("GET", "content-length: 2|x: 1", false, "|content-length: 2|x: 1", Content::Length(2)),
    ("GET", "x: 1", false, "|x: 1|transfer-encoding: chunked", Content::Chunked),
    ("HEAD", "", true, "", Content::None),
    ("DELETE", "", true, "", Content::None),
    ("TRACE", "", true, "", Content::None),
    ("POST", "x: 1", true, "|x: 1|content-length: 0", Content::None),
    ("PUT", "", true, "|content-length: 0", Content::None),
    ("PATCH", "", true, "|content-length: 0", Content::None),
    ("OPTIONS", "", true, "|content-length: 0", Content::None),
    ("PROPFIND", "", true, "|content-length: 0", Content::None),
    ("POST", "content-length: 0", true, "|content-length: 0", Content::None),
    ("POST", "trailer: X-T", false, "|trailer: X-T|transfer-encoding: chunked", Content::Chunked),
    // From here on Envoy sends what filters have set, and the message breaks.
    ("POST", "content-length: 9", true, "|content-length: 0", Content::None),
    ("GET", "content-length: 9", true, "", Content::None),
    ("POST", "content-length: 2|content-length: 2", false, "|transfer-encoding: chunked", Content::Chunked),
    ("POST", "content-length: +2", false, "|transfer-encoding: chunked", Content::Chunked),
    ("GET", "connection: close, x-q|te: gzip|upgrade: x|transfer-encoding: chunked|keep-alive: 1|proxy-connection: 1|expect: 100-continue|host: evil", true, "", Content::None),
];

#[test]
fn a_request_leaves_framed_once_and_with_one_host() {
    for (method, fields, end, want, content) in LEAVES {
        let start = format!(":authority: a.test|:path: /x|:method: {method}|:scheme: http");
        let head = request_leaves(&pairs(&format!("{start}|{fields}")), *end).expect(fields);
        let line = (head.method.as_slice(), head.target.as_slice());
        assert_eq!(line, (method.as_bytes(), b"/x".as_slice()));
        assert_eq!(text(&head.fields), format!("host: a.test{want}"), "{method} {fields}");
        assert_eq!(head.content, *content, "{method} {fields}");
    }
}

#[test]
fn what_filters_have_broken_does_not_leave() {
    let request = ":authority: a|:path: /|:method: GET";
    for (pairs, said) in [
        (vec![(":authority", "a"), (":method", "GET")], "missing required header: :path"),
        (vec![("x-bad", "a\r\nx-inj: 1")], "invalid header value for: x-bad"),
        (vec![("x bad", "a")], "invalid header name: x bad"),
        (vec![(":path", "/second")], "invalid header value for: :path"),
        (vec![("x-bad", "a\0")], "invalid header value for: x-bad"),
    ] {
        let mut all = if pairs.len() == 1 { self::pairs(request) } else { Vec::new() };
        all.extend(pairs.iter().map(|(name, value)| line(name, *value)));
        let unfit = request_leaves(&all, true).unwrap_err();
        assert_eq!(unfit.to_string(), said);
        let reply = unfit.reply(Direction::Request);
        let reason = said.replace(' ', "_");
        let details = format!("filter_removed_required_request_headers{{{reason}}}");
        assert_eq!(String::from_utf8_lossy(&reply.details), details);
        assert_eq!((reply.status, reply.body.as_slice()), (503, said.as_bytes()));
    }
    for path in ["/a b", "*", "", "/\u{e9}", "/a\r\n"] {
        let all = vec![line(":authority", "a"), line(":path", path), line(":method", "GET")];
        assert_eq!(request_leaves(&all, true), Err(Unfit::Value(":path".to_owned())), "{path}");
    }
}

#[test]
fn filters_see_the_answer_with_the_fields_of_its_hop() {
    let took = Some(std::time::Duration::from_micros(3_900));
    let time = "x-envoy-upstream-service-time: 3";
    for (status, fields, span, want) in [
        (200, "content-length: 2", took, format!("content-length: 2|{time}")),
        (200, "content-length: 2", None, "content-length: 2".to_owned()),
        (
            200,
            "connection: keep-alive, X-Nom|x-nom: 1|keep-alive: timeout=5|te: x",
            took,
            format!("connection: keep-alive, X-Nom|x-nom: 1|te: x|{time}"),
        ),
        (200, "transfer-encoding: chunked", took, format!("transfer-encoding: chunked|{time}")),
        (200, "x-envoy-upstream-service-time: 77|x: 1", took, format!("{time}|x: 1")),
        (200, "server: x|date: a|server: y", took, format!("server: x,y|date: a|{time}")),
        (200, "set-cookie: a|set-cookie: b", took, format!("set-cookie: a|set-cookie: b|{time}")),
        (204, "content-length: 0", took, time.to_owned()),
        (304, "content-length: 2|etag: a", took, format!("content-length: 2|etag: a|{time}")),
    ] {
        let mut pairs = answered(status, pairs(fields));
        span.iter().for_each(|span| super::took(&mut pairs, *span));
        assert_eq!(text(&pairs), format!(":status: {status}|{want}"), "{fields}");
    }
}

/// Status, fields, close, end, whether the request is `HEAD`, fields on the wire.
#[rustfmt::skip]
const ANSWERS: &[(&str, &str, bool, bool, bool, &str, Content)] = &[
    ("200", "content-length: 2", false, false, false, "content-length: 2|date: D|server: postern", Content::Length(2)),
    ("200", "content-length: 2", true, false, false, "content-length: 2|date: D|server: postern|connection: close", Content::Length(2)),
    ("200", "transfer-encoding: chunked|trailer: X-T", false, false, false, "trailer: X-T|date: D|server: postern|transfer-encoding: chunked", Content::Chunked),
    ("200", "x: 1", true, false, false, "x: 1|date: D|server: postern|connection: close|transfer-encoding: chunked", Content::Chunked),
    ("404", "", false, true, false, "date: D|server: postern|content-length: 0", Content::None),
    ("400", "", true, true, false, "date: D|server: postern|connection: close|content-length: 0", Content::None),
    ("200", "content-length: 0", false, true, false, "content-length: 0|date: D|server: postern", Content::None),
    ("200", "connection: keep-alive, X-Nom|x-nom: 1|proxy-connection: x|te: x|content-length: 2", false, false, false, "x-nom: 1|te: x|content-length: 2|date: D|server: postern", Content::Length(2)),
    ("200", "upgrade: h2|content-length: 2", false, false, false, "content-length: 2|date: D|server: postern", Content::Length(2)),
    ("200", "server: nginx|date: E|x-late: 1|content-length: 2", false, false, false, "server: postern|date: E|x-late: 1|content-length: 2", Content::Length(2)),
    ("200", "server: a|content-length: 2", false, false, false, "server: postern|content-length: 2|date: D", Content::Length(2)),
    ("200", "content-length: 2", false, true, true, "content-length: 2|date: D|server: postern", Content::None),
    ("200", "", false, true, true, "date: D|server: postern|transfer-encoding: chunked", Content::None),
    ("400", "", true, true, true, "date: D|server: postern|connection: close|transfer-encoding: chunked", Content::None),
    ("204", "", false, true, false, "date: D|server: postern", Content::None),
    ("304", "content-length: 2|etag: a", false, true, false, "content-length: 2|etag: a|date: D|server: postern", Content::None),
    ("304", "transfer-encoding: chunked", false, true, false, "date: D|server: postern", Content::None),
    ("205", "content-length: 0", false, true, false, "content-length: 0|date: D|server: postern", Content::None),
    ("503", "content-length: 98|content-type: text/plain", false, false, false, "content-length: 98|content-type: text/plain|date: D|server: postern", Content::Length(98)),
    // From here on Envoy sends what filters have set, and the message breaks.
    ("204", "content-length: 2", false, false, false, "date: D|server: postern", Content::None),
    ("200", "content-length: 2|content-length: 3", false, false, false, "date: D|server: postern|transfer-encoding: chunked", Content::Chunked),
    ("200", "content-length: 5", false, true, false, "date: D|server: postern|content-length: 0", Content::None),
    ("200", "keep-alive: 1|content-length: 2", false, false, false, "content-length: 2|date: D|server: postern", Content::Length(2)),
];

#[test]
fn a_response_leaves_framed_once_and_signed() {
    for (status, fields, close, end, head, want, content) in ANSWERS {
        let leaving = Leaving {
            date: "D",
            close: *close,
            end: *end,
            head: *head,
            http2: false,
            upgrade: false,
        };
        let fields = pairs(&format!(":status: {status}|{fields}"));
        let left = response_leaves(&fields, &leaving).expect(status);
        assert_eq!(left.status.to_string(), *status);
        assert_eq!(text(&left.fields), *want);
        assert_eq!(left.content, *content, "{want}");
    }
}

#[test]
fn a_response_that_would_be_split_does_not_leave() {
    let leaving =
        Leaving { date: "D", close: false, end: true, head: false, http2: false, upgrade: false };
    for (pairs, said) in [
        (vec![], "missing required header: :status"),
        (vec![line(":status", "101")], "invalid header value for: :status"),
        (vec![line(":status", "2000")], "invalid header value for: :status"),
        (vec![line(":status", "+20x")], "missing required header: :status"),
        (
            vec![line(":status", "200"), line("x-a", "b\r\nx-injected: 1")],
            "invalid header value for: x-a",
        ),
        (vec![line(":status", "200"), line("x a", "b")], "invalid header name: x a"),
    ] {
        let unfit = response_leaves(&pairs, &leaving).unwrap_err();
        assert_eq!(unfit.to_string(), said);
        assert_eq!(unfit.reply(Direction::Response).status, 502);
    }
}

#[test]
fn trailers_neither_frame_nor_route() {
    let came =
        "host: evil|content-length: 5|x-t: 1|x-t: 2|connection: x|transfer-encoding: chunked";
    assert_eq!(text(&trailers_leave(&pairs(came))), "x-t: 1|x-t: 2");
    assert_eq!(trailers_leave(&vec![line("x", "a\r\nb"), line("x y", "a")]), Vec::new());
}
