//! What one worker gives its machines: call-outs, ticks, shared data, metrics, the log.
//!
//! Invariant: the answer to a call-out goes to the stream whose filter asked, if that still
//! runs, or to the machine whose root asked; it is never delivered while a callback runs.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::mpsc::error::SendError;
use tokio::sync::{Notify, watch};
use tokio::task::{AbortHandle, spawn_local};
use tokio::time::{MissedTickBehavior, interval_at};
use tracing::Level as Tracing;

use super::call;
use super::process::Process;
use super::upstream::Cluster;
use crate::engine::{RootId, SharedData};
use crate::proxy::filters::Turn;
use crate::proxy::machine::Machine;
use crate::view::{CallAnswer, CallOut, Level, MetricId, MetricKind, Reload, Services, Status};

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
    /// Once they have started.
    pub machines: RefCell<Vec<Rc<RefCell<Machine>>>>,
    started: Instant,
    /// The stream whose filter starts a call-out.
    asking: RefCell<Option<(UnboundedSender<Note>, usize)>>,
    ticks: RefCell<HashMap<(usize, u32), AbortHandle>>,
    calls: Cell<usize>,
    pub calls_done: Notify,
    /// Connections that still run end now.
    pub cut: Notify,
    phase: watch::Receiver<Phase>,
    /// Call-outs are taken and never sent: a file is only checked.
    silent: bool,
}

/// What a worker is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
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
        Self {
            process,
            clusters,
            machines: RefCell::default(),
            started: Instant::now(),
            asking: RefCell::default(),
            ticks: RefCell::default(),
            calls: Cell::new(0),
            calls_done: Notify::new(),
            cut: Notify::new(),
            phase,
            silent,
        }
    }

    /// Time since the worker has started.
    pub fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Ready when the worker is asked to end; the time that it has.
    pub async fn drains(&self) -> Duration {
        let mut phase = self.phase.clone();
        // Whoever could say more is gone: that is an end as well.
        let phase = phase.wait_for(|phase| *phase != Phase::Serve).await;
        match phase.as_deref() {
            Ok(Phase::Drain(grace)) => *grace,
            Ok(Phase::Serve) | Err(_) => Duration::ZERO,
        }
    }

    /// Whether the worker is asked to end.
    pub fn is_draining(&self) -> bool {
        *self.phase.borrow() != Phase::Serve
    }

    /// Call-outs without an answer.
    pub fn calls(&self) -> usize {
        self.calls.get()
    }

    fn machine(&self, number: usize) -> Option<Rc<RefCell<Machine>>> {
        self.machines.borrow().get(number).cloned()
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
        let admitted = cluster.admit().map_err(|_| Status::InternalFailure)?;
        let asking = self.asking.borrow().clone();
        let desk = Rc::clone(self);
        self.calls.set(self.calls.get() + 1);
        spawn_local(async move {
            let answer = call::ask(admitted, call).await;
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
            desk.calls.set(desk.calls.get() - 1);
            desk.calls_done.notify_waiters();
        });
        Ok(())
    }

    fn deliver(&self, machine: usize, token: u32, answer: CallAnswer) {
        if let Some(machine) = self.machine(machine) {
            let mut machine = machine.borrow_mut();
            let _ = machine.call(|vm| vm.http_call_response(token, answer));
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
                let Some(machine) = desk.machine(machine) else { continue };
                let _ = machine.borrow_mut().call(|vm| vm.tick(RootId::of(root)));
            }
        });
        self.ticks.borrow_mut().insert((machine, root), ticking.abort_handle());
    }

    /// No root ticks any more.
    pub fn stop_ticks(&self) {
        self.ticks.borrow_mut().drain().for_each(|(_, ticking)| ticking.abort());
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
    pub shared: Arc<SharedData>,
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
            [b"xds", b"node", b"id"] => Ok(self.desk.process.node.clone().into_bytes()),
            _ => Err(Status::NotFound),
        }
    }
}
