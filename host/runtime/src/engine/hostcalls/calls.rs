//! HTTP call-outs.

use std::time::Duration;

use crate::engine::guest::{Answer, Guest, Span};
use crate::engine::host::Callout;
use crate::engine::pairs;
use crate::view::{CallOut, Pairs, Status};

/// Without these Envoy sends no request.
const REQUIRED: [&[u8]; 3] = [b":method", b":path", b":authority"];

/// `parts`: cluster, headers, body, trailers. The token is written when the call is out.
pub(in crate::engine) fn http_call(
    guest: &mut Guest,
    parts: [Span; 4],
    timeout_ms: u32,
    token_at: u32,
) -> Answer {
    guest.bytes(Span(token_at, 4))?;
    let call = call(guest, parts, timeout_ms)?;
    let host = guest.host_mut();
    let (token, context) = (host.next_token(Callout::Http), host.effective);
    let view = host.optional_view();
    view.iter().for_each(|view| view.begin_call());
    let sent = host.services.http_call(token, call);
    view.iter().for_each(|view| view.end_call());
    sent?;
    host.calls.insert(token, context);
    Ok(guest.put_u32(token_at, token)?)
}

fn call(guest: &Guest, parts: [Span; 4], timeout_ms: u32) -> Result<CallOut, Status> {
    let [cluster, headers, body, trailers] = parts;
    // Bytes that are no map are an empty one, as in Envoy.
    let map = |span| Ok::<_, Status>(pairs::decode(guest.bytes(span)?).unwrap_or_default());
    let headers: Pairs = map(headers)?;
    let present = |name: &[u8]| headers.iter().any(|(line, _)| line == name);
    if !REQUIRED.into_iter().all(present) {
        return Err(Status::BadArgument);
    }
    Ok(CallOut {
        cluster: guest.bytes(cluster)?.to_vec(),
        headers,
        body: guest.bytes(body)?.to_vec(),
        trailers: map(trailers)?,
        timeout: Duration::from_millis(u64::from(timeout_ms)),
    })
}
