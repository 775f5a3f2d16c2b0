//! Evidence of hardware as documents: `plugins/attest/vectors/attestation.json`, good and hostile, and what
//! a configuration may say about it. `POSTERN_WRITE_VECTORS=1` writes the file anew (its
//! signatures are randomised).

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64;
use postern_attester::{self as made, ISSUER, KEY_ID, ORIGIN, Uvm, Vcek};
use postern_core::config::evidence::parse;
use postern_core::time::UnixMillis;
use serde_json::{Value, json};

use crate::evidence::{self, Refusal, Runtime, Seen, Trust, appraise};
use crate::tests::fixture::{self, NOW};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../attest/vectors/attestation.json");
const KINDS: [&[&str]; 3] = [&["maa"], &["snp"], &["maa", "snp"]];

fn pins(require: &[&str]) -> Value {
    let mut pins = json!({
        "require": require,
        "releases": {"origin": ORIGIN, "keys": [made::release_vkey()]},
    });
    if require.contains(&"maa") {
        let key = json!({"kid": KEY_ID, "n": made::maa_key()["n"]});
        pins["maa"] = json!({"issuers": [{"issuer": ISSUER, "keys": [key]}]});
    }
    if require.contains(&"snp") {
        pins["snp"] = json!({
            "products": ["Genoa"],
            "danger_roots": {"Genoa": B64.encode(made::root_modulus())},
            "uvm": [{
                "issuer": made::uvm_fingerprint(), "feed": "ContainerPlat-AMD-UVM", "min_svn": 100,
            }],
        });
    }
    pins
}

fn trust(pins: &Value) -> Trust {
    Trust::of(&parse(pins.to_string().as_bytes()).unwrap()).unwrap()
}

/// A good document, in members that rows change.
fn good(kind: &str, runtime: &[u8]) -> Value {
    let now = NOW.seconds();
    let set = made::release_set(4, now + 3600, &[made::HOST_DATA]);
    let mut document = json!({
        "v": 1, "kind": kind, "runtime": B64.encode(runtime), "release_set": B64.encode(set),
    });
    if kind.contains("maa") {
        document["maa"] = made::token(&made::header(), &made::claims(runtime, now)).into();
    }
    if kind.contains("snp") {
        document["snp"] = json!({
            "report": B64.encode(made::report(runtime, |_| ())),
            "vcek": B64.encode(Vcek::default().der()),
            "ask": B64.encode(made::ask()),
            "uvm": B64.encode(Uvm::default().cose()),
        });
    }
    document
}

fn claim(name: &str, value: Value) -> Value {
    let runtime = fixture::runtime().to_bytes();
    let mut claims = made::claims(&runtime, NOW.seconds());
    claims[name] = value;
    made::token(&made::header(), &claims).into()
}

fn report(change: impl FnOnce(&mut [u8])) -> Value {
    B64.encode(made::report(&fixture::runtime().to_bytes(), change)).into()
}

