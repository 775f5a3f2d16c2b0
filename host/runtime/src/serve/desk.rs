//! What one worker gives its machines: call-outs, queues, ticks, shared data, metrics, the
//! log.
//!
//! Invariant: the answer to a call-out goes to the stream whose filter asked, if that still
//! runs, or to the machine whose root asked; it is never delivered while a callback runs.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::mpsc::error::SendError;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{Notify, watch};
use tokio::task::{AbortHandle, spawn_local};
use tokio::time::{MissedTickBehavior, interval_at};
use tracing::Level as Tracing;

use super::filtered::{self, Passage};
use super::grpc::Start;
use super::process::Process;
use super::upstream::Cluster;
use super::{call, grpc};
use crate::engine::{MOST_ENTRIES, RootId, SharedData};
use crate::proxy::filters::Turn;
use crate::proxy::machine::Machine;
use crate::view::{
    CallAnswer, CallOut, GrpcCall, GrpcEvent, Level, MetricId, MetricKind, QueueToken, Reload,
    Services, Status,
};

/// What happens to a filter of a stream while none of the stream's callbacks runs.
pub(super) enum Note {
    /// A call-out is answered.
    Called { filter: usize, token: u32, answer: CallAnswer },
    /// A callback of another context has asked for something.
    Asked { filter: usize },
}

/// A worker's own.
pub(super) struct Desk {
    pub process: Arc<Process>,
    pub clusters: BTreeMap<String, Rc<Cluster>>,
    /// By number, once they have started, and until they are retired: what comes later for
    /// one that is gone finds nobody.
    pub machines: RefCell<BTreeMap<usize, Rc<RefCell<Machine>>>>,
    started: Instant,
    /// The stream whose filter starts a call-out.
    asking: RefCell<Option<(UnboundedSender<Note>, usize)>>,
    ticks: RefCell<HashMap<(usize, u32), AbortHandle>>,
    /// Where other threads tell of entries in queues.
    ready: UnboundedSender<Ready>,
    /// Until somebody attends to them.
    entries: RefCell<Option<UnboundedReceiver<Ready>>>,
    /// gRPC call-outs that run.
    grpc: RefCell<HashMap<u32, grpc::Running>>,
    calls: Cell<usize>,
    pub calls_done: Notify,
    /// Streams of which modules have not been told to the end.
    streams: Cell<usize>,
    streams_done: Notify,
    /// Connections that still run end now.
    pub cut: Notify,
    phase: watch::Receiver<Phase>,
    /// How call-outs pass the filters of their clusters, once there are filters.
    pub passage: RefCell<Option<Passage>>,
    /// Call-outs are taken and never sent: a file is only checked.
    silent: bool,
}

/// An entry in a queue that a root has registered.
struct Ready {
    machine: usize,
    root: u32,
    queue: QueueToken,
    told: Arc<AtomicUsize>,
}

/// What a worker is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Take no connections yet: the filters are not known.
    Wait,
    /// Take connections.
    Serve,
    /// Take none, and end within this time.
    Drain(Duration),
}

impl Desk {
    pub fn new(
        process: Arc<Process>,
        clusters: BTreeMap<String, Rc<Cluster>>,
        phase: watch::Receiver<Phase>,
        silent: bool,
    ) -> Self {
        let (ready, entries) = unbounded_channel();
        Self {
            process,
            clusters,
            machines: RefCell::default(),
            started: Instant::now(),
            asking: RefCell::default(),
            ticks: RefCell::default(),
            ready,
            entries: RefCell::new(Some(entries)),
            grpc: RefCell::default(),
            calls: Cell::new(0),
            calls_done: Notify::new(),
            streams: Cell::new(0),
            streams_done: Notify::new(),
            cut: Notify::new(),
            phase,
            passage: RefCell::default(),
            silent,
        }
    }

    /// Time since the worker has started.
    pub fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Ready when connections may be taken; never if the worker ends before.
    pub async fn serves(&self) {
        let mut phase = self.phase.clone();
        let serves = phase.wait_for(|phase| *phase == Phase::Serve).await.is_ok();
        if !serves {
            std::future::pending().await
        }
    }

