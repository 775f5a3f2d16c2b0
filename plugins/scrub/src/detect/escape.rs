//! Percent, backslash and character-reference escapes, decoded in one pass.
//!
//! They may share a pass since each begins with a byte of its own that occurs in no
//! other's body, so none swallows another's beginning.
//!
//! Invariant: what is no escape passes unchanged.

use super::fold::utf8;
use super::view::Decoder;

/// The longest escape kept; `&#x0010ffff;` has 12 bytes.
pub(super) const LONGEST: usize = 16;

/// A decoder of `%3C`, `%u003c`, `\u003c`, `\x3c`, `\74`, `\/`, `&lt;`, `&#60;`, `&#x3c;`.
#[derive(Default)]
pub(super) struct Escape {
    held: [u8; LONGEST],
    len: usize,
}

/// What the bytes held so far are.
pub(crate) enum Reading {
    /// The beginning of an escape.
    Open,
    /// A byte, and how many of the held bytes it took.
    Byte(u8, usize),
    /// A code point, and how many of the held bytes it took.
    Point(u32, usize),
    /// Nothing, and how many of the held bytes it took.
    Nothing(usize),
    /// No escape.
    Plain,
}

use Reading::{Byte, Nothing, Open, Plain, Point};

impl Decoder for Escape {
    fn idle(&self) -> bool {
        self.len == 0
    }

    fn push(&mut self, byte: u8, mut out: impl FnMut(u8, bool)) {
        self.push_one(byte, &mut out);
    }
}

impl Escape {
    fn push_one(&mut self, byte: u8, out: &mut impl FnMut(u8, bool)) {
        if self.len == 0 && !matches!(byte, b'%' | b'\\' | b'&') {
            return out(byte, false);
        }
        let held = self.held.get(..self.len).unwrap_or_default();
        if byte == b'0' && leading_zero(held) {
            return;
        }
        let Some(slot) = self.held.get_mut(self.len) else {
            self.settle(&Plain, out);
            return self.push_one(byte, out);
        };
        *slot = byte;
        self.len = self.len.saturating_add(1);
        match read(self.held.get(..self.len).unwrap_or_default()) {
            Open => {}
            reading => self.settle(&reading, out),
        }
    }

    /// Puts out the escape and reads again what it did not take. Only the last byte
    /// can begin another escape, so this goes at most one level deep per byte.
    fn settle(&mut self, reading: &Reading, out: &mut impl FnMut(u8, bool)) {
        let held = self.held;
        let len = std::mem::take(&mut self.len);
        let used = match *reading {
            Byte(byte, used) => {
                out(byte, true);
                used
            }
            Point(point, used) => {
                utf8(point, |b| out(b, true));
                used
            }
            Nothing(used) => used,
            Open | Plain => {
                out(held.first().copied().unwrap_or_default(), false);
                1
            }
        };
        for &byte in held.get(used..len).unwrap_or_default() {
            self.push_one(byte, out);
        }
    }
}

/// Zeros in front of a number change nothing and may be without end.
pub(crate) fn leading_zero(held: &[u8]) -> bool {
    matches!(
        held,
        [b'&', b'#', b'0'] | [b'&', b'#', b'x' | b'X', b'0'] | [b'\\', b'u' | b'U', b'{', b'0']
    )
}

/// What `held`, which begins with an escape's first byte, is.
pub(crate) fn read(held: &[u8]) -> Reading {
    match held {
        [b'%', rest @ ..] => percent(rest),
        [b'\\', rest @ ..] => backslash(rest),
        [b'&', b'#', b'x' | b'X', digits @ ..] => numeric(digits, 16, 3),
        [b'&', b'#', digits @ ..] => numeric(digits, 10, 2),
        [b'&', name @ ..] => named(name),
        _ => Plain,
    }
}

fn percent(rest: &[u8]) -> Reading {
    match rest {
        [] => Open,
        [b'u' | b'U', digits @ ..] => fixed(digits, 4),
        digits => byte(digits, 1),
    }
}

