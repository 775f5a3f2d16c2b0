//! One view: what it makes of bytes, and how far it is in the automaton.
//!
//! Invariant: a view that is awake knows where each of its last bytes came from, for as
//! many bytes as the longest pattern has.

use std::collections::VecDeque;

use super::unescape::{Held, Kind};
use super::{From, Hit};
use crate::automaton::{Automaton, State};
use crate::forms::SHORTEST;

/// A view gives up on what is open after it has left out so many bytes in a row.
const LONGEST_GAP: u32 = 64;
/// Where bytes are left out, shorter patterns would hit by chance.
const SHORTEST_WITH_GAPS: usize = 8;

/// A view.
pub(super) struct Node {
    kind: Kind,
    awake: bool,
    state: State,
    held: Held,
    /// Where the last bytes began.
    starts: VecDeque<u64>,
    /// Bytes left out since the last one that was not.
    gap: u32,
    /// So many of the last bytes came as they are from the view above.
    same: usize,
    /// Bytes that begin before are not read.
    since: u64,
}

impl Node {
    pub(super) fn new(kind: Kind, start: State) -> Self {
        let (held, starts) = (Held::default(), VecDeque::new());
        Self { kind, awake: false, state: start, held, starts, gap: 0, same: 0, since: 0 }
    }

    /// Begins anew at `since`, in the state in which nothing is open; asleep without.
    pub(super) fn begin(&mut self, since: Option<u64>, start: State) {
        self.awake = since.is_some();
        self.since = since.unwrap_or(0);
        (self.state, self.gap, self.same) = (start, 0, 0);
        self.held = Held::default();
        self.starts.clear();
    }

    /// Whether `from` is before where it begins.
    pub(super) fn waits(&self, from: From) -> bool {
        self.awake && from.start < self.since
    }

    pub(super) fn awake(&self) -> bool {
        self.awake
    }

    pub(super) fn state(&self) -> State {
        self.state
    }

    pub(super) fn starts(&self) -> &VecDeque<u64> {
        &self.starts
    }

    /// Whether `byte` reads otherwise here, where the view above is in `before`.
    pub(super) fn wakes(&self, automaton: &Automaton, byte: u8, before: State) -> bool {
        let live = || automaton.live(before) >= self.kind.least_open();
        !self.awake && (self.kind.leads(byte) || (self.kind.leaves_out(byte) && live()))
    }

    /// Begins where the view above is: in `state`, its last bytes begun at `starts`, or,
    /// where that is the content itself, just before `at`.
    pub(super) fn wake(
        &mut self,
        automaton: &Automaton,
        state: State,
        starts: Option<&VecDeque<u64>>,
        at: u64,
    ) {
        let live = automaton.live(state);
        self.awake = true;
        (self.state, self.gap, self.same, self.since) = (state, 0, live, 0);
        self.starts.clear();
        match starts {
            Some(starts) => {
                let skip = starts.len().saturating_sub(live);
                self.starts.extend(starts.iter().skip(skip));
            }
            None => {
                let first = at.saturating_sub(u64::try_from(live).unwrap_or(0));
                self.starts.extend(first..at);
            }
        }
    }

    /// A leaf's turn: wakes when it must, and reads on when it is awake. `read` is kept for
    /// its memory.
    pub(super) fn take(
        &mut self,
        automaton: &Automaton,
        from: From,
        before: State,
        starts: Option<&VecDeque<u64>>,
        read: &mut Vec<From>,
        hits: &mut Vec<Hit>,
    ) {
        if self.wakes(automaton, from.byte, before) {
            self.wake(automaton, before, starts, from.start);
        }
        if !self.awake || from.start < self.since {
            return;
        }
        if self.kind.passes() {
            if self.kind.leaves_out(from.byte) && self.is_open(automaton) {
                return self.left_out(automaton);
            }
            return self.step(automaton, from, true, hits);
        }
        read.clear();
        self.decode(automaton, from, read);
        if read.is_empty() {
            self.left_out(automaton);
        }
        for own in read.drain(..) {
            self.step(automaton, own, own == from, hits);
        }
    }

