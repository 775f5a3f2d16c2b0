//! One request and its answer on their sockets.
//!
//! Owns the order in which a stream's events are taken: answers to call-outs, the caller,
//! the upstream, the timers. Each is told to the [`Chain`], and what leaves the chain is
//! written. Invariant: nothing is read that could not be kept, so a slow side slows the
//! other one down.

mod end;
#[cfg(test)]
mod tests;
mod write;

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Instant, SystemTime};

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::yield_now;

use crate::http1::{Piece, ResponseHead, refuse_underscores};
use crate::proxy::chain::Chain;
use crate::proxy::exchange::{Exchange, Facts, Shared};
use crate::proxy::failure::Flags;
use crate::proxy::fields;
use crate::proxy::filters::Filters;
use crate::serve::caller::{Caller, FromCaller};
use crate::serve::connection::Listening;
use crate::serve::desk::{Desk, Note, Open, Ticket};
use crate::serve::facts;
use crate::serve::forward::{Forward, FromUpstream};
use crate::serve::process::{Counted, ListenerCounts};
use crate::serve::timers::{Timer, Timers};
use crate::view::{Direction, LocalReply, Pairs};

use end::caught;
pub(in crate::serve) use end::malformed_reply;

/// What `%RESPONSE_CODE_DETAILS%` shows of an upstream's answer.
const VIA_UPSTREAM: &[u8] = b"via_upstream";
/// Of one that is not the other protocol that was asked for.
const UPGRADE_DECLINED: &[u8] = b"websocket_handshake_unsuccessful";
/// Bytes that wait for a slow side before the other is not read any more.
const HIGH: usize = 256 * 1024;

/// Events of a stream before the worker looks at others. A side that always has more to say
/// would keep it until tokio's own budget is used up, which counts reads and not the work
/// of filters. Short exchanges have fewer events.
const TURN: u32 = 16;

/// What a stream begins with.
pub(in crate::serve) struct Arrived {
    /// The request's fields, pseudo fields first.
    pub request: Pairs,
    /// What is done with it.
    pub begins: Begins,
    /// Flags of the access log from the start.
    pub flags: Flags,
    /// Whether content follows.
    pub has_content: bool,
    /// Whether the caller has asked for another protocol.
    pub upgrade: bool,
    /// Whether the caller waits for `100 Continue`.
    pub expects: bool,
    /// Whether the connection may stay.
    pub keep: bool,
    /// What `request.protocol` says.
    pub protocol: &'static str,
    pub connection: Rc<Facts>,
}

/// How a stream begins.
pub(in crate::serve) enum Begins {
    /// It is served.
    Serve,
    /// It is answered before any filter has seen it.
    Refuse(LocalReply),
    /// The caller has left in the middle of the fields, or they were none; with details.
    Gone(Vec<u8>),
}

/// How a stream left its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::serve) enum Left {
    /// The next request may follow.
    Ready,
    /// The answer is whole, but the connection ends with it.
    Last,
    /// The answer is not whole.
    Cut,
}

enum Event {
    Note(Note),
    Caller(FromCaller),
    Upstream(FromUpstream),
    Timer(Timer),
}

/// One stream.
pub(in crate::serve) struct Stream<'c> {
    desk: Rc<Desk>,
    listening: Rc<Listening>,
    chain: Chain,
    filters: Filters,
    exchange: Shared,
    caller: Caller<'c>,
    forward: Option<Forward>,
    notes: UnboundedReceiver<Note>,
    timers: Timers,
    flags: Flags,
    keep: bool,
    cut: bool,
    /// The caller has asked for another protocol.
    upgrade: bool,
    /// Something else was answered than what left the filters.
    replaced: bool,
    /// The request has come whole and the answer may be timed.
    request_came: bool,
    /// Filters and loggers have been told.
    ended: bool,
    began: (Instant, SystemTime),
    upstream_began: Option<Instant>,
    _active: Counted<ListenerCounts>,
    /// Dropped when filters and loggers have been told.
    _open: Open,
}

