//! What is outside the sealing: header, encapsulated key, ciphertext; and the strings
//! that tie inside and outside together.
//!
//! Owns the labels. Invariant: every label ends in a zero byte and no two are equal;
//! header, encapsulated key and evidence hash are all in the signature.

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::message::{Kind, Subject};
use crate::suite::{self, ENC};
use crate::wire::{Malformed, Reader, TooLong, Writer};

/// Protocol version.
pub const VERSION: u8 = 1;
/// Largest request or reply.
pub const MAX_BODY: usize = 64 * 1024;
/// Content type of requests and replies.
pub const CONTENT_TYPE: &str = "application/crp";
/// Bytes of the signature that ends a request's plaintext.
pub const SIGNATURE: usize = 64;

/// `HDR`: 12 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Type of the message.
    pub kind: Kind,
    /// First 8 bytes of SHA-256 of the key it is sealed to.
    pub kex_id: [u8; 8],
}

impl Header {
    /// Bytes of a header.
    pub const SIZE: usize = 12;

    /// The header of a message sealed to `kex`.
    pub fn new(kind: Kind, kex: &[u8; 32]) -> Self {
        Self { kind, kex_id: kex_id(kex) }
    }

    /// `u8 ver | u8 type | u16 suite | u8[8] kex_id`.
    pub fn bytes(&self) -> [u8; Self::SIZE] {
        let [high, low] = suite::ID.to_be_bytes();
        let [a, b, c, d, e, f, g, h] = self.kex_id;
        [VERSION, self.kind.request_code(), high, low, a, b, c, d, e, f, g, h]
    }
}

/// First 8 bytes of SHA-256 of an X25519 public key.
pub fn kex_id(kex: &[u8; 32]) -> [u8; 8] {
    let hash: [u8; 32] = Sha256::digest(kex).into();
    let [a, b, c, d, e, f, g, h, ..] = hash;
    [a, b, c, d, e, f, g, h]
}

/// A request's three parts.
pub struct Request<'a> {
    /// Header.
    pub header: Header,
    /// Encapsulated key.
    pub enc: [u8; ENC],
    /// Ciphertext.
    pub sealed: &'a [u8],
}

impl<'a> Request<'a> {
    /// Splits a body of at most [`MAX_BODY`] bytes; unknown version, type or suite and
    /// bytes left over are malformed.
    pub fn parse(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        let (version, code) = (reader.u8()?, reader.u8()?);
        let (suite, kex_id) = (reader.u16()?, reader.array()?);
        let kind = Kind::from_request_code(code).ok_or(Malformed)?;
        if version != VERSION || suite != suite::ID {
            return Err(Malformed);
        }
        let enc = reader.array()?;
        let sealed = reader.lp16()?;
        reader.end()?;
        Ok(Self { header: Header { kind, kex_id }, enc, sealed })
    }

    /// Puts a body together.
    pub fn bytes(&self) -> Result<Vec<u8>, TooLong> {
        let mut writer = Writer::new(self.sealed.len().saturating_add(64));
        writer.put(&self.header.bytes());
        writer.put(&self.enc);
        writer.lp16(self.sealed)?;
        bounded(&writer)
    }
}

/// A reply's parts.
pub struct Reply<'a> {
    /// Type of the message it answers.
    pub kind: Kind,
    /// Nonce of the message it answers.
    pub nonce: [u8; 16],
    /// Encapsulated key.
    pub enc: [u8; ENC],
    /// Ciphertext.
    pub sealed: &'a [u8],
}

impl<'a> Reply<'a> {
    /// Splits a body.
    pub fn parse(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        let (version, code) = (reader.u8()?, reader.u8()?);
        let kind = code.checked_sub(0x80).and_then(Kind::from_request_code).ok_or(Malformed)?;
        if version != VERSION || body.len() > MAX_BODY {
            return Err(Malformed);
        }
        let (nonce, enc) = (reader.array()?, reader.array()?);
        let sealed = reader.lp16()?;
        reader.end()?;
        Ok(Self { kind, nonce, enc, sealed })
    }

    /// Puts a body together.
    pub fn bytes(&self) -> Result<Vec<u8>, TooLong> {
        let mut writer = Writer::new(self.sealed.len().saturating_add(64));
        writer.u8(VERSION);
        writer.u8(self.kind.reply_code());
        writer.put(&self.nonce);
        writer.put(&self.enc);
        writer.lp16(self.sealed)?;
        bounded(&writer)
    }
}

fn bounded(writer: &Writer) -> Result<Vec<u8>, TooLong> {
    let bytes = writer.bytes();
    if bytes.len() > MAX_BODY { Err(TooLong) } else { Ok(bytes.to_vec()) }
}

/// HPKE `info` of a request: `"crp/1 req\0" || SHA-256(R)`.
pub fn request_info(runtime_hash: &[u8; 32]) -> Vec<u8> {
    [b"crp/1 req\0".as_slice(), runtime_hash].concat()
}

/// HPKE `info` of a reply: `"crp/1 resp\0" || SHA-256(request body)`.
pub fn reply_info(request_hash: &[u8; 32]) -> Vec<u8> {
    [b"crp/1 resp\0".as_slice(), request_hash].concat()
}

/// Associated data of a reply; the asker rebuilds it from its own question.
pub(crate) fn reply_aad(
    tenant: &str,
    subject: &Subject,
    nonce: &[u8; 16],
) -> Result<Vec<u8>, TooLong> {
    let mut writer = Writer::new(512);
    writer.put(b"crp/1 aad\0");
    for text in [tenant, &subject.agent, &subject.credential, &subject.host] {
        writer.lp8(text.as_bytes())?;
    }
    writer.put(nonce);
    Ok(writer.bytes().to_vec())
}

/// What is signed: `"crp/1 <type>\0" || HDR || enc || SHA-256(R) || P without sig`.
pub fn signed(
    header: &Header,
    enc: &[u8; ENC],
    runtime_hash: &[u8; 32],
    unsigned: &[u8],
) -> Zeroizing<Vec<u8>> {
    let mut writer = Writer::new(unsigned.len().saturating_add(128));
    writer.put(b"crp/1 ");
    writer.put(header.kind.name().as_bytes());
    writer.u8(0);
    writer.put(&header.bytes());
    writer.put(enc);
    writer.put(runtime_hash);
    writer.put(unsigned);
    writer.finish()
}