    /// Ready when the worker is asked to end; the time that it has.
    pub async fn drains(&self) -> Duration {
        let mut phase = self.phase.clone();
        // Whoever could say more is gone: that is an end as well.
        let phase = phase.wait_for(|phase| matches!(phase, Phase::Drain(_))).await;
        match phase.as_deref() {
            Ok(Phase::Drain(grace)) => *grace,
            Ok(Phase::Wait | Phase::Serve) | Err(_) => Duration::ZERO,
        }
    }

    /// Whether the worker is asked to end.
    pub fn is_draining(&self) -> bool {
        matches!(*self.phase.borrow(), Phase::Drain(_))
    }

    /// Ready when modules have been told of every stream to its end.
    pub async fn no_streams(&self) {
        while self.streams.get() > 0 {
            self.streams_done.notified().await;
        }
    }

    /// Call-outs without an answer.
    pub fn calls(&self) -> usize {
        self.calls.get()
    }

    fn machine(&self, number: usize) -> Option<Rc<RefCell<Machine>>> {
        self.machines.borrow().get(&number).cloned()
    }

    /// Sends a call-out and delivers what comes back.
    fn call(self: &Rc<Self>, machine: usize, token: u32, call: CallOut) -> Result<(), Status> {
        let name = std::str::from_utf8(&call.cluster).map_err(|_| Status::BadArgument)?;
        let cluster = self.clusters.get(name).ok_or(Status::BadArgument)?;
        if self.silent {
            return Ok(());
        }
        if !call::is_sendable(&call) {
            return Err(Status::InternalFailure);
        }
        // Filters of the cluster may call out as well, before this returns.
        let asking = self.asking.borrow().clone();
        let way = self.passage.borrow().as_ref().and_then(|passage| passage.through(name));
        let answer: filtered::Answer = match way {
            Some(_) if cluster.is_full() => return Err(Status::InternalFailure),
            Some(way) => {
                let begun = filtered::begin(self, cluster, way, call);
                begun.ok_or(Status::InternalFailure)?
            }
            None => {
                let admitted = cluster.admit().map_err(|_| Status::InternalFailure)?;
                Box::pin(call::ask(admitted, call))
            }
        };
        let desk = Rc::clone(self);
        self.calls.set(self.calls.get() + 1);
        spawn_local(async move {
            let _done = Ended(Rc::clone(&desk));
            let answer = answer.await;
            match asking {
                Some((stream, filter)) => {
                    let note = Note::Called { filter, token, answer };
                    // Its stream may be gone: then the root learns of it alone.
                    if let Err(SendError(Note::Called { token, answer, .. })) = stream.send(note) {
                        desk.deliver(machine, token, answer);
                    }
                }
                None => desk.deliver(machine, token, answer),
            }
        });
        Ok(())
    }

    fn deliver(&self, machine: usize, token: u32, answer: CallAnswer) {
        if let Some(machine) = self.machine(machine) {
            let mut machine = machine.borrow_mut();
            let _ = machine.call(|vm| vm.http_call_response(token, answer));
        }
    }

    /// Starts a gRPC call-out; what happens on it is told to the machine. One that cannot
    /// start is told of as well, once the callback has returned.
    fn start_grpc(
        self: &Rc<Self>,
        machine: usize,
        token: u32,
        call: GrpcCall,
    ) -> Result<(), Status> {
        if self.silent {
            return Ok(());
        }
        if call.message.as_ref().is_some_and(|message| message.len() > grpc::LARGEST) {
            return Err(Status::InternalFailure);
        }
        let name = std::str::from_utf8(&call.cluster).ok();
        let cluster = name.and_then(|name| self.clusters.get(name));
        let start = match cluster.map(Cluster::admit) {
            Some(Ok(admitted)) => Start::Admitted(admitted),
            Some(Err(failure)) => Start::Refused(failure),
            None => Start::NoCluster,
        };
        let refused = !matches!(start, Start::Admitted(_));
        let desk = Rc::clone(self);
        let (running, commands) = grpc::Running::new();
        self.calls.set(self.calls.get() + 1);
        let task = spawn_local(async move {
            let _done = Ended(Rc::clone(&desk));
            let tell = |event| desk.tell(machine, token, event);
            grpc::run(start, call, commands, tell).await;
            desk.grpc.borrow_mut().remove(&token);
        });
        self.grpc.borrow_mut().insert(token, running.by(task.abort_handle()));
        if refused { Err(Status::InternalFailure) } else { Ok(()) }
    }

