//! Fields between the wire and the filters, each way, as Envoy 1.40 has them.
//!
//! Owns what of a request is refused before any filter, which fields end at a hop
//! (RFC 9110, 7.6.1), which ones the gateway says itself, and the order of them all. The
//! rows of the tests are answers of a real Envoy with the connection manager of
//! `envoy/envoy.yaml`. No octet of the wire is read or written here: that is the codec's.
//!
//! Deliberate differences. Stricter: what filters add of `host`, `connection`, `upgrade`
//! and `transfer-encoding` does not leave; a line that would break the message is not sent
//! to a caller either; a length that filters have made wrong is corrected or dropped;
//! `CONNECT` is refused before the filters; trailers lose the fields that frame or route a
//! message. Other: `server` says `postern`; `x-forwarded-for` gets the caller's address
//! even from loopback, where Envoy writes the machine's own; `referer` is not looked into,
//! where Envoy drops one that is no URL.
//!
//! Of HTTP/2, other: pseudo fields stand in one order, whatever the caller's; a `#` in a target
//! and what follows it is not read by anybody, where Envoy answers 400. Stricter: a target
//! with octets that no URI has is refused, where Envoy encodes them.
//!
//! Invariant: what leaves holds one `host`, at most one of `content-length` and
//! `transfer-encoding`, and no octet that ends a line early.

mod arrive;
mod change;
mod connection;
mod http2;
mod joined;
mod leave;
mod router;
#[cfg(test)]
mod tests;

use std::net::IpAddr;

pub use arrive::{arrived, upgrade_refused};
pub(in crate::proxy) use change::{add, size};
pub use http2::{Came, arrived_http2};
pub use leave::{
    Content, Leaving, RequestHead, ResponseHead, SERVER, Unfit, request_leaves, response_leaves,
    trailers_leave, upgrade_leaves,
};
pub use router::{Rewritten, answered, routed, took};

use super::failure::Flags;
pub use crate::http1::Scheme;
use crate::view::{Direction, LocalReply, Pairs};

/// How a request came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    /// Of the connection.
    pub scheme: Scheme,
    /// Who connected.
    pub peer: IpAddr,
    /// With a client certificate that was verified.
    pub mutual: bool,
    /// A fresh UUID for `x-request-id`.
    pub request_id: String,
}

/// A request on its way to the filters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// Its fields, pseudo fields first.
    pub pairs: Pairs,
    /// Whether the caller waits for `100 Continue` before it sends content.
    pub expects_continue: bool,
    /// Whether the caller wants the connection to end after the response.
    pub closes: bool,
    /// Whether another protocol follows, if the upstream agrees.
    pub upgrade: bool,
}

/// A request that is answered before any filter has seen it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The answer.
    pub reply: LocalReply,
    /// What `%RESPONSE_FLAGS%` shows.
    pub flags: Flags,
    /// Whether the connection ends after it.
    pub closes: bool,
    /// Whether the stream is reset and nothing is said, as happens with HTTP/2.
    pub resets: bool,
    /// What access loggers see of the request; nothing of one that could not be parsed.
    pub seen: Pairs,
}

/// Fields that end at a hop, whoever has set them (RFC 9110, 7.6.1). In a response they go
/// when it leaves: filters see those of the upstream, as in Envoy.
const HOP: &[&str] =
    &["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"];

/// The same of a request and a response after which another protocol follows.
const HOP_OF_UPGRADE: &[&str] = &["keep-alive", "proxy-connection", "transfer-encoding"];

fn line(name: &str, value: impl Into<Vec<u8>>) -> (Vec<u8>, Vec<u8>) {
    (name.as_bytes().to_vec(), value.into())
}

fn is(name: &[u8], wanted: &str) -> bool {
    name.eq_ignore_ascii_case(wanted.as_bytes())
}

/// The first line of a field.
fn value<'a>(pairs: &'a Pairs, name: &str) -> Option<&'a [u8]> {
    pairs.iter().find(|(have, _)| is(have, name)).map(|(_, value)| value.as_slice())
}

pub(super) fn remove(pairs: &mut Pairs, names: &[&str]) {
    pairs.retain(|(have, _)| !names.iter().any(|name| is(have, name)));
}

/// Replaces a field where its first line stands, or adds it.
pub(in crate::proxy) fn set(pairs: &mut Pairs, name: &str, text: impl Into<Vec<u8>>) {
    let Some(first) = pairs.iter().position(|(have, _)| is(have, name)) else {
        return pairs.push(line(name, text));
    };
    pairs[first].1 = text.into();
    let mut index = 0;
    pairs.retain(|(have, _)| {
        index += 1;
        index <= first + 1 || !is(have, name)
    });
}

/// Adds a line, or to the line of a field that has only one.
pub(super) fn append(pairs: &mut Pairs, direction: Direction, name: &str, text: &[u8]) {
    pairs.push(line(name, text));
    let all = std::mem::take(pairs);
    *pairs = match direction {
        Direction::Request => joined::request(all),
        Direction::Response => joined::response(all),
    };
}

/// Replaces a field as Envoy does: one that it gives a place of its own keeps that, any
/// other goes to the end.
pub(super) fn overwrite(pairs: &mut Pairs, direction: Direction, name: &str, text: &[u8]) {
    if !joined::is_joined(direction, name.as_bytes()) {
        remove(pairs, &[name]);
    }
    set(pairs, name, text);
}

/// The members of a list field (RFC 9110, 5.6.1), without empty ones.
fn members(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|member| !member.is_empty())
}
