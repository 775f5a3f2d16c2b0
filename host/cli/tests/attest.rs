//! `postern attest verify` and `postern release`, on files that the tests make.

use std::path::Path;
use std::process::Command;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64;
use postern_attester::{self as made, ISSUER, KEY_ID, ORIGIN, Uvm, Vcek};
use serde_json::{Value, json};

const NOW: u64 = 1_795_329_000;
const RUNTIME: &str = concat!(
    r#"{"crp":{"epoch":"7","exp":"1795332600","kex":"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE","#,
    r#""nbf":"1795328400","sig":"AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI","suites":["0001"],"v":[1]}}"#
);

fn postern(folder: &Path, args: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_postern"));
    let output = command.args(args).current_dir(folder).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn pins(folder: &Path) {
    let key = json!({"kid": KEY_ID, "n": made::maa_key()["n"]});
    let pins = json!({
        "require": ["maa", "snp"],
        "releases": {"origin": ORIGIN, "keys": [made::release_vkey()]},
        "maa": {"issuers": [{"issuer": ISSUER, "keys": [key]}]},
        "snp": {
            "products": ["Genoa"],
            "danger_roots": {"Genoa": B64.encode(made::root_modulus())},
            "uvm": [{"issuer": made::uvm_fingerprint(), "feed": "ContainerPlat-AMD-UVM"}],
        },
    });
    postern_files::write_atomic(folder.join("pins.json"), pins.to_string().as_bytes()).unwrap();
}

fn evidence(folder: &Path, debug: bool) {
    let runtime = RUNTIME.as_bytes();
    let report = made::report(runtime, |report| report[0x0a] |= u8::from(debug) << 3);
    let part = |bytes: Vec<u8>| B64.encode(bytes);
    let document = json!({
        "v": 1, "kind": "maa+snp", "runtime": B64.encode(runtime),
        "maa": made::token(&made::header(), &made::claims(runtime, NOW)),
        "snp": {
            "report": part(report), "vcek": part(Vcek::default().der()),
            "ask": part(made::ask()), "uvm": part(Uvm::default().cose()),
        },
        "release_set": part(made::release_set(4, NOW + 3600, &[made::HOST_DATA]).into_bytes()),
    });
    postern_files::write_atomic(folder.join("evidence.json"), document.to_string().as_bytes())
        .unwrap();
}

fn verify(folder: &Path, more: &[&str]) -> (i32, String, String) {
    let at = NOW.to_string();
    let args = ["attest", "verify", "--pins", "pins.json", "--at", &at, "evidence.json"];
    postern(folder, &[&args, more].concat())
}

#[test]
fn good_evidence_is_good_and_every_check_is_printed() {
    let folder = tempfile::tempdir().unwrap();
    pins(folder.path());
    evidence(folder.path(), false);
    let (code, stdout, stderr) = verify(folder.path(), &[]);
    assert_eq!(code, 0, "{stdout}{stderr}");
    for line in
        ["signed by a pinned release key", "token: RS256 signature", "VMPL 0", "good: maa+snp"]
    {
        assert!(stdout.contains(line), "{line}: {stdout}");
    }
    let (code, stdout, _) = verify(folder.path(), &["--json"]);
    let document: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((code, &document["good"], &document["release_set"]), (0, &json!(true), &json!(4)));
}

#[test]
fn bad_evidence_names_the_check_that_failed_and_ends_with_1() {
    let folder = tempfile::tempdir().unwrap();
    pins(folder.path());
    evidence(folder.path(), true);
    let (code, stdout, _) = verify(folder.path(), &[]);
    assert_eq!(code, 1, "{stdout}");
    assert!(stdout.contains("FAILED") && stdout.contains("debugging"), "{stdout}");
    let (code, stdout, _) = verify(folder.path(), &["--json"]);
    let document: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((code, &document["good"]), (1, &json!(false)));
    // An hour later nothing of it is valid any more.
    evidence(folder.path(), false);
    let later = (NOW + 3700).to_string();
    let args = ["attest", "verify", "--pins", "pins.json", "--at", &later, "evidence.json"];
    assert_eq!(postern(folder.path(), &args).0, 1);
    // And as of the clock of this machine neither, whichever way that is wrong.
    assert_eq!(postern(folder.path(), &["attest", "verify", "evidence.json"]).0, 2);
    assert_eq!(
        postern(folder.path(), &["attest", "verify", "--pins", "none", "evidence.json"]).0,
        3
    );
}

#[test]
fn a_release_set_is_signed_and_shown() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("release.key");
    postern_files::write_private(&key, B64.encode([5; 32]).as_bytes()).unwrap();
    let image = format!("{},{},{}", "ca".repeat(32), "1a".repeat(32), "c0".repeat(20));
    let args = [
        "release",
        "authorise",
        "--key",
        "release.key",
        "--name",
        "release.test",
        "--origin",
        "keys.example/prod",
        "--seq",
        "8",
        "--days",
        "1",
        "--image",
        &image,
    ];
    let (code, note, stderr) = postern(folder.path(), &args);
    assert_eq!(code, 0, "{stderr}");
    let vkey = stderr.trim().strip_prefix("verified by ").unwrap().to_owned();
    postern_files::write_atomic(folder.path().join("set.note"), note.as_bytes()).unwrap();
    let show = |origin: &str, file: &str| {
        postern(folder.path(), &["release", "show", file, "--key", &vkey, "--origin", origin])
    };
    let (code, stdout, stderr) = show("keys.example/prod", "set.note");
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.contains("seq 8") && stdout.contains(&"ca".repeat(32)), "{stdout}");
    assert_eq!(show("keys.example/other", "set.note").0, 1);
    postern_files::write_atomic(
        folder.path().join("bent.note"),
        note.replace("seq 8", "seq 9").as_bytes(),
    )
    .unwrap();
    assert_eq!(show("keys.example/prod", "bent.note").0, 1);
    let twice = [&args[..], &["--image", &image]].concat();
    assert_eq!(postern(folder.path(), &twice).0, 2);
}