    fn tell(&self, machine: usize, token: u32, event: GrpcEvent) {
        if let Some(machine) = self.machine(machine) {
            let _ = machine.borrow_mut().call(|vm| vm.grpc_event(token, event));
        }
    }

    fn tick_every(self: &Rc<Self>, machine: usize, root: u32, period: Duration) {
        if let Some(before) = self.ticks.borrow_mut().remove(&(machine, root)) {
            before.abort();
        }
        if period.is_zero() {
            return;
        }
        let desk = Rc::clone(self);
        let ticking = spawn_local(async move {
            let mut interval = interval_at(tokio::time::Instant::now() + period, period);
            interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                interval.tick().await;
                let Some(machine) = desk.machine(machine) else { return };
                let _ = machine.borrow_mut().call(|vm| vm.tick(RootId::of(root)));
            }
        });
        self.ticks.borrow_mut().insert((machine, root), ticking.abort_handle());
    }

    /// The queue of a name, whose entries are told to `root` on this worker.
    fn queue(
        self: &Rc<Self>,
        vm_id: &str,
        name: &[u8],
        (machine, root): (usize, u32),
    ) -> Result<QueueToken, Status> {
        if let Some(entries) = self.entries.borrow_mut().take() {
            spawn_local(Rc::clone(self).attend(entries));
        }
        let (ready, told) = (self.ready.clone(), Arc::new(AtomicUsize::new(0)));
        let waker = move |queue| {
            // No more entries can wait than that, so nothing is missed.
            if told.fetch_add(1, Relaxed) >= MOST_ENTRIES {
                told.fetch_sub(1, Relaxed);
                return;
            }
            // A worker that has ended is told of nothing.
            let _ = ready.send(Ready { machine, root, queue, told: Arc::clone(&told) });
        };
        self.process.queues.register(vm_id.as_bytes(), name, Arc::new(waker))
    }

    async fn attend(self: Rc<Self>, mut entries: UnboundedReceiver<Ready>) {
        while let Some(Ready { machine, root, queue, told }) = entries.recv().await {
            told.fetch_sub(1, Relaxed);
            let Some(machine) = self.machine(machine) else { continue };
            let _ = machine.borrow_mut().call(|vm| vm.queue_ready(RootId::of(root), queue));
        }
    }

    /// No root ticks any more.
    pub fn stop_ticks(&self) {
        self.ticks.borrow_mut().drain().for_each(|(_, ticking)| ticking.abort());
    }
}

/// A stream of which modules are to be told.
pub(super) struct Open(Rc<Desk>);

impl Open {
    pub fn new(desk: &Rc<Desk>) -> Self {
        desk.streams.set(desk.streams.get() + 1);
        Self(Rc::clone(desk))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.streams.set(self.0.streams.get() - 1);
        self.0.streams_done.notify_one();
    }
}

/// A call-out that has ended, however it did.
struct Ended(Rc<Desk>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.calls.set(self.0.calls.get() - 1);
        self.0.calls_done.notify_waiters();
    }
}

/// The place of one stream at the desk of its worker.
pub(super) struct Ticket {
    pub desk: Rc<Desk>,
    pub notes: UnboundedSender<Note>,
}

impl Turn for Ticket {
    fn begin(&self, filter: usize) {
        *self.desk.asking.borrow_mut() = Some((self.notes.clone(), filter));
    }

    fn end(&self) {
        *self.desk.asking.borrow_mut() = None;
    }

    fn wake(&self, filter: usize) {
        // The stream may be at its end.
        let _ = self.notes.send(Note::Asked { filter });
    }
}

/// What the machine of one number gets.
pub(super) struct Counter {
    pub desk: Rc<Desk>,
    pub machine: usize,
    pub vm_id: String,
    pub shared: Arc<SharedData>,
}

impl Services for Counter {
    fn http_call(&self, token: u32, call: CallOut) -> Result<(), Status> {
        self.desk.call(self.machine, token, call)
    }

    fn has_cluster(&self, name: &[u8]) -> bool {
        std::str::from_utf8(name).is_ok_and(|name| self.desk.clusters.contains_key(name))
    }

