//! Buffers: content of the stream, what a call-out has brought, configuration.
//!
//! Envoy's rules: content that is not there in the phase is empty, and so are the buffers of
//! TCP; an answer and a configuration that are not there are `NotFound`; only content and a
//! gRPC message can be written. A number that names no buffer is `BadArgument`.

use crate::engine::guest::{Answer, Guest, Out, Span};
use crate::engine::host::{Host, Lent};
use crate::view::{BodyKind, Status};

/// A range past the end is cut, and empty.
pub(in crate::engine) fn read(guest: &mut Guest, buffer: u32, range: Span, out: Out) -> Answer {
    let bytes = bytes(guest.host(), buffer, range.0 as usize, range.1 as usize)?;
    guest.give(&bytes, out)
}

pub(in crate::engine) fn status(guest: &mut Guest, buffer: u32, size: u32, flags: u32) -> Answer {
    let length = bytes(guest.host(), buffer, 0, usize::MAX)?.len();
    guest.put_u32(size, u32::try_from(length).map_err(|_| Status::InternalFailure)?)?;
    Ok(guest.put_u32(flags, 0)?)
}

pub(in crate::engine) fn write(guest: &mut Guest, buffer: u32, range: Span, new: Span) -> Answer {
    let new = guest.bytes(new)?.to_vec();
    let (start, length) = (range.0 as usize, range.1 as usize);
    if let Some(body) = body(buffer) {
        let view = guest.host().view()?;
        let written = view.set_body(body, start, length, &new);
        return Ok(written.map_err(|_| Status::BadArgument)?);
    }
    if let (5, Lent::GrpcMessage(message)) = (buffer, &mut guest.host_mut().lent) {
        return Ok(splice(message, start, length, &new)?);
    }
    lent(guest.host(), buffer)?;
    Err(Status::BadArgument.into())
}

/// [`crate::view::StreamView::set_body`] has the rules.
pub(crate) fn splice(
    buffer: &mut Vec<u8>,
    start: usize,
    length: usize,
    new: &[u8],
) -> Result<(), Status> {
    match start {
        0 => drop(buffer.splice(..length.min(buffer.len()), new.iter().copied())),
        start if start >= buffer.len() => buffer.extend_from_slice(new),
        _ => return Err(Status::BadArgument),
    }
    Ok(())
}

fn bytes(host: &Host, buffer: u32, start: usize, length: usize) -> Result<Vec<u8>, Status> {
    match body(buffer) {
        Some(body) => {
            let view = host.optional_view();
            let bytes = view.and_then(|view| view.body(body, start, length).ok());
            Ok(bytes.unwrap_or_default())
        }
        None => Ok(cut(lent(host, buffer)?, start, length)),
    }
}

fn body(buffer: u32) -> Option<BodyKind> {
    match buffer {
        0 => Some(BodyKind::Request),
        1 => Some(BodyKind::Response),
        _ => None,
    }
}

fn lent(host: &Host, buffer: u32) -> Result<&[u8], Status> {
    match (buffer, &host.lent) {
        // Without fields it is a failure, which has no content either.
        (4, Lent::Answer(answer)) if !answer.headers.is_empty() => Ok(&answer.body),
        (5, Lent::GrpcMessage(message)) => Ok(message),
        (6, _) => Ok(&host.settings.configuration),
        (7, Lent::PluginConfiguration) => {
            Ok(&host.root().ok_or(Status::NotFound)?.plugin.configuration)
        }
        // TCP, no message, and the arguments of a function that the proxy never calls.
        (2 | 3 | 5 | 8, _) => Ok(&[]),
        (4 | 7, _) => Err(Status::NotFound),
        _ => Err(Status::BadArgument),
    }
}

fn cut(bytes: &[u8], start: usize, length: usize) -> Vec<u8> {
    let end = start.saturating_add(length).min(bytes.len());
    bytes.get(start..end).unwrap_or_default().to_vec()
}
