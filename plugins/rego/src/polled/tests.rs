//! What is taken, what is not, and for how long the last good one decides.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use ed25519_dalek::{Signer, SigningKey};
use postern_core::config::gate::{Endpoint, PolicySource, Poll};
use postern_core::key_service::CallFailure;
use serde_json::json;

use super::*;
use crate::bundle::{Files, MANIFEST, SIGNATURES, pack, signature};

const EVERY: u64 = 60;
const KEEP: u64 = 600;

fn at(seconds: u64) -> UnixMillis {
    UnixMillis(1_800_000_000_000).after(Duration::from_secs(seconds))
}

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn keys() -> KeySet {
    let x = B64.encode(key(1).verifying_key().as_bytes());
    let set = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "x": x}]});
    KeySet::parse(set.to_string().as_bytes()).unwrap()
}

/// A bundle of this serial, signed by this key.
fn bundle(serial: Option<u64>, rule: &str, seed: u8) -> Vec<u8> {
    let metadata = serial.map_or_else(|| json!({}), |serial| json!({"serial": serial}));
    let revision = format!("r{}", serial.unwrap_or_default());
    let manifest = json!({"revision": revision, "metadata": metadata});
    let mut files = Files::new();
    files.insert(MANIFEST.to_owned(), manifest.to_string().into_bytes());
    files.insert("a.rego".to_owned(), format!("package envoy.authz\n\n{rule}\n").into_bytes());
    let payload = signature::payload(&files).unwrap();
    let signed =
        format!("{}.{}", B64.encode(r#"{"alg":"EdDSA"}"#), B64.encode(payload.to_string()));
    let token = B64.encode(key(seed).sign(signed.as_bytes()).to_bytes());
    let document = json!({"signatures": [format!("{signed}.{token}")]});
    files.insert(SIGNATURES.to_owned(), document.to_string().into_bytes());
    pack(&files).unwrap()
}

fn good(serial: u64) -> Vec<u8> {
    bundle(Some(serial), "allow := true", 1)
}

fn polled(least_serial: u64, holds: bool) -> Rc<Polled> {
    let text = |text: &str| text.to_owned();
    let from = Endpoint { cluster: text("opa"), authority: text("opa.test"), path: text("/b") };
    let (every, keep) = (Duration::from_secs(EVERY), Duration::from_secs(KEEP));
    let source = PolicySource {
        modules: Vec::new(),
        bundle: None,
        data: json!({}),
        query: text("data.envoy.authz.allow"),
        instructions: 1000,
    };
    Rc::new(Polled::new(&Poll { from, every, keep, least_serial }, &source, keys(), holds, None))
}

fn answer(status: u16, body: &[u8], tag: Option<&str>) -> CallResult {
    let fields = tag.map(|tag| ("etag", tag)).into_iter().collect();
    Ok(CallAnswer { fields, ..CallAnswer::of(status, body.to_vec()) })
}

/// The next fetch is due at this time, asks for what is not `unless`, and ends like this.
fn fetch(polled: &Rc<Polled>, seconds: u64, unless: Option<&str>, result: CallResult) {
    let call = polled.due(at(seconds)).unwrap();
    assert_eq!((call.method, call.unless.as_deref()), ("GET", unless));
    assert_eq!(call.most, 2 << 20);
    assert!(!polled.heard(call.id, result, at(seconds)));
}

/// The revision that decides at this time.
fn decides(polled: &Rc<Polled>, seconds: u64) -> Option<String> {
    let policy = Rc::clone(polled).current(at(seconds));
    policy.map(|policy| policy.revision().unwrap_or_default().to_owned())
}

fn told(polled: &Rc<Polled>) -> Vec<String> {
    polled.told().into_iter().map(|told| told.text).collect()
}

#[test]
fn a_newer_bundle_replaces_the_one_before_and_304_keeps_it() {
    let polled = polled(0, false);
    assert!(polled.needed() && decides(&polled, 0).is_none());
    fetch(&polled, 0, None, answer(200, &good(1), Some("\"one\"")));
    assert_eq!(decides(&polled, 0).as_deref(), Some("r1"));
    assert!(!polled.needed() && polled.due(at(EVERY - 1)).is_none());
    fetch(&polled, EVERY, Some("\"one\""), answer(304, b"", None));
    fetch(&polled, 2 * EVERY, Some("\"one\""), answer(200, &good(2), Some("W/\"two\"")));
    assert_eq!(decides(&polled, 2 * EVERY).as_deref(), Some("r2"));
    // Without a tag the same bytes are the same bundle.
    fetch(&polled, 3 * EVERY, Some("W/\"two\""), answer(200, &good(2), None));
    fetch(&polled, 4 * EVERY, None, answer(200, &good(2), None));
    let taken = [
        "policy bundle taken: revision r1, serial 1",
        "policy bundle taken: revision r2, serial 2",
    ];
    assert_eq!(told(&polled), taken);
}

#[test]
fn a_clock_that_was_set_back_keeps_no_policy_longer() {
    let (polled, day) = (polled(0, false), 24 * 3600);
    fetch(&polled, day, None, answer(200, &good(1), None));
    assert_eq!(decides(&polled, 0).as_deref(), Some("r1"));
    // It is asked about at once, not in a day.
    fetch(&polled, 1, None, answer(503, b"", None));
    assert_eq!(decides(&polled, KEEP - 1).as_deref(), Some("r1"));
    assert_eq!(decides(&polled, KEEP), None);
}

#[test]
fn who_was_asked_before_keeps_the_policy_that_was_there() {
    let polled = polled(0, false);
    fetch(&polled, 0, None, answer(200, &good(1), None));
    let before = Rc::clone(&polled).current(at(1)).unwrap();
    fetch(&polled, EVERY, None, answer(200, &good(2), None));
    assert_eq!(before.revision(), Some("r1"));
    assert_eq!(decides(&polled, EVERY).as_deref(), Some("r2"));
}

#[test]
fn whatever_else_comes_replaces_nothing_and_says_why() {
    let mut forged = good(9);
    let middle = forged.len() / 2;
    forged[middle] ^= 1;
    let allow = "allow := true";
    let reads = "allow if not input.parsed_body";
    let rows: Vec<(CallResult, &str)> = vec![
        (Err(CallFailure::NotSent), "policy bundle not fetched: NotSent"),
        (Err(CallFailure::TooLarge), "policy bundle not fetched: TooLarge"),
        (answer(503, &good(9), None), "policy bundle not fetched: status 503"),
        (answer(304, b"", None), "policy bundle not fetched: status 304"),
        (answer(200, b"", Some("\"bad\"")), "policy bundle refused: archive"),
        (answer(200, &good(9)[..200], Some("\"bad\"")), "policy bundle refused: archive"),
        (answer(200, &vec![0; 3 << 20], Some("\"bad\"")), "policy bundle refused: archive"),
        (answer(200, &forged, Some("\"bad\"")), "policy bundle refused: "),
        (
            answer(200, &bundle(Some(9), allow, 2), Some("\"bad\"")),
            "policy bundle refused: .signatures.json",
        ),
        (
            answer(200, &bundle(Some(9), "allow if {", 1), Some("\"bad\"")),
            "policy bundle refused: a.rego",
        ),
        (
            answer(200, &bundle(Some(9), reads, 1), Some("\"bad\"")),
            "policy bundle refused: it reads the content",
        ),
        (
            answer(200, &good(4), Some("\"bad\"")),
            "policy bundle refused: serial 4: 5 was taken before",
        ),
        (
            answer(200, &bundle(None, allow, 1), Some("\"bad\"")),
            "policy bundle refused: serial none: 5 was",
        ),
        (
            answer(200, &bundle(Some(5), "allow if true", 1), Some("\"bad\"")),
            "policy bundle refused: serial 5: another bundle had the same",
        ),
    ];
    let (polled, mut when) = (polled(0, false), EVERY);
    fetch(&polled, 0, None, answer(200, &good(5), None));
    told(&polled);
    for (result, want) in rows {
        fetch(&polled, when, None, result);
        let lines = told(&polled);
        assert!(lines.len() == 1 && lines[0].starts_with(want), "{want}: {lines:?}");
        assert_eq!(decides(&polled, when).as_deref(), Some("r5"), "{want}");
        // And the way back is open.
        when += EVERY;
        fetch(&polled, when, None, answer(200, &good(5), None));
        when += EVERY;
    }
}

#[test]
fn the_last_good_one_ends_and_what_was_taken_is_remembered() {
    let polled = polled(0, true);
    fetch(&polled, 0, None, answer(200, &good(5), Some("\"x\"")));
    told(&polled);
    assert!(decides(&polled, KEEP - 1).is_some());
    assert_eq!(decides(&polled, KEEP), None);
    assert_eq!(told(&polled), ["policy bundle too old: every request is refused"]);
    assert!(polled.needed());
    fetch(&polled, KEEP, None, answer(200, &good(4), None));
    assert_eq!(decides(&polled, KEEP), None);
    fetch(&polled, KEEP + 1, None, answer(200, &good(5), None));
    assert_eq!(decides(&polled, KEEP + 1).as_deref(), Some("r5"));
}

#[test]
fn a_floor_holds_from_the_beginning() {
    let polled = polled(5, false);
    fetch(&polled, 0, None, answer(200, &good(4), None));
    fetch(&polled, 1, None, answer(200, &bundle(None, "allow := true", 1), None));
    assert_eq!(decides(&polled, 1), None);
    let want = [
        "policy bundle refused: serial 4: expected at least 5",
        "policy bundle refused: serial none: expected at least 5",
    ];
    assert_eq!(told(&polled), want);
}

#[test]
fn a_fetch_that_failed_is_tried_again_later_and_later() {
    let polled = polled(0, false);
    let mut when = 0;
    for pause in [1, 2, 4, 8, 16, 30, 30] {
        fetch(&polled, when, None, answer(500, b"", None));
        assert!(polled.due(at(when + pause - 1)).is_none());
        when += pause;
    }
    let call = polled.due(at(when)).unwrap();
    assert!(polled.due(at(when + 29)).is_none(), "one at a time");
    let lost = polled.due(at(when + 30)).unwrap();
    assert!(!polled.heard(call.id, answer(200, &good(1), None), at(when + 30)), "given up");
    assert_eq!(decides(&polled, when + 30), None);
    polled.heard(lost.id, answer(200, &good(1), None), at(when + 30));
    assert!(decides(&polled, when + 30).is_some());
}

#[test]
fn only_entity_tags_are_sent_back() {
    let long = format!("\"{}\"", "x".repeat(300));
    let rows = [
        ("\"a\"", true),
        ("W/\"a\"", true),
        ("\"\"", true),
        ("a", false),
        ("\"a\"b\"", false),
        ("\"a b\"", false),
        ("\"", false),
        (&long, false),
    ];
    for (text, want) in rows {
        let fields = [("etag", text)].into_iter().collect();
        assert_eq!(tag(&fields).is_some(), want, "{text}");
    }
    assert_eq!(tag(&[("etag", "\"a\""), ("etag", "\"b\"")].into_iter().collect()), None);
}

#[test]
fn the_document_s_own_bundle_decides_first() {
    let mut document = polled(0, false);
    let policy = document.load(bundle::read(&good(7), Some(&keys())).unwrap()).unwrap();
    let first = Some((Rc::new(policy), Some(7), [0; 32]));
    let Polled { poll, source, .. } = Rc::get_mut(&mut document).unwrap();
    let polled = Rc::new(Polled::new(poll, source, keys(), false, first));
    assert_eq!(decides(&polled, 0).as_deref(), Some("r7"));
    fetch(&polled, 0, None, answer(200, &good(6), None));
    assert_eq!(decides(&polled, KEEP - 1).as_deref(), Some("r7"));
    assert_eq!(decides(&polled, KEEP), None);
}
