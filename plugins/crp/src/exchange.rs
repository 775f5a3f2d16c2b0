//! The asking half: a question in, a sealed body out, the reply opened.
//!
//! Knows no transport and no cache. Invariant: an [`Awaiting`] opens the reply to its
//! own request and no other, and the keys that could are wiped with it.

use postern_core::time::UnixMillis;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::envelope::{self, Header, MAX_BODY, SIGNATURE};
use crate::evidence::Evidence;
use crate::identity::Identity;
use crate::message::{Answer, Kind, Message};
use crate::padding;
use crate::suite::{KeyPair, Psk, Randomness, ReplyBinding, Sender, open_psk};
use crate::wire::{Malformed, Reader, TooLong, Writer};

/// The head and tail that all plaintexts share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Who asks.
    pub gateway_id: [u8; 16],
    /// When.
    pub at: UnixMillis,
    /// Request id.
    pub nonce: [u8; 16],
    /// Public key the reply is sealed to.
    pub reply_key: [u8; 32],
    /// Tenant of the asker.
    pub tenant: String,
    /// The least credential version that is accepted; 0 for any.
    pub min_version: u32,
}

/// No flag is defined; a set one may be a restriction, so it is refused.
const FLAGS: u16 = 0;

impl Head {
    fn encode(&self, message: &Message, writer: &mut Writer) -> Result<(), TooLong> {
        writer.put(&self.gateway_id);
        writer.u64(self.at.0);
        writer.put(&self.nonce);
        writer.put(&self.reply_key);
        writer.lp8(self.tenant.as_bytes())?;
        message.encode(writer)?;
        writer.u32(self.min_version);
        writer.u16(FLAGS);
        padding::pad(writer, padding::REQUEST_BLOCK);
        Ok(())
    }

    pub(crate) fn decode(
        kind: Kind,
        plain: &[u8],
    ) -> Result<(Self, Message, [u8; SIGNATURE]), Malformed> {
        let unsigned_length = plain.len().checked_sub(SIGNATURE).ok_or(Malformed)?;
        let mut whole = Reader::new(plain);
        let unsigned = whole.take(unsigned_length)?;
        let signature = whole.array()?;
        let mut reader = Reader::new(unsigned);
        let mut head = Self {
            gateway_id: reader.array()?,
            at: UnixMillis(reader.u64()?),
            nonce: reader.array()?,
            reply_key: reader.array()?,
            tenant: reader.text8()?,
            min_version: 0,
        };
        let message = Message::decode(kind, &mut reader)?;
        head.min_version = reader.u32()?;
        if reader.u16()? != FLAGS {
            return Err(Malformed);
        }
        padding::check(reader.rest(), unsigned.len(), padding::REQUEST_BLOCK)?;
        Ok((head, message, signature))
    }
}

/// Who asks, from where, when.
pub struct Asker<'a> {
    /// Signs.
    pub identity: &'a Identity,
    /// Zeros in an enrolment.
    pub gateway_id: [u8; 16],
    /// Empty in an enrolment.
    pub tenant: &'a str,
    /// By the asker's clock.
    pub now: UnixMillis,
}

/// A question cannot be sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// The question does not fit.
    #[error(transparent)]
    TooLong(#[from] TooLong),
    /// The evidence's key is not usable.
    #[error("key of the evidence is not usable")]
    Key,
}

/// Signs and seals `message` to the key of `evidence`. `seed` is used up: the same
/// seed must never seal two messages. Draws from it, in order: nonce (16), reply key
/// (32), ephemeral key (32).
pub fn ask(
    evidence: &Evidence,
    asker: &Asker<'_>,
    message: &Message,
    seed: &[u8; 32],
) -> Result<(Vec<u8>, Awaiting), AskError> {
    let mut random = Randomness::new(seed);
    let nonce = *random.draw::<16>();
    let reply_keys = KeyPair::derive(&random.draw::<32>());
    let head = Head {
        gateway_id: asker.gateway_id,
        at: asker.now,
        nonce,
        reply_key: *reply_keys.public(),
        tenant: asker.tenant.to_owned(),
        min_version: 0,
    };
    let (body, psk) = seal(evidence, asker.identity, &head, message, &mut random)?;
    let aad = envelope::reply_aad(asker.tenant, &message.subject(), &nonce)?;
    let request_hash = Sha256::digest(&body).into();
    let kind = message.kind();
    Ok((body, Awaiting { kind, nonce, request_hash, reply_keys, psk, aad }))
}

/// `HDR | enc | lp16 ct`, the signature inside.
fn seal(
    evidence: &Evidence,
    identity: &Identity,
    head: &Head,
    message: &Message,
    random: &mut Randomness,
) -> Result<(Vec<u8>, Psk), AskError> {
    let header = Header::new(message.kind(), evidence.kex());
    let info = envelope::request_info(evidence.runtime_hash());
    let sender = Sender::base(evidence.kex(), &info, random).map_err(|_| AskError::Key)?;
    let enc = *sender.enc();
    let mut plain = Writer::new(MAX_BODY);
    head.encode(message, &mut plain)?;
    let signed = envelope::signed(&header, &enc, evidence.runtime_hash(), plain.bytes());
    plain.put(&identity.sign(&signed));
    let (sealed, psk) = sender.seal(&header.bytes(), plain.bytes()).map_err(|_| AskError::Key)?;
    Ok((envelope::Request { header, enc, sealed: &sealed }.bytes()?, psk))
}

/// What opens the reply to one request.
pub struct Awaiting {
    kind: Kind,
    nonce: [u8; 16],
    request_hash: [u8; 32],
    reply_keys: KeyPair,
    psk: Psk,
    aad: Vec<u8>,
}

/// A body that is not the sealed reply to our request. Says no more on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("reply is not authentic")]
pub struct NotAuthentic;

impl Awaiting {
    /// Opens the reply.
    pub fn open(&self, body: &[u8]) -> Result<Answer, NotAuthentic> {
        let plain = self.open_bytes(body)?;
        Answer::decode(self.kind, &plain).map_err(|_| NotAuthentic)
    }

    pub(crate) fn open_bytes(&self, body: &[u8]) -> Result<Zeroizing<Vec<u8>>, NotAuthentic> {
        let reply = envelope::Reply::parse(body).map_err(|_| NotAuthentic)?;
        if reply.kind != self.kind || reply.nonce != self.nonce {
            return Err(NotAuthentic);
        }
        let binding = ReplyBinding {
            info: &envelope::reply_info(&self.request_hash),
            psk: &self.psk,
            psk_id: &self.nonce,
            aad: &self.aad,
        };
        open_psk(&self.reply_keys, &reply.enc, &binding, reply.sealed).map_err(|_| NotAuthentic)
    }
}
