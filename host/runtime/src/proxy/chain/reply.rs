//! What ends a stream before its answer: local replies, limits, failures, resets.
//!
//! Invariant: a reply in the request phase passes the filters that have seen the request,
//! one in the response phase goes out past them, and once fields have left a stream can
//! only be cut.

use bytes::Bytes;

use super::{Answer, Chain, Guests, Output, Verdict};
use crate::record::{In, Reply};
use crate::view::{Direction, LocalReply};

/// A reply of the proxy itself.
pub fn own(status: u32, details: &str, text: &str) -> LocalReply {
    LocalReply {
        status,
        details: details.as_bytes().to_vec(),
        body: text.as_bytes().to_vec(),
        headers: Vec::new(),
        grpc_status: -1,
    }
}

impl Chain {
    /// The router could not get an answer: the listener's filters see what it says instead.
    /// An answer that still waits at a filter is replaced, one that has left is cut.
    pub fn fail(&mut self, guests: &mut dyn Guests, reply: LocalReply) {
        self.told(|_, _| In::Fail(Reply::of(&reply)));
        match self.answer {
            Answer::None => self.refuse(guests, reply),
            Answer::Inside if !self.direct => self.reply_directly(reply),
            _ => self.cut(),
        }
    }

    /// A timer of the connection manager has run out.
    pub fn expire(&mut self, guests: &mut dyn Guests, reply: LocalReply) {
        self.told(|_, _| In::Expire(Reply::of(&reply)));
        self.local_reply(guests, reply, None);
    }

    /// The caller has gone.
    pub fn abandon(&mut self) {
        self.told(|_, _| In::Abandon);
        self.cut();
    }

    /// A reply of the router: the cluster's filters do not see it.
    pub(super) fn refuse(&mut self, guests: &mut dyn Guests, mut reply: LocalReply) {
        guests.leaves_router(&mut reply.headers);
        self.local_reply(guests, reply, None);
    }

    /// More is held than the limit of a filter that pauses.
    pub(super) fn too_large(&mut self, guests: &mut dyn Guests, direction: Direction) {
        let reply = match direction {
            Direction::Request => own(413, "request_payload_too_large", "Payload Too Large"),
            Direction::Response => own(500, "response_payload_too_large", "Internal Server Error"),
        };
        self.local_reply(guests, reply, None);
    }

    /// Acts on what ends a stream, if the verdict has it.
    pub(super) fn interrupted(
        &mut self,
        guests: &mut dyn Guests,
        filter: usize,
        verdict: &Verdict,
    ) -> bool {
        if verdict.failed {
            // Its context died with the machine.
            self.members[filter].created = false;
            self.local_reply(guests, own(503, "wasm_fail_stream", ""), Some(filter));
        } else if let Some(reply) = &verdict.reply {
            self.local_reply(guests, reply.clone(), Some(filter));
        } else if verdict.close {
            if self.answer == Answer::None {
                self.exchange.borrow_mut().explain(b"wasm_close_stream");
            }
            self.cut();
        } else {
            return false;
        }
        true
    }

    /// `by` is the filter that replies. One of the cluster's is an upstream to those of the
    /// listener, so that they see its reply also in place of a response.
    fn local_reply(&mut self, guests: &mut dyn Guests, reply: LocalReply, by: Option<usize>) {
        let in_cluster = by.is_some_and(|filter| filter >= self.listener);
        match self.answer {
            Answer::None => self.reply_through(guests, reply),
            Answer::Inside if in_cluster && !self.answered => self.reply_through(guests, reply),
            Answer::Inside => self.reply_directly(reply),
            Answer::Sent => {
                self.exchange.borrow_mut().explain(&reply.details);
                self.cut();
            }
            Answer::Over => {}
        }
    }

    /// The cluster's filters are over before those of the listener see the reply.
    fn reply_through(&mut self, guests: &mut dyn Guests, reply: LocalReply) {
        guests.cluster_over();
        self.answered = true;
        self.request_open = false;
        self.cancel();
        self.answer = Answer::Inside;
        let body = self.exchange.borrow_mut().answer_locally(reply);
        let end = body.is_empty() || self.head;
        let router = self.members.len() - self.listener;
        self.walk_headers(guests, Direction::Response, router, end);
        if !end {
            self.walk_body(guests, Direction::Response, router, body, true);
        }
    }

    fn reply_directly(&mut self, reply: LocalReply) {
        self.request_open = false;
        self.direct = true;
        self.cancel();
        let mut exchange = self.exchange.borrow_mut();
        let body = exchange.answer_locally(reply);
        let pairs = exchange.headers(Direction::Response);
        drop(exchange);
        let end = body.is_empty() || self.head;
        self.output.push_back(Output::Headers(Direction::Response, pairs, end));
        if !end {
            self.output.push_back(Output::Body(Direction::Response, Bytes::from(body), true));
        }
        self.answer = Answer::Over;
    }

    fn cancel(&mut self) {
        if std::mem::take(&mut self.forwarding) {
            self.output.push_back(Output::CancelUpstream);
        }
    }

    fn cut(&mut self) {
        if self.answer != Answer::Over {
            self.answer = Answer::Over;
            self.request_open = false;
            self.output.push_back(Output::Reset);
        }
    }
}
