//! Passes over content that has no pattern in any view, many bytes at a time.
//!
//! Content is read with all bytes left out that some view leaves out (white space and
//! what separates the pairs of a hex dump), and so is every pattern: a pattern that a
//! view reads without undoing an escape stands in that text as it is. Of such text every
//! few bytes four are looked up in a table of all that patterns have. Where an escape
//! may begin, the four bytes in front of it and behind it are looked up as well. What
//! looks like a part of a pattern is left to the views, from where it may begin.
//!
//! Why that finds every pattern of at least [`LEAST`] bytes (as they stand in that text).
//! Without an escape in it, a looked-up place lies in it with its four bytes. Else look
//! at the first escape in it. Of the bytes in front of it, and of those from it on as the
//! view reads them, it is counted how many may be of a pattern: all fours of them are in
//! the table, or they are at most three. Together they have to be enough for a pattern.
//! Where they cannot be read in passing, that alone is a doubt.
//!
//! Invariant: content that is passed over has no pattern that began in it and ended in
//! it, and none is open at its end before [`Sift::tail`].

mod lanes;
mod units;

use zeroize::Zeroizing;

use crate::forms::Pattern;
use lanes::BLOCK;
use units::{Reader, Unit, leads, outside, unit_of};

/// Shortest pattern that allows passing over.
const LEAST: usize = 8;
/// Places that are looked up are no further apart.
const MOST_STRIDE: usize = 8;
/// Bytes that are looked up together.
const GRAM: usize = 4;
/// So many bytes are squeezed before they are looked up.
const SEGMENT: usize = 64 * BLOCK;
/// So many squeezed bytes are kept from the segment before.
const KEPT: usize = 16;

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
}

