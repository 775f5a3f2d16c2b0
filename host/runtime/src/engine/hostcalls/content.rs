//! Buffers: content of the stream, a call-out's answer, configuration.

use crate::engine::guest::{Answer, Guest, Out, Span};
use crate::engine::host::{Host, Lent};
use crate::view::{BodyKind, Status};

/// Envoy's rules: a range past the end is cut, an empty one leaves the guest's variables as
/// they are, and so does content that is not there now.
pub(in crate::engine) fn read(guest: &mut Guest, buffer: u32, range: Span, out: Out) -> Answer {
    let (start, length) = (range.0 as usize, range.1 as usize);
    let bytes = match body(buffer) {
        Some(body) => view_body(guest.host(), body, start, length)?,
        None => cut(lent(guest.host(), buffer)?, start, length),
    };
    if bytes.is_empty() {
        return Ok(());
    }
    guest.give(&bytes, out)
}

pub(in crate::engine) fn write(guest: &mut Guest, buffer: u32, range: Span, new: Span) -> Answer {
    // What is lent can be read only.
    let body = body(buffer).ok_or(Status::BadArgument)?;
    let view = guest.host().optional_view().ok_or(Status::BadArgument)?;
    Ok(view.set_body(body, range.0 as usize, range.1 as usize, guest.bytes(new)?)?)
}

pub(in crate::engine) fn status(guest: &mut Guest, buffer: u32, size: u32, flags: u32) -> Answer {
    let length = match body(buffer) {
        Some(body) => view_body(guest.host(), body, 0, usize::MAX)?.len(),
        None => lent(guest.host(), buffer)?.len(),
    };
    guest.put_u32(size, u32::try_from(length).map_err(|_| Status::InternalFailure)?)?;
    Ok(guest.put_u32(flags, 0)?)
}

fn view_body(host: &Host, body: BodyKind, start: usize, length: usize) -> Result<Vec<u8>, Status> {
    match host.optional_view() {
        Some(view) => view.body(body, start, length),
        None => Ok(Vec::new()),
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
        (6, Lent::VmConfiguration) => Ok(&host.settings.configuration),
        (7, Lent::PluginConfiguration) => {
            Ok(&host.root().ok_or(Status::NotFound)?.plugin.configuration)
        }
        (4 | 7, _) => Err(Status::NotFound),
        // Of TCP, gRPC, VMs and foreign calls: there, and empty.
        (2..=8, _) => Ok(&[]),
        _ => Err(Status::BadArgument),
    }
}

fn cut(bytes: &[u8], start: usize, length: usize) -> Vec<u8> {
    let end = start.saturating_add(length).min(bytes.len());
    bytes.get(start..end).unwrap_or_default().to_vec()
}
