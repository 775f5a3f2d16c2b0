//! Passes over content that has no pattern in any view, many bytes at a time.
//!
//! Content is read with all bytes left out that some view leaves out (white space and
//! what separates the pairs of a hex dump), and so is every pattern: a pattern that a
//! view reads without undoing an escape stands in that text as it is. Of such text every
//! few bytes four are looked up in a table of all that patterns have. Where an escape
//! begins, a [`Lane`] reads on as the view does that undoes it, and counts how many bytes
//! in a row may be of a pattern, until it is behind all that the escape may belong to.
//! Views have to look only where enough bytes of one reading may be of a pattern.
//!
//! Why that finds every pattern of at least [`LEAST`] bytes (as they stand in that text).
//! Without an escape in it, a looked-up place lies in it with its four bytes. With one, a
//! lane is open from before it until behind it: all its fours are in the table, so the lane
//! has counted all of it at its end.
//!
//! Invariant: content that is passed over has no pattern that ended in it, and what is open
//! at its end began in no view before the [`Starts`] that are given back.

mod lane;
mod lanes;
mod run;
mod squeezed;
mod table;
mod units;

use zeroize::Zeroizing;

use crate::forms::Pattern;
use crate::views::unescape::Kind;
use lane::Lane;
use lanes::BLOCK;
use run::Run;
use squeezed::{Squeezed, gram};
use table::{Table, grams, kept};

/// Shortest pattern that allows passing over.
const LEAST: usize = 8;
/// Places that are looked up are no further apart.
const MOST_STRIDE: usize = 8;
/// Bytes that are looked up together.
const GRAM: usize = 4;
/// So many bytes are squeezed before they are looked up.
const SEGMENT: usize = 64 * BLOCK;
/// The first time so many: what is behind a doubt is read again.
const FIRST_SEGMENT: usize = 8 * BLOCK;
/// So many squeezed bytes are kept from the segment before.
const KEPT: usize = 16;
/// The most bits of the table of all there is, and of the one that each look-up begins with.
const MOST_OF_ALL: usize = 1 << 22;
const MOST_OF_SOME: usize = 1 << 19;

/// The tables of what patterns have.
pub(crate) struct Sift {
    /// All that some pattern has.
    all: Table,
    /// Of each pattern so many in a row as one place that is looked up lies among.
    some: Table,
    stride: usize,
    /// Length of the shortest pattern.
    least: usize,
    /// Whether some pattern begins with a byte that is left out.
    hangs: bool,
    /// The bytes that patterns have, but for those that are left out.
    uses: Zeroizing<[bool; 256]>,
}

/// Where in content each reading may have something open; `None` where a view reads as the
/// one above it does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Starts {
    pub(crate) raw: usize,
    pub(crate) escapes: Option<usize>,
    pub(crate) twice: Option<usize>,
    pub(crate) quoted: Option<usize>,
    pub(crate) events: Option<usize>,
}

impl Starts {
    /// Before it, nothing is open.
    pub(crate) fn first(&self) -> usize {
        let views = [self.escapes, self.twice, self.quoted, self.events];
        views.into_iter().flatten().fold(self.raw, usize::min)
    }
}

/// Where views have to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outlook {
    pub(crate) starts: Starts,
    /// Up to what raised a doubt; without one, the end of the content was reached.
    pub(crate) doubt: Option<usize>,
}

impl Sift {
    /// For these patterns, unless one is too short.
    pub(crate) fn new(patterns: &[&Pattern]) -> Option<Self> {
        let beginning = |pattern: &Pattern| pattern.get(..pattern.least()).map_or(0, kept);
        let least = patterns.iter().map(|it| beginning(it)).min()?;
        if least < LEAST {
            return None;
        }
        let stride = least.saturating_sub(GRAM - 1).min(MOST_STRIDE);
        let hangs = patterns.iter().any(|it| it.first().is_some_and(|byte| !lanes::keeps(*byte)));
        let mut all_grams: Zeroizing<Vec<u32>> = Zeroizing::new(Vec::new());
        for pattern in patterns {
            grams(pattern, &mut all_grams);
        }
        let mut uses = Zeroizing::new([false; 256]);
        for byte in patterns.iter().flat_map(|it| it.iter()).filter(|it| lanes::keeps(**it)) {
            if let Some(used) = uses.get_mut(usize::from(*byte)) {
                *used = true;
            }
        }
        // Ends of the same value have most of them: about half are others.
        let mut all = Table::new(all_grams.len() >> 1, MOST_OF_ALL);
        let others = all_grams.iter().filter(|gram| !all.add(**gram)).count();
        let mut some = Table::new(others >> 2, MOST_OF_SOME);
        // Long patterns mostly have what was taken of a shorter one.
        let mut by_length = patterns.to_vec();
        by_length.sort_by_key(|pattern| pattern.least());
        let mut row: Zeroizing<Vec<u32>> = Zeroizing::new(Vec::new());
        for pattern in by_length {
            row.clear();
            grams(pattern.get(..pattern.least())?, &mut row);
            let known = |row: &&[u32]| row.iter().filter(|gram| some.has(**gram)).count();
            let row = row.windows(stride).max_by_key(known)?;
            row.iter().for_each(|gram| {
                some.add(*gram);
            });
        }
        Some(Self { all, some, stride, least, hangs, uses })
    }

