//! Services of the process: log, clock, ticks, shared data.

use std::time::Duration;

use crate::engine::guest::{Answer, Guest, Out, Span};
use crate::view::{Level, Status};

/// Longest line of the log, in bytes.
const LONGEST_LINE: u32 = 16 * 1024;

pub(in crate::engine) fn log(guest: &mut Guest, level: u32, text: Span) -> Answer {
    let level = match level {
        0 => Level::Trace,
        1 => Level::Debug,
        2 => Level::Info,
        3 => Level::Warn,
        4 => Level::Error,
        5 => Level::Critical,
        _ => return Err(Status::BadArgument.into()),
    };
    guest.bytes(text)?;
    write_log(guest, level, Span(text.0, text.1.min(LONGEST_LINE)))
}

/// One line, cut to [`LONGEST_LINE`].
pub(in crate::engine) fn write_log(guest: &Guest, level: Level, text: Span) -> Answer {
    let services = &guest.host().services;
    if level >= services.log_level() {
        services.log(level, &String::from_utf8_lossy(guest.bytes(text)?));
    }
    Ok(())
}

pub(in crate::engine) fn log_level(guest: &mut Guest, out: u32) -> Answer {
    let level = guest.host().services.log_level();
    Ok(guest.put_u32(out, u32::from(level as u8))?)
}

pub(in crate::engine) fn now(guest: &mut Guest, out: u32) -> Answer {
    let now = guest.host().services.now_nanos();
    Ok(guest.put_u64(out, now)?)
}

/// The period is the root's, whichever context asks.
pub(in crate::engine) fn tick_period(guest: &mut Guest, milliseconds: u32) -> Answer {
    let host = guest.host();
    let root = host.contexts.get(&host.effective).ok_or(Status::BadArgument)?.root;
    host.services.set_tick_period(root, Duration::from_millis(u64::from(milliseconds)));
    Ok(())
}

pub(in crate::engine) fn shared_data(
    guest: &mut Guest,
    key: Span,
    out: Out,
    cas_at: u32,
) -> Answer {
    let (value, cas) = guest.host().services.shared_data(guest.bytes(key)?)?;
    guest.give(&value, out)?;
    Ok(guest.put_u32(cas_at, cas)?)
}

pub(in crate::engine) fn set_shared_data(
    guest: &mut Guest,
    key: Span,
    value: Span,
    cas: u32,
) -> Answer {
    let (key, value) = (guest.bytes(key)?, guest.bytes(value)?);
    Ok(guest.host().services.set_shared_data(key, value, cas)?)
}
