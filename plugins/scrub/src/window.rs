//! The streaming scrubber.
//!
//! Owns the window: bytes seen and not yet let go, because a pattern may still be
//! open at their end. Most of them stay at the host (`Pause`); a prefix of up to
//! three bytes is kept inside instead, so that a stream whose chunks happen to end
//! in the first byte of a pattern is not delayed. Of content in a coding the host holds
//! the encoded bytes and the window the decoded ones, which replace them.
//!
//! Bytes kept inside are lost when trailers end the stream. So once trailers are
//! expected ([`Scrubber::expect_trailers`]) the host keeps them all; a stream that
//! surprises us with trailers at such a moment is cut, as half a secret cannot be
//! told from plain text.
//!
//! Invariant: nothing that may belong to a pattern leaves before the pattern is
//! decided, and output does not depend on how the content was cut into chunks.

mod text;

use std::rc::Rc;

use postern_core::denial::Unscannable;
use postern_core::effect::Flow;
use postern_core::record::ScrubReceipt;
use postern_core::scrubbing::{Coding, Scan, Scrubbed, Scrubber};

use crate::coding::{self, Chain, Growth, Peek, Room};
use crate::views::{Search, Searches, Sets};
use text::Text;

/// Written in place of every secret, whatever its length.
pub const REDACTED: &[u8] = b"[REDACTED]";

/// A live prefix of at least this many bytes is held at the host.
pub const HOLD_FROM: usize = 4;

/// The host is asked to hold no more than this and the chunk that goes beyond it.
pub const HELD: usize = 128 * 1024;

/// Scrubs one response.
pub struct Window {
    sets: Sets,
    search: Searches,
    text: Text,
    room: Room,
    /// Decodes the content, when it is in a coding.
    chain: Option<Chain>,
    /// Looks into content that is compressed without saying so.
    peek: Peek<Sets>,
    /// How many bytes at the front of the window the host does not have.
    inside: usize,
    /// How many bytes the host holds.
    at_host: usize,
    trailers: bool,
    hits: u64,
    receipt: ScrubReceipt,
}

impl Window {
    /// A scrubber at the start of a response.
    pub(crate) fn new(sets: Sets, room: Room) -> Self {
        Self {
            search: Searches::new(&sets),
            peek: Peek::new(Rc::clone(&sets), room.clone()),
            sets,
            text: Text::default(),
            room,
            chain: None,
            inside: 0,
            at_host: 0,
            trailers: false,
            hits: 0,
            receipt: ScrubReceipt { views: Search::views(), ..ScrubReceipt::default() },
        }
    }

    fn take(&mut self, chunk: &[u8]) -> Result<(), Unscannable> {
        self.at_host = self.at_host.saturating_add(chunk.len());
        let Self { search, text, peek, chain, receipt, .. } = self;
        let Some(chain) = chain else {
            receipt.bytes = receipt.bytes.saturating_add(coding::length(chunk));
            peek.feed(chunk)?;
            search.read(chunk);
            let clean = !search.found() && search.open() == 0;
            if clean && text.len() == 0 && !peek.unsettled() {
                text.skip(chunk.len());
            } else {
                text.push(chunk);
                text.cover_all(search.drain_hits());
            }
            return Ok(());
        };
        let mut room = Growth::ANSWER.at_once;
        chain.feed(chunk, &mut |piece| {
            room = room.checked_sub(piece.len()).ok_or(Unscannable::Expansion)?;
            receipt.bytes = receipt.bytes.saturating_add(coding::length(piece));
            take_piece(search, text, peek, piece)
        })
    }

    /// No content is left.
    fn finish(&mut self) -> Result<(), Unscannable> {
        self.chain.as_ref().map_or(Ok(()), Chain::finish)?;
        self.search.finish();
        self.text.cover_all(self.search.drain_hits());
        self.peek.finish()
    }

    /// Lets go of all but the last `live` bytes; `None` when the host's copy will do.
    fn release(&mut self, live: usize) -> Option<Vec<u8>> {
        let coded = self.chain.is_some();
        let changes = coded || self.inside > 0 || live > 0 || self.text.has_spans();
        let until = self.text.len().saturating_sub(live);
        let out = if changes { Some(self.text.render(until, &mut self.hits)) } else { None };
        self.text.forget(until);
        self.inside = live;
        self.at_host = 0;
        out
    }

