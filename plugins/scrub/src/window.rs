//! The streaming scrubber.
//!
//! Owns the window: bytes seen and not yet let go, because a pattern may still be
//! open at their end. Most of them stay at the host (`Pause`); a prefix of up to
//! three bytes is kept inside instead, so that a stream whose chunks happen to end
//! in the first byte of a pattern is not delayed.
//!
//! Bytes kept inside are lost when trailers end the stream. So once trailers are
//! expected ([`Scrubber::expect_trailers`]) the host keeps them all; a stream that
//! surprises us with trailers at such a moment is cut, as half a secret cannot be
//! told from plain text.
//!
//! Invariant: nothing that may belong to a pattern leaves before the pattern is
//! decided, and output does not depend on how the content was cut into chunks.

use std::rc::Rc;

use aho_corasick::automaton::StateID;
use postern_core::effect::Flow;
use postern_core::scrubbing::{Scrubbed, Scrubber, Undeliverable};

use crate::automaton::Automaton;

/// Written in place of every secret, whatever its length.
pub const REDACTED: &[u8] = b"[REDACTED]";

/// A live prefix of at least this many bytes is held at the host.
pub const HOLD_FROM: usize = 4;

/// The host is asked to hold no more than this and the chunk that goes beyond it.
pub const HELD: usize = 128 * 1024;

/// Scrubs one response.
pub struct Window {
    automaton: Rc<Automaton>,
    state: StateID,
    text: Text,
    /// How many bytes at the front of the window the host does not have.
    inside: usize,
    trailers: bool,
    hits: u64,
}

impl Window {
    /// A scrubber at the start of a response.
    pub fn new(automaton: Rc<Automaton>) -> Self {
        let state = automaton.start();
        Self { automaton, state, text: Text::default(), inside: 0, trailers: false, hits: 0 }
    }

    fn take(&mut self, chunk: &[u8]) {
        let before = self.text.bytes.len();
        self.text.bytes.extend_from_slice(chunk);
        let text = &mut self.text;
        self.state = self.automaton.read(self.state, chunk, |end, len| {
            text.cover(before.saturating_add(end), len);
        });
    }

    /// Lets go of all but the last `live` bytes; `None` when the host's copy will do.
    fn release(&mut self, live: usize) -> Option<Vec<u8>> {
        let changes = self.inside > 0 || live > 0 || !self.text.spans.is_empty();
        let until = self.text.bytes.len().saturating_sub(live);
        let out = if changes { Some(self.text.render(until, &mut self.hits)) } else { None };
        self.text.forget(until);
        self.inside = live;
        out
    }

    fn at_host(&self) -> usize {
        self.text.bytes.len().saturating_sub(self.inside)
    }
}

impl Scrubber for Window {
    fn chunk(&mut self, chunk: &[u8], end: bool) -> Scrubbed {
        self.take(chunk);
        let live = if end { 0 } else { self.automaton.live(self.state) };
        let long = live >= HOLD_FROM || (live > 0 && self.trailers);
        if long && self.at_host() <= HELD {
            return Scrubbed { replace: None, flow: Flow::Pause };
        }
        Scrubbed { replace: self.release(live), flow: Flow::Continue }
    }

    fn end_by_trailers(&mut self) -> Result<Option<Vec<u8>>, Undeliverable> {
        let host_has_some = self.at_host() > 0;
        match self.release(0) {
            Some(rest) if !host_has_some => {
                if rest.is_empty() {
                    Ok(None)
                } else {
                    Err(Undeliverable)
                }
            }
            replace => Ok(replace),
        }
    }

    fn expect_trailers(&mut self) {
        self.trailers = true;
    }

    fn field(&mut self, value: &[u8]) -> Option<Vec<u8>> {
        let mut text = Text::default();
        self.automaton.read(self.automaton.start(), value, |end, len| text.cover(end, len));
        if text.spans.is_empty() {
            return None;
        }
        text.bytes.extend_from_slice(value);
        Some(text.render(value.len(), &mut self.hits))
    }

    fn hits(&self) -> u64 {
        self.hits
    }
}

/// Content not yet let go, and which parts of it are secret.
#[derive(Default)]
struct Text {
    bytes: Vec<u8>,
    /// In order, not overlapping.
    spans: Vec<Span>,
}

struct Span {
    start: usize,
    end: usize,
    /// The marker for it has left already.
    marked: bool,
}

impl Text {
    /// Adds a match; all that overlap become one.
    fn cover(&mut self, end: usize, len: usize) {
        let mut span = Span { start: end.saturating_sub(len), end, marked: false };
        while let Some(last) = self.spans.pop_if(|last| last.end > span.start) {
            span.start = span.start.min(last.start);
            span.marked |= last.marked;
        }
        self.spans.push(span);
    }

    /// Everything before `until`, with markers in place of secrets. A secret that
    /// begins before `until` gets its marker now, wherever it ends.
    fn render(&self, until: usize, hits: &mut u64) -> Vec<u8> {
        let mut out = Vec::with_capacity(until);
        let mut at = 0;
        for span in self.spans.iter().take_while(|span| span.start < until) {
            out.extend_from_slice(self.bytes.get(at..span.start).unwrap_or_default());
            if !span.marked {
                out.extend_from_slice(REDACTED);
                *hits = hits.saturating_add(1);
            }
            at = span.end;
        }
        out.extend_from_slice(self.bytes.get(at..until).unwrap_or_default());
        out
    }

    /// Drops everything before `until`; a secret across it stays as marked.
    fn forget(&mut self, until: usize) {
        self.bytes.drain(..until.min(self.bytes.len()));
        self.spans.retain_mut(|span| {
            span.marked |= span.start < until;
            span.start = span.start.saturating_sub(until);
            span.end = span.end.saturating_sub(until);
            span.end > 0
        });
    }
}

/// Stands in when no pattern set could be made: nothing of the response passes.
#[derive(Default)]
pub struct Withheld {
    hits: u64,
}

impl Scrubber for Withheld {
    fn chunk(&mut self, _chunk: &[u8], _end: bool) -> Scrubbed {
        let first = self.hits == 0;
        self.hits = self.hits.saturating_add(1);
        let content = if first { REDACTED.to_vec() } else { Vec::new() };
        Scrubbed { replace: Some(content), flow: Flow::Continue }
    }

    fn end_by_trailers(&mut self) -> Result<Option<Vec<u8>>, Undeliverable> {
        Ok(None)
    }

    fn field(&mut self, _value: &[u8]) -> Option<Vec<u8>> {
        self.hits = self.hits.saturating_add(1);
        Some(REDACTED.to_vec())
    }

    fn hits(&self) -> u64 {
        self.hits
    }
}

#[cfg(test)]
mod tests;
