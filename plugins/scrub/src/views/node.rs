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
}

impl Node {
    pub(super) fn new(kind: Kind, start: State) -> Self {
        let (held, starts) = (Held::default(), VecDeque::new());
        Self { kind, awake: false, state: start, held, starts, gap: 0 }
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
        self.awake = true;
        self.state = state;
        self.gap = 0;
        self.starts.clear();
        let live = automaton.live(state);
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
        if !self.awake {
            return;
        }
        if self.kind.passes() {
            if self.kind.leaves_out(from.byte) {
                return self.left_out(automaton);
            }
            return self.step(automaton, from, hits);
        }
        read.clear();
        self.decode(from, read);
        if read.is_empty() {
            self.left_out(automaton);
        }
        for from in read.drain(..) {
            self.step(automaton, from, hits);
        }
    }

    /// What `from` completes.
    pub(super) fn decode(&mut self, from: From, read: &mut Vec<From>) {
        if self.kind == Kind::Escapes && from.byte == 0 {
            return;
        }
        self.held.push(self.kind, from, read);
    }

    /// A byte made nothing here. What has too many of them in it is open no longer.
    pub(super) fn left_out(&mut self, automaton: &Automaton) {
        if !self.awake {
            return;
        }
        self.gap = self.gap.saturating_add(1);
        if self.gap > LONGEST_GAP {
            self.state = automaton.start();
            self.starts.clear();
            self.held = Held::default();
        }
    }

    /// One byte of this view.
    pub(super) fn step(&mut self, automaton: &Automaton, from: From, hits: &mut Vec<Hit>) {
        self.gap = 0;
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
                hits.push(Hit { start, end: from.end });
            }
        }
    }

    /// Sleeps when it has come to agree with the view above, which is in `above`.
    pub(super) fn doze(&mut self, above: State) {
        if self.awake && self.held.is_empty() && self.state == above {
            self.awake = false;
        }
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
