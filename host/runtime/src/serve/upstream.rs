//! Connections to the one endpoint of a cluster: made, kept, lent and limited.
//!
//! A pool belongs to one worker, its limits (circuit breaker) to the process, as in Envoy.
//! Invariant: a connection is lent to one request at a time and comes back only when both
//! messages on it have ended as HTTP/1.1 says; what is counted is given back on drop.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::conn::{Conn, Transport};
use super::process::{ClusterCounts, Counted};
use super::tls;
use crate::config::{self, Endpoint};
use crate::proxy::failure::Failure;

/// A cluster on one worker.
pub(super) struct Cluster {
    pub config: config::Cluster,
    pub counts: Arc<ClusterCounts>,
    tls: Option<tls::Client>,
    pool: Pool,
}

#[derive(Default)]
struct Pool {
    idle: RefCell<Vec<Idle>>,
    /// Requests that wait for a connection; `None` tells one to make its own.
    waiting: RefCell<VecDeque<oneshot::Sender<Option<Held>>>>,
    /// Connections of this pool, lent or idle.
    open: Rc<Cell<usize>>,
}

struct Idle {
    held: Held,
    since: Instant,
}

/// A connection and its place in the counts.
struct Held {
    conn: Conn,
    _process: Counted<ClusterCounts>,
    _pool: Open,
}

struct Open(Rc<Cell<usize>>);

impl Open {
    fn new(count: &Rc<Cell<usize>>) -> Self {
        count.set(count.get() + 1);
        Self(Rc::clone(count))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// A connection that is lent.
pub(super) struct Lease {
    held: Option<Held>,
    cluster: Rc<Cluster>,
}

/// A request that the circuit breaker has let in.
pub(super) struct Admitted {
    _active: Counted<ClusterCounts>,
    cluster: Rc<Cluster>,
}

impl Cluster {
    pub fn new(
        config: config::Cluster,
        counts: Arc<ClusterCounts>,
        tls: Option<tls::Client>,
    ) -> Self {
        Self { config, counts, tls, pool: Pool::default() }
    }

    /// Counts a request against the circuit breaker.
    pub fn admit(self: &Rc<Self>) -> Result<Admitted, Failure> {
        if self.counts.rq_active.load(Relaxed) >= self.config.breaker.requests {
            self.counts.rq_pending_overflow.fetch_add(1, Relaxed);
            return Err(Failure::Overflow);
        }
        self.counts.rq_total.fetch_add(1, Relaxed);
        let active = Counted::new(&self.counts, |counts| &counts.rq_active);
        Ok(Admitted { _active: active, cluster: Rc::clone(self) })
    }

    /// Closes connections that have been idle for too long, or that the peer has closed.
    pub fn sweep(&self) {
        let limit = self.config.idle_timeout;
        let mut idle = self.pool.idle.borrow_mut();
        idle.retain_mut(|idle| idle.since.elapsed() < limit && idle.held.conn.is_quiet());
    }

    fn idle(&self) -> Option<Held> {
        let mut idle = self.pool.idle.borrow_mut();
        while let Some(mut last) = idle.pop() {
            if last.since.elapsed() < self.config.idle_timeout && last.held.conn.is_quiet() {
                return Some(last.held);
            }
        }
        None
    }

    /// Whether one more connection may be made; a pool without any may always make one.
    fn may_connect(&self) -> bool {
        let below = self.counts.cx_active.load(Relaxed) < self.config.breaker.connections;
        below || self.pool.open.get() == 0
    }

    async fn wait(&self) -> Option<Held> {
        let (sender, receiver) = oneshot::channel();
        self.pool.waiting.borrow_mut().push_back(sender);
        receiver.await.ok().flatten()
    }

    async fn connect(&self) -> Result<Held, Failure> {
        let process = Counted::new(&self.counts, |counts| &counts.cx_active);
        let pool = Open::new(&self.pool.open);
        self.counts.cx_total.fetch_add(1, Relaxed);
        let made = match timeout(self.config.connect_timeout, self.dial()).await {
            Ok(Ok(conn)) => Ok(Held { conn, _process: process, _pool: pool }),
            Ok(Err(error)) => {
                tracing::debug!(cluster = self.config.name, %error, "no connection");
                Err(Failure::Connect)
            }
            Err(_) => Err(Failure::ConnectTimeout),
        };
        if made.is_err() {
            self.counts.cx_connect_fail.fetch_add(1, Relaxed);
        }
        made
    }

    async fn dial(&self) -> std::io::Result<Conn> {
        let (Endpoint::Static(address) | Endpoint::LogicalDns(address)) = &self.config.endpoint;
        let stream = TcpStream::connect((address.host.as_str(), address.port)).await?;
        stream.set_nodelay(true)?;
        let transport = match &self.tls {
            None => Transport::Plain(stream),
            Some(tls) => {
                let connector = TlsConnector::from(Arc::clone(&tls.config));
                let stream = connector.connect(tls.name.clone(), stream).await?;
                Transport::Tls(Box::new(stream.into()))
            }
        };
        Ok(Conn::new(transport))
    }

    /// Somebody who waits gets a connection, or the turn to make one.
    fn pass_on(&self, mut held: Option<Held>) {
        loop {
            let Some(next) = self.pool.waiting.borrow_mut().pop_front() else { break };
            match next.send(held) {
                Ok(()) => return,
                // Has gone away meanwhile.
                Err(back) => held = back,
            }
        }
        if let Some(held) = held {
            self.pool.idle.borrow_mut().push(Idle { held, since: Instant::now() });
        }
    }
}

impl Admitted {
    /// A connection for the request, its own until dropped or released.
    pub async fn lease(&self) -> Result<Lease, Failure> {
        let cluster = &self.cluster;
        loop {
            if let Some(held) = cluster.idle() {
                return Ok(self.lent(held));
            }
            let pending = &cluster.counts.rq_pending_active;
            if pending.load(Relaxed) >= cluster.config.breaker.pending {
                cluster.counts.rq_pending_overflow.fetch_add(1, Relaxed);
                return Err(Failure::Overflow);
            }
            let _pending = Counted::new(&cluster.counts, |counts| &counts.rq_pending_active);
            if cluster.may_connect() {
                return cluster.connect().await.map(|held| self.lent(held));
            }
            if let Some(held) = cluster.wait().await {
                return Ok(self.lent(held));
            }
        }
    }

    fn lent(&self, held: Held) -> Lease {
        Lease { held: Some(held), cluster: Rc::clone(&self.cluster) }
    }

    pub fn cluster(&self) -> &Rc<Cluster> {
        &self.cluster
    }
}

impl Lease {
    /// The connection; there until the lease ends.
    pub fn conn(&mut self) -> Option<&mut Conn> {
        self.held.as_mut().map(|held| &mut held.conn)
    }

    /// The connection can be used again.
    pub fn release(mut self) {
        let held = self.held.take();
        self.cluster.pass_on(held);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.held.take().is_some() {
            self.cluster.pass_on(None);
        }
    }
}

/// How often idle connections are looked at.
pub(super) const SWEEP: Duration = Duration::from_secs(1);
