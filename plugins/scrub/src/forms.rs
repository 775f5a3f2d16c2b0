//! The forms in which a secret is looked for: one row each in [`FORMS`].
//!
//! The only file of this crate that reads a secret. What it makes of one is wiped
//! when dropped. Forms that escape single characters (percent, JSON, HTML, quoted-
//! printable), break lines or widen characters (UTF-16) have no row: content is read in
//! views that undo them, in any mixture.
//!
//! Invariant: the value injected is always a pattern, however short; a derived form
//! shorter than [`SHORTEST`] bytes never is, since it would hit by chance.

use std::borrow::Borrow;

use base64::Engine;
use base64::engine::general_purpose::{
    GeneralPurpose, STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD,
};
use postern_core::inject::InPlay;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::views;

/// Derived forms shorter than this are not looked for.
pub const SHORTEST: usize = 4;

/// So many bytes of a value's beginning or end are looked for without the rest.
pub const PART: usize = 12;

/// Ends of a value are looked for in every length up to this, beginnings also in some
/// greater lengths: an end that is longer is covered in part.
const LONGEST_PART: usize = 64;

/// Bytes to look for, wiped when dropped.
pub type Pattern = Zeroizing<Vec<u8>>;

/// One way in which an upstream may write a value.
pub struct Form {
    /// For tests and documents.
    pub name: &'static str,
    /// All spellings of the value in this form.
    pub spell: fn(&[u8]) -> Vec<Pattern>,
}

/// Every form that is looked for beside the value itself.
pub const FORMS: [Form; 9] = [
    Form { name: "base64 of exactly the value", spell: base64_whole },
    Form { name: "base64 at three alignments", spell: |v| base64_inside(v, &STANDARD_NO_PAD) },
    Form { name: "base64url at three alignments", spell: |v| base64_inside(v, &URL_SAFE_NO_PAD) },
    Form { name: "base32 at five alignments", spell: base32 },
    Form { name: "hex", spell: hex },
    Form { name: "bytes as numbers", spell: numbers },
    Form { name: "form encoding of a space", spell: plus },
    Form { name: "UTF-16", spell: utf16 },
    Form { name: "as read where escapes are undone", spell: unescaped },
];

/// All patterns for the secrets of one stream, in no particular order.
pub fn patterns(secrets: &[impl Borrow<InPlay>]) -> Vec<Pattern> {
    let mut all = Vec::new();
    for secret in secrets.iter().map(Borrow::borrow) {
        let (value, rendered) = (secret.value.expose(), secret.rendered.expose());
        subject(value, &mut all);
        all.extend(parts(value));
        // `Basic …` does not contain the value but an encoding of it: that token is a
        // secret of its own. Otherwise this repeats the value or its template.
        subject(token(rendered), &mut all);
        all.push(owned(rendered));
    }
    distinct(all)
}

/// Patterns for the values as a whole, however they are sent.
pub fn wholes(secrets: &[impl Borrow<InPlay>]) -> Vec<Pattern> {
    let mut all = Vec::new();
    for secret in secrets {
        subject(secret.borrow().value.expose(), &mut all);
    }
    distinct(all)
}

fn distinct(mut all: Vec<Pattern>) -> Vec<Pattern> {
    all.retain(|pattern| !pattern.is_empty());
    all.sort_unstable_by(|a, b| a.as_slice().cmp(b.as_slice()));
    all.dedup();
    all
}

/// Names a set of secrets without keeping them: SHA-256 of values and rendered values.
pub fn digest(secrets: &[impl Borrow<InPlay>]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(b"postern scrub/1\0");
    for secret in secrets.iter().map(Borrow::borrow) {
        for part in [&secret.value, &secret.rendered] {
            hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            hash.update(part.expose());
        }
    }
    hash.finalize().into()
}

/// The value itself, and every derived form that is long enough.
fn subject(value: &[u8], all: &mut Vec<Pattern>) {
    all.push(owned(value));
    for form in &FORMS {
        all.extend((form.spell)(value).into_iter().filter(|p| p.len() >= SHORTEST));
    }
}

/// Beginnings and ends of the value.
fn parts(value: &[u8]) -> impl Iterator<Item = Pattern> {
    let public = opening(value);
    let first = public.saturating_add(PART);
    let every = first..=first.saturating_add(LONGEST_PART);
    let beginnings = every.chain((first..value.len()).step_by(16));
    let beginnings = beginnings.filter(|end| *end < value.len());
    let ends = PART..=LONGEST_PART.min(value.len().saturating_sub(public));
    let end = |length: usize| value.len().checked_sub(length).and_then(|from| value.get(from..));
    let begun = beginnings.filter_map(|end| value.get(..end)).map(owned);
    begun.chain(ends.filter(|_| value.len() > PART).filter_map(end).map(owned))
}

/// How many bytes at the beginning say only what kind of value it is: the header of a
/// token in JWS compact form (RFC 7515, section 7.1), the first line of PEM (RFC 7468).
/// Replaced, they would spoil every other token or key in an answer.
fn opening(value: &[u8]) -> usize {
    let until = |mark: u8| value.iter().position(|b| *b == mark);
    let line = value.starts_with(b"-----BEGIN ").then(|| until(b'\n').or_else(|| until(b' ')));
    let header = value.starts_with(b"eyJ").then(|| until(b'.'));
    let at = line.or(header).flatten();
    at.map_or(0, |at| at.saturating_add(1))
}

