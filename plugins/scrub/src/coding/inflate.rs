//! DEFLATE (RFC 1951), and the coding `deflate`: zlib (RFC 1950), or bare DEFLATE as
//! some servers send it.
//!
//! Invariant: which of the two it is, is decided by the first two bytes as receivers do.

use flate2::{Decompress, FlushDecompress, Status};
use postern_core::denial::Unscannable;

use super::room::Lease;
use super::{Decoder, Room, Sink};

/// What one decoder takes: the window and its tables.
const MEMORY: usize = 64 * 1024;
/// Output is given on in pieces of this size.
const PIECE: usize = 16 * 1024;

/// A raw DEFLATE stream.
pub(super) struct Inflate {
    inner: Decompress,
    piece: Vec<u8>,
    done: bool,
    _lease: Lease,
}

impl Inflate {
    pub(super) fn new(room: &Room) -> Result<Self, Unscannable> {
        let lease = room.take(MEMORY)?;
        Ok(Self {
            inner: Decompress::new(false),
            piece: vec![0; PIECE],
            done: false,
            _lease: lease,
        })
    }

    /// Whether the last block has ended.
    pub(super) fn done(&self) -> bool {
        self.done
    }

    /// Decodes until the input or the stream ends; gives back what it did not take.
    pub(super) fn feed<'a>(
        &mut self,
        input: &'a [u8],
        sink: &mut Sink<'_>,
    ) -> Result<&'a [u8], Unscannable> {
        let mut rest = input;
        while !self.done {
            let (taken, given) = (self.inner.total_in(), self.inner.total_out());
            let status = self.inner.decompress(rest, &mut self.piece, FlushDecompress::None);
            let status = status.map_err(|_| Unscannable::Malformed)?;
            let taken = difference(self.inner.total_in(), taken);
            let given = difference(self.inner.total_out(), given);
            rest = rest.get(taken..).unwrap_or_default();
            sink(self.piece.get(..given).unwrap_or_default())?;
            self.done = status == Status::StreamEnd;
            if taken == 0 && given == 0 {
                break;
            }
        }
        Ok(rest)
    }
}

fn difference(after: u64, before: u64) -> usize {
    usize::try_from(after.saturating_sub(before)).unwrap_or(usize::MAX)
}

/// The coding `deflate`.
pub(super) struct Deflate {
    room: Room,
    state: State,
}

enum State {
    /// Nothing, or the first of two bytes.
    Start(Option<u8>),
    /// Inside; with a checksum behind it or not.
    Inside {
        inflate: Box<Inflate>,
        zlib: bool,
    },
    /// The checksum, of which so much is missing.
    Checksum(usize),
    Over,
}

impl Deflate {
    pub(super) fn new(room: &Room) -> Self {
        Self { room: room.clone(), state: State::Start(None) }
    }

    /// One step; what is left of the input.
    fn step<'a>(&mut self, input: &'a [u8], sink: &mut Sink<'_>) -> Result<&'a [u8], Unscannable> {
        let malformed = Unscannable::Malformed;
        match &mut self.state {
            State::Start(first) => match (*first, input.split_first()) {
                (None, Some((byte, rest))) => {
                    *first = Some(*byte);
                    Ok(rest)
                }
                (Some(first), Some((second, rest))) => {
                    self.open([first, *second], sink)?;
                    Ok(rest)
                }
                (_, None) => Ok(input),
            },
            State::Inside { inflate, zlib } => {
                let rest = inflate.feed(input, sink)?;
                if inflate.done() {
                    self.state = if *zlib { State::Checksum(4) } else { State::Over };
                } else if !rest.is_empty() {
                    return Err(malformed);
                }
                Ok(rest)
            }
            State::Checksum(missing) => {
                let taken = input.len().min(*missing);
                *missing = missing.saturating_sub(taken);
                if *missing == 0 {
                    self.state = State::Over;
                }
                Ok(input.get(taken..).unwrap_or_default())
            }
            State::Over => Err(malformed),
        }
    }

    fn open(&mut self, head: [u8; 2], sink: &mut Sink<'_>) -> Result<(), Unscannable> {
        let mut inflate = Box::new(Inflate::new(&self.room)?);
        let zlib = is_zlib(head);
        if zlib && head[1] & 0x20 != 0 {
            // A dictionary that only the two ends know.
            return Err(Unscannable::Malformed);
        }
        if !zlib {
            let rest = inflate.feed(&head, sink)?;
            if !rest.is_empty() {
                return Err(Unscannable::Malformed);
            }
        }
        self.state =
            if !zlib && inflate.done() { State::Over } else { State::Inside { inflate, zlib } };
        Ok(())
    }
}

impl Decoder for Deflate {
    fn feed(&mut self, input: &[u8], sink: &mut Sink<'_>) -> Result<(), Unscannable> {
        let mut rest = input;
        while !rest.is_empty() {
            rest = self.step(rest, sink)?;
        }
        Ok(())
    }

    fn finish(&self) -> Result<(), Unscannable> {
        match self.state {
            State::Start(None) | State::Over => Ok(()),
            _ => Err(Unscannable::Malformed),
        }
    }
}

/// RFC 1950, section 2.2: method 8, a window of at most 32 KiB, and the check.
pub(super) fn is_zlib([method, flags]: [u8; 2]) -> bool {
    let whole = u16::from_be_bytes([method, flags]);
    method & 0x0f == 8 && method >> 4 <= 7 && whole.checked_rem(31) == Some(0)
}
