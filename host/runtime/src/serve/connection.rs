//! One connection from a caller: its requests one after another.
//!
//! Owns the time between requests and the end of the connection. Invariant: whatever a
//! caller sends first, it gets an answer and leaves an entry in the access logs, unless it
//! sends nothing.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};

use super::caller::{Caller, OnConnection};
use super::conn::Conn;
use super::desk::Desk;
use super::http2;
use super::log::Lines;
use super::process::ListenerCounts;
use super::stream::{Arrived, Begins, Left, Stream, malformed_reply};
use crate::config::{self, Codec, Http, Timers};
use crate::http1::{
    Decoder, Framing, Limits, Malformed, RequestHead, Version, request_framing, request_head,
};
use crate::proxy::exchange::Facts;
use crate::proxy::failure::{CALLER_GONE, Failure, Flags};
use crate::proxy::fields::{self, Arrival, Scheme};
use crate::proxy::filters::Site;
use crate::proxy::line::Ended;
use crate::view::LocalReply;

/// A listener on one worker.
pub(super) struct Listening {
    /// For streams that begin now; those that run keep theirs.
    pub site: RefCell<Rc<Site>>,
    pub http: Http,
    /// Name of the filter chain.
    pub chain: String,
    pub scheme: Scheme,
    pub counts: Arc<ListenerCounts>,
    pub lines: Lines,
}

impl Listening {
    fn limits(&self) -> Limits {
        let limits = &self.http.limits;
        Limits { max_fields: limits.max_fields, max_head: limits.max_field_bytes }
    }

    /// Counts an answer by its class.
    pub fn count(&self, status: Option<u16>) {
        let class = status.and_then(|status| (status / 100).checked_sub(1));
        if let Some(count) = class.and_then(|class| self.counts.rq_class.get(usize::from(class))) {
            count.fetch_add(1, Relaxed);
        }
    }

    /// Writes the lines of the access logs that are no modules.
    pub fn log(&self, ended: &Ended<'_>) {
        self.lines.write(&self.http.access_log, ended);
    }
}

/// What `request.protocol` says.
const PROTOCOL: &str = "HTTP/1.1";
/// Time for a last answer to leave, and for a caller to read it.
const LINGER: Duration = Duration::from_secs(1);
/// Far enough for a timer that is off.
pub(super) const FAR: Duration = Duration::from_secs(365 * 86_400);
/// Bytes that are read and dropped then.
const MOST_DROPPED: usize = 256 * 1024;

/// What comes next on a connection.
enum Next {
    Request(RequestHead),
    /// The rest is HTTP/2.
    Http2,
    Malformed(Malformed),
    /// The fields took too long.
    Late(Failure),
    /// The caller has left in the middle of the fields.
    Gone,
    /// Nothing came.
    Over,
}

/// Where a connection comes from.
pub(super) struct Peer {
    pub address: std::net::IpAddr,
    pub facts: Rc<Facts>,
    /// What TLS has agreed on.
    pub alpn: Option<Vec<u8>>,
}

impl Peer {
    /// How its next request comes.
    pub(super) fn arrival(&self, scheme: Scheme) -> Arrival {
        let mutual = self.facts.get(b"connection\0mtls".as_slice()) == Some(&vec![1]);
        Arrival { scheme, peer: self.address, mutual, request_id: request_id() }
    }
}

/// What HTTP/2 begins with, as far as Envoy looks at it (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2";

/// Which version of HTTP comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spoken {
    Http1,
    Http2,
    /// The first bytes will say.
    Either,
}

impl Spoken {
    fn on(codec: Codec, alpn: Option<&[u8]>) -> Self {
        match (codec, alpn) {
            (Codec::Http1, _) => Self::Http1,
            (Codec::Http2, _) => Self::Http2,
            (Codec::Auto, Some(agreed)) if agreed == config::HTTP2.as_bytes() => Self::Http2,
            (Codec::Auto, Some(_)) => Self::Http1,
            (Codec::Auto, None) => Self::Either,
        }
    }

