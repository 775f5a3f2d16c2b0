//! Places inside a field or inside content where a placeholder may stand: the value of
//! one query parameter, cookie, form field or JSON string.
//!
//! Owns the readers that find such values, and what a value looks like there. A reader
//! finds a value only where every other reader would: what it cannot read strictly has no
//! slots, and the detector then has the last word.
//!
//! Invariant: a slot's range is exactly the bytes of a placeholder as it stands, in no
//! encoding; nothing is decoded but names.

use std::collections::BTreeSet;
use std::ops::Range;

use zeroize::Zeroizing;

use crate::binding::Place;
use crate::placeholder::Reference;

pub use places::Places;

/// A placeholder that is the whole value of a declared place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// [`crate::binding::Site::key`] of the place.
    pub key: String,
    /// What stands there.
    pub reference: Reference,
    /// Where in the text.
    pub range: Range<usize>,
}

/// Parts that look like `name=value`, with where the value stands.
struct Pair<'a> {
    name: &'a [u8],
    value: Range<usize>,
}

fn pairs<'a>(text: &'a [u8], from: usize, between: u8) -> impl Iterator<Item = Pair<'a>> {
    let mut at = from;
    let rest = text.get(from..).unwrap_or_default();
    rest.split(move |byte| *byte == between).map(move |part| {
        let begin = at;
        at = at.saturating_add(part.len()).saturating_add(1);
        let blank = part.iter().take_while(|byte| **byte == b' ').count();
        let end = begin.saturating_add(part.len());
        let sign = part.iter().position(|byte| *byte == b'=').unwrap_or(part.len());
        let name = part.get(blank..sign).unwrap_or_default();
        let value = begin.saturating_add(sign).saturating_add(1).min(end)..end;
        Pair { name, value }
    })
}

/// Where the query of a request target begins, behind its question mark.
fn query(target: &[u8]) -> usize {
    let mark = target.iter().position(|byte| *byte == b'?');
    mark.map_or(target.len(), |mark| mark.saturating_add(1))
}

/// Slots of a request target. `None` when a declared parameter with a placeholder is
/// there twice, so that which one counts is up to the reader.
pub fn in_query(target: &[u8], declared: &Places) -> Option<Vec<Slot>> {
    let declared = declared.query();
    if declared.is_empty() {
        return Some(Vec::new());
    }
    let named = |name: &[u8]| declared.get(&percent_decoded(name));
    slots(target, pairs(target, query(target), b'&'), named)
}

/// Slots of a `Cookie` field (RFC 6265, section 4.2.1).
pub fn in_cookie(value: &[u8], declared: &Places) -> Option<Vec<Slot>> {
    let named = |name: &[u8]| declared.cookie().get(name);
    slots(value, pairs(value, 0, b';'), named)
}

/// Slots of a form (URL standard, 5.1).
pub fn in_form(content: &[u8], declared: &Places) -> Option<Vec<Slot>> {
    let named = |name: &[u8]| declared.form().get(&percent_decoded(name));
    slots(content, pairs(content, 0, b'&'), named)
}

/// Slots of a JSON document. `None` when it is not strict JSON, or an object has a name
/// twice.
pub fn in_json(content: &[u8], declared: &Places) -> Option<Vec<Slot>> {
    let strings = json::strings(content)?;
    let slot = |(pointer, range): (String, Range<usize>)| {
        let place = declared.json().get(pointer.as_bytes())?;
        let reference = reference(content, &range)?;
        Some(Slot { key: place.key(), reference, range })
    };
    Some(strings.into_iter().filter_map(slot).collect())
}

fn slots<'p, 'a>(
    text: &[u8],
    pairs: impl Iterator<Item = Pair<'a>>,
    named: impl Fn(&[u8]) -> Option<&'p Place>,
) -> Option<Vec<Slot>> {
    let mut seen: Vec<(String, bool)> = Vec::new();
    let mut found = Vec::new();
    for pair in pairs {
        let Some(place) = named(pair.name) else { continue };
        let key = place.key();
        let reference = reference(text, &pair.value);
        seen.push((key.clone(), reference.is_some()));
        if let Some(reference) = reference {
            found.push(Slot { key, reference, range: pair.value });
        }
    }
    let twice = |slot: &Slot| seen.iter().filter(|(key, _)| *key == slot.key).count() > 1;
    (!found.iter().any(twice)).then_some(found)
}

fn reference(text: &[u8], range: &Range<usize>) -> Option<Reference> {
    Reference::parse(str::from_utf8(text.get(range.clone())?).ok()?)
}

