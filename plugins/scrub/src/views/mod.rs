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
//! agree, in state and in where what is open began: text without escapes costs one
//! automaton, not seven. What a view makes of a byte depends on its state and on nothing
//! before, so reading may begin anew wherever nothing is open.
//!
//! Invariant: what is found does not depend on chunks; the work for each byte is
//! bounded, and so is what each view keeps.

mod node;
mod several;
pub(crate) mod unescape;

use std::borrow::Cow;
use std::collections::VecDeque;
use std::rc::Rc;

use crate::automaton::{Automaton, State};
use crate::sift::{Outlook, Starts};
use node::Node;
pub(crate) use several::{Searches, Sets};
use unescape::{Held, Kind};
use zeroize::{Zeroize as _, Zeroizing};

/// A byte of a view and the bytes of the content that it came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct From {
    pub(crate) byte: u8,
    pub(crate) start: u64,
    pub(crate) end: u64,
}

/// Part of the content, from its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hit {
    pub(crate) start: u64,
    pub(crate) end: u64,
}

impl Hit {
    /// Adds it to `hits`, or to the last of them where it overlaps that.
    fn join(self, hits: &mut Vec<Self>) {
        match hits.last_mut() {
            Some(last) if self.start < last.end && last.start < self.end => {
                last.start = last.start.min(self.start);
                last.end = last.end.max(self.end);
            }
            _ => hits.push(self),
        }
    }
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

fn place(index: usize) -> u64 {
    u64::try_from(index).unwrap_or(u64::MAX)
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
            let few = bytes.len().saturating_sub(at) < WORTH;
            let starts = if at < until || few { None } else { self.starts(at) };
            let Some(starts) = starts else {
                let end = bytes.len().min(at.saturating_add(STEP));
                self.crawl(bytes, at, end);
                at = end;
                continue;
            };
            let Outlook { starts, doubt } = sift.look(bytes, &starts);
            until = match doubt.map(|doubt| doubt.max(at)) {
                None => bytes.len(),
                Some(doubt) => {
                    self.grow_patient(doubt.saturating_sub(at));
                    doubt.saturating_add(self.patience)
                }
            };
            self.begin(at, &starts);
            at = starts.first();
        }
    }

    /// Where views have something open, as indices of what is read now, of which `read` bytes
    /// were read; `None` where that began before.
    fn starts(&self, read: usize) -> Option<Starts> {
        // What has escapes of escapes is left to the views until that one sleeps.
        if self.views.twice.awake() {
            return None;
        }
        let base = self.at.checked_sub(place(read))?;
        let index = |at: u64| usize::try_from(at.checked_sub(base)?).ok();
        let Views { escapes, twice, tight, apart, quoted, events, .. } = &self.views;
        let began = |node: &Node| match node.awake() {
            true => Some(Some(node.began(&self.automaton, self.at).and_then(index)?)),
            false => Some(None),
        };
        let raw = read.checked_sub(self.automaton.live(self.raw))?;
        let (own, again) = (began(escapes)?, began(twice)?);
        let mut least = [began(tight)?, began(apart)?].into_iter().flatten().min();
        let mut starts = Starts {
            raw,
            escapes: own,
            twice: again,
            quoted: began(quoted)?,
            events: began(events)?,
        };
        if own.is_none() && again.is_none() {
            starts.raw = raw.min(least.unwrap_or(raw));
            return Some(starts);
        }
        // What is below reads what this one reads.
        least = least.into_iter().chain(again).chain([own.unwrap_or(raw)]).min();
        starts.escapes = least;
        Some(starts)
    }

    /// Begins anew: nothing is open that began before `starts`, in what is read now, of which
    /// `read` bytes were read.
    fn begin(&mut self, read: usize, starts: &Starts) {
        let base = self.at.saturating_sub(place(read));
        let at = |index: usize| base.saturating_add(place(index));
        let start = self.automaton.start();
        let Views { escapes, twice, tight, apart, quoted, events, .. } = &mut self.views;
        for (node, since) in [
            (escapes, starts.escapes),
            (twice, starts.twice),
            (tight, None),
            (apart, None),
            (quoted, starts.quoted),
            (events, starts.events),
        ] {
            node.begin(since.map(at), start);
        }
        (self.at, self.raw) = (at(starts.first()), start);
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
        loop {
            let asleep = self.views.all_asleep();
            if asleep {
                rest = self.crawl_raw(rest);
            }
            let Some((&byte, more)) = rest.split_first() else { return };
            self.step(byte, asleep);
            rest = more;
        }
    }

    /// Reads as far as no view wakes; gives back what is left.
    fn crawl_raw<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let Self { automaton, raw, hits, .. } = self;
        let (mut state, mut read) = (*raw, 0_usize);
        for &byte in bytes {
            let asleep =
                !Kind::may_change(byte) || (!Kind::may_lead(byte) && automaton.live(state) == 0);
            if !asleep {
                break;
            }
            read = read.saturating_add(1);
            if state == automaton.start() && !automaton.begins(byte) {
                continue;
            }
            state = automaton.next(state, byte);
            let length = place(automaton.longest(state));
            if length > 0 {
                let end = self.at.saturating_add(place(read));
                Hit { start: end.saturating_sub(length), end }.join(hits);
            }
        }
        *raw = state;
        self.at = self.at.saturating_add(place(read));
        bytes.get(read..).unwrap_or_default()
    }

    fn step(&mut self, byte: u8, asleep: bool) {
        let from = From { byte, start: self.at, end: self.at.saturating_add(1) };
        let before = self.raw;
        self.raw = self.automaton.next(before, byte);
        self.at = from.end;
        let length = u64::try_from(self.automaton.longest(self.raw)).unwrap_or(u64::MAX);
        if length > 0 {
            let start = from.end.saturating_sub(length);
            Hit { start, end: from.end }.join(&mut self.hits);
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
        let Self { escapes, twice, tight, apart, quoted, events, .. } = self;
        let decodes = escapes.awake() | twice.awake() | quoted.awake() | events.awake();
        if !changes && !decodes {
            for node in [tight, apart] {
                if node.awake() {
                    node.step(automaton, from, true, hits);
                    node.doze(automaton, after, from.end);
                }
            }
            return;
        }
        for node in [&mut self.quoted, &mut self.events] {
            if !changes && !node.awake() {
                continue;
            }
            node.take(automaton, from, before, None, &mut self.read, hits);
            node.doze(automaton, after, from.end);
        }
        if self.escapes.waits(from) {
            return;
        }
        let mut read = std::mem::take(&mut self.read);
        read.clear();
        if self.escapes.wakes(automaton, from.byte, before) {
            self.escapes.wake(automaton, before, None, from.start);
        }
        if self.escapes.awake() {
            self.escapes.decode(automaton, from, &mut read);
            if read.is_empty() {
                for node in [&mut self.escapes, &mut self.twice, &mut self.tight, &mut self.apart] {
                    node.left_out(automaton);
                }
            }
            for own in &read {
                let before = self.escapes.state();
                self.below(automaton, *own, before, true, hits);
                self.escapes.step(automaton, *own, *own == from, hits);
                self.doze_below(automaton, self.escapes.state(), own.end);
            }
            self.escapes.doze(automaton, after, from.end);
        } else {
            self.below(automaton, from, before, false, hits);
            self.doze_below(automaton, after, from.end);
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

    fn doze_below(&mut self, automaton: &Automaton, after: State, at: u64) {
        for node in [&mut self.twice, &mut self.tight, &mut self.apart] {
            node.doze(automaton, after, at);
        }
    }
}

#[cfg(test)]
mod tests;
