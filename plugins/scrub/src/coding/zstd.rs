//! Zstandard (RFC 8878), any number of frames; as a content coding (RFC 9659) its window
//! has at most 8 MiB.
//!
//! Owns the framing; a decoder of blocks gets one whole block at a time. It gives on what
//! no later block can refer to, and the rest at the end of the frame.
//!
//! Invariant: at most one block and one window are kept.

use postern_core::denial::Unscannable;
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use super::room::Lease;
use super::{Decoder, Room, Sink};

/// RFC 9659, section 3.
const LARGEST_WINDOW: u64 = 8 * 1024 * 1024;
/// RFC 8878, section 3.1.1.2.4.
const LARGEST_BLOCK: usize = 128 * 1024;
/// Tables, one block in and what it makes.
const TABLES: usize = 512 * 1024;

const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// The coding `zstd`.
pub(super) struct Zstd {
    room: Room,
    state: State,
    /// The piece that is being read: a header or a block.
    held: Vec<u8>,
    frame: Option<Box<Frame>>,
    begun: bool,
}

struct Frame {
    decoder: FrameDecoder,
    has_checksum: bool,
    _lease: Lease,
}

#[derive(Clone, Copy)]
enum State {
    /// The magic number and the byte behind it.
    Magic,
    /// The rest of a frame's header, which has so many bytes in all.
    Header(usize),
    /// The length of a frame that is to be skipped.
    SkipLength,
    /// So many bytes that are to be skipped.
    Skip(usize),
    /// The three bytes in front of a block.
    BlockHeader,
    /// A block, with what is in front of it so many bytes.
    Block { length: usize, last: bool },
}

impl Zstd {
    pub(super) fn new(room: &Room) -> Self {
        Self {
            room: room.clone(),
            state: State::Magic,
            held: Vec::new(),
            frame: None,
            begun: false,
        }
    }

    /// How many bytes the piece has that is being read.
    fn wanted(&self) -> usize {
        match self.state {
            State::Magic => 5,
            State::SkipLength => 8,
            State::BlockHeader => 3,
            State::Header(length) | State::Skip(length) | State::Block { length, .. } => length,
        }
    }

    /// The piece is whole.
    fn step(&mut self, sink: &mut Sink<'_>) -> Result<(), Unscannable> {
        let next = match self.state {
            State::Magic => self.magic()?,
            State::SkipLength => self.skip_length()?,
            State::Header(_) => self.open()?,
            State::BlockHeader => self.block_header()?,
            State::Block { last, .. } => self.block(last, sink)?,
            State::Skip(_) => State::Magic,
        };
        let whole = !matches!(next, State::Header(_) | State::SkipLength | State::Block { .. });
        if whole {
            self.held.clear();
        }
        self.state = next;
        Ok(())
    }