fn backslash(rest: &[u8]) -> Reading {
    match rest {
        [] => Open,
        [b'u' | b'U', b'{', digits @ ..] => braced(digits),
        [b'u'] | [b'U'] => Open,
        [b'u', digits @ ..] => fixed(digits, 4),
        [b'U', digits @ ..] => fixed(digits, if digits.starts_with(b"0000") { 8 } else { 4 }),
        [b'x' | b'X', digits @ ..] => byte(digits, 2),
        [b'0'..=b'7', ..] => octal(rest),
        [b'n' | b'r' | b't' | b'f' | b'v' | b'b'] => Byte(b'\n', 2),
        // A percent sign or ampersand begins an escape of its own.
        [c] if c.is_ascii() && !matches!(c, b'%' | b'&') => Byte(*c, 2),
        _ => Plain,
    }
}

/// Exactly two hex digits behind `lead` bytes.
fn byte(digits: &[u8], lead: usize) -> Reading {
    match (digits, number(digits, 16)) {
        ([], _) => Open,
        (_, None) => Plain,
        ([_], _) => Open,
        (_, Some(n)) => u8::try_from(n).map_or(Plain, |b| Byte(b, lead.saturating_add(2))),
    }
}

/// Exactly `count` hex digits behind two bytes.
fn fixed(digits: &[u8], count: usize) -> Reading {
    match number(digits, 16) {
        _ if digits.is_empty() => Open,
        None => Plain,
        Some(n) if digits.len() == count => Point(n, count.saturating_add(2)),
        Some(_) => Open,
    }
}

/// Hex digits up to a closing brace behind three bytes.
fn braced(digits: &[u8]) -> Reading {
    match digits {
        [] => Open,
        [inner @ .., b'}'] => {
            number(inner, 16).map_or(Plain, |n| Point(n, inner.len().saturating_add(4)))
        }
        _ => number(digits, 16).map_or(Plain, |_| Open),
    }
}

/// One to three octal digits behind a backslash.
fn octal(rest: &[u8]) -> Reading {
    let (digits, more) = match rest.split_last() {
        Some((last, init)) if !matches!(last, b'0'..=b'7') => (init, false),
        _ => (rest, rest.len() < 3),
    };
    match number(digits, 8) {
        Some(_) if more => Open,
        Some(n) => {
            Byte(n.to_le_bytes().first().copied().unwrap_or(0), digits.len().saturating_add(1))
        }
        None => Plain,
    }
}

/// A numeric character reference behind `lead` bytes; the semicolon may be missing.
fn numeric(digits: &[u8], radix: u32, lead: usize) -> Reading {
    let Some((last, inner)) = digits.split_last() else { return Open };
    if char::from(*last).is_digit(radix) {
        return number(digits, radix).map_or(Plain, |_| Open);
    }
    if another(*last) {
        return Plain;
    }
    let semicolon = usize::from(*last == b';');
    let used = lead.saturating_add(inner.len()).saturating_add(semicolon);
    number(inner, radix).map_or(Plain, |n| Point(n, used))
}

/// A named character reference; the oldest names do without the semicolon.
fn named(name: &[u8]) -> Reading {
    let (body, closed) = match name {
        [body @ .., b';'] => (body, true),
        body => (body, false),
    };
    // Text has many an ampersand that no name follows.
    if !body.first().is_none_or(u8::is_ascii_alphabetic) {
        return Plain;
    }
    if let [first, second, ..] = *body
        && !begins_name(first, second)
    {
        return Plain;
    }
    let first = body.first().map(u8::to_ascii_lowercase);
    let is = |known: &str| {
        known.len() == body.len()
            && known.as_bytes().first().copied() == first
            && body.eq_ignore_ascii_case(known.as_bytes())
    };
    if closed {
        let found = NAMES.iter().find(|(known, _)| is(known));
        return found.map_or(Plain, |(_, c)| Byte(*c, name.len().saturating_add(1)));
    }
    let opens = |known: &&(&str, u8)| {
        (body.is_empty() || known.0.as_bytes().first().copied() == first)
            && known
                .0
                .as_bytes()
                .get(..body.len())
                .is_some_and(|head| head.eq_ignore_ascii_case(body))
    };
    if NAMES.iter().any(|known| opens(&known)) {
        return Open;
    }
    if body.last().is_some_and(|b| another(*b)) {
        return Plain;
    }
    let bare = NAMES.iter().take(BARE).find(|(known, _)| {
        body.get(..known.len()).is_some_and(|head| head.eq_ignore_ascii_case(known.as_bytes()))
    });
    bare.map_or(Plain, |(known, c)| Byte(*c, known.len().saturating_add(1)))
}

