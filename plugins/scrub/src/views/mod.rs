//! Other readings of the same bytes, in which the same patterns are looked for.
//!
//! An upstream may escape each character as it likes, break lines or spell UTF-16. Such
//! mixtures are not enumerated: each *view* turns the bytes into those that a reader
//! would see, and knows for each where it came from.
//!
//! ```text
//! raw ─┬─ escapes ─┬─ escapes once more
//!      │           ├─ without white space
//!      │           └─ without white space and separators
//!      ├─ quoted-printable
//!      └─ lines of server-sent events joined
//! ```
//!
//! A view that has read the same as the view above it is in the same state, so it sleeps
//! until something comes that it reads in another way, and again once it has come to
//! agree: text without escapes costs one automaton, not seven.
//!
//! Invariant: what is found does not depend on chunks; the work for each byte is
//! bounded, and so is what each view keeps.

mod node;
mod several;
mod unescape;

use std::borrow::Cow;
use std::collections::VecDeque;
use std::rc::Rc;

use crate::automaton::{Automaton, State};
use node::Node;
pub(crate) use several::{Searches, Sets};
use unescape::{Held, Kind};
use zeroize::{Zeroize as _, Zeroizing};

/// A byte of a view and the bytes of the content that it came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct From {
    byte: u8,
    start: u64,
    end: u64,
}

/// Part of the content, from its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hit {
    pub(crate) start: u64,
    pub(crate) end: u64,
}

/// What a reader makes of `bytes` who undoes escapes: without what may go on as an escape
/// at its end, and with it.
pub(crate) fn unescaped(bytes: &[u8]) -> [Zeroizing<Vec<u8>>; 2] {
    let (mut held, mut read) = (Held::default(), Vec::with_capacity(bytes.len()));
    let mut push = |byte, read: &mut Vec<From>| {
        held.push(Kind::Escapes, From { byte, start: 0, end: 0 }, read);
    };
    bytes.iter().for_each(|byte| push(*byte, &mut read));
    let text = |read: &[From]| Zeroizing::new(read.iter().map(|from| from.byte).collect());
    let settled = text(&read);
    push(END, &mut read);
    read.pop();
    let whole = text(&read);
    read.iter_mut().for_each(|from| from.byte.zeroize());
    [settled, whole]
}

/// No byte of text: ends whatever is half read.
const END: u8 = 0xff;

/// Fewer bytes are read by the views at once.
const WORTH: usize = 16;
/// The views read so many bytes before it is asked again whether the rest can be passed over.
const STEP: usize = 8;
/// Behind a doubt, views read at least so many bytes …
const PATIENCE: usize = 32;
/// … and at most so many.
const MOST_PATIENCE: usize = 64 * 1024;
/// A doubt is rare behind so many bytes that were passed over.
const RARE: usize = 4 * PATIENCE;

/// Looks for the patterns in all views of one content.
pub(crate) struct Search {
    automaton: Rc<Automaton>,
    /// How many bytes were read.
    at: u64,
    raw: State,
    views: Views,
    /// How long views read on behind a doubt.
    patience: usize,
    hits: Vec<Hit>,
}

struct Views {
    escapes: Node,
    twice: Node,
    tight: Node,
    apart: Node,
    quoted: Node,
    events: Node,
    /// What one byte becomes among the escapes; kept for its memory.
    read: Vec<From>,
    /// The same of what is made of that.
    leaf: Vec<From>,
}

/// The readings, in the order of the picture above.
const VIEWS: [&str; 7] = ["raw", "escapes", "twice", "tight", "apart", "quoted", "events"];

