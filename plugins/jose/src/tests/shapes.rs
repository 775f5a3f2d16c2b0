//! Tokens that are refused for their shape or their header.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::fixture::{b64, claims, header, keys, sign, token, verify, with};
use crate::refusal::Refusal;

/// A header with one parameter changed.
fn headed(name: &str, value: Value) -> String {
    token(&with(header(), name, value), &claims())
}

#[test]
fn headers_that_ask_for_more_are_refused() {
    let own = json!({"kty": "OKP", "crv": "Ed25519", "x": b64([9; 32])});
    let rows = [
        ("alg", json!("none"), Refusal::Algorithm),
        ("alg", json!("None"), Refusal::Algorithm),
        ("alg", json!(""), Refusal::Algorithm),
        ("alg", Value::Null, Refusal::Algorithm),
        ("alg", json!(["EdDSA"]), Refusal::Header),
        ("alg", json!("HS256"), Refusal::Algorithm),
        ("alg", json!("eddsa"), Refusal::Algorithm),
        ("alg", json!("ES256"), Refusal::Algorithm),
        ("alg", json!("RS256"), Refusal::Algorithm),
        ("crit", json!(["exp"]), Refusal::Header),
        ("crit", json!([]), Refusal::Header),
        ("b64", json!(false), Refusal::Header),
        ("zip", json!("DEF"), Refusal::Header),
        ("jwk", own, Refusal::Header),
        ("jku", json!("https://evil.test/keys"), Refusal::Header),
        ("x5u", json!("https://evil.test/cert"), Refusal::Header),
        ("x5c", json!(["MIIB"]), Refusal::Header),
        ("kid", json!("../k1"), Refusal::UnknownKey),
        ("kid", json!("K1"), Refusal::UnknownKey),
        ("kid", json!("k1\u{0}"), Refusal::UnknownKey),
        ("kid", json!("' OR 1=1"), Refusal::UnknownKey),
        ("kid", json!("k".repeat(257)), Refusal::Header),
        ("kid", json!(1), Refusal::Header),
        ("typ", json!("JWT"), Refusal::Type),
        ("typ", json!("dpop+jwt"), Refusal::Type),
        ("typ", Value::Null, Refusal::Type),
        ("typ", json!(1), Refusal::Header),
    ];
    for (name, value, refusal) in rows {
        assert_eq!(verify(&headed(name, value.clone())), Err(refusal), "{name}: {value}");
    }
}

#[test]
fn headers_that_only_tell_more_are_taken() {
    for (name, value) in [
        ("typ", json!("AT+JWT")),
        ("typ", json!("application/at+jwt")),
        ("cty", json!("JWT")),
        ("x5t", json!("abc")),
        ("kid", Value::Null),
    ] {
        assert!(verify(&headed(name, value.clone())).is_ok(), "{name}: {value}");
    }
}

#[test]
fn other_serializations_are_refused() {
    let good = token(&header(), &claims());
    assert!(verify(&good).is_ok());
    let [head, payload, signature] =
        <[&str; 3]>::try_from(good.split('.').collect::<Vec<_>>()).unwrap();
    let nested: &str = &"[".repeat(1000);
    let rows = [
        (String::new(), Refusal::Form),
        (format!("{head}.{payload}"), Refusal::Form),
        (format!("{head}.{payload}."), Refusal::Signature),
        (format!("{head}..{signature}"), Refusal::Signature),
        (format!("{good}.{signature}.x"), Refusal::Form),
        (format!("{good}="), Refusal::Form),
        (format!("{good} "), Refusal::Form),
        (format!(" {good}"), Refusal::Form),
        (format!("{head}.{payload}\n.{signature}"), Refusal::Form),
        (json!({"payload": payload, "signature": signature}).to_string(), Refusal::Form),
        (format!("{head}.{}.{signature}", "A".repeat(17_000)), Refusal::TooLong),
        ("a".repeat(1 << 20), Refusal::TooLong),
        (sign("{\"alg\":\"EdDSA\",\"alg\":\"EdDSA\"}", "{}"), Refusal::Json),
        (sign("[]", "{}"), Refusal::Json),
        (sign("", "{}"), Refusal::Json),
        (sign(nested, "{}"), Refusal::Json),
        (
            sign(&format!("{{\"alg\":\"EdDSA\",\"a\":\"{}\"}}", "a".repeat(2000)), "{}"),
            Refusal::Form,
        ),
        (sign(&header().to_string(), nested), Refusal::Json),
        (sign(&header().to_string(), "{\"a\":1,\"a\":2}"), Refusal::Json),
        (sign(&header().to_string(), "\"text\""), Refusal::Json),
        (sign(&header().to_string(), ""), Refusal::Json),
    ];
    for (token, refusal) in rows {
        let shown = &token[..token.len().min(60)];
        assert_eq!(verify(&token), Err(refusal), "{shown}");
    }
}

#[test]
fn without_keys_nothing_is_said_of_the_token() {
    let good = token(&header(), &claims());
    let verdict = crate::jwt::verify(
        good.as_bytes(),
        &crate::KeySet::default(),
        &super::fixture::rules(),
        super::fixture::NOW,
        &crate::Pure,
    );
    assert_eq!(verdict, Err(Refusal::NoKeys));
}

#[test]
fn the_claimed_issuer_is_read_without_trust() {
    let good = token(&header(), &claims());
    let parsed = crate::jws::Unverified::parse(good.as_bytes()).unwrap();
    assert_eq!(parsed.claimed_issuer().as_deref(), Some("https://issuer.test"));
    assert_eq!(parsed.key_id(), Some("k1"));
    assert!(keys().knows("k1") && !keys().knows("k2"));
}

#[test]
fn a_flip_of_any_bit_is_refused() {
    let good = token(&header(), &claims()).into_bytes();
    for at in 0..good.len() {
        for bit in 0..7 {
            let mut flipped = good.clone();
            flipped[at] ^= 1 << bit;
            let text = String::from_utf8(flipped).unwrap();
            assert!(verify(&text).is_err(), "bit {bit} of character {at}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_text_makes_it_panic(text in "[A-Za-z0-9_.{}\":,-]{0,200}", header in ".{0,60}", payload in ".{0,60}") {
        prop_assert!(verify(&text).is_err());
        prop_assert!(verify(&sign(&header, &payload)).is_err());
        let _ = crate::KeySet::parse(text.as_bytes());
    }
}
