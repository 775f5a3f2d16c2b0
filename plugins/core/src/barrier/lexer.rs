//! Cuts JSON into tokens as it comes; a token may come in parts.
//!
//! Invariant: every byte that is handed on is of the grammar of RFC 8259 and well-formed
//! UTF-8 so far, and how the text was cut into chunks changes nothing but where parts end.

use super::Fault;

/// A token, or the next part of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// Insignificant whitespace.
    Space(&'a [u8]),
    /// One of `{`, `}`, `[`, `]`, `,` and `:`.
    Mark(u8),
    /// A string, with its quotes.
    Text { bytes: &'a [u8], first: bool, last: bool },
    /// A number, `true`, `false` or `null`. Where a number ends shows only behind it.
    Scalar { bytes: &'a [u8], first: bool },
}

#[derive(Debug, Default)]
pub(super) struct Lexer(State);

#[derive(Clone, Copy, Debug, Default)]
enum State {
    #[default]
    Between,
    Text(Text),
    Number(Number),
    /// What has to follow of a word.
    Word(&'static [u8]),
}

#[derive(Clone, Copy, Debug)]
enum Text {
    Plain,
    Escape,
    /// Hexadecimal digits to come.
    Hex(u8),
    /// Bytes of one character to come, and between which the next of them lies.
    Tail(u8, u8, u8),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Number {
    Minus,
    Zero,
    Digits,
    Point,
    Fraction,
    Exponent,
    Sign,
    Power,
}

impl Lexer {
    /// Takes the next token, or part of one, from the front of `rest`.
    pub(super) fn next<'a>(&mut self, rest: &mut &'a [u8]) -> Result<Option<Token<'a>>, Fault> {
        loop {
            let Some(byte) = rest.first().copied() else { return Ok(None) };
            match self.0 {
                State::Between => return self.begin(byte, rest).map(Some),
                State::Text(state) => return self.text(state, false, rest).map(Some),
                State::Word(word) => return self.word(word, false, rest).map(Some),
                State::Number(number) => match number.then(byte) {
                    Some(number) => return Ok(Some(self.number(number, false, rest))),
                    None if number.is_whole() => self.0 = State::Between,
                    None => return Err(Fault::Form),
                },
            }
        }
    }

    /// Whether the text may end here.
    pub(super) fn rests(&self) -> bool {
        match self.0 {
            State::Between => true,
            State::Number(number) => number.is_whole(),
            State::Text(_) | State::Word(_) => false,
        }
    }

    fn begin<'a>(&mut self, byte: u8, rest: &mut &'a [u8]) -> Result<Token<'a>, Fault> {
        match byte {
            b' ' | b'\t' | b'\n' | b'\r' => {
                let space = |byte: &u8| b" \t\n\r".contains(byte);
                let end = rest.iter().position(|byte| !space(byte)).unwrap_or(rest.len());
                Ok(Token::Space(cut(rest, end)))
            }
            b'{' | b'}' | b'[' | b']' | b',' | b':' => {
                cut(rest, 1);
                Ok(Token::Mark(byte))
            }
            b'"' => self.text(Text::Plain, true, rest),
            b't' => self.word(b"true", true, rest),
            b'f' => self.word(b"false", true, rest),
            b'n' => self.word(b"null", true, rest),
            _ => {
                let number = Number::begun(byte).ok_or(Fault::Form)?;
                Ok(self.number(number, true, rest))
            }
        }
    }

    fn text<'a>(
        &mut self,
        mut state: Text,
        first: bool,
        rest: &mut &'a [u8],
    ) -> Result<Token<'a>, Fault> {
        let skipped = usize::from(first);
        for (at, byte) in rest.iter().enumerate().skip(skipped) {
            if matches!(state, Text::Plain) && *byte == b'"' {
                self.0 = State::Between;
                return Ok(Token::Text {
                    bytes: cut(rest, at.saturating_add(1)),
                    first,
                    last: true,
                });
            }
            state = state.then(*byte).ok_or(Fault::Form)?;
        }
        self.0 = State::Text(state);
        Ok(Token::Text { bytes: cut(rest, rest.len()), first, last: false })
    }

    fn word<'a>(
        &mut self,
        word: &'static [u8],
        first: bool,
        rest: &mut &'a [u8],
    ) -> Result<Token<'a>, Fault> {
        let here = word.len().min(rest.len());
        let (now, later) = word.split_at_checked(here).ok_or(Fault::Form)?;
        if !rest.starts_with(now) {
            return Err(Fault::Form);
        }
        self.0 = if later.is_empty() { State::Between } else { State::Word(later) };
        Ok(Token::Scalar { bytes: cut(rest, here), first })
    }

    /// `number` is the state behind the first byte of `rest`.
    fn number<'a>(&mut self, mut number: Number, first: bool, rest: &mut &'a [u8]) -> Token<'a> {
        let mut end = 1usize;
        for byte in rest.iter().skip(1) {
            let Some(next) = number.then(*byte) else { break };
            number = next;
            end = end.saturating_add(1);
        }
        self.0 = State::Number(number);
        Token::Scalar { bytes: cut(rest, end), first }
    }
}

