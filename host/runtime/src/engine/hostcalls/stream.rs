//! What changes the course of a stream, and which context hostcalls act on.

use crate::engine::guest::{Answer, Guest, Span};
use crate::engine::pairs;
use crate::view::{Direction, LocalReply, Status};

/// A root has no stream to continue, which is no error.
pub(in crate::engine) fn proceed(guest: &mut Guest, direction: u32) -> Answer {
    match (half(direction)?, guest.host().optional_view()) {
        (Half::Http(direction), Some(view)) => Ok(view.continue_stream(direction)?),
        (Half::Http(_), None) | (Half::Downstream, _) => Ok(()),
        (Half::Upstream, _) => Err(Status::Unimplemented.into()),
    }
}

pub(in crate::engine) fn close(guest: &mut Guest, direction: u32) -> Answer {
    match (half(direction)?, guest.host().optional_view()) {
        (Half::Http(direction), Some(view)) => Ok(view.close_stream(direction)?),
        _ => Ok(()),
    }
}

/// A reply whose fields do not parse is one without them, as in Envoy.
pub(in crate::engine) fn reply(
    guest: &mut Guest,
    status: u32,
    [details, body, headers]: [Span; 3],
    grpc_status: i32,
) -> Answer {
    let headers = pairs::decode(guest.bytes(headers)?).unwrap_or_default();
    let (details, body) = (guest.bytes(details)?.to_vec(), guest.bytes(body)?.to_vec());
    match guest.host().optional_view() {
        Some(view) => {
            let reply = LocalReply { status, details, body, headers, grpc_status };
            Ok(view.local_reply(reply)?)
        }
        None => Ok(()),
    }
}

/// 0 is the context whose callback runs.
pub(in crate::engine) fn act_on(guest: &mut Guest, context: u32) -> Answer {
    let host = guest.host_mut();
    let context = if context == 0 { host.current } else { context };
    if !host.contexts.contains_key(&context) {
        return Err(Status::BadArgument.into());
    }
    host.effective = context;
    Ok(())
}

/// For a root whose `proxy_on_done` has said no, and for nobody else.
pub(in crate::engine) fn done(guest: &mut Guest) -> Answer {
    let host = guest.host_mut();
    if !host.unfinished.remove(&host.effective) {
        return Err(Status::NotFound.into());
    }
    host.finished.push(host.effective);
    Ok(())
}

/// What can be continued or closed.
enum Half {
    Http(Direction),
    /// TCP, which does not exist here.
    Downstream,
    Upstream,
}

fn half(direction: u32) -> Result<Half, Status> {
    match direction {
        0 => Ok(Half::Http(Direction::Request)),
        1 => Ok(Half::Http(Direction::Response)),
        2 => Ok(Half::Downstream),
        3 => Ok(Half::Upstream),
        _ => Err(Status::BadArgument),
    }
}
