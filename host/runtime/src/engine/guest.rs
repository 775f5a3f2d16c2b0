//! A guest's memory, as hostcalls reach it.
//!
//! Invariant: no pointer or length of a guest is used before it was checked against the
//! memory as it is now; a wrong one is `InvalidMemoryAccess`, never a panic of ours.

use wasmtime::{AsContextMut, Caller};

use crate::view::Status;

use super::host::Host;

/// Why a hostcall has no value.
pub(super) enum Stop {
    /// The guest gets this and goes on.
    Answer(Status),
    /// The guest ends: its allocator trapped, or it asked to exit.
    Trap(wasmtime::Error),
}

impl From<Status> for Stop {
    fn from(status: Status) -> Self {
        Self::Answer(status)
    }
}

pub(super) type Answer<T = ()> = Result<T, Stop>;

/// A pointer and a length, as the guest gave them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span(pub u32, pub u32);

/// Where the guest wants a pointer and a length written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Out(pub u32, pub u32);

/// The guest that is calling.
pub(super) struct Guest<'a>(Caller<'a, Host>);

impl<'a> Guest<'a> {
    pub fn new(caller: Caller<'a, Host>) -> Self {
        Self(caller)
    }

    pub fn host(&self) -> &Host {
        self.0.data()
    }

    pub fn host_mut(&mut self) -> &mut Host {
        self.0.data_mut()
    }

    /// The bytes of `span`, where they lie.
    pub fn bytes(&self, span: Span) -> Result<&[u8], Status> {
        let memory = self.0.data().memory.ok_or(Status::InvalidMemoryAccess)?;
        let start = span.0 as usize;
        let end = start.checked_add(span.1 as usize).ok_or(Status::InvalidMemoryAccess)?;
        memory.data(&self.0).get(start..end).ok_or(Status::InvalidMemoryAccess)
    }

    /// Where a hostcall writes: `length` bytes from `at`.
    pub fn bytes_mut(&mut self, at: u32, length: usize) -> Result<&mut [u8], Status> {
        let memory = self.0.data().memory.ok_or(Status::InvalidMemoryAccess)?;
        let start = at as usize;
        let end = start.checked_add(length).ok_or(Status::InvalidMemoryAccess)?;
        memory.data_mut(&mut self.0).get_mut(start..end).ok_or(Status::InvalidMemoryAccess)
    }

    pub fn put(&mut self, at: u32, bytes: &[u8]) -> Result<(), Status> {
        self.bytes_mut(at, bytes.len())?.copy_from_slice(bytes);
        Ok(())
    }

    pub fn put_u32(&mut self, at: u32, value: u32) -> Result<(), Status> {
        self.put(at, &value.to_le_bytes())
    }

    pub fn put_u64(&mut self, at: u32, value: u64) -> Result<(), Status> {
        self.put(at, &value.to_le_bytes())
    }

    /// Gives `bytes` to the guest in memory that its own allocator made. Empty is a null
    /// pointer, as in Envoy.
    pub fn give(&mut self, bytes: &[u8], out: Out) -> Answer {
        // Looked at first, so that a wrong pointer costs the guest no memory.
        self.bytes(Span(out.0, 4))?;
        self.bytes(Span(out.1, 4))?;
        let size = u32::try_from(bytes.len()).map_err(|_| Status::InternalFailure)?;
        let at = if bytes.is_empty() { 0 } else { self.allocate(size)? };
        if !bytes.is_empty() {
            self.put(at, bytes)?;
        }
        self.put_u32(out.0, at)?;
        Ok(self.put_u32(out.1, size)?)
    }

    fn allocate(&mut self, size: u32) -> Answer<u32> {
        let allocate = self.host().allocate.clone().ok_or(Status::InternalFailure)?;
        match allocate.call(self.0.as_context_mut(), size) {
            Ok(0) => Err(Status::InvalidMemoryAccess.into()),
            Ok(at) => Ok(at),
            Err(error) => Err(Stop::Trap(error)),
        }
    }
}

/// What wasmtime hands to the guest: the number of a status, or a trap.
pub(super) fn answer(result: Answer) -> wasmtime::Result<u32> {
    match result {
        Ok(()) => Ok(0),
        Err(Stop::Answer(status)) => Ok(status as u32),
        Err(Stop::Trap(error)) => Err(error),
    }
}
