//! One reading near what it reads otherwise than the text above it.
//!
//! A lane opens where an escape begins, goes on byte by byte, and closes once four bytes
//! behind the last escape are of no pattern: what begins behind them has no escape, and
//! is found in the text above.
//!
//! Invariant: where a lane is closed, no pattern is open in its reading that began at or
//! before its last escape.

use super::run::Run;
use super::table::kept;
use super::units::{Unit, leads};
use super::{GRAM, Sift, lanes, units};
use crate::views::From;
use crate::views::unescape::{Held, Kind};

/// Four bytes that stand near an escape are found within so many.
const FAR: usize = 8;

/// A byte and what it was read from.
#[derive(Clone, Copy)]
struct Read {
    byte: u8,
    start: usize,
    end: usize,
    /// As it stands in the text above.
    plain: bool,
}

/// The reading of one kind of escapes.
pub(super) struct Lane {
    kind: Kind,
    unit: fn(&[u8]) -> Unit,
    /// How far the content was read.
    at: usize,
    track: Track,
    /// The reading of what was read.
    twice: Option<Twice>,
    /// Enough in a row may be of a pattern.
    doubtful: bool,
}

struct Twice {
    track: Track,
    /// What begins before is not read.
    since: usize,
    /// How many more bytes it has been given than it has made: none, unless there was an escape.
    less: usize,
    /// Behind the last escape before it was opened.
    end: usize,
}

struct Track {
    open: bool,
    held: Held,
    out: Vec<From>,
    run: Run,
    /// Bytes that are kept behind the last escape.
    clear: usize,
    /// Behind the last escape.
    end: usize,
}

impl Track {
    /// Closed at `end`, or open with nothing before.
    fn new(open: Option<usize>, end: usize) -> Self {
        let at = open.unwrap_or(end);
        let (held, out) = (Held::default(), Vec::new());
        Self { open: open.is_some(), held, out, run: Run::new(at), clear: 0, end: at }
    }

    fn open(&mut self, run: Run) {
        (self.open, self.run, self.clear) = (true, run, 0);
    }

    /// Takes a byte of this reading; whether enough in a row may be of a pattern.
    fn push(&mut self, sift: &Sift, read: Read) -> bool {
        if !read.plain {
            (self.open, self.clear, self.end) = (true, 0, read.end);
        }
        if sift.uses(read.byte) {
            self.clear = self.clear.saturating_add(usize::from(read.plain));
            let look = self.clear == GRAM;
            self.run.push(sift, read.byte, (read.start, read.end), look);
        } else if lanes::keeps(read.byte) {
            // What is left out is no end of anything.
            self.run.end(read.end);
        }
        if read.plain && self.is_clear(sift) {
            self.open = false;
        }
        self.run.is_long(sift)
    }

    /// Whether all that may be of a pattern stands behind the last escape. Where a pattern may
    /// begin with what is left out, a byte of none has to stand between.
    fn is_clear(&self, sift: &Sift) -> bool {
        let all = self.run.len().saturating_add(usize::from(sift.hangs));
        all <= self.clear && self.held.is_empty()
    }

    /// Gives a byte to what is half read; what it completes is in `out`.
    fn hold(&mut self, kind: Kind, read: Read) {
        let place = |at: usize| u64::try_from(at).unwrap_or(u64::MAX);
        let from = From { byte: read.byte, start: place(read.start), end: place(read.end) };
        self.out.clear();
        self.held.push(kind, from, &mut self.out);
    }

    /// Where something may have begun that is open at `at`.
    fn start(&self, sift: &Sift, at: usize) -> usize {
        self.run.start(sift, at).min(self.held.start().map_or(at, place))
    }
}

fn place(at: u64) -> usize {
    usize::try_from(at).unwrap_or(usize::MAX)
}

