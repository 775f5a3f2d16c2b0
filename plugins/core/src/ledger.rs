//! The audit module: records onto the chain, receipts to the gate, batches to the
//! collector.
//!
//! Owns the edge chain of one VM and what of it is not acknowledged yet. A record is
//! appended and receipted in the log callback; a batch leaves when enough records wait or
//! have waited long enough, and is kept until the collector has acknowledged it. What waits
//! is sealed, and is in shared data too where there is any: when this VM goes another one
//! delivers it.
//!
//! Invariant: at most one batch is in flight, the buffer never holds more than its bound,
//! and what does not fit is counted and the count itself recorded. Requests that the gate
//! refused because the buffer is full are counted too while it is: listed one by one they
//! would keep it full, and a flood of them would let nothing else pass.

mod area;
mod boot;
mod buffer;
mod sealed;
mod spill;

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use crate::config::audit::{Config, WhenFull};
use crate::denial::{AuditReason, Denial};
use crate::effect::Metric;
use crate::event::AuditState;
use crate::key_service::{Acknowledged, Batch, Call, CallId, CallResult, Collector, Turn};
use crate::mac::MacKeys;
use crate::receipt::{Given, Level, Read, Receipts, SharedData, Told};
use crate::record::{AuditRecord, Decision, Draft, Entry, NoDraft, ResponseFacts};
use crate::time::{Moment, UnixMillis};

pub use boot::boot_id;
use buffer::{Buffer, MAX_RECORD};
use sealed::RecordKey;
use spill::{Lost, Next, Noticed, Spill};

/// Longest pause between two attempts to deliver. A buffer that filled meanwhile refuses
/// requests until the next one, so it is short.
pub const LONGEST_BACKOFF: Duration = Duration::from_secs(5);
/// A call that did not come back in this time never will; the batch is sent again.
const LOST_AFTER: Duration = Duration::from_secs(15);

/// What the host has to do.
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub enum Output {
    /// Send this to the key service; answer with [`Ledger::heard`].
    Call(Call),
    /// Count one occurrence.
    Count(Metric),
}

/// What the log callback knows about one request.
#[derive(Clone, Copy, Debug, Default)]
pub struct Logged<'a> {
    /// Filter state `postern.record`.
    pub draft: Option<&'a [u8]>,
    /// Filter state `postern.seq`.
    pub seq: Option<&'a [u8]>,
    /// The answer.
    pub facts: ResponseFacts,
}

/// The chain of one VM and its delivery.
pub struct Ledger {
    config: Config,
    collector: Rc<dyn Collector>,
    keys: MacKeys,
    buffer: Buffer,
    spill: Option<Spill>,
    dropped: u64,
    /// The roots whose last receipt said that the buffer is full: one a slot.
    told: Vec<Told>,
    delivery: Delivery,
    outputs: VecDeque<Output>,
}

/// Where the oldest batch is.
enum Delivery {
    /// Nothing is under way and nothing may be before `not_before`.
    Idle { not_before: UnixMillis, backoff: Duration },
    /// A call is out.
    AwaitAcknowledgement { call: CallId, since: UnixMillis, sent: Sent, backoff: Duration },
}

/// A batch under way.
enum Sent {
    /// Of this VM's chain, up to this number.
    Own(u64),
    /// Of a chain that another VM left.
    Left(Box<Batch>),
}

fn end(batch: &Batch) -> u64 {
    batch.first.saturating_add(u64::try_from(batch.records.len()).unwrap_or(u64::MAX))
}

const AT_ONCE: Delivery = Delivery::Idle { not_before: UnixMillis(0), backoff: Duration::ZERO };

const UNLOGGED: Metric = Metric("postern.audit.gap.reason=unlogged.total");
const FORGED: Metric = Metric("postern.audit.gap.reason=receipt_forged.total");
const DROPPED: Metric = Metric("postern.audit.gap.reason=dropped.total");
const NO_DRAFT: Metric = Metric("postern.audit.gap.reason=no_draft.total");
const DELIVERED: Metric = Metric("postern.audit.batch.reason=acknowledged.total");
/// A delivery that the collector did not acknowledge; the batch is kept.
pub const FAILED: Metric = Metric("postern.audit.batch.reason=failed.total");

