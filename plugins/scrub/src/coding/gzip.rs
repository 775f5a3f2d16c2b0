//! gzip (RFC 1952), any number of members; zeros may follow the last.
//!
//! Invariant: one byte of a header is read at a time and none is kept but its flags.

use postern_core::denial::Unscannable;

use super::inflate::Inflate;
use super::{Decoder, Room, Sink};

const EXTRA: u8 = 4;
const NAME: u8 = 8;
const COMMENT: u8 = 16;
const CHECK: u8 = 2;
const RESERVED: u8 = 0xe0;

/// The coding `gzip`.
pub(super) struct Gzip {
    room: Room,
    state: State,
}

enum State {
    /// Before the first member.
    Start,
    /// In the ten bytes that every header has, so many of them read.
    Fixed { read: u8, flags: u8 },
    /// The length of the extra field; its first byte was read.
    ExtraLength { low: Option<u8>, flags: u8 },
    /// So many bytes of the extra field are left.
    Extra { left: u16, flags: u8 },
    /// In a name or comment that ends with a zero.
    Text { flags: u8 },
    /// So many bytes of the header's checksum are left.
    Check { left: u8 },
    /// In compressed data.
    Body(Box<Inflate>),
    /// So many bytes of checksum and length are left.
    Trailer(u8),
    /// Behind a member.
    Between,
    /// In zeros behind the last member.
    Padding,
}

impl Gzip {
    pub(super) fn new(room: &Room) -> Self {
        Self { room: room.clone(), state: State::Start }
    }

    /// Takes one byte that is not compressed data.
    fn byte(&mut self, byte: u8) -> Result<State, Unscannable> {
        Ok(match self.state {
            State::Start | State::Between if byte == 0x1f => State::Fixed { read: 1, flags: 0 },
            State::Between | State::Padding if byte == 0 => State::Padding,
            State::Start | State::Between | State::Padding | State::Body(_) => {
                return Err(Unscannable::Malformed);
            }
            State::Fixed { read, flags } => return self.fixed(read, flags, byte),
            State::ExtraLength { low: None, flags } => {
                State::ExtraLength { low: Some(byte), flags }
            }
            State::ExtraLength { low: Some(low), flags } => match u16::from_le_bytes([low, byte]) {
                0 => return self.after(flags),
                left => State::Extra { left, flags },
            },
            State::Extra { left: 0 | 1, flags } => return self.after(flags),
            State::Extra { left, flags } => State::Extra { left: left.saturating_sub(1), flags },
            State::Text { flags } if byte == 0 => return self.after(flags),
            State::Text { flags } => State::Text { flags },
            State::Check { left: 0 | 1 } => return self.after(0),
            State::Check { left } => State::Check { left: left.saturating_sub(1) },
            State::Trailer(0 | 1) => State::Between,
            State::Trailer(left) => State::Trailer(left.saturating_sub(1)),
        })
    }

    fn fixed(&self, read: u8, flags: u8, byte: u8) -> Result<State, Unscannable> {
        let fits = match read {
            1 => byte == 0x8b,
            2 => byte == 8,
            3 => byte & RESERVED == 0,
            _ => true,
        };
        if !fits {
            return Err(Unscannable::Malformed);
        }
        let flags = if read == 3 { byte } else { flags };
        if read == 9 {
            self.after(flags)
        } else {
            Ok(State::Fixed { read: read.saturating_add(1), flags })
        }
    }

    /// What follows in the header, by the flags that are left, in their order.
    fn after(&self, flags: u8) -> Result<State, Unscannable> {
        Ok(if flags & EXTRA != 0 {
            State::ExtraLength { low: None, flags: flags & !EXTRA }
        } else if flags & NAME != 0 {
            State::Text { flags: flags & !NAME }
        } else if flags & COMMENT != 0 {
            State::Text { flags: flags & !COMMENT }
        } else if flags & CHECK != 0 {
            State::Check { left: 2 }
        } else {
            State::Body(Box::new(Inflate::new(&self.room)?))
        })
    }
}

impl Decoder for Gzip {
    fn feed(&mut self, input: &[u8], sink: &mut Sink<'_>) -> Result<(), Unscannable> {
        let mut rest = input;
        while let Some((byte, more)) = rest.split_first() {
            if let State::Body(inflate) = &mut self.state {
                rest = inflate.feed(rest, sink)?;
                if inflate.done() {
                    self.state = State::Trailer(8);
                } else if !rest.is_empty() {
                    return Err(Unscannable::Malformed);
                }
            } else {
                self.state = self.byte(*byte)?;
                rest = more;
            }
        }
        Ok(())
    }

    fn finish(&self) -> Result<(), Unscannable> {
        match self.state {
            State::Start | State::Between | State::Padding => Ok(()),
            _ => Err(Unscannable::Malformed),
        }
    }
}
