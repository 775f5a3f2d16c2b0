//! One reading of the bytes, and the decoders that make further readings of it.
//!
//! Invariant: a view at depth 0 only compares; a deeper one feeds every byte to each
//! decoder exactly once, except plain bytes too far from any escape to matter.

use super::class::Class;
use super::escape::Escape;
use super::fold::{Fold, OTHER};
use super::quoted::Quoted;
use super::runs::{Base64, Hex};
use super::utf7::Utf7;

/// What is looked for, in lower case.
const MARKER: &[u8; 12] = b"<credential:";

/// How far plain bytes on either side of an escape may belong to one marker: the
/// marker with every character escaped is shorter, and so is base64 or hex of it.
const LAG: usize = 192;

/// Turns one reading into another.
pub(super) trait Decoder: Default {
    /// Whether no escape is half read.
    fn idle(&self) -> bool;

    /// Takes one byte; puts out what is decided, and whether it was decoded rather
    /// than passed.
    fn push(&mut self, byte: u8, out: impl FnMut(u8, bool));
}

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
    /// No escape is open or near: plain bytes only go to `lag`.
    quiet: bool,
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
            lag: Vec::new(),
            escapes: None,
        }
    }

    fn take(&mut self, c: u8) -> bool {
        let mut seen = self.compare(c);
        if let Some(below) = self.depth.checked_sub(1) {
            let class = Class::of(c);
            seen |= self.base64.push(class, below);
            seen |= self.hex.push(class, below);
            seen |= self.escapes(c, class, below);
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

    /// Plain bytes reach the escape decoders only when an escape may follow.
    fn escapes(&mut self, c: u8, class: Class, below: u8) -> bool {
        if self.quiet && !class.leads() {
            keep_one(&mut self.lag, c);
            return false;
        }
        let escapes = self.escapes.get_or_insert_default();
        escapes.recall(&self.lag);
        self.lag.clear();
        let seen = escapes.feed(c, below);
        self.quiet = escapes.quiet();
        seen
    }
}

/// Adds to the plain bytes that are remembered, of which the last [`LAG`] count.
fn keep(lag: &mut Vec<u8>, plain: &[u8]) {
    lag.extend_from_slice(plain);
    trim(lag);
}

fn keep_one(lag: &mut Vec<u8>, plain: u8) {
    lag.push(plain);
    trim(lag);
}

fn trim(lag: &mut Vec<u8>) {
    if lag.len() > LAG.saturating_mul(2) {
        lag.drain(..lag.len().saturating_sub(LAG));
    }
}

/// The decoders of escapes. Three, because one may swallow what means something to
/// another: `=3c43…` is hex to a form parser.
#[derive(Default)]
struct Escapes {
    escape: Below<Escape>,
    quoted: Below<Quoted>,
    utf7: Below<Utf7>,
}

impl Escapes {
    fn recall(&mut self, plain: &[u8]) {
        keep(&mut self.escape.view.lag, plain);
        keep(&mut self.quoted.view.lag, plain);
        keep(&mut self.utf7.view.lag, plain);
    }

    fn feed(&mut self, c: u8, depth: u8) -> bool {
        self.escape.push(c, depth) | self.quoted.push(c, depth) | self.utf7.push(c, depth)
    }

    fn quiet(&self) -> bool {
        self.escape.quiet() && self.quoted.quiet() && self.utf7.quiet()
    }
}

/// A decoder and the view it makes.
#[derive(Default)]
struct Below<D> {
    decoder: D,
    view: Lazy,
}

impl<D: Decoder> Below<D> {
    fn push(&mut self, c: u8, depth: u8) -> bool {
        let Self { decoder, view } = self;
        let mut seen = false;
        decoder.push(c, |b, decoded| seen |= view.take(b, decoded, depth));
        seen
    }

    fn quiet(&self) -> bool {
        self.decoder.idle() && !self.view.awake
    }
}

/// A view that sleeps while it would read what the view above reads anyway.
#[derive(Default)]
struct Lazy {
    awake: bool,
    /// Plain bytes since something was decoded.
    since: usize,
    /// Plain bytes not fed, while asleep.
    lag: Vec<u8>,
    view: Option<Box<View>>,
}

impl Lazy {
    fn take(&mut self, b: u8, decoded: bool, depth: u8) -> bool {
        if !self.awake && !decoded {
            keep_one(&mut self.lag, b);
            return false;
        }
        let view = self.view.get_or_insert_with(|| Box::new(View::new(depth)));
        let mut seen = false;
        for plain in self.lag.drain(..) {
            seen |= view.feed(plain);
        }
        seen |= view.feed(b);
        self.since = if decoded { 0 } else { self.since.saturating_add(1) };
        self.awake = self.since < LAG || !view.quiet();
        seen
    }
}
