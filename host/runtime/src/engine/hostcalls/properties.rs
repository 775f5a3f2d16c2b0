//! Properties: paths of segments joined with NUL.

use crate::engine::guest::{Answer, Guest, Out, Span};
use crate::engine::host::Host;
use crate::view::Status;

pub(in crate::engine) fn read(guest: &mut Guest, path: Span, out: Out) -> Answer {
    let path = guest.bytes(path)?;
    if path.is_empty() {
        return Err(Status::SerializationFailure.into());
    }
    let path = segments(path);
    let host = guest.host();
    let value = match own(host, &path) {
        Some(value) => value,
        None => match host.optional_view() {
            Some(view) => match view.property(&path) {
                Err(Status::NotFound) => host.services.property(&path)?,
                answer => answer?,
            },
            None => host.services.property(&path)?,
        },
    };
    guest.give(&value, out)
}

pub(in crate::engine) fn write(guest: &mut Guest, path: Span, value: Span) -> Answer {
    let view = guest.host().optional_view().ok_or(Status::NotFound)?;
    let (path, value) = (guest.bytes(path)?, guest.bytes(value)?);
    Ok(view.set_property(path, value, guest.host().declared(path))?)
}

/// A trailing NUL, which C guests send, is no empty segment.
fn segments(path: &[u8]) -> Vec<&[u8]> {
    path.strip_suffix(b"\0").unwrap_or(path).split(|byte| *byte == 0).collect()
}

/// What a machine knows by itself.
fn own(host: &Host, path: &[&[u8]]) -> Option<Vec<u8>> {
    let &[name] = path else { return None };
    let plugin = &host.root()?.plugin;
    let text = match name {
        b"plugin_name" => &plugin.name,
        b"plugin_root_id" => &plugin.root_id,
        b"plugin_vm_id" => &host.settings.vm_id,
        _ => return None,
    };
    Some(text.clone().into_bytes())
}
