//! What the gates of a process remember of callers between requests: how much of a budget is
//! spent, and which labels a session has.
//!
//! Owns a table in shared data, `tally/<slot>`: [`SLOTS`] slots by hash, since shared data is
//! never deleted, and in each up to [`MOST`] entries, each until its time is over. A worker
//! changes an entry by writing its slot with compare-and-set, so that of two that change it at
//! once one sees what the other has written.
//!
//! Invariant: an entry is changed from what it was last changed to, or not at all. Where that
//! is not sure (a value whose MAC does not hold, one that was put back to an earlier state that
//! this worker has seen, a full slot, a host that does not write) the caller learns so.

mod slot;

use crate::mac::MacKeys;
use crate::receipt::{ABSENT, SharedData};
use crate::time::UnixMillis;

use slot::Slot;
pub use slot::{Entry, MOST};

/// Slots there are.
pub const SLOTS: u16 = 1024;
const PLACE: &[u8] = b"postern tally place/1\0";
/// How often a slot is read again when another worker was faster.
const TRIES: usize = 32;

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Updated {
    /// It is written.
    Done,
    /// There was nothing to change.
    Left,
    /// Its slot has no room: more is remembered than can be.
    Full,
    /// The slot's value is not one that we wrote, or an old one that somebody put back.
    Forged,
    /// The host does not write, or others were faster each time.
    Unwritten,
}

/// Makes of an entry the one that takes its place; `None` leaves it. It may be asked again, when
/// another worker was faster. What is not remembered is [`Entry::default`].
pub type Change<'a> = &'a mut dyn FnMut(Entry) -> Option<Entry>;

/// Where entries are, behind `&self`: all streams of a VM use it, one at a time.
pub trait Tallies {
    /// Changes an entry, as [`Table::update`] does.
    fn update(&self, key: &[u8; 32], now: UnixMillis, change: Change<'_>) -> Updated;
}

/// The table as one worker sees it.
pub struct Table {
    keys: MacKeys,
    /// How often each slot was written, as far as this worker knows.
    writes: Vec<u64>,
}

impl Table {
    /// The table of all who share `keys`.
    pub fn new(keys: MacKeys) -> Self {
        Self { keys, writes: vec![0; usize::from(SLOTS)] }
    }

    /// Changes an entry. `key` names it and whose it is. Which slot it falls into nobody can
    /// work out who does not have the keys, or others' slots could be filled.
    pub fn update(
        &mut self,
        key: &[u8; 32],
        shared: &mut dyn SharedData,
        now: UnixMillis,
        change: Change<'_>,
    ) -> Updated {
        let key = self.keys.sign(PLACE, &[key]);
        let [high, low, rest @ ..] = &key;
        let place = u16::from_be_bytes([*high, *low]) % SLOTS;
        let Some(tag) = rest.first_chunk() else { return Updated::Forged };
        for _ in 0..TRIES {
            let updated = self.attempt(place, *tag, shared, now, change);
            if updated != Updated::Unwritten {
                return updated;
            }
        }
        Updated::Unwritten
    }

    fn attempt(
        &mut self,
        place: u16,
        tag: slot::Tag,
        shared: &mut dyn SharedData,
        now: UnixMillis,
        change: Change<'_>,
    ) -> Updated {
        let name = format!("tally/{place}");
        let (read, version) = match shared.read(&name) {
            Some((bytes, version)) => (Slot::open(&self.keys, &name, &bytes), version),
            None => (Some(Slot::default()), ABSENT),
        };
        let Some(known) = self.writes.get_mut(usize::from(place)) else { return Updated::Forged };
        let slot = read.filter(|slot| slot.writes() >= *known);
        let Some(mut slot) = slot else { return Updated::Forged };
        *known = slot.writes();
        slot.forget(now);
        let Some(entry) = change(slot.entry(&tag)) else { return Updated::Left };
        if !slot.put(tag, entry) {
            return Updated::Full;
        }
        if !shared.replace(&name, &slot.seal(&self.keys, &name), version) {
            return Updated::Unwritten;
        }
        *known = slot.writes();
        Updated::Done
    }
}

#[cfg(test)]
mod tests;
