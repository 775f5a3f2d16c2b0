//! Nonces that were used, so that no signed request is good twice on any worker.
//!
//! Owns a table in shared data, `nonce/<slot>`: [`SLOTS`] slots by hash, since shared data is
//! never deleted, and in each the nonces of two generations. A generation lasts as long as a
//! nonce has to be remembered, so what is forgotten is too old to be used; a worker that meets
//! a nonce writes the slot by compare-and-set, so of two that meet it at once one is refused.
//!
//! Invariant: a nonce is new once. Where that is not sure (a full slot, a value whose MAC does
//! not hold, one that was put back to an earlier state that this worker has seen, a host that
//! does not write) it is not new.

pub mod issued;
mod slot;

use std::time::Duration;

use crate::mac::MacKeys;
use crate::receipt::{ABSENT, SharedData};
use crate::time::UnixMillis;

use slot::Slot;
pub use slot::{MOST, TAG};

/// How long the gates of a process remember a nonce, whatever their own windows are: what one
/// has taken must not be good at another. The longest window that can be configured, 60 seconds
/// back and 10 ahead, and the last second, which counts whole.
pub const MEMORY: Duration = Duration::from_secs(71);
/// Slots there are.
pub const SLOTS: u16 = 1024;
/// How often a slot is read again when another worker was faster.
const TRIES: usize = 16;

/// What is known of a nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Met {
    /// Nobody used it, and nobody can again.
    New,
    /// It was used.
    Before,
    /// Its slot has no room: more signed requests than can be remembered.
    Full,
    /// The slot's value is not one that we wrote, or an old one that somebody put back.
    Forged,
    /// The host does not write, or others were faster each time.
    Unwritten,
}

/// Where nonces are remembered, behind `&self`: all streams of a VM use it, one at a time.
pub trait Nonces {
    /// Uses a nonce, as [`Table::meet`] does.
    fn meet(&self, hash: &[u8; 32], now: UnixMillis) -> Met;
    /// A nonce to hand out now; `None` where there is no key to make one with.
    fn issue(&self, _now: UnixMillis) -> Option<String> {
        None
    }
    /// Whether this is one that was handed out, and is still good.
    fn is_issued(&self, _nonce: &str, _now: UnixMillis) -> bool {
        false
    }
}

/// The table as one worker sees it.
pub struct Table {
    keys: MacKeys,
    generation: u64,
    /// How often each slot was written, as far as this worker knows.
    writes: Vec<u64>,
}

impl Table {
    /// A table in which a nonce is remembered for at least `memory`, the same for all who
    /// share it.
    pub fn new(keys: MacKeys, memory: Duration) -> Self {
        let generation = u64::try_from(memory.as_millis()).unwrap_or(u64::MAX).max(1);
        Self { keys, generation, writes: vec![0; usize::from(SLOTS)] }
    }

    /// As [`Nonces::issue`].
    pub fn issue(&self, now: UnixMillis) -> Option<String> {
        issued::issue(&self.keys, now)
    }

    /// As [`Nonces::is_issued`].
    pub fn is_issued(&self, nonce: &str, now: UnixMillis) -> bool {
        issued::is_good(&self.keys, nonce, now)
    }

    /// Uses a nonce. `hash` is uniform and names it and whose it is.
    pub fn meet(&mut self, hash: &[u8; 32], shared: &mut dyn SharedData, now: UnixMillis) -> Met {
        let [high, low, rest @ ..] = hash;
        let place = u16::from_be_bytes([*high, *low]) % SLOTS;
        let Some(tag) = rest.first_chunk::<TAG>() else { return Met::Forged };
        let generation = now.0.checked_div(self.generation).unwrap_or(0);
        for _ in 0..TRIES {
            let met = self.attempt(place, *tag, generation, shared);
            if met != Met::Unwritten {
                return met;
            }
        }
        Met::Unwritten
    }

    fn attempt(
        &mut self,
        place: u16,
        tag: [u8; TAG],
        generation: u64,
        shared: &mut dyn SharedData,
    ) -> Met {
        let name = format!("nonce/{place}");
        let (read, version) = match shared.read(&name) {
            Some((bytes, version)) => (Slot::open(&self.keys, &name, &bytes), version),
            None => (Some(Slot::default()), ABSENT),
        };
        let Some(known) = self.writes.get_mut(usize::from(place)) else { return Met::Forged };
        let Some(mut slot) = read.filter(|slot| slot.writes >= *known) else { return Met::Forged };
        *known = slot.writes;
        slot.turn(generation);
        if slot.holds(&tag) {
            return Met::Before;
        }
        if !slot.add(tag) {
            if slot.writes > *known {
                // The clock was wrong: without this the slot would stay full until then. If
                // another worker is faster, it has done the same.
                let _ = shared.replace(&name, &slot.seal(&self.keys, &name), version);
            }
            return Met::Full;
        }
        if !shared.replace(&name, &slot.seal(&self.keys, &name), version) {
            return Met::Unwritten;
        }
        *known = slot.writes;
        Met::New
    }
}

#[cfg(test)]
mod tests;
