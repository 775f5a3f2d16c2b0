//! The seven message types: what is asked (inside `P`) and what is answered (inside
//! `P2`). One file each.
//!
//! Owns the types' numbers, names and roles and the statuses. Knows no cryptography.
//! Invariant: one encoding for each value; a decoder refuses every other.

pub mod approval;
pub mod audit;
pub mod directory;
pub mod enrol;
pub mod exchange;
pub mod release;
pub mod store;

use crate::identity::Role;
use crate::padding;
use crate::wire::{Malformed, Reader, TooLong, Writer};

/// Type of a message, `u8` in the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Release of a credential value.
    Release,
    /// Enrolment of an identity.
    Enrol,
    /// Look-up of API keys by id.
    Directory,
    /// Storing of a credential value.
    Store,
    /// Delivery of audit records.
    Audit,
    /// Exchange of an invite for a capability token.
    Exchange,
    /// A question for an approval.
    Approval,
}

impl Kind {
    const ALL: [Self; 7] = [
        Self::Release,
        Self::Enrol,
        Self::Directory,
        Self::Store,
        Self::Audit,
        Self::Exchange,
        Self::Approval,
    ];

    /// The number of a request of this type.
    pub fn request_code(self) -> u8 {
        match self {
            Self::Release => 1,
            Self::Enrol => 2,
            Self::Directory => 3,
            Self::Store => 4,
            Self::Audit => 5,
            Self::Exchange => 6,
            Self::Approval => 7,
        }
    }

    /// The number of a reply of this type.
    pub fn reply_code(self) -> u8 {
        0x80 | self.request_code()
    }

    /// The type of a request's number.
    pub fn from_request_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.request_code() == code)
    }

    /// Name, as in the signature's label.
    pub fn name(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Enrol => "enrol",
            Self::Directory => "directory",
            Self::Store => "store",
            Self::Audit => "audit",
            Self::Exchange => "exchange",
            Self::Approval => "approval",
        }
    }

    /// Whether an identity of `role` may send it. An enrolment is signed by the key it
    /// brings, so every role may.
    pub fn allows(self, role: Role) -> bool {
        match self {
            Self::Release => role == Role::Credential,
            Self::Enrol => true,
            Self::Directory | Self::Exchange | Self::Approval => role == Role::Gate,
            Self::Store => matches!(role, Role::Operator | Role::Credential),
            Self::Audit => role == Role::Audit,
        }
    }
}

/// First byte of every answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// Done.
    Ok,
    /// Not for this identity, or a replay.
    Denied,
    /// No such credential.
    UnknownCredential,
    /// An approval has to be given first.
    NeedsApproval,
    /// A passkey has to be used first.
    NeedsPasskey,
    /// Revoked.
    Revoked,
    /// Past its end.
    Expired,
    /// The service cannot reach its key-encryption key, or the vault that keeps the value.
    KekUnavailable,
    /// Too much asked.
    Rate,
    /// The stored version is not the expected one.
    VersionConflict,
}

impl Status {
    const ALL: [Self; 10] = [
        Self::Ok,
        Self::Denied,
        Self::UnknownCredential,
        Self::NeedsApproval,
        Self::NeedsPasskey,
        Self::Revoked,
        Self::Expired,
        Self::KekUnavailable,
        Self::Rate,
        Self::VersionConflict,
    ];

    /// As written.
    pub fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Denied => 1,
            Self::UnknownCredential => 2,
            Self::NeedsApproval => 3,
            Self::NeedsPasskey => 4,
            Self::Revoked => 5,
            Self::Expired => 6,
            Self::KekUnavailable => 7,
            Self::Rate => 8,
            Self::VersionConflict => 9,
        }
    }

    /// The status of a code.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.code() == code)
    }
}

/// What is asked.
pub enum Message {
    /// Type 1.
    Release(release::Request),
    /// Type 2.
    Enrol(enrol::Request),
    /// Type 3.
    Directory(directory::Request),
    /// Type 4.
    Store(store::Request),
    /// Type 5.
    Audit(audit::Request),
    /// Type 6.
    Exchange(exchange::Request),
    /// Type 7.
    Approval(approval::Request),
}

impl Message {
    /// Its type.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Release(_) => Kind::Release,
            Self::Enrol(_) => Kind::Enrol,
            Self::Directory(_) => Kind::Directory,
            Self::Store(_) => Kind::Store,
            Self::Audit(_) => Kind::Audit,
            Self::Exchange(_) => Kind::Exchange,
            Self::Approval(_) => Kind::Approval,
        }
    }

    pub(crate) fn encode(&self, writer: &mut Writer) -> Result<(), TooLong> {
        match self {
            Self::Release(request) => request.encode(writer),
            Self::Enrol(request) => request.encode(writer),
            Self::Directory(request) => request.encode(writer),
            Self::Store(request) => request.encode(writer),
            Self::Audit(request) => request.encode(writer),
            Self::Exchange(request) => request.encode(writer),
            Self::Approval(request) => request.encode(writer),
        }
    }

    pub(crate) fn decode(kind: Kind, reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(match kind {
            Kind::Release => Self::Release(release::Request::decode(reader)?),
            Kind::Enrol => Self::Enrol(enrol::Request::decode(reader)?),
            Kind::Directory => Self::Directory(directory::Request::decode(reader)?),
            Kind::Store => Self::Store(store::Request::decode(reader)?),
            Kind::Audit => Self::Audit(audit::Request::decode(reader)?),
            Kind::Exchange => Self::Exchange(exchange::Request::decode(reader)?),
            Kind::Approval => Self::Approval(approval::Request::decode(reader)?),
        })
    }

    /// What the reply's associated data names beside the tenant.
    pub(crate) fn subject(&self) -> Subject {
        match self {
            Self::Release(request) => Subject {
                agent: request.agent.clone(),
                credential: request.credential.clone(),
                host: request.host.clone(),
            },
            Self::Store(request) => {
                Subject { credential: request.credential.clone(), ..Subject::default() }
            }
            _ => Subject::default(),
        }
    }
}

