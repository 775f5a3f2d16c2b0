//! WebSocket (RFC 6455): which request asks for one, and what its frames hold.
//!
//! Owns the reader of handshakes and a strict reader and writer of frames. Knows no
//! credential and decides nothing: who uses it decides what a message may hold.
//!
//! Invariant: what is read is text in frames of one spelling, without extensions; the first
//! byte that is not ends the reading for good. Of a message no more is kept than asked for.

mod frame;
#[cfg(any(test, feature = "fuzz"))]
mod fuzz;
mod reader;
#[cfg(test)]
mod tests;

pub use frame::{Opcode, Side, frame};
#[cfg(any(test, feature = "fuzz"))]
pub use fuzz::fuzz_websocket;
pub use reader::{Fault, Piece, Reader};

use crate::fields::Fields;

/// Whether a head asks for a WebSocket and for nothing else (RFC 6455 4.2.1): one line of
/// each field, a `GET` without content, and over HTTP/1.1, where the rest of the connection
/// is its own.
pub fn is_asked(fields: &Fields) -> bool {
    let is =
        |name, value: &[u8]| fields.only(name).is_some_and(|have| have.eq_ignore_ascii_case(value));
    let content = ["content-length", "transfer-encoding", ":protocol", "http2-settings"];
    fields.only(":method") == Some(b"GET".as_slice())
        && is("upgrade", b"websocket")
        && upgrades(fields)
        && is("sec-websocket-version", b"13")
        && fields.only("sec-websocket-key").is_some_and(is_nonce)
        && !content.iter().any(|name| fields.has(name))
}

/// Whether an answer of status 101 agrees to it (RFC 6455 4.1): the protocol, and no
/// extension, since none is offered.
pub fn is_agreed(fields: &Fields) -> bool {
    let protocol = fields.only("upgrade");
    protocol.is_some_and(|protocol| protocol.eq_ignore_ascii_case(b"websocket"))
        && !fields.has(EXTENSIONS)
}

/// Field by which both sides agree on what frames mean beyond the RFC (section 9.1).
pub const EXTENSIONS: &str = "sec-websocket-extensions";

/// `Connection` names the upgrade and nothing that could be dropped by it.
fn upgrades(fields: &Fields) -> bool {
    let tokens = fields.all("connection").flat_map(|value| value.split(|byte| *byte == b','));
    let mut upgrade = false;
    for token in tokens.map(<[u8]>::trim_ascii) {
        match token.to_ascii_lowercase().as_slice() {
            b"upgrade" => upgrade = true,
            b"keep-alive" => {}
            _ => return false,
        }
    }
    upgrade
}

/// Base64 of 16 bytes.
fn is_nonce(value: &[u8]) -> bool {
    let digit = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'+' || *byte == b'/';
    value.strip_suffix(b"==").is_some_and(|text| text.len() == 22 && text.iter().all(digit))
}
