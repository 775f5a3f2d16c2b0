//! A module that never returns, from each callback: it costs the request that it runs for, and
//! everybody else is served.

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use postern_runtime::config::Gateway;
use postern_runtime::engine::VmSettings;
use postern_runtime::serve::{Options, Running, start};

const DEADLINE: Duration = Duration::from_millis(200);
/// A callback that loops, its successor that does so in turn, and a busy machine.
const PROMPT: Duration = Duration::from_secs(5);
const LOOP: &str = "(loop $again (br $again))";

/// A callback, its parameters, its answer, and how the request ends that it runs for: the
/// status, or nothing where the fields have left, so that the connection is cut.
const ROWS: &[(&str, usize, &str, &str)] = &[
    ("request_headers", 3, "i32", "503"),
    ("request_body", 3, "i32", "503"),
    ("request_trailers", 2, "i32", "503"),
    ("response_headers", 3, "i32", "503"),
    ("response_body", 3, "i32", "cut"),
    ("response_trailers", 2, "i32", "cut"),
    ("log", 1, "", "200"),
    ("done", 1, "i32", "200"),
    ("delete", 1, "", "200"),
];

fn callback(name: &str, parameters: usize, result: &str) -> String {
    let (result, value) =
        if result.is_empty() { ("", "") } else { ("(result i32)", "i32.const 0") };
    let parameters = "i32 ".repeat(parameters);
    format!(r#"(func (export "proxy_on_{name}") (param {parameters}) {result} {LOOP} {value})"#)
}

/// Loops at each of its ticks.
const TICKS: &str = r#"
    (import "env" "proxy_set_tick_period_milliseconds" (func $ticks (param i32) (result i32)))
    (func (export "proxy_on_configure") (param i32 i32) (result i32)
        (drop (call $ticks (i32.const 20))) (i32.const 1))
    (func (export "proxy_on_tick") (param i32) (loop $again (br $again)))"#;

fn listener(name: &str, filter: &str) -> String {
    format!(
        r#"
  - name: {name}
    address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: {name}
          stream_idle_timeout: 60s
          http_filters:{filter}
          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
          route_config:
            name: {name}
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {{prefix: /}}
                route: {{cluster: up, timeout: 60s}}"#
    )
}

fn filter(folder: &Path, name: &str, module: &str) -> String {
    let file = folder.join(format!("{name}.wasm"));
    postern_files::write_atomic(&file, &support::wat(module)).unwrap();
    format!(
        r#"
          - name: {name}
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm
              config:
                name: {name}
                failure_policy: FAIL_RELOAD
                reload_config: {{backoff: {{base_interval: 0.1s, max_interval: 0.1s}}}}
                vm_config:
                  vm_id: {name}
                  runtime: envoy.wasm.runtime.v8
                  code: {{local: {{filename: {}}}}}"#,
        file.display()
    )
}

/// A gateway with one listener without a module, and one for each module.
fn gateway(modules: &[(&str, String)]) -> Running {
    let folder = tempfile::tempdir().unwrap();
    let mut listeners = listener("plain", "");
    for (name, module) in modules {
        listeners.push_str(&listener(name, &filter(folder.path(), name, module)));
    }
    let upstream = upstream();
    let text = format!(
        r#"
static_resources:
  listeners:{listeners}
  clusters:
  - name: up
    type: STATIC
    connect_timeout: 5s
    load_assignment:
      cluster_name: up
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {upstream}}}}}}}
"#
    );
    let vm = VmSettings { deadline: DEADLINE, ..VmSettings::default() };
    let options = Options { environment: Arc::new(|_| None), vm, ..Options::default() };
    start(Gateway::parse(&text).unwrap(), options).unwrap()
}

/// Reads whole requests and answers them with content and trailers, until the test ends.
fn upstream() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut bytes = Vec::new();
                let mut part = [0; 1024];
                while let Ok(count @ 1..) = stream.read(&mut part) {
                    bytes.extend_from_slice(&part[..count]);
                    if bytes.ends_with(b"x: y\r\n\r\n") {
                        bytes.clear();
                        let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
                        let _ = write!(stream, "{head}2\r\nok\r\n0\r\nc: d\r\n\r\n");
                    }
                }
            });
        }
    });
    port
}

