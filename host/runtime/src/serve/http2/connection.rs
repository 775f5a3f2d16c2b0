//! One connection from a caller: its streams, all at once.
//!
//! Owns what concerns them together: the hand-over to [`Stream`], idle time, the end of the
//! gateway, and callers that ask for more than they want answered. Invariant: each request
//! that a caller begins leaves an entry in the access logs, also one that cannot be read.

use std::cell::Cell;
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Builder, Connection, SendResponse};
use h2::{Reason, RecvStream};
use http::Request;
use tokio::task::{JoinSet, yield_now};
use tokio::time::{Instant, sleep_until, timeout};

use super::incoming::Incoming;
use super::watch::{Watch, Watched};
use super::{SEND_BUFFER, wire};
use crate::config::Http;
use crate::proxy::failure::{CALLER_GONE, Failure, Flags};
use crate::proxy::fields;
use crate::serve::caller::Caller;
use crate::serve::conn::{Conn, Transport};
use crate::serve::connection::{FAR, Listening, Peer, time_for_fields};
use crate::serve::desk::Desk;
use crate::serve::stream::{Arrived, Begins, Left, Stream};

/// Streams that callers have cut at once, and all of them: Envoy's
/// `overload.premature_reset_total_stream_count`. Half of them are too many.
const RESETS: u64 = 500;
/// A stream is cut at once in less than this; Envoy counts whole seconds, up to one.
const AT_ONCE: Duration = Duration::from_secs(2);
/// Time for a last frame to leave, and for the peer's streams to end after a first
/// `GOAWAY`; Envoy's `drain_timeout`.
const LAST: Duration = Duration::from_secs(5);
/// What `request.protocol` says.
const PROTOCOL: &str = "HTTP/2";
/// What Envoy says of a request with a field that it must not have.
const INVALID_FIELD: &str = "http2.invalid.header.field";
const FIELDS_TOO_LARGE: &str = "http2.header_list_size_too_large";
const CODEC_ERROR: &str = "codec_error";
/// Bytes of fields beyond the limit that are still read, so that the request can be logged
/// as what it is. Above, the codec answers by itself.
const ROOM: usize = 64 * 1024;

/// What the streams of a connection share with it.
struct Shared {
    desk: Rc<Desk>,
    listening: Rc<Listening>,
    peer: Peer,
    watch: Rc<Watch>,
    /// Streams that have ended, and those of them that were cut at once.
    ended: Cell<u64>,
    in_vain: Cell<u64>,
    /// A message was none, so the connection ends (`stream_error_on_invalid_http_message`).
    broken: Cell<bool>,
    /// Why this side ends the connection under streams that run.
    ends: Rc<Cell<Option<&'static str>>>,
}

/// A connection and its streams.
struct Serving {
    connection: Connection<Watched<Transport>, Bytes>,
    streams: JoinSet<()>,
    shared: Rc<Shared>,
    idle_since: Instant,
    /// A first `GOAWAY` was sent; when the peer should have answered.
    leaving: Option<Instant>,
    far: Instant,
}

/// Serves a connection to its end.
pub(in crate::serve) async fn serve(
    desk: Rc<Desk>,
    listening: Rc<Listening>,
    conn: Conn,
    peer: Peer,
) {
    let (transport, early) = conn.into_parts();
    let watch = Rc::new(Watch::new());
    let io = Watched::new(transport, early, Rc::clone(&watch));
    let idle = listening.http.timers.idle.unwrap_or(FAR);
    let handshake = timeout(idle, builder(&listening.http).handshake(io));
    let connection = tokio::select! {
        made = handshake => match made {
            Ok(Ok(connection)) => connection,
            _ => return,
        },
        _ = desk.drains() => return,
    };
    let shared = Shared {
        desk,
        listening,
        peer,
        watch,
        ended: Cell::new(0),
        in_vain: Cell::new(0),
        broken: Cell::new(false),
        ends: Rc::default(),
    };
    let now = Instant::now();
    let serving = Serving {
        connection,
        streams: JoinSet::new(),
        shared: Rc::new(shared),
        idle_since: now,
        leaving: None,
        far: now + FAR,
    };
    serving.run().await;
}

fn builder(http: &Http) -> Builder {
    let most = http.limits.max_field_bytes.saturating_add(ROOM);
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(http.http2.streams)
        .initial_window_size(http.http2.stream_window)
        .initial_connection_window_size(http.http2.connection_window)
        .max_header_list_size(u32::try_from(most).unwrap_or(u32::MAX))
        .max_send_buffer_size(SEND_BUFFER)
        .max_pending_accept_reset_streams((RESETS / 2) as usize);
    builder
}

