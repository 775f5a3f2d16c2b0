//! Records that wait are in shared data too: a VM that is gone leaves them to another one.
//!
//! Owns this VM's area and, one at a time, an area that somebody left. Every record is put into
//! a slot before its receipt is given; the head follows each second. Who finds a head that
//! has been silent delivers what is there, on the chain of the VM that left it.
//!
//! Invariant: nothing here decides whether a request may pass. A host that refuses, or areas
//! that are all taken, leave records in memory alone, and are counted. Records that were left
//! and do not open any more are counted in a record of their own.

use std::time::Duration;

use super::area::{self, AREAS, Area, Found, Head, Scope, Waiting, apart};
use super::buffer::{Buffer, Room};
use super::sealed::RecordKey;
use crate::chain::{START, edge_link};
use crate::effect::Metric;
use crate::key_service::Batch;
use crate::mac::MacKeys;
use crate::receipt::SharedData;
use crate::time::UnixMillis;

/// A head is written again when it is this old, so that it is never silent for
/// [`area::DEAD_AFTER`] while the VM runs.
const BEAT: Duration = Duration::from_secs(1);
/// Time between two looks for areas that were left.
const LOOK: Duration = Duration::from_secs(2);
/// Shortest and longest time between two attempts to deliver what was left: longer than a call
/// is waited for, so that this VM's own records come between.
const AGAIN: Duration = Duration::from_secs(20);
const AGAIN_AT_MOST: Duration = Duration::from_secs(120);

/// Records that another VM left do not open.
pub(super) const LOST: Metric = Metric("postern.audit.spill.reason=lost.total");

/// What is to be counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Noticed {
    /// The host does not take records; they wait in memory alone.
    Refused,
    /// There is no area for this VM: its records wait in memory alone.
    NoArea,
    /// Records that another VM left were taken over.
    TakenOver,
    /// An area's head is none that a logger writes: what was in it may be missing.
    Forged,
}

impl Noticed {
    pub(super) fn metric(self) -> Metric {
        Metric(match self {
            Self::Refused => "postern.audit.spill.reason=refused.total",
            Self::NoArea => "postern.audit.spill.reason=no_area.total",
            Self::TakenOver => "postern.audit.spill.reason=taken_over.total",
            Self::Forged => "postern.audit.spill.reason=forged.total",
        })
    }
}

/// Shared data as this VM uses it.
pub(super) struct Spill {
    vm: [u8; 16],
    slots: u64,
    scope: Scope,
    area: Option<Area>,
    /// Behind the last record that was put into a slot, and the first that was not emptied.
    stored: u64,
    emptied: u64,
    beaten: UnixMillis,
    looked: UnixMillis,
    left: Option<Left>,
}

/// What another VM left.
struct Left {
    area: Area,
    keys: Vec<RecordKey>,
    waiting: Waiting,
    emptied: u64,
    not_before: UnixMillis,
    pause: Duration,
}

/// Records that were left and are gone.
pub(super) struct Lost {
    pub(super) count: u64,
    pub(super) vm: [u8; 16],
}

/// What is to be sent of what was left.
pub(super) enum Next {
    Nothing,
    Batch(Batch),
    /// The area is free again; records were missing.
    Ended(Option<Lost>),
}

impl Spill {
    pub(super) fn new(vm: [u8; 16], slots: u64, scope: Scope) -> Self {
        let (beaten, looked) = (UnixMillis(0), UnixMillis(0));
        Self { vm, slots, scope, area: None, stored: 0, emptied: 0, beaten, looked, left: None }
    }

    fn areas(&self) -> impl Iterator<Item = Area> + use<> {
        let scope = self.scope;
        (0..AREAS).map(move |number| Area { scope, number })
    }

    /// Whether [`Spill::keep`] has to run before anything is stored: this VM may have been
    /// taken for dead.
    pub(super) fn overdue(&self, now: UnixMillis) -> bool {
        apart(now, self.beaten) >= BEAT.saturating_mul(2)
    }

    /// Puts into slots what is on the chain and in none yet.
    pub(super) fn store(
        &mut self,
        buffer: &Buffer,
        shared: &mut dyn SharedData,
    ) -> Option<Noticed> {
        let area = self.area?;
        let mut told = None;
        for (seq, sealed) in buffer.sealed_from(self.stored) {
            if !area::put((area, self.slots), seq, sealed, shared) {
                told = Some(Noticed::Refused);
            }
        }
        self.stored = buffer.next();
        told
    }

