//! The gateway on its sockets.

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use postern_runtime::config::Gateway;
use postern_runtime::engine::VmSettings;
use postern_runtime::serve::{Options, Running, ServeError, start};
use support::bootstrap::{Parts, bootstrap};

const SHIPPED: &str = include_str!("../../../envoy/envoy.yaml");
const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
const PATIENCE: Duration = Duration::from_secs(20);

fn options() -> Options {
    let vm = VmSettings { deadline: Duration::from_secs(5), ..VmSettings::default() };
    Options { environment: Arc::new(|_| Some(KEY.to_owned())), vm, ..Options::default() }
}

/// The shipped file on ports that the system chooses, with the modules of this build and
/// without TLS towards upstreams, whose files are an operator's.
fn shipped(upstream: u16) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/plugins");
    SHIPPED
        .replace("target/plugins/", &format!("{}/", folder.display()))
        .replace("port_value: 9901", "port_value: 0")
        .replace("port_value: 10000", "port_value: 0")
        .replace("port_value: 9000", &format!("port_value: {upstream}"))
        .replace("/etc/postern/keys-ca.pem", "/etc/ssl/certs/ca-certificates.crt")
}

fn serve(text: &str) -> Result<Running, ServeError> {
    start(Gateway::parse(text).unwrap(), options())
}

/// Everything that comes back until the gateway closes.
fn ask(address: SocketAddr, request: &str) -> String {
    let mut stream = connect(address);
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8(answer).unwrap()
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// What comes until these bytes have come.
fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut text = Vec::new();
    while !text.ends_with(end.as_bytes()) {
        let mut byte = [0];
        if stream.read(&mut byte).unwrap() == 0 {
            break;
        }
        text.push(byte[0]);
    }
    String::from_utf8(text).unwrap()
}

/// A small gateway: one listener without TLS, one upstream, whatever is added.
struct Small {
    /// Of the connection manager, beside what every one has.
    manager: &'static str,
    /// Of the route, beside its cluster.
    route: &'static str,
    /// Of the cluster.
    cluster: &'static str,
    /// Text of a module, which is the listener's one filter.
    module: Option<String>,
}

const PLAIN: Small =
    Small { manager: "stream_idle_timeout: 60s", route: "timeout: 60s", cluster: "", module: None };

impl Small {
    fn start(&self, upstream: u16) -> Running {
        let folder = tempfile::tempdir().unwrap();
        let filter = self.module.as_ref().map(|text| {
            let file = folder.path().join("module.wasm");
            postern_files::write_atomic(&file, &support::wat(text)).unwrap();
            filter(&file)
        });
        let filters = &filter.unwrap_or_default();
        let Self { manager, route, cluster, .. } = *self;
        serve(&bootstrap(&Parts { manager, filters, route, cluster }, upstream)).unwrap()
    }
}

fn filter(module: &Path) -> String {
    format!(
        r#"
          - name: module
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm
              config:
                name: module
                failure_policy: FAIL_CLOSED
                vm_config:
                  vm_id: module
                  runtime: envoy.wasm.runtime.v8
                  code: {{local: {{filename: {}}}}}"#,
        module.display()
    )
}

fn front(running: &Running) -> SocketAddr {
    running.report().listeners[0].address
}

