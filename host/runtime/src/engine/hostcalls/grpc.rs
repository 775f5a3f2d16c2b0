//! gRPC call-outs: unary calls and streams.
//!
//! A service is Envoy's `GrpcService` in protobuf, of which the cluster under `envoy_grpc`
//! counts, or the bare name of a cluster where the bytes are no protobuf.

use std::time::Duration;

use crate::engine::guest::{Answer, Guest, Out, Span};
use crate::engine::host::{Callout, Grpc};
use crate::engine::pairs;
use crate::engine::protobuf::Message;
use crate::view::{GrpcCall, Status};

/// Most call-outs of a machine that are not over; Envoy has no limit of its own.
const MOST_CALLS: usize = 1024;

/// `parts`: service, name of the service, method, metadata, message. The token is written
/// when the call is out.
pub(in crate::engine) fn call(
    guest: &mut Guest,
    parts: [Span; 5],
    timeout_ms: u32,
    token_at: u32,
) -> Answer {
    let [service, name, method, metadata, message] = parts;
    let mut call = start(guest, [service, name, method, metadata])?;
    call.message = Some(guest.bytes(message)?.to_vec());
    call.timeout = Some(Duration::from_millis(u64::from(timeout_ms)));
    send(guest, Callout::GrpcCall, call, token_at)
}

/// `parts`: service, name of the service, method, metadata.
pub(in crate::engine) fn stream(guest: &mut Guest, parts: [Span; 4], token_at: u32) -> Answer {
    let call = start(guest, parts)?;
    send(guest, Callout::GrpcStream, call, token_at)
}

fn start(guest: &Guest, [service, name, method, metadata]: [Span; 4]) -> Result<GrpcCall, Status> {
    Ok(GrpcCall {
        cluster: cluster(guest, guest.bytes(service)?)?,
        method: [guest.bytes(name)?.to_vec(), guest.bytes(method)?.to_vec()],
        metadata: pairs::decode(guest.bytes(metadata)?).unwrap_or_default(),
        message: None,
        timeout: None,
    })
}

/// Envoy ends its process for a `GrpcService` that names nothing; here it does not parse.
fn cluster(guest: &Guest, service: &[u8]) -> Result<Vec<u8>, Status> {
    let Some(message) = Message::parse(service) else {
        let known = guest.host().services.has_cluster(service);
        return if known { Ok(service.to_vec()) } else { Err(Status::ParseFailure) };
    };
    let name = Message::parse(message.bytes(1)).ok_or(Status::ParseFailure)?.bytes(1);
    if name.is_empty() { Err(Status::ParseFailure) } else { Ok(name.to_vec()) }
}

/// A call that fails at once is told of like any other, though the module has no token.
fn send(guest: &mut Guest, kind: Callout, call: GrpcCall, token_at: u32) -> Answer {
    guest.bytes(Span(token_at, 4))?;
    let host = guest.host_mut();
    let root = host.contexts.get(&host.effective).ok_or(Status::BadArgument)?.root;
    if host.grpc.len() >= MOST_CALLS {
        return Err(Status::InternalFailure.into());
    }
    let token = host.next_token(kind);
    host.grpc.insert(token, Grpc { root, closed: false });
    host.services.grpc_start(token, call)?;
    Ok(guest.put_u32(token_at, token)?)
}

pub(in crate::engine) fn message(guest: &mut Guest, token: u32, message: Span, end: u32) -> Answer {
    if Callout::of(token) != Some(Callout::GrpcStream) {
        return Err(Status::BadArgument.into());
    }
    let call = *guest.host().grpc.get(&token).ok_or(Status::NotFound)?;
    let message = guest.bytes(message)?.to_vec();
    if !call.closed {
        guest.host().services.grpc_send(token, Some(message), end != 0)?;
    }
    Ok(())
}

/// Nothing more is told of it.
pub(in crate::engine) fn cancel(guest: &mut Guest, token: u32) -> Answer {
    let host = guest.host_mut();
    let call = *host.grpc.get(&token).ok_or_else(|| unknown(token))?;
    if call.closed {
        return Err(Status::NotFound.into());
    }
    host.grpc.remove(&token);
    host.services.grpc_cancel(token);
    Ok(())
}

/// Says that a stream sends no more; a unary call is cancelled.
pub(in crate::engine) fn close(guest: &mut Guest, token: u32) -> Answer {
    if Callout::of(token) != Some(Callout::GrpcStream) {
        return cancel(guest, token);
    }
    let host = guest.host();
    if !host.grpc.get(&token).ok_or(Status::NotFound)?.closed {
        host.services.grpc_send(token, None, true)?;
    }
    Ok(())
}

/// Code and text of the call-out of the root that was closed last.
pub(in crate::engine) fn status(guest: &mut Guest, code_at: u32, out: Out) -> Answer {
    let (code, text) = guest.host().root().map(|root| root.closed.clone()).unwrap_or_default();
    guest.put_u32(code_at, code.cast_unsigned())?;
    guest.give(&text, out)
}

fn unknown(token: u32) -> Status {
    match Callout::of(token) {
        Some(Callout::GrpcCall | Callout::GrpcStream) => Status::NotFound,
        Some(Callout::Http) | None => Status::BadArgument,
    }
}
