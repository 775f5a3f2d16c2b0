//! The detector: finds `<CREDENTIAL:` under every encoding a parser behind us decodes.
//!
//! Compressed content that nothing announces is looked into as well. Owns the tree of views. A *view* is one reading of the bytes; each decoder turns
//! its view into further ones, so that `%3C` in base64 is found without listing it.
//!
//! Invariant: every byte costs a bounded amount of work, and state is bounded.

mod class;
pub(crate) mod escape;
mod fold;
mod quoted;
mod runs;
mod screen;
mod utf7;
mod view;

use postern_core::scrubbing::{Detector, Scan};

use crate::coding::{Begin, Growth, Look, Peek, Room};
use class::Class;
use fold::OTHER;
use runs::{BASE64_RUN, HEX_RUN};
use view::{Inner, LAG, Leaf, View, keep};

/// Finds placeholder markers in any case and any supported encoding, two deep.
///
/// A superset of what the substituter replaces: everything it replaces contains the
/// marker as it stands, and the outermost view looks for exactly that.
#[derive(Clone, Copy, Debug, Default)]
pub struct MarkerDetector;

impl MarkerDetector {
    /// Whether `bytes`, taken whole, contain a marker.
    pub fn sees(self, bytes: &[u8]) -> bool {
        (Peek::<Self>::tells_coding(bytes) || screen::suspects(bytes)) && self.reads(bytes)
    }

    /// The same by a scan alone.
    pub(crate) fn reads(self, bytes: &[u8]) -> bool {
        let mut scan = self.scan();
        scan.feed(bytes);
        scan.finish()
    }
}

impl Detector for MarkerDetector {
    fn scan(&self) -> Box<dyn Scan> {
        let peek = Peek::new(*self, Room::default());
        Box::new(ContentScan { text: MarkerScan::default(), peek, opaque: false })
    }

    fn sighted(&self, pieces: &[&[u8]]) -> bool {
        match pieces {
            [one] => self.sees(one),
            several => self.sees(&several.concat()),
        }
    }
}

impl Begin for MarkerDetector {
    type Look = MarkerScan;

    const GROWTH: Growth = Growth::REQUEST;

    fn begin(&self) -> MarkerScan {
        MarkerScan::default()
    }
}

impl Look for MarkerScan {
    fn look(&mut self, bytes: &[u8]) -> bool {
        self.feed(bytes)
    }

    fn end(&mut self) -> bool {
        self.finish()
    }

    fn open(&self) -> u64 {
        0
    }
}

/// A scan of bytes as they are and, where they are compressed, of what is inside.
struct ContentScan {
    text: MarkerScan,
    peek: Peek<MarkerDetector>,
    /// Inside is a marker, or something that cannot be looked into.
    opaque: bool,
}

impl Scan for ContentScan {
    fn feed(&mut self, bytes: &[u8]) -> bool {
        self.opaque = self.opaque || self.peek.feed(bytes).is_err();
        self.opaque | self.text.feed(bytes)
    }

    fn finish(&mut self) -> bool {
        self.opaque = self.opaque || self.peek.finish().is_err();
        self.opaque | self.text.finish()
    }
}

/// A running scan. Once it has seen a marker it stays so.
#[derive(Default)]
pub struct MarkerScan {
    view: Inner<Inner<Leaf>>,
    dozing: Dozing,
    awake: bool,
    seen: bool,
}

impl Scan for MarkerScan {
    fn feed(&mut self, bytes: &[u8]) -> bool {
        let mut rest = bytes;
        while !self.seen && !rest.is_empty() {
            rest = if self.awake { self.read(rest) } else { self.doze(rest) };
        }
        self.seen
    }

    fn finish(&mut self) -> bool {
        if self.awake && !self.seen {
            self.seen = self.view.feed(OTHER);
        }
        self.seen
    }
}

impl MarkerScan {
    /// Skips what cannot matter. What follows a skip is read with what stood before.
    fn doze<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let (plain, rest) = bytes.split_at(self.dozing.skip(bytes));
        keep(&mut self.dozing.lag, plain);
        if !rest.is_empty() {
            let lag = std::mem::take(&mut self.dozing).lag;
            let from = lag.len().saturating_sub(LAG);
            for &byte in lag.get(from..).unwrap_or_default() {
                self.seen |= self.view.feed(byte);
            }
            self.awake = true;
        }
        rest
    }

    /// Reads until nothing is half read any more.
    fn read<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let mut rest = bytes;
        while let Some((&byte, more)) = rest.split_first() {
            rest = more;
            self.seen |= self.view.feed(byte);
            self.awake = !self.view.still();
            if self.seen || !self.awake {
                break;
            }
        }
        rest
    }
}

/// Plain text without long runs reads the same in every view and needs no decoder.
#[derive(Default)]
struct Dozing {
    base64: u32,
    hex: u32,
    lag: Vec<u8>,
}

impl Dozing {
    /// How many bytes from the start are plain text without long runs.
    fn skip(&mut self, bytes: &[u8]) -> usize {
        let plain = bytes.iter().position(|&byte| {
            let class = Class::of(byte);
            if class.sextet().is_some() {
                self.base64 = self.base64.saturating_add(1);
            } else if !class.line_break() {
                self.base64 = 0;
            }
            if class.nibble().is_some() {
                self.hex = self.hex.saturating_add(1);
            } else if !class.separates() {
                self.hex = 0;
            }
            class.tells() || self.base64 >= BASE64_RUN || self.hex >= HEX_RUN
        });
        plain.unwrap_or(bytes.len())
    }
}

#[cfg(test)]
mod tests;