    fn magic(&self) -> Result<State, Unscannable> {
        match *self.held.as_slice() {
            [a, b, c, d, about] if [a, b, c, d] == MAGIC => Ok(State::Header(header(about))),
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, _] => Ok(State::SkipLength),
            _ => Err(Unscannable::Malformed),
        }
    }

    fn skip_length(&self) -> Result<State, Unscannable> {
        let length = self.held.last_chunk().map(|bytes| u32::from_le_bytes(*bytes));
        let length = length.and_then(|length| usize::try_from(length).ok());
        match length.ok_or(Unscannable::Malformed)? {
            0 => Ok(State::Magic),
            length => Ok(State::Skip(length)),
        }
    }

    fn open(&mut self) -> Result<State, Unscannable> {
        let about = self.held.get_mut(4).ok_or(Unscannable::Malformed)?;
        let has_checksum = *about & 4 != 0;
        // The checksum is skipped here, so the decoder must not wait for it.
        *about &= !4;
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(LARGEST_WINDOW);
        let window = window(&self.held).filter(|window| *window <= LARGEST_WINDOW);
        let window = window.and_then(|window| usize::try_from(window).ok());
        let window = window.ok_or(Unscannable::Malformed)?;
        let lease = self.room.take(window.saturating_add(TABLES))?;
        decoder.init(self.held.as_slice()).map_err(|_| Unscannable::Malformed)?;
        self.frame = Some(Box::new(Frame { decoder, has_checksum, _lease: lease }));
        Ok(State::BlockHeader)
    }

    fn block_header(&self) -> Result<State, Unscannable> {
        let [a, b, c] = *self.held.as_slice() else { return Err(Unscannable::Malformed) };
        let head = u32::from_le_bytes([a, b, c, 0]);
        let size = usize::try_from(head >> 3).unwrap_or(usize::MAX);
        // 3.1.1.2.2: raw, one repeated byte, compressed.
        let length = match head >> 1 & 3 {
            0 | 2 => size,
            1 => 1,
            _ => return Err(Unscannable::Malformed),
        };
        if size > LARGEST_BLOCK {
            return Err(Unscannable::Malformed);
        }
        Ok(State::Block { length: length.saturating_add(3), last: head & 1 == 1 })
    }

    fn block(&mut self, last: bool, sink: &mut Sink<'_>) -> Result<State, Unscannable> {
        let frame = self.frame.as_mut().ok_or(Unscannable::Malformed)?;
        let one = BlockDecodingStrategy::UptoBlocks(1);
        let decoded = frame.decoder.decode_blocks(self.held.as_slice(), one);
        decoded.map_err(|_| Unscannable::Malformed)?;
        if let Some(piece) = frame.decoder.collect() {
            sink(&piece)?;
        }
        if !last {
            return Ok(State::BlockHeader);
        }
        let has_checksum = frame.has_checksum;
        self.frame = None;
        Ok(if has_checksum { State::Skip(4) } else { State::Magic })
    }
}

impl Decoder for Zstd {
    fn feed(&mut self, input: &[u8], sink: &mut Sink<'_>) -> Result<(), Unscannable> {
        let mut rest = input;
        while !rest.is_empty() {
            self.begun = true;
            let missing = self.wanted().saturating_sub(self.held.len());
            let (taken, more) = rest.split_at(missing.min(rest.len()));
            rest = more;
            if let State::Skip(left) = &mut self.state {
                *left = left.saturating_sub(taken.len());
            } else {
                self.held.extend_from_slice(taken);
            }
            // A block of no bytes is whole with its header.
            while self.held.len() >= self.wanted() {
                self.step(sink)?;
            }
        }
        Ok(())
    }

    fn finish(&self) -> Result<(), Unscannable> {
        let between = matches!(self.state, State::Magic) && self.held.is_empty();
        if between { Ok(()) } else { Err(Unscannable::Malformed) }
    }

    fn lags(&self) -> bool {
        self.begun && self.frame.is_some()
    }
}

/// Bytes of a frame's header by its descriptor (3.1.1.1.1), the magic number included.
fn header(about: u8) -> usize {
    let single = about & 0x20 != 0;
    let window = usize::from(!single);
    let dictionary = match about & 3 {
        3 => 4,
        size => usize::from(size),
    };
    let size = match about >> 6 {
        0 => usize::from(single),
        1 => 2,
        2 => 4,
        _ => 8,
    };
    5_usize.saturating_add(window).saturating_add(dictionary).saturating_add(size)
}

/// The window that a frame's header asks for (3.1.1.1.2): of a frame without a
/// descriptor of its own, the size of its content.
fn window(header: &[u8]) -> Option<u64> {
    let about = *header.get(4)?;
    if about & 0x20 == 0 {
        let descriptor = *header.get(5)?;
        let base = 1_u64.checked_shl(u32::from(descriptor >> 3).checked_add(10)?)?;
        let eighths = base.checked_div(8)?.checked_mul(u64::from(descriptor & 7))?;
        return base.checked_add(eighths);
    }
    let length = match about >> 6 {
        0 => 1,
        1 => 2,
        2 => 4,
        _ => 8,
    };
    let bytes = header.get(header.len().checked_sub(length)?..)?;
    let mut size = [0; 8];
    size.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    let more = if length == 2 { 256 } else { 0 };
    u64::from_le_bytes(size).checked_add(more)
}
