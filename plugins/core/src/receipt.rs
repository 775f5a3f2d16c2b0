//! Receipts: how the gate knows that the audit logger recorded its last request.
//!
//! A logger that traps is silent, so it has to prove each record. A [`Sequence`] is the
//! gate's side: one for each root context, with a random id. When a request ends it says
//! `id, n` in filter state `postern.seq`; the logger's [`Receipts`] answer in shared data
//! `audit/<slot>`, and the next request reads it: the slot must hold the gate's own count.
//! Slots are a fixed set, since shared data is never deleted; a root takes one by
//! compare-and-set and loses it when it was silent for [`DEAD_AFTER`] and another asks.
//!
//! Invariant: shared data is only a hint. A slot counts when its MAC, which covers its
//! key name, holds; everything else denies.

mod slot;

use std::time::Duration;

use crate::event::AuditState;
use crate::mac::MacKeys;
use crate::time::UnixMillis;

pub use slot::Level;
use slot::{Claim, Slot};

/// Slots there are: workers times listeners, with roots that died lately.
pub const SLOTS: u16 = 1024;
/// A slot nobody wrote for this long may be taken. Whoever loses one by being quiet takes
/// another at its next request.
pub const DEAD_AFTER: Duration = Duration::from_secs(60);

/// The version of a key that does not exist. Proxy-Wasm has no insert: a compare-and-set
/// with a version that is never given out creates a key and replaces none, while 0 would
/// replace whatever another root has just put there.
pub const ABSENT: u32 = u32::MAX;

/// The version that replaces whatever there is, or nothing.
pub const ANY: u32 = 0;

/// The host's shared data.
pub trait SharedData {
    /// The value under `key` and its version for [`SharedData::replace`]; `None` when
    /// there is none.
    fn read(&mut self, key: &str) -> Option<(Vec<u8>, u32)>;
    /// Writes `value` if the version is still this one, if the key is still absent and the
    /// version [`ABSENT`], or if the version is [`ANY`]. False when it is not so, or the host
    /// refuses.
    fn replace(&mut self, key: &str, value: &[u8], version: u32) -> bool;
}

/// The gate's side: the count of one root context.
pub struct Sequence {
    root: [u8; 16],
    slot: Option<u16>,
    count: u64,
    /// When the slot was last seen to be this root's.
    seen: UnixMillis,
}

impl Sequence {
    /// A root that has seen no request; `root` is random.
    pub fn new(root: [u8; 16]) -> Self {
        Self { root, slot: None, count: 0, seen: UnixMillis(0) }
    }

    /// At the start of a request: whether the logger has this root's last record. The
    /// first request takes a slot and is not covered.
    pub fn state(
        &mut self,
        keys: &MacKeys,
        shared: &mut dyn SharedData,
        now: UnixMillis,
    ) -> AuditState {
        let Some(slot) = self.slot else { return self.claim(keys, shared, now) };
        let name = slot::key(slot);
        let Some((bytes, _)) = shared.read(&name) else { return AuditState::Behind };
        match Slot::open(keys, &name, &bytes) {
            // Nobody may take the slot of a root that was heard of lately: then the value
            // is an old one that somebody put back.
            Some(held) if held.root != self.root && now.since(self.seen) >= DEAD_AFTER => {
                self.claim(keys, shared, now)
            }
            Some(held) if held.root == self.root && held.count == self.count => {
                self.seen = now;
                held.level.state()
            }
            _ => AuditState::Behind,
        }
    }

    /// At the end of a request: the bytes of filter state `postern.seq`. `None` while no
    /// slot could be taken; the logger then gives no receipt.
    #[expect(clippy::should_implement_trait, reason = "a count that never ends by itself")]
    pub fn next(&mut self) -> Option<Vec<u8>> {
        let slot = self.slot?;
        self.count = self.count.saturating_add(1);
        Some(Claim { slot, root: self.root, count: self.count }.encode())
    }

    /// Takes the first slot that is free, dead or unreadable, from a place that depends
    /// on the root so that roots seldom meet.
    fn claim(
        &mut self,
        keys: &MacKeys,
        shared: &mut dyn SharedData,
        now: UnixMillis,
    ) -> AuditState {
        let [high, low, ..] = self.root;
        let start = u16::from_be_bytes([high, low]) % SLOTS;
        let taken = (0..SLOTS)
            .map(|step| start.wrapping_add(step) % SLOTS)
            .find(|slot| self.take(*slot, keys, shared, now));
        self.slot = taken;
        self.seen = now;
        if taken.is_some() { AuditState::Acknowledged } else { AuditState::Behind }
    }

