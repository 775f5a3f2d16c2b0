//! Quoted-printable (RFC 2045, section 6.7): `=3C` and soft line breaks.
//!
//! Invariant: what is no escape passes unchanged.

/// A decoder of quoted-printable.
#[derive(Default)]
pub(super) struct Quoted {
    state: State,
    decoded: bool,
}

#[derive(Clone, Copy, Default, PartialEq)]
enum State {
    #[default]
    Text,
    Equals,
    /// `=` and one hex digit.
    Digit(u8),
    /// `=` and white space: a soft line break if CR or LF follows.
    Blank,
    /// `=` and CR.
    Return,
}

impl Quoted {
    /// Whether no escape is half read.
    pub(super) fn idle(&self) -> bool {
        self.state == State::Text
    }

    /// Whether anything was decoded since this was last asked.
    pub(super) fn decoded(&mut self) -> bool {
        std::mem::take(&mut self.decoded)
    }

    /// Takes one byte, puts out what is decided.
    pub(super) fn push(&mut self, byte: u8, mut out: impl FnMut(u8)) {
        let digit = char::from(byte).to_digit(16).and_then(|d| u8::try_from(d).ok());
        self.state = match (self.state, byte, digit) {
            (State::Equals, _, Some(_)) => State::Digit(byte),
            (State::Equals | State::Blank, b' ' | b'\t', _) => State::Blank,
            (State::Equals | State::Blank, b'\r', _) => {
                self.decoded = true;
                State::Return
            }
            (State::Equals | State::Blank | State::Return, b'\n', _) => {
                self.decoded = true;
                State::Text
            }
            (State::Digit(first), _, Some(low)) => {
                self.decoded = true;
                let high = char::from(first).to_digit(16).and_then(|d| u8::try_from(d).ok());
                out(high.unwrap_or(0) << 4 | low);
                State::Text
            }
            (state, _, _) => {
                plain(state, &mut out);
                if byte == b'=' {
                    State::Equals
                } else {
                    out(byte);
                    State::Text
                }
            }
        };
    }
}

/// Puts out what turned out to be no escape.
fn plain(state: State, out: &mut impl FnMut(u8)) {
    match state {
        State::Text | State::Return => {}
        State::Equals => out(b'='),
        State::Digit(first) => {
            out(b'=');
            out(first);
        }
        State::Blank => {
            out(b'=');
            out(b' ');
        }
    }
}
