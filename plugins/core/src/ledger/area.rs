//! The areas of shared data in which records wait, and what their heads say.
//!
//! An area is `audit/area/<scope>/<number>`, its head, and below it `/<slot>`, a sealed record
//! each; the scope is a hash of gateway and tenant. Shared data is never deleted, so areas and slots are a fixed set: whoever delivered an
//! area leaves it free, and its slots empty.
//!
//! Invariant: shared data is only a hint. A head counts when its MAC, which covers its key
//! name, holds; only its owner changes it, until it has been silent for [`DEAD_AFTER`].

use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::chain::Hash;
use crate::hex;
use crate::mac::{self, MacKeys};
use crate::receipt::{ABSENT, ANY, SharedData};
use crate::time::UnixMillis;

/// Areas there are: more VMs than that keep their records in memory alone.
pub(super) const AREAS: u16 = 256;
/// The head of a VM that runs is younger than this.
pub(super) const DEAD_AFTER: Duration = Duration::from_secs(5);

const LABEL: &[u8] = b"postern area/1\0";
const BODY: usize = 113;
const SCOPE: &[u8] = b"postern areas/1\0";

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
    /// Slots that its area has: each VM has as many as its buffer asks for.
    pub(super) slots: u64,
}

/// Gateway and tenant of a logger: others are sealed for other chains.
pub(super) type Scope = [u8; 8];

/// The scope of this logger.
pub(super) fn scope(gateway: &[u8; 16], tenant: &str) -> Scope {
    let digest = Sha256::new().chain_update(SCOPE).chain_update(gateway).chain_update(tenant);
    let mut scope = [0; 8];
    scope.iter_mut().zip(digest.finalize()).for_each(|(to, from)| *to = from);
    scope
}

/// Which area.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Area {
    pub(super) scope: Scope,
    pub(super) number: u16,
}

impl Area {
    /// Where its head is.
    fn name(self) -> String {
        format!("audit/area/{}/{}", hex::lower(&self.scope), self.number)
    }

    fn slot(self, seq: u64, slots: u64) -> String {
        format!("{}/{}", self.name(), seq.checked_rem(slots).unwrap_or_default())
    }
}

/// What a head says: `held(1) owner(16) boot(16) vm(16) first(8) next(8) slots(8) prev(32)
/// written(8) mac(32)`.
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

    /// Whether something is there that is none of ours.
    pub(super) fn is_forged(&self) -> bool {
        self.head.is_none() && self.version != ABSENT
    }
}

/// Reads an area's head.
pub(super) fn find(area: Area, keys: &MacKeys, shared: &mut dyn SharedData) -> Found {
    let name = area.name();
    let Some((bytes, version)) = shared.read(&name) else {
        return Found { head: None, version: ABSENT };
    };
    Found { head: Head::open(keys, &name, &bytes), version }
}

/// Writes a record into its slot. False when the host refuses.
pub(super) fn put(
    (area, slots): (Area, u64),
    seq: u64,
    sealed: &[u8],
    shared: &mut dyn SharedData,
) -> bool {
    shared.replace(&area.slot(seq, slots), sealed, ANY)
}

/// What the slot of a record holds; whether it is that record the key says.
pub(super) fn get(
    (area, slots): (Area, u64),
    seq: u64,
    shared: &mut dyn SharedData,
) -> Option<Vec<u8>> {
    let (sealed, _) = shared.read(&area.slot(seq, slots))?;
    (!sealed.is_empty()).then_some(sealed)
}

/// Time between two moments, whichever came first: a clock may be set back.
pub(super) fn apart(one: UnixMillis, other: UnixMillis) -> Duration {
    Duration::from_millis(one.0.abs_diff(other.0))
}

impl Head {
    pub(super) fn alive(&self, now: UnixMillis) -> bool {
        apart(now, self.written) < DEAD_AFTER
    }

    /// Puts it where `found` was. False when somebody else was there meanwhile.
    pub(super) fn put(
        &self,
        area: Area,
        version: u32,
        keys: &MacKeys,
        shared: &mut dyn SharedData,
    ) -> bool {
        let name = area.name();
        shared.replace(&name, &self.seal(keys, &name), version)
    }

    fn seal(&self, keys: &MacKeys, name: &str) -> Vec<u8> {
        let Waiting { boot, vm, first, prev, next, slots } = &self.waiting;
        let mut bytes = Vec::with_capacity(BODY.saturating_add(mac::LENGTH));
        bytes.push(u8::from(self.held));
        [&self.owner, boot, vm].iter().for_each(|id| bytes.extend_from_slice(id.as_slice()));
        bytes.extend_from_slice(&first.to_be_bytes());
        bytes.extend_from_slice(&next.to_be_bytes());
        bytes.extend_from_slice(&slots.to_be_bytes());
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
        let (slots, body) = body.split_first_chunk()?;
        let (prev, written) = body.split_first_chunk()?;
        let (first, next) = (u64::from_be_bytes(*first), u64::from_be_bytes(*next));
        let slots = u64::from_be_bytes(*slots);
        Some(Self {
            held: *held == 1,
            owner: *owner,
            waiting: Waiting { boot: *boot, vm: *vm, first, prev: *prev, next, slots },
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
        let (boot, vm, first, next) = ([1; 16], [2; 16], 3, 5);
        let waiting = Waiting { boot, vm, first, prev: [4; 32], next, slots: 8 };
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
