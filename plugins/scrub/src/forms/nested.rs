//! Encodings of encodings: base64 of base64, of hex, of UTF-16 and of escaped text, and hex
//! of hex.
//!
//! Escapes around an encoding need nothing here, since views undo them; escapes inside of
//! one are spelt as encoders do it that escape only what they must.
//!
//! Invariant: only a value of [`SHORTEST`] to [`LONGEST`] bytes is spelt here.

use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

use super::spell::{UPPER, base64_inside, base64_whole, each, hex_pairs, pair};
use super::{Pattern, Subject};

/// Of shorter values, what depends on the value alone would be too little.
const SHORTEST: usize = 8;
/// As long as most keys are. What is spelt here is as much as all other forms together, which
/// of a session's 64 secrets would be too much.
const LONGEST: usize = 128;

pub(super) fn spellings(value: &[u8]) -> Vec<Pattern> {
    let it = Subject::whole(value);
    if !(SHORTEST..=LONGEST).contains(&value.len()) {
        return Vec::new();
    }
    let mut all = Vec::new();
    for text in base64_whole(it) {
        all.extend(base64_whole(Subject::whole(&text)));
    }
    for text in inside(value) {
        all.extend(inside(&text));
    }
    for text in &hex_pairs(it) {
        all.extend(base64_whole(Subject::whole(text)));
        all.extend(inside(text));
        all.extend(hex_pairs(Subject::whole(text)));
    }
    for text in utf16(value).into_iter().chain(escaped(it)) {
        all.extend(inside(&text));
    }
    all
}

fn inside(text: &[u8]) -> impl Iterator<Item = Pattern> {
    let it = Subject::whole(text);
    base64_inside(it, &STANDARD_NO_PAD).into_iter().chain(base64_inside(it, &URL_SAFE_NO_PAD))
}

/// Without the last byte, which of ASCII is NUL: so one byte later it is the other order.
fn utf16(value: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let text = std::str::from_utf8(value).ok()?;
    let mut wide: Zeroizing<Vec<u8>> =
        Zeroizing::new(Vec::with_capacity(value.len().saturating_mul(2)));
    wide.extend(text.encode_utf16().flat_map(u16::to_le_bytes));
    wide.pop();
    Some(wide)
}

/// As encoders write it that escape what they must, where that is not the value itself.
fn escaped(it: Subject<'_>) -> impl Iterator<Item = Zeroizing<Vec<u8>>> {
    let percent = each(it, |_, b, out| match b {
        b'-' | b'.' | b'_' | b'~' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => out.push(b),
        b => {
            out.push(b'%');
            pair(b, UPPER, out);
        }
    });
    let json = |solidus: bool| {
        each(it, move |_, b, out| {
            if matches!(b, b'"' | b'\\') || (b == b'/' && solidus) {
                out.push(b'\\');
            }
            out.push(b);
        })
    };
    let all = [percent, json(false), json(true)].into_iter().map(|pattern| pattern.text);
    all.filter(move |text| text.as_slice() != it.value)
}
