//! The caller's side of one stream: its request as it comes, the answer as it leaves.
//!
//! Owns what is counted of it; the framing is that of its version of HTTP. Invariant: an
//! answer that was begun ends as it was framed, or it is cut where it breaks.

mod http1;
mod module;

use std::task::{Context, Poll};

use super::http2::Incoming;
use crate::http1::{Malformed, Piece, Unsendable};
use crate::proxy::failure::{CALLER_GONE, CALLER_RESET, Flags};
use crate::proxy::fields::ResponseHead;
use crate::view::Pairs;

pub(super) use http1::OnConnection;
pub(super) use module::Asked;

/// What has happened.
pub(super) enum FromCaller {
    /// Content, trailers or the end.
    Piece(Piece),
    /// All of the content.
    Whole(Vec<u8>),
    /// It does not speak HTTP any more.
    Broken(Malformed),
    /// It has gone.
    Gone(Gone),
    /// Bytes have left.
    Progress,
}

/// How a caller goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gone {
    /// Its connection has ended.
    Connection,
    /// It has cut the stream.
    Reset,
    /// The stream was cut since one side has broken the protocol.
    Violation,
    /// This side has ended the connection.
    Ended(&'static str),
}

impl Gone {
    /// What access logs say.
    pub fn said(self) -> (&'static str, Flags) {
        match self {
            Self::Connection => (CALLER_GONE, Flags::DC),
            Self::Reset => (CALLER_RESET, Flags::DR),
            Self::Violation => (CALLER_RESET, Flags::DPE),
            Self::Ended(details) => (details, Flags::NONE),
        }
    }
}

/// What carries the stream.
enum Wire<'c> {
    /// A connection, until the answer is whole.
    Http1(OnConnection<'c>),
    /// A stream of a connection.
    Http2(&'c mut Incoming),
    /// A module that has called out.
    Module(Asked),
    /// Nothing: the stream is only told of.
    Nobody,
}

/// One request, and its answer.
pub(super) struct Caller<'c> {
    wire: Wire<'c>,
    pub to_head: bool,
    /// Bytes of content that came and that left.
    pub received: u64,
    pub sent: u64,
    /// Status of the answer.
    pub status: Option<u16>,
}

impl<'c> Caller<'c> {
    /// The next request of a connection.
    pub fn http1(on: OnConnection<'c>, to_head: bool) -> Self {
        Self::new(Wire::Http1(on), to_head)
    }

    /// A stream of a connection.
    pub fn http2(stream: &'c mut Incoming, to_head: bool) -> Self {
        Self::new(Wire::Http2(stream), to_head)
    }

    /// A module's call-out.
    pub fn module(asked: Asked, to_head: bool) -> Self {
        Self::new(Wire::Module(asked), to_head)
    }

    /// Nobody who could be answered.
    pub fn nobody() -> Self {
        Self::new(Wire::Nobody, false)
    }

    fn new(wire: Wire<'c>, to_head: bool) -> Self {
        Self { wire, to_head, received: 0, sent: 0, status: None }
    }

    /// Whether it speaks HTTP/2.
    pub fn speaks_http2(&self) -> bool {
        !matches!(self.wire, Wire::Http1(_))
    }

    /// What happens next; content is read only if `reading`.
    pub fn poll(&mut self, cx: &mut Context<'_>, reading: bool) -> Poll<FromCaller> {
        match &mut self.wire {
            Wire::Http1(on) => on.poll(cx, reading),
            Wire::Http2(stream) => stream.poll(cx, reading),
            Wire::Module(asked) => asked.poll(reading),
            Wire::Nobody => Poll::Pending,
        }
    }

    /// Whether a module is answered: it gets the fields as filters have left them. `end` when
    /// nothing follows.
    pub fn is_told(&mut self, pairs: &Pairs, end: bool) -> bool {
        let Wire::Module(asked) = &mut self.wire else { return false };
        asked.head(pairs, end);
        let status = pairs.iter().find(|(name, _)| name == b":status");
        let status = status.and_then(|(_, value)| std::str::from_utf8(value).ok());
        self.status = status.and_then(|status| status.parse().ok());
        true
    }

    /// The answer's fields; `end` when nothing follows.
    pub fn head(&mut self, head: &ResponseHead, end: bool) -> Result<(), Unsendable> {
        match &mut self.wire {
            Wire::Http1(on) => on.head(head, end, self.to_head)?,
            Wire::Http2(stream) => stream.head(head, end)?,
            // It has been told.
            Wire::Module(_) | Wire::Nobody => {}
        }
        self.status = Some(head.status);
        Ok(())
    }

    /// Content of the answer; `end` when it was the last.
    pub fn content(&mut self, bytes: &[u8], end: bool) -> Result<(), Unsendable> {
        if self.status.is_some() {
            self.sent += bytes.len() as u64;
        }
        match &mut self.wire {
            Wire::Http1(on) => on.content(bytes, end),
            Wire::Http2(stream) => stream.content(bytes, end),
            Wire::Module(asked) => asked.content(bytes, end),
            Wire::Nobody => Ok(()),
        }
    }

    /// Trailers of the answer, which end it.
    pub fn trailers(&mut self, pairs: &Pairs) -> Result<(), Unsendable> {
        match &mut self.wire {
            Wire::Http1(on) => on.trailers(pairs),
            Wire::Http2(stream) => stream.trailers(pairs),
            Wire::Module(asked) => {
                asked.trailers(pairs);
                Ok(())
            }
            Wire::Nobody => Ok(()),
        }
    }

    /// An interim answer: the caller may send its content (RFC 9110, 15.2.1).
    pub fn proceed(&mut self) {
        match &mut self.wire {
            Wire::Http1(on) => on.proceed(),
            Wire::Http2(stream) => stream.proceed(),
            Wire::Module(_) | Wire::Nobody => {}
        }
    }

    /// Bytes that wait to leave.
    pub fn backlog(&self) -> usize {
        match &self.wire {
            Wire::Http1(on) => on.backlog(),
            Wire::Http2(stream) => stream.backlog(),
            Wire::Module(_) | Wire::Nobody => 0,
        }
    }

    /// Whether the request has come whole.
    pub fn has_all(&self) -> bool {
        match &self.wire {
            Wire::Http1(on) => on.has_all(),
            Wire::Http2(stream) => stream.has_all(),
            Wire::Module(asked) => asked.has_all(),
            Wire::Nobody => true,
        }
    }

    /// Whether the answer has been framed whole.
    pub fn is_answered(&self) -> bool {
        match &self.wire {
            Wire::Http1(on) => on.is_answered(),
            Wire::Http2(stream) => stream.is_answered(),
            Wire::Module(asked) => asked.is_answered(),
            Wire::Nobody => false,
        }
    }
}
