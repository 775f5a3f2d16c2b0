//! Connections to an upstream that speaks HTTP/2: made, shared and let go.
//!
//! One connection of a worker serves all its requests to a cluster, as many at once as the
//! upstream allows; more of them come about only beyond that. Invariant: everybody who waits
//! for a connection is told what came of it, and a connection that the upstream is leaving
//! takes no new request.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::SendStream;
use h2::client::{Builder, Connection, ResponseFuture, SendRequest};
use http::Request;
use tokio::sync::oneshot;
use tokio::task::spawn_local;
use tokio::time::timeout;

use super::SEND_BUFFER;
use crate::config::Http2;
use crate::proxy::failure::Failure;
use crate::serve::conn::Transport;
use crate::serve::forward::MAX_HEAD;
use crate::serve::hosts::Choice;
use crate::serve::process::Counted;
use crate::serve::upstream::{Cluster, Place};

/// One connection.
pub(in crate::serve) struct Session {
    /// Where it leads.
    host: Option<SocketAddr>,
    sender: RefCell<SendRequest<Bytes>>,
    streams: Cell<usize>,
    /// Streams at once, whatever the upstream allows beyond.
    most: usize,
    idle_since: Cell<Instant>,
}

/// A stream counts as one of its connection while this lives.
pub(super) struct InUse(Rc<Session>);

/// A request that is on its way.
pub(super) struct Opened {
    pub session: Rc<Session>,
    pub response: ResponseFuture,
    pub send: SendStream<Bytes>,
}

type Made = Result<(), Failure>;

/// Those of one cluster on one worker.
#[derive(Default)]
pub(in crate::serve) struct Sessions {
    open: RefCell<Vec<Rc<Session>>>,
    /// Who waits for the one that is being made.
    waiting: RefCell<Vec<oneshot::Sender<Made>>>,
    connecting: Cell<bool>,
}

impl Session {
    pub(super) fn used(session: &Rc<Self>) -> InUse {
        session.streams.set(session.streams.get() + 1);
        InUse(Rc::clone(session))
    }

    /// Whether it takes requests.
    fn is_open(&self) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        !matches!(self.sender.borrow_mut().poll_ready(&mut context), std::task::Poll::Ready(Err(_)))
    }

    /// Whether it leads to the host whose turn it is.
    fn fits(&self, choice: &Choice) -> bool {
        choice.any || self.host.is_some_and(|host| choice.addresses.contains(&host))
    }

    fn has_room(&self) -> bool {
        let allowed = self.sender.borrow().current_max_send_streams();
        self.streams.get() < allowed.min(self.most)
    }
}

impl InUse {
    /// Where its connection leads.
    pub fn host(&self) -> Option<SocketAddr> {
        self.0.host
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        self.0.streams.set(self.0.streams.get() - 1);
        self.0.idle_since.set(Instant::now());
    }
}

impl Sessions {
    /// Lets go of those that were idle for so long, of those that take no more requests, and
    /// of those whose host is no more.
    pub fn sweep(&self, limit: Duration, has: impl Fn(SocketAddr) -> bool) {
        self.open.borrow_mut().retain(|session| {
            let idle = session.streams.get() == 0 && session.idle_since.get().elapsed() >= limit;
            session.is_open() && !idle && session.host.is_some_and(&has)
        });
    }

    /// One that takes a request at once.
    fn usable(&self, choice: &Choice) -> Option<Rc<Session>> {
        self.open.borrow_mut().retain(|session| session.is_open());
        let open = self.open.borrow();
        open.iter().find(|session| session.fits(choice) && session.has_room()).cloned()
    }

    /// The one with the fewest requests, for want of a better one.
    fn least(&self) -> Option<Rc<Session>> {
        self.open.borrow().iter().min_by_key(|session| session.streams.get()).cloned()
    }

    fn told(&self, made: Made) {
        self.connecting.set(false);
        let waiting = self.waiting.take();
        for waiter in waiting {
            // Whoever has left meanwhile need not know.
            let _ = waiter.send(made);
        }
    }
}

