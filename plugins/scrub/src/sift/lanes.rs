//! Sixteen bytes at a time: which are left out, which may begin an escape.
//!
//! With the vector instructions of WebAssembly where it is built for them, else byte by
//! byte from a table. Invariant: both give the same.

/// Bytes that are read together.
pub(super) const BLOCK: usize = 16;

/// Some view leaves the byte out.
const DROP: u8 = 0x80;
/// The byte may begin an escape.
const LEAD: u8 = 0x40;
/// The byte ends a line.
const LINE: u8 = 0x20;

const fn mark(byte: u8) -> u8 {
    match byte {
        b'\r' | b'\n' => DROP | LINE,
        0 | b'\t' | b' ' | b',' | b'-' | b':' => DROP,
        b'%' | b'&' | b'=' | b'\\' => LEAD,
        _ => 0,
    }
}

// An initialiser runs in the compiler and nowhere else, which refuses to build on overflow
// or a bad index.
#[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects)]
static MARKS: [u8; 256] = {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        table[i] = mark(i as u8);
        i += 1;
    }
    table
};

fn marks(byte: u8) -> u8 {
    MARKS.get(usize::from(byte)).copied().unwrap_or(0)
}

/// Whether no view leaves `byte` out.
pub(super) fn keeps(byte: u8) -> bool {
    marks(byte) & DROP == 0
}

/// Whether `byte` is left out by no view, and begins nothing.
pub(super) fn is_plain(byte: u8) -> bool {
    marks(byte) == 0
}

/// The first four bytes that are not left out, the first one lowest, if nothing begins before.
pub(super) fn four<'a>(bytes: impl Iterator<Item = &'a u8>) -> Option<u32> {
    let (mut four, mut count) = (0_u32, 0_u32);
    for &byte in bytes {
        let marks = marks(byte);
        if marks & (LEAD | LINE) != 0 || byte == 0 {
            return None;
        }
        if marks & DROP == 0 {
            four = four >> 8 | u32::from(byte) << 24;
            count = count.wrapping_add(1);
            if count == 4 {
                return Some(four);
            }
        }
    }
    None
}

/// Puts what is kept of `block` at the front of `out`. Gives how many bytes they are, and
/// a bit for each byte that may begin an escape, as a line's end before a `d` may; `next`
/// follows the block.
#[cfg(any(test, not(all(target_arch = "wasm32", target_feature = "simd128"))))]
pub(super) fn by_bytes(
    block: &[u8; BLOCK],
    next: impl FnOnce() -> u8,
    out: &mut [u8; BLOCK],
) -> (usize, u16) {
    let (mut len, mut all) = (0_usize, 0);
    for &byte in block {
        let marks = marks(byte);
        if let Some(slot) = out.get_mut(len & (BLOCK - 1)) {
            *slot = byte;
        }
        len = len.wrapping_add(usize::from(marks & DROP == 0));
        all |= marks;
    }
    (len, if all & (LEAD | LINE) == 0 { 0 } else { leads_by_bytes(block, next()) })
}

#[cfg(any(test, not(all(target_arch = "wasm32", target_feature = "simd128"))))]
fn leads_by_bytes(block: &[u8; BLOCK], next: u8) -> u16 {
    let following = block.iter().copied().skip(1).chain([next]);
    let begins = |(&byte, after)| {
        let marks = marks(byte);
        marks & LEAD != 0 || (marks & LINE != 0 && after == b'd')
    };
    let bits = block.iter().zip(following).map(begins).enumerate();
    bits.fold(0, |leads, (at, begins)| leads | u16::from(begins) << (at & (BLOCK - 1)))
}