    fn take(
        &self,
        slot: u16,
        keys: &MacKeys,
        shared: &mut dyn SharedData,
        now: UnixMillis,
    ) -> bool {
        let name = slot::key(slot);
        let version = match shared.read(&name) {
            None => ABSENT,
            Some((bytes, version)) => match Slot::open(keys, &name, &bytes) {
                Some(held) if held.root != self.root && held.alive(now) => return false,
                _ => version,
            },
        };
        let mine = Slot { root: self.root, count: self.count, level: Level::Room, written: now };
        shared.replace(&name, &mine.seal(keys, &name), version)
    }
}

/// What the logger found when it gave a receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Given {
    /// The slot held the record before this one.
    InOrder,
    /// Requests of this root ended without a record.
    Unlogged {
        /// How many.
        count: u64,
        /// Whose.
        root: [u8; 16],
    },
    /// The slot was absent or its MAC did not hold: an alarm. A receipt is written, but
    /// whether records are missing is unknown.
    Forged {
        /// Whose slot it was.
        root: [u8; 16],
    },
}

/// The logger's side. It keeps nothing: after a reload the slot says what came last.
pub struct Receipts<'k> {
    keys: &'k MacKeys,
}

impl<'k> Receipts<'k> {
    /// Receipts under the shared key.
    pub fn new(keys: &'k MacKeys) -> Self {
        Self { keys }
    }

    /// Reads the slot that `postern.seq` names; [`Read::give`] writes the receipt once the
    /// record is on the chain. `None`, and so no receipt, when the bytes are absent or
    /// malformed, were seen before, or the slot has another owner: the gate then denies.
    pub fn read(&self, seq: Option<&[u8]>, shared: &mut dyn SharedData) -> Option<Read> {
        let claim = Claim::decode(seq?)?;
        let key = slot::key(claim.slot);
        let held = shared.read(&key);
        let version = held.as_ref().map_or(ABSENT, |(_, version)| *version);
        let held = held.and_then(|(bytes, _)| Slot::open(self.keys, &key, &bytes));
        let root = claim.root;
        let given = match held {
            None => Given::Forged { root },
            Some(held) if held.root != root => return None,
            Some(held) => match claim.count.checked_sub(held.count) {
                Some(1) => Given::InOrder,
                Some(ahead @ 2..) => Given::Unlogged { count: ahead.saturating_sub(1), root },
                // A count that was seen before: somebody replays `postern.seq`.
                _ => return None,
            },
        };
        Some(Read { claim, key, version, given })
    }

    /// Gives the receipt of `told` once more, now with room in the buffer. False when the
    /// slot has moved on or the host refused; then the next receipt says it.
    pub fn room_again(&self, told: &Told, shared: &mut dyn SharedData, now: UnixMillis) -> bool {
        let key = slot::key(told.0.slot);
        let Some((bytes, version)) = shared.read(&key) else { return false };
        let held = Slot::open(self.keys, &key, &bytes)
            .filter(|held| held.root == told.0.root && held.count == told.0.count);
        held.is_some_and(|held| {
            let slot = Slot { level: Level::Room, written: now, ..held };
            shared.replace(&key, &slot.seal(self.keys, &key), version)
        })
    }
}

/// A root that was told that the buffer is full. Without traffic no receipt would ever
/// tell it otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told(Claim);

impl Told {
    /// Whether both were told through one slot, so that only the later one counts.
    pub fn same_slot(&self, other: &Self) -> bool {
        self.0.slot == other.0.slot
    }
}

/// A slot that was read and waits for its receipt.
#[must_use]
pub struct Read {
    claim: Claim,
    key: String,
    version: u32,
    given: Given,
}

impl Read {
    /// What the slot told.
    pub fn given(&self) -> Given {
        self.given
    }

    /// Whom the receipt tells.
    pub fn told(&self) -> Told {
        Told(self.claim.clone())
    }

    /// Writes the receipt. False when the slot changed meanwhile or the host refused.
    pub fn give(
        self,
        receipts: &Receipts<'_>,
        shared: &mut dyn SharedData,
        level: Level,
        now: UnixMillis,
    ) -> bool {
        let slot = Slot { root: self.claim.root, count: self.claim.count, level, written: now };
        let value = slot.seal(receipts.keys, &self.key);
        shared.replace(&self.key, &value, self.version)
    }
}

#[cfg(test)]
mod tests;
