//! The detector: finds `<CREDENTIAL:` under every encoding a parser behind us decodes.
//!
//! Owns the tree of views. A *view* is one reading of the bytes; each decoder turns
//! its view into further ones, so that `%3C` in base64 is found without listing it.
//!
//! Invariant: every byte costs a bounded amount of work, and state is bounded.

mod class;
mod escape;
mod fold;
mod quoted;
mod runs;
mod utf7;
mod view;

use postern_core::scrubbing::{Detector, Scan};

use view::View;

/// How many encodings may lie on top of each other.
const DEPTH: u8 = 2;

/// Finds placeholder markers in any case and any supported encoding, two deep.
///
/// A superset of what the substituter replaces: everything it replaces contains the
/// marker as it stands, and the outermost view looks for exactly that.
#[derive(Clone, Copy, Debug, Default)]
pub struct MarkerDetector;

impl MarkerDetector {
    /// Whether `bytes`, taken whole, contain a marker.
    pub fn sees(self, bytes: &[u8]) -> bool {
        let mut scan = MarkerScan::new();
        scan.feed(bytes);
        scan.finish()
    }
}

impl Detector for MarkerDetector {
    fn scan(&self) -> Box<dyn Scan> {
        Box::new(MarkerScan::new())
    }
}

/// A running scan. Once it has seen a marker it stays so.
pub struct MarkerScan {
    view: View,
    seen: bool,
}

impl MarkerScan {
    fn new() -> Self {
        Self { view: View::new(DEPTH), seen: false }
    }
}

impl Scan for MarkerScan {
    fn feed(&mut self, bytes: &[u8]) -> bool {
        for &byte in bytes {
            if self.seen {
                break;
            }
            self.seen = self.view.feed(byte);
        }
        self.seen
    }

    fn finish(&mut self) -> bool {
        self.seen = self.seen || self.view.finish();
        self.seen
    }
}

#[cfg(test)]
mod tests;
