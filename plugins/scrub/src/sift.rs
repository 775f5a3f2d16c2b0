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
//! at the first escape in it: if at least four bytes of the pattern stand in front of
//! it, those are found. If four follow before the next escape, those are. If another
//! escape comes before, that alone is enough to stop. What remains are patterns with one
//! escape and at most three bytes on either side: too short.
//!
//! Invariant: content that is passed over has no pattern that began in it and ended in
//! it, and none is open at its end before [`Sift::tail`].

mod lanes;

use zeroize::Zeroizing;

use crate::detect::escape::{Reading, leading_zero, read};
use lanes::BLOCK;

/// Shortest pattern that allows passing over, where one escape makes one byte.
const LEAST: usize = 8;
/// The same where one escape may make four.
const LEAST_WIDE: usize = 11;
/// Places that are looked up are no further apart.
const MOST_STRIDE: usize = 8;
/// Bytes that are looked up together.
const GRAM: usize = 4;
/// The longest escape that is told from text.
const LONGEST: usize = 16;
/// So many bytes are squeezed before they are looked up.
const SEGMENT: usize = 32 * BLOCK;
/// So many squeezed bytes are kept from the segment before.
const KEPT: usize = 16;

/// The table of what patterns have.
pub(crate) struct Sift {
    /// A bit for each value of a hash.
    bits: Zeroizing<Vec<u8>>,
    shift: u32,
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

/// What an escape's first byte turns out to begin.
enum Extent {
    /// Nothing.
    None,
    /// An escape of that length.
    Of(usize),
    /// What cannot be told here.
    Unsure,
}

impl Sift {
    /// For these patterns, unless one is too short.
    pub(crate) fn new(patterns: &[&[u8]]) -> Option<Self> {
        let kept = |pattern: &&[u8]| pattern.iter().filter(|byte| lanes::keeps(**byte)).count();
        let least = patterns.iter().map(kept).min()?;
        let wide = !patterns.iter().all(|pattern| pattern.is_ascii());
        if least < if wide { LEAST_WIDE } else { LEAST } {
            return None;
        }
        let mut grams: Zeroizing<Vec<u32>> = Zeroizing::new(Vec::new());
        for pattern in patterns {
            let mut gram = Gram::default();
            grams.extend(pattern.iter().filter_map(|byte| gram.push(*byte)));
        }
        grams.sort_unstable();
        grams.dedup();
        // At most one bit in 32 is set, up to 64 KiB.
        let size = grams.len().saturating_mul(32).next_power_of_two().clamp(1 << 12, 1 << 19);
        let shift = 32_u32.saturating_sub(size.trailing_zeros());
        let stride = least.saturating_sub(GRAM - 1).min(MOST_STRIDE);
        let bits = Zeroizing::new(vec![0; size >> 3]);
        let hangs = patterns.iter().any(|it| it.first().is_some_and(|byte| !lanes::keeps(*byte)));
        let mut made = Self { bits, shift, stride, least, hangs };
        for gram in grams.iter() {
            let (place, bit) = made.place(*gram);
            *made.bits.get_mut(place)? |= bit;
        }
        Some(made)
    }

    /// How many bytes it takes.
    pub(crate) fn size(&self) -> usize {
        self.bits.len()
    }

    fn place(&self, gram: u32) -> (usize, u8) {
        let hash = gram.wrapping_mul(0x9e37_79b1) >> (self.shift & 31);
        (usize::try_from(hash >> 3).unwrap_or(usize::MAX), 1 << (hash & 7))
    }

    /// Whether patterns may have these four bytes.
    fn has(&self, gram: u32) -> bool {
        let (place, bit) = self.place(gram);
        self.bits.get(place).is_none_or(|bits| bits & bit != 0)
    }

