//! Quoted-printable (RFC 2045, section 6.7): `=3C` and soft line breaks.
//!
//! Invariant: what is no escape passes unchanged.

use super::view::Decoder;

/// A decoder of quoted-printable. What follows a soft line break counts as decoded.
#[derive(Default)]
pub(super) struct Quoted {
    state: State,
    /// Two lines were joined and nothing has come since.
    joined: bool,
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

impl Decoder for Quoted {
    fn idle(&self) -> bool {
        self.state == State::Text && !self.joined
    }

    fn push(&mut self, byte: u8, mut out: impl FnMut(u8, bool)) {
        let digit = char::from(byte).to_digit(16).and_then(|d| u8::try_from(d).ok());
        self.state = match (self.state, byte, digit) {
            (State::Equals, _, Some(_)) => State::Digit(byte),
            (State::Equals | State::Blank, b' ' | b'\t', _) => State::Blank,
            (State::Equals | State::Blank, b'\r', _) => {
                self.joined = true;
                State::Return
            }
            (State::Equals | State::Blank | State::Return, b'\n', _) => {
                self.joined = true;
                State::Text
            }
            (State::Digit(first), _, Some(low)) => {
                let high = char::from(first).to_digit(16).and_then(|d| u8::try_from(d).ok());
                out(high.unwrap_or(0) << 4 | low, true);
                State::Text
            }
            (state, _, _) => {
                plain(state, &mut out);
                if byte == b'=' {
                    State::Equals
                } else {
                    out(byte, std::mem::take(&mut self.joined));
                    State::Text
                }
            }
        };
    }
}

/// Puts out what turned out to be no escape.
fn plain(state: State, out: &mut impl FnMut(u8, bool)) {
    match state {
        State::Text | State::Return => {}
        State::Equals => out(b'=', false),
        State::Digit(first) => {
            out(b'=', false);
            out(first, false);
        }
        State::Blank => {
            out(b'=', false);
            out(b' ', false);
        }
    }
}
