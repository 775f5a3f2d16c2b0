//! Compressed content that nothing announces, known by its first bytes.
//!
//! It is delivered as it came, since a receiver may want exactly these bytes (a file),
//! but it is decoded here and looked through; what is found cannot be replaced, so it
//! ends the answer.
//!
//! Invariant: looking inside changes no byte, goes two layers deep, and what cannot be
//! decoded by us is no archive, as it is none to a receiver.

use std::cell::Cell;
use std::rc::Rc;

use postern_core::denial::Unscannable;
use postern_core::scrubbing::Coding;

use super::gzip::Gzip;
use super::inflate::{Deflate, is_zlib};
use super::zstd::Zstd;
use super::{Decoder, Growth, Room, Stage};

/// How many layers are looked into.
const DEPTH: u8 = 2;
/// The longest beginning that tells a coding.
const MAGIC: usize = 4;
/// A live prefix inside of at least this many bytes holds the content back.
const HOLD_FROM: u64 = 4;

/// Looks for something in bytes.
pub(crate) trait Look {
    /// Reads on; true when it is there.
    fn look(&mut self, bytes: &[u8]) -> bool;

    /// No bytes are left; true when it is there.
    fn end(&mut self) -> bool;

    /// How many of the last bytes may belong to it.
    fn open(&self) -> u64;
}

/// Begins to look for something.
pub(crate) trait Begin: Clone {
    /// What looks.
    type Look: Look;

    /// How much may be inside.
    const GROWTH: Growth;

    /// At the start of some bytes.
    fn begin(&self) -> Self::Look;
}

/// Looks into content that may be compressed.
pub(crate) struct Peek<B: Begin> {
    begin: B,
    room: Room,
    depth: u8,
    /// What may still come out of this chunk, in all layers together.
    budget: Rc<Cell<usize>>,
    state: State<B>,
}

enum State<B: Begin> {
    /// The first bytes, fewer than tell a coding.
    Head(Vec<u8>),
    /// Nothing to look into, any more.
    Plain,
    Inside(Box<Inside<B>>),
}

struct Inside<B: Begin> {
    stage: Stage,
    look: B::Look,
    below: Peek<B>,
}

/// What first bytes tell.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    Coding(Coding),
    Nothing,
    /// More are needed.
    Later,
}

impl<B: Begin> Peek<B> {
    pub(crate) fn new(begin: B, room: Room) -> Self {
        Self { begin, room, depth: DEPTH, budget: Rc::default(), state: State::Head(Vec::new()) }
    }

    /// Whether these first bytes tell a coding.
    pub(crate) fn tells_coding(head: &[u8]) -> bool {
        matches!(sniff(head.get(..MAGIC).unwrap_or(head)), Told::Coding(_))
    }

    /// Takes more content; `Err` when a secret is inside.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<(), Unscannable> {
        self.budget.set(B::GROWTH.at_once);
        self.take(bytes)
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), Unscannable> {
        let budget = Rc::clone(&self.budget);
        match &mut self.state {
            State::Plain => Ok(()),
            State::Inside(inside) => inside.feed(bytes, &budget).map(|on| {
                if !on {
                    self.state = State::Plain
                }
            }),
            State::Head(head) => {
                let before = head.len();
                let more = MAGIC.saturating_sub(before).min(bytes.len());
                head.extend_from_slice(bytes.get(..more).unwrap_or_default());
                match sniff(head) {
                    Told::Later => Ok(()),
                    Told::Nothing => {
                        self.state = State::Plain;
                        Ok(())
                    }
                    Told::Coding(coding) => {
                        let first = head.get(..before).unwrap_or_default().to_vec();
                        self.open(coding);
                        self.take(&first)?;
                        self.take(bytes)
                    }
                }
            }
        }
    }

    fn open(&mut self, coding: Coding) {
        let depth = self.depth.saturating_sub(1);
        let state = if depth == 0 { State::Plain } else { State::Head(Vec::new()) };
        let (begin, room) = (self.begin.clone(), self.room.clone());
        let below = Self { begin, room, depth, budget: Rc::clone(&self.budget), state };
        let stage = Stage::new(decoder(coding, &self.room), B::GROWTH);
        let look = self.begin.begin();
        self.state = State::Inside(Box::new(Inside { stage, look, below }));
    }

    /// No content is left.
    pub(crate) fn finish(&mut self) -> Result<(), Unscannable> {
        match &mut self.state {
            State::Inside(inside) => inside.finish(),
            State::Head(_) | State::Plain => Ok(()),
        }
    }

    /// Whether content was given whose inside is not wholly looked through.
    pub(crate) fn unsettled(&self) -> bool {
        match &self.state {
            State::Inside(inside) => {
                inside.stage.decoder.lags()
                    || inside.look.open() >= HOLD_FROM
                    || inside.below.unsettled()
            }
            State::Head(_) | State::Plain => false,
        }
    }
}