/// A folder with the keys of a release authority and of a log.
fn authority() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, seed) in [("release.key", 5), ("log.key", 6)] {
        let path = folder.path().join(name);
        postern_files::write_private(path, B64.encode([seed; 32]).as_bytes()).unwrap();
    }
    folder
}

/// Authorises the image of this byte with a log beside.
fn authorise(folder: &Path, seq: &str, byte: &str) -> (i32, String, String) {
    let image = format!("{},{},{}", byte.repeat(32), "1a".repeat(32), "c0".repeat(20));
    let args = "release authorise --key release.key --name release.test --origin keys.example/prod \
                --log log --log-key log.key --log-origin log.test --seen seen.note --seq";
    let args: Vec<&str> = args.split_whitespace().chain([seq, "--image", &image]).collect();
    postern(folder, &args)
}

fn log_key() -> String {
    let key = ed25519_dalek::SigningKey::from_bytes(&[6; 32]).verifying_key();
    postern_attest::note::Key::new("log.test", key.as_bytes()).unwrap().vkey()
}

#[test]
fn what_is_authorised_is_in_the_log_once_and_is_proved() {
    let folder = authority();
    for (seq, byte) in [("1", "ca"), ("2", "cb"), ("3", "ca")] {
        let (code, _, stderr) = authorise(folder.path(), seq, byte);
        assert_eq!(code, 0, "{stderr}");
    }
    let key = log_key();
    let log = |words: &[&str]| {
        let words = [&["release", "log"], words, &["--key", &key]].concat();
        postern(folder.path(), &words)
    };
    let (code, stdout, stderr) = log(&["verify", "log", "--seen", "seen.note"]);
    assert_eq!((code, stdout.trim()), (0, "good: 2 releases"), "{stderr}");
    let (code, stdout, _) = log(&["show", "log"]);
    assert_eq!(code, 0);
    assert!(stdout.contains(&"cb".repeat(32)) && stdout.lines().count() == 2, "{stdout}");
    let (code, stdout, _) = log(&["prove", "log", "--index", "1"]);
    let proof = postern_tlog::proof::Proof::parse(&stdout).unwrap();
    let seen = std::fs::read_to_string(folder.path().join("seen.note")).unwrap();
    assert_eq!((code, proof.index, proof.note), (0, 1, seen));
    assert_eq!(log(&["prove", "log", "--index", "2"]).0, 1);
    let wrong = ["release", "log", "verify", "log", "--key", "log.test"];
    assert_eq!(postern(folder.path(), &wrong).0, 2);
}

#[test]
fn nothing_is_authorised_with_a_log_that_was_changed_or_set_back() {
    let folder = authority();
    assert_eq!(authorise(folder.path(), "1", "ca").0, 0);
    let one = folder.path().join("log/checkpoint");
    let old = std::fs::read(&one).unwrap();
    assert_eq!(authorise(folder.path(), "2", "cb").0, 0);
    // Set back to where it was: the next release would fork it.
    postern_files::write_atomic(&one, &old).unwrap();
    let (code, stdout, stderr) = authorise(folder.path(), "3", "cc");
    assert_eq!((code, stdout.as_str()), (1, ""));
    assert!(stderr.contains("does not continue the checkpoint"), "{stderr}");
    let tile = folder.path().join("log/tile/entries/000.p/1");
    postern_files::write_atomic(tile, b"\0\x01x").unwrap();
    let (code, stdout, stderr) = authorise(folder.path(), "3", "cc");
    assert_eq!((code, stdout.as_str()), (1, ""));
    assert!(stderr.contains("is not what the checkpoint was signed over"), "{stderr}");
}