/// Where views have to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Doubt {
    /// No pattern that includes `at` and has no earlier doubt begins before.
    pub(crate) from: usize,
    /// What raised it.
    pub(crate) at: usize,
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
            all_grams.extend(grams(pattern).iter());
        }
        all_grams.sort_unstable();
        all_grams.dedup();
        let mut all = Table::new(all_grams.len());
        all_grams.iter().for_each(|gram| all.add(*gram));
        let mut some = Table::new(all_grams.len() >> 2);
        // Long patterns mostly have what was taken of a shorter one.
        let mut by_length = patterns.to_vec();
        by_length.sort_by_key(|pattern| pattern.least());
        for pattern in by_length {
            let grams = grams(pattern.get(..pattern.least())?);
            let known = |row: &&[u32]| row.iter().filter(|gram| some.has(**gram)).count();
            let row = grams.windows(stride).max_by_key(known)?;
            row.iter().for_each(|gram| some.add(*gram));
        }
        Some(Self { all, some, stride, least, hangs })
    }

    /// How many bytes it takes.
    pub(crate) fn size(&self) -> usize {
        self.all.bits.len().saturating_add(self.some.bits.len())
    }

    /// Whether patterns may have these four bytes.
    fn has(&self, gram: u32) -> bool {
        self.all.has(gram)
    }

    /// The first doubt in `bytes`, before which no pattern begins that ends in them.
    pub(crate) fn doubt(&self, bytes: &[u8]) -> Option<Doubt> {
        let mut text = Squeezed::new();
        let mut begin = 0;
        while begin < bytes.len() {
            let end = begin.saturating_add(SEGMENT).min(bytes.len());
            text.take(bytes, begin, end);
            let found = self.look_up(&mut text).and_then(|index| {
                let place = text.place_of(bytes.get(begin..end)?, index.saturating_add(GRAM))?;
                Some(begin.saturating_add(place))
            });
            let until = found.unwrap_or(end);
            if let Some(at) = self.escape_in(bytes, begin, until, &text.leads) {
                return Some(Doubt { from: self.back(bytes, at), at });
            }
            if let Some(at) = found {
                return Some(Doubt { from: self.back(bytes, at), at });
            }
            text.carry();
            begin = end;
        }
        None
    }

    /// Where something may begin that is open at the end of `bytes`, if they raise no doubt.
    pub(crate) fn tail(&self, bytes: &[u8]) -> usize {
        self.back(bytes, bytes.len())
    }

    /// Looks up every few bytes; gives the index of the first that more than chance has made.
    fn look_up(&self, text: &mut Squeezed) -> Option<usize> {
        let squeezed = text.bytes.get(..text.len)?;
        let mut index = text.next;
        while let Some(gram) = gram(squeezed, index) {
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

    /// The first place before `until` where an escape may belong to a pattern.
    fn escape_in(&self, bytes: &[u8], begin: usize, until: usize, leads: &[u16]) -> Option<usize> {
        let mut block = begin;
        for &lead in leads {
            let mut left = lead;
            while left != 0 {
                let at = block.saturating_add(usize::try_from(left.trailing_zeros()).ok()?);
                if at >= until {
                    return None;
                }
                if self.may_belong(bytes, at) {
                    return Some(at);
                }
                left &= left.wrapping_sub(1);
            }
            block = block.saturating_add(BLOCK);
        }
        None
    }

    /// Whether what begins at `at` may be the first escape in a pattern.
    fn may_belong(&self, bytes: &[u8], at: usize) -> bool {
        let rest = bytes.get(at..).unwrap_or_default();
        let unit = unit_of(rest);
        match unit(rest) {
            Unit::Plain => return false,
            Unit::Point(1..=0x7f, length) if self.stands_alone(bytes, at, length) => return false,
            _ => {}
        }
        let before = bytes.get(..at).unwrap_or_default().iter().rev().copied();
        let before = self.run_back(before.filter(|byte| lanes::keeps(*byte)));
        let Some(behind) = self.run(Reader::new(rest, unit)) else {
            return true;
        };
        before.saturating_add(behind) >= self.least
    }

    /// Whether neither the four bytes before an escape of so many bytes nor those behind it are
    /// of patterns: of one that includes it, at most three on each side would be there, and
    /// it, which are too few.
    fn stands_alone(&self, bytes: &[u8], at: usize, length: usize) -> bool {
        let before = bytes.get(..at).unwrap_or_default().iter().rev();
        let behind = bytes.get(at.saturating_add(length)..).unwrap_or_default().iter();
        let before = four(before).map(|[a, b, c, d]| [d, c, b, a]);
        let unknown =
            |four: Option<[u8; GRAM]>| four.is_some_and(|four| !self.has(u32::from_le_bytes(four)));
        unknown(before) && unknown(four(behind))
    }

    /// How many of the bytes that are read here, from the first on, may be of one pattern;
    /// `None` where that is not certain.
    fn run(&self, read: Reader<'_>) -> Option<usize> {
        let (mut gram, mut count) = (Gram::default(), 0_usize);
        for byte in read {
            let byte = byte?;
            match gram.push(byte) {
                Some(gram) if !self.has(gram) => return Some(count),
                _ if lanes::keeps(byte) => count = count.saturating_add(1),
                _ => {}
            }
            if count >= self.least {
                return Some(count);
            }
        }
        None
    }

    /// The same backwards, of bytes that are read as they are; their beginning is certain.
    fn run_back(&self, bytes: impl Iterator<Item = u8>) -> usize {
        let mut gram = Gram::default();
        let belongs = |byte: &u8| gram.push_front(*byte).is_none_or(|gram| self.has(gram));
        bytes.take(self.least).take_while(belongs).count()
    }

    /// Where something may begin that goes on at `at` and has no escape before it: as far
    /// back as all bytes are of patterns, and at least three that are not left out.
    fn back(&self, bytes: &[u8], at: usize) -> usize {
        let mut gram = Gram::default();
        let mut first = at;
        for (place, byte) in bytes.get(..at).unwrap_or_default().iter().enumerate().rev() {
            match gram.push_front(*byte) {
                Some(gram) if !self.has(gram) => break,
                _ if self.hangs || lanes::keeps(*byte) => first = place,
                _ => {}
            }
        }
        outside(bytes, first)
    }
}

/// A set of fours of bytes, which may seem to have others.
struct Table {
    /// A bit for each value of a hash.
    bits: Zeroizing<Vec<u8>>,
    shift: u32,
}

impl Table {
    /// For so many: one bit in 32 is set, up to 64 KiB.
    fn new(count: usize) -> Self {
        let size = count.saturating_mul(32).next_power_of_two().clamp(1 << 12, 1 << 19);
        let shift = 32_u32.saturating_sub(size.trailing_zeros());
        Self { bits: Zeroizing::new(vec![0; size >> 3]), shift }
    }

    fn place(&self, gram: u32) -> (usize, u8) {
        let hash = gram.wrapping_mul(0x9e37_79b1) >> (self.shift & 31);
        (usize::try_from(hash >> 3).unwrap_or(usize::MAX), 1 << (hash & 7))
    }

    fn add(&mut self, gram: u32) {
        let (place, bit) = self.place(gram);
        if let Some(bits) = self.bits.get_mut(place) {
            *bits |= bit;
        }
    }

    fn has(&self, gram: u32) -> bool {
        let (place, bit) = self.place(gram);
        self.bits.get(place).is_none_or(|bits| bits & bit != 0)
    }
}

/// How many bytes no view leaves out.
fn kept(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| lanes::keeps(**byte)).count()
}

/// All fours in `pattern`, in order.
fn grams(pattern: &[u8]) -> Zeroizing<Vec<u32>> {
    let mut gram = Gram::default();
    Zeroizing::new(pattern.iter().filter_map(|byte| gram.push(*byte)).collect())
}