/// As names in queries and forms are read; what is no escape stays.
pub(crate) fn percent_decoded(name: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((&byte, more)) = rest.split_first() {
        rest = more;
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|d| u8::try_from(d).ok());
        match (byte, rest) {
            (b'%', [high, low, more @ ..]) if digit(*high).is_some() && digit(*low).is_some() => {
                out.push(digit(*high).unwrap_or(0) << 4 | digit(*low).unwrap_or(0));
                rest = more;
            }
            (b'+', _) => out.push(b' '),
            _ => out.push(byte),
        }
    }
    out
}

/// `text` without the slots: what the detector has to look at.
pub fn without(text: &[u8], slots: &[Slot]) -> Vec<u8> {
    let inside = |at: &usize| slots.iter().any(|slot| slot.range.contains(at));
    (0..).zip(text).filter(|(at, _)| !inside(at)).map(|(_, byte)| *byte).collect()
}

/// `value` as it is written in `place`; `None` when it cannot stand there.
pub fn encoded(place: &Place, value: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    match place {
        Place::Header(_) => None,
        // A control byte is one again behind a parser that decodes too much.
        Place::Query(_) => (!value.iter().any(u8::is_ascii_control)).then(|| percent(value)),
        Place::Form(_) => Some(percent(value)),
        Place::Cookie(_) => value.iter().all(is_cookie).then(|| Zeroizing::new(value.to_vec())),
        Place::Json(_) => str::from_utf8(value).ok().map(json::escaped),
    }
}

/// RFC 6265, section 4.1.1.
fn is_cookie(byte: &u8) -> bool {
    matches!(byte, 0x21 | 0x23..=0x2b | 0x2d..=0x3a | 0x3c..=0x5b | 0x5d..=0x7e)
}

/// All but what RFC 3986, section 2.3, never encodes.
pub(crate) fn percent(value: &[u8]) -> Zeroizing<Vec<u8>> {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = Zeroizing::new(Vec::with_capacity(value.len().saturating_mul(3)));
    let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().unwrap_or(b'0');
    for &byte in value {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(byte);
        } else {
            out.extend([b'%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
    out
}

/// A request target or cookie field in which the caller wrote nothing of the place: every
/// instance that he did write goes, and one is added.
pub fn added(place: &Place, text: &[u8], value: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (from, between, name) = match place {
        Place::Query(name) => (query(text), b'&', name),
        Place::Cookie(name) => (0, b';', name),
        _ => return None,
    };
    let is_it = |pair: &[u8]| {
        let pair = pair.trim_ascii_start();
        let written = pair.split(|byte| *byte == b'=').next().unwrap_or_default();
        match place {
            Place::Query(_) => percent_decoded(written) == name.as_bytes(),
            _ => written == name.as_bytes(),
        }
    };
    let (before, rest) = text.split_at_checked(from)?;
    let kept = rest.split(|byte| *byte == between).filter(|pair| !pair.is_empty() && !is_it(pair));
    let mut out = Zeroizing::new(Vec::with_capacity(
        text.len().saturating_add(name.len()).saturating_add(value.len()).saturating_add(4),
    ));
    out.extend_from_slice(before);
    if matches!(place, Place::Query(_)) && !before.ends_with(b"?") {
        out.push(b'?');
    }
    for pair in kept {
        out.extend_from_slice(pair.trim_ascii_start());
        out.push(between);
        if between == b';' {
            out.push(b' ');
        }
    }
    out.extend_from_slice(name.as_bytes());
    out.push(b'=');
    out.extend_from_slice(value);
    Some(out)
}

/// Puts each value in the place of its placeholder, in one pass. `None` unless every
/// placeholder is there exactly once.
pub fn substituted(
    text: &[u8],
    values: &[(String, Zeroizing<Vec<u8>>)],
) -> Option<Zeroizing<Vec<u8>>> {
    let more: usize = values.iter().map(|(_, value)| value.len()).sum();
    let mut out = Zeroizing::new(Vec::with_capacity(text.len().saturating_add(more)));
    let mut used = BTreeSet::new();
    let mut rest = text;
    while let Some((&byte, next)) = rest.split_first() {
        let found = values.iter().find(|(mark, _)| rest.starts_with(mark.as_bytes()));
        if let Some((mark, value)) = found {
            if !used.insert(mark) {
                return None;
            }
            out.extend_from_slice(value);
            rest = rest.get(mark.len()..)?;
        } else {
            out.push(byte);
            rest = next;
        }
    }
    (used.len() == values.len()).then_some(out)
}

pub(crate) mod json;
mod places;

#[cfg(test)]
mod tests;
