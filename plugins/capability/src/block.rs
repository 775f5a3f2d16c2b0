//! A block: COSE_Sign1 (RFC 9052, 4.2) with nothing in it that a token does not need.
//!
//! Invariant: the claims of a block are decoded by [`Block::open`] alone, after its
//! signature over the received bytes was verified.

#[cfg(any(test, feature = "mint"))]
use coset::CoseSign1Builder;
use coset::iana::Algorithm;
use coset::{AsCborValue, CoseSign1, Header, HeaderBuilder, ProtectedHeader};
use sha2::{Digest, Sha256};

use crate::cbor;
use crate::claims::Claims;
use crate::form;
use crate::key::{PublicKey, Signatures};
use crate::refusal::Refusal;

/// Keeps blocks apart from every other COSE message (`external_aad`).
pub const LABEL: &[u8] = b"postern capability/1";

/// A block as received, of which nothing is known to be true.
pub struct Block {
    message: CoseSign1,
    signature: [u8; 64],
    key_id: Option<String>,
    digest: [u8; 32],
}

impl Block {
    /// Reads a block; only the first one names a key.
    pub fn parse(bytes: &[u8], first: bool) -> Result<Self, Refusal> {
        let value = cbor::decode(bytes).ok_or(Refusal::Encoding)?;
        let message = CoseSign1::from_cbor_value(value).map_err(|_| Refusal::Structure)?;
        let key_id = key_id(&message, first)?;
        let signature = message.signature.as_slice().try_into();
        let signature = signature.map_err(|_| Refusal::Structure)?;
        Ok(Self { message, signature, key_id, digest: Sha256::digest(bytes).into() })
    }

    /// The key id of a first block.
    pub fn key_id(&self) -> Option<&str> {
        self.key_id.as_deref()
    }

    /// SHA-256 of the received bytes, which the next block repeats.
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// The claims, if `key` has signed them.
    pub fn open(&self, key: &PublicKey, signatures: &impl Signatures) -> Result<Claims, Refusal> {
        let signed = self.message.tbs_data(LABEL);
        if !signatures.hold(key, &signed, &self.signature) {
            return Err(Refusal::Signature);
        }
        self.claims()
    }

    /// The claims, whoever has signed them.
    pub(crate) fn claims(&self) -> Result<Claims, Refusal> {
        Claims::decode(self.message.payload.as_deref().ok_or(Refusal::Structure)?)
    }
}

/// Checks both headers.
fn key_id(message: &CoseSign1, first: bool) -> Result<Option<String>, Refusal> {
    let ProtectedHeader { original_data, header } = &message.protected;
    let received = original_data.as_deref().ok_or(Refusal::Header)?;
    cbor::decode(received).ok_or(Refusal::Encoding)?;
    let id = String::from_utf8(header.key_id.clone()).map_err(|_| Refusal::Header)?;
    let placed = if first { form::key_id(&id) } else { id.is_empty() };
    if !placed || *header != self::header(&id) || !message.unprotected.is_empty() {
        return Err(Refusal::Header);
    }
    Ok(first.then_some(id))
}

/// The protected header of a block; `key_id` is empty but in the first.
fn header(key_id: &str) -> Header {
    HeaderBuilder::new().algorithm(Algorithm::EdDSA).key_id(key_id.as_bytes().to_vec()).build()
}

/// A block with these claims, signed by `sign`.
#[cfg(any(test, feature = "mint"))]
pub(crate) fn seal(
    key_id: Option<&str>,
    payload: Vec<u8>,
    sign: impl FnOnce(&[u8]) -> Vec<u8>,
) -> Option<Vec<u8>> {
    let message = CoseSign1Builder::new()
        .protected(header(key_id.unwrap_or_default()))
        .payload(payload)
        .create_signature(LABEL, sign)
        .build();
    cbor::encode(&message.to_cbor_value().ok()?)
}
