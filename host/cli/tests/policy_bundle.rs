//! `postern policy build`, and bundles where the other commands on policies read modules.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

fn postern(folder: &Path, line: &str) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_postern"))
        .args(line.split(' '))
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// A folder with a module, its test and its data, and keys of three kinds.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    std::fs::create_dir(at.join("team")).unwrap();
    let module = "package team\n\ndefault allow := false\n\nallow if input.n < data.team.most\n";
    write(at.join("team/team.rego"), module);
    let test = "package team_test\n\nimport data.team\n\ntest_few if team.allow with input as {\"n\": 1}\n";
    write(at.join("team/team_test.rego"), test);
    write(at.join("team/data.json"), "{\"team\": {\"most\": 3}}");
    write(at.join("input.json"), "{\"n\": 2}");
    let random = ring::rand::SystemRandom::new();
    let ed25519 = ring::signature::Ed25519KeyPair::generate_pkcs8(&random).unwrap();
    let algorithm = &ring::signature::ECDSA_P256_SHA256_FIXED_SIGNING;
    let p256 = ring::signature::EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
    private(&at.join("ed.pem"), ed25519.as_ref());
    private(&at.join("ec.pem"), p256.as_ref());
    folder
}

fn write(path: impl AsRef<Path>, text: &str) {
    postern_files::write_atomic(path, text.as_bytes()).unwrap();
}

fn private(path: &Path, der: &[u8]) {
    use base64::Engine;
    let body = base64::prelude::BASE64_STANDARD.encode(der);
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n");
    postern_files::write_private(path, pem.as_bytes()).unwrap();
}

#[test]
fn a_bundle_is_read_wherever_modules_are() {
    let folder = folder();
    let at = folder.path();
    for kind in ["ed", "ec"] {
        let line = format!(
            "policy build -o {kind}.tar.gz --revision r7 --root team --signing-key {kind}.pem \
             --key-id k1 --keys-out {kind}.json --json team"
        );
        let (code, stdout, stderr) = postern(at, &line);
        assert_eq!(code, 0, "{stderr}");
        let made: Value = serde_json::from_str(&stdout).unwrap();
        let files = [".manifest", ".signatures.json", "data.json", "team/team.rego"];
        assert_eq!(made["files"], serde_json::json!(files));
        let keys = format!("--keys {kind}.json {kind}.tar.gz");
        let (code, stdout, stderr) = postern(at, &format!("policy check --json {keys}"));
        assert_eq!(code, 0, "{stdout}{stderr}");
        let checked: Value = serde_json::from_str(&stdout).unwrap();
        let bundle = &checked["bundles"][0];
        assert_eq!(bundle["revision"], "r7");
        assert_eq!(bundle["sha256"], made["sha256"]);
        assert_eq!(bundle["verified"], true);
        let eval = format!("policy eval --query data.team.allow --input input.json {keys}");
        assert_eq!(postern(at, &eval), (0, "true\n".to_owned(), String::new()));
        let (code, stdout, _) = postern(at, &format!("policy test {keys} team/team_test.rego"));
        assert!(code == 0 && stdout.ends_with("policies: 1 passed\n"), "{stdout}");
    }
    let line =
        "policy bench --query data.team.allow --input input.json --seconds 1 --json ed.tar.gz";
    let (code, stdout, stderr) = postern(at, line);
    assert_eq!(code, 0, "{stderr}");
    let measured: Value = serde_json::from_str(&stdout).unwrap();
    let us = |name: &str| measured["us"][name].as_f64().unwrap();
    assert!(measured["decisions"].as_u64().unwrap() > 0 && us("least") > 0.0);
    assert!(us("least") <= us("median") && us("median") <= us("p99"), "{measured}");
    // Without a signature, and with one that is not random, the same files are the same bytes.
    for (out, more) in
        [("a", ""), ("b", ""), ("c", " --signing-key ed.pem"), ("d", " --signing-key ed.pem")]
    {
        let (code, _, stderr) = postern(at, &format!("policy build -o {out}.tar.gz{more} team"));
        assert_eq!(code, 0, "{stderr}");
    }
    let bytes = |name: &str| std::fs::read(at.join(format!("{name}.tar.gz"))).unwrap();
    assert_eq!(bytes("a"), bytes("b"));
    assert_eq!(bytes("c"), bytes("d"));
}

#[test]
fn what_cannot_be_used_is_refused_and_nothing_is_written() {
    let folder = folder();
    let at = folder.path();
    write(at.join("bad.rego"), "package bad\n\nx := http.send({})\n");
    write(at.join("empty.json"), "{\"keys\": []}");
    write(at.join("no.pem"), "nothing");
    std::fs::set_permissions(
        at.join("no.pem"),
        std::os::unix::fs::PermissionsExt::from_mode(0o600),
    )
    .unwrap();
    write(at.join("no.tar.gz"), "nothing");
    let made = [
        "policy build -o ed.tar.gz --signing-key ed.pem --keys-out ed.json team",
        "policy build -o ec.tar.gz --signing-key ec.pem --keys-out ec.json team",
        "policy build -o plain.tar.gz team",
    ];
    for line in made {
        assert_eq!(postern(at, line).0, 0, "{line}");
    }
    let rows = [
        ("policy build -o x.tar.gz bad.rego", 1, "bad.rego:3:6: http.send: a decision asks nobody"),
        (
            "policy build -o x.tar.gz --root other team",
            1,
            "package team is not in the manifest's roots",
        ),
        ("policy build -o x.tar.gz --root team --root team team", 1, "none is in another"),
        (
            "policy build -o x.tar.gz --signing-key no.pem team",
            1,
            "no.pem: expected PRIVATE KEY in PEM",
        ),
        ("policy build -o x.tar.gz --signing-key ed.json team", 3, "expected 600"),
        ("policy build -o x.tar.gz --key-id a team", 2, "--signing-key"),
        ("policy build -o x.tar.gz plain.tar.gz", 2, "not a bundle"),
        ("policy build -o x.tar.gz ../team", 3, "cannot read"),
        ("policy check --keys ed.json plain.tar.gz", 1, "is not signed, and keys are configured"),
        ("policy check --keys ed.json ec.tar.gz", 1, "the signature does not hold"),
        ("policy check --keys empty.json ed.tar.gz", 1, "no key that verifies"),
        ("policy check --keys ed.json team", 2, "--keys is for bundles"),
        ("policy check no.tar.gz", 1, "no gzip"),
        ("policy bench --query data.team.missing team", 1, "query: no rule data.team.missing"),
        ("policy bench --query data.team.allow --seconds 0 team", 2, "0 is not in 1..=60"),
        ("policy check missing.tar.gz", 3, "cannot read"),
        ("policy check ed.tar.gz", 0, ""),
    ];
    for (line, code, want) in rows {
        let (found, _, stderr) = postern(at, line);
        assert!(found == code && stderr.contains(want), "{line}: {found} {stderr}");
        assert!(!at.join("x.tar.gz").exists(), "{line}");
    }
}

