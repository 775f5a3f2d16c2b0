//! The spellings of a value, by form.
//!
//! Invariant: of a value that is to be found where it begins as well, each spelling tells
//! how many of its bytes depend on that beginning alone.

use base64::Engine;
use base64::engine::general_purpose::{
    GeneralPurpose, STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD,
};
use zeroize::Zeroizing;

use super::{Pattern, Subject};
use crate::views;

pub(super) fn base64_whole(it: Subject<'_>) -> Vec<Pattern> {
    [&STANDARD, &STANDARD_NO_PAD, &URL_SAFE, &URL_SAFE_NO_PAD]
        .into_iter()
        .map(|engine| Pattern::whole(engine.encode(it.value).into_bytes()))
        .collect()
}

/// The value inside a longer encoded text: at each of three alignments the digits
/// that depend on the value alone.
pub(super) fn base64_inside(it: Subject<'_>, engine: &GeneralPurpose) -> Vec<Pattern> {
    [(0_usize, 0_usize), (1, 2), (2, 3)]
        .into_iter()
        .filter_map(|(offset, first)| {
            let mut shifted: Zeroizing<Vec<u8>> = Zeroizing::new(vec![0; offset]);
            shifted.extend_from_slice(it.value);
            let until = |bytes: usize| offset.checked_add(bytes)?.checked_mul(8)?.checked_div(6);
            let text = Zeroizing::new(engine.encode(&*shifted).into_bytes());
            inside(&text, first, until(it.value.len())?, until(it.enough)?)
        })
        .collect()
}

/// Digits from `first` to `end`, or as far as `enough`.
fn inside(text: &[u8], first: usize, end: usize, enough: usize) -> Option<Pattern> {
    let digits = Zeroizing::new(text.get(first..end)?.to_vec());
    Some(Pattern::begun(digits, enough.checked_sub(first)?))
}

/// RFC 4648, section 6, in both cases: the digits that depend on the value alone, at
/// each of five alignments, and all of exactly the value.
pub(super) fn base32(it: Subject<'_>) -> Vec<Pattern> {
    [UPPER_BASE32, LOWER_BASE32]
        .into_iter()
        .flat_map(|digits| {
            let aligned = (0..5).filter_map(move |offset: usize| {
                let mut shifted: Zeroizing<Vec<u8>> = Zeroizing::new(vec![0; offset]);
                shifted.extend_from_slice(it.value);
                let until =
                    |bytes: usize| offset.checked_add(bytes)?.checked_mul(8)?.checked_div(5);
                let text = base32_digits(&shifted, digits);
                let first = offset.checked_mul(8)?.div_ceil(5);
                inside(&text, first, until(it.value.len())?, until(it.enough)?)
            });
            let whole = base32_digits(it.value, digits);
            let length = whole.len();
            aligned.chain([Pattern::begun(whole, length)])
        })
        .collect()
}

const UPPER_BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const LOWER_BASE32: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// Without padding; the last digit may hold bits of nothing.
fn base32_digits(bytes: &[u8], digits: &[u8; 32]) -> Zeroizing<Vec<u8>> {
    let mut out = Zeroizing::new(Vec::with_capacity(bytes.len().saturating_mul(2)));
    for group in bytes.chunks(5) {
        let mut wide = [0_u8; 8];
        wide.iter_mut().skip(3).zip(group).for_each(|(to, from)| *to = *from);
        let bits = u64::from_be_bytes(wide);
        let count = group.len().saturating_mul(8).div_ceil(5);
        let places = (0..8_u32).rev().map(|place| place.saturating_mul(5)).take(count);
        let digit = |shift: u32| (bits.checked_shr(shift).unwrap_or(0) & 31) as usize;
        out.extend(places.filter_map(|shift| digits.get(digit(shift))));
    }
    out
}

pub(super) const UPPER: &[u8; 16] = b"0123456789ABCDEF";
const LOWER: &[u8; 16] = b"0123456789abcdef";

/// Pairs of digits, alone and each as a number of its own; of the first of these `0x` may
/// be missing.
pub(super) fn hex(it: Subject<'_>) -> Vec<Pattern> {
    let pairs = |digits, lead: &'static [u8]| {
        each(it, |place, b, out| {
            if place > 0 {
                out.extend(lead);
            }
            pair(b, digits, out)
        })
    };
    vec![pairs(UPPER, b""), pairs(LOWER, b""), pairs(UPPER, b"0x"), pairs(LOWER, b"0x")]
}

/// Pairs of digits alone.
pub(super) fn hex_pairs(it: Subject<'_>) -> [Pattern; 2] {
    [UPPER, LOWER].map(|digits| each(it, |_, b, out| pair(b, digits, out)))
}

/// An array of numbers, as JSON has it of a buffer.
pub(super) fn numbers(it: Subject<'_>) -> Vec<Pattern> {
    vec![each(it, |place, byte, out| {
        if place > 0 {
            out.push(b',');
        }
        // In plain steps: an array with its zeros skipped was compiled in two ways, by chance.
        if byte >= 100 {
            out.push((byte / 100) | b'0');
        }
        if byte >= 10 {
            out.push((byte / 10 % 10) | b'0');
        }
        out.push((byte % 10) | b'0');
    })]
}

/// `application/x-www-form-urlencoded` (URL standard, 5.2) writes a space as a plus
/// sign; the rest of it is percent-encoding.
pub(super) fn plus(it: Subject<'_>) -> Vec<Pattern> {
    if !it.value.contains(&b' ') {
        return Vec::new();
    }
    vec![each(it, |_, b, out| out.push(if b == b' ' { b'+' } else { b }))]
}

/// Of ASCII, a view has it by leaving out NUL; of anything else it is spelt here.
pub(super) fn utf16(it: Subject<'_>) -> Vec<Pattern> {
    match std::str::from_utf8(it.value) {
        Ok(text) if !text.is_ascii() => [u16::to_le_bytes, u16::to_be_bytes]
            .into_iter()
            .map(|order| Pattern::whole(text.encode_utf16().flat_map(order).collect()))
            .collect(),
        _ => Vec::new(),
    }
}

/// A value with a backslash reads otherwise in a view, and so does any spelling of it.
pub(super) fn unescaped(it: Subject<'_>) -> Vec<Pattern> {
    let once = views::unescaped(it.value);
    let twice: Vec<_> = once.iter().flat_map(|read| views::unescaped(read)).collect();
    let all = once.into_iter().chain(twice).filter(|read| read.as_slice() != it.value);
    all.map(|read| Pattern::whole(read.to_vec())).collect()
}

/// Spells byte by byte.
pub(super) fn each(it: Subject<'_>, spell: impl Fn(usize, u8, &mut Vec<u8>)) -> Pattern {
    // Sized for the longest form, so that no unwiped copy is left by growing.
    let mut out = Zeroizing::new(Vec::with_capacity(it.value.len().saturating_mul(4)));
    let mut enough = 0;
    for (place, &b) in it.value.iter().enumerate() {
        if place == it.enough {
            enough = out.len();
        }
        spell(place, b, &mut out);
    }
    let least = if it.enough < it.value.len() { enough } else { out.len() };
    Pattern::begun(out, least)
}

pub(super) fn pair(byte: u8, digits: &[u8; 16], out: &mut Vec<u8>) {
    out.extend(
        digits.get(usize::from(byte >> 4)).into_iter().chain(digits.get(usize::from(byte & 15))),
    );
}
