//! The answering half: a body in, a question out, a sealed reply back.
//!
//! Pure: knows no store, clock or network. Invariant: a question can be read only
//! from a [`Verified`], which only a good signature and a timely clock make; an answer
//! other than a refusal can be sealed only for a [`Verified`].

use postern_core::time::{Entropy, UnixMillis};
use sha2::{Digest, Sha256};

use crate::envelope::{self, Header, MAX_BODY};
use crate::exchange::Head;
use crate::identity;
use crate::message::{Answer, Kind, Message, Receipt, Status, release};
use crate::suite::{self, KeyPair, Psk, Randomness, ReplyBinding};
use crate::wire::{TooLong, Writer};

/// How far a request's time may be from ours, both ways, in milliseconds.
pub const SKEW_MS: u64 = 60_000;

/// One epoch's key and the runtime data that speaks for it.
pub struct EpochKey {
    keys: KeyPair,
    runtime: Vec<u8>,
    runtime_hash: [u8; 32],
    id: [u8; 8],
}

impl EpochKey {
    /// `ikm` makes the key pair ([`KeyPair::derive`]); `runtime` are the exact bytes
    /// of R, as served in the evidence.
    pub fn new(keys: KeyPair, runtime: Vec<u8>) -> Self {
        let runtime_hash = Sha256::digest(&runtime).into();
        let id = envelope::kex_id(keys.public());
        Self { keys, runtime, runtime_hash, id }
    }

    /// The public key.
    pub fn public(&self) -> &[u8; 32] {
        self.keys.public()
    }

    /// R.
    pub fn runtime(&self) -> &[u8] {
        &self.runtime
    }
}

/// Answers in clear; nothing else is ever answered in clear.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClearError {
    /// Not an envelope that opens, or a plaintext that is malformed.
    #[error("bad envelope")]
    Envelope,
    /// Sealed to a key this service does not hold.
    #[error("unknown key")]
    UnknownKey,
    /// Larger than [`MAX_BODY`].
    #[error("too large")]
    TooLarge,
}

impl ClearError {
    /// The HTTP status; the content is empty.
    pub fn status(self) -> u16 {
        match self {
            Self::Envelope => 400,
            Self::UnknownKey => 409,
            Self::TooLarge => 413,
        }
    }
}

/// Opens a request sealed to one of `keys`.
pub fn open(body: &[u8], keys: &[&EpochKey]) -> Result<Opened, ClearError> {
    if body.len() > MAX_BODY {
        return Err(ClearError::TooLarge);
    }
    let request = envelope::Request::parse(body).map_err(|_| ClearError::Envelope)?;
    let header = request.header;
    let key = keys.iter().find(|key| key.id == header.kex_id).ok_or(ClearError::UnknownKey)?;
    let info = envelope::request_info(&key.runtime_hash);
    let (plain, psk) =
        suite::open_base(&key.keys, &request.enc, &info, &header.bytes(), request.sealed)
            .map_err(|_| ClearError::Envelope)?;
    let (head, message, signature) =
        Head::decode(header.kind, &plain).map_err(|_| ClearError::Envelope)?;
    let unsigned_length = plain.len().saturating_sub(envelope::SIGNATURE);
    let unsigned = plain.get(..unsigned_length).ok_or(ClearError::Envelope)?;
    let signed = envelope::signed(&header, &request.enc, &key.runtime_hash, unsigned);
    let aad = envelope::reply_aad(&head.tenant, &message.subject(), &head.nonce)
        .map_err(|_| ClearError::Envelope)?;
    let reply = ReplyContext { request_hash: Sha256::digest(body).into(), psk, aad };
    Ok(Opened { header, head, message, signed, signature, reply })
}

/// What a reply is tied to.
struct ReplyContext {
    request_hash: [u8; 32],
    psk: Psk,
    aad: Vec<u8>,
}

/// A request that opened; who sent it is not known yet.
pub struct Opened {
    header: Header,
    head: Head,
    message: Message,
    signed: zeroize::Zeroizing<Vec<u8>>,
    signature: [u8; 64],
    reply: ReplyContext,
}

impl Opened {
    /// Type of the message: with the gateway id, it says whose key must have signed.
    pub fn kind(&self) -> Kind {
        self.header.kind
    }

    /// Who it says it is from; zeros in an enrolment.
    pub fn gateway_id(&self) -> &[u8; 16] {
        &self.head.gateway_id
    }

    /// The tenant it names; empty in an enrolment.
    pub fn tenant(&self) -> &str {
        &self.head.tenant
    }

