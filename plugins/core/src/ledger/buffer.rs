//! Records that are on the chain and not acknowledged.
//!
//! Invariant: what is held is one unbroken run of the chain up to its head, and never
//! more bytes than the bound.

use std::collections::VecDeque;

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

pub(super) struct Buffer {
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
    bytes: Vec<u8>,
    head: Hash,
    time: UnixMillis,
}

impl Held {
    fn cost(&self) -> usize {
        cost(&self.bytes)
    }
}

fn cost(bytes: &[u8]) -> usize {
    bytes.len().saturating_add(OVERHEAD)
}

impl Buffer {
    pub(super) fn new(boot: [u8; 16], vm: [u8; 16], bound: usize) -> Self {
        let (chain, held) = (Chain::default(), VecDeque::new());
        Self { boot, vm, chain, held, first: 0, prev: START, bytes: 0, bound, crowded: false }
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
    pub(super) fn push(&mut self, bytes: Vec<u8>, time: UnixMillis) -> bool {
        let grown = self.bytes.saturating_add(cost(&bytes));
        if grown > self.bound {
            return false;
        }
        self.bytes = grown;
        self.crowded |= grown >= (self.bound / 4).saturating_mul(3);
        self.chain.append(&bytes);
        self.held.push_back(Held { bytes, head: self.chain.head(), time });
        true
    }

    /// The oldest records, as many as one message takes: each costs a round trip and the
    /// sealing, so a buffer that fills has to empty in large pieces.
    pub(super) fn batch(&self) -> Option<Batch> {
        let mut bytes = 0_usize;
        let fits = |held: &&Held| {
            bytes = bytes.saturating_add(held.bytes.len()).saturating_add(2);
            bytes <= MAX_BATCH
        };
        let records: Vec<_> = self.held.iter().take(MAX_RECORDS).take_while(fits).collect();
        let records: Vec<_> = records.into_iter().map(|held| held.bytes.clone()).collect();
        let (boot, vm, first, prev) = (self.boot, self.vm, self.first, self.prev);
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
