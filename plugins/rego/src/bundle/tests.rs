//! What becomes of good bundles, and of bad ones.

use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use ed25519_dalek::{Signer, SigningKey};
use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};

use super::*;

const MODULE: &str = "package envoy.authz\n\nallow if data.envoy.limits.a == 1\n";

fn files(entries: &[(&str, &str)]) -> Files {
    let entry = |(name, text): &(&str, &str)| ((*name).to_owned(), text.as_bytes().to_vec());
    entries.iter().map(entry).collect()
}

fn good() -> Files {
    files(&[
        (MANIFEST, r#"{"revision":"r1","roots":["envoy"],"rego_version":1}"#),
        ("envoy/limits/data.json", r#"{"a":1}"#),
        ("authz.rego", MODULE),
    ])
}

fn signer(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn keys() -> KeySet {
    let x = B64.encode(signer(1).verifying_key().as_bytes());
    let set = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "x": x}]});
    KeySet::parse(set.to_string().as_bytes()).unwrap()
}

fn jws(seed: u8, payload: &Value) -> String {
    let header = B64.encode(r#"{"alg":"EdDSA"}"#);
    let signed = format!("{header}.{}", B64.encode(payload.to_string()));
    let signature = signer(seed).sign(signed.as_bytes());
    format!("{signed}.{}", B64.encode(signature.to_bytes()))
}

fn signed_as(mut files: Files, seed: u8, payload: &Value) -> Files {
    let document = json!({"signatures": [jws(seed, payload)]});
    files.insert(SIGNATURES.to_owned(), document.to_string().into_bytes());
    files
}

fn signed(files: Files) -> Files {
    let payload = signature::payload(&files).unwrap();
    signed_as(files, 1, &payload)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// An archive of these entries, whatever their names.
fn archive(entries: &[(&str, &str)]) -> Vec<u8> {
    let mut archive = Vec::new();
    for (name, text) in entries {
        archive.extend(tar::header(name, text.len()));
        archive.extend(text.as_bytes());
        archive.resize(archive.len().next_multiple_of(512), 0);
    }
    archive.extend([0; 1024]);
    archive
}

#[test]
fn a_bundle_is_its_modules_its_data_and_its_revision() {
    let packed = pack(&good()).unwrap();
    let bundle = read(&packed, None).unwrap();
    let want = Bundle {
        modules: vec![("authz.rego".to_owned(), MODULE.to_owned())],
        data: json!({"envoy": {"limits": {"a": 1}}}),
        revision: "r1".to_owned(),
        serial: None,
        roots: vec!["envoy".to_owned()],
    };
    assert_eq!(bundle, want);
    assert_eq!(pack(&good()).unwrap(), packed);
    assert_eq!(read(&pack(&signed(good())).unwrap(), Some(&keys())).unwrap(), want);
    // Names as other tools write them.
    let plain = archive(&[("./authz.rego", MODULE), ("data.json", r#"{"envoy":{"limits":{}}}"#)]);
    assert_eq!(read(&gzip(&plain), None).unwrap().data, json!({"envoy": {"limits": {}}}));
}

#[test]
fn archives_that_are_not_whole_plain_and_bounded_are_refused() {
    let packed = pack(&good()).unwrap();
    let plain = archive(&[("a.rego", "package a\n")]);
    let mut checksum = plain.clone();
    checksum[0] = b'b';
    let mut link = tar::header("a.rego", 0);
    link[156] = b'2';
    link[148..156].copy_from_slice(b"        ");
    let sum: u32 = link.iter().map(|byte| u32::from(*byte)).sum();
    link[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    link.extend([0; 1024]);
    let twice = archive(&[("a.rego", "package a\n"), ("/a.rego", "package b\n")]);
    let behind = [plain.as_slice(), b"x".repeat(512).as_slice()].concat();
    let rows = [
        (b"nothing".to_vec(), "no gzip"),
        (packed[..packed.len() - 9].to_vec(), "no gzip, or cut short"),
        ([packed.as_slice(), b"x"].concat(), "bytes behind the gzip stream"),
        (gzip(&plain[..plain.len() - 1024]), "cut short"),
        (gzip(&plain[..700]), "cut short"),
        (gzip(&checksum), "wrong checksum"),
        (gzip(&link), "neither a file nor a folder"),
        (gzip(&twice), "a.rego stands twice"),
        (gzip(&behind), "bytes behind its end"),
        (gzip(&vec![0; 9 << 20]), "at most 8 MiB"),
        (vec![0; 3 << 20], "at most 2 MiB"),
        (gzip(&archive(&[("../a.rego", "")])), "is no plain path"),
        (gzip(&archive(&[("//a.rego", "")])), "is no plain path"),
        (gzip(&archive(&[("a/../../b.rego", "")])), "is no plain path"),
        (gzip(&archive(&[("a\\b.rego", "")])), "is no plain path"),
        (gzip(&archive(&[("c:a.rego", "")])), "is no plain path"),
        (gzip(&archive(&[("", "")])), "is no plain path"),
    ];
    for (bytes, want) in rows {
        let why = read(&bytes, None).unwrap_err();
        assert!(why.contains(want), "{want}: {why}");
    }
}

#[test]
fn what_no_bundle_of_a_gate_has_is_refused() {
    let long = format!(r#"{{"revision":"{}"}}"#, "r".repeat(64));
    let rows: [(&[(&str, &str)], &str); 17] = [
        (&[("policy.wasm", "")], "expected modules"),
        (&[("data.yaml", "a: 1")], "expected modules"),
        (&[("a/.manifest", "{}")], "expected modules"),
        (&[("data.json", r#"{"a":1,"a":2}"#)], "twice"),
        (&[("data.json", "[]")], "expected an object"),
        (
            &[("data.json", r#"{"a":{"b":1}}"#), ("a/data.json", r#"{"b":2}"#)],
            "another file has one",
        ),
        (&[("data.json", r#"{"a":1}"#), ("a/data.json", "{}")], "another file has one"),
        (&[(MANIFEST, r#"{"roots":["a","a/b"]}"#)], "none is in another"),
        (&[(MANIFEST, r#"{"roots":["a","a"]}"#)], "none is in another"),
        (&[(MANIFEST, r#"{"roots":[1]}"#)], "expected paths"),
        (&[(MANIFEST, r#"{"rego_version":0}"#)], "rego_version: expected 1"),
        (&[(MANIFEST, r#"{"wasm":[]}"#)], "wasm: not supported"),
        (&[(MANIFEST, r#"{"revision":"a\nb"}"#)], "visible characters"),
        (&[(MANIFEST, &long)], "visible characters"),
        (&[(MANIFEST, r#"{"roots":["b"]}"#), ("a.rego", "package a.b\n")], "package a.b is not in"),
        (&[(MANIFEST, r#"{"roots":["b"]}"#), ("data.json", r#"{"bb":1}"#)], "data at bb is not in"),
        (&[("a.rego", "package\n")], "a.rego:"),
    ];
    for (entries, want) in rows {
        let why = of_files(&files(entries)).unwrap_err();
        assert!(why.contains(want), "{want}: {why}");
    }
}

#[test]
fn a_signature_covers_every_file_or_none() {
    let changed = |name: &str, text: &str| {
        let mut files = signed(good());
        files.insert(name.to_owned(), text.as_bytes().to_vec());
        files
    };
    let without = |name: &str| {
        let mut files = signed(good());
        files.remove(name);
        files
    };
    let payload = signature::payload(&good()).unwrap();
    let mut digest = payload.clone();
    digest["files"][0]["algorithm"] = json!("MD5");
    let mut twice = payload.clone();
    twice["files"].as_array_mut().unwrap().push(payload["files"][0].clone());
    let double = json!({"signatures": [jws(1, &payload), jws(1, &payload)]}).to_string();
    let rows = [
        (good(), "is not signed"),
        (changed("authz.rego", "package envoy.authz\n\nallow := true\n"), "not what was signed"),
        (changed("envoy/limits/data.json", r#"{"a":2}"#), "not what was signed"),
        (changed(MANIFEST, r#"{"roots":[""]}"#), "not what was signed"),
        (changed("more.rego", "package envoy.more\n"), "more.rego: not signed"),
        (without("authz.rego"), "signed, and not in the bundle"),
        (signed_as(good(), 2, &payload), "does not hold"),
        (signed_as(good(), 1, &digest), "algorithm SHA-256"),
        (signed_as(good(), 1, &twice), "a name of its own"),
        (signed_as(good(), 1, &json!({})), "expected files"),
        (changed(SIGNATURES, r#"{"signatures":[]}"#), "expected one signature"),
        (changed(SIGNATURES, &double), "expected one signature"),
        (changed(SIGNATURES, r#"{"signatures":["a.b.c"]}"#), "does not hold"),
        (changed(SIGNATURES, "{"), "expected JSON"),
    ];
    for (files, want) in rows {
        let why = read(&pack(&files).unwrap(), Some(&keys())).unwrap_err();
        assert!(why.contains(want), "{want}: {why}");
    }
    // Blanks and the order of names are no part of a document.
    let same =
        changed(MANIFEST, "{ \"roots\": [\"envoy\"], \"rego_version\": 1, \"revision\": \"r1\" }");
    assert!(read(&pack(&same).unwrap(), Some(&keys())).is_ok());
}

#[test]
fn a_bundle_that_was_cut_or_changed_is_refused_or_the_same() {
    let packed = pack(&signed(good())).unwrap();
    let whole = read(&packed, Some(&keys())).unwrap();
    for length in 0..packed.len() {
        assert!(read(&packed[..length], None).is_err(), "{length}");
    }
    for at in 0..packed.len() {
        let mut changed = packed.clone();
        changed[at] ^= 1;
        // The time and the system in the header of gzip mean nothing.
        if let Ok(bundle) = read(&changed, Some(&keys())) {
            assert_eq!(bundle, whole, "{at}");
        }
    }
    let plain = archive(&[("a.rego", "package a\n"), ("data.json", "{\"a\":1}")]);
    for at in 0..plain.len() {
        let mut changed = plain.clone();
        changed[at] ^= 0x80;
        // Only that it ends: without a signature anything may come out.
        let _ = read(&gzip(&changed), None);
    }
}

#[test]
fn a_gate_loads_a_bundle_and_knows_its_revision() {
    use postern_core::config::gate::{BundleSource, PolicySource};
    use postern_core::policy::Policy;

    let load = |content: Vec<u8>, keys: Option<&str>| {
        let keys = keys.map(|keys| keys.as_bytes().to_vec());
        let bundle = BundleSource { content: Some(content), poll: None, keys };
        let source = PolicySource {
            modules: Vec::new(),
            bundle: Some(bundle),
            data: json!({}),
            query: "data.envoy.authz.allow".to_owned(),
            instructions: 1000,
        };
        let problems = |error: postern_core::config::ConfigError| {
            error.problems.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        crate::load(&source).map(|rego| rego.revision().map(str::to_owned)).map_err(problems)
    };
    let x = B64.encode(signer(1).verifying_key().as_bytes());
    let key = json!({"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "x": x});
    let keys = json!({"keys": [key]}).to_string();
    let plain = pack(&good()).unwrap();
    let signed = pack(&signed(good())).unwrap();
    assert_eq!(load(plain.clone(), None), Ok(Some("r1".to_owned())));
    assert_eq!(load(signed.clone(), Some(&keys)), Ok(Some("r1".to_owned())));
    let mut unnamed = good();
    unnamed.remove(MANIFEST);
    assert_eq!(load(pack(&unnamed).unwrap(), None), Ok(None));
    let rows = [
        (plain, keys.as_str(), "policy.rego.bundle: the bundle is not signed, and keys are"),
        (b"x".to_vec(), &keys, "policy.rego.bundle: archive: no gzip"),
        (signed.clone(), "{\"keys\":[]}", "policy.rego.bundle.keys: no key that verifies"),
        (signed, "[]", "policy.rego.bundle.keys:"),
    ];
    for (content, keys, want) in rows {
        let problems = load(content, Some(keys)).unwrap_err();
        assert!(problems.iter().any(|one| one.starts_with(want)), "{want}: {problems:?}");
    }
}
