//! The published vectors: `vectors/*.json` is what this code makes from fixed keys, and what
//! it says of them. `POSTERN_WRITE_VECTORS=1 cargo test -p postern-capability` writes them anew.

use std::io::Write;
use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value, json};

use super::fixture::{AUDIENCE, KEY_ID, NOW, TENANT, issuers, key, token};
use super::{good, hostile, proofs};
use crate::chain::{Chain, Context, IssuerKey, LIFE, verify};
use crate::claims::Claims;
use crate::key::{PublicKey, Strict};
use crate::reading;
use crate::refusal::Refusal;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &Value) -> Vec<u8> {
    let text = text.as_str().unwrap();
    let digit = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(digit).collect()
}

fn keys() -> Value {
    let entry = |place: u8| {
        let key = key(place);
        json!({"seed": hex(&key.to_bytes()), "public": hex(key.verifying_key().as_bytes())})
    };
    let mut keys = Map::new();
    keys.insert("issuer-1".into(), entry(0));
    keys.insert("issuer-2".into(), entry(20));
    (1..=8).for_each(|place| {
        keys.insert(format!("holder-{place}"), entry(place));
    });
    Value::Object(keys)
}

fn context() -> Value {
    let issuer = |key: &IssuerKey| json!({"kid": key.id, "iss": key.issuer, "public": hex(key.key.as_bytes())});
    let issuers: Vec<Value> = issuers().iter().map(issuer).collect();
    json!({"tenant": TENANT, "audience": AUDIENCE, "life": LIFE, "now": NOW, "issuers": issuers})
}

/// What a case's own context says, over the common one.
fn check(document: &Value, case: &Value) -> Result<Chain, Refusal> {
    let fact = |name: &str| case["context"].get(name).unwrap_or(&document["context"][name]);
    let issuer = |value: &Value| IssuerKey {
        id: value["kid"].as_str().unwrap().into(),
        issuer: value["iss"].as_str().unwrap().into(),
        key: PublicKey::parse(&unhex(&value["public"])).unwrap(),
    };
    let issuers: Vec<IssuerKey> = fact("issuers").as_array().unwrap().iter().map(issuer).collect();
    let context = Context {
        tenant: fact("tenant").as_str().unwrap(),
        audience: fact("audience").as_str().unwrap(),
        life: fact("life").as_u64().unwrap(),
        now: fact("now").as_u64().unwrap(),
        issuers: &issuers,
    };
    verify(case["token"].as_str().unwrap().as_bytes(), &context, &Strict)
}

fn tokens() -> Value {
    let mut cases: Vec<Value> = good::rows().into_iter().map(good_case).collect();
    for (name, token, context, reason) in hostile::rows() {
        let mut case = json!({"name": name, "token": token, "refused": reason});
        if !context.is_null() {
            case["context"] = context;
        }
        cases.push(case);
    }
    json!({"version": 1, "kid": KEY_ID, "keys": keys(), "context": context(), "cases": cases})
}

fn good_case((name, note, blocks): good::Row) -> Value {
    let token = token(&blocks);
    let document = json!({"context": context()});
    let chain = check(&document, &json!({"token": token})).unwrap_or_else(|refusal| {
        panic!("{name}: {refusal}");
    });
    let shown: Vec<Value> = blocks.iter().map(claims).collect();
    let mut case = reading::chain(&chain);
    case["name"] = json!(name);
    case["note"] = json!(note);
    case["token"] = json!(token);
    case["blocks"] = json!(shown);
    case
}

fn claims(claims: &Claims) -> Value {
    reading::claims(claims)
}

fn proof_cases() -> Value {
    let cases: Vec<Value> = proofs::rows().iter().map(proof_case).collect();
    json!({"version": 1, "holder": "holder-2", "keys": keys(), "cases": cases})
}

fn proof_case(sent: &proofs::Sent) -> Value {
    let content = sent.content.as_ref().map(|content| BASE64_STANDARD.encode(content));
    let verdict = match (sent.refused, sent.verify()) {
        (None, Ok(proof)) => ("proof", reading::proof(&proof)),
        (Some(reason), Err(_)) => ("refused", json!(reason)),
        (_, verdict) => panic!("{}: {verdict:?}", sent.name),
    };
    let mut case = json!({
        "name": sent.name,
        "now": sent.now,
        "request": {
            "method": sent.method,
            "scheme": sent.scheme,
            "authority": sent.authority,
            "target": sent.target,
            "content": content,
        },
        "fields": {
            "postern-capability": sent.token,
            "signature-input": sent.signature_input,
            "signature": sent.signature,
            "content-digest": sent.content_digest,
        },
        verdict.0: verdict.1,
    });
    for (name, value) in &sent.more {
        // A line more is written as receivers join it (RFC 9110, 5.3).
        let joined = case["fields"][*name].as_str().map(|first| format!("{first}, {value}"));
        case["fields"][*name] = json!(joined.unwrap_or_else(|| (*value).to_owned()));
    }
    case
}

/// Compares with what is checked in, or writes it.
#[expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "a test's own file")]
fn published(name: &str, document: &Value) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors").join(name);
    let text = format!("{document:#}\n");
    if std::env::var_os("POSTERN_WRITE_VECTORS").is_some() {
        std::fs::File::create(&path).unwrap().write_all(text.as_bytes()).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap();
    assert!(written == text, "{name} is not what this code makes");
    serde_json::from_str(&written).unwrap()
}

#[test]
fn the_vectors_of_tokens_are_those_of_this_code() {
    let document = published("tokens.json", &tokens());
    let cases = document["cases"].as_array().unwrap();
    let mut names = std::collections::BTreeSet::new();
    let mut differ = Vec::new();
    for case in cases {
        let name = case["name"].as_str().unwrap();
        assert!(names.insert(name), "{name} twice");
        match check(&document, case) {
            Ok(chain) if reading::chain(&chain)["right"] == case["right"] => {}
            Err(refusal) if json!(refusal.code()) == case["refused"] => {}
            verdict => differ.push((name, verdict.map(|_| "good"))),
        }
    }
    assert_eq!(differ, []);
    assert!(cases.len() >= 80);
}

#[test]
fn the_vectors_of_proofs_are_those_of_this_code() {
    let document = published("proofs.json", &proof_cases());
    assert!(document["cases"].as_array().unwrap().len() >= 60);
}