/// Agent, credential and host of a message; empty where it has none.
#[derive(Clone, Default)]
pub(crate) struct Subject {
    pub(crate) agent: String,
    pub(crate) credential: String,
    pub(crate) host: String,
}

/// What is answered.
pub enum Answer {
    /// To type 1; a refusal too, since its layout is the same for every status.
    Release(release::Answer),
    /// To type 2.
    Enrol(enrol::Answer),
    /// To type 3.
    Directory(directory::Answer),
    /// To type 4.
    Store(store::Answer),
    /// To type 5.
    Audit(audit::Answer),
    /// To type 6.
    Exchange(exchange::Answer),
    /// To type 7.
    Approval(approval::Answer),
    /// To every type but 1: a status other than 0 and nothing more.
    Denied(Status),
}

impl Answer {
    /// Writes `P2`, padded.
    pub(crate) fn encode(&self, writer: &mut Writer) -> Result<(), TooLong> {
        match self {
            Self::Release(answer) => answer.encode(writer)?,
            Self::Denied(status) => writer.u8(status.code()),
            Self::Enrol(answer) => ok(writer, |writer| answer.encode(writer))?,
            Self::Directory(answer) => ok(writer, |writer| answer.encode(writer))?,
            Self::Store(answer) => ok(writer, |writer| answer.encode(writer))?,
            Self::Audit(answer) => ok(writer, |writer| answer.encode(writer))?,
            Self::Exchange(answer) => ok(writer, |writer| answer.encode(writer))?,
            Self::Approval(answer) => ok(writer, |writer| answer.encode(writer))?,
        }
        padding::pad(writer, padding::REPLY_BLOCK);
        Ok(())
    }

    /// Reads `P2` of a reply to a message of type `kind`.
    pub(crate) fn decode(kind: Kind, bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let status = Status::from_code(reader.u8()?).ok_or(Malformed)?;
        let answer = match (kind, status) {
            (Kind::Release, _) => Self::Release(release::Answer::decode(status, &mut reader)?),
            (Kind::Enrol, Status::Ok) => Self::Enrol(enrol::Answer::decode(&mut reader)?),
            (Kind::Directory, Status::Ok) => {
                Self::Directory(directory::Answer::decode(&mut reader)?)
            }
            (Kind::Store, Status::Ok) => Self::Store(store::Answer::decode(&mut reader)?),
            (Kind::Audit, Status::Ok) => Self::Audit(audit::Answer::decode(&mut reader)?),
            (Kind::Exchange, Status::Ok) => Self::Exchange(exchange::Answer::decode(&mut reader)?),
            (Kind::Approval, Status::Ok) => Self::Approval(approval::Answer::decode(&mut reader)?),
            (_, status) => Self::Denied(status),
        };
        padding::check(reader.rest(), bytes.len(), padding::REPLY_BLOCK)?;
        Ok(answer)
    }

    /// Whether it may answer a message of type `kind`.
    pub(crate) fn answers(&self, kind: Kind) -> bool {
        match self {
            Self::Release(_) => kind == Kind::Release,
            Self::Enrol(_) => kind == Kind::Enrol,
            Self::Directory(_) => kind == Kind::Directory,
            Self::Store(_) => kind == Kind::Store,
            Self::Audit(_) => kind == Kind::Audit,
            Self::Exchange(_) => kind == Kind::Exchange,
            Self::Approval(_) => kind == Kind::Approval,
            Self::Denied(status) => kind != Kind::Release && *status != Status::Ok,
        }
    }
}

fn ok(
    writer: &mut Writer,
    part: impl FnOnce(&mut Writer) -> Result<(), TooLong>,
) -> Result<(), TooLong> {
    writer.u8(Status::Ok.code());
    part(writer)
}

/// Where the service's own audit log holds this exchange.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Receipt {
    /// Sequence number; 0 where nothing was recorded.
    pub seq: u64,
    /// Chain hash at that number.
    pub hash: [u8; 32],
}

impl Receipt {
    fn encode(&self, writer: &mut Writer) {
        writer.u64(self.seq);
        writer.put(&self.hash);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self { seq: reader.u64()?, hash: reader.array()? })
    }
}
