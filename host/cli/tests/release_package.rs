//! `postern release package verify`, on packages that the tests make and spoil.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::process::Command;

use ed25519_dalek::SigningKey;
use postern_tlog::note::{self, Key};
use postern_tlog::package::{NOTE, Package, SUMS, Sums};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const NAME: &str = "package.test";
const FILES: [(&str, &[u8]); 3] =
    [("gate.wasm", b"a module"), ("gate/blobs/sha256/00", b"a blob"), ("gate/index.json", b"{}")];

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn vkey(seed: u8) -> String {
    Key::new(NAME, key(seed).verifying_key().as_bytes()).unwrap().vkey()
}

fn write(folder: &Path, name: &str, bytes: &[u8]) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    postern_files::write_atomic(path, bytes).unwrap();
}

/// A package that `seed` has signed.
fn package(folder: &Path, seed: u8) {
    for (name, bytes) in FILES {
        write(folder, name, bytes);
    }
    let sums = FILES.map(|(name, bytes)| (name.to_owned(), Sha256::digest(bytes).into()));
    let list = Sums(sums.into()).text();
    write(folder, SUMS, list.as_bytes());
    let sums = Sha256::digest(&list).into();
    let package = Package { version: "0.1.0".into(), revision: "ab".repeat(20), sums };
    let note = note::sign(&package.text(), NAME, &[&key(seed)]).unwrap();
    write(folder, NOTE, note.as_bytes());
}

fn verify(folder: &Path, more: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_postern"));
    command.args(["release", "package", "verify"]).arg(folder).args(more);
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn a_package_is_good_as_it_was_signed() {
    let folder = tempfile::tempdir().unwrap();
    package(folder.path(), 1);
    let key = vkey(1);
    let (code, stdout, stderr) = verify(folder.path(), &["--key", &key, "--json"]);
    let document: Value = serde_json::from_str(&stdout).unwrap();
    let want = json!({
        "good": true, "version": "0.1.0", "revision": "ab".repeat(20), "files": 3, "problems": [],
    });
    assert_eq!((code, document), (0, want), "{stderr}");
    let revision = "ab".repeat(20);
    let same = ["--key", &key, "--revision", &revision];
    assert_eq!(verify(folder.path(), &same).0, 0);
}

#[test]
fn what_differs_from_the_signed_list_is_named_and_refused() {
    type Spoil = fn(&Path);
    let cases: [(Spoil, &str); 12] = [
        (|at| write(at, "gate.wasm", b"A module"), "gate.wasm: changed"),
        (|at| write(at, "gate.wasm", b""), "gate.wasm: changed"),
        (|at| fs::remove_file(at.join("gate/index.json")).unwrap(), "gate/index.json: missing"),
        (|at| write(at, "gate/extra", b"x"), "gate/extra: not on the list"),
        (|at| write(at, ".hidden", b"x"), ".hidden: not on the list"),
        (
            |at| std::os::unix::fs::symlink("/etc", at.join("link")).unwrap(),
            "link: not on the list",
        ),
        (
            |at| {
                fs::rename(at.join("gate.wasm"), at.join("moved")).unwrap();
                std::os::unix::fs::symlink("moved", at.join("gate.wasm")).unwrap();
            },
            "gate.wasm: not an ordinary file",
        ),
        (|at| fs::remove_file(at.join(SUMS)).unwrap(), "SHA256SUMS is missing"),
        (|at| fs::remove_file(at.join(NOTE)).unwrap(), "SHA256SUMS.note is missing"),
        (
            |at| {
                // The list follows the changed file; the signature does not.
                let list = fs::read_to_string(at.join(SUMS)).unwrap();
                let mut sums = Sums::parse(&list).unwrap();
                write(at, "gate.wasm", b"another");
                sums.0.insert("gate.wasm".into(), Sha256::digest(b"another").into());
                write(at, SUMS, sums.text().as_bytes());
            },
            "SHA256SUMS is not the list that was signed",
        ),
        (
            |at| {
                let note = fs::read_to_string(at.join(NOTE)).unwrap();
                write(at, NOTE, note.replace("0.1.0", "0.2.0").as_bytes());
            },
            "the note is forged",
        ),
        (|at| package(at, 2), "the note is signed by no known key"),
    ];
    for (spoil, want) in cases {
        let folder = tempfile::tempdir().unwrap();
        package(folder.path(), 1);
        spoil(folder.path());
        let (code, stdout, stderr) = verify(folder.path(), &["--key", &vkey(1)]);
        let said = stdout + &stderr;
        assert!(code == 1 && said.contains(want), "{want}: {code} {said}");
    }
}

#[test]
fn another_revision_a_bad_key_and_no_folder_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    package(folder.path(), 1);
    let key = vkey(1);
    let other = ["--key", &key, "--revision", &"cd".repeat(20)];
    let (code, stdout, _) = verify(folder.path(), &other);
    assert_eq!((code, stdout.contains("another revision")), (1, true), "{stdout}");
    assert_eq!(verify(folder.path(), &["--key", "package.test"]).0, 2);
    assert_eq!(verify(folder.path(), &[]).0, 2);
    assert_eq!(verify(&folder.path().join("none"), &["--key", &key]).0, 3);
}

#[test]
fn a_signed_text_of_another_kind_and_a_list_that_leads_out_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    package(folder.path(), 1);
    let list = fs::read_to_string(folder.path().join(SUMS)).unwrap();
    let sign = |list: &str, head: &str| {
        let sums = Sha256::digest(list).into();
        let package = Package { version: "0.1.0".into(), revision: "ab".repeat(20), sums };
        let text = package.text().replace("postern package/1", head);
        write(folder.path(), SUMS, list.as_bytes());
        let note = note::sign(&text, NAME, &[&key(1)]).unwrap();
        write(folder.path(), NOTE, note.as_bytes());
        verify(folder.path(), &["--key", &vkey(1)])
    };
    let (code, _, stderr) = sign(&list, "postern release set");
    assert!(code == 1 && stderr.contains("what is signed is no package"), "{stderr}");
    let (code, _, stderr) =
        sign(&list.replace("  gate.wasm", "  ../gate.wasm"), "postern package/1");
    assert!(code == 1 && stderr.contains("no list of files"), "{stderr}");
}
