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
        let text = format!(
            "resources: [{{\"@type\": type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig, \
             name: f, typed_config: {}}}]",
            wasm(plugin, &self.path(module))
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
    let text = format!(
        r#"
admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}}}
static_resources:
  listeners:
  - name: in
    address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}
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
