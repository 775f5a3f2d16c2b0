//! Type 1: may this agent have this credential for this host, and what is it.

use postern_core::secret::Secret;
use postern_core::time::UnixMillis;

use super::{Receipt, Status};
use crate::wire::{Malformed, Reader, TooLong, Writer};

const REQUEST_DIGEST: u8 = 1;
const APPROVAL: u8 = 2;
const PATH: u8 = 3;
const BINDING_HASH: u8 = 4;
const MODULE_DIGEST: u8 = 5;
const POLICY_HASH: u8 = 6;

/// Most fields of one credential.
pub const MAX_FIELDS: usize = 16;

/// The question.
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    /// Agent.
    pub agent: String,
    /// Credential name.
    pub credential: String,
    /// Upstream authority, lower case, with port.
    pub host: String,
    /// Method as it leaves.
    pub method: String,
    /// SHA-256 of the verified caller identity.
    pub caller_hash: [u8; 32],
    /// Capability token; empty when there is none.
    pub capability: Vec<u8>,
    /// Digest of the request as it was decided.
    pub request_digest: [u8; 32],
    /// Approval under which the value is wanted.
    pub approval: Option<[u8; 16]>,
    /// Path as it leaves, without the query.
    pub path: String,
    /// SHA-256 of the binding in RFC 8785 form.
    pub binding_hash: [u8; 32],
    /// Names the modules of the gateway that asks.
    pub module_digest: Option<[u8; 32]>,
    /// Names the policy in force there.
    pub policy_hash: Option<[u8; 32]>,
}

impl Request {
    pub(crate) fn encode(&self, writer: &mut Writer) -> Result<(), TooLong> {
        for text in [&self.agent, &self.credential, &self.host, &self.method] {
            writer.lp8(text.as_bytes())?;
        }
        writer.put(&self.caller_hash);
        writer.lp16(&self.capability)?;
        let tags = self.tags();
        writer.count16(tags.len(), 6)?;
        for (tag, value) in tags {
            writer.u8(tag);
            writer.lp16(value)?;
        }
        Ok(())
    }

    fn tags(&self) -> Vec<(u8, &[u8])> {
        let mut tags: Vec<(u8, &[u8])> = vec![(REQUEST_DIGEST, &self.request_digest)];
        if let Some(approval) = &self.approval {
            tags.push((APPROVAL, approval));
        }
        tags.push((PATH, self.path.as_bytes()));
        tags.push((BINDING_HASH, &self.binding_hash));
        if let Some(digest) = &self.module_digest {
            tags.push((MODULE_DIGEST, digest));
        }
        if let Some(hash) = &self.policy_hash {
            tags.push((POLICY_HASH, hash));
        }
        tags
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (agent, credential) = (reader.text8()?, reader.text8()?);
        let (host, method) = (reader.text8()?, reader.text8()?);
        let caller_hash = reader.array()?;
        let capability = reader.lp16()?.to_vec();
        let tags = Tags::decode(reader)?;
        Ok(Self {
            agent,
            credential,
            host,
            method,
            caller_hash,
            capability,
            request_digest: tags.request_digest.ok_or(Malformed)?,
            approval: tags.approval,
            path: tags.path.ok_or(Malformed)?,
            binding_hash: tags.binding_hash.ok_or(Malformed)?,
            module_digest: tags.module_digest,
            policy_hash: tags.policy_hash,
        })
    }
}

#[derive(Default)]
struct Tags {
    request_digest: Option<[u8; 32]>,
    approval: Option<[u8; 16]>,
    path: Option<String>,
    binding_hash: Option<[u8; 32]>,
    module_digest: Option<[u8; 32]>,
    policy_hash: Option<[u8; 32]>,
}

impl Tags {
    /// Ascending and unique, so that there is one encoding; unknown is refused, since
    /// a tag that is not understood may be a restriction.
    fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let mut tags = Self::default();
        let mut last = 0;
        for _ in 0..reader.u16()? {
            let (tag, value) = (reader.u8()?, reader.lp16()?);
            if tag <= last {
                return Err(Malformed);
            }
            last = tag;
            tags.set(tag, value)?;
        }
        Ok(tags)
    }

    fn set(&mut self, tag: u8, value: &[u8]) -> Result<(), Malformed> {
        match tag {
            REQUEST_DIGEST => self.request_digest = Some(exactly(value)?),
            APPROVAL => self.approval = Some(exactly(value)?),
            PATH => self.path = Some(path(value)?),
            BINDING_HASH => self.binding_hash = Some(exactly(value)?),
            MODULE_DIGEST => self.module_digest = Some(exactly(value)?),
            POLICY_HASH => self.policy_hash = Some(exactly(value)?),
            _ => return Err(Malformed),
        }
        Ok(())
    }
}