    /// Empties the slots of what was acknowledged, behind a head that says so.
    pub(super) fn settle(
        &mut self,
        buffer: &Buffer,
        keys: &MacKeys,
        shared: &mut dyn SharedData,
        now: UnixMillis,
    ) {
        let first = buffer.waiting().first;
        if let Some(area) = self.area
            && self.emptied < first
            && self.beat(buffer, keys, shared, now)
        {
            empty((area, self.slots), self.emptied..first, shared);
            self.emptied = first;
        }
        self.settle_left(keys, shared, now);
    }

    fn settle_left(&mut self, keys: &MacKeys, shared: &mut dyn SharedData, now: UnixMillis) {
        let owner = self.vm;
        let Some(left) = &mut self.left else { return };
        let waiting = left.waiting.clone();
        let head = Head { held: true, owner, waiting, written: now };
        if !owned(left.area, &owner, keys, shared, &head) {
            // Somebody took this VM for dead, and delivers the rest.
            self.left = None;
            return;
        }
        let first = left.waiting.first;
        empty((left.area, left.waiting.slots), left.emptied..first, shared);
        left.emptied = first;
    }

    /// Writes the heads again and looks for an area that was left, each in its time.
    pub(super) fn keep(
        &mut self,
        buffer: &Buffer,
        keys: &MacKeys,
        shared: &mut dyn SharedData,
        now: UnixMillis,
    ) -> Vec<Noticed> {
        let mut told = Vec::new();
        if apart(now, self.beaten) >= BEAT {
            if !self.beat(buffer, keys, shared, now) {
                self.claim(buffer, keys, shared, now, &mut told);
            }
            self.settle_left(keys, shared, now);
            self.beaten = now;
        }
        if self.left.is_none() && apart(now, self.looked) >= LOOK {
            self.looked = now;
            self.left = self.take_over(keys, shared, now, &mut told);
            told.extend(self.left.as_ref().map(|_| Noticed::TakenOver));
        }
        told
    }

    /// Says in the head what waits. False when the area is not this VM's (any more).
    fn beat(
        &mut self,
        buffer: &Buffer,
        keys: &MacKeys,
        shared: &mut dyn SharedData,
        now: UnixMillis,
    ) -> bool {
        let Some(area) = self.area else { return false };
        let head = Head { held: true, owner: self.vm, waiting: buffer.waiting(), written: now };
        if !owned(area, &self.vm, keys, shared, &head) {
            self.area = None;
            return false;
        }
        true
    }

    /// Takes the first area that is free, for everything that waits.
    fn claim(
        &mut self,
        buffer: &Buffer,
        keys: &MacKeys,
        shared: &mut dyn SharedData,
        now: UnixMillis,
        told: &mut Vec<Noticed>,
    ) {
        let waiting = buffer.waiting();
        let (owner, first) = (self.vm, waiting.first);
        let head = Head { held: true, owner, waiting, written: now };
        self.area = self.areas().find(|area| {
            let found = area::find(*area, keys, shared);
            let taken = found.is_free() && head.put(*area, found.version, keys, shared);
            told.extend((taken && found.is_forged()).then_some(Noticed::Forged));
            taken
        });
        (self.stored, self.emptied) = (first, first);
        told.extend(if self.area.is_none() {
            Some(Noticed::NoArea)
        } else {
            self.store(buffer, shared)
        });
    }

    /// The first area whose owner is silent. Areas are taken in their order, so none comes
    /// behind one that never was. One that does not open is left to anybody, and told.
    fn take_over(
        &self,
        keys: &MacKeys,
        shared: &mut dyn SharedData,
        now: UnixMillis,
        told: &mut Vec<Noticed>,
    ) -> Option<Left> {
        for area in self.areas() {
            let found = area::find(area, keys, shared);
            if found.version == crate::receipt::ABSENT {
                return None;
            }
            if found.is_forged() {
                told.extend(self.freed(area, &found, keys, shared, now).then_some(Noticed::Forged));
            } else if let Some(left) = self.taken(area, found, keys, shared, now) {
                return Some(left);
            }
        }
        None
    }

    fn freed(
        &self,
        area: Area,
        found: &Found,
        keys: &MacKeys,
        shared: &mut dyn SharedData,
        now: UnixMillis,
    ) -> bool {
        let (boot, vm, slots) = ([0; 16], self.vm, self.slots);
        let waiting = Waiting { boot, vm, first: 0, prev: START, next: 0, slots };
        let free = Head { held: false, owner: self.vm, waiting, written: now };
        free.put(area, found.version, keys, shared)
    }