impl Lane {
    /// Open from `open` on, or closed, with nothing open that began before `end`.
    pub(super) fn new(kind: Kind, open: Option<usize>, end: usize) -> Self {
        let unit = match kind {
            Kind::Quoted => units::quoted,
            Kind::Events => units::event,
            _ => units::escape,
        };
        let track = Track::new(open, end);
        Self { kind, unit, at: open.unwrap_or(end), track, twice: None, doubtful: false }
    }

    /// With a reading of what was read, open from `open` on.
    pub(super) fn twice(mut self, open: Option<usize>, end: usize) -> Self {
        let since = open.unwrap_or(0);
        self.twice = Some(Twice { track: Track::new(open, end), since, less: 1, end });
        self
    }

    /// Reads on where it is open.
    pub(super) fn read_on(&mut self, sift: &Sift, bytes: &[u8], until: usize) {
        while self.track.open && !self.doubtful && self.at < until {
            let rest = bytes.get(self.at..).unwrap_or_default();
            self.doubtful = match rest.first() {
                Some(&byte) if self.is_plain(byte) => self.pass(sift, byte),
                _ => self.read(sift, rest),
            };
        }
    }

    /// Opens where an escape begins at `at`.
    pub(super) fn open_at(&mut self, sift: &Sift, bytes: &[u8], at: usize, until: usize) {
        if self.track.open || self.doubtful || at < self.at {
            return;
        }
        let unit = (self.unit)(bytes.get(at..).unwrap_or_default());
        match unit {
            Unit::Plain => return,
            Unit::Byte(byte, length) => {
                let end = at.saturating_add(length);
                if self.stands_alone(sift, bytes, at, end, byte) {
                    (self.at, self.track.end) = (end, end);
                    return;
                }
            }
            _ => {}
        }
        self.track.open(Run::before(sift, bytes, self.track.end, at));
        self.at = at;
        self.doubtful = self.escape(sift, unit, bytes.get(at).copied().unwrap_or_default());
        self.read_on(sift, bytes, until);
    }

    /// Whether no pattern has the escape that ends at `end` and is read as `byte`: because none
    /// has that byte, or because neither four bytes before it nor four behind it are of one:
    /// at most three on each side and it are too few.
    fn stands_alone(&self, sift: &Sift, bytes: &[u8], at: usize, end: usize, byte: u8) -> bool {
        let behind = bytes.get(end..).unwrap_or_default();
        if leads(byte) && self.kind == Kind::Escapes {
            return !sift.uses(byte) && units::leads_nowhere(byte, behind);
        }
        if lanes::keeps(byte) && !sift.uses(byte) {
            return true;
        }
        let before = bytes.get(self.track.end..at).unwrap_or_default();
        let few = before.len() < FAR && kept(before) < GRAM;
        let before = lanes::four(before.iter().rev().take(FAR)).map(u32::swap_bytes);
        let after = lanes::four(behind.iter().take(FAR));
        (few || before.is_some_and(|before| !sift.has(before)))
            && after.is_some_and(|after| !sift.has(after))
    }

    /// Whether `byte` is itself, and nothing else has to know of it.
    fn is_plain(&self, byte: u8) -> bool {
        lanes::is_plain(byte) && self.track.held.is_empty()
    }

    fn read(&mut self, sift: &Sift, rest: &[u8]) -> bool {
        let Some(&byte) = rest.first() else { return false };
        if !self.track.held.is_empty() {
            return self.hold(sift, byte);
        }
        if self.kind.begins(byte) {
            return self.escape(sift, (self.unit)(rest), byte);
        }
        self.pass(sift, byte)
    }

