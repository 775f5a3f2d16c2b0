//! Tells of most short texts, at a fraction of a scan's cost, that no view of them has a marker.
//!
//! Where a scan keeps the state of all views and feeds them byte by byte, this makes one view
//! after the other as a whole text, and only those that can bring about a `<`.
//!
//! Invariant: a superset of the scan. What the scan sees is suspected here; tests and a fuzz
//! target compare the two.

use std::borrow::Cow;

use super::class::Class;
use super::escape::{self, Escape, Reading};
use super::fold::{Fold, OTHER, folds};
use super::quoted::Quoted;
use super::runs::{BASE64_RUN, HEX_RUN};
use super::utf7::Utf7;
use super::view::Decoder;

/// How many decoders deep a scan reads.
const DEPTH: u8 = 2;

/// Whether a scan of `text` may see a marker.
pub(super) fn suspects(text: &[u8]) -> bool {
    view(text, DEPTH)
}

/// One reading of the bytes, and those that `depth` more decoders make of it.
fn view(text: &[u8], depth: u8) -> bool {
    let text = &*folded(text);
    if has(text, |byte| byte == b'<')
        && text.windows(2).any(|pair| matches!(pair, [b'<', b'c' | b'C']))
    {
        return true;
    }
    let Some(below) = depth.checked_sub(1) else { return false };
    BASE64.runs(text).any(|run| base64(&run, below))
        || HEX.runs(text).any(|run| hex(&run, below))
        || has(text, leads) && Escapes::of(text, below == 0).any(text, below)
}

/// Whether any byte is such a one; reads all of them, several at a time.
#[inline(always)]
fn has(text: &[u8], is: impl Fn(u8) -> bool) -> bool {
    text.iter().fold(false, |any, byte| any | is(*byte))
}

/// Whether an escape may begin here, or what escapes may go on with.
fn leads(byte: u8) -> bool {
    matches!(byte, b'<' | b'%' | b'\\' | b'&' | b'=' | b'+')
}

/// The text behind the folding of characters.
fn folded(text: &[u8]) -> Cow<'_, [u8]> {
    if !has(text, |byte| byte == 0 || byte >= 0x80) {
        return Cow::Borrowed(text);
    }
    let mut fold = Fold::default();
    let mut out = Vec::with_capacity(text.len());
    for (at, &byte) in (1..).zip(text) {
        // Most bytes of what was decoded at a wrong place begin no character.
        let begins = (byte >= 0xc0) & text.get(at).is_some_and(|next| next & 0xc0 == 0x80);
        if fold.idle() & (byte != 0) & !begins {
            out.push(byte);
        } else {
            fold.push(byte, |it| out.push(it));
        }
    }
    Cow::Owned(out)
}

/// The readings of a run of base64 digits at each alignment, as a scan makes them: where
/// the run's first digit is not the first of its quantum, zeros stand for those before it.
fn base64(digits: &[u8], below: u8) -> bool {
    let mut out = Vec::with_capacity(digits.len());
    (0_u32..4).any(|phase| {
        out.clear();
        let mut bits = 0_u16;
        for (at, digit) in (1_u32..).zip(digits) {
            bits = bits << 6 | u16::from(*digit);
            match at.wrapping_add(phase) & 3 {
                1 => {}
                2 => out.push((bits >> 4 & 0xff) as u8),
                3 => out.push((bits >> 2 & 0xff) as u8),
                _ => out.push((bits & 0xff) as u8),
            }
        }
        view(&out, below)
    })
}

/// The same for hex digits.
fn hex(digits: &[u8], below: u8) -> bool {
    let pair = |pair: &[u8]| pair.iter().fold(0, |byte, digit| byte << 4 | *digit);
    let even: Vec<u8> = digits.chunks_exact(2).map(pair).collect();
    let (first, rest) = digits.split_at(digits.len().min(1));
    let odd: Vec<u8> = first.chunks(1).chain(rest.chunks_exact(2)).map(pair).collect();
    view(&even, below) || view(&odd, below)
}

/// The reading that a decoder of escapes makes, if it decodes anything.
fn unescaped(mut decoder: impl Decoder, text: &[u8], below: u8) -> bool {
    let mut out = Vec::with_capacity(text.len());
    let mut any = false;
    for &byte in text.iter().chain([&OTHER]) {
        decoder.push(byte, |it, decoded| {
            out.push(it);
            any |= decoded;
        });
    }
    any && view(&out, below)
}

/// The kinds of escapes of which there is one that may matter.
#[derive(Default)]
struct Escapes {
    escape: bool,
    quoted: bool,
    utf7: bool,
}

impl Escapes {
    /// Looks through a text. What is made of it at the `last` level is only compared, so an
    /// escape matters there only where it may stand for `<`, for a part of it, or right behind it.
    fn of(text: &[u8], last: bool) -> Self {
        let mut found = Self::default();
        for (at, &byte) in text.iter().enumerate() {
            if leads(byte) {
                found.tell(text, at, last);
            }
        }
        found
    }

    /// Whether a reading that decodes them may have a marker.
    fn any(&self, text: &[u8], below: u8) -> bool {
        self.escape && unescaped(Escape::default(), text, below)
            || self.quoted && unescaped(Quoted::default(), text, below)
            || self.utf7 && unescaped(Utf7::default(), text, below)
    }