impl<'c> Stream<'c> {
    /// A stream whose filters have seen nothing yet.
    pub fn new(
        desk: &Rc<Desk>,
        listening: &Rc<Listening>,
        caller: Caller<'c>,
        arrived: &mut Arrived,
    ) -> Self {
        let mut exchange = Exchange::new(std::mem::take(&mut arrived.request));
        exchange.connection = Rc::clone(&arrived.connection);
        let began = (Instant::now(), SystemTime::now());
        facts::at_start(&mut exchange, &listening.chain, arrived.protocol, began.1);
        let exchange = Rc::new(RefCell::new(exchange));
        let (sender, notes) = unbounded_channel();
        let ticket = Rc::new(Ticket { desk: Rc::clone(desk), notes: sender });
        let site = Rc::clone(&listening.site.borrow());
        let filters = Filters::new(site, Rc::clone(&exchange), ticket, desk.now());
        let chain = Chain::new(Rc::clone(&exchange), &filters.slots());
        let active = Counted::new(&listening.counts, |counts| &counts.rq_active);
        Self {
            desk: Rc::clone(desk),
            listening: Rc::clone(listening),
            chain,
            filters,
            exchange,
            caller,
            forward: None,
            notes,
            timers: Timers::start(&listening.http.timers),
            flags: arrived.flags,
            keep: arrived.keep,
            cut: false,
            upgrade: arrived.upgrade,
            replaced: false,
            request_came: false,
            ended: false,
            began,
            upstream_began: None,
            _active: active,
            _open: Open::new(desk),
        }
    }

    /// Serves it to its end, of which filters and loggers learn even if our own code panics.
    pub async fn run(mut self, arrived: &mut Arrived) -> Left {
        if caught(self.serve(arrived)).await.is_none() {
            self.broken();
        }
        self.end()
    }

    async fn serve(&mut self, arrived: &mut Arrived) {
        match std::mem::replace(&mut arrived.begins, Begins::Serve) {
            Begins::Refuse(reply) => {
                self.chain.expire(&mut self.filters, reply);
            }
            Begins::Gone(details) => {
                self.filters.gone = true;
                self.abandon(&details, Flags::NONE);
            }
            Begins::Serve => self.begin(arrived),
        }
        self.write();
        let mut in_a_row = 0;
        while !self.chain.is_over() && !self.cut {
            let event = poll_fn(|cx| self.poll(cx)).await;
            self.filters.at(self.desk.now());
            self.take(event);
            self.write();
            in_a_row += 1;
            if in_a_row == TURN {
                in_a_row = 0;
                yield_now().await;
            }
        }
    }

    fn begin(&mut self, arrived: &Arrived) {
        #[cfg(test)]
        tests::fault(&self.exchange.borrow());
        if arrived.expects && arrived.has_content {
            self.caller.proceed();
        }
        self.chain.request_headers(&mut self.filters, !arrived.has_content);
        if !arrived.has_content {
            self.came_whole();
        }
        // Envoy shows the begin of the other protocol, each way, before its first byte.
        if self.upgrade {
            self.chain.request_body(&mut self.filters, &[], false);
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        // First, or two sides that never pause would outrun it.
        if let Poll::Ready(timer) = self.timers.poll(cx) {
            return Poll::Ready(Event::Timer(timer));
        }
        if let Poll::Ready(Some(note)) = self.notes.poll_recv(cx) {
            return Poll::Ready(Event::Note(note));
        }
        let backlog = self.forward.as_mut().map_or(0, Forward::backlog);
        let reading = self.chain.wants(Direction::Request) && backlog < HIGH;
        if let Poll::Ready(came) = self.caller.poll(cx, reading) {
            return Poll::Ready(Event::Caller(came));
        }
        if let Some(forward) = &mut self.forward {
            let reading = self.chain.wants(Direction::Response) && self.caller.backlog() < HIGH;
            if let Poll::Ready(came) = forward.poll(cx, reading) {
                return Poll::Ready(Event::Upstream(came));
            }
        }
        Poll::Pending
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Note(Note::Called { filter, token, answer }) => {
                self.chain.meanwhile(&mut self.filters, filter, |filters| {
                    filters.answer(filter, token, answer)
                });
            }
            Event::Note(Note::Asked { filter }) => {
                self.chain.meanwhile(&mut self.filters, filter, |it| it.asked(filter));
            }
            Event::Caller(came) => self.take_from_caller(came),
            Event::Upstream(came) => self.take_from_upstream(came),
            Event::Timer(timer) => self.expire(timer),
        }
    }

