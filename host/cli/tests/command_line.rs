//! Exit codes and messages of the built command, without a network.

use std::path::Path;
use std::process::{Command, Stdio};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64;
use ed25519_dalek::{Signer, SigningKey};
use postern_core::chain::{START, service_link};
use postern_core::secret::Secret;
use postern_core::time::UnixMillis;
use postern_keys::audit::checkpoint::Checkpoint;
use postern_keys::audit::merkle::{self, Growing};
use postern_keys::audit::{AuditLog, Link};
use serde_json::{Value, json};

fn postern(folder: &Path, args: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_postern"))
        .args(args)
        .current_dir(folder)
        .env_remove("POSTERN_OPERATOR")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[rustfmt::skip]
const ROWS: &[(&[&str], i32, &str)] = &[
    (&["--version"], 0, ""),
    (&["--help"], 0, ""),
    (&["nonsense"], 2, "unrecognized subcommand"),
    (&["check"], 2, "required arguments"),
    (&["check", "missing.yaml"], 3, "missing.yaml: No such file"),
    (&["check", "bad.yaml"], 1, ""),
    (&["check", "--module", "gate", "bad.yaml"], 1, ""),
    (&["check", "--module", "router", "bad.yaml"], 2, "invalid value 'router'"),
    (&["apikey", "scopes"], 0, ""),
    (&["apikey", "create", "--user", "u", "--organisation", "o", "--agent", "a", "--scope", "*"], 2, "expected a scope of the catalogue"),
    (&["apikey", "create", "--user", "u", "--organisation", "o", "--agent", "a", "--expires", "soon"], 2, "expected a number and s, m, h or d"),
    (&["apikey", "create", "--user", "u", "--organisation", "o", "--agent", "a"], 3, "operator.json"),
    (&["apikey", "revoke", "short"], 2, "expected eight letters and digits"),
    (&["credential", "put", "slack"], 2, "--authority"),
    (&["credential", "put", "slack", "the-value"], 2, "unexpected argument"),
    (&["credential", "list"], 3, "operator.json"),
    (&["credential", "list", "--operator", "open.json"], 3, "expected 600"),
    (&["credential", "list", "--operator", "wrong.json"], 3, "wrong.json"),
    (&["enrol", "--out", "x"], 2, "--local"),
    (&["enrol", "--local", "--config", "missing.yaml", "--out", "x"], 3, "missing.yaml"),
    (&["enrol", "--local", "--data-dir", "d", "--out", "x", "--tenant", "A B"], 2, "expected [a-z0-9]"),
    (&["keys", "serve", "--config", "bad-keys.yaml"], 3, "listen: expected a loopback address"),
    (&["token", "mint"], 2, "required arguments"),
    (&["token", "key", "--out", "wrong.json"], 3, "wrong.json"),
    (&["token", "inspect", "missing"], 3, "missing: No such file"),
    (&["token", "inspect", "bad.yaml"], 1, "bad.yaml: expected pct1. and base64url"),
    (&["token", "sign", "--token", "bad.yaml", "--key", "open.json", "--method", "GET", "--url", "https://a.test/"], 3, "expected 600"),
    (&["token", "sign", "--token", "bad.yaml", "--key", "wrong.json", "--method", "GET", "--url", "https://a.test/"], 3, "expected a private key"),
    (&["token", "sign", "--token", "bad.yaml", "--key", "wrong.json", "--method", "GET", "--url", "ftp://a.test/"], 2, "expected https://HOST/PATH"),
    (&["token", "attenuate", "--token", "bad.yaml", "--key", "wrong.json"], 2, "--holder"),
    (&["token", "attenuate", "--token", "bad.yaml", "--key", "wrong.json", "--holder", "AAAA"], 2, "expected an Ed25519 key"),
    (&["audit", "verify", "missing.jsonl", "--key", "AAAA"], 3, "AAAA"),
    (&["demo", "--once", "--modules", "nowhere"], 3, "expected nowhere/gate.wasm"),
    (&["gateway"], 2, "--config"),
    (&["gateway", "--config", "missing.yaml"], 3, "missing.yaml: No such file"),
    (&["gateway", "--config", "malformed.yaml"], 1, "malformed.yaml:2: mismatched bracket"),
    (&["gateway", "--config", "bad.yaml"], 1, "bad.yaml:1: authenticators: this gateway does not know this field"),
    (&["gateway", "--config", "unknown.yaml", "--check"], 1, "unknown.yaml:2: admin.colour: this gateway does not know"),
    (&["gateway", "--config", "nowhere.yaml", "--check", "--no-cache"], 3, "nowhere/gate.wasm"),
    (&["gateway", "--config", "nowhere.yaml", "--env-file", "missing.env"], 3, "missing.env: No such file"),
    (&["gateway", "--config", "nowhere.yaml", "--env-file", "open.json"], 3, "expected 600"),
    (&["gateway", "--config", "nowhere.yaml", "--env-file", "wrong.json"], 3, "wrong.json:1: expected NAME=VALUE"),
    (&["gateway", "--config", "nowhere.yaml", "--workers", "0"], 2, "--workers"),
    (&["gateway", "--config", "nowhere.yaml", "--log-level", "loud"], 2, "expected one of error, warn"),
    (&["gateway", "--config", "nowhere.yaml", "--cache", "c", "--no-cache"], 2, "cannot be used with"),
    (&["gateway", "--config", "nowhere.yaml", "--trace=xml"], 2, "invalid value 'xml'"),
    (&["gateway", "--config", "nowhere.yaml", "--trace-file", "t"], 2, "--trace"),
    (&["gateway", "--config", "nowhere.yaml", "--record", "r", "--workers", "2"], 2, "--record: expected one worker"),
    (&["replay"], 2, "<FILE>"),
    (&["replay", "missing.jsonl"], 3, "missing.jsonl: No such file"),
    (&["replay", "bad.yaml"], 3, "bad.yaml: line 1: expected a recording"),
    (&["replay", "recording.jsonl"], 3, "nowhere.wasm: No such file"),
    (&["replay", "recording.jsonl", "--module", "m"], 2, "expected NAME=PATH"),
    (&["replay", "recording.jsonl", "--module", "other=x.wasm"], 2, "no module other; there are: nowhere.wasm"),
    (&["replay", "recording.jsonl", "--module", "nowhere=bad.yaml"], 1, "bad.yaml: not a WebAssembly module"),
    (&["keys", "serve", "--log-format", "xml"], 2, "invalid value 'xml'"),
    (&["init", "i", "--modules", "nowhere"], 3, "expected nowhere/gate.wasm"),
    (&["init", "i", "--tenant", "A B"], 2, "expected [a-z0-9]"),
    (&["init", "i", "--upstream", "slack"], 2, "expected NAME=AUTHORITY"),
    (&["init", "i", "--upstream", "a=a.test", "--upstream", "b=a.test"], 2, "--upstream b=a.test: twice"),
    (&["upstream", "--listen", "0.0.0.0:0"], 2, "expected a loopback address"),
    (&["attack"], 2, "--target"),
    (&["attack", "--list", "--only", "R99"], 2, "--only R99: no such row or case"),
    (&["attack", "--list", "--only", "R15"], 0, ""),
    (&["attack", "--print-profile"], 0, ""),
    (&["attack", "--target", "ftp://a", "--upstream-listen", "127.0.0.1:0", "--profile", "attacked.yaml"], 2, "expected http://HOST:PORT"),
    (&["attack", "--target", "http://127.0.0.1:1", "--upstream-listen", "127.0.0.1:0", "--profile", "missing.yaml"], 3, "missing.yaml: No such file"),
    (&["attack", "--target", "http://127.0.0.1:1", "--upstream-listen", "127.0.0.1:0", "--profile", "bad.yaml"], 2, "bad.yaml"),
    (&["attack", "--target", "http://127.0.0.1:1", "--upstream-listen", "192.0.2.1:1", "--profile", "attacked.yaml"], 3, "cannot listen on 192.0.2.1:1"),
    (&["completions", "bash"], 0, ""),
    (&["completions", "tcsh"], 2, "invalid value"),
    (&["man", "--dir", "man"], 0, ""),
];

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        postern_files::write_atomic(folder.path().join(name), text.as_bytes()).unwrap();
    };
    write("bad.yaml", "authenticators: []\n");
    let attacked = "note: x\nauthority: a\npath: /a\nrefusals: {}\ncaller: {header: a, value: b, key: k}\n\
                    credentials: {main: {name: a, secret: 0123456789ab}}\n";
    write("attacked.yaml", attacked);
    write("bad-keys.yaml", "data_dir: d\nlisten: 0.0.0.0:1\n");
    write("malformed.yaml", "admin:\n  address: {\n]\n");
    let shipped = include_str!("../../../envoy/envoy.yaml");
    write("unknown.yaml", "admin:\n  colour: red\n");
    write("ca.pem", &postern_rig::authority::Authority::new().unwrap().root_pem());
    let nowhere = shipped.replace("target/plugins", "nowhere");
    let nowhere = nowhere.replace("/etc/postern/keys-ca.pem", "ca.pem");
    write("nowhere.yaml", &nowhere.replace("/etc/ssl/certs/ca-certificates.crt", "ca.pem"));
    write("recording.jsonl", &recording());
    write("open.json", "{}");
    postern_files::write_private(folder.path().join("wrong.json"), b"{}").unwrap();
    folder
}

