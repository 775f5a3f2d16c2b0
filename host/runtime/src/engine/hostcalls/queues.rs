//! Shared queues.

use crate::engine::guest::{Answer, Guest, Out, Span};
use crate::view::Status;

/// The queue is the root's, whichever context asks: that is who is told of entries.
pub(in crate::engine) fn register(guest: &mut Guest, name: Span, out: u32) -> Answer {
    guest.bytes(Span(out, 4))?;
    let host = guest.host();
    let root = host.contexts.get(&host.effective).ok_or(Status::BadArgument)?.root;
    let token = host.services.register_queue(root, guest.bytes(name)?)?;
    Ok(guest.put_u32(out, token)?)
}

/// An empty `vm_id` is the caller's own, as in Envoy.
pub(in crate::engine) fn resolve(guest: &mut Guest, vm_id: Span, name: Span, out: u32) -> Answer {
    guest.bytes(Span(out, 4))?;
    let vm_id = match guest.bytes(vm_id)? {
        b"" => guest.host().settings.vm_id.as_bytes(),
        vm_id => vm_id,
    };
    let token = guest.host().services.resolve_queue(vm_id, guest.bytes(name)?)?;
    Ok(guest.put_u32(out, token)?)
}

pub(in crate::engine) fn enqueue(guest: &mut Guest, token: u32, entry: Span) -> Answer {
    Ok(guest.host().services.enqueue(token, guest.bytes(entry)?)?)
}

/// The pointers are looked at first: an entry that were taken and not given would be lost.
pub(in crate::engine) fn dequeue(guest: &mut Guest, token: u32, out: Out) -> Answer {
    guest.bytes(Span(out.0, 4))?;
    guest.bytes(Span(out.1, 4))?;
    let entry = guest.host().services.dequeue(token)?;
    guest.give(&entry, out)
}
