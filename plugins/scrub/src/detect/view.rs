//! One reading of the bytes, and the decoders that make further readings of it.
//!
//! Invariant: a view at depth 0 only compares; a deeper one feeds every byte to each
//! decoder exactly once, except plain bytes too far from any escape to matter.

use super::escape::Escape;
use super::fold::{Fold, OTHER};
use super::quoted::Quoted;
use super::runs::{Base64, Hex};
use super::utf7::Utf7;

/// What is looked for, in lower case.
const MARKER: &[u8; 12] = b"<credential:";

/// How far plain bytes on either side of an escape may belong to one marker: base64
/// or hex of it, wrapped after every digit, is shorter.
const LAG: usize = 96;

/// A reading of the bytes.
pub(super) struct View {
    fold: Fold,
    rest: Rest,
}

impl View {
    /// A view with `depth` further encodings below it.
    pub(super) fn new(depth: u8) -> Self {
        Self { fold: Fold::default(), rest: Rest::new(depth) }
    }

    /// Takes one byte; true when the marker is complete here or in a view below.
    pub(super) fn feed(&mut self, byte: u8) -> bool {
        let Self { fold, rest } = self;
        let mut seen = false;
        fold.push(byte, |c| seen |= rest.take(c));
        seen
    }

    /// Ends every run and escape that is still open.
    pub(super) fn finish(&mut self) -> bool {
        self.feed(OTHER)
    }

    /// Whether nothing is half read, runs aside.
    fn quiet(&self) -> bool {
        self.fold.idle() && self.rest.matched == 0 && self.rest.quiet
    }
}

/// A view behind the folding of characters.
struct Rest {
    matched: usize,
    depth: u8,
    base64: Base64,
    hex: Hex,
    /// No escape is open or near.
    quiet: bool,
    /// Plain bytes since an escape was decoded.
    since: usize,
    lag: Vec<u8>,
    escapes: Option<Box<Escapes>>,
}

impl Rest {
    fn new(depth: u8) -> Self {
        Self {
            matched: 0,
            depth,
            base64: Base64::default(),
            hex: Hex::default(),
            quiet: true,
            since: LAG,
            lag: Vec::new(),
            escapes: None,
        }
    }

    fn take(&mut self, c: u8) -> bool {
        let mut seen = self.compare(c);
        if let Some(below) = self.depth.checked_sub(1) {
            seen |= self.base64.push(c, below);
            seen |= self.hex.push(c, below);
            seen |= self.escapes(c, below);
        }
        seen
    }

    /// `<` occurs only at the start of the marker, so a mismatch restarts at 0 or 1.
    fn compare(&mut self, c: u8) -> bool {
        if MARKER.get(self.matched) == Some(&c.to_ascii_lowercase()) {
            self.matched = self.matched.saturating_add(1);
        } else {
            self.matched = usize::from(c == b'<');
        }
        self.matched == MARKER.len()
    }

    /// Plain bytes go to the escape decoders only when an escape follows soon: until
    /// then each of those would read what this view reads.
    fn escapes(&mut self, c: u8, below: u8) -> bool {
        if self.quiet && !leads(c) {
            self.keep(c);
            return false;
        }
        let escapes = self.escapes.get_or_insert_with(|| Box::new(Escapes::new(below)));
        let mut seen = false;
        for plain in self.lag.drain(..) {
            seen |= escapes.feed(plain);
        }
        seen |= escapes.feed(c);
        self.since = if escapes.decoded() { 0 } else { self.since.saturating_add(1) };
        self.quiet = self.since >= LAG && escapes.quiet();
        seen
    }

    fn keep(&mut self, c: u8) {
        if self.lag.len() >= LAG.saturating_mul(2) {
            self.lag.drain(..LAG);
        }
        self.lag.push(c);
    }
}

/// Bytes that can begin the marker or an escape.
fn leads(c: u8) -> bool {
    matches!(c, b'<' | b'%' | b'\\' | b'&' | b'=' | b'+')
}

/// The decoders of escapes, each with the view it makes. Three, because one may
/// swallow what means something to another: `=3c43…` is hex to a form parser.
struct Escapes {
    escape: Escape,
    escaped: View,
    quoted: Quoted,
    unquoted: View,
    utf7: Utf7,
    widened: View,
}

impl Escapes {
    fn new(depth: u8) -> Self {
        Self {
            escape: Escape::default(),
            escaped: View::new(depth),
            quoted: Quoted::default(),
            unquoted: View::new(depth),
            utf7: Utf7::default(),
            widened: View::new(depth),
        }
    }

    fn feed(&mut self, c: u8) -> bool {
        let mut seen = false;
        self.escape.push(c, |b| seen |= self.escaped.feed(b));
        self.quoted.push(c, |b| seen |= self.unquoted.feed(b));
        self.utf7.push(c, |b| seen |= self.widened.feed(b));
        seen
    }

    /// Whether a reading below differs from this one since last asked.
    fn decoded(&mut self) -> bool {
        // All three are asked, as asking resets.
        self.escape.decoded() | self.quoted.decoded() | self.utf7.decoded()
    }

    fn quiet(&self) -> bool {
        self.escape.idle()
            && self.quoted.idle()
            && self.utf7.idle()
            && self.escaped.quiet()
            && self.unquoted.quiet()
            && self.widened.quiet()
    }
}
