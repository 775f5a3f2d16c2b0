//! How much at the end of a view's text may be of one pattern.

use super::{Sift, lanes};

/// Where so many of the last bytes began is known.
const PLACES: usize = 8;
/// Every so many bytes four are looked up.
const STEP: usize = 4;
/// Bytes at the end of a run that is long enough, of which all fours are looked up.
const SURE: usize = 8;
/// A run is no longer than has to be told.
const MOST: usize = 16;

/// Bytes that are kept and may be of one pattern; of fewer than four, nothing is known.
#[derive(Clone, Copy)]
pub(super) struct Run {
    /// The last eight bytes, the last one lowest.
    last: u64,
    starts: [usize; PLACES],
    /// Bytes that were taken.
    count: usize,
    len: usize,
    start: usize,
    /// Behind the last one.
    behind: usize,
}

impl Run {
    /// Nothing stands before `at`.
    pub(super) fn new(at: usize) -> Self {
        Self { last: 0, starts: [at; PLACES], count: 0, len: 0, start: at, behind: at }
    }

    /// Of bytes that are read as they are, up to `at`; what stands before `floor` is of none.
    pub(super) fn before(sift: &Sift, bytes: &[u8], floor: usize, at: usize) -> Self {
        let text = bytes.get(floor..at).unwrap_or_default();
        let (mut front, mut len, mut first) = (0_u32, 0_usize, text.len());
        for (place, &byte) in text.iter().enumerate().rev() {
            if lanes::keeps(byte) {
                front = front << 8 | u32::from(byte);
                if len >= 3 && !sift.has(front) {
                    break;
                }
                len = len.saturating_add(1);
                first = place;
            } else if sift.hangs {
                first = place;
            }
        }
        let mut run = Self::new(floor.saturating_add(first));
        for (place, &byte) in text.iter().enumerate().skip(first) {
            if lanes::keeps(byte) {
                let start = floor.saturating_add(place);
                run.add(sift, byte, start, start.saturating_add(1));
            }
        }
        run
    }

    fn add(&mut self, sift: &Sift, byte: u8, start: usize, end: usize) {
        let start = if sift.hangs { self.behind } else { start };
        if self.len == 0 {
            self.start = start;
        }
        self.behind = end;
        self.last = self.last << 8 | u64::from(byte);
        if let Some(slot) = self.starts.get_mut(self.count & (PLACES - 1)) {
            *slot = start;
        }
        self.count = self.count.wrapping_add(1);
        self.len = self.len.saturating_add(1);
    }

    /// A byte that no pattern has stood before `at`.
    pub(super) fn end(&mut self, at: usize) {
        (self.len, self.behind) = (0, at);
    }

    /// Takes a byte that is kept, and looks up the last four if `look` says so.
    pub(super) fn push(&mut self, sift: &Sift, byte: u8, (start, end): (usize, usize), look: bool) {
        self.add(sift, byte, start, end);
        let look = look || self.count & (STEP - 1) == 0;
        if look && self.len > 3 && !self.known(sift, 0) {
            self.cut(3);
        } else if self.is_long(sift) {
            // Whatever was not looked up is now.
            let broken =
                (0..=SURE.saturating_sub(super::GRAM)).find(|back| !self.known(sift, *back));
            if let Some(back) = broken {
                self.cut(back.saturating_add(3));
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Whether the four bytes with so many behind them may be of a pattern.
    fn known(&self, sift: &Sift, back: usize) -> bool {
        let bits = u32::try_from(back).unwrap_or(0).wrapping_mul(8);
        let [.., a, b, c, d] = (self.last >> (bits & 63)).to_be_bytes();
        sift.has(u32::from_le_bytes([a, b, c, d]))
    }

    /// Only the last `len` bytes are of the run.
    fn cut(&mut self, len: usize) {
        self.len = len;
        let first = self.count.wrapping_sub(len) & (PLACES - 1);
        self.start = self.starts.get(first).copied().unwrap_or(0);
    }

    /// Whether it is as long as the shortest pattern.
    pub(super) fn is_long(&self, sift: &Sift) -> bool {
        self.len >= sift.least.min(MOST)
    }

    /// Where a pattern may have begun that is open at `at`.
    pub(super) fn start(&self, sift: &Sift, at: usize) -> usize {
        match self.len {
            0 if sift.hangs => self.behind,
            0 => at,
            _ => self.start,
        }
    }
}