fn exactly<const N: usize>(value: &[u8]) -> Result<[u8; N], Malformed> {
    value.try_into().map_err(|_| Malformed)
}

fn path(value: &[u8]) -> Result<String, Malformed> {
    let text = str::from_utf8(value).map_err(|_| Malformed)?;
    if text.chars().any(char::is_control) { Err(Malformed) } else { Ok(text.to_owned()) }
}

/// The answer; one layout for every status.
pub struct Answer {
    /// Ok, or why not.
    pub status: Status,
    /// Version of the credential.
    pub version: u32,
    /// No good after this.
    pub not_after: UnixMillis,
    /// Seconds a gateway may keep it.
    pub ttl_s: u16,
    /// Injections one reply is good for, the first one included.
    pub max_uses: u16,
    /// Revocation epoch this was decided in; 0 before there is a feed.
    pub rev_epoch: u64,
    /// Name (empty for the only value) and value. With
    /// [`Status::NeedsApproval`]: at most one, empty name, the 16-byte approval id.
    pub fields: Vec<(String, Secret)>,
    /// Hash of the binding the service holds; the asker's own, when refusing.
    pub binding_hash: [u8; 32],
    /// Where the service recorded it.
    pub receipt: Receipt,
}

impl Answer {
    /// A refusal that tells nothing but `status`.
    pub fn refused(status: Status, binding_hash: [u8; 32], receipt: Receipt) -> Self {
        Self {
            status,
            version: 0,
            not_after: UnixMillis(0),
            ttl_s: 0,
            max_uses: 0,
            rev_epoch: 0,
            fields: Vec::new(),
            binding_hash,
            receipt,
        }
    }

    /// The approval that is waited for, where the service named one.
    pub fn pending_approval(&self) -> Option<[u8; 16]> {
        if self.status != Status::NeedsApproval {
            return None;
        }
        self.fields.first().and_then(|(_, id)| id.expose().try_into().ok())
    }

    pub(crate) fn encode(&self, writer: &mut Writer) -> Result<(), TooLong> {
        writer.u8(self.status.code());
        writer.u32(self.version);
        writer.u64(self.not_after.0);
        writer.u16(self.ttl_s);
        writer.u16(self.max_uses);
        writer.u64(self.rev_epoch);
        encode_fields(writer, &self.fields)?;
        writer.put(&self.binding_hash);
        self.receipt.encode(writer);
        Ok(())
    }

    pub(crate) fn decode(status: Status, reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let answer = Self {
            status,
            version: reader.u32()?,
            not_after: UnixMillis(reader.u64()?),
            ttl_s: reader.u16()?,
            max_uses: reader.u16()?,
            rev_epoch: reader.u64()?,
            fields: decode_fields(reader)?,
            binding_hash: reader.array()?,
            receipt: Receipt::decode(reader)?,
        };
        let fits = match status {
            Status::Ok => !answer.fields.is_empty(),
            Status::NeedsApproval => answer.names_at_most_one_approval(),
            _ => answer.fields.is_empty(),
        };
        if fits { Ok(answer) } else { Err(Malformed) }
    }

    fn names_at_most_one_approval(&self) -> bool {
        match self.fields.as_slice() {
            [] => true,
            [(name, id)] => name.is_empty() && id.len() == 16,
            _ => false,
        }
    }
}

/// `u8 n | n x (lp8 field | lp16 value)`, names ascending and unique.
pub(super) fn encode_fields(
    writer: &mut Writer,
    fields: &[(String, Secret)],
) -> Result<(), TooLong> {
    writer.count8(fields.len(), MAX_FIELDS)?;
    let mut sorted: Vec<&(String, Secret)> = Vec::with_capacity(fields.len());
    for field in fields {
        let at = sorted.partition_point(|known| known.0 <= field.0);
        sorted.insert(at, field);
    }
    sorted.into_iter().try_for_each(|(name, value)| {
        writer.lp8(name.as_bytes())?;
        writer.lp16(value.expose())
    })
}

pub(super) fn decode_fields(reader: &mut Reader<'_>) -> Result<Vec<(String, Secret)>, Malformed> {
    let count = reader.u8()?;
    let mut fields: Vec<(String, Secret)> = Vec::new();
    if usize::from(count) > MAX_FIELDS {
        return Err(Malformed);
    }
    for _ in 0..count {
        let name = reader.text8()?;
        if fields.last().is_some_and(|(last, _)| *last >= name) {
            return Err(Malformed);
        }
        fields.push((name, Secret::new(reader.lp16()?.to_vec())));
    }
    Ok(fields)
}
