//! Sets of keys, and keys that are none.

use serde_json::{Value, json};

use super::fixture::{b64, key, public, with};
use crate::algorithm::Algorithm;
use crate::jwk::{KeySet, SetError};

const X: &str = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU";
const Y: &str = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0";

fn ec() -> Value {
    json!({"kty": "EC", "crv": "P-256", "kid": "e1", "x": X, "y": Y})
}

/// A modulus of so many bits: odd, and with the highest bit set.
fn rsa(bits: usize) -> Value {
    let mut n = vec![0x55; bits / 8];
    n[0] = 0xc5;
    json!({"kty": "RSA", "kid": "r1", "n": b64(n), "e": "AQAB"})
}

fn parse(set: &Value) -> Result<KeySet, SetError> {
    KeySet::parse(set.to_string().as_bytes())
}

#[test]
fn a_key_has_the_algorithm_that_it_says_or_its_type_is_for() {
    let rows = [
        (public(), Algorithm::EdDsa),
        (with(public(), "alg", json!("EdDSA")), Algorithm::EdDsa),
        (with(public(), "alg", json!("Ed25519")), Algorithm::EdDsa),
        (ec(), Algorithm::Es256),
        (rsa(2048), Algorithm::Rs256),
        (with(rsa(2048), "alg", json!("PS256")), Algorithm::Ps256),
        (with(rsa(4096), "alg", json!("RS512")), Algorithm::Rs512),
        (with(rsa(2048), "use", json!("sig")), Algorithm::Rs256),
        (with(rsa(2048), "key_ops", json!(["verify"])), Algorithm::Rs256),
    ];
    for (jwk, algorithm) in rows {
        assert_eq!(key(jwk.clone()).map(|key| key.algorithm()), Some(algorithm), "{jwk}");
    }
}

#[test]
fn what_is_no_key_to_verify_with_is_left_out() {
    let mut low = [0; 32];
    low[0] = 1;
    let mut second = [0xff; 32];
    (second[0], second[31]) = (0xf0, 0x7f);
    let leading = b64([&[0u8][..], &[0xc5; 256]].concat());
    let rows = [
        json!({}),
        json!({"kty": "oct", "k": b64([1; 32])}),
        with(public(), "alg", json!("HS256")),
        with(public(), "alg", json!("ES256")),
        with(public(), "alg", json!(1)),
        with(public(), "crv", json!("X25519")),
        with(public(), "crv", json!("Ed448")),
        with(public(), "x", json!(b64([9; 31]))),
        with(public(), "x", json!(b64(low))),
        with(public(), "x", json!(b64([0; 32]))),
        with(public(), "x", json!(b64(second))),
        with(public(), "x", json!(format!("{}=", b64([9; 32])))),
        with(public(), "d", json!(b64([9; 32]))),
        with(public(), "use", json!("enc")),
        with(public(), "use", json!(1)),
        with(public(), "key_ops", json!(["sign"])),
        with(public(), "key_ops", json!("verify")),
        with(public(), "kid", json!(1)),
        with(public(), "kid", json!("k".repeat(257))),
        with(ec(), "y", json!(X)),
        with(ec(), "y", Value::Null),
        with(ec(), "x", json!(b64([0; 32]))),
        with(ec(), "x", json!(b64([1; 33]))),
        with(ec(), "crv", json!("P-384")),
        with(ec(), "crv", json!("P-521")),
        with(ec(), "crv", json!("secp256k1")),
        rsa(1024),
        rsa(2040),
        rsa(4104),
        rsa(65_536),
        with(rsa(2048), "n", json!(leading)),
        with(rsa(2048), "n", json!(b64([0xc4; 256]))),
        with(rsa(2048), "e", json!("AA")),
        with(rsa(2048), "e", json!("AQ")),
        with(rsa(2048), "e", json!("AQAA")),
        with(rsa(2048), "e", json!(b64([1; 5]))),
        with(rsa(2048), "alg", json!("RS1")),
        with(rsa(2048), "alg", json!("RSA-OAEP")),
    ];
    for jwk in rows {
        assert!(key(jwk.clone()).is_none(), "{jwk}");
        let set = parse(&json!({"keys": [jwk, ec()]})).unwrap();
        assert_eq!(set.keys().len(), 1);
    }
}

#[test]
fn sets_are_bounded_and_strict() {
    let many: Vec<Value> = (0..33).map(|_| json!({})).collect();
    let rows = [
        (json!({}), SetError::Json),
        (json!([]), SetError::Json),
        (json!({"keys": {}}), SetError::Json),
        (json!({"keys": [1]}), SetError::Json),
        (json!({"keys": many}), SetError::TooMany),
        (json!({"keys": [ec(), ec()]}), SetError::Twice),
        (json!({"keys": [], "a": "a".repeat(65_536)}), SetError::TooLong),
    ];
    for (set, error) in rows {
        assert_eq!(parse(&set).err(), Some(error));
    }
    assert_eq!(KeySet::parse(b"{\"keys\":[],\"keys\":[]}").err(), Some(SetError::Json));
    assert_eq!(KeySet::parse(b"<html>").err(), Some(SetError::Json));
    assert!(parse(&json!({"keys": []})).unwrap().keys().is_empty());
}

#[test]
fn a_key_is_found_by_id_and_algorithm() {
    let anonymous = with(public(), "kid", Value::Null);
    let set = parse(&json!({"keys": [public(), ec(), with(ec(), "kid", json!("e2"))]})).unwrap();
    assert!(set.find(Some("k1"), Algorithm::EdDsa).is_some());
    assert!(set.find(Some("k1"), Algorithm::Es256).is_none());
    assert!(set.find(None, Algorithm::EdDsa).is_some(), "the only one");
    assert!(set.find(None, Algorithm::Es256).is_none(), "one of two");
    let set = parse(&json!({"keys": [anonymous]})).unwrap();
    assert!(set.find(Some("k1"), Algorithm::EdDsa).is_none());
}
