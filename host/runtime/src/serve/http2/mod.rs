//! HTTP/2 (RFC 9113) on the sockets, towards callers and towards upstreams.
//!
//! Frames, field compression and the book-keeping of windows are those of the `h2` crate.
//! hyper, which stands on it, is not used: it decides itself when content is taken and hides
//! how much may be sent, where here the filters decide about the first and a stream counts the
//! second; and what it refuses is answered past us, so that no access logger would hear of
//! it. What `h2` itself refuses is seen on the wire ([`watch`]) and logged.
//!
//! Where Envoy tells apart what is wrong with fields, all that the codec refuses is one reason
//! here: `http2.invalid.header.field`, or `codec_error` where it ends the connection.
//!
//! Owns connections and what one stream is on them; order of events, filters and routes are
//! those of every stream ([`super::stream`]). Invariant: content is acknowledged when it has
//! been taken, and sent as far as the peer's window goes; what waits beyond is counted, so
//! that a slow side slows the other one down.

mod connection;
mod incoming;
mod outgoing;
mod receiving;
mod sending;
mod session;
mod watch;
mod wire;

pub(in crate::serve) use connection::serve;
pub(in crate::serve) use incoming::Incoming;
pub(in crate::serve) use outgoing::Outgoing;
pub(in crate::serve) use session::Sessions;

/// Bytes of one stream that `h2` holds beyond what the system has taken.
const SEND_BUFFER: usize = 64 * 1024;
