//! The operator's whole day against a real key service on 127.0.0.1.

mod support;

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64;
use serde_json::Value;
use support::{Day, SERVE, command};

#[test]
fn a_gateway_may_run_what_its_file_says() {
    let day = Day::begin();
    std::fs::create_dir_all(day.path("target/plugins")).unwrap();
    for name in ["gate", "credential", "audit"] {
        postern_files::write_atomic(
            day.path(&format!("target/plugins/{name}.wasm")),
            name.as_bytes(),
        )
        .unwrap();
    }
    let enrolled = std::fs::read_to_string(day.path("gateway/gateway.json")).unwrap();
    let enrolled: Value = serde_json::from_str(&enrolled).unwrap();
    let shipped = include_str!("../../../envoy/envoy.yaml");
    // A set is refused for a gateway that is not there.
    let shipped = shipped
        .replace("00112233445566778899aabbccddeeff", enrolled["gateway_id"].as_str().unwrap());
    postern_files::write_atomic(day.path("envoy.yaml"), shipped.as_bytes()).unwrap();
    let said = day.json(&["gateway-set", "show", "envoy.yaml"]);
    assert!(said["modules"].is_null() && said["files"]["gate"].is_string(), "{said}");
    let lines = |files: &Value| {
        let files = files.as_object().unwrap().iter();
        let lines = files.map(|(name, digest)| format!("                    {name}: {digest}\n"));
        format!("role: inject\n                  modules:\n{}", lines.collect::<String>())
    };
    let declared = shipped.replacen("role: inject\n", &lines(&said["files"]), 1);
    postern_files::write_atomic(day.path("envoy.yaml"), declared.as_bytes()).unwrap();
    let authorise = ["gateway-set", "authorise", "one", "--config", "envoy.yaml"];
    let set = day.json(&authorise);
    assert_eq!(set["gateway"], said["gateway"]);
    assert_eq!(set["modules"].as_str().map(str::len), Some(64));
    assert_eq!((&set["policy"], &set["bindings"]), (&said["policy"], &said["bindings"]));
    let list = day.good(&["gateway-set", "list"], "");
    assert!(list.contains("one") && list.contains(said["gateway"].as_str().unwrap()), "{list}");
    // A module that is not what the file says.
    postern_files::write_atomic(day.path("target/plugins/gate.wasm"), b"another").unwrap();
    for args in [
        &authorise[..],
        &["gateway-set", "show", "envoy.yaml"],
        &["check", "--allow-simulated", "--allow-plain-upstream", "envoy.yaml"],
        &["gateway", "--config", "envoy.yaml", "--check"],
    ] {
        let (code, stdout, stderr) = day.run(args, "");
        let told = format!("{stdout}{stderr}");
        assert!(code == 1 && told.contains("modules.gate: expected"), "{args:?}: {code} {told}");
    }
    let gateway = said["gateway"].as_str().unwrap();
    let remove = ["gateway-set", "remove", "one", "--gateway", gateway];
    assert_eq!(day.run(&remove, "").0, 1, "the last one");
    day.good(&[&remove[..], &["--last"]].concat(), "");
    day.has_recorded(&["gateway_set_authorised".to_owned(), "gateway_set_removed".to_owned()]);
}

const PUT: &[&str] = &[
    "credential",
    "put",
    "slack",
    "--authority",
    "slack.com",
    "--method",
    "GET",
    "--path",
    "/api/**",
];
/// A day in milliseconds.
const DAY: u64 = 86_400_000;
const CREATE: &[&str] =
    &["apikey", "create", "--user", "ada", "--organisation", "acme", "--agent", "bot"];

#[test]
fn the_evidence_of_a_running_service_is_appraised_with_a_fresh_challenge() {
    let day = Day::begin();
    let gateway = std::fs::read_to_string(day.path("gateway/gateway.json")).unwrap();
    let gateway: Value = serde_json::from_str(&gateway).unwrap();
    let key = gateway["danger_allow_simulated"]["key"].as_str().unwrap();
    let url = gateway["url"].as_str().unwrap();
    let verify = |key: &str| {
        let args = ["attest", "verify", "--url", url, "--ca", "gateway/keys-ca.pem"];
        day.run(&[&args[..], &["--sim-key", key]].concat(), "")
    };
    let (code, stdout, stderr) = verify(key);
    assert_eq!(code, 0, "{stdout}{stderr}");
    assert!(stdout.contains("challenge") && stdout.contains("SIMULATED"), "{stdout}");
    assert_eq!(verify(&B64.encode([9; 32])).0, 1);
}

