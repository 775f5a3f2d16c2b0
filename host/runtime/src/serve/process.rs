//! What all workers share: shared data, counters, the names that the admin interface shows.
//!
//! Invariant: nothing here is locked on the way of a request but shared data; what counts
//! is atomic, and what has a lock is touched when a machine has died.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;

use crate::config::Gateway;
use crate::engine::{Metrics, Queues, SharedData};
use crate::proxy::exchange::Facts;
use crate::view::Reload;

/// One for a running gateway.
pub(super) struct Process {
    pub node: String,
    pub gateway: Gateway,
    /// Metrics of modules.
    pub metrics: Metrics,
    /// By `vm_id`; locked when a machine starts.
    shared: Mutex<BTreeMap<String, Arc<SharedData>>>,
    /// Queues of modules.
    pub queues: Queues,
    /// By name.
    pub clusters: BTreeMap<String, Arc<ClusterCounts>>,
    /// In the order of the listeners.
    pub listeners: Vec<Arc<ListenerCounts>>,
    /// What the listeners' own certificates say, in the same order.
    pub own: Vec<Facts>,
    /// By name of the plugin, in the order of [`Reload`].
    pub reloads: Mutex<BTreeMap<String, [u64; 3]>>,
    /// Filters in files of their own: new configurations that were taken and that were not.
    pub discovered: Mutex<BTreeMap<String, (u64, u64)>>,
    /// Connections from callers, over all listeners.
    pub connections: AtomicU64,
    /// Lines of access logs that nobody took in time.
    pub lost_lines: AtomicU64,
    /// Somebody has asked for the end at the admin interface.
    pub end: Notify,
    /// It has ended.
    pub over: Notify,
    /// When it began.
    pub began: Instant,
    state: AtomicU8,
}

/// What a gateway is doing, in the words of Envoy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum State {
    /// It starts.
    PreInitializing,
    /// It serves.
    Live,
    /// It takes no more connections.
    Draining,
}

impl State {
    pub fn name(self) -> &'static str {
        match self {
            Self::PreInitializing => "PRE_INITIALIZING",
            Self::Live => "LIVE",
            Self::Draining => "DRAINING",
        }
    }
}

/// Counts of one cluster; names as in Envoy.
#[derive(Default)]
pub(super) struct ClusterCounts {
    pub cx_active: AtomicU64,
    pub cx_total: AtomicU64,
    pub cx_connect_fail: AtomicU64,
    pub rq_active: AtomicU64,
    pub rq_total: AtomicU64,
    pub rq_timeout: AtomicU64,
    pub rq_pending_active: AtomicU64,
    pub rq_pending_overflow: AtomicU64,
    /// Where its hosts are, as they were looked up last.
    pub hosts: Mutex<Vec<SocketAddr>>,
}

/// Counts of one listener.
#[derive(Default)]
pub(super) struct ListenerCounts {
    pub cx_active: AtomicU64,
    pub cx_total: AtomicU64,
    pub cx_overflow: AtomicU64,
    pub rq_active: AtomicU64,
    pub rq_total: AtomicU64,
    /// Answers of 1xx to 5xx.
    pub rq_class: [AtomicU64; 5],
}

/// A number that is one higher while this lives.
pub(super) struct Counted<T>(Arc<T>, fn(&T) -> &AtomicU64);

impl<T> Counted<T> {
    pub fn new(counts: &Arc<T>, which: fn(&T) -> &AtomicU64) -> Self {
        which(counts).fetch_add(1, Relaxed);
        Self(Arc::clone(counts), which)
    }
}

impl<T> Drop for Counted<T> {
    fn drop(&mut self) {
        (self.1)(&self.0).fetch_sub(1, Relaxed);
    }
}

impl Process {
    pub fn new(node: String, gateway: Gateway, own: Vec<Facts>) -> Self {
        let clusters = gateway.clusters.keys().map(|name| (name.clone(), Arc::default()));
        let clusters = clusters.collect();
        let listeners = gateway.listeners.iter().map(|_| Arc::default()).collect();
        Self {
            node,
            gateway,
            metrics: Metrics::default(),
            queues: Queues::default(),
            shared: Mutex::default(),
            clusters,
            listeners,
            own,
            reloads: Mutex::default(),
            discovered: Mutex::default(),
            connections: AtomicU64::new(0),
            lost_lines: AtomicU64::new(0),
            end: Notify::new(),
            over: Notify::new(),
            began: Instant::now(),
            state: AtomicU8::new(State::PreInitializing as u8),
        }
    }

    /// The shared data of a `vm_id`.
    pub fn shared(&self, vm_id: &str) -> Arc<SharedData> {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(shared.entry(vm_id.to_owned()).or_default())
    }

    /// What it is doing.
    pub fn state(&self) -> State {
        match self.state.load(Relaxed) {
            0 => State::PreInitializing,
            1 => State::Live,
            _ => State::Draining,
        }
    }

    pub fn enter(&self, state: State) {
        self.state.store(state as u8, Relaxed);
    }

    pub fn reloaded(&self, plugin: &str, how: Reload) {
        let mut reloads = self.reloads.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = reloads.entry(plugin.to_owned()).or_default();
        counts[how as usize] += 1;
    }
}