    /// What the first bytes say.
    fn told(self, bytes: &[u8]) -> Self {
        match self {
            Self::Either if bytes.starts_with(PREFACE) => Self::Http2,
            Self::Either if PREFACE.starts_with(bytes) => Self::Either,
            Self::Either => Self::Http1,
            known => known,
        }
    }
}

/// Serves a connection to its end.
pub(super) async fn serve(desk: Rc<Desk>, listening: Rc<Listening>, mut conn: Conn, peer: Peer) {
    let mut spoken = Spoken::on(listening.http.codec, peer.alpn.as_deref());
    loop {
        let mut arrived = match next(&desk, &listening, &mut conn, &mut spoken).await {
            Next::Over => return,
            // Out of the way of the many that speak HTTP/1.1.
            Next::Http2 => return Box::pin(http2::serve(desk, listening, conn, peer)).await,
            Next::Request(head) => accept(&listening, head, &peer),
            Next::Malformed(malformed) => refuse(malformed, &peer),
            Next::Late(failure) => answer(&peer, failure.reply(), failure.flags()),
            Next::Gone => gone(&peer),
        };
        listening.counts.rq_total.fetch_add(1, Relaxed);
        let decoder = Decoder::new(arrived.framing, &listening.limits());
        let on = OnConnection::new(&mut conn, decoder, arrived.stream.upgrade);
        let caller = Caller::http1(on, arrived.to_head);
        let stream = Stream::new(&desk, &listening, caller, &mut arrived.stream);
        let left = stream.run(&mut arrived.stream).await;
        let patience = listening.http.timers.stream_idle.unwrap_or(Duration::from_secs(300));
        let written = conn.drain_slowly(patience).await;
        match (left, written) {
            (Left::Ready, Ok(())) => {}
            (Left::Last, Ok(())) => return linger(conn).await,
            _ => return,
        }
    }
}

/// A request, or what is said instead of serving it.
struct First {
    stream: Arrived,
    framing: Framing,
    to_head: bool,
}

fn accept(listening: &Listening, head: RequestHead, peer: &Peer) -> First {
    if head.version != Version::Http11 {
        return refuse(Malformed::Version, peer);
    }
    let framing = match request_framing(&head) {
        // In Envoy too, a length of 0 is no content.
        Ok(Framing::Length(0)) => Framing::None,
        Ok(framing) => framing,
        Err(malformed) => return refuse(malformed, peer),
    };
    let RequestHead { method, target, fields, .. } = head;
    let arrival = peer.arrival(listening.scheme);
    let to_head = method == b"HEAD";
    let arrived = fields::arrived(&method, &target, fields, &listening.http, &arrival);
    let arrived = arrived.and_then(|it| match it.upgrade && framing != Framing::None {
        true => Err(fields::upgrade_refused(&it.pairs)),
        false => Ok(it),
    });
    let upgrade = arrived.as_ref().is_ok_and(|accepted| accepted.upgrade);
    let framing = if upgrade { Framing::Tunnel } else { framing };
    let stream = match arrived {
        Ok(accepted) => Arrived {
            request: accepted.pairs,
            begins: Begins::Serve,
            flags: Flags::NONE,
            has_content: framing != Framing::None,
            upgrade,
            expects: accepted.expects_continue,
            keep: !accepted.closes,
            protocol: PROTOCOL,
            connection: Rc::clone(&peer.facts),
        },
        Err(refusal) => Arrived {
            request: refusal.seen,
            begins: Begins::Refuse(refusal.reply),
            flags: refusal.flags,
            has_content: framing != Framing::None,
            upgrade,
            expects: false,
            keep: !refusal.closes,
            protocol: PROTOCOL,
            connection: Rc::clone(&peer.facts),
        },
    };
    First { stream, framing, to_head }
}