    fn grpc_start(&self, token: u32, call: GrpcCall) -> Result<(), Status> {
        self.desk.start_grpc(self.machine, token, call)
    }

    fn grpc_send(&self, token: u32, message: Option<Vec<u8>>, end: bool) -> Result<(), Status> {
        match self.desk.grpc.borrow().get(&token) {
            Some(running) => running.send(message, end),
            // It has ended just now.
            None => Ok(()),
        }
    }

    fn grpc_cancel(&self, token: u32) {
        if let Some(running) = self.desk.grpc.borrow_mut().remove(&token) {
            running.cancel();
        }
    }

    fn shared_data(&self, key: &[u8]) -> Result<(Vec<u8>, u32), Status> {
        self.shared.read(key)
    }

    fn set_shared_data(&self, key: &[u8], value: &[u8], cas: u32) -> Result<(), Status> {
        self.shared.write(key, value, cas)
    }

    fn define_metric(&self, kind: MetricKind, name: &[u8]) -> Result<MetricId, Status> {
        self.desk.process.metrics.define(kind, name)
    }

    fn increment_metric(&self, id: MetricId, by: i64) -> Result<(), Status> {
        self.desk.process.metrics.increment(id, by)
    }

    fn record_metric(&self, id: MetricId, value: u64) -> Result<(), Status> {
        self.desk.process.metrics.record(id, value)
    }

    fn metric(&self, id: MetricId) -> Result<u64, Status> {
        self.desk.process.metrics.value(id)
    }

    fn register_queue(&self, root: u32, name: &[u8]) -> Result<QueueToken, Status> {
        self.desk.queue(&self.vm_id, name, (self.machine, root))
    }

    fn resolve_queue(&self, vm_id: &[u8], name: &[u8]) -> Result<QueueToken, Status> {
        self.desk.process.queues.resolve(vm_id, name)
    }

    fn enqueue(&self, queue: QueueToken, entry: &[u8]) -> Result<(), Status> {
        self.desk.process.queues.enqueue(queue, entry)
    }

    fn dequeue(&self, queue: QueueToken) -> Result<Vec<u8>, Status> {
        self.desk.process.queues.dequeue(queue)
    }

    fn set_tick_period(&self, root: u32, period: Duration) {
        self.desk.tick_every(self.machine, root, period);
    }

    fn reloaded(&self, plugins: &[&str], how: Reload) {
        plugins.iter().for_each(|plugin| self.desk.process.reloaded(plugin, how));
        match how {
            Reload::Success => tracing::warn!(?plugins, "a fresh machine replaces one that died"),
            Reload::Backoff => tracing::debug!(?plugins, "a machine that died is not replaced yet"),
            Reload::Failure => tracing::error!(?plugins, "a fresh machine does not start"),
        }
    }

    fn log_level(&self) -> Level {
        match tracing::level_filters::LevelFilter::current().into_level() {
            Some(Tracing::TRACE) => Level::Trace,
            Some(Tracing::DEBUG) => Level::Debug,
            Some(Tracing::INFO) => Level::Info,
            Some(Tracing::WARN) => Level::Warn,
            Some(Tracing::ERROR) => Level::Error,
            None => Level::Critical,
        }
    }

    fn log(&self, level: Level, text: &str) {
        let text = text.trim_end();
        match level {
            Level::Trace => tracing::trace!(target: "postern::module", "{text}"),
            Level::Debug => tracing::debug!(target: "postern::module", "{text}"),
            Level::Info => tracing::info!(target: "postern::module", "{text}"),
            Level::Warn => tracing::warn!(target: "postern::module", "{text}"),
            Level::Error | Level::Critical => tracing::error!(target: "postern::module", "{text}"),
        }
    }

    fn now_nanos(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    }

    fn property(&self, path: &[&[u8]]) -> Result<Vec<u8>, Status> {
        match path {
            [b""] | [b"xds"] => Err(Status::SerializationFailure),
            [b"xds", b"node", b"id"] => Ok(self.desk.process.node.clone().into_bytes()),
            // A node has neither here; the first is a map, which says how many it holds.
            [b"xds", b"node", b"metadata"] => Ok(0u32.to_le_bytes().to_vec()),
            [b"xds", b"node", b"locality"] => Ok(Vec::new()),
            _ => Err(Status::NotFound),
        }
    }
}