/// A recording of a gateway with one plugin, on which nothing has happened.
fn recording() -> String {
    let plugin = json!({"name": "p", "failure_policy": "FAIL_CLOSED", "vm_config": {
        "runtime": "envoy.wasm.runtime.v8", "code": {"local": {"filename": "nowhere.wasm"}},
    }});
    let url = |kind: &str| format!("type.googleapis.com/envoy.extensions.filters.{kind}");
    let entry = |kind: &str, more: Value| {
        let mut config = json!({"@type": url(kind)});
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"name": "x", "typed_config": config})
    };
    let filters = [
        entry("http.wasm.v3.Wasm", json!({"config": plugin})),
        entry("http.router.v3.Router", json!({})),
    ];
    let routes = json!({"virtual_hosts": [{"name": "v", "domains": ["*"], "routes": []}]});
    let manager = "network.http_connection_manager.v3.HttpConnectionManager";
    let manager = entry(
        manager,
        json!({"stat_prefix": "s", "http_filters": filters, "route_config": routes}),
    );
    let address = json!({"socket_address": {"address": "127.0.0.1", "port_value": 0}});
    let listener =
        json!({"name": "l", "address": address, "filter_chains": [{"filters": [manager]}]});
    let bootstrap = json!({"static_resources": {"listeners": [listener]}}).to_string();
    let header = json!({
        "postern_recording": 1, "started": 0, "seed": "00", "node": "n", "log_level": 2,
        "values": false, "bootstrap": bootstrap, "modules": {},
    });
    format!("{header}\n")
}

