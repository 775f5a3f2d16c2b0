//! Filters and modules that change while the gateway runs.

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use postern_runtime::config::Gateway;
use postern_runtime::serve::{Options, Running, ServeError, start};

const PATIENCE: Duration = Duration::from_secs(20);

/// Counts its roots: those that were configured and those that are done.
const COUNTING: &str = r#"
    (import "env" "proxy_define_metric" (func $define (param i32 i32 i32 i32) (result i32)))
    (import "env" "proxy_increment_metric" (func $add (param i32 i64) (result i32)))
    (data (i32.const 64) "doneconfigured")
    (func $count (param $name i32) (param $length i32)
        (drop (call $define (i32.const 0) (local.get $name) (local.get $length) (i32.const 128)))
        (drop (call $add (i32.load (i32.const 128)) (i64.const 1))))
    (func (export "proxy_on_context_create") (param $id i32) (param $parent i32)
        (if (i32.eqz (local.get $parent))
            (then (i32.store8 offset=256 (local.get $id) (i32.const 1)))))
    (func (export "proxy_on_configure") (param i32 i32) (result i32)
        (call $count (i32.const 68) (i32.const 10)) (i32.const 1))
    (func (export "proxy_on_done") (param $id i32) (result i32)
        (if (i32.load8_u offset=256 (local.get $id))
            (then (call $count (i32.const 64) (i32.const 4))))
        (i32.const 1))
    (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (i32.const 0))"#;

/// Refuses its configuration.
const REFUSING: &str =
    r#"(func (export "proxy_on_configure") (param i32 i32) (result i32) (i32.const 0))"#;

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        folder.module("module.wasm", COUNTING);
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn module(&self, name: &str, text: &str) {
        postern_files::write_atomic(self.path(name), &support::wat(text)).unwrap();
    }

    /// Replaces the filter's file.
    fn filter(&self, plugin: &str, module: &str) {
        self.config(&wasm(plugin, &self.path(module)));
    }

    fn config(&self, config: &str) {
        let text = format!(
            "resources: [{{\"@type\": type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig, \
             name: f, typed_config: {config}}}]"
        );
        postern_files::write_atomic(self.path("f.yaml"), text.as_bytes()).unwrap();
    }
}

fn wasm(plugin: &str, module: &Path) -> String {
    format!(
        "{{\"@type\": type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm, config: {{name: \
         {plugin}, failure_policy: FAIL_CLOSED, vm_config: {{vm_id: v, runtime: \
         envoy.wasm.runtime.v8, code: {{local: {{filename: {}}}}}}}}}}}",
        module.display()
    )
}

fn serve(filter: &str, upstream: u16, watch: bool) -> Result<Running, ServeError> {
    serve_at(0, filter, upstream, watch)
}

fn serve_at(port: u16, filter: &str, upstream: u16, watch: bool) -> Result<Running, ServeError> {
    let text = format!(
        r#"
admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}}}
static_resources:
  listeners:
  - name: in
    address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - filters:
      - name: manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: in
          http_filters:
          - {{name: f, {filter}}}
          - {{name: router, typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}}}
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - {{match: {{prefix: /held}}, route: {{cluster: up}}}}
              - {{match: {{prefix: /}}, direct_response: {{status: 200}}}}
  clusters:
  - name: up
    type: STATIC
    load_assignment: {{cluster_name: up, endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {upstream}}}}}}}}}]}}]}}
"#
    );
    start(Gateway::parse(&text).unwrap(), Options { watch, ..Options::default() })
}

fn discovered(folder: &Folder) -> String {
    format!(
        "config_discovery: {{config_source: {{path_config_source: {{path: {}}}}}, type_urls: \
         [type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm]}}",
        folder.path("f.yaml").display()
    )
}

