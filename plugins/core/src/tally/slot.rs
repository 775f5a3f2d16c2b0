//! One slot: entries by their tags, and its byte format.
//!
//! Invariant: the MAC covers the name of the key, so a value copied from another slot does not
//! open; a tag is there once.

use crate::mac::{self, MacKeys};
use crate::time::UnixMillis;

const LABEL: &[u8] = b"postern tallies/1\0";
/// Bytes of a key's hash that are kept, beside those that choose the slot.
pub(super) type Tag = [u8; 12];
/// Most entries of a slot.
pub const MOST: usize = 64;
const LENGTH: usize = 28;

/// What is remembered under one key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// From this moment on it is forgotten.
    pub until: UnixMillis,
    /// Whatever its owner keeps.
    pub value: u64,
}

/// `writes(8) entries MAC(32)`: how often it was written, and `tag(12) until(8) value(8)` each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Slot {
    writes: u64,
    entries: Vec<(Tag, Entry)>,
}

impl Slot {
    pub(super) fn writes(&self) -> u64 {
        self.writes
    }

    /// Drops what is over.
    pub(super) fn forget(&mut self, now: UnixMillis) {
        self.entries.retain(|(_, entry)| entry.until > now);
    }

    pub(super) fn entry(&self, tag: &Tag) -> Entry {
        let found = self.entries.iter().find(|(known, _)| known == tag);
        found.map(|(_, entry)| *entry).unwrap_or_default()
    }

    /// False when there is no room.
    pub(super) fn put(&mut self, tag: Tag, entry: Entry) -> bool {
        let room = self.entries.len() < MOST;
        match self.entries.iter_mut().find(|(known, _)| *known == tag) {
            Some((_, known)) => *known = entry,
            None if room => self.entries.push((tag, entry)),
            None => return false,
        }
        self.writes = self.writes.saturating_add(1);
        true
    }

    pub(super) fn seal(&self, keys: &MacKeys, name: &str) -> Vec<u8> {
        let mut bytes = self.writes.to_be_bytes().to_vec();
        for (tag, entry) in &self.entries {
            bytes.extend(tag);
            bytes.extend(entry.until.0.to_be_bytes());
            bytes.extend(entry.value.to_be_bytes());
        }
        let mac = keys.sign(LABEL, &[&length(name), name.as_bytes(), &bytes]);
        bytes.extend(mac);
        bytes
    }

    pub(super) fn open(keys: &MacKeys, name: &str, bytes: &[u8]) -> Option<Self> {
        let (body, mac) = bytes.split_last_chunk::<{ mac::LENGTH }>()?;
        if !keys.verify(LABEL, &[&length(name), name.as_bytes(), body], mac) {
            return None;
        }
        let (writes, entries) = body.split_first_chunk()?;
        let (entries, []) = entries.as_chunks::<LENGTH>() else { return None };
        let entries = entries.iter().map(entry).collect::<Option<_>>()?;
        Some(Self { writes: u64::from_be_bytes(*writes), entries })
    }
}

fn entry(bytes: &[u8; LENGTH]) -> Option<(Tag, Entry)> {
    let (tag, rest) = bytes.split_first_chunk()?;
    let (until, value) = rest.split_first_chunk()?;
    let (value, _) = value.split_first_chunk()?;
    let until = UnixMillis(u64::from_be_bytes(*until));
    Some((*tag, Entry { until, value: u64::from_be_bytes(*value) }))
}

/// Says where the name ends.
fn length(name: &str) -> [u8; 1] {
    [u8::try_from(name.len()).unwrap_or(u8::MAX)]
}
