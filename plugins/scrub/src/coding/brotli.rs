//! Brotli (RFC 7932).
//!
//! Invariant: the window is taken from the room before the decoder asks for it; the
//! large windows that are not part of the RFC are refused.

use brotli_decompressor::{BrotliDecompressStream, BrotliResult, BrotliState, StandardAlloc};
use postern_core::denial::Unscannable;

use super::room::Lease;
use super::{Decoder, Room, Sink};

/// Output is given on in pieces of this size.
const PIECE: usize = 16 * 1024;
/// Tables beside the window.
const TABLES: usize = 256 * 1024;

/// The coding `br`.
pub(super) struct Brotli {
    room: Room,
    stream: Option<Box<Stream>>,
}

struct Stream {
    state: BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>,
    piece: Vec<u8>,
    done: bool,
    _lease: Lease,
}

impl Brotli {
    pub(super) fn new(room: &Room) -> Self {
        Self { room: room.clone(), stream: None }
    }
}

impl Decoder for Brotli {
    fn feed(&mut self, input: &[u8], sink: &mut Sink<'_>) -> Result<(), Unscannable> {
        let Some(first) = input.first() else { return Ok(()) };
        if self.stream.is_none() {
            let bits = window_bits(*first).ok_or(Unscannable::Malformed)?;
            let window = 1_usize.checked_shl(bits).unwrap_or(usize::MAX);
            let lease = self.room.take(window.saturating_add(TABLES))?;
            let new = StandardAlloc::default;
            let state = BrotliState::new_strict(new(), new(), new());
            let stream = Stream { state, piece: vec![0; PIECE], done: false, _lease: lease };
            self.stream = Some(Box::new(stream));
        }
        self.stream.as_mut().map_or(Ok(()), |stream| stream.feed(input, sink))
    }

    fn finish(&self) -> Result<(), Unscannable> {
        match &self.stream {
            Some(stream) if !stream.done => Err(Unscannable::Malformed),
            _ => Ok(()),
        }
    }
}

impl Stream {
    fn feed(&mut self, input: &[u8], sink: &mut Sink<'_>) -> Result<(), Unscannable> {
        if self.done {
            return Err(Unscannable::Malformed);
        }
        let (mut left, mut at) = (input.len(), 0);
        loop {
            let (mut room, mut given, mut total) = (self.piece.len(), 0, 0);
            let result = BrotliDecompressStream(
                &mut left,
                &mut at,
                input,
                &mut room,
                &mut given,
                &mut self.piece,
                &mut total,
                &mut self.state,
            );
            sink(self.piece.get(..given).unwrap_or_default())?;
            match result {
                BrotliResult::ResultSuccess if left == 0 => {
                    self.done = true;
                    return Ok(());
                }
                BrotliResult::NeedsMoreInput if left == 0 => return Ok(()),
                BrotliResult::NeedsMoreOutput => {}
                // Bytes behind the end, or no progress with input at hand.
                BrotliResult::ResultSuccess
                | BrotliResult::NeedsMoreInput
                | BrotliResult::ResultFailure => return Err(Unscannable::Malformed),
            }
        }
    }
}

/// RFC 7932, section 9.1: the window's size is in the first byte.
fn window_bits(first: u8) -> Option<u32> {
    let (three, next) = (first >> 1 & 7, first >> 4 & 7);
    match (first & 1, three, next) {
        (0, _, _) => Some(16),
        (_, 0, 0) => Some(17),
        // A large window, which only an extension has.
        (_, 0, 1) => None,
        (_, 0, next) => Some(u32::from(next).saturating_add(8)),
        (_, three, _) => Some(u32::from(three).saturating_add(17)),
    }
}
