//! Metrics, by the ids that Envoy hands out.
//!
//! An id ends in two bits for the kind and counts the definitions of its kind in this
//! machine: defining a name again gives another id of the same metric. A wrong id of a
//! counter or gauge is `NotFound`, one of a kind that does not fit the call `BadArgument`.

use crate::engine::guest::{Answer, Guest, Span};
use crate::view::{MetricId, MetricKind, Status};

/// Bits of an id that tell its kind.
const BITS: u32 = 2;
/// Most definitions of one kind in a machine.
const MOST: usize = 4096;

/// The process's id of each definition, by kind and in the order of the machine's ids.
#[derive(Debug, Default)]
pub(in crate::engine) struct Defined([Vec<MetricId>; 3]);

impl Defined {
    fn add(&mut self, kind: MetricKind, metric: MetricId) -> Result<u32, Status> {
        let ids = &mut self.0[kind as usize];
        if ids.len() >= MOST {
            return Err(Status::InternalFailure);
        }
        ids.push(metric);
        let number = u32::try_from(ids.len()).map_err(|_| Status::InternalFailure)?;
        Ok(number << BITS | kind as u32)
    }

    fn find(&self, id: u32) -> Result<MetricId, Status> {
        let ids = self.0.get((id & ((1 << BITS) - 1)) as usize);
        let index = ((id >> BITS) as usize).checked_sub(1);
        let found = ids.zip(index).and_then(|(ids, index)| ids.get(index));
        found.copied().ok_or(Status::NotFound)
    }

    /// The same for what a histogram does not have.
    fn find_value(&self, id: u32) -> Result<MetricId, Status> {
        let kind = id & ((1 << BITS) - 1);
        if kind > MetricKind::Gauge as u32 {
            return Err(Status::BadArgument);
        }
        self.find(id)
    }
}

pub(in crate::engine) fn define(guest: &mut Guest, kind: u32, name: Span, out: u32) -> Answer {
    let kind = match kind {
        0 => MetricKind::Counter,
        1 => MetricKind::Gauge,
        2 => MetricKind::Histogram,
        _ => return Err(Status::BadArgument.into()),
    };
    guest.bytes(Span(out, 4))?;
    let metric = guest.host().services.define_metric(kind, guest.bytes(name)?)?;
    let id = guest.host_mut().metrics.add(kind, metric)?;
    Ok(guest.put_u32(out, id)?)
}

pub(in crate::engine) fn increment(guest: &mut Guest, id: u32, by: i64) -> Answer {
    let host = guest.host();
    Ok(host.services.increment_metric(host.metrics.find_value(id)?, by)?)
}

pub(in crate::engine) fn record(guest: &mut Guest, id: u32, value: u64) -> Answer {
    let host = guest.host();
    Ok(host.services.record_metric(host.metrics.find(id)?, value)?)
}

pub(in crate::engine) fn value(guest: &mut Guest, id: u32, out: u32) -> Answer {
    let host = guest.host();
    let value = host.services.metric(host.metrics.find_value(id)?)?;
    Ok(guest.put_u64(out, value)?)
}
