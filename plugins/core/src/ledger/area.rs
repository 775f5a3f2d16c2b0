//! The areas of shared data in which records wait, and what their heads say.
//!
//! An area is `audit/area/<number>`, its head, and `audit/area/<number>/<slot>`, a sealed record
//! each. Shared data is never deleted, so areas and slots are a fixed set: whoever delivered an
//! area leaves it free, and its slots empty.
//!
//! Invariant: shared data is only a hint. A head counts when its MAC, which covers its key
//! name, holds; only its owner changes it, until it has been silent for [`DEAD_AFTER`].

use std::time::Duration;

use crate::chain::Hash;
use crate::mac::{self, MacKeys};
use crate::receipt::{ABSENT, ANY, SharedData};
use crate::time::UnixMillis;

/// Areas there are: more VMs than that keep their records in memory alone.
pub(super) const AREAS: u16 = 256;
/// The head of a VM that runs is younger than this.
pub(super) const DEAD_AFTER: Duration = Duration::from_secs(5);

const LABEL: &[u8] = b"postern area/1\0";
const BODY: usize = 105;

/// A part of one VM's chain: what is not acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Waiting {
    pub(super) boot: [u8; 16],
    pub(super) vm: [u8; 16],
    /// Sequence number of the first record that waits, and the hash before it.
    pub(super) first: u64,
    pub(super) prev: Hash,
    /// Behind the last record that the head knows of; there may be later ones.
    pub(super) next: u64,
}

/// What a head says: `held(1) owner(16) boot(16) vm(16) first(8) next(8) prev(32) written(8)
/// mac(32)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// False for an area that anybody may take.
    pub(super) held: bool,
    /// The VM that delivers.
    pub(super) owner: [u8; 16],
    pub(super) waiting: Waiting,
    pub(super) written: UnixMillis,
}

/// An area as it was found, and the version to replace its head by.
pub(super) struct Found {
    pub(super) head: Option<Head>,
    pub(super) version: u32,
}

impl Found {
    /// Whether anybody may take it: it never was one, is free, or is none of ours.
    pub(super) fn is_free(&self) -> bool {
        self.head.as_ref().is_none_or(|head| !head.held)
    }
}

/// Where an area's head is.
fn name(area: u16) -> String {
    format!("audit/area/{area}")
}

fn slot(area: u16, seq: u64, slots: u64) -> String {
    format!("audit/area/{area}/{}", seq.checked_rem(slots).unwrap_or_default())
}

/// Reads an area's head.
pub(super) fn find(area: u16, keys: &MacKeys, shared: &mut dyn SharedData) -> Found {
    let name = name(area);
    let Some((bytes, version)) = shared.read(&name) else {
        return Found { head: None, version: ABSENT };
    };
    Found { head: Head::open(keys, &name, &bytes), version }
}

/// Writes a record into its slot. False when the host refuses.
pub(super) fn put(
    (area, slots): (u16, u64),
    seq: u64,
    sealed: &[u8],
    shared: &mut dyn SharedData,
) -> bool {
    shared.replace(&slot(area, seq, slots), sealed, ANY)
}

/// What the slot of a record holds; whether it is that record the key says.
pub(super) fn get(
    (area, slots): (u16, u64),
    seq: u64,
    shared: &mut dyn SharedData,
) -> Option<Vec<u8>> {
    let (sealed, _) = shared.read(&slot(area, seq, slots))?;
    (!sealed.is_empty()).then_some(sealed)
}

impl Head {
    pub(super) fn alive(&self, now: UnixMillis) -> bool {
        now.since(self.written) < DEAD_AFTER
    }

    /// Puts it where `found` was. False when somebody else was there meanwhile.
    pub(super) fn put(
        &self,
        area: u16,
        version: u32,
        keys: &MacKeys,
        shared: &mut dyn SharedData,
    ) -> bool {
        let name = name(area);
        shared.replace(&name, &self.seal(keys, &name), version)
    }

    fn seal(&self, keys: &MacKeys, name: &str) -> Vec<u8> {
        let Waiting { boot, vm, first, prev, next } = &self.waiting;
        let mut bytes = Vec::with_capacity(BODY.saturating_add(mac::LENGTH));
        bytes.push(u8::from(self.held));
        [&self.owner, boot, vm].iter().for_each(|id| bytes.extend_from_slice(id.as_slice()));
        bytes.extend_from_slice(&first.to_be_bytes());
        bytes.extend_from_slice(&next.to_be_bytes());
        bytes.extend_from_slice(prev);
        bytes.extend_from_slice(&self.written.0.to_be_bytes());
        // The body has a fixed length, so name and body cannot be confused.
        let mac = keys.sign(LABEL, &[&bytes, name.as_bytes()]);
        bytes.extend_from_slice(&mac);
        bytes
    }

    fn open(keys: &MacKeys, name: &str, bytes: &[u8]) -> Option<Self> {
        let (body, mac) = bytes.split_at_checked(BODY)?;
        if !keys.verify(LABEL, &[body, name.as_bytes()], mac) {
            return None;
        }
        let (held, body) = body.split_first()?;
        let (owner, body) = body.split_first_chunk()?;
        let (boot, body) = body.split_first_chunk()?;
        let (vm, body) = body.split_first_chunk()?;
        let (first, body) = body.split_first_chunk()?;
        let (next, body) = body.split_first_chunk()?;
        let (prev, written) = body.split_first_chunk()?;
        let (first, next) = (u64::from_be_bytes(*first), u64::from_be_bytes(*next));
        Some(Self {
            held: *held == 1,
            owner: *owner,
            waiting: Waiting { boot: *boot, vm: *vm, first, prev: *prev, next },
            written: UnixMillis(u64::from_be_bytes(written.try_into().ok()?)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    fn keys(fill: u8) -> MacKeys {
        MacKeys::new(Secret::new(vec![fill; 32]), None).unwrap()
    }

    #[test]
    fn a_head_opens_under_its_key_and_name_only_and_no_byte_of_it_can_change() {
        let waiting = Waiting { boot: [1; 16], vm: [2; 16], first: 3, prev: [4; 32], next: 5 };
        let head = Head { held: true, owner: [6; 16], waiting, written: UnixMillis(7) };
        let sealed = head.seal(&keys(1), "a");
        assert_eq!(Head::open(&keys(1), "a", &sealed), Some(head));
        assert_eq!(Head::open(&keys(2), "a", &sealed), None);
        assert_eq!(Head::open(&keys(1), "b", &sealed), None);
        for at in 0..sealed.len() {
            let mut bad = sealed.clone();
            bad[at] ^= 1;
            assert_eq!(Head::open(&keys(1), "a", &bad), None, "{at}");
        }
    }
}
