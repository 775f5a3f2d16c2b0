//! What reaches beyond one callback: queues between workers, gRPC call-outs, machines that
//! have died under `FAIL_OPEN`; on a gateway with its sockets.

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;

use support::gateway::{PATIENCE, ask, front, start, start_with, upstream};

const GET: &str = "GET /a HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";

/// Calls that the modules below share, and a request's number of fields as its wish.
const IMPORTS: &str = r#"
    (import "env" "proxy_register_shared_queue" (func $register (param i32 i32 i32) (result i32)))
    (import "env" "proxy_resolve_shared_queue" (func $resolve (param i32 i32 i32 i32 i32) (result i32)))
    (import "env" "proxy_enqueue_shared_queue" (func $enqueue (param i32 i32 i32) (result i32)))
    (import "env" "proxy_dequeue_shared_queue" (func $dequeue (param i32 i32 i32) (result i32)))
    (import "env" "proxy_set_shared_data" (func $set (param i32 i32 i32 i32 i32) (result i32)))
    (import "env" "proxy_get_shared_data" (func $get (param i32 i32 i32 i32 i32) (result i32)))
    (import "env" "proxy_send_local_response" (func $reply (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
    (import "env" "proxy_set_effective_context" (func $act_on (param i32) (result i32)))
    (import "env" "proxy_get_buffer_bytes" (func $read (param i32 i32 i32 i32 i32) (result i32)))
    (import "env" "proxy_get_header_map_value" (func $value (param i32 i32 i32 i32 i32) (result i32)))
    (import "env" "proxy_get_status" (func $status (param i32 i32 i32) (result i32)))
    (import "env" "proxy_grpc_call" (func $call (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
    (import "env" "proxy_grpc_stream" (func $stream (param i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
    (import "env" "proxy_grpc_send" (func $send (param i32 i32 i32 i32) (result i32)))
    (global $asker (mut i32) (i32.const 0))
    (func $ok (param i32) (if (local.get 0) (then unreachable)))
    ;; Answers the request of a context with the text at a pointer that stands at 256.
    (func $say (param $context i32) (param $status i32)
        (call $ok (call $act_on (local.get $context)))
        (call $ok (call $reply (local.get $status) (i32.const 0) (i32.const 0)
            (i32.load (i32.const 256)) (i32.load (i32.const 260)) (i32.const 0) (i32.const 0) (i32.const -1))))
"#;

/// Each worker registers `q`, so the last one is woken; every request puts `one` into it and
/// is answered with what has been taken from it, by anybody, before.
const QUEUE: &str = r#"
    (data (i32.const 1024) "q")
    (data (i32.const 1040) "one")
    (data (i32.const 1056) "taken")
    (func (export "proxy_on_configure") (param i32 i32) (result i32)
        (call $ok (call $register (i32.const 1024) (i32.const 1) (i32.const 256)))
        (i32.const 1))
    (func (export "proxy_on_queue_ready") (param $root i32) (param $token i32)
        (call $ok (call $dequeue (local.get $token) (i32.const 256) (i32.const 260)))
        (call $ok (call $set (i32.const 1056) (i32.const 5)
            (i32.load (i32.const 256)) (i32.load (i32.const 260)) (i32.const 0))))
    (func (export "proxy_on_request_headers") (param $context i32) (param i32 i32) (result i32)
        (i32.store (i32.const 256) (i32.const 0)) (i32.store (i32.const 260) (i32.const 0))
        (drop (call $get (i32.const 1056) (i32.const 5) (i32.const 256) (i32.const 260) (i32.const 264)))
        (call $say (local.get $context) (i32.const 200))
        (call $ok (call $resolve (i32.const 0) (i32.const 0) (i32.const 1024) (i32.const 1) (i32.const 268)))
        (call $ok (call $enqueue (i32.load (i32.const 268)) (i32.const 1040) (i32.const 3)))
        (i32.const 1))
"#;

#[test]
fn an_entry_wakes_the_worker_that_has_registered_last_whoever_puts_it_in() {
    let running = start_with(&format!("{IMPORTS}{QUEUE}"), 9, "failure_policy: FAIL_CLOSED", 3);
    let begun = std::time::Instant::now();
    let mut answers = Vec::new();
    // The first answer is empty; the entry is taken by another thread, some time later.
    while !answers.last().is_some_and(|answer: &String| answer.ends_with("\r\n\r\none")) {
        assert!(begun.elapsed() < PATIENCE, "{answers:?}");
        answers.push(ask(front(&running), GET));
        assert!(answers.iter().all(|answer| answer.starts_with("HTTP/1.1 200 ")), "{answers:?}");
    }
    assert!(answers[0].ends_with("\r\n\r\n"), "{answers:?}");
}

/// Cluster `up` as a `GrpcService`, then names and a message.
const GRPC_DATA: &str = r#"
    (data (i32.const 1024) "\0a\04\0a\02up")
    (data (i32.const 1040) "pkg.Svc")
    (data (i32.const 1056) "Method")
    (data (i32.const 1072) "hello")
    (data (i32.const 1088) "grpc-status")
    (data (i32.const 1104) "x-init")
"#;

/// Asks, waits, and answers the request with the message, or with the text of the failure
/// under status 502.
fn unary(timeout_ms: u32) -> String {
    format!(
        r#"{IMPORTS}{GRPC_DATA}
        (func (export "proxy_on_request_headers") (param $context i32) (param i32 i32) (result i32)
            (global.set $asker (local.get $context))
            (drop (call $call (i32.const 1024) (i32.const 6) (i32.const 1040) (i32.const 7)
                (i32.const 1056) (i32.const 6) (i32.const 0) (i32.const 0) (i32.const 1072) (i32.const 5)
                (i32.const {timeout_ms}) (i32.const 268)))
            (i32.const 1))
        (func (export "proxy_on_grpc_receive") (param i32 i32) (param $size i32)
            (call $ok (call $read (i32.const 5) (i32.const 0) (local.get $size) (i32.const 256) (i32.const 260)))
            (call $say (global.get $asker) (i32.const 200)))
        (func (export "proxy_on_grpc_close") (param i32 i32) (param $status i32)
            (call $ok (call $status (i32.const 264) (i32.const 256) (i32.const 260)))
            (if (i32.ne (i32.load (i32.const 264)) (local.get $status)) (then unreachable))
            (call $say (global.get $asker) (i32.add (i32.const 500) (local.get $status))))"#
    )
}

/// A chunked answer of HTTP/1.1.
fn answer(status: &str, fields: &str, chunks: &[&[u8]], trailers: &str) -> Vec<u8> {
    let mut out = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/grpc\r\n{fields}transfer-encoding: chunked\r\n\r\n"
    )
    .into_bytes();
    for chunk in chunks {
        out.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
        out.extend([*chunk, b"\r\n"].concat());
    }
    out.extend(format!("0\r\n{trailers}\r\n").into_bytes());
    out
}

/// Note, the service's answer (status, fields, chunks, trailers), and what the caller gets.
type Unary = (
    &'static str,
    &'static str,
    &'static str,
    &'static [&'static [u8]],
    &'static str,
    u32,
    &'static str,
);

/// The caller gets status and content: 500 and the
/// status of gRPC for failures. The texts are those of Envoy 1.40.
#[rustfmt::skip]
const UNARY: &[Unary] = &[
    ("one message", "200 OK", "", &[b"\0\0\0\0\x06answer"], "grpc-status: 0\r\n", 200, "answer"),
    ("in pieces", "200 OK", "", &[b"\0\0\0", b"\0\x06ans", b"wer"], "grpc-status: 0\r\n", 200, "answer"),
    ("an empty one", "200 OK", "", &[b"\0\0\0\0\0"], "grpc-status: 0\r\n", 200, ""),
    ("the last of two", "200 OK", "", &[b"\0\0\0\0\x03one\0\0\0\0\x03two"], "grpc-status: 0\r\n", 200, "two"),
    ("none", "200 OK", "", &[], "grpc-status: 0\r\n", 513, ""),
    ("a failure", "200 OK", "", &[], "grpc-status: 5\r\ngrpc-message: not%20here\r\n", 505, "not%20here{via_upstream}"),
    ("a failure after a message", "200 OK", "", &[b"\0\0\0\0\x01m"], "grpc-status: 7\r\ngrpc-message: no\r\n", 507, "no{via_upstream}"),
    ("no trailers", "200 OK", "", &[b"\0\0\0\0\x01m"], "", 502, "via_upstream"),
    ("no status", "200 OK", "", &[b"\0\0\0\0\x01m"], "x: y\r\n", 502, "via_upstream"),
    ("a status that is none", "200 OK", "", &[b"\0\0\0\0\x01m"], "grpc-status: x\r\n", 499, "via_upstream"),
    ("compressed", "200 OK", "", &[b"\x01\0\0\0\x01m"], "grpc-status: 0\r\n", 513, "via_upstream"),
    ("cut short", "200 OK", "", &[b"\0\0\0\0\x09m"], "grpc-status: 0\r\n", 513, ""),
    ("not found", "404 Not Found", "", &[b"text"], "", 512, "via_upstream"),
    ("unauthorized", "401 Unauthorized", "", &[b"text"], "", 516, "via_upstream"),
    ("unavailable", "503 Service Unavailable", "", &[b"text"], "", 514, "via_upstream"),
];

#[test]
fn a_unary_call_is_told_of_once_as_envoy_tells_of_it() {
    for (note, status, fields, chunks, trailers, want, text) in UNARY {
        let (port, up) = upstream(answer(status, fields, chunks, trailers));
        let running = start(&unary(10_000), port);
        let came = ask(front(&running), GET);
        let (head, content) = came.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with(&format!("HTTP/1.1 {want} ")), "{note}: {came}");
        assert_eq!(content, *text, "{note}");
        drop(running);
        let sent = up.join().unwrap();
        let sent = String::from_utf8_lossy(&sent).into_owned();
        assert!(sent.starts_with("POST /pkg.Svc/Method HTTP/1.1\r\nhost: up\r\n"), "{sent}");
        for line in ["te: trailers", "grpc-timeout: 10000m", "content-type: application/grpc"] {
            assert!(sent.contains(&format!("\r\n{line}\r\n")), "{note}: {sent}");
        }
        assert!(sent.contains("\r\na\r\n\0\0\0\0\x05hello\r\n0\r\n"), "{note}: {sent:?}");
    }
}

#[test]
fn a_reply_in_fields_alone_is_a_failure_with_their_status() {
    let only = "HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ngrpc-status: 9\r\n\
                grpc-message: only\r\ncontent-length: 0\r\n\r\n";
    let (port, up) = upstream(only);
    let running = start(&unary(10_000), port);
    let came = ask(front(&running), GET);
    assert!(came.starts_with("HTTP/1.1 509 "), "{came}");
    assert!(came.ends_with("\r\n\r\nonly{via_upstream}"), "{came}");
    drop(running);
    up.join().unwrap();
}

#[test]
fn a_service_that_is_not_there_or_too_slow_is_unavailable() {
    let connect = "upstream connect error or disconnect/reset before headers. reset reason: \
                   remote connection failure{upstream_reset_before_response_started{remote_connection_failure}}";
    let running = start(&unary(10_000), 9);
    let came = ask(front(&running), GET);
    assert!(came.starts_with("HTTP/1.1 514 "), "{came}");
    assert!(came.ends_with(connect), "{came}");
    drop(running);

    let (port, up) = upstream("");
    let running = start(&unary(50), port);
    let came = ask(front(&running), GET);
    assert!(came.starts_with("HTTP/1.1 514 "), "{came}");
    assert!(came.ends_with("\r\n\r\nupstream request timeout{response_timeout}"), "{came}");
    drop(running);
    up.join().unwrap();
}

/// Opens a stream, sends two messages, and answers the request at the end with the letters of
/// the callbacks: `i`nitial metadata, each `m`essage, `t`railers, `c`lose.
const STREAM: &str = r#"
    (global $n (mut i32) (i32.const 0))
    (func $note (param i32)
        (i32.store8 (i32.add (i32.const 2048) (global.get $n)) (local.get 0))
        (global.set $n (i32.add (global.get $n) (i32.const 1))))
    (func (export "proxy_on_request_headers") (param $context i32) (param i32 i32) (result i32)
        (global.set $asker (local.get $context))
        (call $ok (call $stream (i32.const 1024) (i32.const 6) (i32.const 1040) (i32.const 7)
            (i32.const 1056) (i32.const 6) (i32.const 0) (i32.const 0) (i32.const 268)))
        (call $ok (call $send (i32.load (i32.const 268)) (i32.const 1072) (i32.const 5) (i32.const 0)))
        (call $ok (call $send (i32.load (i32.const 268)) (i32.const 1072) (i32.const 2) (i32.const 1)))
        (i32.const 1))
    (func (export "proxy_on_grpc_receive_initial_metadata") (param i32 i32 i32)
        (call $ok (i32.xor (i32.const INITIAL)
            (call $value (i32.const 4) (i32.const 1104) (i32.const 6) (i32.const 256) (i32.const 260))))
        (call $note (i32.const 105)))
    (func (export "proxy_on_grpc_receive") (param i32 i32 i32) (call $note (i32.const 109)))
    (func (export "proxy_on_grpc_receive_trailing_metadata") (param i32 i32 i32)
        (call $ok (call $value (i32.const 5) (i32.const 1088) (i32.const 11) (i32.const 256) (i32.const 260)))
        (call $note (i32.const 116)))
    (func (export "proxy_on_grpc_close") (param i32 i32) (param $status i32)
        (call $note (i32.const 99))
        (i32.store (i32.const 256) (i32.const 2048))
        (i32.store (i32.const 260) (global.get $n))
        (call $say (global.get $asker) (i32.add (i32.const 500) (local.get $status))))
"#;

/// The module, with the status of the field that the initial metadata should have.
fn stream(initial: u32) -> String {
    format!("{IMPORTS}{GRPC_DATA}{STREAM}").replace("INITIAL", &initial.to_string())
}

#[test]
fn a_stream_to_nobody_is_told_of_the_gateways_own_answer() {
    let running = start(&stream(1), 9);
    let came = ask(front(&running), GET);
    assert!(came.starts_with("HTTP/1.1 514 "), "{came}");
    assert!(came.ends_with("\r\n\r\nitc"), "{came}");
}

#[test]
fn a_stream_tells_of_metadata_messages_trailers_and_its_end_in_this_order() {
    let chunks: &[&[u8]] = &[b"\0\0\0\0\x01a\0\0\0\0\0", b"\0\0\0\0\x01b"];
    let (port, up) = upstream(answer("200 OK", "x-init: 1\r\n", chunks, "grpc-status: 3\r\n"));
    let running = start(&stream(0), port);
    let came = ask(front(&running), GET);
    assert!(came.starts_with("HTTP/1.1 503 "), "{came}");
    assert!(came.ends_with("\r\n\r\nimmmtc"), "{came}");
    drop(running);
    let sent = up.join().unwrap();
    let sent = String::from_utf8_lossy(&sent).into_owned();
    assert!(sent.contains("\0\0\0\0\x05hello") && sent.contains("\0\0\0\0\x02he"), "{sent:?}");
    assert!(!sent.contains("grpc-timeout"), "{sent}");
}

/// Opens a stream for each request and dies.
const OPENS_AND_TRAPS: &str = r#"
    (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (call $ok (call $stream (i32.const 1024) (i32.const 6) (i32.const 1040) (i32.const 7)
            (i32.const 1056) (i32.const 6) (i32.const 0) (i32.const 0) (i32.const 268)))
        unreachable)"#;

#[test]
fn calls_of_a_machine_that_has_died_end_with_it() {
    let (port, up) = upstream("");
    let running = start(&format!("{IMPORTS}{GRPC_DATA}{OPENS_AND_TRAPS}"), port);
    assert!(ask(front(&running), GET).starts_with("HTTP/1.1 503 "));
    let admin = running.report().admin.unwrap();
    let stats = "GET /stats HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let begun = std::time::Instant::now();
    while !ask(admin, stats).contains("cluster.up.upstream_rq_active: 0\n") {
        assert!(begun.elapsed() < std::time::Duration::from_secs(5), "{}", ask(admin, stats));
    }
    drop(running);
    // It may never have been connected to.
    let _ = TcpStream::connect(("127.0.0.1", port));
    up.join().unwrap();
}

/// Traps on a request with a body, and says so on every other.
const TRAPS: &str = r#"
    (data (i32.const 1024) "\01\00\00\00\06\00\00\00\01\00\00\00x-seen\001\00")
    (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32) (i32.const 0))
    (func (export "proxy_on_request_body") (param i32 i32 i32) (result i32) unreachable)
    (func (export "proxy_on_request_headers") (param $context i32) (param i32) (param $end i32) (result i32)
        (i32.store (i32.const 256) (i32.const 1024)) (i32.store (i32.const 260) (i32.const 4))
        (if (local.get $end) (then (call $say (local.get $context) (i32.const 418))))
        (local.get $end))
"#;

#[test]
fn a_machine_that_has_died_is_passed_by_if_its_policy_says_so() {
    for (policy, want) in [("FAIL_OPEN", "200"), ("FAIL_CLOSED", "503"), ("UNSPECIFIED", "503")] {
        let (port, up) = upstream("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nup");
        let plugin = format!("failure_policy: {policy}");
        let running = start_with(&format!("{IMPORTS}{TRAPS}"), port, &plugin, 1);
        assert!(ask(front(&running), GET).starts_with("HTTP/1.1 418 "), "{policy}");
        let post = "POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\nconnection: close\r\n\r\nx";
        assert!(ask(front(&running), post).starts_with("HTTP/1.1 503 "), "{policy}");
        let later = ask(front(&running), GET);
        assert!(later.starts_with(&format!("HTTP/1.1 {want} ")), "{policy}: {later}");
        drop(running);
        if want != "200" {
            // The upstream still waits for its one connection.
            let _ = TcpStream::connect(("127.0.0.1", port)).map(|mut it| it.write_all(b"\r\n\r\n"));
        }
        up.join().unwrap();
    }
}

#[test]
fn a_local_reply_to_grpc_is_one_of_grpc() {
    let running = start(&format!("{IMPORTS}{TRAPS}"), 9);
    let mut stream = TcpStream::connect(front(&running)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let get =
        "GET /a HTTP/1.1\r\nhost: a\r\ncontent-type: application/grpc\r\nconnection: close\r\n\r\n";
    stream.write_all(get.as_bytes()).unwrap();
    let mut came = String::new();
    stream.read_to_string(&mut came).unwrap();
    assert!(came.starts_with("HTTP/1.1 200 "), "{came}");
    assert!(came.contains("grpc-status: 2\r\ngrpc-message: %01%00%00%00\r\n"), "{came}");
}

#[test]
fn a_status_that_is_none_of_http_does_not_leave() {
    for (status, want) in [(99, 502), (100, 502), (199, 502), (1000, 502), (65_536 + 418, 418)] {
        let module = format!(
            r#"{IMPORTS} (func (export "proxy_on_request_headers") (param $context i32) (param i32 i32) (result i32)
                (call $say (local.get $context) (i32.const {status})) (i32.const 1))"#
        );
        let running = start(&module, 9);
        let came = ask(front(&running), GET);
        assert!(came.starts_with(&format!("HTTP/1.1 {want} ")), "{status}: {came}");
    }
}