    fn take_from_caller(&mut self, came: FromCaller) {
        self.timers.moved();
        match came {
            FromCaller::Progress => {}
            FromCaller::Piece(Piece::Data(bytes)) => {
                self.caller.received += bytes.len() as u64;
                self.chain.request_body(&mut self.filters, &bytes, false);
            }
            FromCaller::Whole(bytes) => {
                self.caller.received += bytes.len() as u64;
                self.came_whole();
                self.chain.request_body(&mut self.filters, &bytes, true);
            }
            FromCaller::Piece(Piece::End) => {
                self.came_whole();
                self.chain.request_body(&mut self.filters, &[], true);
            }
            FromCaller::Piece(Piece::Trailers(trailers)) => {
                if self.listening.http.limits.reject_underscores
                    && let Err(malformed) = refuse_underscores(&trailers)
                {
                    return self.take_from_caller(FromCaller::Broken(malformed));
                }
                self.came_whole();
                self.exchange.borrow_mut().set_trailers(Direction::Request, trailers);
                self.chain.request_trailers(&mut self.filters);
            }
            FromCaller::Broken(malformed) => {
                self.keep = false;
                self.flags = self.flags | Flags::DPE;
                let reply = malformed_reply(malformed);
                self.chain.expire(&mut self.filters, reply);
            }
            FromCaller::Gone(gone) => {
                let (details, flags) = gone.said();
                self.abandon(details.as_bytes(), flags);
            }
        }
    }

    fn came_whole(&mut self) {
        self.request_came = true;
        self.time_upstream();
    }

    /// A route's time runs from the end of the request, once it is known where it goes.
    fn time_upstream(&mut self) {
        if self.request_came && self.forward.is_some() {
            self.timers.route(self.filters.target.as_ref().and_then(|target| target.timeout));
        }
    }

    fn take_from_upstream(&mut self, came: FromUpstream) {
        self.timers.moved();
        match came {
            FromUpstream::Progress => {}
            FromUpstream::Head(head, end) => self.answered(head, end),
            FromUpstream::Piece(Piece::Data(bytes)) => {
                self.chain.response_body(&mut self.filters, &bytes, false);
            }
            FromUpstream::Piece(Piece::End) => {
                self.answer_came();
                self.chain.response_body(&mut self.filters, &[], true);
            }
            FromUpstream::Piece(Piece::Trailers(trailers)) => {
                self.answer_came();
                self.exchange.borrow_mut().set_trailers(Direction::Response, trailers);
                self.chain.response_trailers(&mut self.filters);
            }
            FromUpstream::Failed(failure) => self.fail(failure),
        }
    }

    fn answer_came(&mut self) {
        self.timers.answer_came();
        if let Some(began) = self.upstream_began {
            facts::at_answer(&mut self.exchange.borrow_mut(), began.elapsed());
        }
    }

    fn answered(&mut self, mut head: ResponseHead, end: bool) {
        let declined = self.upgrade && head.status != 101;
        // What the caller sends from now on may be the other protocol already.
        let end = end || declined;
        let took = self.upstream_began.filter(|_| self.request_came).map(|began| began.elapsed());
        if declined {
            head.fields.retain(|(name, value)| match name.as_slice() {
                b"content-length" => value == b"0",
                name => name != b"transfer-encoding",
            });
            self.keep = false;
        }
        let pairs = fields::answered(head.status, head.fields);
        let mut exchange = self.exchange.borrow_mut();
        if let Some(host) = self.forward.as_ref().and_then(Forward::host) {
            facts::at_host(&mut exchange, host);
        }
        exchange.took = took;
        exchange.set_headers(Direction::Response, pairs);
        exchange.details = if declined { UPGRADE_DECLINED } else { VIA_UPSTREAM }.to_vec();
        drop(exchange);
        if end {
            self.answer_came();
        }
        self.chain.response_headers(&mut self.filters, end);
        if self.upgrade && !declined {
            self.chain.response_body(&mut self.filters, &[], false);
        }
    }
}
