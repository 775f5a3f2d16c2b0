//! Type 3: what the directory holds under these key ids.

use postern_core::api_key::{ID_LENGTH, KeyId, StoredKey};
use postern_core::identity::{DirectoryRecord, KeyState};
use postern_core::key_service::KeyEntry;
use postern_core::time::UnixMillis;

use crate::wire::{Malformed, Reader, TooLong, Writer};

/// Most key ids in one message.
pub const MAX_IDS: usize = 32;

/// The question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// One to [`MAX_IDS`], ascending, unique.
    pub ids: Vec<KeyId>,
}

impl Request {
    pub(crate) fn encode(&self, writer: &mut Writer) -> Result<(), TooLong> {
        writer.count8(self.ids.len(), MAX_IDS)?;
        self.ids.iter().for_each(|id| writer.put(id.as_str().as_bytes()));
        Ok(())
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let count = usize::from(reader.u8()?);
        if count == 0 || count > MAX_IDS {
            return Err(Malformed);
        }
        let ids: Vec<KeyId> = (0..count).map(|_| key_id(reader)).collect::<Result<_, _>>()?;
        if ids.is_sorted_by(|left, right| left < right) { Ok(Self { ids }) } else { Err(Malformed) }
    }
}

fn key_id(reader: &mut Reader<'_>) -> Result<KeyId, Malformed> {
    KeyId::new(reader.take(ID_LENGTH)?).ok_or(Malformed)
}

/// The answer: one entry for each id asked for, in the order of the question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Id, and its entry unless it is unknown to this tenant.
    pub entries: Vec<(KeyId, Option<KeyEntry>)>,
}

impl Answer {
    pub(crate) fn encode(&self, writer: &mut Writer) -> Result<(), TooLong> {
        writer.count8(self.entries.len(), MAX_IDS)?;
        self.entries.iter().try_for_each(|(id, entry)| {
            writer.put(id.as_str().as_bytes());
            match entry {
                Some(entry) => encode_entry(writer, entry),
                None => {
                    writer.u8(UNKNOWN);
                    Ok(())
                }
            }
        })
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let count = usize::from(reader.u8()?);
        if count > MAX_IDS {
            return Err(Malformed);
        }
        let entries = (0..count).map(|_| Ok((key_id(reader)?, decode_entry(reader)?)));
        Ok(Self { entries: entries.collect::<Result<_, _>>()? })
    }
}

const UNKNOWN: u8 = 0;
const ACTIVE: u8 = 1;
const REVOKED: u8 = 2;

fn encode_entry(writer: &mut Writer, entry: &KeyEntry) -> Result<(), TooLong> {
    let KeyEntry { stored, record } = entry;
    writer.u8(match record.state {
        KeyState::Active => ACTIVE,
        KeyState::Revoked => REVOKED,
    });
    writer.put(&stored.salt);
    writer.put(&stored.hash);
    writer.u64(record.not_after.map_or(0, |end| end.0));
    for text in [&record.tenant, &record.user, &record.organisation, &record.agent, &record.trust] {
        writer.lp8(text.as_bytes())?;
    }
    writer.lp8(record.clearance.as_deref().unwrap_or_default().as_bytes())?;
    writer.lp8(record.platform.as_deref().unwrap_or_default().as_bytes())?;
    writer.texts8(&record.scopes)?;
    writer.texts8(&record.roles)
}

fn decode_entry(reader: &mut Reader<'_>) -> Result<Option<KeyEntry>, Malformed> {
    let state = match reader.u8()? {
        UNKNOWN => return Ok(None),
        ACTIVE => KeyState::Active,
        REVOKED => KeyState::Revoked,
        _ => return Err(Malformed),
    };
    let stored = StoredKey { salt: reader.array()?, hash: reader.array()? };
    let not_after = Some(reader.u64()?).filter(|end| *end != 0).map(UnixMillis);
    let (tenant, user) = (reader.text8()?, reader.text8()?);
    let (organisation, agent, trust) = (reader.text8()?, reader.text8()?, reader.text8()?);
    let clearance = Some(reader.text8()?).filter(|text| !text.is_empty());
    let platform = Some(reader.text8()?).filter(|text| !text.is_empty());
    let (scopes, roles) = (reader.texts8()?, reader.texts8()?);
    let record = DirectoryRecord {
        tenant,
        user,
        organisation,
        agent,
        scopes,
        roles,
        trust,
        clearance,
        platform,
        not_after,
        state,
    };
    Ok(Some(KeyEntry { stored, record }))
}
