//! What an escape's first byte begins, told from the bytes that follow it.
//!
//! Invariant: what cannot be told from them as a view would read it is [`Unit::Unsure`].

use super::lanes;
use crate::detect::escape::{Reading, leading_zero, read};

/// The longest escape that is told from text.
const LONGEST: usize = 16;
/// The same with zeros and NULs in it that are read over.
const LONGEST_APART: usize = 160;

/// What an escape's first byte turns out to begin.
pub(super) enum Unit {
    /// Nothing.
    Plain,
    /// An escape of so many bytes, and what it is read as.
    Point(u32, usize),
    /// So many bytes that are read as nothing.
    Nothing(usize),
    /// What cannot be told here.
    Unsure,
}

/// The last place up to `at` that is in no escape: read from its middle, it would be another.
pub(super) fn outside(bytes: &[u8], at: usize) -> usize {
    let mut at = at;
    loop {
        let from = at.saturating_sub(LONGEST_APART);
        let before = bytes.get(from..at).unwrap_or_default().iter().enumerate();
        let covers = |place: usize| {
            let rest = bytes.get(place..).unwrap_or_default();
            match unit_of(rest)(rest) {
                Unit::Plain => false,
                Unit::Unsure => true,
                Unit::Point(_, length) | Unit::Nothing(length) => place.saturating_add(length) > at,
            }
        };
        let mut places = before.filter(|(_, byte)| begins(**byte));
        match places
            .find_map(|(place, _)| Some(from.saturating_add(place)).filter(|it| covers(*it)))
        {
            Some(place) => at = place,
            None => return at,
        }
    }
}

/// Whether `byte` begins a unit of some kind.
fn begins(byte: u8) -> bool {
    leads(byte) || byte == b'=' || lanes::ends_line(byte)
}

pub(super) fn unit_of(bytes: &[u8]) -> fn(&[u8]) -> Unit {
    match bytes {
        [b'=', ..] => quoted,
        [b'\r' | b'\n', ..] => event,
        _ => escape,
    }
}

/// What a reader makes of bytes who undoes what `unit` tells; `None` where that is not
/// certain.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
    unit: fn(&[u8]) -> Unit,
    /// The last bytes of a character that was read, last one first, and how many they are.
    read: [u8; 4],
    count: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(rest: &'a [u8], unit: fn(&[u8]) -> Unit) -> Self {
        Self { rest, unit, read: [0; 4], count: 0 }
    }
}

impl Iterator for Reader<'_> {
    type Item = Option<u8>;

    fn next(&mut self) -> Option<Option<u8>> {
        if let Some(left) = self.count.checked_sub(1) {
            self.count = left;
            return self.read.get(left).copied().map(Some);
        }
        loop {
            let (&first, more) = self.rest.split_first()?;
            if !begins(first) {
                self.rest = more;
                return Some(Some(first));
            }
            match (self.unit)(self.rest) {
                Unit::Unsure => return Some(None),
                Unit::Plain => {
                    self.rest = more;
                    return Some(Some(first));
                }
                Unit::Nothing(length) => self.rest = self.rest.get(length..)?,
                Unit::Point(point, length) => {
                    self.rest = self.rest.get(length..)?;
                    let c = char::from_u32(point).unwrap_or(char::REPLACEMENT_CHARACTER);
                    self.count = c.encode_utf8(&mut self.read).len();
                    let read = self.read.get_mut(..self.count)?;
                    read.reverse();
                    return self.next();
                }
            }
        }
    }
}