/// An upstream that serves its connections one after another with `serve`.
fn upstream(
    connections: usize,
    mut serve: impl FnMut(usize, TcpStream) + Send + 'static,
) -> (u16, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let run = move || {
        for number in 0..connections {
            let (stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            serve(number, stream);
        }
    };
    (port, std::thread::spawn(run))
}

/// The value of a counter or gauge.
fn stat(running: &Running, name: &str) -> u64 {
    let admin = running.report().admin.unwrap();
    let request = "GET /stats HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let text = ask(admin, request);
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
    line.unwrap_or_else(|| panic!("{name}: {text}")).trim().parse().unwrap()
}

fn wait_for(running: &Running, name: &str, value: u64) {
    let start = Instant::now();
    while stat(running, name) != value {
        assert!(start.elapsed() < PATIENCE, "{name}: {}", stat(running, name));
    }
}

const GET: &str = "GET /a HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";

#[test]
fn a_caller_without_a_key_is_told_so_over_a_socket() {
    let running = serve(&shipped(9)).unwrap();
    let address = running.report().listeners[0].address;
    for _ in 0..3 {
        let answer =
            ask(address, "GET /api/a HTTP/1.1\r\nhost: local.test\r\nconnection: close\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
        assert!(answer.contains("credentials_missing"), "{answer}");
    }
    running.stop(Duration::from_secs(1));
}

/// One connection for everybody.
const NARROW: &str = "circuit_breakers: {thresholds: [{max_connections: 1}]}";

#[test]
fn content_after_an_answer_that_has_none_is_not_the_answer_to_whoever_waits() {
    let (sent, first_came) = mpsc::channel();
    let (go, told) = mpsc::channel::<()>();
    let (port, upstream) = upstream(2, move |number, mut stream| {
        let head = read_until(&mut stream, "\r\n\r\n");
        if number == 0 {
            assert!(head.starts_with("GET /first"), "{head}");
            sent.send(()).unwrap();
            told.recv().unwrap();
            let smuggled = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nstolen";
            let _ = write!(stream, "HTTP/1.1 204 No Content\r\n\r\n{smuggled}");
            // Until the gateway closes it.
            let _ = stream.read_to_end(&mut Vec::new());
        } else {
            assert!(head.starts_with("GET /second"), "{head}");
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nown");
        }
    });
    let running = Small { cluster: NARROW, ..PLAIN }.start(port);
    let address = front(&running);
    let first = std::thread::spawn(move || ask(address, &GET.replace("/a", "/first")));
    first_came.recv().unwrap();
    let second = std::thread::spawn(move || ask(address, &GET.replace("/a", "/second")));
    wait_for(&running, "cluster.up.upstream_rq_pending_active", 1);
    go.send(()).unwrap();
    assert!(first.join().unwrap().starts_with("HTTP/1.1 204 "));
    let second = second.join().unwrap();
    assert!(second.ends_with("\r\n\r\nown"), "{second}");
    upstream.join().unwrap();
    running.stop(Duration::from_secs(1));
}

#[test]
fn a_request_that_waits_gets_the_place_of_one_that_has_gone_away() {
    let (sent, came) = mpsc::channel();
    let (port, upstream) = upstream(2, move |number, mut stream| {
        let _ = read_until(&mut stream, "\r\n\r\n");
        sent.send(()).unwrap();
        if number == 0 {
            let _ = stream.read_to_end(&mut Vec::new());
        } else {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nown");
        }
    });
    let running = Small { cluster: NARROW, ..PLAIN }.start(port);
    let address = front(&running);
    let mut holds = connect(address);
    holds.write_all(GET.as_bytes()).unwrap();
    came.recv().unwrap();
    let mut leaves = connect(address);
    leaves.write_all(GET.as_bytes()).unwrap();
    wait_for(&running, "cluster.up.upstream_rq_pending_active", 1);
    let stays = std::thread::spawn(move || ask(address, GET));
    wait_for(&running, "cluster.up.upstream_rq_pending_active", 2);
    drop(leaves);
    drop(holds);
    assert!(stays.join().unwrap().ends_with("\r\n\r\nown"));
    upstream.join().unwrap();
    wait_for(&running, "cluster.up.upstream_rq_active", 0);
    assert_eq!(stat(&running, "cluster.up.upstream_rq_pending_active"), 0);
    running.stop(Duration::from_secs(1));
}

#[test]
fn whoever_waits_for_a_connection_that_fails_tries_its_own() {
    // A listener whose queue is full answers no connection.
    let listener = socket_that_never_answers();
    let port = listener.0.local_addr().unwrap().port();
    let running = Small { cluster: NARROW, route: "timeout: 15s", ..PLAIN }.start(port);
    let address = front(&running);
    let began = Instant::now();
    let asked = [(); 2].map(|()| std::thread::spawn(move || ask(address, GET)));
    for answer in asked.map(|asked| asked.join().unwrap()) {
        assert!(answer.contains("connection timeout"), "{answer}");
    }
    assert!(began.elapsed() < Duration::from_secs(10));
    running.stop(Duration::from_secs(1));
}

/// Connections that fill a listener's queue, so that the next one gets no answer.
fn socket_that_never_answers() -> (TcpListener, Vec<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let fill = || TcpStream::connect_timeout(&address, Duration::from_millis(200)).ok();
    (listener, std::iter::from_fn(fill).take(8192).collect())
}

/// Says at each request that it waits, and lets a root's tick act on it.
fn waiting(act: &str) -> String {
    format!(
        r#"(import "env" "proxy_set_tick_period_milliseconds" (func $period (param i32) (result i32)))
        (import "env" "proxy_set_effective_context" (func $act_on (param i32) (result i32)))
        (import "env" "proxy_continue_stream" (func $continue (param i32) (result i32)))
        (import "env" "proxy_close_stream" (func $close (param i32) (result i32)))
        (import "env" "proxy_add_header_map_value"
            (func $add (param i32 i32 i32 i32 i32) (result i32)))
        (import "env" "proxy_send_local_response"
            (func $reply (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
        (data (i32.const 16) "x-from-tick")
        (data (i32.const 32) "denied")
        (global $stream (mut i32) (i32.const 0))
        (func (export "proxy_on_configure") (param i32 i32) (result i32)
            (drop (call $period (i32.const 20))) (i32.const 1))
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
            (global.set $stream (local.get 0)) (i32.const 1))
        (func (export "proxy_on_tick") (param i32)
            (if (global.get $stream) (then
                (drop (call $act_on (global.get $stream)))
                {act}
                (global.set $stream (i32.const 0)))))"#
    )
}

#[test]
fn a_root_that_lets_a_stream_go_on_in_its_tick_does_so_at_once() {
    let (port, upstream) = upstream(1, |_, mut stream| {
        let head = read_until(&mut stream, "\r\n\r\n");
        assert!(head.contains("\r\nx-from-tick: denied\r\n"), "{head}");
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nown");
    });
    let act = "(drop (call $add
            (i32.const 0) (i32.const 16) (i32.const 11) (i32.const 32) (i32.const 6)))
        (drop (call $continue (i32.const 0)))";
    let running = Small { module: Some(waiting(act)), ..PLAIN }.start(port);
    let answer = ask(front(&running), GET);
    assert!(answer.ends_with("\r\n\r\nown"), "{answer}");
    upstream.join().unwrap();
    running.stop(Duration::from_secs(1));
}

#[test]
fn a_root_can_answer_or_end_a_stream_that_waits() {
    let reply = "(drop (call $reply (i32.const 403) (i32.const 0) (i32.const 0)
        (i32.const 32) (i32.const 6) (i32.const 0) (i32.const 0) (i32.const -1)))";
    let running = Small { module: Some(waiting(reply)), ..PLAIN }.start(9);
    let answer = ask(front(&running), GET);
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    assert!(answer.ends_with("\r\n\r\ndenied"), "{answer}");
    running.stop(Duration::from_secs(1));
    let close = "(drop (call $close (i32.const 0)))";
    let running = Small { module: Some(waiting(close)), ..PLAIN }.start(9);
    assert_eq!(ask(front(&running), GET), "");
    running.stop(Duration::from_secs(1));
}