impl Serving {
    async fn run(mut self) {
        let desk = Rc::clone(&self.shared.desk);
        let watch = Rc::clone(&self.shared.watch);
        let (mut drains, mut drained) = (pin!(desk.drains()), false);
        let mut sleep = pin!(sleep_until(self.due()));
        let over = loop {
            let due = self.due();
            if sleep.deadline() != due {
                sleep.as_mut().reset(due);
            }
            // What was noticed is looked at when all requests that have come are taken: a
            // request that is reset soon after is no refused one.
            tokio::select! {
                biased;
                _ = &mut drains, if !drained => {
                    drained = true;
                    self.leave();
                }
                () = &mut sleep => {
                    if let Some(over) = self.late() {
                        break over;
                    }
                }
                accepted = self.connection.accept() => match accepted {
                    Some(Ok((request, respond))) => self.begin(request, respond),
                    Some(Err(error)) => break Over::of(&error),
                    None => break Over::Gone,
                },
                Some(_) = self.streams.join_next(), if !self.streams.is_empty() => {
                    self.idle_since = Instant::now();
                }
                () = watch.noticed.notified() => self.refused(),
            }
            self.look();
        };
        self.close(over).await;
    }

    /// Streams that still run find the connection gone.
    async fn close(self, over: Over) {
        let Self { connection, mut streams, shared, leaving, .. } = self;
        drop(connection);
        if leaving.is_none() && shared.ends.get().is_none() {
            let begun = shared.watch.seen.borrow_mut().take_begun();
            let (details, flags) = over.said();
            (0..begun).for_each(|_| drop(streams.spawn_local(unread(&shared, details, flags))));
        }
        while streams.join_next().await.is_some() {}
    }

    /// When something has to be done if nothing happens.
    fn due(&self) -> Instant {
        let timers = &self.shared.listening.http.timers;
        let since = self.shared.watch.seen.borrow().fields_since;
        let fields = since.map(|since| Instant::from_std(since) + time_for_fields(timers).0);
        [fields, self.idle_at(), self.leaving].into_iter().flatten().min().unwrap_or(self.far)
    }

    /// When nothing has run for too long.
    fn idle_at(&self) -> Option<Instant> {
        let idle = self.shared.listening.http.timers.idle?;
        (self.streams.is_empty() && self.leaving.is_none()).then(|| self.idle_since + idle)
    }

    /// It is; gives how the connection is over if it is.
    fn late(&mut self) -> Option<Over> {
        let now = Instant::now();
        let timers = &self.shared.listening.http.timers;
        let since = self.shared.watch.seen.borrow().fields_since;
        let (time, failure) = time_for_fields(timers);
        if since.is_some_and(|since| now.into_std().duration_since(since) >= time) {
            return Some(Over::Late(failure));
        }
        match self.leaving {
            // The peer does not answer, and nothing runs that it could wait for.
            Some(due) if due <= now && self.streams.is_empty() => Some(Over::Gone),
            Some(due) if due <= now => {
                self.leaving = Some(now + LAST);
                None
            }
            None if self.idle_at().is_some_and(|idle| idle <= now) => {
                self.leave();
                None
            }
            // What was waited for has come in between.
            _ => None,
        }
    }

    /// Takes no more streams and ends with those that run.
    fn leave(&mut self) {
        if self.leaving.is_none() {
            self.leaving = Some(Instant::now() + LAST);
            self.connection.graceful_shutdown();
        }
    }

    fn begin(&mut self, request: Request<RecvStream>, respond: SendResponse<Bytes>) {
        self.shared.watch.seen.borrow_mut().taken(respond.stream_id().as_u32());
        self.streams.spawn_local(one(Rc::clone(&self.shared), request, respond));
    }

    /// Tells of what the codec has refused.
    fn refused(&mut self) {
        let shared = Rc::clone(&self.shared);
        let (refused, oversized) = {
            let mut seen = shared.watch.seen.borrow_mut();
            (seen.take_refused(), seen.take_oversized())
        };
        for _ in 0..refused {
            self.streams.spawn_local(unread(&shared, INVALID_FIELD, Flags::DPE));
            shared.broken.set(true);
        }
        for _ in 0..oversized {
            self.streams.spawn_local(unread(&shared, FIELDS_TOO_LARGE, Flags::DR));
        }
    }

    /// Looks at what the peer and its streams have come to.
    fn look(&mut self) {
        let shared = Rc::clone(&self.shared);
        let flood = shared.watch.seen.borrow().is_flood();
        if flood {
            self.end(Reason::ENHANCE_YOUR_CALM, "http2.inbound_control_frames_flood");
        } else if shared.broken.get() {
            self.end(Reason::PROTOCOL_ERROR, CODEC_ERROR);
        } else if shared.has_too_many_in_vain() {
            self.end(Reason::ENHANCE_YOUR_CALM, "too_many_premature_resets");
        }
    }

