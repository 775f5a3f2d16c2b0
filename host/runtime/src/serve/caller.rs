//! The caller's side of one stream: its request as it comes, the answer as it leaves.
//!
//! Owns the framing towards the caller. Invariant: an answer that was begun ends as it was
//! framed, or the connection is cut where it breaks.

use std::task::{Context, Poll};

use super::conn::Conn;
use super::forward::framing;
use crate::http1::{Decoder, Encoder, Framing, Malformed, Piece, Unsendable};
use crate::proxy::fields::ResponseHead;
use crate::view::Pairs;

/// Bytes of later requests that are kept while one is answered.
const MOST_AHEAD: usize = 64 * 1024;

/// What has happened.
pub(super) enum FromCaller {
    /// Content, trailers or the end.
    Piece(Piece),
    /// It does not speak HTTP any more.
    Broken(Malformed),
    /// It has gone.
    Gone,
    /// Bytes have left.
    Progress,
}

/// One request of a connection, and its answer.
pub(super) struct Caller<'c> {
    conn: &'c mut Conn,
    request: Decoder,
    answer: Option<Encoder>,
    pub to_head: bool,
    /// Bytes of content that came and that left.
    pub received: u64,
    pub sent: u64,
    /// Status of the answer.
    pub status: Option<u16>,
}

impl<'c> Caller<'c> {
    pub fn new(conn: &'c mut Conn, request: Decoder, to_head: bool) -> Self {
        Self { conn, request, answer: None, to_head, received: 0, sent: 0, status: None }
    }

    /// What happens next; content is read only if `reading`.
    pub fn poll(&mut self, cx: &mut Context<'_>, reading: bool) -> Poll<FromCaller> {
        if self.conn.is_writing() {
            match self.conn.poll_drain(cx) {
                Poll::Ready(Ok(())) => return Poll::Ready(FromCaller::Progress),
                Poll::Ready(Err(_)) => return Poll::Ready(FromCaller::Gone),
                Poll::Pending => {}
            }
        }
        if self.request.is_done() {
            return self.poll_gone(cx);
        }
        if reading { self.poll_request(cx) } else { Poll::Pending }
    }

    fn poll_request(&mut self, cx: &mut Context<'_>) -> Poll<FromCaller> {
        loop {
            match self.request.decode(&mut self.conn.input, self.conn.eof) {
                Ok(Some(piece)) => return Poll::Ready(FromCaller::Piece(piece)),
                Err(Malformed::Truncated) => return Poll::Ready(FromCaller::Gone),
                Err(malformed) => return Poll::Ready(FromCaller::Broken(malformed)),
                Ok(None) => {}
            }
            match self.conn.poll_fill(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(FromCaller::Gone),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Whether it has gone while it waits for the answer. What it sends meanwhile is its
    /// next request.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<FromCaller> {
        while self.conn.input.len() < MOST_AHEAD {
            if self.conn.eof {
                return Poll::Ready(FromCaller::Gone);
            }
            match self.conn.poll_fill(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(FromCaller::Gone),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Pending
    }

    /// The answer's fields; `end` when nothing follows.
    pub fn head(&mut self, head: &ResponseHead, end: bool) -> Result<(), Unsendable> {
        let ResponseHead { status, fields, content } = head;
        let silent = self.to_head || matches!(status, 204 | 304);
        let framing = if silent { Framing::None } else { framing(*content, fields) };
        let out = &mut self.conn.output;
        let mut encoder = Encoder::response(out, *status, fields, framing)?;
        if end {
            encoder.end(out)?;
        }
        self.status = Some(*status);
        self.answer = Some(encoder);
        Ok(())
    }

    /// Content of the answer; `end` when it was the last.
    pub fn content(&mut self, bytes: &[u8], end: bool) -> Result<(), Unsendable> {
        let Some(encoder) = &mut self.answer else { return Ok(()) };
        let out = &mut self.conn.output;
        self.sent += bytes.len() as u64;
        if !bytes.is_empty() {
            encoder.data(out, bytes)?;
        }
        if end { encoder.end(out) } else { Ok(()) }
    }

    /// Trailers of the answer, which end it.
    pub fn trailers(&mut self, pairs: &Pairs) -> Result<(), Unsendable> {
        match &mut self.answer {
            Some(encoder) => encoder.trailers(&mut self.conn.output, pairs),
            None => Ok(()),
        }
    }

    /// An interim answer: the caller may send its content (RFC 9110, 15.2.1).
    pub fn proceed(&mut self) {
        self.conn.output.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
    }

    /// Bytes that wait to leave.
    pub fn backlog(&self) -> usize {
        self.conn.output.len()
    }

    /// Whether the request has come whole.
    pub fn has_all(&self) -> bool {
        self.request.is_done()
    }

    /// Whether the answer has been framed whole.
    pub fn is_answered(&self) -> bool {
        self.answer.as_ref().is_some_and(Encoder::is_done)
    }
}