impl Ledger {
    /// Starts the chain of this VM. `boot` names the proxy process, `vm` is random.
    pub fn new(
        config: Config,
        keys: MacKeys,
        collector: Rc<dyn Collector>,
        boot: [u8; 16],
        vm: [u8; 16],
        now: UnixMillis,
    ) -> Self {
        let buffer = Buffer::new(RecordKey::of(&keys, &vm), (boot, vm), config.buffer);
        let mut ledger = Self {
            config,
            collector,
            keys,
            buffer,
            spill: None,
            dropped: 0,
            told: Vec::new(),
            delivery: AT_ONCE,
            outputs: VecDeque::new(),
        };
        ledger.append(Entry::ChainStarted, now);
        ledger
    }

    /// From its first record or [`Ledger::keep`] on, which has to be called every second, what
    /// waits is in shared data too, and what others left there is delivered. Not before: Envoy
    /// makes a VM only to see whether a configuration is good.
    #[must_use]
    pub fn spilling(mut self) -> Self {
        let vm = self.buffer.waiting().vm;
        let slots = buffer::most_records(self.config.buffer);
        let (gateway, tenant) = (&self.config.key_service.gateway_id, &self.config.tenant);
        self.spill = Some(Spill::new(vm, slots, area::scope(gateway, tenant)));
        self
    }

    /// Says in shared data that this VM runs, and looks for what another one left.
    pub fn keep(&mut self, shared: &mut dyn SharedData, now: UnixMillis) {
        let Some(spill) = &mut self.spill else { return };
        let told = spill.keep(&self.buffer, &self.keys, shared, now);
        for noticed in told {
            self.count(noticed.metric());
            if noticed == Noticed::Forged {
                self.append(Entry::SpillForged, now);
            }
        }
    }

    /// Records one request and, where `postern.seq` is good, gives its receipt.
    pub fn log(&mut self, logged: Logged<'_>, shared: &mut dyn SharedData, now: UnixMillis) {
        let read = Receipts::new(&self.keys).read(logged.seq, shared);
        match read.as_ref().map(Read::given) {
            Some(Given::Unlogged { count, root }) => {
                self.count(UNLOGGED);
                self.append(Entry::Unlogged { count, root }, now);
            }
            Some(Given::Forged { root }) => {
                self.count(FORGED);
                self.append(Entry::ReceiptForged { root }, now);
            }
            Some(Given::InOrder) | None => {}
        }
        self.append_request(logged, now);
        self.store(shared, now);
        if let Some(read) = read {
            self.give(read, shared, now);
        }
    }

    /// Puts what is new into shared data, in which this VM has to have an area still.
    fn store(&mut self, shared: &mut dyn SharedData, now: UnixMillis) {
        if self.spill.as_ref().is_some_and(|spill| spill.overdue(now)) {
            self.keep(shared, now);
        }
        let told = self.spill.as_mut().and_then(|spill| spill.store(&self.buffer, shared));
        told.into_iter().for_each(|noticed| self.count(noticed.metric()));
    }

    fn give(&mut self, read: Read, shared: &mut dyn SharedData, now: UnixMillis) {
        let level = self.level();
        let told = read.told();
        self.told.retain(|other| !other.same_slot(&told));
        if level != Level::Room {
            self.told.push(told);
        }
        // When this fails the slot keeps the old count and the gate denies.
        let _ = read.give(&Receipts::new(&self.keys), shared, level, now);
    }

    /// Tells the gate that there is room again: a root without traffic gets no receipt that
    /// would. Empties the slots of what was acknowledged. To be called after
    /// [`Ledger::heard`].
    pub fn tell(&mut self, shared: &mut dyn SharedData, now: UnixMillis) {
        self.store(shared, now);
        if let Some(spill) = &mut self.spill {
            spill.settle(&self.buffer, &self.keys, shared, now);
        }
        if self.level() == Level::Room {
            for told in std::mem::take(&mut self.told) {
                // When this fails the next request is refused, and its receipt says it.
                let _ = Receipts::new(&self.keys).room_again(&told, shared, now);
            }
        }
    }