#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
pub(super) use by_bytes as squeeze;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
pub(super) use vector::squeeze;

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod vector {
    use core::arch::wasm32::{
        i8x16_bitmask, i8x16_eq, u8x16_add, u8x16_splat, u8x16_sub, u8x16_swizzle, u64x2,
        u64x2_extract_lane, v128, v128_and, v128_or,
    };

    use super::{BLOCK, DROP, LEAD, LINE, mark};

    pub(in super::super) fn squeeze(
        block: &[u8; BLOCK],
        next: impl FnOnce() -> u8,
        out: &mut [u8; BLOCK],
    ) -> (usize, u16) {
        let bytes = vector(block);
        let marks = marks(bytes);
        // Branches would be foretold badly: what a block holds changes from one to the next.
        (pack(bytes, i8x16_bitmask(marks), out), leads(bytes, marks, next()))
    }

    fn vector(block: &[u8; BLOCK]) -> v128 {
        let (halves, _) = block.as_chunks::<8>();
        let half = |at: usize| halves.get(at).map_or(0, |half| u64::from_le_bytes(*half));
        u64x2(half(0), half(1))
    }

    /// [`mark`] of each byte. A lookup beyond sixteen gives nothing.
    fn marks(bytes: v128) -> v128 {
        let row = |base: u8| u8x16_swizzle(row(base), u8x16_sub(bytes, u8x16_splat(base)));
        let backslash = v128_and(i8x16_eq(bytes, u8x16_splat(b'\\')), u8x16_splat(LEAD));
        v128_or(v128_or(row(0), row(0x20)), v128_or(row(0x30), backslash))
    }

    /// The marks of sixteen bytes from `base` on.
    const fn row(base: u8) -> v128 {
        let (mut low, mut high, mut i) = (0_u64, 0_u64, 0_u8);
        while i < 8 {
            low |= (mark(base | i) as u64) << (i as u32 * 8);
            high |= (mark(base | 8 | i) as u64) << (i as u32 * 8);
            i += 1;
        }
        u64x2(low, high)
    }

    fn leads(bytes: v128, marks: v128, next: u8) -> u16 {
        let twice = u8x16_add(marks, marks);
        let lines = i8x16_bitmask(u8x16_add(twice, twice));
        let follows = i8x16_bitmask(i8x16_eq(bytes, u8x16_splat(b'd'))) >> 1;
        let last = u16::from(next == b'd').wrapping_shl(15);
        i8x16_bitmask(twice) | (lines & (follows | last))
    }

    fn pack(bytes: v128, dropped: u16, out: &mut [u8; BLOCK]) -> usize {
        let [first, second] = dropped.to_le_bytes();
        let order = |mask: u8| ORDER.get(usize::from(mask)).copied().unwrap_or(0);
        let later = order(second).wrapping_add(0x0808_0808_0808_0808);
        let packed = u8x16_swizzle(bytes, u64x2(order(first), later));
        let kept = |mask: u8| usize::try_from(mask.count_zeros()).unwrap_or(0);
        let middle = kept(first);
        if let Some(slot) = out.first_chunk_mut() {
            *slot = u64x2_extract_lane::<0>(packed).to_le_bytes();
        }
        if let Some(slot) = out.get_mut(middle..).and_then(|rest| rest.first_chunk_mut()) {
            *slot = u64x2_extract_lane::<1>(packed).to_le_bytes();
        }
        middle.wrapping_add(kept(second))
    }

    /// For each set of eight bytes that are left out, where those that are kept stand.
    // An initialiser runs in the compiler and nowhere else.
    #[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects)]
    static ORDER: [u64; 256] = {
        let mut table = [0; 256];
        let mut mask = 0;
        while mask < 256 {
            let (mut order, mut kept, mut i) = (0x8080_8080_8080_8080_u64, 0, 0);
            while i < 8 {
                if mask >> i & 1 == 0 {
                    order = order & !(0xff << (kept * 8)) | (i as u64) << (kept * 8);
                    kept += 1;
                }
                i += 1;
            }
            table[mask] = order;
            mask += 1;
        }
        table
    };

    const _: () = assert!(DROP == 0x80 && LEAD == 0x40 && LINE == 0x20);
}
