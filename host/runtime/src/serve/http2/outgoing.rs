//! One request on a stream of an upstream's connection, and its answer.
//!
//! Invariant: a request that is given up is reset and leaves the connection to the others.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use h2::Reason;
use h2::client::ResponseFuture;

use super::receiving::Receiving;
use super::sending::Sending;
use super::session::{self, Opened, Session};
use super::wire;
use crate::http1::{Piece, ResponseHead, Unsendable, Version};
use crate::proxy::failure::Failure;
use crate::proxy::fields::{Content, RequestHead};
use crate::serve::forward::FromUpstream;
use crate::serve::upstream::Admitted;
use crate::view::Pairs;

enum Stage {
    Opening(Pin<Box<dyn Future<Output = Result<Opened, Failure>>>>),
    Waiting(ResponseFuture),
    Answering(Receiving),
    Closed,
}

/// One request on its way.
pub(in crate::serve) struct Outgoing {
    stage: Stage,
    request: Sending,
    max_fields: usize,
    /// Counts this stream among those of its connection.
    session: Option<session::InUse>,
}

impl Outgoing {
    /// Starts a request; `end` when neither content nor trailers follow.
    pub fn start(
        admitted: &Rc<Admitted>,
        head: &RequestHead,
        end: bool,
    ) -> Result<Self, Unsendable> {
        let length = match head.content {
            Content::Length(length) => Some(length),
            Content::None => Some(0),
            Content::Chunked | Content::Tunnel => None,
        };
        let request = wire::request(head)?;
        let max_fields = admitted.cluster().config.max_fields;
        let cluster = Rc::clone(admitted.cluster());
        let opening = Box::pin(async move { session::open(&cluster, request, end).await });
        let stage = Stage::Opening(opening);
        Ok(Self { stage, request: Sending::new(length, end), max_fields, session: None })
    }

    /// Content of the request; `end` when it was the last.
    pub fn content(&mut self, bytes: &[u8], end: bool) -> Result<(), Unsendable> {
        self.request.content(bytes, end)
    }

    /// Trailers of the request, which end it.
    pub fn trailers(&mut self, pairs: &Pairs) -> Result<(), Unsendable> {
        self.request.trailers(wire::fields(pairs)?)
    }

    /// The host at the other end.
    pub fn host(&self) -> Option<SocketAddr> {
        self.session.as_ref().and_then(session::InUse::host)
    }

    /// Bytes that wait to leave.
    pub fn backlog(&self) -> usize {
        self.request.backlog()
    }

    /// What happens next; nothing is read unless `reading`.
    pub fn poll(&mut self, cx: &mut Context<'_>, reading: bool) -> Poll<FromUpstream> {
        if let Stage::Opening(opening) = &mut self.stage {
            match ready!(opening.as_mut().poll(cx)) {
                Ok(opened) => {
                    self.request.attach(opened.send);
                    self.session = Some(Session::used(&opened.session));
                    self.stage = Stage::Waiting(opened.response);
                }
                Err(failure) => return self.failed(failure),
            }
        }
        match self.request.poll(cx) {
            Poll::Ready(Ok(())) => return Poll::Ready(FromUpstream::Progress),
            // It may have answered before it stopped reading.
            Poll::Ready(Err(_)) => self.request.stop(),
            Poll::Pending => {}
        }
        if reading { self.poll_answer(cx) } else { Poll::Pending }
    }

    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<FromUpstream> {
        match &mut self.stage {
            Stage::Waiting(response) => match ready!(Pin::new(response).poll(cx)) {
                Ok(response) => self.begun(response),
                Err(error) => self.failed(failure(&error)),
            },
            Stage::Answering(answer) => match ready!(answer.poll(cx)) {
                Ok(Piece::Trailers(lines)) if lines.len() > self.max_fields => {
                    self.failed(Failure::Protocol)
                }
                Ok(piece) => Poll::Ready(FromUpstream::Piece(piece)),
                Err(error) => self.failed(failure(&error)),
            },
            Stage::Opening(_) | Stage::Closed => Poll::Pending,
        }
    }

    fn begun(&mut self, response: http::Response<h2::RecvStream>) -> Poll<FromUpstream> {
        let (head, content) = response.into_parts();
        let answer = Receiving::new(content);
        let end = answer.is_done();
        let fields = wire::pairs(&head.headers);
        if fields.len() > self.max_fields {
            return self.failed(Failure::Protocol);
        }
        self.stage = Stage::Answering(answer);
        let (status, version) = (head.status.as_u16(), Version::Http11);
        Poll::Ready(FromUpstream::Head(ResponseHead { status, version, fields }, end))
    }

    fn failed(&mut self, failure: Failure) -> Poll<FromUpstream> {
        self.stage = Stage::Closed;
        self.request.stop();
        Poll::Ready(FromUpstream::Failed(failure))
    }
}

impl Drop for Outgoing {
    /// What is not whole is given up (RFC 9113, 7).
    fn drop(&mut self) {
        let whole = matches!(&self.stage, Stage::Answering(answer) if answer.is_done());
        if !whole || !self.request.is_given() {
            self.request.reset(Reason::CANCEL);
        }
    }
}

/// Whose fault it is that nothing more comes.
fn failure(error: &h2::Error) -> Failure {
    match error.reason() {
        None => Failure::Closed,
        Some(_) if !error.is_remote() => Failure::Protocol,
        Some(_) if error.is_go_away() => Failure::Refused,
        Some(Reason::REFUSED_STREAM) => Failure::Refused,
        Some(Reason::PROTOCOL_ERROR) => Failure::Protocol,
        Some(_) => Failure::Reset,
    }
}
