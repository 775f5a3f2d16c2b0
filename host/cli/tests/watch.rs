//! `postern gateway --trace`, `--record`, and `postern replay` of what was recorded.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use postern_rig::client::{Request, exchange};
use postern_rig::upstream::Upstream;
use serde_json::Value;

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(30);
const SECRET: &str = "s3cr3t-0123456789abcdef";

/// Reads `authorization` and adds the field `name` with the value `1`.
fn module(name: &str) -> Vec<u8> {
    let text = format!(
        r#"(module
        (import "env" "proxy_get_header_map_value" (func $get (param i32 i32 i32 i32 i32) (result i32)))
        (import "env" "proxy_add_header_map_value" (func $add (param i32 i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 1)
        (func (export "proxy_abi_version_0_2_1")) (func (export "_initialize"))
        (func (export "malloc") (param i32) (result i32) i32.const 4096)
        (data (i32.const 0) "authorization1{name}")
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
            (drop (call $get (i32.const 0) (i32.const 0) (i32.const 13) (i32.const 256) (i32.const 260)))
            (call $add (i32.const 0) (i32.const 14) (i32.const {}) (i32.const 13) (i32.const 1))))"#,
        name.len()
    );
    wat::parse_str(text).unwrap()
}

const FILE: &str = r#"
admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}
static_resources:
  listeners:
  - name: ingress
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    filter_chains:
    - filters:
      - name: manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: ingress
          http_filters:
          - name: mark
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm
              config:
                name: mark
                failure_policy: FAIL_CLOSED
                vm_config:
                  runtime: envoy.wasm.runtime.v8
                  code: {local: {filename: mark.wasm}}
          - name: router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
          route_config:
            virtual_hosts:
            - {name: all, domains: ["*"], routes: [{match: {prefix: /}, route: {cluster: upstream}}]}
  clusters:
  - name: upstream
    type: STATIC
    load_assignment:
      cluster_name: upstream
      endpoints:
      - lb_endpoints:
        - endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: UPSTREAM}}}
"#;

struct Place {
    folder: tempfile::TempDir,
    upstream: Upstream,
}

impl Place {
    fn new() -> Self {
        let place =
            Self { folder: tempfile::tempdir().unwrap(), upstream: Upstream::start(None).unwrap() };
        let write = |name: &str, bytes: &[u8]| {
            postern_files::write_atomic(place.path(name), bytes).unwrap();
        };
        let port = place.upstream.port().to_string();
        write("envoy.yaml", FILE.replace("UPSTREAM", &port).as_bytes());
        write("mark.wasm", &module("x-mark"));
        write("other.wasm", &module("x-other"));
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_postern"));
        command.args(args).current_dir(self.folder.path()).env_remove("POSTERN_LOG");
        command
    }

    fn run(&self, args: &[&str]) -> (i32, String, String) {
        let output = self.command(args).stdin(Stdio::null()).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    /// Serves one request with a secret; what the gateway says on stderr.
    fn serve(&self, more: &[&str]) -> String {
        let log = std::fs::File::create(self.path("log")).unwrap();
        let mut command = self.command(&["gateway", "--config", "envoy.yaml", "--while-stdin"]);
        command.args(["--admin-address-path", "admin", "--log-format", "json", "--no-cache"]);
        let command = command.args(more).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log);
        let mut child = command.spawn().unwrap();
        let read = || std::fs::read_to_string(self.path("log")).unwrap();
        let up = postern_rig::wait::until(PATIENCE, || self.path("admin").exists().then_some(()));
        assert!(up.is_some(), "{}", read());
        std::fs::remove_file(self.path("admin")).unwrap();
        let log = read();
        let report = log.lines().find(|line| line.contains("\"serving\"")).unwrap();
        let report: Value = serde_json::from_str(report).unwrap();
        let address = report["listeners"][0]["address"].as_str().unwrap();
        let port = address.rsplit(':').next().unwrap().parse().unwrap();
        let bearer = format!("Bearer {SECRET}");
        let request = Request::new("GET", "a.test", "/x").with("authorization", &bearer);
        assert_eq!(exchange(port, &request, PATIENCE).unwrap().unwrap().status(), 200);
        drop(child.stdin.take());
        assert!(child.wait().unwrap().success());
        read()
    }
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

#[test]
fn a_trace_tells_hostcalls_and_no_secret() {
    let place = Place::new();
    let log = place.serve(&["--trace"]);
    for part in [
        "mark #2 proxy_on_request_headers(",
        "proxy_get_header_map_value(\"request headers\", \"authorization\") = ok [30 bytes]",
        "\"x-mark\", value \"1\") = ok",
    ] {
        assert!(log.contains(part), "{part}: {log}");
    }
    assert!(!log.contains(SECRET), "{log}");

    place.serve(&["--trace=json", "--trace-file", "trace", "--trace-hide", "x-mark"]);
    assert_eq!(mode(&place.path("trace")), 0o600);
    let text = std::fs::read_to_string(place.path("trace")).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of_headers =
        lines.iter().find(|line| line["callback"] == "proxy_on_request_headers").unwrap();
    assert_eq!(of_headers["hostcalls"][1]["arguments"]["value"]["bytes"], 1, "{of_headers}");
    assert!(!text.contains(SECRET));
}

#[test]
fn a_recording_is_the_same_again_and_another_build_is_shown() {
    let place = Place::new();
    let log = place.serve(&["--record", "r.jsonl"]);
    assert!(log.contains("warning: r.jsonl will hold content as it passes"), "{log}");
    assert_eq!(mode(&place.path("r.jsonl")), 0o600);
    assert!(!std::fs::read_to_string(place.path("r.jsonl")).unwrap().contains(SECRET));

    let (code, stdout, stderr) = place.run(&["replay", "r.jsonl"]);
    assert_eq!(code, 0, "{stdout}{stderr}");
    assert!(stdout.contains("r.jsonl: nothing leaves differently (1 streams, "), "{stdout}");

    let (code, stdout, stderr) = place.run(&["replay", "r.jsonl", "--module", "mark=other.wasm"]);
    assert_eq!(code, 1, "{stdout}{stderr}");
    let part = "(GET /x), to the upstream:\n  - x-mark: 1\n  + x-other: 1\n";
    assert!(stdout.contains(part), "{stdout}");
    assert!(stdout.contains("module mark.wasm: another build"), "{stdout}");

    let args = ["replay", "r.jsonl", "--module", "mark.wasm=other.wasm", "--json"];
    let (code, stdout, _) = place.run(&args);
    let document: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((code, &document["same"]), (1, &Value::Bool(false)));
    assert_eq!(document["differences"][0]["changes"][1]["now"], "x-other: 1");

    // A recording is never written over.
    let (code, _, stderr) =
        place.run(&["gateway", "--config", "envoy.yaml", "--record", "r.jsonl"]);
    assert!(code == 3 && stderr.contains("--record r.jsonl: "), "{code} {stderr}");
}
