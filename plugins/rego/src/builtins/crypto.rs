//! Digests, and codes made of a digest and a key.

use hmac::{Hmac, KeyInit, Mac};
use md5::Md5;
use postern_core::hex;
use regorus::Value;
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};
use subtle::ConstantTimeEq;

use super::{Caches, Context, defined, text};

macro_rules! digests {
    ($($call:ident $hash:ty),+ $(,)?) => {
        $(
            pub(super) fn $call(args: &[Value], _: &mut Context, _: &mut Caches) -> Value {
                let [arg] = args else { return Value::Undefined };
                defined(text(arg).map(|text| hex::lower(&<$hash>::digest(text))))
            }
        )+
    };
}

digests! {
    md5 Md5,
    sha1 Sha1,
    sha256 Sha256,
}

/// Of a message and a key.
macro_rules! codes {
    ($($call:ident $hash:ty),+ $(,)?) => {
        $(
            pub(super) fn $call(args: &[Value], _: &mut Context, _: &mut Caches) -> Value {
                let [Value::String(message), Value::String(key)] = args else {
                    return Value::Undefined;
                };
                let mac = Hmac::<$hash>::new_from_slice(key.as_bytes()).ok();
                let mac = mac.map(|mac| mac.chain_update(message.as_bytes()).finalize());
                defined(mac.map(|mac| hex::lower(&mac.into_bytes())))
            }
        )+
    };
}

codes! {
    hmac_md5 Md5,
    hmac_sha1 Sha1,
    hmac_sha256 Sha256,
    hmac_sha512 Sha512,
}

/// Compares without telling by time where two texts differ.
pub(super) fn equal(args: &[Value], _: &mut Context, _: &mut Caches) -> Value {
    let [one, other] = args else { return Value::Undefined };
    let texts = text(one).zip(text(other));
    defined(texts.map(|(one, other)| bool::from(one.as_bytes().ct_eq(other.as_bytes()))))
}
