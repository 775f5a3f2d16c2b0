//! The lines of a head or of trailers: where they end, and the fields in them.
//!
//! Invariant: every line ends with CR LF and neither byte stands anywhere else, so there is
//! one reading of where a line ends (RFC 9112, 2.2). The work of one [`Section`] grows with
//! its bytes only, however they arrive.

use super::octet::is_control;
use super::{Limits, Malformed};
use crate::view::Pairs;

/// How far the search for the empty line has come.
#[derive(Debug, Default)]
pub(super) struct Section {
    line: usize,
    seen: usize,
    lines: usize,
}

impl Section {
    /// The length of the section with its empty line; `None` if that line has not come.
    ///
    /// `bytes` start where they started at the call before, and may have grown since.
    pub fn end(&mut self, bytes: &[u8], max: usize) -> Result<Option<usize>, Malformed> {
        loop {
            let start = self.line;
            match self.line_end(bytes, max)? {
                Some(end) if end == start + 2 => return Ok(Some(end)),
                Some(_) => self.lines += 1,
                None => return Ok(None),
            }
        }
    }

    /// Where the next line ends with its CR LF; `None` if they have not come.
    pub fn line_end(&mut self, bytes: &[u8], max: usize) -> Result<Option<usize>, Malformed> {
        let within = bytes.get(..max).unwrap_or(bytes);
        let at = next_end(within, self.seen).unwrap_or(within.len());
        self.seen = at;
        match within.get(at..).unwrap_or_default() {
            [b'\r', b'\n', ..] => {
                self.seen = at + 2;
                self.line = self.seen;
                Ok(Some(self.line))
            }
            [] | [b'\r'] if bytes.len() < max => Ok(None),
            [] | [b'\r'] => Err(Malformed::HeadTooLarge),
            _ => Err(Malformed::LineEnd),
        }
    }

    /// Lines before the empty one.
    pub fn lines(&self) -> usize {
        self.lines
    }
}

/// The first byte from `from` on that is part of a line end.
///
/// Whole blocks are looked through without a way out in the middle, which compiles to
/// comparing many bytes at once: a head that comes byte by byte costs little more than its
/// reads.
fn next_end(bytes: &[u8], from: usize) -> Option<usize> {
    let (blocks, _) = bytes.get(from..)?.as_chunks::<64>();
    let skipped = blocks.iter().position(holds_end).unwrap_or(blocks.len());
    let start = from + 64 * skipped;
    bytes[start..].iter().position(|byte| is_end(*byte)).map(|offset| start + offset)
}

fn holds_end(block: &[u8; 64]) -> bool {
    // A number and not a `bool`, which would be tested after each byte.
    block.iter().fold(0, |found, byte| found | u8::from(is_end(*byte))) != 0
}

fn is_end(byte: u8) -> bool {
    (byte == b'\r') | (byte == b'\n')
}

/// Refuses what no line of a section may hold.
pub(super) fn refuse_controls(bytes: &[u8]) -> Result<(), Malformed> {
    let clean = !bytes.iter().any(|byte| is_control(*byte));
    if clean { Ok(()) } else { Err(Malformed::Character) }
}

/// Room for as many fields as there are lines, or the refusal of so many.
pub(super) fn room<'b>(
    lines: usize,
    limits: &Limits,
) -> Result<Vec<httparse::Header<'b>>, Malformed> {
    if lines > limits.max_fields {
        return Err(Malformed::TooManyFields);
    }
    Ok(vec![httparse::EMPTY_HEADER; lines])
}

/// The fields of a trailer section with its empty line.
pub(super) fn trailers(bytes: &[u8], lines: usize, limits: &Limits) -> Result<Pairs, Malformed> {
    refuse_controls(bytes)?;
    let mut room = room(lines, limits)?;
    match httparse::parse_headers(bytes, &mut room) {
        Ok(httparse::Status::Complete((end, fields))) if end == bytes.len() => Ok(pairs(fields)),
        _ => Err(Malformed::Syntax),
    }
}

/// What the parser found, with names in lower case.
pub(super) fn pairs(fields: &[httparse::Header<'_>]) -> Pairs {
    let pair = |field: &httparse::Header<'_>| {
        (field.name.to_ascii_lowercase().into_bytes(), field.value.to_vec())
    };
    fields.iter().map(pair).collect()
}
