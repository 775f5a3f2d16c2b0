//! What all workers share: shared data, counters, the names that the admin interface shows.
//!
//! Invariant: nothing here is locked on the way of a request but shared data; what counts
//! is atomic, and what has a lock is touched when a machine has died.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use crate::config::Gateway;
use crate::engine::{Metrics, Queues, SharedData};
use crate::proxy::launch::plugins;
use crate::view::Reload;

/// One for a running gateway.
pub(super) struct Process {
    pub node: String,
    pub gateway: Gateway,
    /// Metrics of modules.
    pub metrics: Metrics,
    /// By `vm_id`.
    pub shared: BTreeMap<String, Arc<SharedData>>,
    /// Queues of modules.
    pub queues: Queues,
    /// By name.
    pub clusters: BTreeMap<String, Arc<ClusterCounts>>,
    /// In the order of the listeners.
    pub listeners: Vec<Arc<ListenerCounts>>,
    /// By name of the plugin, in the order of [`Reload`].
    pub reloads: Mutex<BTreeMap<String, [u64; 3]>>,
    /// Connections from callers, over all listeners.
    pub connections: AtomicU64,
    /// Lines of access logs that nobody took in time.
    pub lost_lines: AtomicU64,
    /// Somebody has asked for the end at the admin interface.
    pub end: Notify,
    /// It has ended.
    pub over: Notify,
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
    pub fn new(node: String, gateway: Gateway) -> Self {
        let shared =
            plugins(&gateway).into_iter().map(|plugin| (plugin.vm_id.clone(), Arc::default()));
        let shared = shared.collect();
        let clusters = gateway.clusters.keys().map(|name| (name.clone(), Arc::default()));
        let clusters = clusters.collect();
        let listeners = gateway.listeners.iter().map(|_| Arc::default()).collect();
        Self {
            node,
            gateway,
            metrics: Metrics::default(),
            queues: Queues::default(),
            shared,
            clusters,
            listeners,
            reloads: Mutex::default(),
            connections: AtomicU64::new(0),
            lost_lines: AtomicU64::new(0),
            end: Notify::new(),
            over: Notify::new(),
        }
    }

    pub fn reloaded(&self, plugin: &str, how: Reload) {
        let mut reloads = self.reloads.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = reloads.entry(plugin.to_owned()).or_default();
        counts[how as usize] += 1;
    }
}