    /// Whether requests may be recorded, for a gate in the same memory, which needs no
    /// receipts: it hands its records over by value.
    pub fn state(&self) -> AuditState {
        self.level().state()
    }

    /// How many records wait for an acknowledgement.
    pub fn waiting(&self) -> usize {
        self.buffer.len()
    }

    /// Whether [`Ledger::submit`] has something to do.
    pub fn due(&self, now: UnixMillis) -> bool {
        match self.delivery {
            Delivery::AwaitAcknowledgement { since, .. } => now.since(since) >= LOST_AFTER,
            Delivery::Idle { not_before, .. } => {
                now >= not_before && (self.waited_enough(now) || self.left_is_due(now))
            }
        }
    }

    /// Sends the oldest batch, if one is due; first of all what another VM left.
    pub fn submit(&mut self, shared: &mut dyn SharedData, at: Moment) {
        if !self.due(at.now) {
            return;
        }
        let next = match &mut self.spill {
            Some(spill) => spill.next(&self.keys, shared, at.now),
            None => Next::Nothing,
        };
        match next {
            Next::Batch(batch) => self.send_left(batch, at),
            Next::Ended(Some(lost)) => self.lost(&lost, at),
            Next::Ended(None) | Next::Nothing => self.send(at),
        }
    }

    /// Records that somebody's records are missing, and sends what waits.
    fn lost(&mut self, lost: &Lost, at: Moment) {
        self.count(spill::LOST);
        self.append(Entry::Lost { count: lost.count, vm: lost.vm }, at.now);
        self.send(at);
    }

    /// Sends what waits, however little: the VM is about to go.
    pub fn flush(&mut self, at: Moment) {
        if matches!(self.delivery, Delivery::Idle { .. }) {
            self.send(at);
        }
    }

    /// Takes the reply of a call. One that was given up on is ignored: the collector knows
    /// a batch that comes twice by its sequence numbers.
    pub fn heard(&mut self, id: CallId, result: CallResult, at: Moment) {
        if !matches!(self.delivery, Delivery::AwaitAcknowledgement { call, .. } if call == id) {
            return;
        }
        let under_way = std::mem::replace(&mut self.delivery, AT_ONCE);
        if let Delivery::AwaitAcknowledgement { sent, backoff, .. } = under_way {
            let now = at.now;
            let turn = self.collector.heard(id, result, at);
            self.take(turn, sent, backoff, now);
        }
    }