#[test]
fn decisions_that_change_are_named_and_the_others_counted() {
    let folder = folder();
    let at = folder.path();
    std::fs::create_dir(at.join("next")).unwrap();
    let module = "package team\n\ndefault allow := false\n\nallow if input.n < data.team.most\n\n\
                  allow if input.n == 7\n";
    write(at.join("next/team.rego"), module);
    write(at.join("next/data.json"), "{\"team\": {\"most\": 2}}");
    write(at.join("list.json"), "[{\"n\": 1}, {\"n\": 2}, {\"n\": 7}]");
    write(
        at.join("log.jsonl"),
        "{\"decision_id\": \"a\", \"input\": {\"n\": 2}}\n{\"input\": {\"n\": 9}}\n",
    );
    let (code, _, stderr) = postern(
        at,
        "policy build -o team.tar.gz --root team --signing-key ed.pem --keys-out ed.json team",
    );
    assert_eq!(code, 0, "{stderr}");
    let line = "policy diff --query data.team.allow --inputs list.json --inputs log.jsonl";
    for old in ["team", "--keys ed.json team.tar.gz"] {
        let (code, stdout, stderr) = postern(at, &format!("{line} --json {old} next"));
        assert_eq!(code, 1, "{stderr}");
        let found: Value = serde_json::from_str(&stdout).unwrap();
        let change = |file: &str, input: u64, before: bool| serde_json::json!({"file": file, "input": input, "before": before, "after": !before});
        assert_eq!(found["compared"], 5);
        let changes = [
            change("list.json", 2, true),
            change("list.json", 3, false),
            change("log.jsonl", 1, true),
        ];
        assert_eq!(found["changes"], serde_json::json!(changes));
    }
    let (code, stdout, _) = postern(at, &format!("{line} team team"));
    assert_eq!((code, stdout.trim()), (0, "5 decisions compared, 0 changed"));
    // A rule that is not there any more, and what is wrongly called.
    write(at.join("next/team.rego"), "package team\n\nallow if input.n == 1\n");
    let (_, stdout, _) = postern(at, &format!("{line} team next"));
    assert!(
        stdout.contains("list.json: input 3: false becomes {\"no_value\":\"undefined\"}"),
        "{stdout}"
    );
    write(at.join("empty.json"), "[]");
    for (line, code, expected) in [
        ("policy diff --query data.team.allow --inputs empty.json team next", 1, "no input"),
        (
            "policy diff --query data.team.allow --inputs list.json --keys ed.json team next",
            2,
            "--keys is for bundles",
        ),
        ("policy diff --query data.team.other --inputs list.json team next", 1, "data.team.other"),
        ("policy diff --query data.team.allow --inputs none.json team next", 3, "cannot read"),
        ("policy diff team next", 2, "--inputs"),
    ] {
        let (found, _, stderr) = postern(at, line);
        assert_eq!(found, code, "{line}: {stderr}");
        assert!(stderr.contains(expected), "{line}: {stderr}");
    }
}

#[test]
fn lines_that_no_test_evaluates_are_named() {
    let folder = folder();
    let at = folder.path();
    let module = "package team\n\nimport rego.v1\n\ndefault allow := false\n\nallow if input.n < data.team.most\n\n\
                  why := \"many\" if {\n\tnot allow\n\tinput.n > 8\n}\n";
    write(at.join("team/team.rego"), module);
    let (code, stdout, _) = postern(at, "policy test --coverage --json team");
    let found: Value = serde_json::from_str(&stdout).unwrap();
    let file = &found["coverage"]["files"][0];
    assert_eq!((code, &found["good"]), (0, &Value::Bool(true)), "{found}");
    assert_eq!(file["file"], "team/team.rego");
    assert_eq!(file["missed"], serde_json::json!([9]), "{found}");
    let (code, stdout, _) = postern(at, "policy test --coverage --threshold 90 team");
    assert_eq!(code, 1);
    assert!(stdout.contains("expected at least 90 %\n  team/team.rego: not 9"), "{stdout}");
    let reached = "package team_test\n\nimport data.team\n\ntest_few if team.allow with input as {\"n\": 1}\n\
                   test_many if team.why == \"many\" with input as {\"n\": 9}\n";
    write(at.join("team/team_test.rego"), reached);
    let (code, stdout, _) = postern(at, "policy test --coverage --threshold 100 team");
    assert_eq!(code, 0, "{stdout}");
    assert_eq!(postern(at, "policy test --threshold 90 team").0, 2, "only with --coverage");
}