    fn taken(
        &self,
        area: Area,
        found: Found,
        keys: &MacKeys,
        shared: &mut dyn SharedData,
        now: UnixMillis,
    ) -> Option<Left> {
        let left = |head: &Head| head.held && head.owner != self.vm && !head.alive(now);
        let head = found.head.filter(left)?;
        let mine = Head { owner: self.vm, written: now, ..head };
        if !mine.put(area, found.version, keys, shared) {
            return None;
        }
        let waiting = mine.waiting;
        let keys = RecordKey::each(keys, &waiting.vm);
        let emptied = waiting.first;
        Some(Left { area, keys, emptied, waiting, not_before: now, pause: AGAIN })
    }

    /// Whether something that was left is to be sent.
    pub(super) fn due(&self, now: UnixMillis) -> bool {
        self.left.as_ref().is_some_and(|left| now >= left.not_before)
    }

    /// The oldest of what was left, or its end.
    pub(super) fn next(
        &mut self,
        keys: &MacKeys,
        shared: &mut dyn SharedData,
        now: UnixMillis,
    ) -> Next {
        let Some(left) = self.left.as_mut().filter(|left| now >= left.not_before) else {
            return Next::Nothing;
        };
        left.not_before = now.after(left.pause);
        left.pause = left.pause.saturating_mul(2).min(AGAIN_AT_MOST);
        if let Some(batch) = left.batch(shared) {
            return Next::Batch(batch);
        }
        let ended = self.left.take().and_then(|left| left.end(&self.vm, keys, shared, now));
        Next::Ended(ended)
    }

    /// Forgets what was acknowledged of a batch that was left. False when that is nothing.
    pub(super) fn acknowledged(&mut self, batch: &Batch, next: u64, now: UnixMillis) -> bool {
        let Some(left) = self.left.as_mut().filter(|left| left.waiting.vm == batch.vm) else {
            return false;
        };
        if next <= batch.first || left.waiting.first != batch.first {
            return false;
        }
        let taken = usize::try_from(next.saturating_sub(batch.first)).unwrap_or(usize::MAX);
        for record in batch.records.iter().take(taken) {
            left.waiting.prev = edge_link(&left.waiting.prev, record);
            left.waiting.first = left.waiting.first.saturating_add(1);
        }
        (left.not_before, left.pause) = (now, AGAIN);
        true
    }
}

impl Left {
    fn batch(&self, shared: &mut dyn SharedData) -> Option<Batch> {
        let Waiting { boot, vm, first, prev, slots, .. } = self.waiting;
        let (mut room, mut records) = (Room::default(), Vec::new());
        let mut seq = first;
        // A run is never longer than there are slots: the next one would be its own start.
        while seq.saturating_sub(first) < slots {
            let Some(record) = self.record(seq, shared) else { break };
            if !room.takes(&record) {
                break;
            }
            records.push(record);
            seq = seq.saturating_add(1);
        }
        (!records.is_empty()).then_some(Batch { boot, vm, first, prev, records })
    }

    fn record(&self, seq: u64, shared: &mut dyn SharedData) -> Option<Vec<u8>> {
        let sealed = area::get((self.area, self.waiting.slots), seq, shared)?;
        self.keys.iter().find_map(|key| key.open(seq, &sealed))
    }

    /// Leaves the area to anybody; says how many records of it were missing.
    fn end(
        self,
        owner: &[u8; 16],
        keys: &MacKeys,
        shared: &mut dyn SharedData,
        now: UnixMillis,
    ) -> Option<Lost> {
        let Waiting { first, next, vm, .. } = self.waiting;
        let free = Head { held: false, owner: *owner, waiting: self.waiting, written: now };
        if !owned(self.area, owner, keys, shared, &free) {
            return None;
        }
        let count = next.saturating_sub(first);
        (count > 0).then_some(Lost { count, vm })
    }
}

/// Replaces the head of an area that is `owner`'s. False when it is not.
fn owned(
    area: Area,
    owner: &[u8; 16],
    keys: &MacKeys,
    shared: &mut dyn SharedData,
    head: &Head,
) -> bool {
    let found = area::find(area, keys, shared);
    let ours = found.head.is_some_and(|held| held.held && held.owner == *owner);
    ours && head.put(area, found.version, keys, shared)
}

fn empty(of: (Area, u64), slots: std::ops::Range<u64>, shared: &mut dyn SharedData) {
    for seq in slots {
        let _ = area::put(of, seq, &[], shared);
    }
}
