//! Fields of one hop: `connection` and what it nominates, `te`, `upgrade`.

use super::{is, members, remove, set, value};
use crate::view::Pairs;

/// Members of `connection` from which on a request is refused.
const MEMBERS: usize = 10;

/// Size of a nominated `te` from which on a request is refused.
const TE_SIZE: usize = 256;

/// `connection` nominates what it may not.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Rejected;

/// Whether the sender ends the connection after this message.
pub(super) fn closes(pairs: &Pairs) -> bool {
    let lists = ["connection", "proxy-connection"].map(|name| value(pairs, name));
    lists.into_iter().flatten().flat_map(members).any(|member| is(member, "close"))
}

/// The protocol that the request asks for on its connection. An offer of HTTP/2 is declined
/// by forgetting it (RFC 9113, 3.1).
pub(super) fn upgrade(pairs: &mut Pairs) -> Option<Vec<u8>> {
    let asked = value(pairs, "connection").into_iter().flat_map(members);
    let asked = asked.into_iter().any(|member| is(member, "upgrade"));
    let protocol = value(pairs, "upgrade").filter(|_| asked)?;
    if !is(protocol, "h2c") {
        return Some(protocol.to_vec());
    }
    remove(pairs, &["upgrade", "http2-settings"]);
    None
}

/// Removes what `connection` nominates (RFC 9110, 7.6.1). Forwarded addresses and pseudo
/// fields may not be nominated: their absence would change who the caller seems to be.
pub(super) fn remove_nominated(pairs: &mut Pairs) -> Result<(), Rejected> {
    let nominated = value(pairs, "connection").unwrap_or_default().to_ascii_lowercase();
    if members(&nominated).count() >= MEMBERS {
        return Err(Rejected);
    }
    for member in members(&nominated) {
        match member {
            b"close" | b"keep-alive" | b"upgrade" | b"http2-settings" => {}
            b"x-forwarded-for" | b"x-forwarded-host" | b"x-forwarded-proto" | [b':', ..] => {
                return Err(Rejected);
            }
            b"te" if value(pairs, "te").is_some_and(|te| te.len() >= TE_SIZE) => {
                return Err(Rejected);
            }
            b"te" => keep_trailers(pairs),
            name => pairs.retain(|(have, _)| have != name),
        }
    }
    Ok(())
}

/// Reduces `te` to `trailers`, the one member that outlives a hop (RFC 9110, 10.1.4).
pub(super) fn keep_trailers(pairs: &mut Pairs) {
    let te = value(pairs, "te").unwrap_or_default();
    if members(te).any(|member| member == b"trailers") {
        set(pairs, "te", "trailers");
    } else if !te.is_empty() {
        remove(pairs, &["te"]);
    }
}