    /// Reads what begins here.
    fn escape(&mut self, sift: &Sift, unit: Unit, byte: u8) -> bool {
        let start = self.at;
        match unit {
            Unit::Plain => self.pass(sift, byte),
            Unit::Unsure => self.hold(sift, byte),
            Unit::Nothing(length) => {
                self.at = start.saturating_add(length);
                (self.track.clear, self.track.end) = (0, self.at);
                false
            }
            Unit::Byte(byte, length) => {
                self.at = start.saturating_add(length);
                self.push(sift, Read { byte, start, end: self.at, plain: false })
            }
            Unit::Point(point, length) => {
                self.at = start.saturating_add(length);
                let end = self.at;
                let c = char::from_u32(point).unwrap_or(char::REPLACEMENT_CHARACTER);
                let mut doubtful = false;
                for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                    doubtful |= self.push(sift, Read { byte, start, end, plain: false });
                }
                doubtful
            }
        }
    }

    /// Reads a byte as it is.
    fn pass(&mut self, sift: &Sift, byte: u8) -> bool {
        let start = self.at;
        self.at = start.saturating_add(1);
        self.push(sift, Read { byte, start, end: self.at, plain: true })
    }

    /// Reads a byte of what is half read.
    fn hold(&mut self, sift: &Sift, byte: u8) -> bool {
        let start = self.at;
        self.at = start.saturating_add(1);
        if byte == 0 && self.kind == Kind::Escapes {
            return false;
        }
        self.track.hold(self.kind, Read { byte, start, end: self.at, plain: true });
        let out = std::mem::take(&mut self.track.out);
        let mut doubtful = false;
        for from in &out {
            let (start, end) = (place(from.start), place(from.end));
            doubtful |= self.push(sift, Read { byte: from.byte, start, end, plain: false });
        }
        self.track.out = out;
        doubtful
    }

    /// A byte of this reading.
    fn push(&mut self, sift: &Sift, read: Read) -> bool {
        let again = match &mut self.twice {
            Some(twice) if twice.track.open || leads(read.byte) => {
                twice.take(sift, &self.track.run, read)
            }
            _ => false,
        };
        // An escape of an escape is left to the views.
        let opened = self.twice.as_ref().is_some_and(|twice| twice.track.open);
        let doubtful = self.track.push(sift, read) | again | opened;
        if self.twice.as_ref().is_some_and(|twice| twice.track.open) {
            self.track.open = true;
        }
        doubtful
    }

    /// Up to where something was read that may be of a pattern.
    pub(super) fn doubt(&self) -> Option<usize> {
        self.doubtful.then_some(self.at)
    }

    /// Where something may have begun that is open now, for this reading and the next.
    pub(super) fn starts(&self, sift: &Sift) -> (Option<usize>, Option<usize>) {
        let twice = self.twice.as_ref().filter(|twice| twice.track.open);
        let twice = twice.map(|twice| twice.track.start(sift, self.at).max(twice.since));
        let own = self.track.open.then(|| self.track.start(sift, self.at));
        (own.map(|own| own.min(twice.unwrap_or(own))), twice)
    }

    /// Before where nothing is open, for this reading and the next, if they are closed.
    pub(super) fn ends(&self) -> (usize, usize) {
        (self.track.end, self.twice.as_ref().map_or(0, |twice| twice.track.end))
    }
}

impl Twice {
    fn take(&mut self, sift: &Sift, above: &Run, read: Read) -> bool {
        if read.start < self.since {
            return false;
        }
        if !self.track.open {
            self.track.open(*above);
            (self.less, self.end) = (0, self.track.end);
        }
        if self.track.held.is_empty() && !leads(read.byte) {
            return self.track.push(sift, Read { plain: true, ..read });
        }
        if read.byte == 0 {
            return false;
        }
        self.track.hold(Kind::Escapes, read);
        self.less = self.less.saturating_add(1).saturating_sub(self.track.out.len());
        let out = std::mem::take(&mut self.track.out);
        let mut doubtful = false;
        for from in &out {
            let (start, end) = (place(from.start), place(from.end));
            let plain = from.byte == read.byte && (start, end) == (read.start, read.end);
            doubtful |= self.track.push(sift, Read { byte: from.byte, start, end, plain });
        }
        self.track.out = out;
        if self.track.held.is_empty() && self.less == 0 {
            (self.track.open, self.track.end) = (false, self.end);
        }
        doubtful
    }
}
