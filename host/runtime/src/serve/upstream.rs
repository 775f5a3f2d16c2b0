//! Connections to the hosts of a cluster: made, kept, lent and limited.
//!
//! A pool belongs to one worker, its limits (circuit breaker) to the process, as in Envoy.
//! Those that speak HTTP/2 are shared ([`Sessions`]) within the same limits.
//! Invariant: a connection of HTTP/1.1 is lent to one request at a time and comes back only when both
//! messages on it have ended as HTTP/1.1 says; what is counted is given back on drop.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::conn::{Conn, Transport};
use super::hosts::{Choice, Hosts};
use super::http2::Sessions;
use super::process::{ClusterCounts, Counted};
use super::tls;
use crate::config::{self, HTTP2};
use crate::proxy::failure::Failure;

/// A cluster on one worker.
pub(super) struct Cluster {
    pub config: config::Cluster,
    pub counts: Arc<ClusterCounts>,
    tls: Option<tls::Client>,
    hosts: Rc<Hosts>,
    pool: Pool,
    /// Connections that speak HTTP/2 and are not lent, but shared.
    pub sessions: Sessions,
}

#[derive(Default)]
struct Pool {
    idle: RefCell<Vec<Idle>>,
    /// Requests that wait for a place, with a connection or to make their own.
    waiting: RefCell<VecDeque<oneshot::Sender<Lease>>>,
    /// Places of this pool, lent or idle.
    open: Rc<Cell<usize>>,
}

struct Idle {
    place: Place,
    since: Instant,
}

/// A place in the counts, and the connection that stands there if one does.
pub(super) struct Place {
    conn: Option<Conn>,
    /// Where the connection leads.
    host: Option<SocketAddr>,
    _process: Counted<ClusterCounts>,
    _pool: Open,
}

impl Place {
    fn is_quiet(&mut self) -> bool {
        self.conn.as_mut().is_some_and(Conn::is_quiet)
    }
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

/// A place that is lent. However the lease ends, whoever waits gets the place: a turn that
/// were lost would leave requests waiting for nothing.
pub(super) struct Lease {
    place: Option<Place>,
    cluster: Rc<Cluster>,
    /// Whether the connection has been left as it was found, or as good as that.
    clean: bool,
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
        let hosts = Rc::new(Hosts::new(config.hosts.clone(), Arc::clone(&counts)));
        let (pool, sessions) = (Pool::default(), Sessions::default());
        Self { config, counts, tls, hosts, pool, sessions }
    }

    /// Whether the circuit breaker lets no request in.
    pub fn is_full(&self) -> bool {
        self.counts.rq_active.load(Relaxed) >= self.config.breaker.requests
    }

    /// Counts a request against the circuit breaker.
    pub fn admit(self: &Rc<Self>) -> Result<Admitted, Failure> {
        if self.is_full() {
            self.counts.rq_pending_overflow.fetch_add(1, Relaxed);
            return Err(Failure::Overflow);
        }
        self.counts.rq_total.fetch_add(1, Relaxed);
        let active = Counted::new(&self.counts, |counts| &counts.rq_active);
        Ok(Admitted { _active: active, cluster: Rc::clone(self) })
    }

    /// Closes connections that have been idle for too long, that the peer has closed, or
    /// whose host is no more.
    pub fn sweep(&self) {
        let limit = self.config.idle_timeout;
        self.sessions.sweep(limit, |host| self.hosts.has(host));
        let mut idle = self.pool.idle.borrow_mut();
        idle.retain_mut(|idle| {
            let has_host = idle.place.host.is_some_and(|host| self.hosts.has(host));
            has_host && idle.since.elapsed() < limit && idle.place.is_quiet()
        });
    }

    fn idle(&self, choice: &Choice) -> Option<Place> {
        let mut idle = self.pool.idle.borrow_mut();
        let fits = |idle: &Idle| {
            choice.any || idle.place.host.is_some_and(|host| choice.addresses.contains(&host))
        };
        while let Some(at) = idle.iter().rposition(fits) {
            let mut last = idle.remove(at);
            if last.since.elapsed() < self.config.idle_timeout && last.place.is_quiet() {
                return Some(last.place);
            }
        }
        None
    }

    /// The host whose turn it is.
    pub async fn choose(&self) -> Result<Choice, Failure> {
        let chosen = timeout(self.config.connect_timeout, self.hosts.next()).await;
        chosen.unwrap_or(Err(Failure::NoHost))
    }

    /// One more place, if there may be one; a pool without any always has one.
    pub fn room(&self) -> Option<Place> {
        let below = self.counts.cx_active.load(Relaxed) < self.config.breaker.connections;
        (below || self.pool.open.get() == 0).then(|| Place {
            conn: None,
            host: None,
            _process: Counted::new(&self.counts, |counts| &counts.cx_active),
            _pool: Open::new(&self.pool.open),
        })
    }

