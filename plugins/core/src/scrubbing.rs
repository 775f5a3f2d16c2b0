//! Scrubbing as the core sees it. `postern-scrub` implements it.

use crate::effect::Flow;
use crate::inject::InPlay;

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
    /// Takes new bytes of content; `end` when no more content and no trailers come.
    fn chunk(&mut self, chunk: &[u8], end: bool) -> Scrubbed;

    /// Content ended with a trailer section. `Err` when bytes are kept inside that
    /// can no longer be delivered: the stream must be cut.
    fn end_by_trailers(&mut self) -> Result<Option<Vec<u8>>, Undeliverable>;

    /// Trailers may come: from now on keep nothing inside that trailers would lose.
    /// Call it at the response's head when it names trailers, is HTTP/2 or gRPC.
    fn expect_trailers(&mut self) {}

    /// The scrubbed form of a field value, or `None` when it is clean.
    fn field(&mut self, value: &[u8]) -> Option<Vec<u8>>;

    /// How many forms were replaced so far.
    fn hits(&self) -> u64;
}

/// Bytes were kept inside when trailers came.
#[derive(Debug, PartialEq, Eq)]
pub struct Undeliverable;

/// Makes a scrubber for the secrets of one stream.
pub trait Scrubbing {
    /// Builds the pattern set; all values are captured at injection.
    fn scrubber(&self, secrets: &[InPlay]) -> Box<dyn Scrubber>;
}

/// Finds placeholders in request bytes, in every encoding a downstream parser would
/// decode. A superset of what the substituter replaces.
pub trait Detector {
    /// Starts a scan of one piece of a request (a field value, the path, content).
    fn scan(&self) -> Box<dyn Scan>;
}

/// A running scan; state is kept across chunks.
pub trait Scan {
    /// Takes more bytes; true once a marker was seen.
    fn feed(&mut self, bytes: &[u8]) -> bool;
    /// No more bytes: true if a marker was seen, or an opaque rest may hide one.
    fn finish(&mut self) -> bool;
}
