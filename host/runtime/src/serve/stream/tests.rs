//! A panic of our own code: the stream's record is kept, and everybody else is served.
//!
//! The hook stands in builds of this crate's unit tests only.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::config::Gateway;
use crate::proxy::exchange::Exchange;
use crate::serve::{Options, start};

/// Panics where a request asks for it.
pub(super) fn fault(exchange: &Exchange) {
    assert!(exchange.request_field(b"x-fault").is_none(), "as was asked for");
}

/// An access logger that counts the streams that it is told of.
const COUNTS: &str = r#"(module
    (import "env" "proxy_define_metric" (func $define (param i32 i32 i32 i32) (result i32)))
    (import "env" "proxy_increment_metric" (func $add (param i32 i64) (result i32)))
    (memory (export "memory") 2)
    (data (i32.const 16) "told")
    (func (export "proxy_abi_version_0_2_1"))
    (func (export "proxy_on_memory_allocate") (param i32) (result i32) i32.const 4096)
    (func (export "proxy_on_configure") (param i32 i32) (result i32)
        (i32.eqz (call $define (i32.const 0) (i32.const 16) (i32.const 4) (i32.const 32))))
    (func (export "proxy_on_log") (param i32)
        (drop (call $add (i32.load (i32.const 32)) (i64.const 1)))))"#;

fn configuration(module: &std::path::Path) -> String {
    format!(
        r#"
admin:
  address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}
static_resources:
  listeners:
  - name: in
    address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: in
          stream_idle_timeout: 60s
          access_log:
          - name: counts
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.access_loggers.wasm.v3.WasmAccessLog
              config:
                name: counts
                failure_policy: FAIL_CLOSED
                vm_config:
                  vm_id: counts
                  runtime: envoy.wasm.runtime.v8
                  code: {{local: {{filename: {}}}}}
          http_filters:
          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
          route_config:
            name: in
            virtual_hosts: []
"#,
        module.display()
    )
}

/// Everything until the gateway closes.
fn ask(address: SocketAddr, path: &str, field: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\n{field}connection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8(answer).unwrap()
}

#[test]
fn a_panic_of_ours_ends_one_stream_which_keeps_its_record() {
    let folder = tempfile::tempdir().unwrap();
    let module = folder.path().join("counts.wasm");
    postern_files::write_atomic(&module, &wat::parse_str(COUNTS).unwrap()).unwrap();
    let gateway = Gateway::parse(&configuration(&module)).unwrap();
    let running = start(gateway, Options::default()).unwrap();
    let address = running.report().listeners[0].address;
    for _ in 0..2 {
        assert!(ask(address, "/", "").starts_with("HTTP/1.1 404 "));
        assert_eq!(ask(address, "/", "x-fault: 1\r\n"), "");
    }
    let stats = ask(running.report().admin.unwrap(), "/stats", "");
    assert!(stats.contains("told: 4"), "{stats}");
    assert!(stats.contains("http.in.downstream_rq_active: 0"), "{stats}");
    running.stop(Duration::from_secs(1));
}
