//! Rules for claims.

use serde_json::{Value, json};

use super::fixture::{NOW, claims, header, keys, rules, token, verify, with};
use crate::jwt::{self, Kind, Rules};
use crate::refusal::Refusal;
use crate::signatures::Pure;

fn changed(name: &str, value: Value) -> String {
    token(&header(), &with(claims(), name, value))
}

#[test]
fn a_good_token_says_who_and_until_when() {
    let token = verify(&token(&header(), &claims())).unwrap();
    assert_eq!(token.subject(), Some("ada"));
    assert_eq!(token.expires(), NOW + 300);
    assert_eq!(token.key_id(), Some("k1"));
    assert_eq!(token.claim("client_id"), Some(&json!("triage-bot")));
    assert_eq!(Value::Object(token.claims().clone()), claims());
}

#[test]
fn claims_have_to_satisfy_the_rules() {
    let many: Vec<String> = (0..33).map(|at| format!("a{at}")).collect();
    let rows = [
        ("iss", Value::Null, Refusal::Claim("iss")),
        ("iss", json!("https://issuer.test/"), Refusal::Issuer),
        ("iss", json!(["https://issuer.test"]), Refusal::Claim("iss")),
        ("aud", Value::Null, Refusal::Claim("aud")),
        ("aud", json!("https://other.test"), Refusal::Audience),
        ("aud", json!([]), Refusal::Audience),
        ("aud", json!(["https://gateway.test", 1]), Refusal::Claim("aud")),
        ("aud", json!({"a": 1}), Refusal::Claim("aud")),
        ("aud", json!(many), Refusal::Claim("aud")),
        ("exp", Value::Null, Refusal::Claim("exp")),
        ("exp", json!((NOW + 300).to_string()), Refusal::Claim("exp")),
        ("exp", json!(-1), Refusal::Claim("exp")),
        ("exp", json!(1e300), Refusal::Claim("exp")),
        ("exp", json!(u64::MAX), Refusal::Claim("exp")),
        ("exp", json!(NOW - 5), Refusal::Expired),
        ("exp", json!(0), Refusal::Expired),
        ("nbf", json!(NOW + 6), Refusal::NotYet),
        ("nbf", json!("soon"), Refusal::Claim("nbf")),
        ("iat", Value::Null, Refusal::Claim("iat")),
        ("iat", json!(NOW + 6), Refusal::NotYet),
        ("sub", Value::Null, Refusal::Claim("sub")),
        ("sub", json!(""), Refusal::Claim("sub")),
        ("sub", json!(7), Refusal::Claim("sub")),
        ("client_id", Value::Null, Refusal::Claim("client_id")),
        ("jti", Value::Null, Refusal::Claim("jti")),
    ];
    for (name, value, refusal) in rows {
        assert_eq!(verify(&changed(name, value.clone())).err(), Some(refusal), "{name}: {value}");
    }
}

#[test]
fn leeway_and_fractions_are_allowed() {
    for (name, value) in [
        ("exp", json!(NOW - 4)),
        ("exp", json!(1_800_000_000.75)),
        ("nbf", json!(NOW + 5)),
        ("iat", json!(NOW + 5)),
        ("aud", json!(["https://other.test", "https://gateway.test"])),
        ("scope", json!("a b")),
    ] {
        assert!(verify(&changed(name, value.clone())).is_ok(), "{name}: {value}");
    }
}

#[test]
fn each_kind_admits_its_types() {
    let types = [Value::Null, json!("JWT"), json!("at+jwt"), json!("JOSE"), json!("secevent+jwt")];
    let rows = [
        (Kind::AccessToken, [false, false, true, false, false]),
        (Kind::Plain, [true, true, true, false, false]),
        (Kind::Svid, [true, true, false, true, false]),
    ];
    for (kind, admitted) in rows {
        let rules = Rules { kind, ..rules() };
        for (name, admitted) in types.iter().zip(admitted) {
            let token = token(&with(header(), "typ", name.clone()), &claims());
            let verdict = jwt::verify(token.as_bytes(), &keys(), &rules, NOW, &Pure);
            let want = if admitted { None } else { Some(Refusal::Type) };
            assert_eq!(verdict.err(), want, "{kind:?}: {name}");
        }
    }
}

#[test]
fn an_svid_has_a_subject_and_needs_no_issuer() {
    let rules = Rules { kind: Kind::Svid, ..rules() };
    let check = |claims: Value| {
        let token = token(&with(header(), "typ", Value::Null), &claims);
        jwt::verify(token.as_bytes(), &keys(), &rules, NOW, &Pure).err()
    };
    assert_eq!(check(with(claims(), "iss", Value::Null)), None);
    assert_eq!(check(with(claims(), "iss", json!("x"))), Some(Refusal::Issuer));
    assert_eq!(check(with(claims(), "sub", Value::Null)), Some(Refusal::Claim("sub")));
}

#[test]
fn without_configured_audiences_no_token_is_good() {
    let rules = Rules { audiences: Vec::new(), ..rules() };
    let token = token(&header(), &claims());
    let verdict = jwt::verify(token.as_bytes(), &keys(), &rules, NOW, &Pure);
    assert_eq!(verdict, Err(Refusal::Audience));
}
