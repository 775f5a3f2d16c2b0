//! Sets of fours of bytes, as patterns have them without what views leave out.
//!
//! Invariant: what was added is there; of what was not, about one in 32 seems to be.

use zeroize::Zeroizing;

use super::GRAM;
use super::lanes;

/// A set of fours of bytes, which may seem to have others.
pub(super) struct Table {
    /// A bit for each value of a hash.
    bits: Zeroizing<Vec<u8>>,
    shift: u32,
}

impl Table {
    /// For so many: one bit in 32 is set, up to `most` bits.
    pub(super) fn new(count: usize, most: usize) -> Self {
        let size = count.saturating_mul(32).next_power_of_two().clamp(1 << 12, most);
        let shift = 32_u32.saturating_sub(size.trailing_zeros());
        Self { bits: Zeroizing::new(vec![0; size >> 3]), shift }
    }

    /// How many bytes it takes.
    pub(super) fn size(&self) -> usize {
        self.bits.len()
    }

    fn place(&self, gram: u32) -> (usize, u8) {
        let hash = gram.wrapping_mul(0x9e37_79b1) >> (self.shift & 31);
        (usize::try_from(hash >> 3).unwrap_or(usize::MAX), 1 << (hash & 7))
    }

    /// Adds one; whether it seemed to be there already.
    pub(super) fn add(&mut self, gram: u32) -> bool {
        let (place, bit) = self.place(gram);
        let Some(bits) = self.bits.get_mut(place) else { return true };
        let had = *bits & bit != 0;
        *bits |= bit;
        had
    }

    pub(super) fn has(&self, gram: u32) -> bool {
        let (place, bit) = self.place(gram);
        self.bits.get(place).is_none_or(|bits| bits & bit != 0)
    }
}

/// How many bytes no view leaves out.
pub(super) fn kept(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| lanes::keeps(**byte)).count()
}

/// All fours in `pattern`, in order.
pub(super) fn grams(pattern: &[u8], into: &mut Vec<u32>) {
    let (mut gram, mut count) = (0_u32, 0_usize);
    for &byte in pattern.iter().filter(|byte| lanes::keeps(**byte)) {
        gram = gram >> 8 | u32::from(byte) << 24;
        count = count.saturating_add(1);
        if count >= GRAM {
            into.push(gram);
        }
    }
}
