//! Signatures and blocks that nobody honest makes, for tokens of scenarios.
//!
//! Owns the arithmetic and the encodings; no code of the verifiers is used. Invariant: what is
//! not said to be wrong is right, so that the flaw alone decides.

use anyhow::{Context, Result, bail};
use ed25519_dalek::{Signer, SigningKey};
use serde::Deserialize;

/// The order of the base point of edwards25519, little-endian (RFC 8032, 5.1).
const ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];
/// The neutral point: as a key, and with it as `R` and 0 as `S`, everything is signed to those
/// who multiply by the cofactor.
pub const NEUTRAL: [u8; 32] = {
    let mut bytes = [0; 32];
    bytes[0] = 1;
    bytes
};
/// The order of P-256, big-endian (SP 800-186, 3.2.1.3).
const N: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6,
    0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

/// A signature changed as `how` says.
pub fn changed(signature: &[u8], how: &str) -> Result<Vec<u8>> {
    let (first, last) = signature.split_at_checked(32).context("a signature of 64 bytes")?;
    Ok(match how {
        "plus_order" => [first, &plus_order(last)].concat(),
        "neutral" => [NEUTRAL, [0; 32]].concat(),
        "r_zero" => [&[0; 32], last].concat(),
        "s_zero" => [first, &[0; 32]].concat(),
        "r_order" => [&N[..], last].concat(),
        "s_order" => [first, &N[..]].concat(),
        "der" => der(first, last),
        "short" => signature.iter().copied().take(63).collect(),
        "long" => [signature, &[0]].concat(),
        _ => bail!("unknown change of a signature {how:?}"),
    })
}

/// `S` plus the order: the same signature to those who do not look at its range.
fn plus_order(scalar: &[u8]) -> Vec<u8> {
    let mut carry = 0_u16;
    let digit = |(one, other): (&u8, &u8)| {
        let sum = u16::from(*one).wrapping_add(u16::from(*other)).wrapping_add(carry);
        carry = sum >> 8;
        sum.to_le_bytes()[0]
    };
    scalar.iter().zip(&ORDER).map(digit).collect()
}

/// As X.509 has it, and JWS has not.
fn der(r: &[u8], s: &[u8]) -> Vec<u8> {
    let integer = |number: &[u8]| {
        let skip = number.iter().take_while(|byte| **byte == 0).count();
        let mut digits = number.get(skip..).unwrap_or_default().to_vec();
        if digits.first().is_none_or(|byte| byte & 0x80 != 0) {
            digits.insert(0, 0);
        }
        [&[2, short(digits.len())], digits.as_slice()].concat()
    };
    let both = [integer(r), integer(s)].concat();
    [&[0x30, short(both.len())], both.as_slice()].concat()
}

fn short(length: usize) -> u8 {
    u8::try_from(length).unwrap_or(u8::MAX)
}

/// What is wrong with the last block of a capability token.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Flaw {
    /// Claims behind the others, label and value in hexadecimal.
    pub more: Vec<String>,
    /// How its signature is changed.
    pub signature: Option<String>,
}

/// A block (COSE_Sign1) of these claims and some more, signed.
pub fn block(
    key_id: Option<&str>,
    claims: &[u8],
    flaw: &Flaw,
    key: &SigningKey,
) -> Result<Vec<u8>> {
    let (first, entries) = claims.split_first().context("claims")?;
    let count = first.checked_sub(0xa0).filter(|count| *count < 24).context("a short map")?;
    let mut payload = head(5, usize::from(count).saturating_add(flaw.more.len()));
    payload.extend(entries);
    for more in &flaw.more {
        payload.extend(crate::template::bytes(more)?);
    }
    let protected = match key_id {
        Some(id) => [&[0xa2, 1, 0x27, 4], bytes(id.as_bytes()).as_slice()].concat(),
        None => vec![0xa1, 1, 0x27],
    };
    let context = [head(3, 10), b"Signature1".to_vec()].concat();
    let label = bytes(b"postern capability/1");
    let (protected, payload) = (bytes(&protected), bytes(&payload));
    let signed = [head(4, 4), context, protected.clone(), label, payload.clone()].concat();
    let signature = key.sign(&signed).to_bytes();
    let signature = match &flaw.signature {
        Some(how) => changed(&signature, how)?,
        None => signature.to_vec(),
    };
    Ok([head(4, 4), protected, head(5, 0), payload, bytes(&signature)].concat())
}

/// An array of byte strings.
pub fn chain(blocks: &[Vec<u8>]) -> Vec<u8> {
    let items = blocks.iter().flat_map(|block| bytes(block));
    head(4, blocks.len()).into_iter().chain(items).collect()
}

fn bytes(content: &[u8]) -> Vec<u8> {
    [head(2, content.len()), content.to_vec()].concat()
}

/// The shortest head of a major type and a number below 65536 (RFC 8949, 3).
fn head(major: u8, number: usize) -> Vec<u8> {
    let major = major << 5;
    match (u8::try_from(number), u16::try_from(number)) {
        (Ok(small @ 0..24), _) => vec![major | small],
        (Ok(byte), _) => vec![major | 24, byte],
        (_, Ok(two)) => [&[major | 25], two.to_be_bytes().as_slice()].concat(),
        _ => Vec::new(),
    }
}