    /// The first doubt in `bytes`, before which no pattern begins that ends in them.
    pub(crate) fn doubt(&self, bytes: &[u8]) -> Option<Doubt> {
        let mut text = Squeezed::new();
        let mut begin = 0;
        while begin < bytes.len() {
            let end = begin.saturating_add(SEGMENT).min(bytes.len());
            let leads = text.take(bytes, begin, end);
            let found = self.look_up(&mut text).and_then(|index| {
                let place = text.place_of(bytes.get(begin..end)?, index.saturating_add(GRAM))?;
                Some(begin.saturating_add(place))
            });
            let until = found.unwrap_or(end);
            if let Some(at) = self.escape_in(bytes, begin, until, &leads) {
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
            if self.has(gram) && self.more_than_chance(text, index) {
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
    fn escape_in(
        &self,
        bytes: &[u8],
        begin: usize,
        until: usize,
        leads: &[u16],
    ) -> Option<usize> {
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
        let behind = match extent(bytes.get(at..).unwrap_or_default()) {
            Extent::None => return false,
            Extent::Unsure => return true,
            Extent::Of(length) => bytes.get(at.saturating_add(length)..).unwrap_or_default(),
        };
        let mut gram = Gram::default();
        let mut next = behind.iter().copied().peekable();
        while let Some(byte) = next.next() {
            if lanes::leads(byte) || (lanes::ends_line(byte) && next.peek() == Some(&b'd')) {
                return true;
            }
            if let Some(gram) = gram.push(byte) {
                return self.has(gram) || self.in_front(bytes, at);
            }
        }
        true
    }

    /// Whether the four bytes before `at` are of a pattern.
    fn in_front(&self, bytes: &[u8], at: usize) -> bool {
        let mut gram = Gram::default();
        let mut before = bytes.get(..at).unwrap_or_default().iter().rev();
        before.find_map(|byte| gram.push_front(*byte)).is_some_and(|gram| self.has(gram))
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
        first
    }
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
    /// Nothing stands before.
    first: usize,
    len: usize,
    /// Where it is looked up next.
    next: usize,
}

impl Squeezed {
    fn new() -> Self {
        Self { bytes: [0; KEPT + SEGMENT + BLOCK], first: KEPT, len: KEPT, next: KEPT }
    }

    /// Takes a segment; where escapes may begin, a bit for each byte.
    fn take(&mut self, all: &[u8], begin: usize, end: usize) -> [u16; SEGMENT / BLOCK] {
        let mut leads = [0; SEGMENT / BLOCK];
        // Whatever comes behind the end might go on as one.
        let after = all.get(end).copied().unwrap_or(b'd');
        let mut rest = all.get(begin..end).unwrap_or_default();
        for lead in &mut leads {
            if let Some((block, more)) = rest.split_first_chunk() {
                *lead = self.add(block, || more.first().copied().unwrap_or(after));
                rest = more;
                continue;
            }
            if !rest.is_empty() {
                *lead = self.add_part(rest, after);
            }
            break;
        }
        leads
    }

    fn add(&mut self, block: &[u8; BLOCK], next: impl FnOnce() -> u8) -> u16 {
        let out = self.bytes.get_mut(self.len..).and_then(|out| out.first_chunk_mut());
        let Some(out) = out else { return u16::MAX };
        let (kept, leads) = lanes::squeeze(block, next, out);
        self.len = self.len.wrapping_add(kept);
        leads
    }

    /// Fewer bytes than a block, padded with what is left out.
    fn add_part(&mut self, part: &[u8], after: u8) -> u16 {
        let mut block = [b' '; BLOCK];
        block.iter_mut().zip(part).for_each(|(to, from)| *to = *from);
        let leads = self.add(&block, || b' ');
        let event = after == b'd' && part.last().is_some_and(|byte| lanes::ends_line(*byte));
        leads | u16::from(event) << (part.len().saturating_sub(1) & (BLOCK - 1))
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
        self.bytes.copy_within(gone..self.len, 0);
        self.first = self.first.saturating_sub(gone);
        self.next = self.next.saturating_sub(gone);
        self.len = KEPT;
    }
}

fn gram(text: &[u8], at: usize) -> Option<u32> {
    text.get(at..)?.first_chunk().map(|gram| u32::from_le_bytes(*gram))
}

/// What begins with the first of `bytes`, which may begin an escape.
fn extent(bytes: &[u8]) -> Extent {
    match bytes {
        [b'\r' | b'\n', rest @ ..] => event(rest),
        [b'=', rest @ ..] => quoted(rest),
        _ => escape(bytes),
    }
}

/// `data:` at the beginning of a line.
fn event(rest: &[u8]) -> Extent {
    const FIELD: &[u8] = b"data:";
    match rest {
        _ if rest.starts_with(FIELD) => Extent::Of(FIELD.len().saturating_add(1)),
        _ if FIELD.starts_with(rest) => Extent::Unsure,
        _ => Extent::None,
    }
}

fn quoted(rest: &[u8]) -> Extent {
    match rest {
        [b'\n', ..] => Extent::Of(2),
        [b'\r', b'\n', ..] => Extent::Of(3),
        [] | [b'\r'] => Extent::Unsure,
        [high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => Extent::Of(3),
        [high] if high.is_ascii_hexdigit() => Extent::Unsure,
        _ => Extent::None,
    }
}

fn escape(bytes: &[u8]) -> Extent {
    let breaks = |byte: u8| matches!(byte, b'%' | b'\\' | b'&' | 0);
    for length in 1..=LONGEST {
        let Some(held) = bytes.get(..length) else { return Extent::Unsure };
        let last = held.last().copied().unwrap_or(0);
        // Another that begins inside may spell the rest of this one, in a second reading.
        if (length > 1 && breaks(last)) || leading_zero(held) {
            return Extent::Unsure;
        }
        match read(held) {
            Reading::Open => {}
            Reading::Plain => return Extent::None,
            Reading::Nothing(used) => return Extent::Of(used),
            Reading::Byte(byte, _) if breaks(byte) => return Extent::Unsure,
            Reading::Point(point, _) if u8::try_from(point).is_ok_and(breaks) => {
                return Extent::Unsure;
            }
            Reading::Byte(_, used) | Reading::Point(_, used) => return Extent::Of(used),
        }
    }
    Extent::Unsure
}

#[cfg(test)]
mod tests;