/// What cannot be read has no fields, as in Envoy.
fn refuse(malformed: Malformed, peer: &Peer) -> First {
    answer(peer, malformed_reply(malformed), Flags::DPE)
}

fn answer(peer: &Peer, reply: LocalReply, flags: Flags) -> First {
    unread(peer, Begins::Refuse(reply), flags)
}

fn gone(peer: &Peer) -> First {
    unread(peer, Begins::Gone(CALLER_GONE.into()), Flags::DC)
}

fn unread(peer: &Peer, begins: Begins, flags: Flags) -> First {
    let stream = Arrived {
        request: Vec::new(),
        begins,
        flags,
        has_content: false,
        upgrade: false,
        expects: false,
        keep: false,
        protocol: PROTOCOL,
        connection: Rc::clone(&peer.facts),
    };
    First { stream, framing: Framing::None, to_head: false }
}

async fn next(desk: &Desk, listening: &Listening, conn: &mut Conn, spoken: &mut Spoken) -> Next {
    let timers = &listening.http.timers;
    let limits = listening.limits();
    let idle = Instant::now() + timers.idle.unwrap_or(FAR);
    let mut begun: Option<(Instant, Failure)> = None;
    loop {
        *spoken = spoken.told(&conn.input);
        let read = match spoken {
            Spoken::Http1 => request_head(&mut conn.input, &limits),
            Spoken::Http2 => return Next::Http2,
            Spoken::Either => Ok(None),
        };
        match read {
            Ok(Some(head)) => return Next::Request(head),
            Err(malformed) => return Next::Malformed(malformed),
            Ok(None) => {}
        }
        if begun.is_none() && !conn.input.is_empty() {
            let (time, failure) = time_for_fields(timers);
            begun = Some((Instant::now() + time, failure));
        }
        if conn.eof {
            return if begun.is_some() { Next::Gone } else { Next::Over };
        }
        let deadline = begun.map_or(idle, |(deadline, _)| deadline);
        let filled = tokio::select! {
            filled = timeout_at(deadline, conn.fill()) => filled,
            _ = desk.drains(), if begun.is_none() => return Next::Over,
        };
        match (filled, begun) {
            (Ok(Ok(())), _) => {}
            (Err(_), Some((_, failure))) => return Next::Late(failure),
            (Ok(Err(_)), Some(_)) => return Next::Gone,
            (_, None) => return Next::Over,
        }
    }
}

/// Time from the first byte of a request to the end of its fields, and what is said then.
/// Each timer that runs for a stream runs here too.
pub(super) fn time_for_fields(timers: &Timers) -> (Duration, Failure) {
    let all = [
        (timers.request_headers, Failure::HeaderTimeout),
        (timers.request, Failure::RequestTimeout { whole: false }),
        (timers.stream_idle, Failure::StreamIdle { whole: false }),
        (timers.stream, Failure::MaxDuration { whole: false }),
    ];
    let on = all.into_iter().filter_map(|(time, failure)| Some((time?, failure)));
    on.min_by_key(|(time, _)| *time).unwrap_or((FAR, Failure::HeaderTimeout))
}

/// A caller that still sends would lose the answer if the connection were closed at once.
async fn linger(mut conn: Conn) {
    let ending = async {
        conn.shutdown().await?;
        let mut dropped = 0;
        while !conn.eof && dropped < MOST_DROPPED {
            conn.fill().await?;
            dropped += conn.input.len();
            conn.input.clear();
        }
        Ok::<(), std::io::Error>(())
    };
    let _ = timeout(LINGER, ending).await;
}

/// A random UUID (RFC 9562, 5.4).
fn request_id() -> String {
    use ring::rand::SecureRandom;
    let mut bytes = [0; 16];
    // Without randomness ids repeat; nothing is decided by them.
    let _ = ring::rand::SystemRandom::new().fill(&mut bytes);
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
    parts.join("-")
}