#[test]
fn credentials_go_in_and_never_come_out() {
    let day = Day::begin();
    assert_eq!(day.good(PUT, "xoxb-value\n"), "stored slack, version 1, sealed\n");
    let (code, _, stderr) = day.run(PUT, "xoxb-other");
    assert!(code == 1 && stderr.contains("--replace"), "{stderr}");
    let replaced = day.good(&[PUT, &["--replace"]].concat(), "xoxb-other");
    assert_eq!(replaced, "stored slack, version 2, sealed\n");
    let (code, _, stderr) = day.run(&[PUT, &["--replace"]].concat(), "");
    assert!(code == 2 && stderr.contains("expected a value"), "{stderr}");
    let list = day.json(&["credential", "list"]);
    assert_eq!(list["credentials"][0]["name"], "slack");
    assert!(!list.to_string().contains("xoxb"), "{list}");
    day.good(&["credential", "delete", "slack"], "");
    let (code, _, _) = day.run(&["credential", "delete", "slack"], "");
    assert_eq!(code, 1);
}

#[test]
fn a_binding_file_is_checked_before_anything_is_asked() {
    let day = Day::begin();
    let write = |text: &str| {
        postern_files::write_atomic(day.path("b.yaml"), text.as_bytes()).unwrap();
        day.run(&["credential", "put", "slack", "--binding", "b.yaml"], "xoxb-value")
    };
    let (code, _, stderr) =
        write("{authority: '*', methods: [], paths: [x], site: {style: bearer}}");
    assert!(code == 2 && stderr.contains("authority") && stderr.contains("methods"), "{stderr}");
    let other = "{credential: other, authority: slack.com, methods: [GET], paths: [/a], site: {style: bearer}}";
    let (code, _, stderr) = write(other);
    assert!(code == 2 && stderr.contains("expected credential \"slack\""), "{stderr}");
    let (code, stdout, stderr) = write(&other.replace("credential: other, ", ""));
    assert_eq!((code, stdout.as_str()), (0, "stored slack, version 1, sealed\n"), "{stderr}");
}

#[test]
fn a_credential_that_signs_has_its_fields_a_line_each() {
    let day = Day::begin();
    let base = [
        "credential",
        "put",
        "store",
        "--authority",
        "s3.test",
        "--method",
        "GET",
        "--path",
        "/**",
        "--style",
        "sigv4",
        "--region",
        "eu-west-1",
        "--service",
        "s3",
        "--field",
        "access_key_id",
    ];
    let both = [&base[..], &["--field", "secret_access_key"]].concat();
    let (code, _, stderr) = day.run(&base, "AKID\n");
    assert!(code == 2 && stderr.contains("needs --field secret_access_key"), "{stderr}");
    for input in ["AKID\n", "AKID\n\n", "AKID\nsecret\nmore\n"] {
        let (code, _, stderr) = day.run(&both, input);
        assert!(code == 2 && stderr.contains("one line for each --field"), "{stderr}");
    }
    assert_eq!(day.good(&both, "AKID\nxoxb-secret\n"), "stored store, version 1, sealed\n");
    let list = day.json(&["credential", "list"]);
    let site = &list["credentials"][0]["bindings"][0]["site"];
    assert_eq!((&site["style"], &site["payload"]), (&"sigv4".into(), &"signed".into()));
    let without = ["--style", "sigv4", "--service", "s3", "--field", "access_key_id"];
    let (code, _, stderr) = day.run(&[&base[..9], &without].concat(), "");
    assert!(code == 2 && stderr.contains("--region"), "{stderr}");
}

#[test]
fn the_example_bindings_are_taken() {
    let day = Day::begin();
    for (name, fields) in [
        ("store", &["access_key_id", "secret_access_key"][..]),
        ("photos", &["consumer_key", "consumer_secret", "token", "token_secret"]),
        ("oauth", &[]),
    ] {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let file = root.join(format!("envoy/bindings/{name}.yaml")).display().to_string();
        let mut args = vec!["credential", "put", name, "--binding", &file];
        args.extend(fields.iter().flat_map(|field| ["--field", field]));
        let stored = format!("stored {name}, version 1, sealed\n");
        assert_eq!(day.good(&args, &"xoxb-value\n".repeat(fields.len().max(1))), stored);
    }
}

