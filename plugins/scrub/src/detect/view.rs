//! One reading of the bytes, and the decoders that make further readings of it.
//!
//! Invariant: a view at depth 0 only compares; a deeper one feeds every byte to each
//! decoder exactly once, except plain bytes too far from any escape to matter.

use super::class::Class;
use super::escape::Escape;
use super::fold::Fold;
use super::quoted::Quoted;
use super::runs::{Base64, Hex};
use super::utf7::Utf7;

/// What is looked for, in lower case.
const MARKER: &[u8; 12] = b"<credential:";

/// How far plain bytes on either side of an escape may belong to one marker: the
/// marker with every character escaped is shorter, and so is base64 or hex of it.
pub(super) const LAG: usize = 192;

/// Turns one reading into another.
pub(super) trait Decoder: Default {
    /// Whether no escape is half read.
    fn idle(&self) -> bool;

    /// Takes one byte; puts out what is decided, and whether it was decoded rather
    /// than passed.
    fn push(&mut self, byte: u8, out: impl FnMut(u8, bool));
}

/// A reading of the bytes.
pub(super) trait View: Default {
    /// Takes one byte; true when the marker is complete here or in a view below.
    fn feed(&mut self, byte: u8) -> bool;

    /// Whether nothing is half read, runs aside.
    fn quiet(&self) -> bool;
}

/// A view that only compares.
#[derive(Default)]
pub(super) struct Leaf {
    fold: Fold,
    marker: Compare,
}

impl View for Leaf {
    fn feed(&mut self, byte: u8) -> bool {
        let Self { fold, marker } = self;
        let mut seen = false;
        fold.push(byte, |c| seen |= marker.take(c));
        seen
    }

    fn quiet(&self) -> bool {
        self.fold.idle() && self.marker.matched == 0
    }
}

/// A view with views of type `V` below it.
#[derive(Default)]
pub(super) struct Inner<V> {
    fold: Fold,
    rest: Rest<V>,
}

impl<V: View> View for Inner<V> {
    fn feed(&mut self, byte: u8) -> bool {
        let Self { fold, rest } = self;
        let mut seen = false;
        fold.push(byte, |c| seen |= rest.take(c));
        seen
    }

    fn quiet(&self) -> bool {
        self.fold.idle() && self.rest.marker.matched == 0 && !self.rest.awake
    }
}

impl<V: View> Inner<V> {
    /// Whether nothing at all is half read.
    pub(super) fn still(&self) -> bool {
        self.quiet() && self.rest.base64.idle() && self.rest.hex.idle()
    }
}

/// How much of the marker was read.
#[derive(Default)]
struct Compare {
    matched: usize,
}

impl Compare {
    /// `<` occurs only at the start of the marker, so a mismatch restarts at 0 or 1.
    fn take(&mut self, c: u8) -> bool {
        if MARKER.get(self.matched) == Some(&c.to_ascii_lowercase()) {
            self.matched = self.matched.saturating_add(1);
        } else {
            self.matched = usize::from(c == b'<');
        }
        self.matched == MARKER.len()
    }
}

/// A view behind the folding of characters.
#[derive(Default)]
struct Rest<V> {
    marker: Compare,
    base64: Base64<V>,
    hex: Hex<V>,
    /// An escape is open or near. Else plain bytes only go to `lag`.
    awake: bool,
    lag: Vec<u8>,
    escapes: Option<Box<Escapes<V>>>,
}

impl<V: View> Rest<V> {
    fn take(&mut self, c: u8) -> bool {
        let class = Class::of(c);
        self.marker.take(c)
            | self.base64.push(class)
            | self.hex.push(class)
            | self.escapes(c, class)
    }

    /// Plain bytes reach the escape decoders only when an escape may follow.
    fn escapes(&mut self, c: u8, class: Class) -> bool {
        if !self.awake && !class.leads() {
            keep_one(&mut self.lag, c);
            return false;
        }
        let escapes = self.escapes.get_or_insert_default();
        escapes.recall(&self.lag);
        self.lag.clear();
        let seen = escapes.feed(c);
        self.awake = !escapes.quiet();
        seen
    }
}

/// Adds to the plain bytes that are remembered, of which the last [`LAG`] count.
pub(super) fn keep(lag: &mut Vec<u8>, plain: &[u8]) {
    lag.extend_from_slice(plain);
    trim(lag);
}

fn keep_one(lag: &mut Vec<u8>, plain: u8) {
    if lag.capacity() == 0 {
        lag.reserve(64);
    }
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
struct Escapes<V> {
    escape: Below<Escape, V>,
    quoted: Below<Quoted, V>,
    utf7: Below<Utf7, V>,
}

impl<V: View> Escapes<V> {
    fn recall(&mut self, plain: &[u8]) {
        keep(&mut self.escape.view.lag, plain);
        keep(&mut self.quoted.view.lag, plain);
        keep(&mut self.utf7.view.lag, plain);
    }

    fn feed(&mut self, c: u8) -> bool {
        self.escape.push(c) | self.quoted.push(c) | self.utf7.push(c)
    }

    fn quiet(&self) -> bool {
        self.escape.quiet() && self.quoted.quiet() && self.utf7.quiet()
    }
}

/// A decoder and the view it makes.
#[derive(Default)]
struct Below<D, V> {
    decoder: D,
    view: Lazy<V>,
}

impl<D: Decoder, V: View> Below<D, V> {
    fn push(&mut self, c: u8) -> bool {
        let Self { decoder, view } = self;
        let mut seen = false;
        decoder.push(c, |b, decoded| seen |= view.take(b, decoded));
        seen
    }

    fn quiet(&self) -> bool {
        self.decoder.idle() && !self.view.awake
    }
}

/// A view that sleeps while it would read what the view above reads anyway.
#[derive(Default)]
struct Lazy<V> {
    awake: bool,
    /// Plain bytes since something was decoded.
    since: usize,
    /// Plain bytes not fed, while asleep.
    lag: Vec<u8>,
    view: Option<Box<V>>,
}

impl<V: View> Lazy<V> {
    fn take(&mut self, b: u8, decoded: bool) -> bool {
        if !self.awake && !decoded {
            keep_one(&mut self.lag, b);
            return false;
        }
        let view = self.view.get_or_insert_default();
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
