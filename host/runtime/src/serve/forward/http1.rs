//! One request on a connection of its own that speaks HTTP/1.1, and its answer.
//!
//! Invariant: a connection is kept only after both messages have ended whole.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;

use super::{FromUpstream, MAX_HEAD, framing};
use crate::http1::{
    Decoder, Encoder, Framing, Limits, Malformed, Piece, ResponseHead, Unsendable, keeps_alive,
    response_framing, response_head,
};
use crate::proxy::failure::Failure;
use crate::proxy::fields::RequestHead;
use crate::serve::conn::Conn;
use crate::serve::upstream::{Admitted, Lease};
use crate::view::Pairs;

enum Stage {
    Connecting(Pin<Box<dyn Future<Output = Result<Lease, Failure>>>>),
    Open(Lease),
    Closed,
}

/// One request on its way.
pub(super) struct OnConnection {
    stage: Stage,
    /// Bytes that wait for a connection.
    early: BytesMut,
    encoder: Encoder,
    answer: Answer,
}

/// The answer, as far as it has come.
struct Answer {
    decoder: Option<Decoder>,
    limits: Limits,
    to_head: bool,
    /// Another protocol is asked for.
    upgrade: bool,
    /// It follows.
    tunnel: bool,
    keep: bool,
}

impl OnConnection {
    pub fn start(
        admitted: &Rc<Admitted>,
        head: &RequestHead,
        end: bool,
    ) -> Result<Self, Unsendable> {
        let mut early = BytesMut::new();
        let RequestHead { method, target, fields, content, .. } = head;
        let framing = framing(*content, fields);
        let mut encoder = Encoder::request(&mut early, method, target, fields, framing)?;
        if end {
            encoder.end(&mut early)?;
        }
        let max_fields = admitted.cluster().config.max_fields;
        let answer = Answer {
            decoder: None,
            limits: Limits { max_fields, max_head: MAX_HEAD },
            to_head: method.as_slice() == b"HEAD",
            upgrade: framing == Framing::Tunnel,
            tunnel: false,
            keep: true,
        };
        let asked = Rc::clone(admitted);
        let stage = Stage::Connecting(Box::pin(async move { asked.lease().await }));
        Ok(Self { stage, early, encoder, answer })
    }

    pub fn content(&mut self, bytes: &[u8], end: bool) -> Result<(), Unsendable> {
        let Self { stage, early, encoder, .. } = self;
        let out = output(stage, early);
        if !bytes.is_empty() {
            encoder.data(out, bytes)?;
        }
        if end { encoder.end(out) } else { Ok(()) }
    }

    pub fn trailers(&mut self, pairs: &Pairs) -> Result<(), Unsendable> {
        let Self { stage, early, encoder, .. } = self;
        encoder.trailers(output(stage, early), pairs)
    }

    pub fn backlog(&mut self) -> usize {
        output(&mut self.stage, &mut self.early).len()
    }

    pub fn poll(&mut self, cx: &mut Context<'_>, reading: bool) -> Poll<FromUpstream> {
        if let Stage::Connecting(lease) = &mut self.stage {
            match ready!(lease.as_mut().poll(cx)) {
                Ok(mut lease) => {
                    if let Some(conn) = lease.conn() {
                        conn.output = std::mem::take(&mut self.early);
                    }
                    self.stage = Stage::Open(lease);
                }
                Err(failure) => {
                    self.stage = Stage::Closed;
                    return Poll::Ready(FromUpstream::Failed(failure));
                }
            }
        }
        let Stage::Open(lease) = &mut self.stage else { return Poll::Pending };
        let Some(conn) = lease.conn() else { return Poll::Pending };
        if conn.is_writing() {
            match conn.poll_drain(cx) {
                Poll::Ready(Ok(())) => return Poll::Ready(FromUpstream::Progress),
                // It may have answered before it closed.
                Poll::Ready(Err(_)) => self.answer.give_up_writing(conn),
                Poll::Pending => {}
            }
        }
        if reading { self.answer.poll(cx, conn) } else { Poll::Pending }
    }

