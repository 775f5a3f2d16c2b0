//! The published revocation heads: good ones, and ones that have to be refused.

use ed25519_dalek::SigningKey;
use postern_core::revocation::{Entry, Kind};
use serde_json::{Value, json};

use super::vectors::{check, hex};
use crate::revocation::{Head, List, Refusal, answer, open};

const TS: u64 = 1_795_329_000;

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

/// What is revoked in the vectors, of tenant `acme`.
const REVOKED: [(Kind, &str); 4] = [
    (Kind::ApiKey, "AbCd0123"),
    (Kind::Agent, "triage-bot"),
    (Kind::Tenant, ""),
    (Kind::IssuerKey, "idp-2026-11"),
];

fn list(forget: u64) -> List {
    let entry = |(kind, id): &(Kind, &str)| Entry::of(*kind, "acme", id.as_bytes());
    List::new(REVOKED.iter().map(entry).collect(), forget)
}

fn signed(list: &List, keys: &[&SigningKey]) -> Vec<u8> {
    answer(&Head::of(list, 7, TS).sign(keys), Some(list)).unwrap()
}

fn changed(mut body: Vec<u8>, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    change(&mut body);
    body
}

/// A body whose note is another text, signed all the same.
fn noted(text: &str) -> Vec<u8> {
    use base64::Engine;
    use ed25519_dalek::Signer;
    let good = Head::of(&list(0), 7, TS).sign(&[&key(1)]);
    let id = good.rsplit_once(' ').unwrap().1.trim();
    let id = base64::engine::general_purpose::STANDARD.decode(id).unwrap();
    let mut signature = id[..4].to_vec();
    signature.extend(key(1).sign(text.as_bytes()).to_bytes());
    let signature = base64::engine::general_purpose::STANDARD.encode(signature);
    answer(&format!("{text}\n\u{2014} postern-keys {signature}\n"), Some(&list(0))).unwrap()
}

fn cases() -> Vec<(&'static str, Vec<u8>)> {
    let (ours, theirs) = (key(1), key(2));
    let whole = list(0);
    let text = Head::of(&whole, 7, TS).text();
    let good = signed(&whole, &[&ours]);
    let note = usize::from(u16::from_be_bytes([good[0], good[1]]));
    let last = good.len() - 1;
    let swapped = |body: &mut Vec<u8>| body[note + 3..note + 37].rotate_left(17);
    let doubled = |body: &mut Vec<u8>| body.extend_from_within(last - 16..);
    let unknown_kind = List::new(vec![Entry([12; 17])], 0);
    let unsorted = {
        let head = Head::of(&whole, 7, TS);
        changed(answer(&head.sign(&[&ours]), Some(&whole)).unwrap(), swapped)
    };
    vec![
        ("one key", good.clone()),
        ("two keys", signed(&whole, &[&theirs, &ours])),
        ("forget 3", signed(&list(3), &[&ours])),
        ("empty list", signed(&List::default(), &[&ours])),
        ("same list", answer(&Head::of(&whole, 7, TS).sign(&[&ours]), None).unwrap()),
        ("another key", signed(&whole, &[&theirs])),
        ("no key", signed(&whole, &[])),
        ("a changed epoch", changed(good.clone(), |body| body[32] ^= 1)),
        (
            "a changed signature",
            changed(good.clone(), |body| {
                let at = note - 10;
                body[at] = if body[at] == b'A' { b'B' } else { b'A' };
            }),
        ),
        ("another origin", noted(&text.replace("postern-keys", "postern-kez"))),
        ("a leading zero", noted(&text.replace("epoch 7", "epoch 07"))),
        ("a further line", noted(&format!("{text}more\n"))),
        ("another heading", noted(&text.replace("/v1", "/v2"))),
        ("an entry less", changed(good.clone(), |body| body.truncate(last - 16))),
        ("an entry twice", changed(good.clone(), doubled)),
        ("a changed entry", changed(good.clone(), |body| body[last] ^= 1)),
        ("entries not in order", unsorted),
        ("part of an entry", changed(good.clone(), |body| body.truncate(last))),
        ("an unknown kind", signed(&unknown_kind, &[&ours])),
        ("an unknown form", changed(good.clone(), |body| body[note + 2] = 2)),
        ("entries behind form 0", changed(good, |body| body[note + 2] = 0)),
        ("nothing", Vec::new()),
    ]
}

fn outcome(body: &[u8]) -> Value {
    match open(body, key(1).verifying_key().as_bytes()) {
        Ok(opened) => json!({
            "epoch": opened.head.epoch.to_string(),
            "ts": opened.head.ts.to_string(),
            "count": opened.head.count.to_string(),
            "entries": opened.list.as_ref().map(|list| list.len()),
            "forget": opened.list.as_ref().map(|list| list.forget().to_string()),
        }),
        Err(Refusal::Malformed) => json!("malformed"),
        Err(Refusal::UnknownKey) => json!("unknown key"),
        Err(Refusal::Forged) => json!("forged"),
        Err(Refusal::List) => json!("list"),
    }
}

#[test]
fn heads_make_their_published_bytes() {
    let entries = REVOKED.iter().map(|(kind, id)| {
        let entry = hex(&Entry::of(*kind, "acme", id.as_bytes()).0);
        json!({"kind": kind.code(), "tenant": "acme", "id": id, "entry": entry})
    });
    let heads = cases()
        .into_iter()
        .map(|(name, body)| json!({"name": name, "body": hex(&body), "outcome": outcome(&body)}));
    check(
        "revocations",
        &json!({
            "public": hex(key(1).verifying_key().as_bytes()),
            "entries": entries.collect::<Vec<_>>(),
            "heads": heads.collect::<Vec<_>>(),
        }),
    );
}

#[test]
fn heads_are_taken_and_refused_as_they_are_named() {
    let names = |wanted: fn(&Value) -> bool| -> Vec<&str> {
        let cases = cases().into_iter();
        cases.filter(|(_, body)| wanted(&outcome(body))).map(|(name, _)| name).collect()
    };
    let good = ["one key", "two keys", "forget 3", "empty list", "same list"];
    assert_eq!(names(Value::is_object), good);
    assert_eq!(names(|outcome| outcome == "unknown key"), ["another key"]);
    assert_eq!(names(|outcome| outcome == "forged"), ["a changed epoch", "a changed signature"]);
    assert_eq!(names(|outcome| outcome == "list"), ["an entry less", "a changed entry"]);
}

#[test]
fn no_part_of_an_answer_can_be_changed() {
    let body = signed(&list(0), &[&key(1)]);
    let public = key(1).verifying_key().to_bytes();
    for at in 0..body.len() {
        for bit in 0..8 {
            let changed = changed(body.clone(), |body| body[at] ^= 1 << bit);
            assert!(open(&changed, &public).is_err(), "bit {bit} of byte {at}");
        }
    }
}

#[test]
fn a_list_has_room_for_three_thousand_and_no_more() {
    let entries = |count: u32| {
        let entry = |n: u32| Entry::of(Kind::Token, "acme", &n.to_be_bytes());
        List::new((0..count).map(entry).collect(), 0)
    };
    let note = Head::of(&entries(3000), 1, TS).sign(&[&key(1), &key(2)]);
    let body = answer(&note, Some(&entries(3000))).unwrap();
    assert!(open(&body, key(1).verifying_key().as_bytes()).is_ok());
    assert!(answer(&note, Some(&entries(3001))).is_err());
}
