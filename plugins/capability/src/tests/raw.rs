//! Blocks that no honest minter would make: every part can be replaced.

use ed25519_dalek::{Signer, SigningKey};

use super::fixture::{self, KEY_ID};
use crate::block::LABEL;
use crate::cbor::{self, Value};
use crate::claims::Claims;
use crate::mint;

/// The parts of one block. Everything but the signature is made by hand.
#[derive(Clone)]
pub struct Raw {
    pub protected: Vec<u8>,
    pub unprotected: Value,
    pub payload: Vec<u8>,
    pub label: Vec<u8>,
    pub context: &'static str,
}

pub fn encode(value: &Value) -> Vec<u8> {
    cbor::encode(value).unwrap()
}

pub fn map(entries: &[(i64, Value)]) -> Value {
    Value::Map(entries.iter().map(|(key, value)| (Value::from(*key), value.clone())).collect())
}

/// The value of a set of claims, to be changed.
pub fn entries(claims: &Claims) -> Vec<(i64, Value)> {
    let value = cbor::decode(&claims.encode().unwrap()).unwrap();
    let entries = value.into_map().unwrap();
    entries
        .into_iter()
        .map(|(key, value)| (i64::try_from(key.into_integer().unwrap()).unwrap(), value))
        .collect()
}

/// Claims with one replaced or added, in order.
pub fn with(claims: &Claims, label: i64, value: Value) -> Vec<u8> {
    let mut entries = entries(claims);
    entries.retain(|(key, _)| *key != label);
    entries.push((label, value));
    entries.sort_by_key(|(key, _)| encode(&Value::from(*key)));
    encode(&map(&entries))
}

/// Claims without one.
pub fn without(claims: &Claims, label: i64) -> Vec<u8> {
    let mut entries = entries(claims);
    entries.retain(|(key, _)| *key != label);
    encode(&map(&entries))
}

impl Raw {
    pub fn first(payload: Vec<u8>) -> Self {
        let header = [(1, Value::from(-8)), (4, Value::Bytes(KEY_ID.into()))];
        Self::under(encode(&map(&header)), payload)
    }

    pub fn further(payload: Vec<u8>) -> Self {
        Self::under(encode(&map(&[(1, Value::from(-8))])), payload)
    }

    pub fn under(protected: Vec<u8>, payload: Vec<u8>) -> Self {
        let unprotected = Value::Map(Vec::new());
        Self { protected, unprotected, payload, label: LABEL.to_vec(), context: "Signature1" }
    }

    pub fn signed(&self) -> Vec<u8> {
        encode(&Value::Array(vec![
            Value::from(self.context),
            Value::Bytes(self.protected.clone()),
            Value::Bytes(self.label.clone()),
            Value::Bytes(self.payload.clone()),
        ]))
    }

    pub fn value(&self, signature: Vec<u8>) -> Value {
        Value::Array(vec![
            Value::Bytes(self.protected.clone()),
            self.unprotected.clone(),
            Value::Bytes(self.payload.clone()),
            Value::Bytes(signature),
        ])
    }

    pub fn seal(&self, key: &SigningKey) -> Vec<u8> {
        encode(&self.value(key.sign(&self.signed()).to_bytes().to_vec()))
    }

    /// As a token of one block.
    pub fn token(&self) -> String {
        text(&[self.seal(&fixture::key(0))])
    }
}

/// The text of blocks, whatever they are.
pub fn text(blocks: &[Vec<u8>]) -> String {
    mint::text(&encode(&Value::Array(blocks.iter().cloned().map(Value::Bytes).collect())))
}