    /// The next thing to do; poll until `None` after every call.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn waited_enough(&self, now: UnixMillis) -> bool {
        self.buffer.len() >= self.config.records
            || self.buffer.oldest().is_some_and(|oldest| now.since(oldest) >= self.config.every)
    }

    fn left_is_due(&self, now: UnixMillis) -> bool {
        self.spill.as_ref().is_some_and(|spill| spill.due(now))
    }

    fn send(&mut self, at: Moment) {
        let Some(batch) = self.buffer.batch() else { return };
        let now = at.now;
        let turn = self.collector.submit(&batch, at);
        self.take(turn, Sent::Own(end(&batch)), self.backoff(), now);
    }

    fn send_left(&mut self, batch: Batch, at: Moment) {
        let now = at.now;
        let turn = self.collector.submit(&batch, at);
        self.take(turn, Sent::Left(Box::new(batch)), self.backoff(), now);
    }

    fn backoff(&self) -> Duration {
        let (Delivery::Idle { backoff, .. } | Delivery::AwaitAcknowledgement { backoff, .. }) =
            self.delivery;
        backoff
    }

    fn take(&mut self, turn: Turn<Acknowledged>, sent: Sent, backoff: Duration, now: UnixMillis) {
        self.delivery = match turn {
            Turn::Ask(call) => {
                let id = call.id;
                self.outputs.push_back(Output::Call(call));
                Delivery::AwaitAcknowledgement { call: id, since: now, sent, backoff }
            }
            // More than was sent, or nothing new: the collector is not following this
            // chain. What is not acknowledged stays.
            Turn::Answer(Acknowledged { next }) if self.acknowledged(&sent, next, now) => {
                self.count(DELIVERED);
                self.record_dropped(now);
                AT_ONCE
            }
            Turn::Answer(_) | Turn::Failed(_) => {
                self.count(FAILED);
                match sent {
                    Sent::Own(_) => self.later(backoff, now),
                    // It has a pause of its own, and this VM's records do not wait for it.
                    Sent::Left(_) => Delivery::Idle { not_before: now, backoff },
                }
            }
        };
    }

    fn later(&self, backoff: Duration, now: UnixMillis) -> Delivery {
        let (least, most) = (self.config.every, LONGEST_BACKOFF.max(self.config.every));
        let backoff = backoff.saturating_mul(2).max(least).min(most);
        Delivery::Idle { not_before: now.after(backoff), backoff }
    }

    /// The collector may know more of a chain than was sent now: another VM may have taken this
    /// one for dead, and delivered from its area. Without one that does not happen.
    fn acknowledged(&mut self, sent: &Sent, next: u64, now: UnixMillis) -> bool {
        match sent {
            Sent::Own(end) => {
                (next <= *end || self.spill.is_some()) && self.buffer.acknowledged(next)
            }
            Sent::Left(batch) => {
                let spill = self.spill.as_mut();
                spill.is_some_and(|spill| spill.acknowledged(batch, next.min(end(batch)), now))
            }
        }
    }

    fn append_request(&mut self, logged: Logged<'_>, now: UnixMillis) {
        let draft = match logged.draft.map(Draft::decode) {
            None => Err(NoDraft::Absent),
            Some(Err(_)) => Err(NoDraft::Unreadable),
            Some(Ok(draft)) => Ok(Box::new(draft)),
        };
        if draft.is_err() {
            self.count(NO_DRAFT);
        }
        if self.buffer.nearly_full() && draft.as_ref().is_ok_and(|draft| refused_as_full(draft)) {
            self.drop_one();
            return;
        }
        self.append(Entry::Request { draft, facts: logged.facts }, now);
    }

    fn append(&mut self, entry: Entry, time: UnixMillis) {
        let mut bytes = self.render(entry, time);
        if bytes.len() > MAX_RECORD {
            // No draft of ours is this long; a batch could not carry it.
            let facts = ResponseFacts::default();
            bytes = self.render(Entry::Request { draft: Err(NoDraft::Unreadable), facts }, time);
        }
        if !self.buffer.push(&bytes, time) {
            self.drop_one();
        }
    }

    fn drop_one(&mut self) {
        self.dropped = self.dropped.saturating_add(1);
        self.count(DROPPED);
    }

    fn render(&self, entry: Entry, time: UnixMillis) -> Vec<u8> {
        let gateway = self.config.key_service.gateway_id;
        AuditRecord { gateway, seq: self.buffer.next(), time, entry }.render()
    }

    /// Once there is room again, the chain says how much it does not hold.
    fn record_dropped(&mut self, now: UnixMillis) {
        if self.dropped > 0 && !self.buffer.nearly_full() {
            let count = std::mem::take(&mut self.dropped);
            self.append(Entry::Dropped { count }, now);
        }
    }

    fn level(&self) -> Level {
        match (self.buffer.nearly_full(), self.config.when_full) {
            (false, _) => Level::Room,
            (true, WhenFull::Writes) => Level::FullForWrites,
            (true, WhenFull::All) => Level::Full,
        }
    }

    fn count(&mut self, metric: Metric) {
        self.outputs.push_back(Output::Count(metric));
    }
}

/// Whether the gate refused this request because the buffer is full.
fn refused_as_full(draft: &Draft) -> bool {
    let full = Denial::AuditUnavailable(AuditReason::Full).reason();
    matches!(&draft.decision, Decision::Deny { reason, .. } if reason == full)
}

#[cfg(test)]
mod spill_tests;
#[cfg(test)]
mod tests;
