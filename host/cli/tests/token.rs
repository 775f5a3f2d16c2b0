//! `postern token` from key to signed request, as README shows it.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

/// Somebody's public key.
const DASHED: &str = "-mLU3DYJV6Ej75jYvS8F5Zre6xyO33qzmpZHe4KZ0xg";

const VERIFY: [&str; 8] = [
    "verify",
    "--issuer",
    "https://issuer.test",
    "--tenant",
    "acme",
    "--audience",
    "https://gateway.test",
    "--token",
];

/// The code block of README that starts with making a key.
fn example() -> &'static str {
    let readme = include_str!("../../../README.md");
    let mut blocks = readme.split("```").skip(1).step_by(2);
    blocks.find(|block| block.trim_start().starts_with("postern token key")).unwrap()
}

/// A folder in which README's commands have been run.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let programs = Path::new(env!("CARGO_BIN_EXE_postern")).parent().unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let output = Command::new("sh")
        .args(["-e", "-c", example()])
        .current_dir(folder.path())
        .env("PATH", path)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    folder
}

fn read(folder: &Path, name: &str) -> String {
    let bytes = postern_files::read_bounded(folder.join(name), 1 << 16).unwrap();
    String::from_utf8(bytes).unwrap().trim_end().to_owned()
}

fn run(folder: &Path, words: &[&str]) -> (i32, Value, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_postern"))
        .args([&["token"], words, &["--json"]].concat())
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let document = serde_json::from_slice(&output.stdout).unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    (output.status.code().unwrap(), document, errors)
}

/// Verifies `token` with the issuer's key and `more`.
fn verify(folder: &Path, token: &str, more: &[&str]) -> (i32, Value, String) {
    let key = format!("issuer-1={}", read(folder, "issuer.pub"));
    run(folder, &[&VERIFY[..], &[token, "--issuer-key", &key], more].concat())
}

#[test]
fn the_example_of_the_readme_runs_and_narrows() {
    let folder = folder();
    let (code, document, _) = verify(folder.path(), "narrower", &[]);
    assert_eq!((code, &document["good"]), (0, &Value::from(true)));
    assert_eq!(document["right"]["paths"], json!(["/api/v1/issues"]));
    assert_eq!(document["right"]["scopes"], json!(["documents:read"]));
    assert_eq!(document["subjects"], json!(["ada", "triage-bot"]));
    assert_eq!(document["widened"], json!([]));
}

#[test]
fn private_keys_are_for_their_owner_alone_and_never_printed() {
    let folder = folder();
    for name in ["issuer.key", "holder.key", "agent.key"] {
        let mode = folder.path().join(name).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
        let key = read(folder.path(), name);
        for printed in ["issuer.pub", "token", "narrower", "fields"] {
            assert!(!read(folder.path(), printed).contains(&key), "{name} in {printed}");
        }
    }
}

/// The fields of a signed request as arguments of `verify`.
fn proof(folder: &Path, key: &str, url: &str) -> Vec<String> {
    let words = ["sign", "--token", "narrower", "--key", key, "--method", "GET", "--url", url];
    let (code, fields, errors) = run(folder, &words);
    assert_eq!(code, 0, "{errors}");
    let field = |name: &str| fields[name].as_str().unwrap().to_owned();
    let input = ["--signature-input".into(), field("signature-input")];
    let signature = ["--signature".into(), field("signature")];
    [input, signature].concat()
}

#[test]
fn a_request_is_good_if_its_holder_signed_it_and_may_make_it() {
    let folder = folder();
    let (issues, other) = ("https://api.test/api/v1/issues", "https://api.test/api/v1/users");
    let rows = [
        ("agent.key", issues, issues, 0, ""),
        ("holder.key", issues, issues, 1, "expected the parameters"),
        ("agent.key", other, issues, 1, "signature of the proof does not hold"),
        ("agent.key", other, other, 1, "does not allow this request"),
    ];
    for (key, signed, sent, code, says) in rows {
        let proof = proof(folder.path(), key, signed);
        let more = [&["--method", "GET", "--url", sent][..], &words(&proof)].concat();
        let (ended, _, errors) = verify(folder.path(), "narrower", &more);
        assert_eq!(ended, code, "{key} {signed} {sent}: {errors}");
        assert!(errors.contains(says), "{errors}");
    }
}

fn words(list: &[String]) -> Vec<&str> {
    list.iter().map(String::as_str).collect()
}

#[test]
fn what_is_refused_ends_with_one_and_what_is_no_token_with_two() {
    let folder = folder();
    let folder = folder.path();
    let holder = read(folder, "issuer.pub");
    let narrow = ["attenuate", "--token", "narrower", "--holder", &holder, "--key"];
    assert_eq!(run(folder, &[&narrow[..], &["holder.key"]].concat()).0, 1, "not its holder");
    // One key in 64 begins with the sign of an option.
    let dash = ["attenuate", "--token", "narrower", "--holder", DASHED, "--key", "holder.key"];
    assert_eq!(run(folder, &dash).0, 1, "not its holder");
    let wide = [&narrow[..], &["agent.key", "--path", "/api/**"]].concat();
    assert_eq!(run(folder, &wide).0, 2, "no path");
    assert_eq!(verify(folder, "narrower", &["--at", "1"]).0, 1, "not valid yet");
    assert_eq!(verify(folder, "narrower", &["--life", "1m"]).0, 1, "lives too long");
    let replaced = run(folder, &["key", "--out", "agent.key"]);
    assert_eq!(replaced.0, 3, "an existing key");
}
