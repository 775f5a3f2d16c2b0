//! Header maps and trailers, of the stream or of a call-out's answer.

use crate::engine::guest::{Answer, Guest, Out, Span};
use crate::engine::host::Lent;
use crate::engine::pairs;
use crate::view::{MapKind, Pairs, Status};

/// A map that is not there now is an empty one to whoever wants all of it, as in Envoy.
pub(in crate::engine) fn pairs(guest: &mut Guest, map: u32, out: Out) -> Answer {
    let pairs = match map {
        // Of gRPC, where there is none.
        4 | 5 => Pairs::new(),
        map => {
            kind(map)?;
            all(guest, map).unwrap_or_default()
        }
    };
    let bytes = if pairs.is_empty() { Vec::new() } else { pairs::encode(&pairs) };
    guest.give(&bytes, out)
}

pub(in crate::engine) fn size(guest: &mut Guest, map: u32, out: u32) -> Answer {
    let size = pairs::size(&all(guest, map)?);
    Ok(guest.put_u32(out, u32::try_from(size).map_err(|_| Status::InternalFailure)?)?)
}

pub(in crate::engine) fn set_pairs(guest: &mut Guest, map: u32, new: Span) -> Answer {
    let map = writable(map)?;
    let new = pairs::decode(guest.bytes(new)?).ok_or(Status::BadArgument)?;
    Ok(guest.host().view()?.set_pairs(map, new)?)
}

pub(in crate::engine) fn value(guest: &mut Guest, map: u32, name: Span, out: Out) -> Answer {
    let name = guest.bytes(name)?.to_ascii_lowercase();
    let value = match kind(map)? {
        map @ (MapKind::CallHeaders | MapKind::CallTrailers) => first(answer(guest, map)?, &name),
        map => guest.host().view()?.value(map, &name)?,
    };
    guest.give(&value.ok_or(Status::NotFound)?, out)
}

pub(in crate::engine) fn add(guest: &mut Guest, map: u32, name: Span, value: Span) -> Answer {
    let (map, view) = (writable(map)?, guest.host().view()?);
    let name = guest.bytes(name)?.to_ascii_lowercase();
    Ok(view.add(map, &name, guest.bytes(value)?)?)
}

pub(in crate::engine) fn replace(guest: &mut Guest, map: u32, name: Span, value: Span) -> Answer {
    let (map, view) = (writable(map)?, guest.host().view()?);
    let name = guest.bytes(name)?.to_ascii_lowercase();
    Ok(view.replace(map, &name, guest.bytes(value)?)?)
}

pub(in crate::engine) fn remove(guest: &mut Guest, map: u32, name: Span) -> Answer {
    let (map, view) = (writable(map)?, guest.host().view()?);
    Ok(view.remove(map, &guest.bytes(name)?.to_ascii_lowercase())?)
}

fn all(guest: &Guest, map: u32) -> Result<Pairs, Status> {
    match kind(map)? {
        map @ (MapKind::CallHeaders | MapKind::CallTrailers) => answer(guest, map).cloned(),
        map => guest.host().view()?.pairs(map),
    }
}

/// The answer that is being delivered; at any other time there is no such map.
fn answer<'a>(guest: &'a Guest, map: MapKind) -> Result<&'a Pairs, Status> {
    match (&guest.host().lent, map) {
        // A failure that had begun as an answer.
        (Lent::Answer(answer), _) if answer.headers.is_empty() => Err(Status::BadArgument),
        (Lent::Answer(answer), MapKind::CallHeaders) => Ok(&answer.headers),
        (Lent::Answer(answer), _) => Ok(&answer.trailers),
        _ => Err(Status::BadArgument),
    }
}

/// Of several lines Envoy gives the first.
fn first(pairs: &Pairs, name: &[u8]) -> Option<Vec<u8>> {
    pairs.iter().find(|(line, _)| line == name).map(|(_, value)| value.clone())
}

/// gRPC's two maps do not exist here, as they do not in Envoy outside of a gRPC call-out.
fn kind(map: u32) -> Result<MapKind, Status> {
    Ok(match map {
        0 => MapKind::RequestHeaders,
        1 => MapKind::RequestTrailers,
        2 => MapKind::ResponseHeaders,
        3 => MapKind::ResponseTrailers,
        6 => MapKind::CallHeaders,
        7 => MapKind::CallTrailers,
        _ => return Err(Status::BadArgument),
    })
}

fn writable(map: u32) -> Result<MapKind, Status> {
    match kind(map)? {
        MapKind::CallHeaders | MapKind::CallTrailers => Err(Status::BadArgument),
        map => Ok(map),
    }
}
