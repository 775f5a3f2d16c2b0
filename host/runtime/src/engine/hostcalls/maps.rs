//! Header maps and trailers, of the stream or of a call-out's answer.
//!
//! Envoy's rules for a map that is not there in the phase: all of its fields are none, its
//! size and every change are `BadArgument`, and so is a single field, except while the
//! stream is logged. A number that names no map is `BadArgument` for all. Bytes that are no
//! map are an empty one.

use crate::engine::guest::{Answer, Guest, Out, Span};
use crate::engine::host::{Host, Lent};
use crate::engine::pairs;
use crate::view::{MapKind, Pairs, Status};

/// A map, by its number in the ABI.
#[derive(Clone, Copy)]
enum Map {
    Stream(MapKind),
    /// One that is lent for the callback, if it is the right one.
    Lent(u32),
}

pub(in crate::engine) fn pairs(guest: &mut Guest, map: u32, out: Out) -> Answer {
    let pairs = all(guest.host(), map)?;
    guest.give(&pairs::encode(&pairs), out)
}

pub(in crate::engine) fn size(guest: &mut Guest, map: u32, out: u32) -> Answer {
    let host = guest.host();
    let size = match kind(map)? {
        Map::Stream(map) => host.view()?.size(map)?,
        Map::Lent(map) => pairs::size(lent(host, map).ok_or(Status::BadArgument)?),
    };
    Ok(guest.put_u32(out, u32::try_from(size).map_err(|_| Status::InternalFailure)?)?)
}

pub(in crate::engine) fn set_pairs(guest: &mut Guest, map: u32, new: Span) -> Answer {
    let map = writable(map)?;
    let new = pairs::decode(guest.bytes(new)?).unwrap_or_default();
    Ok(guest.host().view()?.set_pairs(map, new)?)
}

pub(in crate::engine) fn value(guest: &mut Guest, map: u32, name: Span, out: Out) -> Answer {
    let name = guest.bytes(name)?.to_ascii_lowercase();
    let host = guest.host();
    let value = match kind(map)? {
        Map::Stream(map) => host.view()?.value(map, &name)?,
        Map::Lent(map) => match lent(host, map) {
            Some(pairs) => first(pairs, &name),
            None if host.optional_view().is_some_and(|view| view.logs()) => None,
            None => return Err(Status::BadArgument.into()),
        },
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

fn all(host: &Host, map: u32) -> Result<Pairs, Status> {
    let pairs = match kind(map)? {
        Map::Stream(map) => host.optional_view().and_then(|view| view.pairs(map).ok()),
        Map::Lent(map) => lent(host, map).cloned(),
    };
    Ok(pairs.unwrap_or_default())
}

fn lent(host: &Host, map: u32) -> Option<&Pairs> {
    match (map, &host.lent) {
        (4, Lent::GrpcInitial(pairs)) | (5, Lent::GrpcTrailing(pairs)) => Some(pairs),
        // A failure that had begun as an answer has none.
        (6 | 7, Lent::Answer(answer)) if answer.headers.is_empty() => None,
        (6, Lent::Answer(answer)) => Some(&answer.headers),
        (7, Lent::Answer(answer)) => Some(&answer.trailers),
        _ => None,
    }
}

/// Of several lines Envoy gives the first.
fn first(pairs: &Pairs, name: &[u8]) -> Option<Vec<u8>> {
    pairs.iter().find(|(line, _)| line == name).map(|(_, value)| value.clone())
}

fn kind(map: u32) -> Result<Map, Status> {
    Ok(match map {
        0 => Map::Stream(MapKind::RequestHeaders),
        1 => Map::Stream(MapKind::RequestTrailers),
        2 => Map::Stream(MapKind::ResponseHeaders),
        3 => Map::Stream(MapKind::ResponseTrailers),
        4..=7 => Map::Lent(map),
        _ => return Err(Status::BadArgument),
    })
}

/// What is lent can be read only.
fn writable(map: u32) -> Result<MapKind, Status> {
    match kind(map)? {
        Map::Stream(map) => Ok(map),
        Map::Lent(_) => Err(Status::BadArgument),
    }
}
