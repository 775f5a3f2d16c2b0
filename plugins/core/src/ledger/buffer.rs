//! Records that are on the chain and not acknowledged, sealed.
//!
//! Invariant: what is held is one unbroken run of the chain up to its head, and never
//! more bytes than the bound.

use std::collections::VecDeque;

use super::area::Waiting;
use super::sealed::{self, RecordKey};
use crate::chain::{Chain, Hash, START};
use crate::key_service::Batch;
use crate::time::UnixMillis;

/// Largest record. Drafts are bounded far below, unless every character needs an escape.
pub(super) const MAX_RECORD: usize = 16 * 1024;
/// Most bytes of one batch, two for the length of each record included: what the protocol
/// takes in one message.
const MAX_BATCH: usize = 60 * 1024;
/// Most records of one batch.
const MAX_RECORDS: usize = 1000;
/// What one record costs beside its bytes: hash, time, length, allocation.
const OVERHEAD: usize = 96;
/// What a record costs at least, so that the bound is one of their number too.
const LEAST: usize = 256;

/// What fits into one message: each costs a round trip and the sealing, so a buffer that
/// fills has to empty in large pieces.
#[derive(Default)]
pub(super) struct Room {
    bytes: usize,
    records: usize,
}

impl Room {
    /// Whether this record fits too; then it is counted.
    pub(super) fn takes(&mut self, record: &[u8]) -> bool {
        self.bytes = self.bytes.saturating_add(record.len()).saturating_add(2);
        self.records = self.records.saturating_add(1);
        self.bytes <= MAX_BATCH && self.records <= MAX_RECORDS
    }
}

/// Most records that a buffer of this bound holds.
pub(super) fn most_records(bound: usize) -> u64 {
    u64::try_from(bound / LEAST).unwrap_or(u64::MAX)
}

pub(super) struct Buffer {
    key: RecordKey,
    boot: [u8; 16],
    vm: [u8; 16],
    chain: Chain,
    held: VecDeque<Held>,
    /// Sequence number of the first record held, and the head before it.
    first: u64,
    prev: Hash,
    bytes: usize,
    bound: usize,
    crowded: bool,
}

struct Held {
    sealed: Vec<u8>,
    head: Hash,
    time: UnixMillis,
}

impl Held {
    fn cost(&self) -> usize {
        cost(self.sealed.len())
    }
}

fn cost(sealed: usize) -> usize {
    sealed.saturating_add(OVERHEAD).max(LEAST)
}

impl Buffer {
    pub(super) fn new(key: RecordKey, (boot, vm): ([u8; 16], [u8; 16]), bound: usize) -> Self {
        let (chain, held) = (Chain::default(), VecDeque::new());
        let (first, prev, bytes, crowded) = (0, START, 0, false);
        Self { key, boot, vm, chain, held, first, prev, bytes, bound, crowded }
    }

    /// The part of the chain that waits.
    pub(super) fn waiting(&self) -> Waiting {
        let (boot, vm, first, prev) = (self.boot, self.vm, self.first, self.prev);
        Waiting { boot, vm, first, prev, next: self.next(), slots: most_records(self.bound) }
    }

    /// What waits from this number on, as it is sealed.
    pub(super) fn sealed_from(&self, seq: u64) -> impl Iterator<Item = (u64, &[u8])> {
        let skip = usize::try_from(seq.saturating_sub(self.first)).unwrap_or(usize::MAX);
        let held = self.held.iter().skip(skip).zip(seq.max(self.first)..);
        held.map(|(held, seq)| (seq, held.sealed.as_slice()))
    }

    /// Sequence number of the next record.
    pub(super) fn next(&self) -> u64 {
        self.chain.next()
    }

    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    /// When the oldest record was appended.
    pub(super) fn oldest(&self) -> Option<UnixMillis> {
        self.held.front().map(|held| held.time)
    }

    /// From three quarters of the bound, so that requests under way still find room, until
    /// half of it is free. Were it a single mark, callers who come back at once when they are
    /// refused would hold the buffer there even when all their requests could be recorded.
    pub(super) fn nearly_full(&self) -> bool {
        self.crowded
    }

    /// Appends to the chain. False, and nothing happened, when there is no room.
    pub(super) fn push(&mut self, record: &[u8], time: UnixMillis) -> bool {
        let grown = self.bytes.saturating_add(cost(sealed::length(record)));
        if grown > self.bound {
            return false;
        }
        let Some(sealed) = self.key.seal(self.next(), record) else { return false };
        self.bytes = grown;
        self.crowded |= grown >= (self.bound / 4).saturating_mul(3);
        self.chain.append(record);
        self.held.push_back(Held { sealed, head: self.chain.head(), time });
        true
    }

    /// The oldest records, as many as one message takes.
    pub(super) fn batch(&self) -> Option<Batch> {
        let (mut room, mut records) = (Room::default(), Vec::new());
        for (seq, sealed) in self.sealed_from(self.first) {
            let Some(record) = self.key.open(seq, sealed) else { break };
            if !room.takes(&record) {
                break;
            }
            records.push(record);
        }
        let Waiting { boot, vm, first, prev, .. } = self.waiting();
        (!records.is_empty()).then_some(Batch { boot, vm, first, prev, records })
    }

    /// Forgets everything before `next`. False when that is nothing or not ours to forget.
    pub(super) fn acknowledged(&mut self, next: u64) -> bool {
        if next <= self.first || next > self.chain.next() {
            return false;
        }
        while self.first < next {
            let Some(held) = self.held.pop_front() else { return false };
            self.bytes = self.bytes.saturating_sub(held.cost());
            self.prev = held.head;
            self.first = self.first.saturating_add(1);
        }
        self.crowded &= self.bytes > self.bound / 2;
        true
    }
}
