//! Characters that a lenient reader takes for ASCII: UTF-8 (overlong forms included),
//! UTF-16 and UTF-32 of ASCII, full-width and look-alike letters.
//!
//! Invariant: ASCII passes unchanged, except NUL, which vanishes: that makes
//! UTF-16LE, UTF-16BE and UTF-32 one case.

/// No character: ends whatever is half read.
pub(super) const OTHER: u8 = 0xff;

/// A lenient UTF-8 reader. What it cannot fold passes as it came, since the rest of
/// the character may be escaped and complete it in the next view.
#[derive(Default)]
pub(super) struct Fold {
    need: u8,
    point: u32,
    held: [u8; 6],
    len: usize,
}

impl Fold {
    /// Whether no character is half read.
    pub(super) fn idle(&self) -> bool {
        self.need == 0
    }

    /// Takes one byte, puts out what it completes.
    pub(super) fn push(&mut self, byte: u8, mut out: impl FnMut(u8)) {
        if self.need > 0 {
            if byte & 0xc0 == 0x80 {
                return self.go_on(byte, out);
            }
            self.give_up(&mut out);
        }
        match byte {
            0 => {}
            0xc0..=0xdf => self.begin(byte, 1, 0x1f),
            0xe0..=0xef => self.begin(byte, 2, 0x0f),
            0xf0..=0xf7 => self.begin(byte, 3, 0x07),
            0xf8..=0xfb => self.begin(byte, 4, 0x03),
            0xfc..=0xfd => self.begin(byte, 5, 0x01),
            _ => out(byte),
        }
    }

    fn begin(&mut self, byte: u8, need: u8, bits: u8) {
        self.need = need;
        self.point = u32::from(byte & bits);
        self.len = 0;
        self.hold(byte);
    }

    fn go_on(&mut self, byte: u8, mut out: impl FnMut(u8)) {
        self.hold(byte);
        self.point = self.point << 6 | u32::from(byte & 0x3f);
        self.need = self.need.saturating_sub(1);
        if self.need == 0 {
            match folded(self.point) {
                Folded::To(c) => out(c),
                Folded::Nothing => {}
                Folded::Other => self.give_up(&mut out),
            }
        }
    }

    fn hold(&mut self, byte: u8) {
        if let Some(slot) = self.held.get_mut(self.len) {
            *slot = byte;
            self.len = self.len.saturating_add(1);
        }
    }

    fn give_up(&mut self, out: &mut impl FnMut(u8)) {
        self.need = 0;
        self.held.iter().take(self.len).for_each(|b| out(*b));
    }
}

/// Whether a code point is read as something else than itself, or is ASCII.
pub(super) fn folds(point: u32) -> bool {
    !matches!(folded(point), Folded::Other)
}

/// What a code point is read as.
enum Folded {
    /// This ASCII character.
    To(u8),
    /// It vanishes.
    Nothing,
    /// Itself.
    Other,
}

/// Puts out a code point as UTF-8, or [`OTHER`] where there is none.
pub(super) fn utf8(point: u32, mut out: impl FnMut(u8)) {
    match char::from_u32(point) {
        Some(c) => c.encode_utf8(&mut [0; 4]).bytes().for_each(out),
        None => out(OTHER),
    }
}

fn folded(point: u32) -> Folded {
    match point {
        0 | 0xad | 0x34f | 0x200b..=0x200f | 0x2060..=0x2064 | 0xfe00..=0xfe0f | 0xfeff => {
            Folded::Nothing
        }
        1..=0x7f => u8::try_from(point).map_or(Folded::Other, Folded::To),
        0xff01..=0xff5e => Folded::To(offset(point, 0xff01, 0x5e, b'!')),
        0x24b6..=0x24cf => Folded::To(offset(point, 0x24b6, 26, b'A')),
        0x24d0..=0x24e9 => Folded::To(offset(point, 0x24d0, 26, b'a')),
        // Mathematical letters: 13 alphabets of 26 capitals and 26 small letters; the
        // marker is found in any case, so a capital stands for both.
        0x1d400..=0x1d6a3 => Folded::To(offset(point, 0x1d400, 26, b'A')),
        _ => match LOOK_ALIKE.iter().find(|(c, _)| u32::from(*c) == point) {
            Some((_, c)) => Folded::To(*c),
            None => Folded::Other,
        },
    }
}

/// `base` plus the distance from `first`, modulo `period`.
fn offset(point: u32, first: u32, period: u32, base: u8) -> u8 {
    let at = point.saturating_sub(first).checked_rem(period).unwrap_or(0);
    base.saturating_add(u8::try_from(at).unwrap_or(0))
}

/// Other characters that normalisation or a reader's eye maps to the marker's.
const LOOK_ALIKE: [(char, u8); 36] = [
    ('\u{fe64}', b'<'),
    ('\u{2039}', b'<'),
    ('\u{3008}', b'<'),
    ('\u{27e8}', b'<'),
    ('\u{2329}', b'<'),
    ('\u{276e}', b'<'),
    ('\u{fe55}', b':'),
    ('\u{fe13}', b':'),
    ('\u{a789}', b':'),
    ('\u{2236}', b':'),
    ('\u{fe6a}', b'%'),
    ('\u{fe68}', b'\\'),
    ('\u{fe60}', b'&'),
    ('С', b'C'),
    ('с', b'c'),
    ('Е', b'E'),
    ('е', b'e'),
    ('Т', b'T'),
    ('т', b't'),
    ('І', b'I'),
    ('і', b'i'),
    ('А', b'A'),
    ('а', b'a'),
    ('Ε', b'E'),
    ('ε', b'e'),
    ('Ν', b'N'),
    ('Τ', b'T'),
    ('Ι', b'I'),
    ('ι', b'i'),
    ('Α', b'A'),
    ('α', b'a'),
    ('ı', b'i'),
    ('İ', b'I'),
    ('ℂ', b'C'),
    ('ℕ', b'N'),
    ('Ⅼ', b'L'),
];