impl Search {
    /// The readings in which the patterns are looked for.
    pub(crate) fn views() -> Vec<Cow<'static, str>> {
        VIEWS.map(Cow::Borrowed).to_vec()
    }

    pub(crate) fn new(automaton: Rc<Automaton>) -> Self {
        let start = automaton.start();
        let node = |kind| Node::new(kind, start);
        let views = Views {
            escapes: node(Kind::Escapes),
            twice: node(Kind::Escapes),
            tight: node(Kind::Tight),
            apart: node(Kind::Apart),
            quoted: node(Kind::Quoted),
            events: node(Kind::Events),
            read: Vec::new(),
            leaf: Vec::new(),
        };
        Self { automaton, at: 0, raw: start, views, patience: PATIENCE, hits: Vec::new() }
    }

    /// Reads on; what is found is added to [`Search::hits`].
    pub(crate) fn read(&mut self, bytes: &[u8]) {
        let automaton = Rc::clone(&self.automaton);
        let Some(sift) = automaton.sift() else { return self.crawl(bytes, 0, bytes.len()) };
        // Up to where bytes were read by views, and up to where they have to be.
        let (mut at, mut until) = (0, 0);
        while at < bytes.len() {
            if at < until || !self.settled(at) || bytes.len().saturating_sub(at) < WORTH {
                let end = bytes.len().min(at.saturating_add(STEP));
                self.crawl(bytes, at, end);
                at = end;
                continue;
            }
            let floor = at.saturating_sub(self.automaton.live(self.raw));
            let rest = bytes.get(floor..).unwrap_or_default();
            let (from, end) = match sift.doubt(rest) {
                None => (sift.tail(rest), bytes.len()),
                Some(doubt) => {
                    let end = floor.saturating_add(doubt.at).saturating_add(1);
                    self.grow_patient(end.saturating_sub(at));
                    (doubt.from, end.max(at).saturating_add(self.patience))
                }
            };
            let from = floor.saturating_add(from);
            self.begin_at(at, from);
            (at, until) = (from, end);
        }
    }

    /// Whether nothing is open that began before the last `read` bytes.
    fn settled(&self, read: usize) -> bool {
        self.views.all_asleep() && self.automaton.live(self.raw) <= read
    }

    /// Begins anew where nothing is open that has begun before: not at `at`, but at `from`.
    fn begin_at(&mut self, at: usize, from: usize) {
        let place = |index: usize| u64::try_from(index).unwrap_or(u64::MAX);
        self.at = self.at.saturating_sub(place(at)).saturating_add(place(from));
        self.raw = self.automaton.start();
    }

    /// Where doubts are frequent, each costs more than views do; so views read on for
    /// longer. What is passed over costs next to nothing, so a doubt now and then is no reason.
    fn grow_patient(&mut self, passed: usize) {
        let longer = self.patience.saturating_mul(2).min(MOST_PATIENCE);
        self.patience = if passed > RARE { PATIENCE } else { longer };
    }

    /// Reads the bytes between these two in all views.
    fn crawl(&mut self, bytes: &[u8], begin: usize, end: usize) {
        let mut rest = bytes.get(begin..end).unwrap_or_default();
        while let Some((&byte, more)) = rest.split_first() {
            let asleep = self.views.all_asleep();
            if asleep && self.raw == self.automaton.start() {
                let skip =
                    rest.iter().position(|b| self.automaton.begins(*b) || Kind::may_lead(*b));
                let skip = skip.unwrap_or(rest.len());
                if skip > 0 {
                    self.at = self.at.saturating_add(u64::try_from(skip).unwrap_or(u64::MAX));
                    rest = rest.get(skip..).unwrap_or_default();
                    continue;
                }
            }
            self.step(byte, asleep);
            rest = more;
        }
    }

    fn step(&mut self, byte: u8, asleep: bool) {
        let from = From { byte, start: self.at, end: self.at.saturating_add(1) };
        let before = self.raw;
        self.raw = self.automaton.next(before, byte);
        self.at = from.end;
        let length = u64::try_from(self.automaton.longest(self.raw)).unwrap_or(u64::MAX);
        if length > 0 {
            self.hits.push(Hit { start: from.end.saturating_sub(length), end: from.end });
        }
        if !asleep || Kind::may_change(byte) {
            self.views.take(&self.automaton, from, before, self.raw, &mut self.hits);
        }
    }

    /// Nothing follows: what is half read is read as far as it goes.
    pub(crate) fn finish(&mut self) {
        if !self.views.all_asleep() {
            // The content does not have this byte.
            let from = From { byte: END, start: self.at, end: self.at };
            let before = self.raw;
            self.raw = self.automaton.start();
            self.views.take(&self.automaton, from, before, self.raw, &mut self.hits);
        }
    }

    /// What was found and not taken yet, in the order in which it was completed.
    pub(crate) fn hits(&self) -> &[Hit] {
        &self.hits
    }

    /// Takes what was found.
    pub(crate) fn drain_hits(&mut self) -> std::vec::Drain<'_, Hit> {
        self.hits.drain(..)
    }

    /// How many of the last bytes may belong to something that is not complete.
    pub(crate) fn open(&self) -> u64 {
        let raw = u64::try_from(self.automaton.live(self.raw)).unwrap_or(u64::MAX);
        let views = self.views.all().into_iter().filter_map(|node| node.open_from(&self.automaton));
        let views = views.map(|from| self.at.saturating_sub(from));
        views.fold(raw, u64::max)
    }
}

impl Views {
    fn all(&self) -> [&Node; 6] {
        [&self.escapes, &self.twice, &self.tight, &self.apart, &self.quoted, &self.events]
    }

    fn all_asleep(&self) -> bool {
        let Self { escapes, twice, tight, apart, quoted, events, .. } = self;
        let one = escapes.awake() | twice.awake() | tight.awake();
        !(one | apart.awake() | quoted.awake() | events.awake())
    }

    /// Gives one byte to every view; `before` and `after` are the states without views.
    fn take(
        &mut self,
        automaton: &Automaton,
        from: From,
        before: State,
        after: State,
        hits: &mut Vec<Hit>,
    ) {
        let changes = Kind::may_change(from.byte);
        for node in [&mut self.quoted, &mut self.events] {
            if !changes && !node.awake() {
                continue;
            }
            node.take(automaton, from, before, None, &mut self.read, hits);
            node.doze(after);
        }
        let mut read = std::mem::take(&mut self.read);
        read.clear();
        if self.escapes.wakes(automaton, from.byte, before) {
            self.escapes.wake(automaton, before, None, from.start);
        }
        if self.escapes.awake() {
            self.escapes.decode(from, &mut read);
            if read.is_empty() {
                for node in [&mut self.escapes, &mut self.twice, &mut self.tight, &mut self.apart] {
                    node.left_out(automaton);
                }
            }
            for from in &read {
                let before = self.escapes.state();
                self.below(automaton, *from, before, true, hits);
                self.escapes.step(automaton, *from, hits);
                self.doze_below(self.escapes.state());
            }
            self.escapes.doze(after);
        } else {
            self.below(automaton, from, before, false, hits);
            self.doze_below(after);
        }
        self.read = read;
    }

    fn below(
        &mut self,
        automaton: &Automaton,
        from: From,
        before: State,
        mapped: bool,
        hits: &mut Vec<Hit>,
    ) {
        let starts: Option<&VecDeque<u64>> = mapped.then(|| self.escapes.starts());
        let changes = Kind::may_change(from.byte);
        for node in [&mut self.twice, &mut self.tight, &mut self.apart] {
            if !changes && !node.awake() {
                continue;
            }
            node.take(automaton, from, before, starts, &mut self.leaf, hits);
        }
    }

    fn doze_below(&mut self, after: State) {
        for node in [&mut self.twice, &mut self.tight, &mut self.apart] {
            node.doze(after);
        }
    }
}

#[cfg(test)]
mod tests;
