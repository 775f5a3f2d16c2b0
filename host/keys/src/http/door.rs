//! Who may come in, and for how long without asking anything.
//!
//! Owns the number of open connections and the end of those that ask nothing. Lies below
//! TLS, so a handshake counts too. Invariant: an open connection holds one of the places,
//! and without a request in progress it ends [`Door::new`]'s `idle` after the last one, be
//! it HTTP/1.1 or HTTP/2, and whatever else is sent on it.

use std::future::{Future, Ready, ready};
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Extension;
use axum::middleware::AddExtension;
use axum_server::accept::Accept;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep};
use tower_layer::Layer;

/// Lets in as many as there are places.
#[derive(Clone)]
pub(super) struct Door {
    places: Arc<Semaphore>,
    idle: Duration,
}

impl Door {
    pub(super) fn new(connections: usize, idle: Duration) -> Self {
        Self { places: Arc::new(Semaphore::new(connections)), idle }
    }

    fn admit<S>(&self, stream: TcpStream, service: S) -> io::Result<Admitted<S>> {
        let place = Arc::clone(&self.places).try_acquire_owned();
        let place = place.map_err(|_| io::Error::from(io::ErrorKind::ConnectionRefused))?;
        stream.set_nodelay(true)?;
        let activity = Activity::of(stream.peer_addr().ok().map(|peer| peer.ip()));
        let service = Extension(activity.clone()).layer(service);
        let timer = Box::pin(sleep(self.idle));
        Ok((Guest { stream, activity, timer, idle: self.idle, _place: place }, service))
    }
}

type Admitted<S> = (Guest, AddExtension<S, Activity>);

impl<S> Accept<TcpStream, S> for Door {
    type Stream = Guest;
    type Service = AddExtension<S, Activity>;
    type Future = Ready<io::Result<Admitted<S>>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        ready(self.admit(stream, service))
    }
}

/// What a connection is doing. Each request finds it among its extensions.
#[derive(Clone)]
pub(super) struct Activity {
    doing: Arc<Mutex<Doing>>,
    peer: Option<IpAddr>,
}

struct Doing {
    requests: usize,
    /// When the last one ended, or made progress.
    since: Instant,
}

impl Default for Doing {
    fn default() -> Self {
        Self { requests: 0, since: Instant::now() }
    }
}

impl Activity {
    fn of(peer: Option<IpAddr>) -> Self {
        Self { doing: Arc::default(), peer }
    }

    /// Who is connected.
    pub(super) fn peer(&self) -> Option<IpAddr> {
        self.peer
    }

    /// A request is in progress until the value is dropped.
    pub(super) fn begin(&self) -> Busy {
        self.change(|doing| doing.requests += 1);
        Busy(self.clone())
    }

    fn change(&self, how: impl FnOnce(&mut Doing)) {
        let mut doing = self.doing.lock().unwrap_or_else(PoisonError::into_inner);
        how(&mut doing);
        doing.since = Instant::now();
    }

    /// Since when there is no request; `None` while there is one.
    fn idle_since(&self) -> Option<Instant> {
        let doing = self.doing.lock().unwrap_or_else(PoisonError::into_inner);
        (doing.requests == 0).then_some(doing.since)
    }
}

/// A request in progress.
pub(super) struct Busy(Activity);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.change(|doing| doing.requests = doing.requests.saturating_sub(1));
    }
}

/// A connection with a place.
pub(super) struct Guest {
    stream: TcpStream,
    activity: Activity,
    timer: Pin<Box<Sleep>>,
    idle: Duration,
    _place: OwnedSemaphorePermit,
}

impl Guest {
    /// Ready when it has been idle for too long; until then the task is woken in time.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        loop {
            ready!(self.timer.as_mut().poll(cx));
            let now = Instant::now();
            let end = self.activity.idle_since().unwrap_or(now) + self.idle;
            if end <= now {
                return Poll::Ready(io::ErrorKind::TimedOut.into());
            }
            self.timer.as_mut().reset(end);
        }
    }

    /// The answer of the socket, or the end where the socket has none.
    fn or_idle<T>(
        &mut self,
        polled: Poll<io::Result<T>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        match polled {
            Poll::Pending => self.poll_idle(cx).map(Err),
            done => done,
        }
    }
}

impl AsyncRead for Guest {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.or_idle(polled, cx)
    }
}

impl AsyncWrite for Guest {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.or_idle(polled, cx)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(cx);
        self.or_idle(polled, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
