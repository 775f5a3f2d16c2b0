//! What a byte may be to a decoder, looked up once.

/// The classes of one byte.
#[derive(Clone, Copy)]
pub(super) struct Class(u16);

/// Not a digit of that alphabet.
const NONE: u16 = 0x7f;
const LEAD: u16 = 1 << 7;
const LINE: u16 = 1 << 8;
const PART: u16 = 1 << 9;
const HEX: u16 = 1 << 10;
const TELLS: u16 = 1 << 11;

impl Class {
    /// Looks `byte` up.
    pub(super) fn of(byte: u8) -> Self {
        Self(TABLE.get(usize::from(byte)).copied().unwrap_or(NONE))
    }

    /// The value of a base64 digit, standard or URL-safe (RFC 4648, 4 and 5).
    pub(super) fn sextet(self) -> Option<u8> {
        let value = self.0 & NONE;
        if value == NONE { None } else { u8::try_from(value).ok() }
    }

    /// The value of a hex digit.
    pub(super) fn nibble(self) -> Option<u8> {
        if self.0 & HEX == 0 { None } else { u8::try_from(self.0 >> 12).ok() }
    }

    /// Whether it can begin an escape.
    pub(super) fn leads(self) -> bool {
        self.0 & LEAD != 0
    }

    /// Whether it can be part of the marker or of an escape outside of any run.
    pub(super) fn tells(self) -> bool {
        self.0 & TELLS != 0
    }

    /// Whether encoded text may be wrapped here (RFC 2045, section 6.8).
    pub(super) fn line_break(self) -> bool {
        self.0 & LINE != 0
    }

    /// Whether it may part pairs of hex digits.
    pub(super) fn separates(self) -> bool {
        self.0 & (PART | LINE) != 0
    }
}

// An initialiser runs in the compiler and nowhere else, which refuses to build on overflow
// or a bad index.
#[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects)]
static TABLE: [u16; 256] = {
    let mut table = [NONE; 256];
    let mut i = 0_u16;
    while i < 256 {
        let byte = i as u8;
        let base64 = match byte {
            b'A'..=b'Z' => i - 65,
            b'a'..=b'z' => i - 71,
            b'0'..=b'9' => i + 4,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => NONE,
        };
        let hex = match byte {
            b'0'..=b'9' => (i - 48) << 12 | HEX,
            b'A'..=b'F' => (i - 55) << 12 | HEX,
            b'a'..=b'f' => (i - 87) << 12 | HEX,
            _ => 0,
        };
        let rest = match byte {
            b'%' | b'\\' | b'&' | b'=' | b'+' => LEAD | TELLS,
            0 | b'<' | 0x80.. => TELLS,
            b'\r' | b'\n' => LINE,
            b' ' | b':' | b'-' | b',' => PART,
            _ => 0,
        };
        table[i as usize] = base64 | hex | rest;
        i += 1;
    }
    table
};