#[test]
fn keys_are_shown_once_rotate_with_overlap_and_are_revoked() {
    let day = Day::begin();
    let key = day.good(&[CREATE, &["--platform", "cursor", "--expires", "30d"]].concat(), "");
    let id = &key[3..11];
    let list = day.json(&["apikey", "list"]);
    assert!(!list.to_string().contains(key.trim()), "{list}");
    assert_eq!(list["keys"][0]["scopes"], serde_json::json!(["documents:read"]));
    assert_eq!(list["keys"][0]["platform"], "cursor");
    let next = day.json(&["apikey", "rotate", id, "--overlap", "1h"]);
    assert_eq!(next["replaces"], id);
    let (old, new) = (list["keys"][0]["not_after"].as_u64(), next["ends"].as_u64());
    assert!(new.unwrap() > old.unwrap() + 59 * DAY, "90 days where the old key had 30");
    let list = day.json(&["apikey", "list"]);
    assert_eq!(
        (&list["keys"][0]["state"], &list["keys"][1]["state"]),
        (&"active".into(), &"active".into())
    );
    day.good(&["apikey", "revoke", id], "");
    assert_eq!(day.json(&["apikey", "list"])["keys"][0]["state"], "revoked");
    let (code, _, _) = day.run(&["apikey", "revoke", id], "");
    assert_eq!(code, 1, "a key that is revoked already");
}

#[test]
fn agents_users_and_tokens_are_revoked_listed_and_let_in_again() {
    let day = Day::begin();
    day.good(&["agent", "revoke", "bot"], "");
    day.good(&["revocation", "add", "token", "0f9c", "--until", "2h"], "");
    day.good(&["revocation", "add", "tenant"], "");
    let listed = |day: &Day| {
        let list = day.json(&["revocation", "list"]);
        let name = |one: &Value| format!("{} {}", one["kind"], one["id"]).replace('"', "");
        list["revocations"].as_array().unwrap().iter().map(name).collect::<Vec<_>>()
    };
    assert_eq!(listed(&day), ["agent bot", "tenant ", "token 0f9c"]);
    day.good(&["agent", "restore", "bot"], "");
    day.good(&["revocation", "remove", "tenant"], "");
    assert_eq!(listed(&day), ["token 0f9c"]);
    let (code, _, _) = day.run(&["agent", "restore", "bot"], "");
    assert_eq!(code, 1, "an agent that is not revoked");
    let (code, _, stderr) = day.run(&["revocation", "add", "user", "ada", "--until", "2h"], "");
    assert!(code == 1 && stderr.contains("end by themselves"), "{stderr}");
    let (code, _, _) = day.run(&["revocation", "add", "api-key", "AbCd0123"], "");
    assert_eq!(code, 2, "a key has its own command");
}

#[test]
fn roles_and_trust_are_those_there_are() {
    let day = Day::begin();
    for (name, value) in [("--role", "OWNER"), ("--role", "agent"), ("--trust", "full")] {
        let (code, _, _) = day.run(&[CREATE, &[name, value]].concat(), "");
        assert_eq!(code, 2, "{name} {value}");
    }
    day.good(&[CREATE, &["--role", "AGENT", "--role", "AUDITOR"]].concat(), "");
    let key = &day.json(&["apikey", "list"])["keys"][0];
    assert_eq!(key["roles"], serde_json::json!(["AGENT", "AUDITOR"]));
}

#[test]
fn an_eleventh_active_key_is_refused() {
    let day = Day::begin();
    for _ in 0..10 {
        day.good(CREATE, "");
    }
    let (code, _, stderr) = day.run(CREATE, "");
    assert!(code == 1 && stderr.contains("10 active keys"), "{stderr}");
}

#[test]
fn the_audit_chain_is_exported_and_verified() {
    let day = Day::begin();
    day.good(CREATE, "");
    day.good(&["audit", "export", "--out", "a.jsonl", "--key-out", "a.pub"], "");
    let report = day.json(&["audit", "verify", "a.jsonl", "--key", "a.pub"]);
    assert_eq!(report["good"], true);
    assert!(report["events"].as_u64().unwrap() >= 10, "{report}");
}