/// `data:` at the beginning of a line.
fn event(bytes: &[u8]) -> Unit {
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
fn quoted(bytes: &[u8]) -> Unit {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    match *bytes {
        [b'=', b'\n', ..] => Unit::Nothing(2),
        [b'=', b'\r', b'\n', ..] => Unit::Nothing(3),
        [b'='] | [b'=', b'\r'] => Unit::Unsure,
        [b'=', high, low, ..] => match (digit(high), digit(low)) {
            (Some(high), Some(low)) if high < 8 => Unit::Point(high << 4 | low, 3),
            // Half a character, or more.
            (Some(_), Some(_)) => Unit::Unsure,
            _ => Unit::Plain,
        },
        [b'=', high] if digit(high).is_some() => Unit::Unsure,
        _ => Unit::Plain,
    }
}

/// Percent, backslash and character-reference escapes.
fn escape(bytes: &[u8]) -> Unit {
    match once(bytes) {
        Unit::Point(point, length) => match u8::try_from(point) {
            // It may begin another, of which the rest stands behind it.
            Ok(byte) if leads(byte) => match again(byte, bytes.get(length..).unwrap_or_default()) {
                Unit::Plain => Unit::Point(point, length),
                _ => Unit::Unsure,
            },
            _ => Unit::Point(point, length),
        },
        unit => unit,
    }
}

pub(super) fn leads(byte: u8) -> bool {
    matches!(byte, b'%' | b'\\' | b'&')
}

fn again(byte: u8, rest: &[u8]) -> Unit {
    let mut bytes = [byte; LONGEST];
    let behind = bytes.iter_mut().skip(1).zip(rest);
    let count = behind.map(|(to, from)| *to = *from).count();
    once(bytes.get(..=count).unwrap_or_default())
}

fn once(bytes: &[u8]) -> Unit {
    if let Some(unit) = frequent(bytes) {
        return unit;
    }
    if bytes.iter().take(LONGEST).any(|byte| *byte == 0) {
        return once_apart(bytes);
    }
    settled(bytes.get(..LONGEST).unwrap_or(bytes))
}

/// What is most frequent: what JSON and HTML have to escape, and what begins nothing.
fn frequent(bytes: &[u8]) -> Option<Unit> {
    Some(match *bytes {
        [b'\\', byte @ (b'"' | b'/' | b'\\'), ..] => Unit::Point(u32::from(byte), 2),
        [b'\\', b'n' | b'r' | b't', ..] => Unit::Point(u32::from(b'\n'), 2),
        [b'&', b'a', b'm', b'p', b';', ..] => Unit::Point(u32::from(b'&'), 5),
        [b'&', b'q', b'u', b'o', b't', b';', ..] => Unit::Point(u32::from(b'"'), 6),
        [b'&', b'l', b't', b';', ..] => Unit::Point(u32::from(b'<'), 4),
        [b'&', b'g', b't', b';', ..] => Unit::Point(u32::from(b'>'), 4),
        [b'&', b'%' | b'\\' | b'&' | 0, ..] | [b'%', b'%' | b'\\' | b'&' | 0, ..] => return None,
        [b'&', byte, ..] if byte != b'#' && !byte.is_ascii_alphabetic() => Unit::Plain,
        [b'%', byte, ..] if !byte.is_ascii_hexdigit() && byte | 0x20 != b'u' => Unit::Plain,
        [b'%' | b'\\' | b'&', ..] => return None,
        _ => Unit::Plain,
    })
}

/// The same of bytes among which there are NULs, which are read over.
fn once_apart(bytes: &[u8]) -> Unit {
    let (mut text, mut places, mut count) = ([0; LONGEST], [0_usize; LONGEST], 0_usize);
    let kept = bytes.iter().enumerate().take(LONGEST_APART).filter(|(_, byte)| **byte != 0);
    for ((place, byte), (slot, at)) in kept.zip(text.iter_mut().zip(&mut places)) {
        (*slot, *at) = (*byte, place);
        count = count.saturating_add(1);
    }
    let length = |used: usize| {
        let last = used.checked_sub(1).and_then(|last| places.get(last)).copied();
        last.unwrap_or(LONGEST_APART).saturating_add(1)
    };
    match settled(text.get(..count).unwrap_or_default()) {
        Unit::Point(point, used) => Unit::Point(point, length(used)),
        Unit::Nothing(used) => Unit::Nothing(length(used)),
        unit => unit,
    }
}

/// What the first of `bytes` begins, of which [`LONGEST`] are enough.
fn settled(bytes: &[u8]) -> Unit {
    for length in 1..=LONGEST {
        let Some(held) = bytes.get(..length) else { return Unit::Unsure };
        // Another that begins inside may spell the rest of this one, in a second reading.
        let broken = length > 1 && held.last().is_some_and(|last| leads(*last));
        match read(held) {
            _ if broken || leading_zero(held) => return Unit::Unsure,
            Reading::Open => {}
            Reading::Plain => return Unit::Plain,
            Reading::Nothing(used) => return Unit::Nothing(used),
            // A byte that is no character by itself.
            Reading::Byte(0x80.., _) => return Unit::Unsure,
            Reading::Byte(byte, used) => return Unit::Point(u32::from(byte), used),
            Reading::Point(point, used) => return Unit::Point(point, used),
        }
    }
    Unit::Unsure
}
