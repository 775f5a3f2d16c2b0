//! Scrubbing as the core sees it. `postern-scrub` implements it.

use std::rc::Rc;

use crate::denial::Unscannable;
use crate::effect::Flow;
use crate::inject::InPlay;
use crate::record::ScrubReceipt;

/// A content coding that is decoded (RFC 9110, section 8.4.1; RFC 7932, RFC 9659).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// `gzip`, also as `x-gzip`.
    Gzip,
    /// `deflate`: zlib, or bare DEFLATE.
    Deflate,
    /// `br`.
    Brotli,
    /// `zstd`.
    Zstd,
}

impl Coding {
    /// Its registered name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
        }
    }

    /// The coding of this name, in any case.
    pub fn named(name: &[u8]) -> Option<Self> {
        let names: [(&[u8], Self); 5] = [
            (b"gzip", Self::Gzip),
            (b"x-gzip", Self::Gzip),
            (b"deflate", Self::Deflate),
            (b"br", Self::Brotli),
            (b"zstd", Self::Zstd),
        ];
        names.into_iter().find(|(known, _)| name.eq_ignore_ascii_case(known)).map(|(_, it)| it)
    }
}

/// What to do with content after a chunk was seen.
#[derive(Debug, PartialEq, Eq)]
pub struct Scrubbed {
    /// New content for everything the host holds (held bytes and the chunk), if it
    /// has to change.
    pub replace: Option<Vec<u8>>,
    /// `Pause` keeps all of it at the host until the next event.
    pub flow: Flow,
}

/// Replaces every form of the secrets in play by a marker of fixed length.
pub trait Scrubber {
    /// The content comes in these codings, in the order in which they were applied. It is
    /// decoded, and what leaves is in none of them. Call it at the response's head.
    fn decode(&mut self, codings: &[Coding]);

    /// Takes new bytes of content; `end` when no more content and no trailers come.
    /// `Err` when they cannot be inspected: the stream must be cut.
    fn chunk(&mut self, chunk: &[u8], end: bool) -> Result<Scrubbed, Unscannable>;

    /// Content ended with a trailer section. `Err` when it ended too early, or when bytes
    /// are kept inside that can no longer be delivered: the stream must be cut.
    fn end_by_trailers(&mut self) -> Result<Option<Vec<u8>>, Unscannable>;

    /// Trailers may come: from now on keep nothing inside that trailers would lose.
    /// Call it at the response's head when it names trailers, is HTTP/2 or gRPC.
    fn expect_trailers(&mut self) {}

    /// The scrubbed form of a field value, or `None` when it is clean.
    fn field(&mut self, value: &[u8]) -> Option<Vec<u8>>;

    /// How many forms were replaced so far.
    fn hits(&self) -> u64;

    /// What was looked through so far; it does not depend on chunks.
    fn receipt(&self) -> ScrubReceipt;
}

/// Secrets made ready to be looked for, shared by streams.
pub trait Known {
    /// Begins an answer.
    fn scrubber(&self) -> Box<dyn Scrubber>;
}

/// Makes secrets ready to be looked for.
pub trait Scrubbing {
    /// To be scrubbed from answers: every form of them.
    fn known(&self, secrets: &[Rc<InPlay>]) -> Rc<dyn Known>;

    /// To be found in requests: the values as a whole, in every form.
    fn guard(&self, secrets: &[Rc<InPlay>]) -> Rc<dyn Detector>;
}

/// Finds placeholders in request bytes, in every encoding a downstream parser would
/// decode. A superset of what the substituter replaces.
pub trait Detector {
    /// Starts a scan of one piece of a request (a field value, the path, content).
    fn scan(&self) -> Box<dyn Scan>;

    /// Whether a scan of these pieces, one after the other and nothing behind them, sees a marker.
    fn sighted(&self, pieces: &[&[u8]]) -> bool {
        let mut scan = self.scan();
        pieces.iter().any(|piece| scan.feed(piece)) || scan.finish()
    }
}

/// A running scan; state is kept across chunks.
pub trait Scan {
    /// Takes more bytes; true once a marker was seen.
    fn feed(&mut self, bytes: &[u8]) -> bool;
    /// No more bytes: true if a marker was seen, or an opaque rest may hide one.
    fn finish(&mut self) -> bool;
}