#[test]
fn every_row_ends_with_its_code_and_says_why() {
    let folder = folder();
    for (args, code, says) in ROWS {
        let (ended, stdout, stderr) = postern(folder.path(), args);
        assert_eq!(ended, *code, "{args:?}\n{stdout}{stderr}");
        assert!(stderr.contains(says), "{args:?}: expected {says:?}\n{stderr}");
    }
}

#[test]
fn with_json_stdout_is_one_document_whatever_happens() {
    let folder = folder();
    for (args, code, _) in ROWS {
        let for_people = matches!(args[0], "--version" | "--help") || args[0] == "completions";
        if for_people && *code == 0 {
            continue;
        }
        let (_, stdout, _) = postern(folder.path(), &[args, &["--json"][..]].concat());
        let document: Result<Value, _> = serde_json::from_str(&stdout);
        assert!(document.is_ok(), "{args:?}: {stdout}");
    }
}

#[test]
fn every_command_has_examples() {
    let folder = folder();
    for args in [
        &["check"][..],
        &["init"],
        &["gateway"],
        &["replay"],
        &["upstream"],
        &["keys", "serve"],
        &["enrol"],
        &["credential", "put"],
        &["credential", "list"],
        &["credential", "delete"],
        &["apikey", "create"],
        &["apikey", "list"],
        &["apikey", "rotate"],
        &["apikey", "revoke"],
        &["person", "add"],
        &["person", "list"],
        &["person", "remove"],
        &["person", "passkey", "link"],
        &["person", "passkey", "remove"],
        &["token", "key"],
        &["token", "mint"],
        &["token", "attenuate"],
        &["token", "inspect"],
        &["token", "verify"],
        &["token", "sign"],
        &["audit", "export"],
        &["audit", "verify"],
        &["demo"],
        &["completions"],
        &["man"],
    ] {
        let (code, stdout, _) = postern(folder.path(), &[args, &["--help"]].concat());
        assert!(code == 0 && stdout.contains("Examples:"), "{args:?}: {stdout}");
    }
}

#[test]
fn the_check_prints_file_line_and_path() {
    let folder = folder();
    let (code, stdout, _) = postern(folder.path(), &["check", "bad.yaml"]);
    assert_eq!(code, 1);
    assert!(stdout.lines().any(|line| line.starts_with("bad.yaml:1: error: ")), "{stdout}");
    assert!(stdout.trim_end().ends_with("problems"), "{stdout}");
}

/// A chain of `count` events under `key`, as the service exports it.
fn chain(key: &SigningKey, count: u64) -> Vec<Value> {
    let mut prev = START;
    let mut lines = Vec::new();
    for n in 1..=count {
        let bytes = json!({"kind": "test", "n": n.to_string(), "v": 1}).to_string().into_bytes();
        let hash = service_link(&prev, &bytes);
        let sig = key.sign(&hash).to_bytes();
        lines.push(json!({
            "n": n.to_string(), "prev": B64.encode(prev), "hash": B64.encode(hash),
            "sig": B64.encode(sig), "bytes": B64.encode(bytes),
        }));
        prev = hash;
    }
    let public = B64.encode(key.verifying_key().as_bytes());
    let header = json!({
        "postern_audit": 1, "key": public, "count": count.to_string(), "head": B64.encode(prev),
    });
    lines.insert(0, header);
    lines
}