#[test]
fn a_request_that_a_filter_never_lets_go_is_ended_by_the_time_of_requests() {
    let manager = "request_timeout: 0.2s";
    let running = Small { module: Some(waiting("")), manager, ..PLAIN }.start(9);
    let answer = ask(front(&running), GET);
    assert!(answer.starts_with("HTTP/1.1 504 "), "{answer}");
    assert!(answer.ends_with("request timeout"), "{answer}");
    running.stop(Duration::from_secs(1));
}

#[test]
fn a_caller_that_dribbles_its_fields_is_ended_by_the_time_of_streams() {
    let running = Small { manager: "stream_idle_timeout: 0.2s", ..PLAIN }.start(9);
    let answer = ask(front(&running), "GET / HTTP/1.1\r\nhost: ");
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    running.stop(Duration::from_secs(1));
}

/// Pauses the answer until its second tick, which is later than the route's time.
const LATE_ANSWER: &str = r#"
    (import "env" "proxy_set_tick_period_milliseconds" (func $period (param i32) (result i32)))
    (import "env" "proxy_set_effective_context" (func $act_on (param i32) (result i32)))
    (import "env" "proxy_continue_stream" (func $continue (param i32) (result i32)))
    (global $stream (mut i32) (i32.const 0))
    (global $left (mut i32) (i32.const 2))
    (func (export "proxy_on_configure") (param i32 i32) (result i32)
        (drop (call $period (i32.const 200))) (i32.const 1))
    (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
        (global.set $stream (local.get 0)) (i32.const 1))
    (func (export "proxy_on_tick") (param i32)
        (if (global.get $stream) (then
            (global.set $left (i32.sub (global.get $left) (i32.const 1)))
            (if (i32.eqz (global.get $left)) (then
                (drop (call $act_on (global.get $stream)))
                (drop (call $continue (i32.const 1))))))))"#;

#[test]
fn a_filter_may_hold_the_answer_that_says_that_the_upstream_is_late() {
    let (port, upstream) = upstream(1, |_, mut stream| {
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let module = Some(LATE_ANSWER.to_owned());
    let running = Small { module, route: "timeout: 0.1s", ..PLAIN }.start(port);
    let answer = ask(front(&running), GET);
    assert!(answer.starts_with("HTTP/1.1 504 "), "{answer}");
    assert!(answer.ends_with("upstream request timeout"), "{answer}");
    upstream.join().unwrap();
    running.stop(Duration::from_secs(1));
}

#[test]
fn a_silent_client_of_the_admin_interface_does_not_hold_up_the_end() {
    let running = PLAIN.start(9);
    let mut silent = connect(running.report().admin.unwrap());
    silent.write_all(b"GET /ready HTTP/1.1\r\nhost: ").unwrap();
    wait_for(&running, "cluster.up.upstream_rq_active", 0);
    let (done, ended) = mpsc::channel();
    std::thread::spawn(move || {
        running.stop(Duration::ZERO);
        done.send(()).unwrap();
    });
    ended.recv_timeout(PATIENCE).unwrap();
}