    /// The host at the other end.
    pub fn host(&self) -> Option<SocketAddr> {
        match &self.stage {
            Stage::Open(lease) => lease.host(),
            Stage::Connecting(_) | Stage::Closed => None,
        }
    }

    pub fn settle(self) {
        let Stage::Open(lease) = self.stage else { return };
        let whole = self.encoder.is_done() && self.answer.is_done() && self.answer.keep;
        if whole {
            lease.release();
        }
    }
}

fn output<'a>(stage: &'a mut Stage, early: &'a mut BytesMut) -> &'a mut BytesMut {
    match stage {
        Stage::Open(lease) => match lease.conn() {
            Some(conn) => &mut conn.output,
            None => early,
        },
        Stage::Connecting(_) | Stage::Closed => early,
    }
}

impl Answer {
    fn is_done(&self) -> bool {
        self.decoder.as_ref().is_some_and(Decoder::is_done)
    }

    fn give_up_writing(&mut self, conn: &mut Conn) {
        conn.stop_writing();
        self.keep = false;
    }

    fn poll(&mut self, cx: &mut Context<'_>, conn: &mut Conn) -> Poll<FromUpstream> {
        if self.is_done() {
            return Poll::Pending;
        }
        loop {
            if let Some(came) = self.read(conn) {
                return Poll::Ready(came);
            }
            if conn.eof || ready!(conn.poll_fill(cx)).is_err() {
                self.keep = false;
                let nothing = self.decoder.is_none() && conn.input.is_empty();
                let failure = if nothing { Failure::Closed } else { Failure::Protocol };
                return Poll::Ready(FromUpstream::Failed(failure));
            }
        }
    }

    /// What the bytes that are here say.
    fn read(&mut self, conn: &mut Conn) -> Option<FromUpstream> {
        let broken = FromUpstream::Failed(Failure::Protocol);
        match &mut self.decoder {
            Some(decoder) => match decoder.decode(&mut conn.input, conn.eof) {
                Ok(Some(Piece::End)) if self.tunnel => Some(FromUpstream::Failed(Failure::Closed)),
                Ok(piece) => piece.map(FromUpstream::Piece),
                Err(_) => Some(broken),
            },
            None => match self.head(conn) {
                Ok(head) => head.and_then(|head| self.begin(head)),
                Err(_) => Some(broken),
            },
        }
    }

    /// The final answer's head; interim ones are passed over (RFC 9110, 15.2).
    fn head(&self, conn: &mut Conn) -> Result<Option<ResponseHead>, Malformed> {
        loop {
            match response_head(&mut conn.input, &self.limits)? {
                // Nobody asked for another protocol.
                Some(head) if head.status == 101 && !self.upgrade => {
                    return Err(Malformed::Syntax);
                }
                Some(head) if head.status == 101 => return Ok(Some(head)),
                Some(head) if head.status < 200 => {}
                other => return Ok(other),
            }
        }
    }

    fn begin(&mut self, head: ResponseHead) -> Option<FromUpstream> {
        let framing = match head.status {
            101 => Ok(Framing::Tunnel),
            _ => response_framing(&head, self.to_head),
        };
        let Ok(framing) = framing else {
            return Some(FromUpstream::Failed(Failure::Protocol));
        };
        let until_close = matches!(framing, Framing::UntilClose | Framing::Tunnel);
        self.keep = keeps_alive(head.version, &head.fields) && !until_close;
        self.tunnel = framing == Framing::Tunnel;
        let empty = matches!(framing, Framing::None | Framing::Length(0));
        let framing = if empty { Framing::None } else { framing };
        self.decoder = Some(Decoder::new(framing, &self.limits));
        Some(FromUpstream::Head(head, empty))
    }
}
