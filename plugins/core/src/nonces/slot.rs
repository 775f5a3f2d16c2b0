//! One slot: the nonces of two generations, and its byte format.
//!
//! Invariant: the MAC covers the name of the key, so a value copied from another slot does not
//! open; generations only advance.

use crate::mac::{self, MacKeys};

const LABEL: &[u8] = b"postern nonces/1\0";
/// Bytes of a nonce's hash that are kept, beside those that choose the slot. Whoever finds a
/// second nonce with the same ones has his own request refused.
pub const TAG: usize = 12;
/// Most nonces of a generation in a slot.
pub const MOST: usize = 128;

/// `writes(8) generation(8) count(2) tags MAC(32)`: how often it was written, which generation
/// is the present one, how many tags are that one's, and then its tags and the former one's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) writes: u64,
    generation: u64,
    present: Vec<[u8; TAG]>,
    former: Vec<[u8; TAG]>,
}

impl Slot {
    /// Forgets what is two generations old. When the clock steps back, all is kept as if it
    /// had just been met.
    pub(super) fn turn(&mut self, generation: u64) {
        if self.generation > generation.saturating_add(1) {
            self.present.append(&mut self.former);
            self.generation = generation;
            self.writes = self.writes.saturating_add(1);
        }
        let passed = generation.saturating_sub(self.generation);
        if passed == 0 {
            return;
        }
        self.former = std::mem::take(&mut self.present);
        if passed > 1 {
            self.former.clear();
        }
        self.generation = generation;
    }

    pub(super) fn holds(&self, tag: &[u8; TAG]) -> bool {
        self.present.contains(tag) || self.former.contains(tag)
    }

    /// False when there is no room.
    pub(super) fn add(&mut self, tag: [u8; TAG]) -> bool {
        let room = self.present.len() < MOST;
        if room {
            self.present.push(tag);
            self.writes = self.writes.saturating_add(1);
        }
        room
    }

    pub(super) fn seal(&self, keys: &MacKeys, name: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(self.writes.to_be_bytes());
        bytes.extend(self.generation.to_be_bytes());
        bytes.extend(u16::try_from(self.present.len()).unwrap_or(u16::MAX).to_be_bytes());
        self.present.iter().chain(&self.former).for_each(|tag| bytes.extend(tag));
        let mac = mac(keys, name, &bytes);
        bytes.extend(mac);
        bytes
    }

    pub(super) fn open(keys: &MacKeys, name: &str, bytes: &[u8]) -> Option<Self> {
        let (body, mac) = bytes.split_last_chunk::<{ mac::LENGTH }>()?;
        if !keys.verify(LABEL, &[&length(name), name.as_bytes(), body], mac) {
            return None;
        }
        let (writes, body) = body.split_first_chunk()?;
        let (generation, body) = body.split_first_chunk()?;
        let (count, tags) = body.split_first_chunk()?;
        let (tags, []) = tags.as_chunks::<TAG>() else { return None };
        let (present, former) = tags.split_at_checked(usize::from(u16::from_be_bytes(*count)))?;
        let (writes, generation) = (u64::from_be_bytes(*writes), u64::from_be_bytes(*generation));
        Some(Self { writes, generation, present: present.to_vec(), former: former.to_vec() })
    }
}

fn mac(keys: &MacKeys, name: &str, body: &[u8]) -> [u8; mac::LENGTH] {
    keys.sign(LABEL, &[&length(name), name.as_bytes(), body])
}

/// Says where the name ends.
fn length(name: &str) -> [u8; 1] {
    [u8::try_from(name.len()).unwrap_or(u8::MAX)]
}