#[test]
fn frameworks_are_made_sections_classified_and_agents_cleared() {
    let day = Day::begin();
    day.good(&["framework", "create", "default", "public", "internal", "secret"], "");
    assert_eq!(day.json(&["framework", "list"])["frameworks"][0]["framework"], "default");
    day.good(&["classify", "plan-2026", "budget", "secret"], "");
    day.good(&["classify", "plan-2026", "summary", "public"], "");
    day.good(&["clearance", "set", "bot", "internal"], "");
    let data = day.json(&["framework", "show", "default", "--policy-data"]);
    let sections = &data["frameworks"]["default"]["sections"]["plan-2026"];
    assert_eq!(sections, &serde_json::json!({"budget": "secret", "summary": "public"}));
    let shown = day.json(&["clearance", "show", "bot"]);
    assert_eq!(shown["clearances"][0]["level"], "internal");
    day.good(&["clearance", "set", "bot", "--remove"], "");
    let (code, _, stderr) = day.run(&["clearance", "show", "bot"], "");
    assert!(code == 1 && stderr.contains("has no clearance here"), "{code} {stderr}");
    let (code, _, stderr) = day.run(&["classify", "plan-2026", "budget", "cosmic"], "");
    assert!(code == 1 && stderr.contains("level of the framework"), "{code} {stderr}");
    let (code, _, _) = day.run(&["classify", "plan-2026", "budget"], "");
    assert_eq!(code, 2, "neither a level nor --remove");
    let twice = ["framework", "create", "default", "a"];
    assert_eq!(day.run(&twice, "").0, 1);
}

#[test]
fn decision_logs_are_made_of_an_export_that_holds_and_of_no_other() {
    let day = Day::begin();
    day.good(&["audit", "export", "--out", "a.jsonl", "--key-out", "a.pub"], "");
    let turn = ["audit", "decision-log", "a.jsonl", "--key", "a.pub", "--out", "d.jsonl"];
    assert_eq!(day.json(&turn)["decisions"], 0, "no request was made");
    let path = day.folder.path().join("a.jsonl");
    let mut text = std::fs::read_to_string(&path).unwrap();
    text.truncate(text.trim_end().rfind('\n').unwrap() + 1);
    postern_files::write_private(&path, text.as_bytes()).unwrap();
    std::fs::remove_file(day.folder.path().join("d.jsonl")).unwrap();
    let (code, _, stderr) = day.run(&turn, "");
    assert!(code == 1 && stderr.contains("the export is broken"), "{code} {stderr}");
    assert!(!day.folder.path().join("d.jsonl").exists());
}

#[test]
fn what_was_acknowledged_is_in_the_log_after_the_service_was_killed() {
    let mut day = Day::begin();
    let done = AtomicUsize::new(0);
    let service = day.service.id().to_string();
    let acknowledged = std::thread::scope(|scope| {
        let keys = scope.spawn(|| day.create_until_it_fails(&done));
        let enough = || (done.load(Ordering::SeqCst) >= 5).then_some(());
        assert!(postern_rig::wait::until(Duration::from_secs(60), enough).is_some());
        let killed = Command::new("kill").args(["-KILL", &service]).status();
        assert!(killed.unwrap().success());
        keys.join().unwrap()
    });
    day.killed_and_started_again();
    day.has_recorded(&acknowledged);
}

#[test]
fn a_full_disk_refuses_and_loses_nothing_that_was_acknowledged() {
    // No file of the service may grow beyond one and a half MiB: its database's log meets that first.
    let mut day = Day::begin_as(|folder| {
        let mut serve = command(folder, &[]);
        let shell = format!(
            "trap '' XFSZ; ulimit -f 3072; exec {} {}",
            env!("CARGO_BIN_EXE_postern"),
            SERVE.join(" ")
        );
        let mut limited = Command::new("sh");
        limited.args(["-c", &shell]).current_dir(folder).stdin(Stdio::piped());
        std::mem::swap(&mut serve, &mut limited);
        serve
    });
    let acknowledged = day.create_until_it_fails(&AtomicUsize::new(0));
    assert!(!acknowledged.is_empty());
    let (code, _, stderr) = day.run(CREATE, "");
    assert!(code == 3 && stderr.contains("503"), "{code} {stderr}");
    day.killed_and_started_again();
    day.has_recorded(&acknowledged);
    day.good(CREATE, "");
}