impl<B: Begin> Inside<B> {
    /// False when this turns out to be nothing that can be decoded.
    fn feed(&mut self, bytes: &[u8], budget: &Cell<usize>) -> Result<bool, Unscannable> {
        let Self { stage, look, below } = self;
        let fed = stage.feed(bytes, &mut |piece| {
            let left = budget.get().checked_sub(piece.len()).ok_or(Unscannable::Expansion)?;
            budget.set(left);
            if look.look(piece) { Err(Unscannable::Archive) } else { below.take(piece) }
        });
        match fed {
            Ok(()) => Ok(true),
            // All that was decodable before the fault has been looked through, unless the
            // decoder keeps it.
            Err(Unscannable::Malformed) if !self.stage.decoder.lags() => Ok(false),
            Err(why) => Err(why),
        }
    }

    fn finish(&mut self) -> Result<(), Unscannable> {
        if self.look.end() {
            return Err(Unscannable::Archive);
        }
        if self.stage.decoder.lags() {
            return Err(Unscannable::Malformed);
        }
        self.below.finish()
    }
}

/// Those that have a first byte to be known by: without brotli, which has none, a module
/// that only peeks does not contain its dictionary.
fn decoder(coding: Coding, room: &Room) -> Box<dyn Decoder> {
    match coding {
        Coding::Gzip => Box::new(Gzip::new(room)),
        Coding::Deflate | Coding::Brotli => Box::new(Deflate::new(room)),
        Coding::Zstd => Box::new(Zstd::new(room)),
    }
}

fn sniff(head: &[u8]) -> Told {
    match *head {
        [] | [0x1f] | [0x1f, 0x8b] => Told::Later,
        [0x1f, 0x8b, 8, ..] => Told::Coding(Coding::Gzip),
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => {
            Told::Coding(Coding::Zstd)
        }
        [0x28] | [0x28, 0xb5] | [0x28, 0xb5, 0x2f] => Told::Later,
        [0x50..=0x5f] | [0x50..=0x5f, 0x2a] | [0x50..=0x5f, 0x2a, 0x4d] => Told::Later,
        [method] if method & 0x0f == 8 && method >> 4 <= 7 => Told::Later,
        [method, flags, ..] if is_zlib([method, flags]) => Told::Coding(Coding::Deflate),
        _ => Told::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_bytes_tell_the_coding_or_ask_for_more() {
        for (head, told) in [
            (&b"\x1f\x8b\x08\0"[..], Told::Coding(Coding::Gzip)),
            (b"\x1f\x8b", Told::Later),
            (b"\x1f\x9d", Told::Nothing),
            (b"\x28\xb5\x2f\xfd", Told::Coding(Coding::Zstd)),
            (b"\x28\xb5\x2f", Told::Later),
            (b"(abc", Told::Nothing),
            (b"\x5a\x2a\x4d\x18", Told::Coding(Coding::Zstd)),
            (b"Post", Told::Nothing),
            (b"\x78\x9c", Told::Coding(Coding::Deflate)),
            (b"x", Told::Later),
            (b"xy", Told::Nothing),
            (b"{", Told::Nothing),
            (b"", Told::Later),
        ] {
            assert_eq!(sniff(head), told, "{head:02x?}");
        }
    }
}
