//! HTTP/1.1 on the wire (RFC 9112), for both sides of the gateway, without I/O.
//!
//! Owns where a message starts and ends: heads ([`request_head`], [`response_head`]), how
//! content is delimited ([`request_framing`], [`response_framing`]), reading it ([`Decoder`])
//! and writing whole messages ([`Encoder`]). Knows no socket, timer or route; bytes come in
//! through a buffer and go out through one.
//!
//! Heads are parsed by `httparse`, the parser of hyper. hyper itself is not used: its HTTP/1
//! server sends trailers only to who asked with `te: trailers` and only those named before, its
//! request targets refuse bytes that Envoy takes and drop a `#` with what follows, and a
//! request that it cannot parse is answered past us, so that no access logger would hear of it.
//!
//! Invariant: no message is read in a way that another reader of RFC 9112 could read
//! differently. What is ambiguous is refused and ends the connection, even where Envoy
//! lets it pass (the rows in `tests/rows.rs` say where), and nothing that a module wrote into a
//! field can end that field, the head or the content early.

mod decode;
mod encode;
mod framing;
mod fuzz;
mod head;
mod malformed;
mod octet;
mod section;
mod target;
#[cfg(test)]
mod tests;

pub use decode::{Decoder, Piece};
pub use encode::{Encoder, Unsendable};
pub use framing::{Framing, keeps_alive, request_framing, response_framing};
pub use fuzz::fuzz_http1;
pub use head::{
    RequestHead, ResponseHead, Version, refuse_underscores, request_head, response_head,
};
pub use malformed::Malformed;
pub use target::{Scheme, Target, is_authority, request_target};

/// How much of a message is held in memory while it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Field lines of a head, and again of its trailers (`max_headers_count`).
    pub max_fields: usize,
    /// Bytes of a head from its first line to its empty line, and again of its trailers
    /// (`max_request_headers_kb`).
    pub max_head: usize,
}