#[test]
fn the_log_is_followed_by_checkpoints_and_receipts() {
    let day = Day::begin();
    day.good(&["audit", "export", "--out", "a.jsonl", "--key-out", "a.pub"], "");
    // The first is signed within a minute, or when the service ends.
    let mut day = day;
    let status = Command::new("kill").args(["-TERM", &day.service.id().to_string()]).status();
    assert!(status.unwrap().success());
    day.service.wait().unwrap();
    day.killed_and_started_again();
    let checkpoint = |out: &str, since: &[&str]| {
        let args = ["audit", "checkpoint", "--key", "a.pub", "--out", out];
        day.run(&[&args[..], since].concat(), "")
    };
    assert_eq!(checkpoint("one", &[]).0, 0);
    let (code, stdout, stderr) = checkpoint("two", &["--since", "one"]);
    assert!(code == 0 && stdout.contains("which begin with"), "{stdout}{stderr}");
    let (code, stdout, _) = checkpoint("three", &["--since", "a.pub"]);
    assert!(code == 1 && stdout.contains("not signed by this key"), "{stdout}");
    day.good(&["audit", "proof", "2", "--out", "2.tlog-proof"], "");
    let shown = day.json(&["audit", "verify-proof", "2.tlog-proof", "--key", "a.pub"]);
    assert_eq!((&shown["good"], &shown["n"]), (&Value::from(true), &Value::from(2)));
    let text = std::fs::read_to_string(day.path("2.tlog-proof")).unwrap();
    let other = text.replacen("index 1", "index 2", 1);
    postern_files::write_atomic(day.path("3.tlog-proof"), other.as_bytes()).unwrap();
    let (code, stdout, _) =
        day.run(&["audit", "verify-proof", "3.tlog-proof", "--key", "a.pub"], "");
    assert!(code == 1 && stdout.contains("not a proof"), "{stdout}");
    for bad in [&["1", "--decision", "00"][..], &["--decision", "xyz"], &[]] {
        assert_eq!(day.run(&[&["audit", "proof", "--out", "x"], bad].concat(), "").0, 2);
    }
    let nobody = ["audit", "proof", "--decision", &"0".repeat(32), "--out", "x"];
    assert_ne!(day.run(&nobody, "").0, 0);
    let (code, _, stderr) = day.run(&["audit", "proof", "99999", "--out", "x"], "");
    assert!(code == 3 && stderr.contains("covers an event within a minute"), "{code} {stderr}");
}

#[test]
fn a_folder_of_evidence_says_what_the_log_says_and_can_be_verified_by_itself() {
    let mut day = Day::begin();
    day.good(&[CREATE, &["--role", "ADMIN"]].concat(), "");
    day.good(&["revocation", "add", "user", "<b>eve</b>"], "");
    let term = Command::new("kill").args(["-TERM", &day.service.id().to_string()]).status();
    assert!(term.unwrap().success());
    day.service.wait().unwrap();
    day.killed_and_started_again();
    let period = ["--from", "2020-01-01", "--to", "2099-12-31", "--out", "evidence"];
    let args = [&["audit", "export", "--framework", "soc2"][..], &period].concat();
    let summary = day.json(&args);
    assert_eq!((&summary["whole"], &summary["checkpoint"]), (&true.into(), &true.into()));
    let report = std::fs::read_to_string(day.path("evidence/report.html")).unwrap();
    for text in
        ["SOC 2", "CC6.3", "of them", "privileged role", "key_created", "ADMIN", "Approvals"]
    {
        assert!(report.contains(text), "{text}");
    }
    assert!(report.contains("&lt;b&gt;eve") && !report.contains("<b>eve"));
    let verify = ["audit", "verify", "evidence/chain.jsonl", "--key", "evidence/signing-key.json"];
    day.good(&[&verify[..], &["--checkpoint", "evidence/newest.checkpoint"]].concat(), "");
    let proofs = std::fs::read_dir(day.path("evidence/proofs")).unwrap();
    let proofs: Vec<_> = proofs.map(|proof| proof.unwrap().path()).collect();
    assert!(proofs.len() > 8, "{}", proofs.len());
    for proof in &proofs {
        let proof = proof.to_str().unwrap();
        day.good(&["audit", "verify-proof", proof, "--key", "evidence/signing-key.json"], "");
    }
    let mut sums = Command::new("sha256sum");
    sums.args(["--check", "--quiet", "SHA256SUMS"]).current_dir(day.path("evidence"));
    assert!(sums.status().unwrap().success());
    let (code, _, stderr) = day.run(&args, "");
    assert!(code == 2 && stderr.contains("new or empty folder"), "{stderr}");
    for bad in [["2026-02-30", "2026-03-01"], ["2026-03-02", "2026-03-01"]] {
        let args = ["audit", "export", "--framework", "iso27001", "--from", bad[0], "--to", bad[1]];
        assert_eq!(day.run(&[&args[..], &["--out", "other"]].concat(), "").0, 2);
    }
}

