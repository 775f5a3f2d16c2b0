//! The two byte formats of receipts: a slot's value and `postern.seq`.
//!
//! Invariant: both have one fixed length; a slot's MAC covers the name of its key, so a
//! value copied from another slot does not open.

use super::{DEAD_AFTER, SLOTS};
use crate::event::AuditState;
use crate::mac::{self, MacKeys};
use crate::time::UnixMillis;

const LABEL: &[u8] = b"postern receipt/1\0";
const BODY: usize = 33;
const CLAIM: usize = 27;
const VERSION: u8 = 1;

/// Name of a slot in shared data.
pub(super) fn key(slot: u16) -> String {
    format!("audit/{slot}")
}

/// How full the logger's buffer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// There is room.
    Room,
    /// Full: writes must not pass.
    FullForWrites,
    /// Full: nothing may pass.
    Full,
}

impl Level {
    pub(crate) fn state(self) -> AuditState {
        match self {
            Self::Room => AuditState::Acknowledged,
            Self::FullForWrites => AuditState::FullForWrites,
            Self::Full => AuditState::Full,
        }
    }
}

/// What a slot says: `root(16) count(8) level(1) written(8) mac(32)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) root: [u8; 16],
    pub(super) count: u64,
    pub(super) level: Level,
    pub(super) written: UnixMillis,
}

impl Slot {
    pub(super) fn alive(&self, now: UnixMillis) -> bool {
        now.since(self.written) < DEAD_AFTER
    }

    pub(super) fn seal(&self, keys: &MacKeys, key: &str) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(BODY.saturating_add(mac::LENGTH));
        bytes.extend_from_slice(&self.root);
        bytes.extend_from_slice(&self.count.to_be_bytes());
        bytes.push(match self.level {
            Level::Room => 0,
            Level::FullForWrites => 1,
            Level::Full => 2,
        });
        bytes.extend_from_slice(&self.written.0.to_be_bytes());
        // The body has a fixed length, so name and body cannot be confused.
        let mac = keys.sign(LABEL, &[&bytes, key.as_bytes()]);
        bytes.extend_from_slice(&mac);
        bytes
    }

    pub(super) fn open(keys: &MacKeys, key: &str, bytes: &[u8]) -> Option<Self> {
        let (body, mac) = bytes.split_at_checked(BODY)?;
        if !keys.verify(LABEL, &[body, key.as_bytes()], mac) {
            return None;
        }
        let (root, body) = body.split_first_chunk()?;
        let (count, body) = body.split_first_chunk()?;
        let (level, body) = body.split_first()?;
        Some(Self {
            root: *root,
            count: u64::from_be_bytes(*count),
            level: match level {
                0 => Level::Room,
                1 => Level::FullForWrites,
                _ => Level::Full,
            },
            written: UnixMillis(u64::from_be_bytes(body.try_into().ok()?)),
        })
    }
}

/// What `postern.seq` says: `version(1) slot(2) root(16) count(8)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) slot: u16,
    pub(super) root: [u8; 16],
    pub(super) count: u64,
}

impl Claim {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(CLAIM);
        bytes.push(VERSION);
        bytes.extend_from_slice(&self.slot.to_be_bytes());
        bytes.extend_from_slice(&self.root);
        bytes.extend_from_slice(&self.count.to_be_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (version, rest) = bytes.split_first()?;
        let (slot, rest) = rest.split_first_chunk()?;
        let (root, count) = rest.split_first_chunk()?;
        let slot = u16::from_be_bytes(*slot);
        if *version != VERSION || slot >= SLOTS {
            return None;
        }
        Some(Self { slot, root: *root, count: u64::from_be_bytes(count.try_into().ok()?) })
    }
}
