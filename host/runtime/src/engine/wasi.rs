//! The WASI preview 1 functions that a Proxy-Wasm module's standard library imports: clock,
//! randomness, environment, standard output (as log) and exit. No files, no arguments.
//!
//! Invariant: nothing of the host's own environment or file system is reachable.

use std::rc::Rc;
use std::time::Instant;

use crate::view::{Level, Status};

use super::fault::Exit;
use super::guest::{Answer, Guest, Span, Stop};
use super::hostcalls::service;

/// Numbers of WASI's `errno`.
const BADF: u32 = 8;
const FAULT: u32 = 21;
const INVAL: u32 = 28;
const NOTSUP: u32 = 58;

/// As in Envoy.
const MOST_RANDOM: u32 = 65_536;
/// Most pieces of one write that are looked at.
const MOST_PIECES: u32 = 1024;

/// What wasmtime hands to the guest: 0 or an errno.
pub(super) fn answer(result: Answer<u32>) -> wasmtime::Result<u32> {
    match result {
        Ok(errno) => Ok(errno),
        Err(Stop::Answer(_)) => Ok(FAULT),
        Err(Stop::Trap(error)) => Err(error),
    }
}

pub(super) fn clock(guest: &mut Guest, clock: u32, out: u32) -> Answer<u32> {
    let host = guest.host();
    let time = match clock {
        0 => host.services.now_nanos(),
        1 => host.services.monotonic_nanos().unwrap_or_else(|| since(host.started)),
        _ => return Ok(NOTSUP),
    };
    guest.put_u64(out, time)?;
    Ok(0)
}

pub(super) fn random(guest: &mut Guest, at: u32, length: u32) -> Answer<u32> {
    if length > MOST_RANDOM {
        return Ok(INVAL);
    }
    let services = Rc::clone(&guest.host().services);
    services.random(guest.bytes_mut(at, length as usize)?)?;
    Ok(0)
}

fn since(started: Instant) -> u64 {
    u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

pub(super) fn environ_sizes(guest: &mut Guest, count_at: u32, size_at: u32) -> Answer<u32> {
    let entries = environment(guest);
    let size: usize = entries.iter().map(Vec::len).sum();
    guest.put_u32(count_at, number(entries.len())?)?;
    guest.put_u32(size_at, number(size)?)?;
    Ok(0)
}

pub(super) fn environ(guest: &mut Guest, mut pointer_at: u32, mut text_at: u32) -> Answer<u32> {
    for entry in environment(guest) {
        guest.put_u32(pointer_at, text_at)?;
        guest.put(text_at, &entry)?;
        pointer_at = pointer_at.checked_add(4).ok_or(Status::InvalidMemoryAccess)?;
        text_at = text_at.checked_add(number(entry.len())?).ok_or(Status::InvalidMemoryAccess)?;
    }
    Ok(0)
}

pub(super) fn no_arguments(guest: &mut Guest, count_at: u32, size_at: u32) -> Answer<u32> {
    guest.put_u32(count_at, 0)?;
    guest.put_u32(size_at, 0)?;
    Ok(0)
}

/// Standard output is logged as information, standard error as an error.
pub(super) fn write(guest: &mut Guest, file: u32, pieces: Span, written_at: u32) -> Answer<u32> {
    let level = match file {
        1 => Level::Info,
        2 => Level::Error,
        _ => return Ok(BADF),
    };
    if pieces.1 > MOST_PIECES {
        return Ok(INVAL);
    }
    let mut written = 0u32;
    for piece in 0..pieces.1 {
        let at = pieces.0.checked_add(piece * 8).ok_or(Status::InvalidMemoryAccess)?;
        let size_at = at.checked_add(4).ok_or(Status::InvalidMemoryAccess)?;
        let span = Span(read_u32(guest, at)?, read_u32(guest, size_at)?);
        if span.1 > 0 {
            service::log(guest, level as u32, span)?;
        }
        written = written.saturating_add(span.1);
    }
    guest.put_u32(written_at, written)?;
    Ok(0)
}

pub(super) fn exit(code: u32) -> wasmtime::Result<()> {
    Err(wasmtime::Error::new(Exit(code)))
}

/// Files: there are none.
pub(super) fn no_file() -> u32 {
    BADF
}

fn environment(guest: &Guest) -> Vec<Vec<u8>> {
    let entries = &guest.host().settings.environment;
    entries.iter().map(|(name, value)| format!("{name}={value}\0").into_bytes()).collect()
}

fn read_u32(guest: &Guest, at: u32) -> Result<u32, Status> {
    let bytes = guest.bytes(Span(at, 4))?;
    Ok(u32::from_le_bytes(bytes.try_into().map_err(|_| Status::InvalidMemoryAccess)?))
}

fn number(size: usize) -> Result<u32, Status> {
    u32::try_from(size).map_err(|_| Status::InternalFailure)
}
