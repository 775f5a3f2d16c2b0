//! What an escape's first byte begins, told from the bytes that follow it.
//!
//! Invariant: what cannot be told from them as a view would read it is [`Unit::Unsure`].

use crate::detect::escape::{Reading, begins_name, leading_zero, read};

/// The longest escape that is told from text.
const LONGEST: usize = 16;

/// What an escape's first byte turns out to begin.
pub(super) enum Unit {
    /// Nothing.
    Plain,
    /// An escape of so many bytes, and the byte that it is read as.
    Byte(u8, usize),
    /// The same of a character.
    Point(u32, usize),
    /// So many bytes that are read as nothing.
    Nothing(usize),
    /// What has to be read byte by byte.
    Unsure,
}

pub(super) fn leads(byte: u8) -> bool {
    matches!(byte, b'%' | b'\\' | b'&')
}

/// Whether `byte`, which may begin an escape, begins none before `rest`.
pub(super) fn leads_nowhere(byte: u8, rest: &[u8]) -> bool {
    match (byte, rest) {
        (b'&', &[first, second, ..]) if first.is_ascii_alphabetic() => {
            !begins_name(first, second) && !leads(second) && second != 0
        }
        (b'&', &[first, ..]) => {
            !leads(first) && !first.is_ascii_alphabetic() && !matches!(first, 0 | b'#')
        }
        (b'%', &[first, ..]) => {
            !leads(first) && first != 0 && !first.is_ascii_hexdigit() && first | 0x20 != b'u'
        }
        _ => false,
    }
}

/// `data:` at the beginning of a line.
pub(super) fn event(bytes: &[u8]) -> Unit {
    const FIELD: &[u8] = b"data:";
    match bytes {
        [b'\r' | b'\n', rest @ ..] if rest.starts_with(FIELD) => {
            Unit::Nothing(FIELD.len().saturating_add(1))
        }
        [b'\r' | b'\n', rest @ ..] if FIELD.starts_with(rest) => Unit::Unsure,
        _ => Unit::Plain,
    }
}

/// `=3C`, or a soft line break.
pub(super) fn quoted(bytes: &[u8]) -> Unit {
    match *bytes {
        [b'=', b'\n', ..] => Unit::Nothing(2),
        [b'=', b'\r', b'\n', ..] => Unit::Nothing(3),
        [b'='] | [b'=', b'\r'] => Unit::Unsure,
        [b'=', high, low, ..] => pair(high, low).map_or(Unit::Plain, |byte| Unit::Byte(byte, 3)),
        [b'=', high] if high.is_ascii_hexdigit() => Unit::Unsure,
        _ => Unit::Plain,
    }
}

/// Percent, backslash and character-reference escapes.
pub(super) fn escape(bytes: &[u8]) -> Unit {
    frequent(bytes).unwrap_or_else(|| settled(bytes))
}

/// What is most frequent: what JSON, HTML and addresses have to escape, and what begins nothing.
fn frequent(bytes: &[u8]) -> Option<Unit> {
    match *bytes {
        [b'%', ref rest @ ..] => percent(rest),
        [b'\\', ref rest @ ..] => backslash(rest),
        [b'&', ref rest @ ..] => reference(rest),
        _ => Some(Unit::Plain),
    }
}

fn percent(rest: &[u8]) -> Option<Unit> {
    match *rest {
        [b'%' | b'\\' | b'&' | 0 | b'u' | b'U', ..] => None,
        [high, low, ..] => match pair(high, low) {
            Some(byte) => Some(Unit::Byte(byte, 3)),
            None if high.is_ascii_hexdigit() => None,
            None => Some(Unit::Plain),
        },
        _ => None,
    }
}

fn backslash(rest: &[u8]) -> Option<Unit> {
    match *rest {
        [byte @ (b'"' | b'/' | b'\\'), ..] => Some(Unit::Byte(byte, 2)),
        [b'n' | b'r' | b't', ..] => Some(Unit::Byte(b'\n', 2)),
        [b'u', b'0', b'0', high, low, ..] => Some(Unit::Point(u32::from(pair(high, low)?), 6)),
        _ => None,
    }
}

fn reference(rest: &[u8]) -> Option<Unit> {
    match *rest {
        [b'a', b'm', b'p', b';', ..] => Some(Unit::Byte(b'&', 5)),
        [b'q', b'u', b'o', b't', b';', ..] => Some(Unit::Byte(b'"', 6)),
        [b'l', b't', b';', ..] => Some(Unit::Byte(b'<', 4)),
        [b'g', b't', b';', ..] => Some(Unit::Byte(b'>', 4)),
        _ => leads_nowhere(b'&', rest).then_some(Unit::Plain),
    }
}

/// The byte that two hex digits spell.
fn pair(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte & 15),
        b'a'..=b'f' | b'A'..=b'F' => Some((byte & 15).wrapping_add(9)),
        _ => None,
    };
    Some(digit(high)? << 4 | digit(low)?)
}

/// What the first of `bytes` begins, of which [`LONGEST`] are enough.
fn settled(bytes: &[u8]) -> Unit {
    for length in 1..=LONGEST {
        let Some(held) = bytes.get(..length) else { return Unit::Unsure };
        // Another that begins inside may spell the rest of this one, in a second reading, and
        // NUL is read over.
        let broken = |last: &u8| leads(*last) || *last == 0;
        if length > 1 && held.last().is_some_and(broken) || leading_zero(held) {
            return Unit::Unsure;
        }
        match read(held) {
            Reading::Open => {}
            Reading::Plain => return Unit::Plain,
            Reading::Nothing(used) => return Unit::Nothing(used),
            Reading::Byte(byte, used) => return Unit::Byte(byte, used),
            Reading::Point(point, used) => return Unit::Point(point, used),
        }
    }
    Unit::Unsure
}
