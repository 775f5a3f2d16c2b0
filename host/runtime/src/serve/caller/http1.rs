//! One request of a connection that speaks HTTP/1.1, and its answer.
//!
//! Invariant: what a caller sends behind its request waits for the next one.

use std::task::{Context, Poll};

use super::{FromCaller, Gone};
use crate::http1::{Decoder, Encoder, Framing, Malformed, Piece, Unsendable};
use crate::proxy::fields::{Content, ResponseHead};
use crate::serve::conn::Conn;
use crate::serve::forward::framing;
use crate::view::Pairs;

/// Bytes of later requests that are kept while one is answered.
const MOST_AHEAD: usize = 64 * 1024;

/// A connection, as long as this request and its answer need it.
pub(in crate::serve) struct OnConnection<'c> {
    conn: &'c mut Conn,
    request: Decoder,
    answer: Option<Encoder>,
    /// Another protocol follows the request.
    tunnel: bool,
}

impl<'c> OnConnection<'c> {
    pub fn new(conn: &'c mut Conn, request: Decoder, tunnel: bool) -> Self {
        Self { conn, request, answer: None, tunnel }
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>, reading: bool) -> Poll<FromCaller> {
        if self.conn.is_writing() {
            match self.conn.poll_drain(cx) {
                Poll::Ready(Ok(())) => return Poll::Ready(FromCaller::Progress),
                Poll::Ready(Err(_)) => return gone(),
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
                // Half of a tunnel is none, as in Envoy.
                Ok(Some(Piece::End)) if self.tunnel => return gone(),
                Ok(Some(piece)) => return Poll::Ready(FromCaller::Piece(piece)),
                Err(Malformed::Truncated) => return gone(),
                Err(malformed) => return Poll::Ready(FromCaller::Broken(malformed)),
                Ok(None) => {}
            }
            match self.conn.poll_fill(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return gone(),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Whether it has gone while it waits for the answer. What it sends meanwhile is its
    /// next request.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<FromCaller> {
        while self.conn.input.len() < MOST_AHEAD {
            if self.conn.eof {
                return gone();
            }
            match self.conn.poll_fill(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return gone(),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Pending
    }

    pub(super) fn head(
        &mut self,
        head: &ResponseHead,
        end: bool,
        to_head: bool,
    ) -> Result<(), Unsendable> {
        let ResponseHead { status, fields, content } = head;
        let switches = *content == Content::Tunnel;
        let silent = (to_head || matches!(status, 204 | 304)) && !switches;
        let framing = if silent { Framing::None } else { framing(*content, fields) };
        let out = &mut self.conn.output;
        let mut encoder = match to_head && !switches {
            true => Encoder::response_to_head(out, *status, fields)?,
            false => Encoder::response(out, *status, fields, framing)?,
        };
        if end {
            encoder.end(out)?;
        }
        self.answer = Some(encoder);
        Ok(())
    }

    pub(super) fn content(&mut self, bytes: &[u8], end: bool) -> Result<(), Unsendable> {
        let Some(encoder) = &mut self.answer else { return Ok(()) };
        let out = &mut self.conn.output;
        if !bytes.is_empty() {
            encoder.data(out, bytes)?;
        }
        if end { encoder.end(out) } else { Ok(()) }
    }

    pub(super) fn trailers(&mut self, pairs: &Pairs) -> Result<(), Unsendable> {
        match &mut self.answer {
            Some(encoder) => encoder.trailers(&mut self.conn.output, pairs),
            None => Ok(()),
        }
    }

    pub(super) fn proceed(&mut self) {
        self.conn.output.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
    }

    pub(super) fn backlog(&self) -> usize {
        self.conn.output.len()
    }

    pub(super) fn has_all(&self) -> bool {
        self.request.is_done()
    }

    pub(super) fn is_answered(&self) -> bool {
        self.answer.as_ref().is_some_and(Encoder::is_done)
    }
}

fn gone() -> Poll<FromCaller> {
    Poll::Ready(FromCaller::Gone(Gone::Connection))
}