    /// The key an enrolment brings, by which it must be signed.
    pub fn enrolling_key(&self) -> Option<[u8; 32]> {
        match &self.message {
            Message::Enrol(request) => Some(request.public_key),
            _ => None,
        }
    }

    /// Checks signature, then time. On failure the request comes back, to be refused.
    pub fn verify(self, public_key: &[u8; 32], now: UnixMillis) -> Result<Verified, Box<Refused>> {
        if !identity::verify(public_key, &self.signed, &self.signature) {
            return Err(Box::new(Refused { opened: self, reason: Reason::Signature }));
        }
        if now.0.abs_diff(self.head.at.0) > SKEW_MS {
            return Err(Box::new(Refused { opened: self, reason: Reason::Clock }));
        }
        Ok(Verified { opened: self })
    }

    /// A sealed refusal.
    pub fn deny(
        &self,
        status: Status,
        receipt: Receipt,
        entropy: &Entropy,
    ) -> Result<Vec<u8>, SealError> {
        let answer = match &self.message {
            Message::Release(request) => {
                Answer::Release(release::Answer::refused(status, request.binding_hash, receipt))
            }
            _ => Answer::Denied(status),
        };
        self.seal(&answer, entropy)
    }

    fn seal(&self, answer: &Answer, entropy: &Entropy) -> Result<Vec<u8>, SealError> {
        if !answer.answers(self.kind()) {
            return Err(SealError::WrongAnswer);
        }
        let mut writer = Writer::new(MAX_BODY);
        answer.encode(&mut writer)?;
        let binding = ReplyBinding {
            info: &envelope::reply_info(&self.reply.request_hash),
            psk: &self.reply.psk,
            psk_id: &self.head.nonce,
            aad: &self.reply.aad,
        };
        let mut random = Randomness::new(&entropy.0);
        let (enc, sealed) =
            suite::seal_psk(&self.head.reply_key, &binding, writer.bytes(), &mut random)
                .map_err(|_| SealError::ReplyKey)?;
        let reply =
            envelope::Reply { kind: self.kind(), nonce: self.head.nonce, enc, sealed: &sealed };
        Ok(reply.bytes()?)
    }
}

/// Why a request was not verified. For the audit log; the reply says only "denied".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Not signed by the key given, or not strictly.
    Signature,
    /// More than [`SKEW_MS`] from our time.
    Clock,
}

/// A request that is not to be served.
pub struct Refused {
    /// It can still be answered with [`Opened::deny`].
    pub opened: Opened,
    /// What was wrong.
    pub reason: Reason,
}

/// A request whose sender and time are good. Whether it is a replay is for the
/// service's nonce table to say, and comes next.
pub struct Verified {
    opened: Opened,
}

impl Verified {
    /// Type of the message.
    pub fn kind(&self) -> Kind {
        self.opened.kind()
    }

    /// Who sent it; zeros in an enrolment.
    pub fn gateway_id(&self) -> &[u8; 16] {
        self.opened.gateway_id()
    }

    /// The sender's tenant; empty in an enrolment.
    pub fn tenant(&self) -> &str {
        self.opened.tenant()
    }

    /// Request id; to be stored with the gateway id until [`Verified::nonce_until`].
    pub fn nonce(&self) -> &[u8; 16] {
        &self.opened.head.nonce
    }

    /// A replay after this fails by its time alone.
    pub fn nonce_until(&self) -> UnixMillis {
        UnixMillis(self.opened.head.at.0.saturating_add(SKEW_MS).saturating_add(1000))
    }

    /// The least credential version the asker accepts; 0 for any.
    pub fn min_version(&self) -> u32 {
        self.opened.head.min_version
    }

    /// The question.
    pub fn message(&self) -> &Message {
        &self.opened.message
    }

    /// Seals the answer. `entropy` must be fresh: it makes the reply's key.
    pub fn seal(&self, answer: &Answer, entropy: &Entropy) -> Result<Vec<u8>, SealError> {
        self.opened.seal(answer, entropy)
    }

    /// A sealed refusal.
    pub fn deny(
        &self,
        status: Status,
        receipt: Receipt,
        entropy: &Entropy,
    ) -> Result<Vec<u8>, SealError> {
        self.opened.deny(status, receipt, entropy)
    }
}

/// A reply that cannot be made. The caller answers 503, or 400 for
/// [`SealError::ReplyKey`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The answer is not one to this type of message.
    #[error("answer does not belong to the question")]
    WrongAnswer,
    /// The answer does not fit.
    #[error(transparent)]
    TooLong(#[from] TooLong),
    /// The asker's reply key is not usable (a small-order point).
    #[error("reply key is not usable")]
    ReplyKey,
}
