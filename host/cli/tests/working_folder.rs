//! `postern init`: what it writes is checked, read and started as it is.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use postern_runtime::config::Gateway;
use serde_json::Value;

struct Place(tempfile::TempDir);

impl Place {
    /// A folder with modules that are files and no more.
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        for name in ["gate", "credential", "audit"] {
            let file = place.path(&format!("modules/{name}.wasm"));
            postern_files::create_private_dir(file.parent().unwrap()).unwrap();
            postern_files::write_atomic(file, b"").unwrap();
        }
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, folder: &str, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_postern"));
        command.args(args).current_dir(self.path(folder)).env_remove("POSTERN_LOG");
        command.env("POSTERN_OPERATOR", "gateway/operator.json").stdin(Stdio::null());
        command
    }

    fn run(&self, folder: &str, args: &[&str]) -> (i32, String, String) {
        let output = self.command(folder, args).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    fn init(&self, more: &[&str]) -> (i32, String, String) {
        let args = ["init", "gw", "--modules", "modules", "--tenant", "acme", "--json"];
        self.run("", &[&args, more].concat())
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn the_folder_is_complete_checked_and_read() {
    let place = Place::new();
    let more = ["--upstream", "slack=slack.com", "--upstream", "billing=billing.test:8443"];
    let (code, stdout, stderr) = place.init(&more);
    assert_eq!(code, 0, "{stdout}{stderr}");
    assert!(stderr.contains("SIMULATED"), "{stderr}");
    let document: Value = serde_json::from_str(&stdout).unwrap();
    let written = document["written"].as_array().unwrap();
    assert_eq!(written.len(), 8, "{stdout}");
    for name in written.iter().map(|name| name.as_str().unwrap()) {
        assert!(place.path("gw").join(name).is_file(), "{name}");
    }
    for name in ["gw/gateway/gateway.env", "gw/gateway/operator.json", "gw/data/kek.key"] {
        assert_eq!(mode(&place.path(name)), 0o600, "{name}");
    }
    let folder: Vec<_> = std::fs::read_dir(place.path("gw")).unwrap().flatten().collect();
    assert_eq!(folder.len(), 6, "something is left over: {folder:?}");

    let check = ["check", "--allow-simulated", "--allow-plain-upstream", "envoy.yaml"];
    let (code, stdout, stderr) = place.run("gw", &check);
    assert!(code == 0 && stdout.ends_with("envoy.yaml: good\n"), "{stdout}{stderr}");
    let envoy = place.text("gw/envoy.yaml");
    let gateway = Gateway::parse(&envoy).unwrap();
    assert_eq!(gateway.clusters.len(), 4);
    assert!(envoy.contains(document["gateway_id"].as_str().unwrap()));
    let policy = place.text("gw/policy/policy.rego");
    assert!(policy.lines().next().unwrap().contains("Writes wait for a person"), "{policy}");
    let write = r#"{"attributes":{"request":{"http":{"method":"POST"}}},"parsed_path":["api"]}"#;
    postern_files::write_atomic(place.path("gw/write.json"), write.as_bytes()).unwrap();
    let query = "data.postern.approval.result";
    let eval = ["policy", "eval", "--query", query, "--input", "write.json", "policy/policy.rego"];
    let (code, stdout, stderr) = place.run("gw", &eval);
    assert!(code == 0 && stdout.contains("approval"), "{stdout}{stderr}");
}

#[test]
fn a_second_time_needs_force_and_replaces_the_identities_as_one() {
    let place = Place::new();
    let names = ["gw/envoy.yaml", "gw/gateway/gateway.env", "gw/gateway/gateway.json"];
    let texts = || names.map(|name| place.text(name));
    assert_eq!(place.init(&[]).0, 0);
    let first = texts();
    let (code, _, stderr) = place.init(&[]);
    assert!(code == 2 && stderr.contains("gw/keys.yaml exists; --force"), "{stderr}");
    assert_eq!(texts(), first);
    let (code, stdout, stderr) = place.init(&["--force"]);
    assert_eq!(code, 0, "{stderr}");
    let document: Value = serde_json::from_str(&stdout).unwrap();
    let id = document["gateway_id"].as_str().unwrap();
    let [envoy, variables, gateway] = texts();
    assert!(envoy.contains(id) && gateway.contains(id));
    assert_ne!(variables, first[1]);
}

#[test]
fn a_failed_enrolment_leaves_what_was_there() {
    let place = Place::new();
    assert_eq!(place.init(&[]).0, 0);
    let before = place.text("gw/gateway/gateway.env");
    let lax = PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(place.path("gw/data/kek.key"), lax).unwrap();
    let (code, _, stderr) = place.init(&["--force"]);
    assert!(code == 3 && stderr.contains("chmod 600"), "{stderr}");
    assert_eq!(place.text("gw/gateway/gateway.env"), before);
}

#[test]
fn the_key_service_and_the_operator_start_from_the_folder() {
    let place = Place::new();
    assert_eq!(place.init(&[]).0, 0);
    // The usual port may be taken by another test.
    let keys = place.text("gw/keys.yaml").replace("127.0.0.1:8843", "127.0.0.1:0");
    postern_files::write_atomic(place.path("gw/keys.yaml"), keys.as_bytes()).unwrap();
    let serve = ["keys", "serve", "--config", "keys.yaml", "--while-stdin"];
    let mut serve = place.command("gw", &[&serve[..], &["--log-format", "json"]].concat());
    let log = std::fs::File::create(place.path("log")).unwrap();
    let out = std::fs::File::create(place.path("out")).unwrap();
    let mut service = serve.stdin(Stdio::piped()).stdout(out).stderr(log).spawn().unwrap();
    let url = place.path("gw/data/url");
    let up = postern_rig::wait::until(Duration::from_secs(30), || url.exists().then_some(()));
    assert!(up.is_some(), "{}", place.text("log"));
    let operator = place.text("gw/gateway/operator.json");
    let operator = operator.replace("https://127.0.0.1:8843", &place.text("gw/data/url"));
    let file = place.path("gw/gateway/operator.json");
    postern_files::write_private(file, operator.as_bytes()).unwrap();
    let (code, stdout, stderr) = place.run("gw", &["apikey", "list", "--json"]);
    assert_eq!(code, 0, "{stdout}{stderr}");
    drop(service.stdin.take());
    assert!(service.wait().unwrap().success());
    let said = place.text("out");
    for part in ["listening on https://127.0.0.1:", "database", "sim: ", "postern enrol --local"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let lines: Vec<Value> =
        place.text("log").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let simulated = |line: &&Value| line["message"].as_str().unwrap().contains("SIMULATED");
    assert!(lines.iter().filter(simulated).count() >= 2, "{lines:?}");
    assert!(lines.iter().all(|line| line["level"].is_string()), "{lines:?}");
}