/// A request with content and trailers: its status, or `cut` if the answer does not end.
fn ask(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let head =
        "POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n";
    let _ = write!(stream, "{head}2\r\nab\r\n0\r\nx: y\r\n\r\n");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8(answer).unwrap();
    let whole = answer.ends_with("c: d\r\n\r\n") || answer.contains("content-length: 0\r\n");
    let status = answer.split(' ').nth(1).unwrap_or_default();
    if whole || status == "503" { status.to_owned() } else { "cut".to_owned() }
}

fn address(running: &Running, name: &str) -> SocketAddr {
    let listeners = &running.report().listeners;
    listeners.iter().find(|listener| listener.name == name).unwrap().address
}

#[test]
fn a_loop_in_any_callback_costs_the_request_that_it_runs_for() {
    let modules: Vec<(&str, String)> = ROWS
        .iter()
        .map(|(name, parameters, result, _)| (*name, callback(name, *parameters, result)))
        .collect();
    let running = gateway(&modules);
    let plain = address(&running, "plain");
    for (name, _, _, want) in ROWS {
        let address = address(&running, name);
        assert_eq!(ask(plain), "200", "before {name}");
        assert_eq!(ask(address), *want, "{name}");
        let start = Instant::now();
        assert_eq!(ask(plain), "200", "while {name} loops");
        assert!(start.elapsed() < PROMPT, "{name}: {:?}", start.elapsed());
        // The next machine serves the next request, as far as its callbacks go.
        let again = || (ask(address) == *want).then_some(());
        let back = (0..50).find_map(|_| {
            std::thread::park_timeout(Duration::from_millis(20));
            again()
        });
        assert!(back.is_some(), "{name}: no fresh machine");
    }
    running.stop(Duration::from_secs(1));
}

#[test]
fn a_loop_in_every_tick_keeps_nobody_else_from_being_served() {
    let running = gateway(&[("ticks", TICKS.to_owned())]);
    let (plain, ticks) = (address(&running, "plain"), address(&running, "ticks"));
    for turn in 0..5 {
        let start = Instant::now();
        assert_eq!(ask(plain), "200", "turn {turn}");
        assert!(start.elapsed() < PROMPT, "{:?}", start.elapsed());
        // Served, refused while there is no machine, or cut where its machine has died: but
        // not left waiting.
        let start = Instant::now();
        let end = ask(ticks);
        assert!(start.elapsed() < PROMPT, "turn {turn}: {end} after {:?}", start.elapsed());
    }
    running.stop(Duration::from_secs(1));
}

/// A module that writes over all memory that it can reach, then through wild pointers.
const WRITES: &str = r#"
    (import "env" "proxy_get_property" (func $property (param i32 i32 i32 i32) (result i32)))
    (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (memory.fill (i32.const 8192) (i32.const 255) (i32.const 122880))
        (drop (call $property (i32.const -8) (i32.const 64) (i32.const -4) (i32.const 131070)))
        (drop (call $property (i32.const 0) (i32.const -1) (i32.const 131072) (i32.const -1)))
        (i32.store8 (i32.const 131072) (i32.const 1))
        (i32.const 0))"#;

/// A module that ends when a word of its memory is not what it left there.
const KEEPS: &str = r#"
    (global $count (mut i32) (i32.const 0))
    (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (if (i32.ne (i32.load (i32.const 8192)) (global.get $count)) (then unreachable))
        (if (i32.ne (i32.load (i32.const 131068)) (global.get $count)) (then unreachable))
        (global.set $count (i32.add (global.get $count) (i32.const 1)))
        (i32.store (i32.const 8192) (global.get $count))
        (i32.store (i32.const 131068) (global.get $count))
        (i32.const 0))"#;

#[test]
fn a_module_that_writes_everywhere_writes_into_no_other() {
    let running = gateway(&[("writes", WRITES.to_owned()), ("keeps", KEEPS.to_owned())]);
    let (writes, keeps) = (address(&running, "writes"), address(&running, "keeps"));
    for turn in 0..5 {
        assert_eq!(ask(keeps), "200", "turn {turn}");
        assert_eq!(ask(writes), "503", "turn {turn}");
    }
    assert_eq!(ask(keeps), "200", "at the end");
    running.stop(Duration::from_secs(1));
}
