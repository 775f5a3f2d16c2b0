//! One request to an upstream and its answer, as they pass.
//!
//! Owns the choice of what the cluster speaks; the framing is that of its version of HTTP.
//! What a request is made of is given as it comes, before there is a connection too; what
//! comes back is polled.

mod http1;

use std::rc::Rc;
use std::task::{Context, Poll};

use super::http2::Outgoing;
use super::upstream::Admitted;
use crate::http1::{Framing, Piece, ResponseHead, Unsendable};
use crate::proxy::failure::Failure;
use crate::proxy::fields::{Content, RequestHead};
use crate::view::Pairs;

use http1::OnConnection;

/// Bytes of an answer's fields at most, Envoy's default.
pub(super) const MAX_HEAD: usize = 60 * 1024;

/// What has happened.
pub(super) enum FromUpstream {
    /// The answer's fields; `true` when nothing follows.
    Head(ResponseHead, bool),
    /// Content, trailers or the end.
    Piece(Piece),
    /// There is no answer, or no more of it.
    Failed(Failure),
    /// Bytes have left.
    Progress,
}

/// What carries the request.
enum Wire {
    /// A connection, until both messages are whole.
    Http1(OnConnection),
    /// A stream of a connection.
    Http2(Outgoing),
}

/// One request on its way.
pub(super) struct Forward {
    wire: Wire,
    admitted: Rc<Admitted>,
}

impl Forward {
    /// Starts a request; `end` when neither content nor trailers follow.
    pub fn start(admitted: Admitted, head: &RequestHead, end: bool) -> Result<Self, Unsendable> {
        let admitted = Rc::new(admitted);
        let wire = match admitted.cluster().config.http2 {
            None => Wire::Http1(OnConnection::start(&admitted, head, end)?),
            Some(_) => Wire::Http2(Outgoing::start(&admitted, head, end)?),
        };
        Ok(Self { wire, admitted })
    }

    /// Content of the request; `end` when it was the last.
    pub fn content(&mut self, bytes: &[u8], end: bool) -> Result<(), Unsendable> {
        match &mut self.wire {
            Wire::Http1(on) => on.content(bytes, end),
            Wire::Http2(stream) => stream.content(bytes, end),
        }
    }

    /// Trailers of the request, which end it.
    pub fn trailers(&mut self, pairs: &Pairs) -> Result<(), Unsendable> {
        match &mut self.wire {
            Wire::Http1(on) => on.trailers(pairs),
            Wire::Http2(stream) => stream.trailers(pairs),
        }
    }

    /// Bytes that wait to leave.
    pub fn backlog(&mut self) -> usize {
        match &mut self.wire {
            Wire::Http1(on) => on.backlog(),
            Wire::Http2(stream) => stream.backlog(),
        }
    }

    /// Where it goes, for access logs.
    pub fn admitted(&self) -> &Admitted {
        &self.admitted
    }

    /// What happens next; nothing is read unless `reading`.
    pub fn poll(&mut self, cx: &mut Context<'_>, reading: bool) -> Poll<FromUpstream> {
        match &mut self.wire {
            Wire::Http1(on) => on.poll(cx, reading),
            Wire::Http2(stream) => stream.poll(cx, reading),
        }
    }

    /// Gives the connection back if it can be used again, and closes it if not.
    pub fn settle(self) {
        if let Wire::Http1(on) = self.wire {
            on.settle();
        }
    }
}

/// Framing on the wire. No content is said with a length of 0 where the fields say so.
pub(super) fn framing(content: Content, fields: &Pairs) -> Framing {
    match content {
        Content::None if fields.iter().any(|(name, _)| name == b"content-length") => {
            Framing::Length(0)
        }
        Content::None => Framing::None,
        Content::Length(length) => Framing::Length(length),
        Content::Chunked => Framing::Chunked,
        Content::Tunnel => Framing::Tunnel,
    }
}