    /// What `from` completes.
    pub(super) fn decode(&mut self, automaton: &Automaton, from: From, read: &mut Vec<From>) {
        let holds = !self.held.is_empty();
        if self.kind.leaves_out(from.byte) && !holds && !self.is_open(automaton) {
            return read.push(from);
        }
        if self.kind == Kind::Escapes && from.byte == 0 {
            return;
        }
        self.held.push(self.kind, from, read);
    }

    /// Whether enough is open for a byte to be left out; else it is read as it is.
    fn is_open(&self, automaton: &Automaton) -> bool {
        automaton.live(self.state) >= self.kind.least_open()
    }

    /// A byte made nothing here. What has too many of them in it is open no longer.
    pub(super) fn left_out(&mut self, automaton: &Automaton) {
        if !self.awake {
            return;
        }
        self.gap = self.gap.saturating_add(1);
        self.same = 0;
        if self.gap > LONGEST_GAP {
            self.state = automaton.start();
            self.starts.clear();
            self.held = Held::default();
        }
    }

    /// One byte of this view; whether it came as it is from the view above.
    pub(super) fn step(
        &mut self,
        automaton: &Automaton,
        from: From,
        same: bool,
        hits: &mut Vec<Hit>,
    ) {
        self.gap = 0;
        self.same = if same { self.same.saturating_add(1) } else { 0 };
        self.state = automaton.next(self.state, from.byte);
        self.starts.push_back(from.start);
        if self.starts.len() > automaton.longest_pattern() {
            self.starts.pop_front();
        }
        let length = automaton.longest(self.state);
        if length > 0 {
            let least = if self.kind.passes() { SHORTEST_WITH_GAPS } else { SHORTEST };
            if let Some(start) = self.begun(length)
                && length >= least
            {
                Hit { start, end: from.end }.join(hits);
            }
        }
    }

    /// Sleeps when it has come to agree with the view above, which is in `above`: what is open
    /// has to have begun at the same places, too. The content was read up to `at`.
    pub(super) fn doze(&mut self, automaton: &Automaton, above: State, at: u64) {
        let agrees = self.awake && self.state == above && self.held.is_empty() && at >= self.since;
        if agrees && automaton.live(above) <= self.same {
            self.awake = false;
        }
    }

    /// The place from which it would have to be read again to be in the same state; `at`
    /// follows what was read. `None` before it has begun.
    pub(super) fn began(&self, automaton: &Automaton, at: u64) -> Option<u64> {
        if at < self.since {
            return None;
        }
        let first = self.starts.len().checked_sub(automaton.live(self.state))?;
        let first = self.starts.get(first).copied().unwrap_or(at);
        Some(self.held.start().map_or(first, |held| held.min(first)))
    }

    /// Where the first byte stands that may belong to something open.
    pub(super) fn open_from(&self, automaton: &Automaton) -> Option<u64> {
        if !self.awake {
            return None;
        }
        let live = automaton.live(self.state);
        let alone = live == 1 && self.gap > 0 && self.kind.has_gaps();
        let first = self.begun(live).filter(|_| live > 0 && !alone);
        first.or(self.held.start())
    }

    /// Where the last `length` bytes began. One byte in front of a gap does not count:
    /// else a line that ends in any pattern's first byte would wait for the next.
    fn begun(&self, length: usize) -> Option<u64> {
        let first = self.starts.len().checked_sub(length)?;
        let start = *self.starts.get(first)?;
        let second = first.checked_add(1).and_then(|second| self.starts.get(second));
        match second {
            Some(second) if self.kind.has_gaps() && *second != start.saturating_add(1) => {
                Some(*second)
            }
            _ => Some(start),
        }
    }
}