/// Opens a stream for a request; `end` when neither content nor trailers follow.
pub(super) async fn open(
    cluster: &Rc<Cluster>,
    request: Request<()>,
    end: bool,
) -> Result<Opened, Failure> {
    let session = session(cluster).await?;
    let mut sender = session.sender.borrow().clone();
    let ready = poll_fn(|cx| sender.poll_ready(cx)).await;
    let sent = ready.and_then(|()| sender.send_request(request, end));
    // It has ended in between; the request is nowhere yet.
    let (response, send) = sent.map_err(|_| Failure::Closed)?;
    Ok(Opened { session, response, send })
}

/// A connection that takes a request, at once or when it has been made.
async fn session(cluster: &Rc<Cluster>) -> Result<Rc<Session>, Failure> {
    let pending = &cluster.counts.rq_pending_active;
    let choice = Rc::new(cluster.choose().await?);
    loop {
        if let Some(session) = cluster.sessions.usable(&choice) {
            return Ok(session);
        }
        if pending.load(Relaxed) >= cluster.config.breaker.pending {
            cluster.counts.rq_pending_overflow.fetch_add(1, Relaxed);
            return Err(Failure::Overflow);
        }
        let (sender, made) = oneshot::channel();
        if !cluster.sessions.connecting.get() {
            match cluster.room() {
                Some(place) => make(cluster, place, &choice),
                // The codec lets the request wait for its turn.
                None => return cluster.sessions.least().ok_or(Failure::Overflow),
            }
        }
        cluster.sessions.waiting.borrow_mut().push(sender);
        let _pending = Counted::new(&cluster.counts, |counts| &counts.rq_pending_active);
        made.await.map_err(|_| Failure::Connect)??;
    }
}

/// Makes a connection and drives it to its end; whoever wanted it may leave meanwhile.
fn make(cluster: &Rc<Cluster>, place: Place, choice: &Rc<Choice>) {
    cluster.sessions.connecting.set(true);
    let (cluster, choice) = (Rc::clone(cluster), Rc::clone(choice));
    spawn_local(async move {
        let _place = place;
        let (session, connection) = match connect(&cluster, &choice).await {
            Ok(made) => made,
            Err(failure) => return cluster.sessions.told(Err(failure)),
        };
        cluster.sessions.open.borrow_mut().push(session);
        cluster.sessions.told(Ok(()));
        if let Err(error) = connection.await {
            tracing::debug!(cluster = cluster.config.name, %error, "a connection has ended");
        }
    });
}

async fn connect(
    cluster: &Cluster,
    choice: &Choice,
) -> Result<(Rc<Session>, Connection<Transport, Bytes>), Failure> {
    let (transport, _) = cluster.connect(choice).await?.into_parts();
    let settings = cluster.config.http2.unwrap_or_default();
    let handshake = builder(&settings).handshake(transport);
    let (sender, connection) = timeout(cluster.config.connect_timeout, handshake)
        .await
        .map_err(|_| Failure::ConnectTimeout)?
        .map_err(|_| Failure::Connect)?;
    let session = Session {
        host: choice.addresses.first().copied(),
        sender: RefCell::new(sender),
        streams: Cell::new(0),
        most: usize::try_from(settings.streams).unwrap_or(usize::MAX),
        idle_since: Cell::new(Instant::now()),
    };
    Ok((Rc::new(session), connection))
}

fn builder(settings: &Http2) -> Builder {
    let mut builder = Builder::new();
    builder
        .enable_push(false)
        .initial_max_send_streams(usize::try_from(settings.streams).unwrap_or(usize::MAX))
        .initial_window_size(settings.stream_window)
        .initial_connection_window_size(settings.connection_window)
        .max_header_list_size(MAX_HEAD as u32)
        .max_send_buffer_size(SEND_BUFFER);
    builder
}
