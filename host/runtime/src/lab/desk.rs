//! What a lab gives its machines: virtual time, seeded randomness, call-outs as values, and
//! everything that can be looked at afterwards.
//!
//! Owns what waits: call-outs without an answer, ticks, and notes for streams. Invariant: no
//! cell is borrowed while a callback runs, and nothing is delivered from inside of one.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::random::Random;
use crate::engine::{Metrics, Queues, SharedData};
use crate::proxy::failure::Failure;
use crate::proxy::fields;
use crate::proxy::filters::Turn;
use crate::view::{
    CallAnswer, CallOut, GrpcCall, Level, MetricId, MetricKind, QueueToken, Reload, Services,
    Status,
};

/// A line that a module has logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// When, from the start of the lab.
    pub at: Duration,
    /// How much it matters.
    pub level: Level,
    /// The `vm_id` of the machine.
    pub vm_id: String,
    /// What it says.
    pub text: String,
}

/// How it went when a machine was needed after one had died.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reloaded {
    /// When.
    pub at: Duration,
    /// Names of the machine's plugins.
    pub plugins: Vec<String>,
    /// What came of it.
    pub how: Reload,
}

/// A call-out that has no answer yet.
#[derive(Debug, Clone)]
pub(crate) struct Waiting {
    pub token: u32,
    pub machine: usize,
    /// Stream and filter that asked; none for a root.
    pub asking: Option<(usize, usize)>,
    pub call: CallOut,
    pub began: Duration,
    pub due: Duration,
}

/// What is delivered when no callback runs.
pub(crate) enum Note {
    /// Another context has asked for something at a filter of a stream.
    Asked { stream: usize, filter: usize },
    /// A call-out that could not be sent.
    Called { token: u32, answer: CallAnswer },
    /// A gRPC call-out, which a lab does not have.
    Unavailable { machine: usize, token: u32 },
}

/// An entry in a queue, for the root of a machine that has registered it.
pub(crate) type Entry = (usize, u32, QueueToken);

struct Tick {
    period: Duration,
    due: Duration,
}

/// One lab's own.
pub(crate) struct Desk {
    epoch: SystemTime,
    now: Cell<Duration>,
    pub clusters: BTreeSet<String>,
    /// Clusters whose circuit breaker is open.
    pub refusing: RefCell<BTreeSet<String>>,
    pub shared: BTreeMap<String, Arc<SharedData>>,
    pub metrics: Metrics,
    pub random: RefCell<Random>,
    pub level: Level,
    pub node: String,
    asking: RefCell<Option<(usize, usize)>>,
    queues: Queues,
    /// Entries that their machines and roots have not been told of.
    pub ready: Arc<Mutex<VecDeque<Entry>>>,
    ticks: RefCell<BTreeMap<(usize, u32), Tick>>,
    pub waiting: RefCell<Vec<Waiting>>,
    pub notes: RefCell<VecDeque<Note>>,
    pub lines: RefCell<Vec<LogLine>>,
    pub reloads: RefCell<Vec<Reloaded>>,
}

/// What a desk starts from.
pub(crate) struct Start {
    pub epoch: SystemTime,
    pub clusters: BTreeSet<String>,
    pub vm_ids: BTreeSet<String>,
    pub random: Random,
    pub level: Level,
    pub node: String,
}

impl Desk {
    pub fn new(start: Start) -> Self {
        Self {
            epoch: start.epoch,
            now: Cell::default(),
            clusters: start.clusters,
            refusing: RefCell::default(),
            shared: start.vm_ids.into_iter().map(|vm_id| (vm_id, Arc::default())).collect(),
            metrics: Metrics::default(),
            random: RefCell::new(start.random),
            level: start.level,
            node: start.node,
            asking: RefCell::default(),
            queues: Queues::default(),
            ready: Arc::default(),
            ticks: RefCell::default(),
            waiting: RefCell::default(),
            notes: RefCell::default(),
            lines: RefCell::default(),
            reloads: RefCell::default(),
        }
    }

    /// The next entry that a root has to be told of.
    pub fn next_entry(&self) -> Option<Entry> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    /// Time since the lab has started.
    pub fn now(&self) -> Duration {
        self.now.get()
    }

    /// Time never goes back.
    pub fn set_now(&self, now: Duration) {
        self.now.set(now.max(self.now.get()));
    }

    /// What a calendar says.
    pub fn wall(&self) -> SystemTime {
        self.epoch + self.now()
    }

    /// The tick that is due first.
    pub fn next_tick(&self) -> Option<(Duration, usize, u32)> {
        let ticks = self.ticks.borrow();
        ticks.iter().map(|((machine, root), tick)| (tick.due, *machine, *root)).min()
    }

    /// It ticks now, and again after its period.
    pub fn ticked(&self, machine: usize, root: u32) {
        if let Some(tick) = self.ticks.borrow_mut().get_mut(&(machine, root)) {
            tick.due = self.now() + tick.period;
        }
    }

    /// Whether a root has asked for ticks.
    pub fn ticks(&self, machine: usize, root: u32) -> bool {
        self.ticks.borrow().contains_key(&(machine, root))
    }

    /// No root ticks any more.
    pub fn stop_ticks(&self) {
        self.ticks.borrow_mut().clear();
    }

    /// The call-out whose time is over first.
    pub fn next_call(&self) -> Option<(Duration, u32)> {
        self.waiting.borrow().iter().map(|waiting| (waiting.due, waiting.token)).min()
    }

    /// Takes a call-out away to answer it.
    pub fn take_call(&self, token: u32) -> Option<Waiting> {
        let mut waiting = self.waiting.borrow_mut();
        let index = waiting.iter().position(|waiting| waiting.token == token)?;
        Some(waiting.remove(index))
    }