    /// How many bytes it takes.
    pub(crate) fn size(&self) -> usize {
        self.all.size().saturating_add(self.some.size())
    }

    /// Whether patterns have `byte`, and it is left out by no view.
    fn uses(&self, byte: u8) -> bool {
        self.uses.get(usize::from(byte)).is_none_or(|used| *used)
    }

    /// Whether patterns may have these four bytes.
    fn has(&self, gram: u32) -> bool {
        self.all.has(gram)
    }

    /// Passes over `bytes`, of which what stands before `starts` is of no pattern, up to a doubt.
    pub(crate) fn look(&self, bytes: &[u8], starts: &Starts) -> Outlook {
        let (mut text, mut lanes) = (Squeezed::new(), Lanes::new(starts));
        // A lane may close before where content itself has something open, and open again.
        let (mut begin, mut size) = (starts.first(), FIRST_SEGMENT);
        loop {
            let end = begin.saturating_add(size).min(bytes.len());
            text.take(bytes, begin, end);
            let found = self.look_up(&mut text).and_then(|index| {
                let place = text.place_of(bytes.get(begin..end)?, index.saturating_add(GRAM))?;
                Some(begin.saturating_add(place))
            });
            let until = found.unwrap_or(end);
            lanes.read(self, bytes, begin..until, &text.leads);
            let doubt = found.max(lanes.doubt());
            if doubt.is_some() || end == bytes.len() {
                let raw = Run::before(self, bytes, starts.raw, until).start(self, until);
                return Outlook { starts: lanes.starts(self, raw), doubt };
            }
            text.carry();
            (begin, size) = (end, size.saturating_mul(2).min(SEGMENT));
        }
    }

    /// Looks up every few bytes; gives the index of the first that more than chance has made.
    fn look_up(&self, text: &mut Squeezed) -> Option<usize> {
        let mut index = text.next;
        while let Some(gram) = gram(text.text(), index) {
            if self.some.has(gram) && self.more_than_chance(text, index) {
                return Some(index);
            }
            index = index.wrapping_add(self.stride);
        }
        text.next = index;
        None
    }

    /// Whether the bytes around `index` might all be of one pattern.
    fn more_than_chance(&self, text: &Squeezed, index: usize) -> bool {
        let known = |at: usize| text.gram(at).is_some_and(|gram| self.has(gram));
        let (mut first, mut last) = (index, index);
        while first > text.first && known(first.saturating_sub(1)) {
            first = first.saturating_sub(1);
        }
        while known(last.saturating_add(1)) {
            last = last.saturating_add(1);
        }
        let cut = first == 0 || last.saturating_add(GRAM) >= text.len;
        cut || last.saturating_sub(first).saturating_add(GRAM) >= self.least
    }
}

/// The readings of escapes.
struct Lanes {
    escapes: Lane,
    quoted: Lane,
    events: Lane,
}

impl Lanes {
    fn new(starts: &Starts) -> Self {
        let raw = starts.raw;
        let escapes = Lane::new(Kind::Escapes, starts.escapes, raw);
        Self {
            escapes: escapes.twice(starts.twice, starts.escapes.unwrap_or(raw)),
            quoted: Lane::new(Kind::Quoted, starts.quoted, raw),
            events: Lane::new(Kind::Events, starts.events, raw),
        }
    }

    /// Reads a segment; `leads` has a bit for each byte that may begin an escape.
    fn read(&mut self, sift: &Sift, bytes: &[u8], segment: std::ops::Range<usize>, leads: &[u16]) {
        for lane in [&mut self.escapes, &mut self.quoted, &mut self.events] {
            lane.read_on(sift, bytes, segment.end);
        }
        let mut block = segment.start;
        for &lead in leads {
            let mut left = lead;
            while left != 0 {
                let bit = usize::try_from(left.trailing_zeros()).unwrap_or(0);
                let at = block.saturating_add(bit);
                if at >= segment.end {
                    return;
                }
                let lane = match bytes.get(at) {
                    Some(b'=') => &mut self.quoted,
                    Some(b'\r' | b'\n') => &mut self.events,
                    _ => &mut self.escapes,
                };
                lane.open_at(sift, bytes, at, segment.end);
                left &= left.wrapping_sub(1);
            }
            block = block.saturating_add(BLOCK);
        }
    }

    /// Up to where a doubt was raised.
    fn doubt(&self) -> Option<usize> {
        let all = [&self.escapes, &self.quoted, &self.events];
        all.into_iter().filter_map(Lane::doubt).max()
    }

    /// Where views have to begin, if content itself is to be read from `raw` on.
    fn starts(&self, sift: &Sift, raw: usize) -> Starts {
        let (escapes, twice) = self.escapes.starts(sift);
        let (quoted, events) = (self.quoted.starts(sift).0, self.events.starts(sift).0);
        let mut starts = Starts { raw, escapes, twice, quoted, events };
        let first = starts.first();
        // A view that is to read as the one above it begins behind its last escape at least.
        let behind = |end: usize, first: usize| (end > first).then_some(end);
        let (end, end_twice) = self.escapes.ends();
        starts.escapes = escapes.or(behind(end, first));
        starts.twice = twice.or(behind(end_twice, starts.escapes.unwrap_or(first)));
        starts.quoted = quoted.or(behind(self.quoted.ends().0, first));
        starts.events = events.or(behind(self.events.ends().0, first));
        starts
    }
}

#[cfg(test)]
mod tests;
