//! Frames as they come, cut anywhere.
//!
//! Holds a header (at most 14 bytes) or a control payload (at most 125) until it is whole;
//! text is handed on piece by piece.

use super::frame::{Header, Opcode, Read, Side};

/// What was read.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// More of a text message, in no mask. A message may be empty and then has none.
    Text(&'a [u8]),
    /// The text message is whole.
    End,
    /// A control frame.
    Control(Opcode, &'a [u8]),
}

/// Why the reading ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Reserved bits, binary, an unknown opcode, the wrong mask, a length that is too long
    /// or not as short as can be, a continuation of nothing, a message inside another, or
    /// anything behind a close.
    #[error("not a frame of text")]
    Frame,
    /// The message is longer than it may be.
    #[error("message is too long")]
    TooLong,
    /// Whoever got the pieces wants no more.
    #[error("refused")]
    Refused,
}

/// Reads what one side sends.
pub struct Reader {
    from: Side,
    most: usize,
    state: State,
    /// Bytes of the message at hand so far; `None` between messages.
    message: Option<usize>,
    head: Vec<u8>,
    control: Vec<u8>,
}

enum State {
    Head,
    Payload { header: Header, left: u64, turn: usize },
    Closed,
    Failed(Fault),
}

impl Reader {
    /// A reader at the first byte behind the handshake; a message has at most `most` bytes.
    pub fn new(from: Side, most: usize) -> Self {
        let (head, control) = (Vec::new(), Vec::new());
        Self { from, most, state: State::Head, message: None, head, control }
    }

    /// Takes more bytes and hands on what is in them; `each` says whether to go on. After a
    /// fault every call fails.
    pub fn feed(
        &mut self,
        mut bytes: &[u8],
        each: &mut dyn FnMut(Piece<'_>) -> bool,
    ) -> Result<(), Fault> {
        while !bytes.is_empty() {
            match self.step(bytes, each) {
                Ok(rest) => bytes = rest,
                Err(fault) => {
                    self.state = State::Failed(fault);
                    return Err(fault);
                }
            }
        }
        match self.state {
            State::Failed(fault) => Err(fault),
            _ => Ok(()),
        }
    }

    fn step<'b>(
        &mut self,
        bytes: &'b [u8],
        each: &mut dyn FnMut(Piece<'_>) -> bool,
    ) -> Result<&'b [u8], Fault> {
        match self.state {
            State::Head => self.header(bytes, each),
            State::Payload { header, left, turn } => {
                let here = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                let (payload, rest) = bytes.split_at_checked(here).ok_or(Fault::Frame)?;
                let plain = unmasked(payload, header.mask, turn);
                let left = left.saturating_sub(u64::try_from(here).unwrap_or(left));
                let turn = turn.wrapping_add(here) % 4;
                self.state = State::Payload { header, left, turn };
                self.payload(header, &plain, left == 0, each)?;
                Ok(rest)
            }
            State::Closed => Err(Fault::Frame),
            State::Failed(fault) => Err(fault),
        }
    }

    fn header<'b>(
        &mut self,
        bytes: &'b [u8],
        each: &mut dyn FnMut(Piece<'_>) -> bool,
    ) -> Result<&'b [u8], Fault> {
        let Some((byte, rest)) = bytes.split_first() else { return Ok(bytes) };
        self.head.push(*byte);
        match Header::read(&self.head, self.from) {
            Read::More => {}
            Read::Bad => return Err(Fault::Frame),
            Read::Whole(header) => {
                self.head.clear();
                self.begin(header)?;
                if header.length == 0 {
                    self.payload(header, b"", true, each)?;
                } else {
                    self.state = State::Payload { header, left: header.length, turn: 0 };
                }
            }
        }
        Ok(rest)
    }

    /// Counts the frame to its message, before any of it is there.
    fn begin(&mut self, header: Header) -> Result<(), Fault> {
        if header.opcode.is_control() {
            return Ok(());
        }
        let so_far = match (header.opcode, self.message) {
            (Opcode::Text, None) => 0,
            (Opcode::Continuation, Some(so_far)) => so_far,
            _ => return Err(Fault::Frame),
        };
        let length = usize::try_from(header.length).map_err(|_| Fault::TooLong)?;
        let length = so_far.checked_add(length).filter(|length| *length <= self.most);
        self.message = Some(length.ok_or(Fault::TooLong)?);
        Ok(())
    }

    fn payload(
        &mut self,
        header: Header,
        plain: &[u8],
        whole: bool,
        each: &mut dyn FnMut(Piece<'_>) -> bool,
    ) -> Result<(), Fault> {
        let go_on = if header.opcode.is_control() {
            self.control.extend_from_slice(plain);
            !whole || each(Piece::Control(header.opcode, &self.control))
        } else {
            let message = whole && header.fin;
            (plain.is_empty() || each(Piece::Text(plain))) && (!message || each(Piece::End))
        };
        if !go_on {
            return Err(Fault::Refused);
        }
        if whole {
            self.end(header)?;
        }
        Ok(())
    }

    fn end(&mut self, header: Header) -> Result<(), Fault> {
        self.state = State::Head;
        if header.opcode == Opcode::Close {
            // A status of two bytes or none (RFC 6455 5.5.1).
            self.state = State::Closed;
            if self.control.len() == 1 {
                return Err(Fault::Frame);
            }
        }
        self.control.clear();
        if !header.opcode.is_control() && header.fin {
            self.message = None;
        }
        Ok(())
    }

    /// Whether all that came are whole frames and whole messages.
    pub fn is_between(&self) -> bool {
        let between = matches!(self.state, State::Head | State::Closed);
        between && self.head.is_empty() && self.message.is_none()
    }
}

fn unmasked(payload: &[u8], mask: Option<[u8; 4]>, turn: usize) -> Vec<u8> {
    let Some(mask) = mask else { return payload.to_vec() };
    let key = mask.iter().cycle().skip(turn);
    payload.iter().zip(key).map(|(byte, key)| byte ^ key).collect()
}
