//! `postern gateway` with sockets: what it says, and how it ends.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use postern_rig::client::{Request, exchange};
use postern_rig::upstream::Upstream;
use serde_json::Value;

/// One listener to one cluster, no module.
const FILE: &str = r#"
admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}
static_resources:
  listeners:
  - name: ingress
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: ingress
          http_filters:
          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {prefix: /}
                route: {cluster: upstream}
  clusters:
  - name: upstream
    type: STATIC
    load_assignment:
      cluster_name: upstream
      endpoints:
      - lb_endpoints:
        - endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: UPSTREAM}}}
"#;
/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(30);

struct Place {
    folder: tempfile::TempDir,
    upstream: Upstream,
}

impl Place {
    fn new() -> Self {
        let place =
            Self { folder: tempfile::tempdir().unwrap(), upstream: Upstream::start(None).unwrap() };
        place.write(&FILE.replace("UPSTREAM", &place.upstream.port().to_string()));
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, text: &str) {
        postern_files::write_atomic(self.path("envoy.yaml"), text.as_bytes()).unwrap();
    }

    fn command(&self, more: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_postern"));
        command.args(["gateway", "--config", "envoy.yaml", "--workers", "1"]).args(more);
        command.current_dir(self.folder.path()).env_remove("POSTERN_LOG");
        command
    }

    /// Starts it and waits for the address of its admin interface.
    fn start(&self, more: &[&str]) -> Serving<'_> {
        let file = |name| std::fs::File::create(self.path(name)).unwrap();
        let mut command = self.command(&["--admin-address-path", "admin", "--while-stdin"]);
        command.args(more).stdin(Stdio::piped()).stdout(file("out")).stderr(file("log"));
        let serving = Serving { place: self, child: command.spawn().unwrap() };
        let admin = self.path("admin");
        let up = postern_rig::wait::until(PATIENCE, || admin.exists().then_some(()));
        assert!(up.is_some(), "{}", serving.log());
        serving
    }
}

struct Serving<'a> {
    place: &'a Place,
    child: Child,
}

impl Drop for Serving<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Serving<'_> {
    fn log(&self) -> String {
        std::fs::read_to_string(self.place.path("log")).unwrap()
    }

    fn admin_port(&self) -> u16 {
        let address = std::fs::read_to_string(self.place.path("admin")).unwrap();
        address.strip_prefix("127.0.0.1:").unwrap().parse().unwrap()
    }

    /// The line of JSON that says what runs.
    fn report(&self) -> Value {
        let log = self.log();
        let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.into_iter().find(|line| line["message"] == "serving").unwrap()
    }

    /// Sends a signal by name.
    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status();
        assert!(sent.unwrap().success());
    }

    fn ended(mut self) -> i32 {
        let mut ended = || self.child.try_wait().unwrap();
        let ended = postern_rig::wait::until(PATIENCE, &mut ended);
        ended.expect("it goes on").code().unwrap()
    }
}

#[test]
fn it_says_what_runs_and_forwards() {
    let place = Place::new();
    let serving = place.start(&["--log-format", "json"]);
    let report = serving.report();
    assert_eq!((&report["workers"], &report["listeners"][0]["tls"]), (&1.into(), &false.into()));
    assert_eq!(report["admin"], format!("127.0.0.1:{}", serving.admin_port()));
    let address = report["listeners"][0]["address"].as_str().unwrap();
    let port = address.strip_prefix("127.0.0.1:").unwrap().parse().unwrap();
    let answer = exchange(port, &Request::new("GET", "a.test", "/x"), PATIENCE).unwrap().unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(place.upstream.take().len(), 1);
}

#[test]
fn a_person_is_told_what_to_try() {
    let place = Place::new();
    let serving = place.start(&[]);
    let log = serving.log();
    for part in ["serving envoy.yaml", "(ingress, plain HTTP)", "  admin ", "  workers     1"] {
        assert!(log.contains(part), "{part}: {log}");
    }
}

#[test]
fn it_ends_by_signal_by_stdin_and_by_its_admin_interface() {
    let place = Place::new();
    type End = fn(&mut Serving<'_>);
    let ends: [End; 4] = [
        |serving| serving.signal("TERM"),
        |serving| serving.signal("INT"),
        |serving| drop(serving.child.stdin.take()),
        |serving| {
            let quit = Request::new("POST", "admin.test", "/quitquitquit");
            exchange(serving.admin_port(), &quit, PATIENCE).unwrap();
        },
    ];
    for end in ends {
        let mut serving = place.start(&[]);
        end(&mut serving);
        assert_eq!(serving.ended(), 0);
        std::fs::remove_file(place.path("admin")).unwrap();
    }
}

#[test]
fn a_port_in_use_is_the_environments_fault() {
    let place = Place::new();
    let port = format!("port_value: {}", place.upstream.port());
    place.write(
        &std::fs::read_to_string(place.path("envoy.yaml")).unwrap().replace("port_value: 0", &port),
    );
    let output = place.command(&[]).stdin(Stdio::null()).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    assert!(stderr.contains("the gateway does not start: "), "{stderr}");
}
