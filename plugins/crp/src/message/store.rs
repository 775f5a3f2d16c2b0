//! Type 4: a credential value, sealed by whoever has it to the attested key: an operator, or
//! a gateway that took it from a token endpoint's answer.

use postern_core::key_service::{Minted, Origin};
use postern_core::order;
use postern_core::secret::Secret;
use postern_core::time::UnixMillis;
use sha2::{Digest, Sha256};

use super::Receipt;
use super::release::{decode_fields, encode_fields};
use crate::wire::{Malformed, Reader, TooLong, Writer};

/// Most bindings of one credential.
pub const MAX_BINDINGS: usize = 16;

/// The question.
pub struct Request {
    /// Credential name.
    pub credential: String,
    /// For people.
    pub description: String,
    /// What the caller believes is stored.
    pub expected: Expected,
    /// The value is no good after this; `None` = no end.
    pub not_after: Option<UnixMillis>,
    /// Name (empty for the only value) and value; at least one, names unique.
    pub fields: Vec<(String, Secret)>,
    /// Where the value may go; at least one, each once.
    pub bindings: Vec<Binding>,
    /// What a release needs besides a binding; the least for a minted value.
    pub guard: Guard,
    /// Where a minted value comes from; an operator's has none.
    pub minted: Option<Origin>,
}

/// Which releases of a credential need an approval, and whose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guard {
    /// Which releases.
    pub approval: Needed,
    /// Only a passkey approves.
    pub passkey: bool,
    /// How many have to approve, 1 to 5.
    pub approvers: u8,
}

impl Default for Guard {
    fn default() -> Self {
        Self { approval: Needed::None, passkey: false, approvers: 1 }
    }
}

/// Releases that need an approval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Needed {
    /// Those alone for which the gateway brings one.
    #[default]
    None,
    /// Those for a method that is not safe (RFC 9110, 9.2.1).
    Writes,
    /// All.
    EveryRelease,
}

impl Needed {
    /// Every one, by its number on the wire.
    pub const ALL: [Self; 3] = [Self::None, Self::Writes, Self::EveryRelease];

    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Writes => "writes",
            Self::EveryRelease => "every_release",
        }
    }
}

impl Guard {
    /// Most approvers.
    pub const MOST_APPROVERS: u8 = 5;

    fn encode(self, writer: &mut Writer) {
        writer.u8(match self.approval {
            Needed::None => 0,
            Needed::Writes => 1,
            Needed::EveryRelease => 2,
        });
        writer.u8(self.passkey.into());
        writer.u8(self.approvers);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let approval = *Needed::ALL.get(usize::from(reader.u8()?)).ok_or(Malformed)?;
        let passkey = match reader.u8()? {
            0 => false,
            1 => true,
            _ => return Err(Malformed),
        };
        let approvers = reader.u8()?;
        let fits = (1..=Self::MOST_APPROVERS).contains(&approvers);
        fits.then_some(Self { approval, passkey, approvers }).ok_or(Malformed)
    }
}

/// The version that the caller expects to replace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// There is none yet.
    Absent,
    /// This one (1 or more, and not the largest number).
    Version(u32),
    /// Whatever there is.
    Any,
}

impl Expected {
    const ANY: u32 = u32::MAX;

    fn code(self) -> u32 {
        match self {
            Self::Absent => 0,
            Self::Version(version) => version,
            Self::Any => Self::ANY,
        }
    }

    fn from_code(code: u32) -> Self {
        match code {
            0 => Self::Absent,
            Self::ANY => Self::Any,
            version => Self::Version(version),
        }
    }
}

/// One binding, as the bytes that are hashed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Binding {
    hash: [u8; 32],
    json: Vec<u8>,
}

impl Binding {
    /// The binding of these bytes (RFC 8785 form).
    pub fn new(json: Vec<u8>) -> Self {
        Self { hash: Sha256::digest(&json).into(), json }
    }

    /// SHA-256 of the bytes.
    pub fn hash(&self) -> &[u8; 32] {
        &self.hash
    }