/// The first four bytes that are not left out, if none before begins a unit of some kind.
fn four<'a>(bytes: impl Iterator<Item = &'a u8>) -> Option<[u8; GRAM]> {
    let mut four = [0; GRAM];
    let mut slots = four.iter_mut();
    for &byte in bytes {
        if leads(byte) || byte == b'=' || byte == 0 {
            return None;
        }
        if lanes::keeps(byte) {
            *slots.next()? = byte;
            if slots.len() == 0 {
                return Some(four);
            }
        } else if lanes::ends_line(byte) {
            return None;
        }
    }
    None
}

/// Four bytes that follow each other in squeezed text.
#[derive(Default)]
struct Gram {
    bytes: [u8; GRAM],
    count: usize,
}

impl Gram {
    /// Takes one byte; the last four, once there are so many and this is not left out.
    fn push(&mut self, byte: u8) -> Option<u32> {
        self.take(byte, |[_, b, c, d]| [b, c, d, byte])
    }

    /// The same backwards.
    fn push_front(&mut self, byte: u8) -> Option<u32> {
        self.take(byte, |[a, b, c, _]| [byte, a, b, c])
    }

    fn take(&mut self, byte: u8, join: impl Fn([u8; GRAM]) -> [u8; GRAM]) -> Option<u32> {
        if !lanes::keeps(byte) {
            return None;
        }
        self.bytes = join(self.bytes);
        self.count = self.count.saturating_add(1);
        (self.count >= GRAM).then(|| u32::from_le_bytes(self.bytes))
    }
}

/// Text without what views leave out: of this segment, behind the last of the one before.
struct Squeezed {
    bytes: [u8; KEPT + SEGMENT + BLOCK],
    /// Where escapes may begin, a bit for each byte of each block.
    leads: [u16; SEGMENT / BLOCK],
    /// Nothing stands before.
    first: usize,
    len: usize,
    /// Where it is looked up next.
    next: usize,
}

impl Squeezed {
    fn new() -> Self {
        let (bytes, leads) = ([0; KEPT + SEGMENT + BLOCK], [0; SEGMENT / BLOCK]);
        Self { bytes, leads, first: KEPT, len: KEPT, next: KEPT }
    }

    /// Takes a segment.
    fn take(&mut self, all: &[u8], begin: usize, end: usize) {
        // Whatever comes behind the end might go on as one.
        let after = all.get(end).copied().unwrap_or(b'd');
        let mut rest = all.get(begin..end).unwrap_or_default();
        let mut len = self.len;
        for lead in &mut self.leads {
            let out = self.bytes.get_mut(len..).and_then(|out| out.first_chunk_mut());
            let (Some((block, more)), Some(out)) = (rest.split_first_chunk(), out) else {
                *lead = 0;
                continue;
            };
            let next = || more.first().copied().unwrap_or(after);
            let kept;
            (kept, *lead) = lanes::squeeze(block, next, out);
            len = len.wrapping_add(kept);
            rest = more;
        }
        self.len = len;
        if !rest.is_empty() {
            self.take_part(rest, end.wrapping_sub(begin) / BLOCK, after);
        }
    }

    /// Takes fewer bytes than a block has, padded with what is left out.
    fn take_part(&mut self, part: &[u8], at: usize, after: u8) {
        let mut block = [b' '; BLOCK];
        block.iter_mut().zip(part).for_each(|(to, from)| *to = *from);
        let out = self.bytes.get_mut(self.len..).and_then(|out| out.first_chunk_mut());
        let (Some(out), Some(lead)) = (out, self.leads.get_mut(at)) else { return };
        let (kept, leads) = lanes::squeeze(&block, || b' ', out);
        self.len = self.len.saturating_add(kept);
        let event = after == b'd' && part.last().is_some_and(|byte| lanes::ends_line(*byte));
        *lead = leads | u16::from(event) << (part.len().saturating_sub(1) & (BLOCK - 1));
    }

    fn gram(&self, at: usize) -> Option<u32> {
        gram(self.bytes.get(..self.len)?, at)
    }

    /// Where the byte of the segment ends that was taken as the last before `index`.
    fn place_of(&self, segment: &[u8], index: usize) -> Option<usize> {
        let before = index.saturating_sub(KEPT).checked_sub(1)?;
        let mut kept = segment.iter().enumerate().filter(|(_, byte)| lanes::keeps(**byte));
        Some(kept.nth(before)?.0.saturating_add(1))
    }

    /// Goes on to the next segment.
    fn carry(&mut self) {
        let gone = self.len.saturating_sub(KEPT);
        let last: Option<[u8; KEPT]> =
            self.bytes.get(gone..).and_then(|rest| rest.first_chunk()).copied();
        if let (Some(last), Some(front)) = (last, self.bytes.first_chunk_mut()) {
            *front = last;
        }
        self.first = self.first.saturating_sub(gone);
        self.next = self.next.saturating_sub(gone);
        self.len = KEPT;
    }
}

fn gram(text: &[u8], at: usize) -> Option<u32> {
    text.get(at..)?.first_chunk().map(|gram| u32::from_le_bytes(*gram))
}

#[cfg(test)]
mod tests;
