//! Digests, and tokens without their signatures.
//!
//! A token is verified by the gate, which tells the policy who calls; `io.jwt.decode` reads
//! claims of a token that something else has verified.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use postern_core::hex;
use regorus::Value;
use sha1::Sha1;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{Caches, Context, defined, text};

pub(super) fn sha256(args: &[Value], _: &mut Context, _: &mut Caches) -> Value {
    let [arg] = args else { return Value::Undefined };
    defined(text(arg).map(|text| hex::lower(&Sha256::digest(text))))
}

pub(super) fn sha1(args: &[Value], _: &mut Context, _: &mut Caches) -> Value {
    let [arg] = args else { return Value::Undefined };
    defined(text(arg).map(|text| hex::lower(&Sha1::digest(text))))
}

/// `crypto.hmac.sha256(message, key)`.
pub(super) fn hmac_sha256(args: &[Value], _: &mut Context, _: &mut Caches) -> Value {
    let [message, key] = args else { return Value::Undefined };
    let mac = text(message).zip(text(key)).and_then(|(message, key)| {
        let mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).ok()?;
        Some(hex::lower(&mac.chain_update(message).finalize().into_bytes()))
    });
    defined(mac)
}

/// Compares without telling by time where two texts differ.
pub(super) fn equal(args: &[Value], _: &mut Context, _: &mut Caches) -> Value {
    let [one, other] = args else { return Value::Undefined };
    let texts = text(one).zip(text(other));
    defined(texts.map(|(one, other)| bool::from(one.as_bytes().ct_eq(other.as_bytes()))))
}

/// `[header, claims, signature in hex]`, not verified.
pub(super) fn decode_jwt(args: &[Value], _: &mut Context, _: &mut Caches) -> Value {
    let [arg] = args else { return Value::Undefined };
    defined(text(arg).and_then(decoded))
}

fn decoded(token: &str) -> Option<Vec<Value>> {
    let parts: Vec<&str> = token.split('.').collect();
    let [header, claims, signature] = parts.as_slice() else { return None };
    let header = object(header)?;
    // An encrypted token has no claims to read.
    if header.as_object().is_ok_and(|header| header.get(&Value::from("enc")).is_some()) {
        return None;
    }
    let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
    Some(vec![header, object(claims)?, Value::from(hex::lower(&signature))])
}

fn object(part: &str) -> Option<Value> {
    let bytes = URL_SAFE_NO_PAD.decode(part).ok()?;
    let value = Value::from_json_str(str::from_utf8(&bytes).ok()?).ok()?;
    matches!(value, Value::Object(_)).then_some(value)
}