/// Name, what is required, and the document.
type Row = (&'static str, &'static [&'static str], Value);

fn rows() -> Vec<Row> {
    [document_rows(), member_rows()].concat()
}

fn document_rows() -> Vec<Row> {
    let runtime = fixture::runtime().to_bytes();
    let of = |kind: &str| good(kind, &runtime);
    let changed = |kind: &str, path: &str, value: Value| {
        let mut document = of(kind);
        *document.pointer_mut(path).unwrap() = value;
        document
    };
    let [maa, snp, both] = KINDS;
    let mut reordered = String::from_utf8(runtime.clone()).unwrap();
    reordered =
        reordered.replace("\"suites\":[\"0001\"],\"v\":[1]", "\"v\":[1],\"suites\":[\"0001\"]");
    let ended = made::release_set(4, NOW.seconds(), &[made::HOST_DATA]);
    let other = made::release_set(4, NOW.seconds() + 9, &[[0xcb; 32]]);
    vec![
        ("a token", maa, of("maa")),
        ("a report", snp, of("snp")),
        ("both", both, of("maa+snp")),
        ("both where one is required", maa, of("maa+snp")),
        ("one where both are required", both, of("maa")),
        ("the other one", snp, of("maa")),
        ("simulated", maa, serde_json::from_slice(&fixture::document()).unwrap()),
        ("a kind without its member", snp, changed("maa", "/kind", json!("snp"))),
        (
            "a release set that has ended",
            maa,
            changed("maa", "/release_set", json!(B64.encode(ended))),
        ),
        ("another image", snp, changed("snp", "/release_set", json!(B64.encode(other)))),
        (
            "runtime data in another order",
            maa,
            changed("maa", "/runtime", json!(B64.encode(reordered))),
        ),
    ]
}

/// One member is not as it should be.
fn member_rows() -> Vec<Row> {
    let runtime = fixture::runtime().to_bytes();
    let changed = |kind: &str, path: &str, value: Value| {
        let mut document = good(kind, &runtime);
        *document.pointer_mut(path).unwrap() = value;
        document
    };
    let [maa, snp, both] = KINDS;
    vec![
        (
            "a token of a guest that can be debugged",
            maa,
            changed("maa", "/maa", claim("x-ms-sevsnpvm-is-debuggable", json!(true))),
        ),
        (
            "a text for a truth value",
            maa,
            changed("maa", "/maa", claim("x-ms-sevsnpvm-is-debuggable", json!("false"))),
        ),
        (
            "a token of another kind of machine",
            maa,
            changed("maa", "/maa", claim("x-ms-attestation-type", json!("azurevm"))),
        ),
        (
            "host data in upper case",
            maa,
            changed("maa", "/maa", claim("x-ms-sevsnpvm-hostdata", json!("CA".repeat(32)))),
        ),
        ("an old token", maa, changed("maa", "/maa", claim("iat", json!(NOW.seconds() - 3601)))),
        (
            "a token by another key",
            maa,
            changed(
                "maa",
                "/maa",
                made::token_by_stranger(&made::header(), &made::claims(&runtime, NOW.seconds()))
                    .into(),
            ),
        ),
        (
            "a report of a guest that can be debugged",
            snp,
            changed("snp", "/snp/report", report(|report| report[0x0a] |= 1 << 3)),
        ),
        (
            "a report of VMPL 1",
            snp,
            changed("snp", "/snp/report", report(|report| report[0x30] = 1)),
        ),
        (
            "a report with a tail in its data",
            snp,
            changed("snp", "/snp/report", report(|report| report[0x8f] = 1)),
        ),
        (
            "another measurement",
            snp,
            changed("snp", "/snp/report", report(|report| report[0x90] ^= 1)),
        ),
        (
            "a chain to another root",
            snp,
            changed("snp", "/snp/ask", json!(B64.encode(made::ask_by_stranger()))),
        ),
        (
            "an old endorsement",
            snp,
            changed(
                "snp",
                "/snp/uvm",
                json!(B64.encode(Uvm { version: "99", ..Uvm::default() }.cose())),
            ),
        ),
        (
            "a good report beside a bad token",
            both,
            changed("maa+snp", "/maa", claim("x-ms-sevsnpvm-vmpl", json!(1))),
        ),
    ]
}

fn judged(require: &[&str], document: &[u8]) -> String {
    match appraise(document, &trust(&pins(require)), Seen::default(), NOW) {
        Ok(_) => "ok".to_owned(),
        Err(refusal) => refusal.to_string(),
    }
}

fn written() -> Value {
    let rows = rows().into_iter().map(|(name, require, document)| {
        let text = document.to_string();
        json!({"name": name, "require": require, "document": text, "want": judged(require, text.as_bytes())})
    });
    json!({
        "about": "Evidence of hardware under test keys; want is ok, or why it is refused.",
        "now": NOW.seconds().to_string(),
        "pins": pins(KINDS[2]),
        "rows": rows.collect::<Vec<_>>(),
    })
}

#[test]
fn the_published_documents_are_judged_as_published() {
    if std::env::var_os("POSTERN_WRITE_VECTORS").is_some() {
        postern_files::write_atomic(FILE, format!("{:#}\n", written()).as_bytes()).unwrap();
    }
    let file: Value =
        serde_json::from_str(include_str!("../../../attest/vectors/attestation.json")).unwrap();
    let mut good = 0;
    for row in file["rows"].as_array().unwrap() {
        let require: Vec<&str> =
            row["require"].as_array().unwrap().iter().map(|kind| kind.as_str().unwrap()).collect();
        let document = row["document"].as_str().unwrap();
        assert_eq!(judged(&require, document.as_bytes()), row["want"], "{}", row["name"]);
        good += usize::from(row["want"] == "ok");
    }
    assert_eq!(good, 4, "the first four are good");
    assert_eq!(file["rows"].as_array().unwrap().len(), rows().len());
}

#[test]
fn documents_made_now_are_judged_as_the_published_ones() {
    let file: Value =
        serde_json::from_str(include_str!("../../../attest/vectors/attestation.json")).unwrap();
    for ((name, require, document), row) in rows().iter().zip(file["rows"].as_array().unwrap()) {
        assert_eq!(*name, row["name"]);
        assert_eq!(judged(require, document.to_string().as_bytes()), row["want"], "{name}");
    }
}

#[test]
fn evidence_ends_with_the_first_thing_behind_it_and_does_not_go_back() {
    let runtime = fixture::runtime().to_bytes();
    let mut document = good("maa", &runtime);
    let set = made::release_set(4, NOW.seconds() + 9, &[made::HOST_DATA]);
    document["release_set"] = B64.encode(set).into();
    let document = document.to_string();
    let trust = trust(&pins(&["maa"]));
    let appraised = |releases| {
        let seen = Seen { epoch: 0, releases };
        appraise(document.as_bytes(), &trust, seen, NOW)
    };
    let evidence = appraised(4).unwrap();
    assert_eq!(evidence.releases(), 4);
    assert!(evidence.is_valid(UnixMillis(NOW.0 + 8000)));
    assert!(!evidence.is_valid(UnixMillis(NOW.0 + 9000)));
    let older = Refusal::Attestation(postern_attest::Refusal::ReleaseSequence);
    assert_eq!(appraised(5), Err(older));
}

#[test]
fn an_epoch_that_is_over_is_refused_whatever_the_hardware_says() {
    let ended = Runtime { not_after: NOW.seconds(), ..fixture::runtime() };
    let document = good("maa+snp", &ended.to_bytes()).to_string();
    let trust = trust(&pins(KINDS[2]));
    let judged = evidence::appraise(document.as_bytes(), &trust, Seen::default(), NOW);
    assert_eq!(judged, Err(Refusal::Time));
}

#[test]
fn pins_that_are_none_are_named() {
    let rows = [
        ("/releases/origin", json!("a b"), "releases.origin"),
        ("/releases/keys/0", json!("release+00000000+AQ=="), "releases.keys[0]"),
        ("/maa/issuers/0/keys/0/n", json!("AQAB"), "maa.issuers[0].keys"),
        ("/maa/issuers/0/keys/0/kid", json!(""), "maa.issuers[0].keys"),
        ("/snp/danger_roots/Genoa", json!("AQAB"), "snp.danger_roots.Genoa"),
        ("/snp/uvm/0/issuer", json!("did:web:example"), "snp.uvm[0].issuer"),
    ];
    for (path, value, at) in rows {
        let mut pins = pins(KINDS[2]);
        *pins.pointer_mut(path).unwrap() = value;
        let accepted = parse(pins.to_string().as_bytes()).unwrap();
        let error = Trust::of(&accepted).unwrap_err();
        let paths: Vec<&str> = error.problems.iter().map(|it| it.path.as_str()).collect();
        assert_eq!(paths, [format!("key_service.evidence.{at}")]);
    }
}