    fn open(&self) -> usize {
        usize::try_from(self.search.open()).unwrap_or(usize::MAX).min(self.text.len())
    }
}

fn take_piece(
    search: &mut Searches,
    text: &mut Text,
    peek: &mut Peek<Sets>,
    piece: &[u8],
) -> Result<(), Unscannable> {
    text.push(piece);
    search.read(piece);
    text.cover_all(search.drain_hits());
    peek.feed(piece)
}

impl Scrubber for Window {
    fn decode(&mut self, codings: &[Coding]) {
        self.receipt.decoders = codings.iter().map(|coding| coding.name().into()).collect();
        self.chain = (!codings.is_empty()).then(|| Chain::new(codings, &self.room));
    }

    fn chunk(&mut self, chunk: &[u8], end: bool) -> Result<Scrubbed, Unscannable> {
        self.take(chunk)?;
        if end {
            self.finish()?;
            return Ok(Scrubbed { replace: self.release(0), flow: Flow::Continue });
        }
        let (live, unsettled) = (self.open(), self.peek.unsettled());
        let long = live >= HOLD_FROM || (live > 0 && self.trailers) || unsettled;
        let held = self.at_host.max(self.text.len().saturating_sub(self.inside));
        if long && held <= HELD {
            return Ok(Scrubbed { replace: None, flow: Flow::Pause });
        }
        if unsettled {
            return Err(Unscannable::Undeliverable);
        }
        Ok(Scrubbed { replace: self.release(live), flow: Flow::Continue })
    }

    fn end_by_trailers(&mut self) -> Result<Option<Vec<u8>>, Unscannable> {
        self.finish()?;
        let host_has_some = self.at_host > 0;
        match self.release(0) {
            Some(rest) if !host_has_some => {
                if rest.is_empty() {
                    Ok(None)
                } else {
                    Err(Unscannable::Undeliverable)
                }
            }
            replace => Ok(replace),
        }
    }

    fn expect_trailers(&mut self) {
        self.trailers = true;
    }

    fn field(&mut self, value: &[u8]) -> Option<Vec<u8>> {
        let mut search = Searches::new(&self.sets);
        search.read(value);
        search.finish();
        if !search.found() {
            return None;
        }
        let mut text = Text::default();
        text.push(value);
        text.cover_all(search.drain_hits());
        Some(text.render(value.len(), &mut self.hits))
    }

    fn hits(&self) -> u64 {
        self.hits
    }

    fn receipt(&self) -> ScrubReceipt {
        self.receipt.clone()
    }
}

/// Stands in when no pattern set could be made: nothing of the response passes.
#[derive(Default)]
pub struct Withheld {
    hits: u64,
}

impl Scrubber for Withheld {
    fn decode(&mut self, _codings: &[Coding]) {}

    fn chunk(&mut self, _chunk: &[u8], _end: bool) -> Result<Scrubbed, Unscannable> {
        let first = self.hits == 0;
        self.hits = self.hits.saturating_add(1);
        let content = if first { REDACTED.to_vec() } else { Vec::new() };
        Ok(Scrubbed { replace: Some(content), flow: Flow::Continue })
    }

    fn end_by_trailers(&mut self) -> Result<Option<Vec<u8>>, Unscannable> {
        Ok(None)
    }

    fn field(&mut self, _value: &[u8]) -> Option<Vec<u8>> {
        self.hits = self.hits.saturating_add(1);
        Some(REDACTED.to_vec())
    }

    fn hits(&self) -> u64 {
        self.hits
    }

    /// Nothing was looked through.
    fn receipt(&self) -> ScrubReceipt {
        ScrubReceipt::default()
    }
}

/// What cannot be looked for may be anywhere.
impl Scan for Withheld {
    fn feed(&mut self, _bytes: &[u8]) -> bool {
        true
    }

    fn finish(&mut self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests;
