//! Content codings (RFC 9110, section 8.4.1): gzip, deflate, br, zstd, stacked at will.
//!
//! Owns the chain of decoders between what an upstream sends and what is scanned, and
//! the limits that keep a small answer from becoming a large one. Checksums are not
//! compared: what is decoded here is delivered decoded, so no receiver relies on them.
//!
//! Invariant: output is given on piece by piece and never collected; every stage has a
//! limit on what it makes of its input; an input that ends early or goes on after its
//! end is refused.

mod brotli;
mod gzip;
mod inflate;
mod peek;
mod room;
mod zstd;

use postern_core::denial::Unscannable;
use postern_core::scrubbing::Coding;

pub(crate) use peek::{Begin, Look, Peek};
pub(crate) use room::Room;

/// What may come out of a decoder.
#[derive(Clone, Copy)]
pub(crate) struct Growth {
    /// So much for every byte that it takes …
    ratio: u64,
    /// … and so much beyond: short texts of one repeated word compress better.
    free: u64,
    /// So much of one chunk: all of it is read within one callback, which has a deadline.
    pub(crate) at_once: usize,
}

impl Growth {
    /// Of an answer.
    pub(crate) const ANSWER: Self = Self { ratio: 128, free: 1024 * 1024, at_once: 1024 * 1024 };
    /// Of a request, in which more is looked for and which any caller may send.
    pub(crate) const REQUEST: Self = Self { ratio: 32, free: 128 * 1024, at_once: 256 * 1024 };
}

/// Where decoded bytes go.
pub(crate) type Sink<'a> = dyn FnMut(&[u8]) -> Result<(), Unscannable> + 'a;

/// Decodes one coding.
pub(crate) trait Decoder {
    /// Takes all of `input` and gives on what can be decoded of it.
    fn feed(&mut self, input: &[u8], sink: &mut Sink<'_>) -> Result<(), Unscannable>;

    /// No input is left: was it whole?
    fn finish(&self) -> Result<(), Unscannable>;

    /// Whether input was taken whose output has not been given on.
    fn lags(&self) -> bool {
        false
    }
}

/// A decoder of `coding`, with memory from `room`.
pub(crate) fn decoder(coding: Coding, room: &Room) -> Box<dyn Decoder> {
    match coding {
        Coding::Gzip => Box::new(gzip::Gzip::new(room)),
        Coding::Deflate => Box::new(inflate::Deflate::new(room)),
        Coding::Brotli => Box::new(brotli::Brotli::new(room)),
        Coding::Zstd => Box::new(zstd::Zstd::new(room)),
    }
}

/// The decoders of one answer, the coding that was applied last first.
pub(crate) struct Chain(Vec<Stage>);

/// One decoder, and what it took and gave.
struct Stage {
    decoder: Box<dyn Decoder>,
    growth: Growth,
    taken: u64,
    given: u64,
}

impl Chain {
    /// Undoes `codings`, which are in the order in which they were applied.
    pub(crate) fn new(codings: &[Coding], room: &Room) -> Self {
        let stage = |coding: &Coding| Stage::new(decoder(*coding, room), Growth::ANSWER);
        Self(codings.iter().rev().map(stage).collect())
    }

    /// Decodes all of `input`.
    pub(crate) fn feed(&mut self, input: &[u8], sink: &mut Sink<'_>) -> Result<(), Unscannable> {
        feed(&mut self.0, input, sink)
    }

    /// No input is left.
    pub(crate) fn finish(&self) -> Result<(), Unscannable> {
        self.0.iter().try_for_each(|stage| stage.decoder.finish())
    }
}

fn feed(stages: &mut [Stage], input: &[u8], sink: &mut Sink<'_>) -> Result<(), Unscannable> {
    match stages.split_first_mut() {
        None => sink(input),
        Some((stage, rest)) => stage.feed(input, &mut |piece| feed(rest, piece, sink)),
    }
}

impl Stage {
    fn new(decoder: Box<dyn Decoder>, growth: Growth) -> Self {
        Self { decoder, growth, taken: 0, given: 0 }
    }

    fn feed(&mut self, input: &[u8], sink: &mut Sink<'_>) -> Result<(), Unscannable> {
        let Self { decoder, growth, taken, given } = self;
        *taken = taken.saturating_add(length(input));
        let most = taken.saturating_mul(growth.ratio).saturating_add(growth.free);
        decoder.feed(input, &mut |piece| {
            *given = given.saturating_add(length(piece));
            if *given > most {
                return Err(Unscannable::Expansion);
            }
            sink(piece)
        })
    }
}

pub(crate) fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