#[test]
fn the_log_is_written_in_other_forms() {
    let day = Day::begin();
    day.good(CREATE, "");
    for (format, member) in [("ocsf", "class_uid"), ("cloudevents", "specversion")] {
        let made = day.json(&["audit", "export", "--format", format, "--out", "events.jsonl"]);
        let text = std::fs::read_to_string(day.path("events.jsonl")).unwrap();
        assert_eq!(made["events"], text.lines().count());
        for line in text.lines() {
            let event: Value = serde_json::from_str(line).unwrap();
            assert!(!event[member].is_null(), "{line}");
        }
        assert!(text.contains("key_created"), "{text}");
    }
    let both = ["audit", "export", "--format", "ocsf", "--checkpoint-out", "c", "--out", "e"];
    assert_eq!(day.run(&both, "").0, 2);
}

#[test]
fn a_persons_events_are_written_and_taken_out_and_the_rest_verifies() {
    let day = Day::begin();
    day.good(CREATE, "");
    let user = day.json(&["apikey", "list"])["keys"][0]["user"].as_str().unwrap().to_owned();
    let written = day.json(&["audit", "person", &user, "--out", "person.json"]);
    let text = std::fs::read_to_string(day.path("person.json")).unwrap();
    let document: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (&written["events"], &document["events"][0]["event"]["user"]),
        (&1.into(), &user.clone().into())
    );
    let (code, _, stderr) = day.run(&["audit", "erase", &user], "");
    assert!(code == 2 && stderr.contains("--yes"), "{code} {stderr}");
    assert_eq!(day.json(&["audit", "erase", &user, "--yes"])["removed"], 1);
    assert_eq!(day.json(&["audit", "erase", &user, "--yes"])["removed"], 0);
    assert_eq!(day.json(&["audit", "person", &user, "--out", "person.json"])["events"], 0);
    day.good(&["audit", "export", "--out", "a.jsonl", "--key-out", "a.pub"], "");
    let report = day.json(&["audit", "verify", "a.jsonl", "--key", "a.pub"]);
    assert_eq!((&report["good"], &report["removed"]), (&true.into(), &1.into()));
    let (code, _, stderr) = day.run(&["audit", "retain", "--keep", "29d", "--yes"], "");
    assert!(code == 1 && stderr.contains("30 days"), "{code} {stderr}");
    assert_eq!(day.run(&["audit", "retain", "--keep", "400d"], "").0, 2);
    assert_eq!(day.json(&["audit", "retain", "--keep", "400d", "--yes"])["removed"], 0);
}

#[test]
fn another_authority_or_another_simulated_key_is_refused() {
    let day = Day::begin();
    let text = std::fs::read_to_string(day.path("gateway/operator.json")).unwrap();
    let operator: Value = serde_json::from_str(&text).unwrap();
    let put_with = |change: &dyn Fn(&mut Value)| {
        let mut changed = operator.clone();
        change(&mut changed);
        postern_files::write_private(day.path("other.json"), changed.to_string().as_bytes())
            .unwrap();
        day.run(&[PUT, &["--operator", "other.json"]].concat(), "xoxb-value")
    };
    let (code, _, stderr) = put_with(&|o| o["danger_allow_simulated"] = "A".repeat(43).into());
    assert!(code == 1 && stderr.contains("evidence is not signed"), "{stderr}");
    let (code, _, stderr) = put_with(&|o| o["danger_allow_simulated"] = Value::Null);
    assert!(code == 3 && stderr.contains("either danger_allow_simulated or evidence"), "{stderr}");
    let other = postern_rig::authority::Authority::new().unwrap().root_pem();
    let (code, _, stderr) = put_with(&|o| o["ca"] = other.clone().into());
    assert!(code == 3 && stderr.contains("cannot reach"), "{stderr}");
    let (code, _, stderr) = put_with(&|o| o["seed"] = format!("{}A", "B".repeat(42)).into());
    assert!(code == 1 && stderr.contains("denied"), "{stderr}");
}

