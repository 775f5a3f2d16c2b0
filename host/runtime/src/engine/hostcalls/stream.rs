//! What changes the course of a stream, and which context hostcalls act on.

use crate::engine::guest::{Answer, Guest, Span};
use crate::engine::pairs;
use crate::view::{Direction, LocalReply, Status};

pub(in crate::engine) fn proceed(guest: &mut Guest, direction: u32) -> Answer {
    let direction = half(direction)?;
    Ok(guest.host().view()?.continue_stream(direction)?)
}

pub(in crate::engine) fn close(guest: &mut Guest, direction: u32) -> Answer {
    let direction = half(direction)?;
    Ok(guest.host().view()?.close_stream(direction)?)
}

/// A reply whose fields do not parse is refused; Envoy would send it without them.
pub(in crate::engine) fn reply(
    guest: &mut Guest,
    status: u32,
    [details, body, headers]: [Span; 3],
    grpc_status: i32,
) -> Answer {
    let view = guest.host().view()?;
    let headers = pairs::decode(guest.bytes(headers)?).ok_or(Status::BadArgument)?;
    let (details, body) = (guest.bytes(details)?.to_vec(), guest.bytes(body)?.to_vec());
    Ok(view.local_reply(LocalReply { status, details, body, headers, grpc_status })?)
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

/// TCP streams do not exist here.
fn half(direction: u32) -> Result<Direction, Status> {
    match direction {
        0 => Ok(Direction::Request),
        1 => Ok(Direction::Response),
        _ => Err(Status::BadArgument),
    }
}