/// What follows the authentication scheme (RFC 9110, section 11.4), else all of it.
fn token(rendered: &[u8]) -> &[u8] {
    let mut parts = rendered.splitn(2, |&b| b == b' ');
    match (parts.next(), parts.next()) {
        (Some(_), Some(token)) => token,
        _ => rendered,
    }
}

fn owned(bytes: &[u8]) -> Pattern {
    Zeroizing::new(bytes.to_vec())
}

fn base64_whole(value: &[u8]) -> Vec<Pattern> {
    [&STANDARD, &STANDARD_NO_PAD, &URL_SAFE, &URL_SAFE_NO_PAD]
        .into_iter()
        .map(|engine| Zeroizing::new(engine.encode(value).into_bytes()))
        .collect()
}

/// The value inside a longer encoded text: at each of three alignments the digits
/// that depend on the value alone.
fn base64_inside(value: &[u8], engine: &GeneralPurpose) -> Vec<Pattern> {
    [(0_usize, 0_usize), (1, 2), (2, 3)]
        .into_iter()
        .filter_map(|(offset, first)| {
            let mut shifted: Pattern = Zeroizing::new(vec![0; offset]);
            shifted.extend_from_slice(value);
            let end = shifted.len().checked_mul(8)?.checked_div(6)?;
            let text = Zeroizing::new(engine.encode(&*shifted).into_bytes());
            text.get(first..end).map(owned)
        })
        .collect()
}

/// RFC 4648, section 6, in both cases: the digits that depend on the value alone, at
/// each of five alignments, and all of exactly the value.
fn base32(value: &[u8]) -> Vec<Pattern> {
    [UPPER_BASE32, LOWER_BASE32]
        .into_iter()
        .flat_map(|digits| {
            let inside = (0..5).filter_map(move |offset: usize| {
                let mut shifted: Pattern = Zeroizing::new(vec![0; offset]);
                shifted.extend_from_slice(value);
                let first = offset.checked_mul(8)?.div_ceil(5);
                let end = shifted.len().checked_mul(8)?.checked_div(5)?;
                base32_digits(&shifted, digits).get(first..end).map(owned)
            });
            inside.chain([base32_digits(value, digits)])
        })
        .collect()
}

const UPPER_BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const LOWER_BASE32: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// Without padding; the last digit may hold bits of nothing.
fn base32_digits(bytes: &[u8], digits: &[u8; 32]) -> Pattern {
    let mut out: Pattern = Zeroizing::new(Vec::with_capacity(bytes.len().saturating_mul(2)));
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

const UPPER: &[u8; 16] = b"0123456789ABCDEF";
const LOWER: &[u8; 16] = b"0123456789abcdef";

/// Pairs of digits, alone and each as a number of its own.
fn hex(value: &[u8]) -> Vec<Pattern> {
    let pairs = |digits, lead: &'static [u8]| {
        each(value, |b, out| {
            out.extend(lead);
            pair(b, digits, out)
        })
    };
    vec![pairs(UPPER, b""), pairs(LOWER, b""), pairs(UPPER, b"0x"), pairs(LOWER, b"0x")]
}

/// An array of numbers, as JSON has it of a buffer.
fn numbers(value: &[u8]) -> Vec<Pattern> {
    let mut out: Pattern = Zeroizing::new(Vec::with_capacity(value.len().saturating_mul(4)));
    for (place, byte) in value.iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        let digits = [byte / 100, byte / 10 % 10, byte % 10];
        let leading = digits.iter().take(2).take_while(|digit| **digit == 0).count();
        out.extend(digits.iter().skip(leading).map(|digit| digit | b'0'));
    }
    vec![out]
}

/// `application/x-www-form-urlencoded` (URL standard, 5.2) writes a space as a plus
/// sign; the rest of it is percent-encoding.
fn plus(value: &[u8]) -> Vec<Pattern> {
    if !value.contains(&b' ') {
        return Vec::new();
    }
    vec![each(value, |b, out| out.push(if b == b' ' { b'+' } else { b }))]
}

/// Of ASCII, a view has it by leaving out NUL; of anything else it is spelt here.
fn utf16(value: &[u8]) -> Vec<Pattern> {
    match std::str::from_utf8(value) {
        Ok(text) if !text.is_ascii() => [u16::to_le_bytes, u16::to_be_bytes]
            .into_iter()
            .map(|order| Zeroizing::new(text.encode_utf16().flat_map(order).collect()))
            .collect(),
        _ => Vec::new(),
    }
}

/// A value with a backslash reads otherwise in a view, and so does any spelling of it.
fn unescaped(value: &[u8]) -> Vec<Pattern> {
    let once = views::unescaped(value);
    let twice: Vec<Pattern> = once.iter().flat_map(|read| views::unescaped(read)).collect();
    once.into_iter().chain(twice).filter(|read| read.as_slice() != value).collect()
}

fn each(value: &[u8], spell: impl Fn(u8, &mut Pattern)) -> Pattern {
    // Sized for the longest form, so that no unwiped copy is left by growing.
    let mut out: Pattern = Zeroizing::new(Vec::with_capacity(value.len().saturating_mul(4)));
    for &b in value {
        spell(b, &mut out);
    }
    out
}

fn pair(byte: u8, digits: &[u8; 16], out: &mut Pattern) {
    out.extend(
        digits.get(usize::from(byte >> 4)).into_iter().chain(digits.get(usize::from(byte & 15))),
    );
}