fn ask(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn front(running: &Running) -> SocketAddr {
    running.report().listeners[0].address
}

fn stat(running: &Running, name: &str) -> u64 {
    let text = ask(running.report().admin.unwrap(), "/stats");
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
    line.map_or(0, |value| value.trim().parse().unwrap())
}

fn wait_for(running: &Running, name: &str, value: u64) {
    let start = Instant::now();
    while stat(running, name) != value {
        assert!(start.elapsed() < PATIENCE, "{name}: {}", stat(running, name));
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

const RELOADED: &str = "extension_config_discovery.http_filter.f.config_reload";
const FAILED: &str = "extension_config_discovery.http_filter.f.config_fail";

#[test]
fn a_stream_keeps_its_filter_and_the_old_root_is_done_after_it() {
    let folder = Folder::new();
    folder.filter("one", "module.wasm");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let running = serve(&discovered(&folder), port, false).unwrap();
    assert_eq!((stat(&running, RELOADED), stat(&running, "wasmcustom.configured")), (1, 1));
    let address = front(&running);
    let held = std::thread::spawn(move || ask(address, "/held"));
    let (mut upstream, _) = listener.accept().unwrap();
    folder.filter("two", "module.wasm");
    wait_for(&running, RELOADED, 2);
    assert_eq!(stat(&running, "wasmcustom.configured"), 2);
    assert!(ask(address, "/").starts_with("HTTP/1.1 200 "));
    assert_eq!(stat(&running, "wasmcustom.done"), 0, "the first stream still runs");
    upstream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").unwrap();
    assert!(held.join().unwrap().ends_with("ok"));
    wait_for(&running, "wasmcustom.done", 1);
    running.stop(Duration::ZERO);
}

#[test]
fn what_is_bad_leaves_what_was_there_and_is_counted() {
    let folder = Folder::new();
    folder.module("refusing.wasm", REFUSING);
    postern_files::write_atomic(folder.path("f.yaml"), b"resources: []").unwrap();
    let running = serve(&discovered(&folder), 9, false).unwrap();
    assert!(ask(front(&running), "/").starts_with("HTTP/1.1 500 "), "there is no filter yet");
    folder.filter("one", "module.wasm");
    wait_for(&running, RELOADED, 1);
    for (count, module) in [(2, "refusing.wasm"), (3, "nowhere.wasm")] {
        folder.filter("two", module);
        wait_for(&running, FAILED, count);
        assert!(ask(front(&running), "/").starts_with("HTTP/1.1 200 "), "{module}");
    }
    assert_eq!(stat(&running, RELOADED), 1);
    assert_eq!(stat(&running, "wasmcustom.configured"), 1);
    running.stop(Duration::ZERO);
}

/// Dies at each request.
const TRAPPING: &str =
    r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) unreachable)"#;

#[test]
fn a_failure_policy_that_is_changed_holds_from_then_on() {
    let folder = Folder::new();
    folder.module("module.wasm", TRAPPING);
    let open = wasm("one", &folder.path("module.wasm")).replace("FAIL_CLOSED", "FAIL_OPEN");
    folder.config(&open);
    let running = serve(&discovered(&folder), 9, false).unwrap();
    for want in ["503", "200"] {
        assert!(ask(front(&running), "/").starts_with(&format!("HTTP/1.1 {want} ")), "{want}");
    }
    folder.filter("one", "module.wasm");
    wait_for(&running, RELOADED, 2);
    for turn in 0..2 {
        assert!(ask(front(&running), "/").starts_with("HTTP/1.1 503 "), "{turn}");
    }
    running.stop(Duration::ZERO);
}

#[test]
fn a_plugin_that_fails_open_opens_no_other_of_its_module() {
    let folder = Folder::new();
    folder.module("module.wasm", TRAPPING);
    let closed = wasm("two", &folder.path("module.wasm"));
    let open = closed.replace("FAIL_CLOSED", "FAIL_OPEN").replace("name: two", "name: one");
    let filters = format!("typed_config: {open}}}\n          - {{name: g, typed_config: {closed}");
    let running = serve(&filters, 9, false).unwrap();
    for turn in 0..3 {
        assert!(ask(front(&running), "/").starts_with("HTTP/1.1 503 "), "{turn}");
    }
    running.stop(Duration::ZERO);
}

/// Refuses every request, and takes a moment to be configured.
const DENYING: &str = r#"
    (import "env" "proxy_send_local_response" (func $reply (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
    (func (export "proxy_on_configure") (param i32 i32) (result i32)
        (local $turns i64)
        (loop $again
            (local.set $turns (i64.add (local.get $turns) (i64.const 1)))
            (br_if $again (i64.lt_u (local.get $turns) (i64.const 300000000))))
        (i32.const 1))
    (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (drop (call $reply (i32.const 403) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
            (i32.const 0) (i32.const 0) (i32.const -1)))
        (i32.const 1))"#;

#[test]
fn nobody_is_served_by_the_default_before_the_file_was_read() {
    let folder = Folder::new();
    folder.module("denying.wasm", DENYING);
    folder.filter("one", "denying.wasm");
    let default = wasm("default", &folder.path("module.wasm"));
    let filter = discovered(&folder).replace(
        "config_discovery: {",
        &format!("config_discovery: {{default_config: {default}, "),
    );
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let starting = std::thread::spawn(move || serve_at(port, &filter, 9, false).unwrap());
    let start = Instant::now();
    let mut stream = loop {
        match TcpStream::connect(("127.0.0.1", port)) {
            Ok(stream) => break stream,
            Err(_) => assert!(start.elapsed() < PATIENCE),
        }
    };
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    starting.join().unwrap().stop(Duration::ZERO);
}

/// Refuses to be configured a second time in a process.
const ONCE: &str = r#"
    (import "env" "proxy_set_shared_data" (func $set (param i32 i32 i32 i32 i32) (result i32)))
    (import "env" "proxy_get_shared_data" (func $get (param i32 i32 i32 i32 i32) (result i32)))
    (data (i32.const 64) "once")
    (func (export "proxy_on_configure") (param i32 i32) (result i32)
        (if (i32.eqz (call $get (i32.const 64) (i32.const 4) (i32.const 128) (i32.const 132) (i32.const 136)))
            (then (return (i32.const 0))))
        (drop (call $set (i32.const 64) (i32.const 4) (i32.const 64) (i32.const 4) (i32.const 0)))
        (i32.const 1))"#;

#[test]
fn what_a_worker_does_not_take_is_no_success_and_can_be_tried_again() {
    let folder = Folder::new();
    folder.module("once.wasm", ONCE);
    folder.filter("one", "once.wasm");
    let running = serve(&discovered(&folder), 9, false).unwrap();
    assert_eq!((stat(&running, RELOADED), stat(&running, FAILED)), (1, 0));
    for count in 1..3 {
        // It passes the trial, which has shared data of its own.
        folder.filter("two", "once.wasm");
        wait_for(&running, FAILED, count);
        assert!(ask(front(&running), "/").starts_with("HTTP/1.1 200 "));
    }
    folder.filter("three", "module.wasm");
    wait_for(&running, RELOADED, 2);
    assert_eq!(stat(&running, FAILED), 2);
    running.stop(Duration::ZERO);
}

/// Registers a queue when it is configured.
const QUEUEING: &str = r#"
    (import "env" "proxy_register_shared_queue" (func $register (param i32 i32 i32) (result i32)))
    (import "env" "proxy_define_metric" (func $define (param i32 i32 i32 i32) (result i32)))
    (import "env" "proxy_increment_metric" (func $add (param i32 i64) (result i32)))
    (data (i32.const 64) "qdone")
    (func (export "proxy_on_configure") (param i32 i32) (result i32)
        (i32.eqz (call $register (i32.const 64) (i32.const 1) (i32.const 128))))
    (func (export "proxy_on_done") (param i32) (result i32)
        (drop (call $define (i32.const 0) (i32.const 65) (i32.const 4) (i32.const 128)))
        (drop (call $add (i32.load (i32.const 128)) (i64.const 1)))
        (i32.const 1))"#;

/// Puts an entry into that queue at each request, and counts what it is told of.
const FILLING: &str = r#"
    (import "env" "proxy_resolve_shared_queue" (func $resolve (param i32 i32 i32 i32 i32) (result i32)))
    (import "env" "proxy_enqueue_shared_queue" (func $enqueue (param i32 i32 i32) (result i32)))
    (import "env" "proxy_define_metric" (func $define (param i32 i32 i32 i32) (result i32)))
    (import "env" "proxy_increment_metric" (func $add (param i32 i64) (result i32)))
    (data (i32.const 64) "qwokenfilled")
    (func $count (param $name i32) (param $length i32)
        (drop (call $define (i32.const 0) (local.get $name) (local.get $length) (i32.const 128)))
        (drop (call $add (i32.load (i32.const 128)) (i64.const 1))))
    (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (drop (call $resolve (i32.const 0) (i32.const 0) (i32.const 64) (i32.const 1) (i32.const 128)))
        (if (i32.eqz (call $enqueue (i32.load (i32.const 128)) (i32.const 64) (i32.const 1)))
            (then (call $count (i32.const 70) (i32.const 6))))
        (i32.const 0))
    (func (export "proxy_on_queue_ready") (param i32 i32)
        (call $count (i32.const 65) (i32.const 5)))"#;

#[test]
fn what_comes_for_a_machine_that_is_gone_is_told_to_no_other() {
    let folder = Folder::new();
    folder.module("queueing.wasm", QUEUEING);
    folder.module("filling.wasm", FILLING);
    folder.filter("one", "queueing.wasm");
    let running = serve(&discovered(&folder), 9, false).unwrap();
    folder.filter("two", "filling.wasm");
    wait_for(&running, "wasmcustom.done", 1);
    for count in 1..4 {
        assert!(ask(front(&running), "/").starts_with("HTTP/1.1 200 "));
        assert_eq!(stat(&running, "wasmcustom.filled"), count);
    }
    assert_eq!(stat(&running, "wasmcustom.woken"), 0);
    running.stop(Duration::ZERO);
}

#[test]
fn a_filters_file_has_to_be_there_at_the_start() {
    let folder = Folder::new();
    let error = serve(&discovered(&folder), 9, false).err().unwrap();
    assert!(error.to_string().contains("f.yaml"), "{error}");
}

#[test]
fn a_module_that_is_built_again_serves_without_a_request_lost() {
    let folder = Folder::new();
    let filter = format!("typed_config: {}", wasm("one", &folder.path("module.wasm")));
    let running = serve(&filter, 9, true).unwrap();
    let address = front(&running);
    let (stop, stopped) = mpsc::channel::<()>();
    let asking = std::thread::spawn(move || {
        let mut answers = Vec::new();
        while stopped.try_recv() == Err(mpsc::TryRecvError::Empty) {
            answers.push(ask(address, "/"));
        }
        answers
    });
    // Written again with another text, then with one that is no module, then with a good one.
    folder.module("module.wasm", &format!("{COUNTING} (func $more)"));
    wait_for(&running, "wasmcustom.configured", 2);
    wait_for(&running, "wasmcustom.done", 1);
    postern_files::write_atomic(folder.path("module.wasm"), b"no module").unwrap();
    folder.module("module.wasm", &format!("{COUNTING} (func $more) (func $most)"));
    wait_for(&running, "wasmcustom.configured", 3);
    stop.send(()).unwrap();
    let answers = asking.join().unwrap();
    assert!(!answers.is_empty());
    assert!(answers.iter().all(|answer| answer.starts_with("HTTP/1.1 200 ")));
    running.stop(Duration::ZERO);
}

#[test]
fn the_admin_interface_tells_that_it_ends_and_shows_no_configuration_of_a_module() {
    const SECRET: &str = "pl4nted-s3cret";
    let folder = Folder::new();
    let configuration = format!(
        "configuration: {{\"@type\": type.googleapis.com/google.protobuf.StringValue, value: \
         {SECRET}}}, vm_config:"
    );
    let wasm = wasm("one", &folder.path("module.wasm")).replace("vm_config:", &configuration);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let running = serve(&format!("typed_config: {wasm}"), port, false).unwrap();
    let (address, admin) = (front(&running), running.report().admin.unwrap());
    assert!(ask(admin, "/ready").ends_with("LIVE\n"));
    for page in ["/config_dump", "/clusters?format=json", "/clusters", "/server_info", "/stats"] {
        let shown = ask(admin, page);
        assert!(shown.starts_with("HTTP/1.1 200 ") && !shown.contains(SECRET), "{page}: {shown}");
    }
    assert!(ask(admin, "/config_dump").contains("[redacted]"));
    let foreign = "POST /quitquitquit HTTP/1.1\r\nhost: a\r\norigin: http://b\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let mut page = TcpStream::connect(admin).unwrap();
    page.set_read_timeout(Some(PATIENCE)).unwrap();
    page.write_all(foreign.as_bytes()).unwrap();
    let mut refused = String::new();
    page.read_to_string(&mut refused).unwrap();
    assert!(refused.starts_with("HTTP/1.1 403 "), "{refused}");
    let held = std::thread::spawn(move || ask(address, "/held"));
    let (mut upstream, _) = listener.accept().unwrap();
    let ending = std::thread::spawn(move || running.stop(PATIENCE));
    let start = Instant::now();
    let drains =
        |answer: &str| answer.starts_with("HTTP/1.1 503 ") && answer.ends_with("DRAINING\n");
    while !drains(&ask(admin, "/ready")) {
        assert!(start.elapsed() < PATIENCE);
    }
    upstream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").unwrap();
    assert!(held.join().unwrap().ends_with("ok"));
    ending.join().unwrap();
}