    /// Ends the connection under whatever runs on it.
    fn end(&mut self, reason: Reason, details: &'static str) {
        if self.shared.ends.replace(Some(details)).is_none() {
            self.connection.abrupt_shutdown(reason);
        }
    }
}

/// How a connection was over.
enum Over {
    /// The peer has gone.
    Gone,
    /// What came was not HTTP/2.
    Broken,
    /// Fields took too long.
    Late(Failure),
}

impl Over {
    fn of(error: &h2::Error) -> Self {
        if error.is_io() || error.is_remote() { Self::Gone } else { Self::Broken }
    }

    /// What is told of requests that had begun and not come.
    fn said(&self) -> (&'static str, Flags) {
        match self {
            Self::Gone => (CALLER_GONE, Flags::DC),
            Self::Broken => (CODEC_ERROR, Flags::DPE),
            Self::Late(failure) => ("request_header_timeout", failure.flags()),
        }
    }
}

impl Shared {
    fn has_ended(&self, in_vain: bool) {
        self.ended.set(self.ended.get() + 1);
        self.in_vain.set(self.in_vain.get() + u64::from(in_vain));
    }

    fn has_too_many_in_vain(&self) -> bool {
        self.in_vain.get() * 2 >= self.ended.get().max(RESETS)
    }

    /// A request, or what is said instead of serving it.
    fn accept(&self, head: &http::request::Parts, has_content: bool) -> Arrived {
        let peer = &self.peer;
        let arrival = peer.arrival(self.listening.scheme);
        let arrived = Arrived {
            request: Vec::new(),
            begins: Begins::Serve,
            flags: Flags::NONE,
            has_content,
            upgrade: false,
            expects: false,
            keep: true,
            protocol: PROTOCOL,
            connection: Rc::clone(&peer.facts),
        };
        match fields::arrived_http2(wire::came(head), &self.listening.http, &arrival) {
            Ok(accepted) => {
                Arrived { request: accepted.pairs, expects: accepted.expects_continue, ..arrived }
            }
            Err(refusal) => {
                self.broken.set(self.broken.get() | (refusal.resets && refusal.closes));
                let begins = match refusal.resets {
                    true => Begins::Gone(refusal.reply.details),
                    false => Begins::Refuse(refusal.reply),
                };
                Arrived { request: refusal.seen, begins, flags: refusal.flags, ..arrived }
            }
        }
    }
}

/// One stream from its fields to its end.
async fn one(shared: Rc<Shared>, request: Request<RecvStream>, respond: SendResponse<Bytes>) {
    let (desk, listening) = (&shared.desk, &shared.listening);
    let began = Instant::now();
    listening.counts.rq_total.fetch_add(1, Relaxed);
    let (head, content) = request.into_parts();
    let mut arrived = shared.accept(&head, !content.is_end_stream());
    let max_fields = listening.http.limits.max_fields;
    let mut incoming = Incoming::new(content, respond, max_fields, Rc::clone(&shared.ends));
    let caller = Caller::http2(&mut incoming, head.method == http::Method::HEAD);
    let stream = Stream::new(desk, listening, caller, &mut arrived);
    match stream.run(&mut arrived).await {
        Left::Cut => {
            // The codec forgets what it holds of a stream that is reset: first it may write.
            yield_now().await;
            incoming.cut();
        }
        Left::Ready | Left::Last => {
            let patience = listening.http.timers.stream_idle.unwrap_or(Duration::from_secs(300));
            incoming.drain_slowly(patience).await;
        }
    }
    shared.has_ended(incoming.was_in_vain() && began.elapsed() < AT_ONCE);
}

/// Tells filters and loggers of a request that could not be read.
fn unread(
    shared: &Rc<Shared>,
    details: &'static str,
    flags: Flags,
) -> impl Future<Output = ()> + use<> {
    let shared = Rc::clone(shared);
    async move {
        shared.listening.counts.rq_total.fetch_add(1, Relaxed);
        let mut arrived = Arrived {
            request: Vec::new(),
            begins: Begins::Gone(details.into()),
            flags,
            has_content: false,
            upgrade: false,
            expects: false,
            keep: false,
            protocol: PROTOCOL,
            connection: Rc::clone(&shared.peer.facts),
        };
        let stream = Stream::new(&shared.desk, &shared.listening, Caller::nobody(), &mut arrived);
        stream.run(&mut arrived).await;
    }
}