    /// Looks at a byte that may be part of an escape or of the marker.
    fn tell(&mut self, text: &[u8], at: usize, last: bool) {
        let Some(rest @ [lead, more @ ..]) = text.get(at..) else { return };
        let before = at.checked_sub(1).and_then(|at| text.get(at));
        let open = before.is_some_and(|byte| *byte >= 0x80);
        match lead {
            b'<' if more.first().is_some_and(|next| Class::of(*next).tells()) => {
                (self.escape, self.quoted, self.utf7) = (true, true, true);
            }
            b'%' | b'\\' => self.escape |= escaped(rest).is_some_and(|it| it.matters(open, last)),
            b'&' => {
                self.escape |= more.starts_with(b"#")
                    || escaped(rest).is_some_and(|it| it.matters(open, last));
                self.utf7 |= shifted(more);
            }
            b'+' => self.utf7 |= shifted(more),
            b'=' => self.quoted |= quoted(more).is_some_and(|it| it.matters(open, last)),
            _ => {}
        }
    }
}

/// An alphabet of digits.
struct Alphabet {
    digit: fn(Class) -> Option<u8>,
    /// What may stand between two digits.
    within: fn(Class) -> bool,
    /// The digits of the shortest run that may hold a marker.
    least: usize,
}

const BASE64: Alphabet =
    Alphabet { digit: Class::sextet, within: Class::line_break, least: BASE64_RUN as usize };
const HEX: Alphabet =
    Alphabet { digit: Class::nibble, within: Class::separates, least: HEX_RUN as usize };

impl Alphabet {
    fn takes(&self, byte: &u8) -> bool {
        let class = Class::of(*byte);
        (self.digit)(class).is_some() || (self.within)(class)
    }

    /// The values of the digits of each run that has enough of them.
    fn runs(&self, text: &[u8]) -> impl Iterator<Item = Vec<u8>> {
        let mut rest = text;
        std::iter::from_fn(move || {
            loop {
                // Each run has a byte among every so many: elsewhere nothing need be read.
                let strides = rest.iter().skip(self.least.saturating_sub(1)).step_by(self.least);
                let hit = strides.clone().position(|byte| self.takes(byte))?;
                let at = self.least.saturating_mul(hit.saturating_add(1)).saturating_sub(1);
                let (before, behind) = rest.split_at_checked(at)?;
                let from = before.iter().rposition(|byte| !self.takes(byte));
                let from = from.map_or(0, |last| last.saturating_add(1));
                let more = behind.iter().position(|byte| !self.takes(byte));
                let to = more.map_or(rest.len(), |len| at.saturating_add(len));
                let run = rest.get(from..to)?;
                rest = rest.get(to..)?;
                let digits: Vec<u8> =
                    run.iter().filter_map(|byte| (self.digit)(Class::of(*byte))).collect();
                if digits.len() >= self.least {
                    return Some(digits);
                }
            }
        })
    }
}

/// What an escape stands for, and whether what follows may go on with it.
struct Escaped {
    value: u32,
    /// It is a byte, not a character.
    byte: bool,
    goes_on: bool,
}

impl Escaped {
    /// `open`: before it stands a byte that is no ASCII.
    fn matters(&self, open: bool, last: bool) -> bool {
        match self.value {
            0x80..=0xbf if self.byte => open,
            0xc0.. if self.byte => self.goes_on,
            0x80.. => folds(self.value),
            value => !last || value == u32::from(b'<'),
        }
    }
}

/// The escape at the beginning of `rest`.
fn escaped(rest: &[u8]) -> Option<Escaped> {
    let reading = (1..=rest.len().min(escape::LONGEST))
        .map(|len| escape::read(rest.get(..len).unwrap_or_default()))
        .find(|reading| !matches!(reading, Reading::Open));
    // What is open so far may have zeros without end, or be closed by the text's end.
    let (value, byte, used) = match reading {
        Some(Reading::Byte(byte, used)) => (u32::from(byte), true, used),
        Some(Reading::Point(point, used)) => (point, false, used),
        Some(Reading::Plain | Reading::Nothing(_)) => return None,
        Some(Reading::Open) | None => (u32::from(b'<'), true, rest.len()),
    };
    Some(Escaped { value, byte, goes_on: may_go_on(rest.get(used..)) })
}

/// What stands behind an equals sign, if it is quoted-printable.
fn quoted(more: &[u8]) -> Option<Escaped> {
    let digit = |at: usize| more.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    match more.first()? {
        // A line may be joined with what stands before it, so this always matters.
        b' ' | b'\t' | b'\r' | b'\n' => {
            Some(Escaped { value: u32::from(b'<'), byte: true, goes_on: true })
        }
        _ => Some(Escaped {
            value: digit(0)? << 4 | digit(1)?,
            byte: true,
            goes_on: may_go_on(more.get(2..)),
        }),
    }
}

/// Whether `rest` may begin with the second byte of a character, as it stands or escaped.
fn may_go_on(rest: Option<&[u8]>) -> bool {
    rest.and_then(<[u8]>::first).is_some_and(|byte| Class::of(*byte).tells())
}

/// Whether enough digits for one character of UTF-7 stand here.
fn shifted(more: &[u8]) -> bool {
    let digits = more.get(..3).unwrap_or_default();
    digits.len() == 3 && digits.iter().all(|digit| Class::of(*digit).sextet().is_some())
}