/// Whether one of [`NAMES`] begins with these two letters: few words of a query do.
pub(crate) fn begins_name(first: u8, second: u8) -> bool {
    matches!(
        (first | 0x20, second | 0x20),
        (b'l', b't' | b'p' | b'o' | b's' | b'b' | b'c')
            | (b'g', b't' | b'r')
            | (b'a', b'm' | b'p' | b's')
            | (b'p', b'e' | b'l')
            | (b'n', b'u' | b'e')
            | (b's', b'e' | b'o')
            | (b'e', b'q' | b'x')
            | (b'd', b'o' | b'i')
            | (b'r', b'p' | b's' | b'b' | b'c')
            | (b'q' | b'u', b'u' | b'n')
            | (b'c', b'o')
            | (b'b', b's')
            | (b't', b'a')
            | (b'm', b'i')
            | (b'h', b'a')
            | (b'v', b'e')
    )
}

/// Begins an escape of another family, which may spell the missing semicolon or
/// digits: the next view down reads on.
fn another(b: u8) -> bool {
    matches!(b, b'%' | b'\\')
}

/// How many of [`NAMES`] are read without a semicolon (HTML, 13.2.5.73).
const BARE: usize = 4;

/// Names of the ASCII characters that have one (HTML, 13.5).
const NAMES: [(&str, u8); 41] = [
    ("lt", b'<'),
    ("gt", b'>'),
    ("amp", b'&'),
    ("quot", b'"'),
    ("colon", b':'),
    ("percnt", b'%'),
    ("bsol", b'\\'),
    ("plus", b'+'),
    ("equals", b'='),
    ("num", b'#'),
    ("semi", b';'),
    ("sol", b'/'),
    ("lowbar", b'_'),
    ("newline", b'\n'),
    ("tab", b'\t'),
    ("apos", b'\''),
    ("excl", b'!'),
    ("dollar", b'$'),
    ("lpar", b'('),
    ("rpar", b')'),
    ("ast", b'*'),
    ("midast", b'*'),
    ("comma", b','),
    ("period", b'.'),
    ("quest", b'?'),
    ("commat", b'@'),
    ("lsqb", b'['),
    ("lbrack", b'['),
    ("rsqb", b']'),
    ("rbrack", b']'),
    ("hat", b'^'),
    ("underbar", b'_'),
    ("grave", b'`'),
    ("diacriticalgrave", b'`'),
    ("lcub", b'{'),
    ("lbrace", b'{'),
    ("rcub", b'}'),
    ("rbrace", b'}'),
    ("verbar", b'|'),
    ("vert", b'|'),
    ("verticalline", b'|'),
];

/// The number that all of `digits` spell.
fn number(digits: &[u8], radix: u32) -> Option<u32> {
    let mut value = 0_u32;
    for &digit in digits {
        value = value.checked_mul(radix)?.checked_add(char::from(digit).to_digit(radix)?)?;
    }
    (!digits.is_empty()).then_some(value)
}

#[cfg(test)]
mod tests {
    #[test]
    fn each_name_is_known_by_its_first_two_letters() {
        for (name, _) in super::NAMES {
            let [first, second, ..] = *name.as_bytes() else { panic!("{name}") };
            assert!(super::begins_name(first, second), "{name}");
            assert!(super::begins_name(first.to_ascii_uppercase(), second), "{name}");
        }
    }
}