    fn call(&self, machine: usize, token: u32, call: CallOut) -> Result<(), Status> {
        let name = std::str::from_utf8(&call.cluster).map_err(|_| Status::BadArgument)?;
        if !self.clusters.contains(name) {
            return Err(Status::BadArgument);
        }
        if self.refusing.borrow().contains(name) {
            return Err(Status::InternalFailure);
        }
        let end = call.body.is_empty() && call.trailers.is_empty();
        if fields::request_leaves(&call.headers, end).is_err() {
            let answer = Failure::Protocol.answer();
            self.notes.borrow_mut().push_back(Note::Called { token, answer });
        }
        let (asking, began) = (*self.asking.borrow(), self.now());
        let due = began + call.patience();
        self.waiting.borrow_mut().push(Waiting { token, machine, asking, call, began, due });
        Ok(())
    }
}

/// The place of one stream at the desk.
pub(crate) struct Ticket {
    pub desk: Rc<Desk>,
    pub stream: usize,
}

impl Turn for Ticket {
    fn begin(&self, filter: usize) {
        *self.desk.asking.borrow_mut() = Some((self.stream, filter));
    }

    fn end(&self) {
        *self.desk.asking.borrow_mut() = None;
    }

    fn wake(&self, filter: usize) {
        let note = Note::Asked { stream: self.stream, filter };
        self.desk.notes.borrow_mut().push_back(note);
    }
}

/// What the machine of one number gets.
pub(crate) struct Counter {
    pub desk: Rc<Desk>,
    pub machine: usize,
    pub vm_id: String,
    pub shared: Arc<SharedData>,
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

impl Services for Counter {
    fn http_call(&self, token: u32, call: CallOut) -> Result<(), Status> {
        self.desk.call(self.machine, token, call)
    }

    fn shared_data(&self, key: &[u8]) -> Result<(Vec<u8>, u32), Status> {
        self.shared.read(key)
    }

    fn set_shared_data(&self, key: &[u8], value: &[u8], cas: u32) -> Result<(), Status> {
        self.shared.write(key, value, cas)
    }

    fn define_metric(&self, kind: MetricKind, name: &[u8]) -> Result<MetricId, Status> {
        self.desk.metrics.define(kind, name)
    }

    fn increment_metric(&self, id: MetricId, by: i64) -> Result<(), Status> {
        self.desk.metrics.increment(id, by)
    }

    fn record_metric(&self, id: MetricId, value: u64) -> Result<(), Status> {
        self.desk.metrics.record(id, value)
    }

    fn metric(&self, id: MetricId) -> Result<u64, Status> {
        self.desk.metrics.value(id)
    }

    fn has_cluster(&self, name: &[u8]) -> bool {
        std::str::from_utf8(name).is_ok_and(|name| self.desk.clusters.contains(name))
    }

    fn grpc_start(&self, token: u32, _: GrpcCall) -> Result<(), Status> {
        let note = Note::Unavailable { machine: self.machine, token };
        self.desk.notes.borrow_mut().push_back(note);
        Err(Status::InternalFailure)
    }

    fn register_queue(&self, root: u32, name: &[u8]) -> Result<QueueToken, Status> {
        let (ready, machine) = (Arc::clone(&self.desk.ready), self.machine);
        let waker = move |queue| {
            ready.lock().unwrap_or_else(PoisonError::into_inner).push_back((machine, root, queue));
        };
        self.desk.queues.register(self.vm_id.as_bytes(), name, Arc::new(waker))
    }

    fn resolve_queue(&self, vm_id: &[u8], name: &[u8]) -> Result<QueueToken, Status> {
        self.desk.queues.resolve(vm_id, name)
    }

    fn enqueue(&self, queue: QueueToken, entry: &[u8]) -> Result<(), Status> {
        self.desk.queues.enqueue(queue, entry)
    }

    fn dequeue(&self, queue: QueueToken) -> Result<Vec<u8>, Status> {
        self.desk.queues.dequeue(queue)
    }

    fn set_tick_period(&self, root: u32, period: Duration) {
        let mut ticks = self.desk.ticks.borrow_mut();
        if period.is_zero() {
            ticks.remove(&(self.machine, root));
        } else {
            ticks.insert((self.machine, root), Tick { period, due: self.desk.now() + period });
        }
    }

    fn reloaded(&self, plugins: &[&str], how: Reload) {
        let plugins = plugins.iter().map(|name| (*name).to_owned()).collect();
        self.desk.reloads.borrow_mut().push(Reloaded { at: self.desk.now(), plugins, how });
    }

    fn log_level(&self) -> Level {
        self.desk.level
    }

    fn log(&self, level: Level, text: &str) {
        let (at, vm_id) = (self.desk.now(), self.vm_id.clone());
        let line = LogLine { at, level, vm_id, text: text.trim_end().to_owned() };
        self.desk.lines.borrow_mut().push(line);
    }

    fn now_nanos(&self) -> u64 {
        nanos(self.desk.wall().duration_since(UNIX_EPOCH).unwrap_or_default())
    }

    fn monotonic_nanos(&self) -> Option<u64> {
        Some(nanos(self.desk.now()))
    }

    fn random(&self, bytes: &mut [u8]) -> Result<(), Status> {
        self.desk.random.borrow_mut().fill(bytes);
        Ok(())
    }

    fn property(&self, path: &[&[u8]]) -> Result<Vec<u8>, Status> {
        match path {
            [b"xds", b"node", b"id"] => Ok(self.desk.node.clone().into_bytes()),
            _ => Err(Status::NotFound),
        }
    }
}
