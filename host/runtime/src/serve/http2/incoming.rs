//! One stream of a caller's connection: its request as it comes, the answer as it leaves.
//!
//! Invariant: an answer that was begun ends whole, or the stream is reset where it breaks.

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{Response, StatusCode};
use tokio::time::timeout;

use super::receiving::Receiving;
use super::sending::Sending;
use super::wire;
use crate::http1::{Piece, Unsendable};
use crate::proxy::fields::{Content, ResponseHead};
use crate::serve::caller::{FromCaller, Gone};
use crate::view::Pairs;

/// One request, and its answer.
pub(in crate::serve) struct Incoming {
    request: Receiving,
    respond: SendResponse<Bytes>,
    answer: Option<Sending>,
    max_fields: usize,
    /// The caller has cut it.
    reset: bool,
    /// Why this side ends the connection, if it does.
    ends: Rc<Cell<Option<&'static str>>>,
}

impl Incoming {
    /// A request whose fields have come; its trailers are held to `max_fields`.
    pub fn new(
        content: RecvStream,
        respond: SendResponse<Bytes>,
        max_fields: usize,
        ends: Rc<Cell<Option<&'static str>>>,
    ) -> Self {
        let request = Receiving::new(content);
        Self { request, respond, answer: None, max_fields, reset: false, ends }
    }

    /// What happens next; content is read only if `reading`.
    pub fn poll(&mut self, cx: &mut Context<'_>, reading: bool) -> Poll<FromCaller> {
        if let Some(answer) = &mut self.answer {
            match answer.poll(cx) {
                Poll::Ready(Ok(())) => return Poll::Ready(FromCaller::Progress),
                Poll::Ready(Err(error)) => return self.gone(error.reason()),
                Poll::Pending => {}
            }
        }
        match self.poll_reset(cx) {
            Poll::Ready(Ok(reason)) => return self.gone(Some(reason)),
            Poll::Ready(Err(error)) => return self.gone(error.reason()),
            Poll::Pending => {}
        }
        if !reading || self.request.is_done() {
            return Poll::Pending;
        }
        match std::task::ready!(self.request.poll(cx)) {
            Ok(Piece::Trailers(trailers)) if trailers.len() > self.max_fields => {
                self.cut();
                self.gone(Some(Reason::INTERNAL_ERROR))
            }
            Ok(piece) => Poll::Ready(FromCaller::Piece(piece)),
            Err(error) => self.gone(error.reason()),
        }
    }

    fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<Result<Reason, h2::Error>> {
        match &mut self.answer {
            None => self.respond.poll_reset(cx),
            // What is whole cannot be cut any more.
            Some(answer) if answer.is_given() => Poll::Pending,
            Some(answer) => answer.poll_reset(cx),
        }
    }

    /// A reset that says that this side has broken the protocol, or that the codec has found
    /// that the caller has, is told apart, as in Envoy.
    fn gone(&mut self, reason: Option<Reason>) -> Poll<FromCaller> {
        if let Some(details) = self.ends.get() {
            return Poll::Ready(FromCaller::Gone(Gone::Ended(details)));
        }
        self.reset = reason.is_some();
        Poll::Ready(FromCaller::Gone(match reason {
            None => Gone::Connection,
            Some(Reason::PROTOCOL_ERROR) => Gone::Violation,
            Some(_) => Gone::Reset,
        }))
    }

    /// The answer's fields; `end` when nothing follows.
    pub fn head(&mut self, head: &ResponseHead, end: bool) -> Result<(), Unsendable> {
        let mut response = Response::new(());
        *response.status_mut() =
            StatusCode::from_u16(head.status).map_err(|_| Unsendable::Status)?;
        *response.headers_mut() = wire::fields(&head.fields)?;
        let length = match head.content {
            Content::Length(length) => Some(length),
            Content::None => Some(0),
            Content::Chunked | Content::Tunnel => None,
        };
        let mut answer = Sending::new(length, end);
        // A caller that has gone is noticed where its side is read.
        if let Ok(stream) = self.respond.send_response(response, end) {
            answer.attach(stream);
        }
        self.answer = Some(answer);
        Ok(())
    }

    /// Content of the answer; `end` when it was the last.
    pub fn content(&mut self, bytes: &[u8], end: bool) -> Result<(), Unsendable> {
        match &mut self.answer {
            Some(answer) => answer.content(bytes, end),
            None => Ok(()),
        }
    }

    /// Trailers of the answer, which end it.
    pub fn trailers(&mut self, pairs: &Pairs) -> Result<(), Unsendable> {
        match &mut self.answer {
            Some(answer) => answer.trailers(wire::fields(pairs)?),
            None => Ok(()),
        }
    }

    /// An interim answer: the caller may send its content (RFC 9110, 15.2.1).
    pub fn proceed(&mut self) {
        let mut interim = Response::new(());
        *interim.status_mut() = StatusCode::CONTINUE;
        let _ = self.respond.send_informational(interim);
    }

    /// Bytes that wait to leave.
    pub fn backlog(&self) -> usize {
        self.answer.as_ref().map_or(0, Sending::backlog)
    }

    /// Whether the request has come whole.
    pub fn has_all(&self) -> bool {
        self.request.is_done()
    }

    /// Whether the answer has been framed whole.
    pub fn is_answered(&self) -> bool {
        self.answer.as_ref().is_some_and(Sending::is_ended)
    }

    /// Whether the caller has cut it before it was answered at all.
    pub fn was_in_vain(&self) -> bool {
        self.reset && self.answer.is_none()
    }

    /// Cuts it.
    pub fn cut(&mut self) {
        match &mut self.answer {
            Some(answer) => answer.reset(Reason::INTERNAL_ERROR),
            None => self.respond.send_reset(Reason::INTERNAL_ERROR),
        }
    }

    /// Waits until what was framed has left, each step of it within `patience`.
    pub async fn drain_slowly(&mut self, patience: Duration) {
        let Some(answer) = &mut self.answer else { return };
        while !answer.is_given() {
            match timeout(patience, poll_fn(|cx| answer.poll(cx))).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return,
                Err(_) => return answer.reset(Reason::INTERNAL_ERROR),
            }
        }
    }
}