#[test]
fn a_changed_deleted_inserted_or_cut_off_event_is_named() {
    let key = SigningKey::from_bytes(&[7; 32]);
    let public = B64.encode(key.verifying_key().as_bytes());
    let folder = tempfile::tempdir().unwrap();
    let verify = |lines: &[Value], key: &str| {
        let text: Vec<String> = lines.iter().map(Value::to_string).collect();
        let path = folder.path().join("audit.jsonl");
        postern_files::write_atomic(path, text.join("\n").as_bytes()).unwrap();
        let (code, stdout, _) =
            postern(folder.path(), &["audit", "verify", "audit.jsonl", "--key", key]);
        (code, stdout)
    };
    type Edit = fn(&mut Vec<Value>);
    let rows: &[(Edit, i32, &str)] = &[
        (|_| {}, 0, "good: 6 events"),
        (|lines| lines[3]["bytes"] = json!(B64.encode("{}")), 1, "event 3 was changed"),
        (|lines| lines[4]["sig"] = lines[3]["sig"].clone(), 1, "event 4 was changed"),
        (|lines| drop(lines.remove(3)), 1, "event 3 was deleted"),
        (|lines| drop(lines.pop()), 1, "events 6 to 6 are missing"),
        (|lines| lines.insert(3, lines[2].clone()), 1, "inserted before event 3"),
        (|lines| drop(lines.remove(0)), 1, "no valid header"),
    ];
    for (edit, code, says) in rows {
        let mut lines = chain(&key, 6);
        edit(&mut lines);
        let (ended, stdout) = verify(&lines, &public);
        assert!(ended == *code && stdout.contains(says), "{says}: {stdout}");
    }
    let other = B64.encode(SigningKey::from_bytes(&[8; 32]).verifying_key().as_bytes());
    let (code, stdout) = verify(&chain(&key, 6), &other);
    assert!(code == 1 && stdout.contains("names another signing key"), "{stdout}");
}

#[test]
fn strict_asks_for_every_content_and_a_checkpoint() {
    let key = SigningKey::from_bytes(&[7; 32]);
    let public = B64.encode(key.verifying_key().as_bytes());
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        postern_files::write_atomic(folder.path().join(name), text.as_bytes()).unwrap();
    };
    let text = |lines: &[Value]| lines.iter().map(|line| format!("{line}\n")).collect::<String>();
    let mut lines = chain(&key, 3);
    write("whole.jsonl", &text(&lines));
    let hash = B64.decode(lines[3]["hash"].as_str().unwrap()).unwrap().try_into().unwrap();
    let log = AuditLog::new(&Secret::new(vec![7; 32]), "simulated").unwrap();
    let mut tree = Growing::default();
    for line in &lines[1..] {
        tree.push(merkle::leaf(&B64.decode(line["hash"].as_str().unwrap()).unwrap()));
    }
    let (head, root) = (Link { n: 3, hash }, tree.root());
    write("note", &Checkpoint { head, root, at: UnixMillis(1) }.sign(&log));
    lines[2].as_object_mut().unwrap().remove("bytes");
    write("withheld.jsonl", &text(&lines));
    let rows: &[(&[&str], i32, &str)] = &[
        (&["whole.jsonl", "--strict", "--checkpoint", "note"], 0, "good: 3 events, complete"),
        (&["whole.jsonl", "--strict"], 1, "not good enough for --strict: no checkpoint"),
        (&["whole.jsonl"], 0, "good: 3 events"),
        (
            &["withheld.jsonl", "--strict", "--checkpoint", "note"],
            1,
            "events without their content: 1",
        ),
        (&["withheld.jsonl", "--checkpoint", "note"], 0, "1 of them without"),
    ];
    for (args, code, says) in rows {
        let args = [&["audit", "verify", "--key", &public], *args].concat();
        let (ended, stdout, stderr) = postern(folder.path(), &args);
        assert!(ended == *code && stdout.contains(says), "{args:?}: {stdout}{stderr}");
    }
}

#[test]
fn manual_pages_are_written_for_every_command() {
    let folder = folder();
    let (code, stdout, _) = postern(folder.path(), &["man", "--dir", "pages", "--json"]);
    let document: Value = serde_json::from_str(&stdout).unwrap();
    let written = document["written"].as_array().unwrap();
    assert!(code == 0 && written.len() > 15, "{stdout}");
    assert!(folder.path().join("pages/postern-apikey-create.1").is_file());
}