    pub async fn connect(&self, choice: &Choice) -> Result<Conn, Failure> {
        self.counts.cx_total.fetch_add(1, Relaxed);
        let made = match timeout(self.config.connect_timeout, self.dial(choice)).await {
            Ok(Ok(conn)) => Ok(conn),
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

    async fn dial(&self, choice: &Choice) -> std::io::Result<Conn> {
        let stream = TcpStream::connect(choice.addresses.as_slice()).await?;
        stream.set_nodelay(true)?;
        let transport = match &self.tls {
            None => Transport::Plain(stream),
            Some(tls) => {
                let connector = TlsConnector::from(Arc::clone(&tls.config));
                let stream = connector.connect(tls.name.clone(), stream).await?;
                let agreed = stream.get_ref().1.alpn_protocol();
                if self.config.http2.is_some() && agreed != Some(HTTP2.as_bytes()) {
                    return Err(std::io::Error::other("the upstream does not offer h2"));
                }
                Transport::Tls(Box::new(stream.into()))
            }
        };
        Ok(Conn::new(transport))
    }

    fn lend(self: &Rc<Self>, place: Place) -> Lease {
        Lease { place: Some(place), cluster: Rc::clone(self), clean: true }
    }

    async fn wait(&self) -> Result<Lease, Failure> {
        let (sender, receiver) = oneshot::channel();
        self.pool.waiting.borrow_mut().push_back(sender);
        receiver.await.map_err(|_| Failure::Connect)
    }

    /// Whoever waits longest gets the place; if nobody does, a connection stays for later.
    fn pass_on(self: &Rc<Self>, place: Place) {
        let mut lease = self.lend(place);
        loop {
            let Some(next) = self.pool.waiting.borrow_mut().pop_front() else { break };
            match next.send(lease) {
                Ok(()) => return,
                // Has gone away meanwhile.
                Err(back) => lease = back,
            }
        }
        if let Some(place) = lease.place.take().filter(|place| place.conn.is_some()) {
            self.pool.idle.borrow_mut().push(Idle { place, since: Instant::now() });
        }
    }
}

impl Admitted {
    /// A connection for the request, its own until dropped or released.
    pub async fn lease(&self) -> Result<Lease, Failure> {
        let cluster = &self.cluster;
        let choice = cluster.choose().await?;
        let mut lease = match cluster.idle(&choice) {
            Some(place) => cluster.lend(place),
            None => self.turn().await?,
        };
        // Another request may have left it some time ago: what has come since then is no
        // answer to this one.
        let quiet = lease.place.as_mut().is_some_and(Place::is_quiet);
        if !quiet && let Some(place) = &mut lease.place {
            place.conn = None;
            place.conn = Some(cluster.connect(&choice).await?);
            place.host = choice.addresses.first().copied();
        }
        lease.clean = false;
        Ok(lease)
    }

    /// A place, at once or when it is this request's turn.
    async fn turn(&self) -> Result<Lease, Failure> {
        let cluster = &self.cluster;
        let pending = &cluster.counts.rq_pending_active;
        if pending.load(Relaxed) >= cluster.config.breaker.pending {
            cluster.counts.rq_pending_overflow.fetch_add(1, Relaxed);
            return Err(Failure::Overflow);
        }
        match cluster.room() {
            Some(place) => Ok(cluster.lend(place)),
            None => {
                let _pending = Counted::new(&cluster.counts, |counts| &counts.rq_pending_active);
                cluster.wait().await
            }
        }
    }

    pub fn cluster(&self) -> &Rc<Cluster> {
        &self.cluster
    }
}

impl Lease {
    /// Where the connection leads.
    pub fn host(&self) -> Option<SocketAddr> {
        self.place.as_ref()?.host
    }

    /// The connection; there until the lease ends.
    pub fn conn(&mut self) -> Option<&mut Conn> {
        self.place.as_mut()?.conn.as_mut()
    }

    /// The connection can be used again, unless more has come on it than was asked for
    /// (content after `204`, a second answer), which the next request would take for its own.
    pub fn release(mut self) {
        self.clean = self.place.as_mut().is_some_and(Place::is_quiet);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(mut place) = self.place.take() {
            if !self.clean {
                place.conn = None;
            }
            self.cluster.pass_on(place);
        }
    }
}

/// How often idle connections are looked at.
pub(super) const SWEEP: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::net::TcpListener;
    use std::task::{Context, Waker};

    use super::*;
    use crate::config::{Address, Breaker, Discovery, Family};

    /// A cluster with one connection, and who listens there.
    fn narrow() -> (Rc<Cluster>, TcpListener) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let config = config::Cluster {
            name: "up".to_owned(),
            hosts: config::Hosts {
                discovery: Discovery::Static,
                addresses: vec![Address { host: "127.0.0.1".to_owned(), port }],
                family: Family::Auto,
                refresh: Duration::from_secs(5),
            },
            connect_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(60),
            buffer: 0,
            max_fields: 100,
            breaker: Breaker { connections: 1, pending: 8, requests: 8 },
            http2: None,
            tls: None,
            filters: Vec::new(),
        };
        (Rc::new(Cluster::new(config, Arc::default(), None)), listener)
    }

    #[tokio::test]
    async fn a_turn_that_nobody_takes_goes_to_the_next_request() {
        for released in [false, true] {
            let (cluster, _listener) = narrow();
            let admitted = [(); 3].map(|()| cluster.admit().unwrap());
            let first = admitted[0].lease().await.unwrap();
            let mut second = Box::pin(admitted[1].lease());
            let mut third = Box::pin(admitted[2].lease());
            let mut context = Context::from_waker(Waker::noop());
            assert!(second.as_mut().poll(&mut context).is_pending());
            assert!(third.as_mut().poll(&mut context).is_pending());
            if released {
                first.release();
            } else {
                drop(first);
            }
            // It has been given the turn and does not know yet.
            drop(second);
            let third = timeout(Duration::from_secs(20), third).await.unwrap().unwrap();
            assert_eq!(cluster.counts.cx_active.load(Relaxed), 1);
            let made = if released { 1 } else { 2 };
            assert_eq!(cluster.counts.cx_total.load(Relaxed), made);
            drop(third);
            assert_eq!(cluster.counts.cx_active.load(Relaxed), 0);
            assert_eq!(cluster.counts.rq_pending_active.load(Relaxed), 0);
        }
    }
}
