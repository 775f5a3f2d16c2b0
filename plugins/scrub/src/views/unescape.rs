//! What each view makes of bytes: which it decodes and which it leaves out.
//!
//! Invariant: what is no escape passes unchanged, with the place it came from.

use super::From;
use crate::detect::escape::{Reading, leading_zero, read};

/// The longest escape that is kept.
const LONGEST: usize = 16;
/// Leading zeros of a number beyond these are read as text.
const MOST_ZEROS: u32 = 64;

/// What a view does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Percent, backslash and character-reference escapes; NUL, and with it UTF-16.
    Escapes,
    /// White space, as of encoded text in lines.
    Tight,
    /// White space and what stands between the pairs of a hex dump.
    Apart,
    /// Quoted-printable (RFC 2045, section 6.7).
    Quoted,
    /// The line ends and `data:` of server-sent events.
    Events,
}

impl Kind {
    /// Whether `byte` begins an escape in some view.
    pub(super) fn may_lead(byte: u8) -> bool {
        matches!(byte, b'%' | b'\\' | b'&' | b'=')
    }

    /// Whether some view reads `byte` otherwise than as itself.
    pub(super) fn may_change(byte: u8) -> bool {
        Self::may_lead(byte)
            || matches!(byte, 0 | b'\r' | b'\n' | b'\t' | b' ' | b':' | b'-' | b',')
    }

    /// Whether bytes are left out and none decoded.
    pub(super) fn passes(self) -> bool {
        matches!(self, Self::Tight | Self::Apart)
    }

    /// How much has to be open for a byte to be left out. An event's last byte is before
    /// its empty line, which must not wait for the next event.
    pub(super) fn least_open(self) -> usize {
        if self == Self::Events { 2 } else { 1 }
    }

    /// Whether what is left out may end what a reader waits for.
    pub(super) fn has_gaps(self) -> bool {
        matches!(self, Self::Tight | Self::Apart | Self::Events)
    }

    /// Whether `byte` begins an escape. Line ends do, where something is open.
    pub(super) fn leads(self, byte: u8) -> bool {
        match self {
            Self::Escapes => matches!(byte, b'%' | b'\\' | b'&'),
            Self::Quoted => byte == b'=',
            Self::Tight | Self::Apart | Self::Events => false,
        }
    }

    /// Whether `byte` is left out, or may be the first of several that are.
    pub(super) fn leaves_out(self, byte: u8) -> bool {
        let space = matches!(byte, 0 | b'\r' | b'\n' | b'\t' | b' ');
        match self {
            Self::Escapes => byte == 0,
            Self::Tight => space,
            Self::Apart => space || matches!(byte, b':' | b'-' | b','),
            Self::Events => matches!(byte, b'\r' | b'\n'),
            Self::Quoted => false,
        }
    }

    fn read(self, held: &[u8]) -> Reading {
        match self {
            Self::Escapes => read(held),
            Self::Quoted => quoted(held),
            Self::Events => events(held),
            Self::Tight | Self::Apart => Reading::Plain,
        }
    }

    /// Whether `byte` may be the first that is read otherwise.
    pub(crate) fn begins(self, byte: u8) -> bool {
        self.leads(byte) || (self == Self::Events && self.leaves_out(byte))
    }
}

/// Bytes that may be an escape, and where they came from.
#[derive(Default)]
pub(crate) struct Held {
    bytes: [u8; LONGEST],
    from: Vec<From>,
    /// What was given out last; kept for its memory.
    gone: Vec<From>,
    zeros: u32,
}

impl Held {
    pub(crate) fn is_empty(&self) -> bool {
        self.from.is_empty()
    }

    /// Where the first byte that is kept stands.
    pub(crate) fn start(&self) -> Option<u64> {
        self.from.first().map(|from| from.start)
    }

    /// Takes one byte and adds to `out` what it completes.
    pub(crate) fn push(&mut self, kind: Kind, from: From, out: &mut Vec<From>) {
        let len = self.from.len();
        if len == 0 && !kind.begins(from.byte) {
            return out.push(from);
        }
        let held = self.bytes.get(..len).unwrap_or_default();
        if from.byte == b'0' && self.zeros < MOST_ZEROS && leading_zero(held) {
            self.zeros = self.zeros.saturating_add(1);
            return;
        }
        let Some(byte) = self.bytes.get_mut(len) else {
            self.settle(kind, &Reading::Plain, out);
            return self.push(kind, from, out);
        };
        *byte = from.byte;
        self.from.push(from);
        match kind.read(self.bytes.get(..self.from.len()).unwrap_or_default()) {
            Reading::Open => {}
            reading => self.settle(kind, &reading, out),
        }
    }

    /// Gives out the escape and reads again what it did not take.
    fn settle(&mut self, kind: Kind, reading: &Reading, out: &mut Vec<From>) {
        let spare = std::mem::take(&mut self.gone);
        let mut all = std::mem::replace(&mut self.from, spare);
        self.zeros = 0;
        let used = match *reading {
            Reading::Byte(_, used) | Reading::Point(_, used) | Reading::Nothing(used) => used,
            Reading::Open | Reading::Plain => 1,
        };
        let (taken, again) = all.split_at(used.min(all.len()));
        if let (Some(first), Some(last)) = (taken.first(), taken.last()) {
            let whole = |byte| From { byte, start: first.start, end: last.end };
            match *reading {
                Reading::Byte(byte, _) => out.push(whole(byte)),
                Reading::Point(point, _) => {
                    let point = char::from_u32(point).unwrap_or(char::REPLACEMENT_CHARACTER);
                    out.extend(point.encode_utf8(&mut [0; 4]).bytes().map(whole));
                }
                Reading::Nothing(_) => {}
                Reading::Open | Reading::Plain => out.push(*first),
            }
        }
        for from in again {
            self.push(kind, *from, out);
        }
        all.clear();
        self.gone = all;
    }
}

/// `=3C`, or a soft line break with white space before its end.
fn quoted(held: &[u8]) -> Reading {
    let hex = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    match held {
        [b'='] | [b'=', b'\r'] => Reading::Open,
        [b'=', b'\n'] | [b'=', b'\r', b'\n'] => Reading::Nothing(held.len()),
        [b'=', high] if hex(*high).is_some() => Reading::Open,
        [b'=', high, low] => match (hex(*high), hex(*low)) {
            (Some(high), Some(low)) => Reading::Byte(high << 4 | low, 3),
            _ => Reading::Plain,
        },
        _ => Reading::Plain,
    }
}

/// A line end, `data:` and at most one space (HTML, 9.2.6): an event's lines are joined.
fn events(held: &[u8]) -> Reading {
    const FIELD: &[u8] = b"data:";
    let line = held.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    let rest = held.get(line..).unwrap_or_default();
    if line > 2 {
        return Reading::Plain;
    }
    match rest.strip_prefix(FIELD) {
        Some([]) => Reading::Open,
        Some([b' ']) => Reading::Nothing(held.len()),
        Some(_) => Reading::Nothing(held.len().saturating_sub(1)),
        None if FIELD.starts_with(rest) => Reading::Open,
        None => Reading::Plain,
    }
}