/// Takes `end` bytes from the front.
fn cut<'a>(rest: &mut &'a [u8], end: usize) -> &'a [u8] {
    let (taken, left) = rest.split_at_checked(end).unwrap_or((rest, b""));
    *rest = left;
    taken
}

impl Text {
    /// RFC 8259, 7; of UTF-8 the well-formed sequences of Unicode 16.0, table 3-7.
    fn then(self, byte: u8) -> Option<Self> {
        match (self, byte) {
            (Self::Plain, b'\\') => Some(Self::Escape),
            (Self::Plain, 0x20..=0x7f) => Some(Self::Plain),
            (Self::Plain, 0xc2..=0xdf) => Some(Self::Tail(1, 0x80, 0xbf)),
            (Self::Plain, 0xe0) => Some(Self::Tail(2, 0xa0, 0xbf)),
            (Self::Plain, 0xed) => Some(Self::Tail(2, 0x80, 0x9f)),
            (Self::Plain, 0xe1..=0xef) => Some(Self::Tail(2, 0x80, 0xbf)),
            (Self::Plain, 0xf0) => Some(Self::Tail(3, 0x90, 0xbf)),
            (Self::Plain, 0xf1..=0xf3) => Some(Self::Tail(3, 0x80, 0xbf)),
            (Self::Plain, 0xf4) => Some(Self::Tail(3, 0x80, 0x8f)),
            (Self::Tail(left, low, high), byte) if (low..=high).contains(&byte) => {
                let left = left.saturating_sub(1);
                Some(if left == 0 { Self::Plain } else { Self::Tail(left, 0x80, 0xbf) })
            }
            (Self::Escape, b'u') => Some(Self::Hex(4)),
            (Self::Escape, byte) if b"\"\\/bfnrt".contains(&byte) => Some(Self::Plain),
            (Self::Hex(left), byte) if byte.is_ascii_hexdigit() => {
                let left = left.saturating_sub(1);
                Some(if left == 0 { Self::Plain } else { Self::Hex(left) })
            }
            _ => None,
        }
    }
}

impl Number {
    fn begun(byte: u8) -> Option<Self> {
        match byte {
            b'-' => Some(Self::Minus),
            b'0' => Some(Self::Zero),
            b'1'..=b'9' => Some(Self::Digits),
            _ => None,
        }
    }

    /// RFC 8259, 6; `None` when the byte is no part of the number.
    fn then(self, byte: u8) -> Option<Self> {
        match (self, byte) {
            (Self::Minus, b'0') => Some(Self::Zero),
            (Self::Minus, b'1'..=b'9') | (Self::Digits, b'0'..=b'9') => Some(Self::Digits),
            (Self::Zero | Self::Digits, b'.') => Some(Self::Point),
            (Self::Point | Self::Fraction, b'0'..=b'9') => Some(Self::Fraction),
            (Self::Zero | Self::Digits | Self::Fraction, b'e' | b'E') => Some(Self::Exponent),
            (Self::Exponent, b'+' | b'-') => Some(Self::Sign),
            (Self::Exponent | Self::Sign | Self::Power, b'0'..=b'9') => Some(Self::Power),
            _ => None,
        }
    }

    fn is_whole(self) -> bool {
        matches!(self, Self::Zero | Self::Digits | Self::Fraction | Self::Power)
    }
}