    /// RFC 8785 JSON.
    pub fn json(&self) -> &[u8] {
        &self.json
    }
}

impl Request {
    pub(crate) fn encode(&self, writer: &mut Writer) -> Result<(), TooLong> {
        writer.lp8(self.credential.as_bytes())?;
        writer.lp8(self.description.as_bytes())?;
        writer.u32(self.expected.code());
        writer.u64(self.not_after.map_or(0, |end| end.0));
        encode_fields(writer, &self.fields)?;
        writer.count8(self.bindings.len(), MAX_BINDINGS)?;
        order::ascending(&self.bindings).into_iter().try_for_each(|binding| {
            writer.put(&binding.hash);
            writer.lp16(&binding.json)
        })?;
        self.guard.encode(writer);
        encode_origin(writer, self.minted.as_ref())
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (credential, description) = (reader.text8()?, reader.text8()?);
        let expected = Expected::from_code(reader.u32()?);
        let not_after = Some(reader.u64()?).filter(|end| *end != 0).map(UnixMillis);
        let fields = decode_fields(reader)?;
        let bindings = decode_bindings(reader)?;
        let guard = Guard::decode(reader)?;
        let minted = decode_origin(reader)?;
        let unfit = minted.is_some() && guard != Guard::default();
        if fields.is_empty() || bindings.is_empty() || unfit {
            return Err(Malformed);
        }
        Ok(Self { credential, description, expected, not_after, fields, bindings, guard, minted })
    }
}

impl From<Minted> for Request {
    fn from(minted: Minted) -> Self {
        let Minted { credential, value, not_after, binding, origin } = minted;
        Self {
            credential,
            description: format!("minted from {}", origin.source),
            expected: Expected::Absent,
            not_after: Some(not_after),
            fields: vec![(String::new(), value)],
            bindings: vec![Binding::new(binding)],
            guard: Guard::default(),
            minted: Some(origin),
        }
    }
}

fn encode_origin(writer: &mut Writer, origin: Option<&Origin>) -> Result<(), TooLong> {
    let Some(origin) = origin else {
        writer.u8(0);
        return Ok(());
    };
    writer.u8(1);
    writer.lp8(origin.agent.as_bytes())?;
    writer.put(&origin.caller_hash);
    writer.lp8(origin.source.as_bytes())?;
    writer.put(&origin.source_binding);
    Ok(())
}

fn decode_origin(reader: &mut Reader<'_>) -> Result<Option<Origin>, Malformed> {
    match reader.u8()? {
        0 => Ok(None),
        1 => Ok(Some(Origin {
            agent: reader.text8()?,
            caller_hash: reader.array()?,
            source: reader.text8()?,
            source_binding: reader.array()?,
        })),
        _ => Err(Malformed),
    }
}

fn decode_bindings(reader: &mut Reader<'_>) -> Result<Vec<Binding>, Malformed> {
    let count = usize::from(reader.u8()?);
    if count > MAX_BINDINGS {
        return Err(Malformed);
    }
    let bindings: Vec<Binding> =
        (0..count).map(|_| decode_binding(reader)).collect::<Result<_, _>>()?;
    if bindings.is_sorted_by(|left, right| left.hash < right.hash) {
        Ok(bindings)
    } else {
        Err(Malformed)
    }
}

fn decode_binding(reader: &mut Reader<'_>) -> Result<Binding, Malformed> {
    let hash: [u8; 32] = reader.array()?;
    let binding = Binding::new(reader.lp16()?.to_vec());
    if binding.hash == hash { Ok(binding) } else { Err(Malformed) }
}

/// The answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The version that was stored.
    pub version: u32,
    /// Where the service recorded it.
    pub receipt: Receipt,
}

impl Answer {
    pub(crate) fn encode(&self, writer: &mut Writer) -> Result<(), TooLong> {
        writer.u32(self.version);
        self.receipt.encode(writer);
        Ok(())
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self { version: reader.u32()?, receipt: Receipt::decode(reader)? })
    }
}