#[test]
fn enrolment_does_not_overwrite_and_its_private_files_are_private() {
    use std::os::unix::fs::PermissionsExt;
    let day = Day::begin();
    let args = ["enrol", "--local", "--data-dir", "keys", "--out", "gateway"];
    let (code, _, stderr) = day.run(&args, "");
    assert!(code == 2 && stderr.contains("exists"), "{stderr}");
    for name in ["gateway/gateway.env", "gateway/operator.json"] {
        let mode = std::fs::metadata(day.path(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{name}");
    }
}

#[test]
fn an_enrolment_that_could_not_be_kept_mints_nothing() {
    let day = Day::begin();
    let tokens = || {
        day.good(&["audit", "export", "--out", "a.jsonl"], "");
        let chain = std::fs::read_to_string(day.path("a.jsonl")).unwrap();
        let events = chain.lines().skip(1).map(|line| {
            let line: Value = serde_json::from_str(line).unwrap();
            String::from_utf8(B64.decode(line["bytes"].as_str().unwrap()).unwrap()).unwrap()
        });
        events.filter(|event| event.contains("join_token_made")).count()
    };
    let before = tokens();
    postern_files::write_atomic(day.path("file"), b"").unwrap();
    let enrol = |out: &str| day.run(&["enrol", "--local", "--data-dir", "keys", "--out", out], "");
    // A folder of that name cannot be made; one of the files is there already.
    for (out, code, says) in [("file", 3, "file"), ("file/x", 3, "file"), ("taken", 2, "exists")] {
        let _ = std::fs::create_dir(day.path("taken"));
        postern_files::write_atomic(day.path("taken/keys-ca.pem"), b"mine").unwrap();
        let (ended, _, stderr) = enrol(out);
        assert!(ended == code && stderr.contains(says), "{out}: {ended} {stderr}");
        assert_eq!(tokens(), before, "{out}");
    }
    assert_eq!(std::fs::read_dir(day.path("taken")).unwrap().count(), 1);
}

/// The lines of a file of the gateway's environment.
fn environment(day: &Day, name: &str) -> Vec<String> {
    let text = std::fs::read_to_string(day.path(&format!("gateway/{name}"))).unwrap();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn a_gateways_keys_are_changed_where_its_files_are() {
    let day = Day::begin();
    let first = environment(&day, "gateway.env");
    let rotate = ["keys", "rotate", "identity", "--gateway", "gateway"];
    let (code, stdout, stderr) = day.run(&rotate, "");
    assert_eq!(code, 0, "{stdout}{stderr}");
    let second = environment(&day, "gateway.env");
    assert_eq!(environment(&day, "gateway.previous.env"), first);
    let same: Vec<bool> = first.iter().zip(&second).map(|(old, new)| old == new).collect();
    assert_eq!(same, [false, false, false, true, true], "only what the modules sign with");
    // As it would be left by an end behind the service's answer: done again, with the same keys.
    let folder = day.path("gateway");
    let mode = |name: &str| {
        use std::os::unix::fs::PermissionsExt;
        std::fs::metadata(folder.join(name)).unwrap().permissions().mode() & 0o777
    };
    assert_eq!((mode("gateway.env"), mode("gateway.previous.env")), (0o600, 0o600));
    std::fs::rename(folder.join("gateway.env"), folder.join("gateway.next.env")).unwrap();
    // A line that somebody has added meanwhile stays.
    let mut meanwhile = first.join("\n");
    meanwhile.push_str("\nOTHER=1\n");
    postern_files::write_private(folder.join("gateway.env"), meanwhile.as_bytes()).unwrap();
    assert_eq!(day.run(&rotate, "").0, 0);
    let last = ["OTHER=1".to_owned()];
    assert_eq!(environment(&day, "gateway.env"), [&second[..], &last].concat());
    // A key that is not in use any more renews nothing, and the files stay as they were.
    std::fs::copy(folder.join("gateway.previous.env"), folder.join("gateway.env")).unwrap();
    assert_eq!(day.run(&rotate, "").0, 1);
    assert_eq!(environment(&day, "gateway.env"), [&first[..], &last].concat());
    let (code, _, stderr) = day.run(&[&rotate[..], &["--overlap", "2d"]].concat(), "");
    assert_eq!((code, stderr.contains("a day at most")), (2, true), "{stderr}");
}
