//! One request and its answer on their sockets.
//!
//! Owns the order in which a stream's events are taken: answers to call-outs, the caller,
//! the upstream, the timers. Each is told to the [`Chain`], and what leaves the chain is
//! written. Invariant: nothing is read that could not be kept, so a slow side slows the
//! other one down.

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};
use std::time::{Instant, SystemTime};

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::caller::{Caller, FromCaller};
use super::connection::Listening;
use super::desk::{Called, Desk, Ticket};
use super::facts;
use super::forward::{Forward, FromUpstream};
use super::process::{Counted, ListenerCounts};
use super::timers::{Timer, Timers};
use crate::http1::{Malformed, Piece, ResponseHead, Unsendable, refuse_underscores};
use crate::proxy::chain::{Chain, Output};
use crate::proxy::exchange::{Exchange, Facts, Shared};
use crate::proxy::failure::{CALLER_GONE, Failure, Flags};
use crate::proxy::fields::{self, Leaving};
use crate::proxy::filters::Filters;
use crate::proxy::line::Ended;
use crate::view::{Direction, LocalReply, Pairs};

/// Bytes that wait for a slow side before the other is not read any more.
const HIGH: usize = 256 * 1024;

/// What a stream begins with.
pub(super) struct Arrived {
    /// The request's fields, pseudo fields first.
    pub request: Pairs,
    /// Instead of serving it.
    pub refused: Option<LocalReply>,
    /// Flags of the access log from the start.
    pub flags: Flags,
    /// Whether content follows.
    pub has_content: bool,
    /// Whether the caller waits for `100 Continue`.
    pub expects: bool,
    /// Whether the connection may stay.
    pub keep: bool,
    pub connection: Rc<Facts>,
}

/// How a stream left its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    /// The next request may follow.
    Ready,
    /// The answer is whole, but the connection ends with it.
    Last,
    /// The answer is not whole.
    Cut,
}

enum Event {
    Called(Called),
    Caller(FromCaller),
    Upstream(FromUpstream),
    Timer(Timer),
}

/// One stream.
pub(super) struct Stream<'c> {
    desk: Rc<Desk>,
    listening: Rc<Listening>,
    chain: Chain,
    filters: Filters,
    exchange: Shared,
    caller: Caller<'c>,
    forward: Option<Forward>,
    calls: UnboundedReceiver<Called>,
    timers: Timers,
    flags: Flags,
    keep: bool,
    cut: bool,
    /// Something else was answered than what left the filters.
    replaced: bool,
    /// The request has come whole and the answer may be timed.
    request_came: bool,
    /// Filters and loggers have been told.
    ended: bool,
    began: (Instant, SystemTime),
    upstream_began: Option<Instant>,
    _active: Counted<ListenerCounts>,
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
        facts::at_start(&mut exchange, &listening.chain, began.1);
        let exchange = Rc::new(RefCell::new(exchange));
        let (answers, calls) = unbounded_channel();
        let ticket = Rc::new(Ticket { desk: Rc::clone(desk), answers });
        let site = Rc::clone(&listening.site);
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
            calls,
            timers: Timers::start(&listening.http.timers),
            flags: arrived.flags,
            keep: arrived.keep,
            cut: false,
            replaced: false,
            request_came: false,
            ended: false,
            began,
            upstream_began: None,
            _active: active,
        }
    }

    /// Serves it to its end.
    pub async fn run(mut self, arrived: &mut Arrived) -> Left {
        match arrived.refused.take() {
            Some(reply) => {
                self.chain.expire(&mut self.filters, reply);
            }
            None => self.begin(arrived),
        }
        self.write();
        while !self.chain.is_over() && !self.cut {
            let event = poll_fn(|cx| self.poll(cx)).await;
            self.filters.at(self.desk.now());
            self.take(event);
            self.write();
        }
        self.end()
    }

    /// Ends it before its request has come.
    pub fn gone(mut self) {
        self.abandon(CALLER_GONE);
        self.end();
    }

    fn begin(&mut self, arrived: &Arrived) {
        if arrived.expects && arrived.has_content {
            self.caller.proceed();
        }
        self.chain.request_headers(&mut self.filters, !arrived.has_content);
        if !arrived.has_content {
            self.came_whole();
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        if let Poll::Ready(Some(called)) = self.calls.poll_recv(cx) {
            return Poll::Ready(Event::Called(called));
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
        self.timers.poll(cx).map(Event::Timer)
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Called(Called { filter, token, answer }) => {
                self.chain.meanwhile(&mut self.filters, filter, |filters| {
                    filters.answer(filter, token, answer)
                });
            }
            Event::Caller(came) => self.from_caller(came),
            Event::Upstream(came) => self.from_upstream(came),
            Event::Timer(timer) => self.expire(timer),
        }
    }

    fn from_caller(&mut self, came: FromCaller) {
        self.timers.moved();
        match came {
            FromCaller::Progress => {}
            FromCaller::Piece(Piece::Data(bytes)) => {
                self.caller.received += bytes.len() as u64;
                self.chain.request_body(&mut self.filters, &bytes, false);
            }
            FromCaller::Piece(Piece::End) => {
                self.came_whole();
                self.chain.request_body(&mut self.filters, &[], true);
            }
            FromCaller::Piece(Piece::Trailers(trailers)) => {
                if self.listening.http.limits.reject_underscores
                    && let Err(malformed) = refuse_underscores(&trailers)
                {
                    return self.from_caller(FromCaller::Broken(malformed));
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
            FromCaller::Gone => self.abandon(CALLER_GONE),
        }
    }

    fn abandon(&mut self, details: &str) {
        self.keep = false;
        self.flags = self.flags | Flags::DC;
        self.exchange.borrow_mut().details = details.as_bytes().to_vec();
        self.chain.abandon();
    }

    fn came_whole(&mut self) {
        self.timers.request_came();
        self.request_came = true;
        self.time_upstream();
    }

    /// A route's time runs from the end of the request, once it is known where it goes.
    fn time_upstream(&mut self) {
        if self.request_came && self.forward.is_some() {
            self.timers.route(self.filters.target.as_ref().and_then(|target| target.timeout));
        }
    }

    fn from_upstream(&mut self, came: FromUpstream) {
        self.timers.moved();
        match came {
            FromUpstream::Progress => {}
            FromUpstream::Head(head, end) => self.answered(head, end),
            FromUpstream::Piece(Piece::Data(bytes)) => {
                self.chain.response_body(&mut self.filters, &bytes, false);
            }
            FromUpstream::Piece(Piece::End) => {
                self.timers.answer_came();
                self.chain.response_body(&mut self.filters, &[], true);
            }
            FromUpstream::Piece(Piece::Trailers(trailers)) => {
                self.timers.answer_came();
                self.exchange.borrow_mut().set_trailers(Direction::Response, trailers);
                self.chain.response_trailers(&mut self.filters);
            }
            FromUpstream::Failed(failure) => self.fail(failure),
        }
    }

    fn answered(&mut self, head: ResponseHead, end: bool) {
        let took = self.upstream_began.filter(|_| self.request_came).map(|began| began.elapsed());
        let pairs = fields::answered(head.status, head.fields, took);
        let mut exchange = self.exchange.borrow_mut();
        exchange.set_headers(Direction::Response, pairs);
        exchange.details = b"via_upstream".to_vec();
        drop(exchange);
        if end {
            self.timers.answer_came();
        }
        self.chain.response_headers(&mut self.filters, end);
    }

    fn fail(&mut self, failure: Failure) {
        self.flags = self.flags | failure.flags();
        self.forward = None;
        if self.caller.status.is_some() {
            self.exchange.borrow_mut().details = failure.cut().into_bytes();
        }
        self.chain.fail(&mut self.filters, failure.reply());
    }

    fn expire(&mut self, timer: Timer) {
        let whole = self.request_came;
        let failure = match timer {
            Timer::Route => {
                if let Some(forward) = &self.forward {
                    forward.admitted().cluster().counts.rq_timeout.fetch_add(1, Relaxed);
                }
                return self.fail(Failure::Timeout);
            }
            Timer::Idle => Failure::StreamIdle { whole },
            Timer::Request => Failure::RequestTimeout,
            Timer::Stream => Failure::MaxDuration { whole },
        };
        self.keep = false;
        self.flags = self.flags | failure.flags();
        if self.caller.status.is_some() {
            self.exchange.borrow_mut().details = failure.cut().into_bytes();
        }
        self.chain.expire(&mut self.filters, failure.reply());
    }

    /// Writes what has left the chain.
    fn write(&mut self) {
        while let Some(output) = self.chain.poll() {
            if self.replaced {
                continue;
            }
            if self.write_one(output).is_err() {
                // Framing and content disagree: whoever reads on would misread.
                self.keep = false;
                self.cut = true;
                return;
            }
        }
    }

    fn write_one(&mut self, output: Output) -> Result<(), Unsendable> {
        match output {
            Output::Headers(Direction::Request, pairs, end) => self.forward(&pairs, end),
            Output::Body(Direction::Request, bytes, end) => match &mut self.forward {
                Some(forward) => forward.content(&bytes, end),
                None => Ok(()),
            },
            Output::Trailers(Direction::Request, pairs) => match &mut self.forward {
                Some(forward) => forward.trailers(&fields::trailers_leave(&pairs)),
                None => Ok(()),
            },
            Output::Headers(Direction::Response, pairs, end) => self.answer(&pairs, end),
            Output::Body(Direction::Response, bytes, end) => self.caller.content(&bytes, end),
            Output::Trailers(Direction::Response, pairs) => {
                self.caller.trailers(&fields::trailers_leave(&pairs))
            }
            Output::CancelUpstream => {
                self.forward = None;
                Ok(())
            }
            Output::Reset => {
                self.keep = false;
                self.cut = true;
                Ok(())
            }
        }
    }

    fn forward(&mut self, pairs: &Pairs, end: bool) -> Result<(), Unsendable> {
        let cluster = self.filters.target.as_ref().map(|target| target.cluster.as_str());
        let Some(cluster) = cluster.and_then(|name| self.desk.clusters.get(name)) else {
            self.chain.fail(&mut self.filters, Failure::Connect.reply());
            return Ok(());
        };
        let admitted = match cluster.admit() {
            Ok(admitted) => admitted,
            Err(failure) => {
                self.fail(failure);
                return Ok(());
            }
        };
        let head = match fields::request_leaves(pairs, end) {
            Ok(head) => head,
            // A filter has written what no request can hold.
            Err(unfit) => {
                self.flags = self.flags | Flags::DPE;
                self.chain.fail(&mut self.filters, unfit.reply(Direction::Request));
                return Ok(());
            }
        };
        self.forward = Some(Forward::start(admitted, &head, end)?);
        self.upstream_began = Some(Instant::now());
        self.time_upstream();
        Ok(())
    }

    fn answer(&mut self, pairs: &Pairs, end: bool) -> Result<(), Unsendable> {
        self.keep &= self.caller.has_all() && !self.desk.is_draining();
        let date = httpdate::fmt_http_date(SystemTime::now());
        let leaving = Leaving { date: &date, close: !self.keep, end, head: self.caller.to_head };
        match fields::response_leaves(pairs, &leaving) {
            Ok(head) => self.caller.head(&head, end),
            Err(unfit) => self.replace(&unfit.reply(Direction::Response), &leaving),
        }
    }

    /// Answers past the filters, which have left what cannot be sent.
    fn replace(&mut self, reply: &LocalReply, leaving: &Leaving<'_>) -> Result<(), Unsendable> {
        let line = |name: &str, value: String| (name.as_bytes().to_vec(), value.into_bytes());
        let pairs = vec![
            line(":status", reply.status.to_string()),
            line("content-length", reply.body.len().to_string()),
            line("content-type", "text/plain".to_owned()),
        ];
        self.replaced = true;
        self.exchange.borrow_mut().details = reply.details.clone();
        self.chain.abandon();
        let end = reply.body.is_empty() || leaving.head;
        let leaving = Leaving { end, ..*leaving };
        let Ok(head) = fields::response_leaves(&pairs, &leaving) else { return Ok(()) };
        self.caller.head(&head, end)?;
        if end { Ok(()) } else { self.caller.content(&reply.body, true) }
    }

    /// Tells filters and loggers that it is over.
    fn end(&mut self) -> Left {
        self.ended = true;
        let (began, started) = self.began;
        if let Some(failure) = self.filters.refused {
            self.flags = self.flags | failure.flags();
        }
        let end = facts::End {
            flags: self.flags,
            duration: began.elapsed(),
            received: self.caller.received,
            sent: self.caller.sent,
        };
        facts::at_end(&mut self.exchange.borrow_mut(), &end);
        self.filters.at(self.desk.now());
        self.filters.finish();
        let exchange = self.exchange.borrow();
        self.listening.count(self.caller.status);
        self.listening.log(&Ended {
            started,
            lasted: end.duration,
            id: exchange.request_field(b"x-request-id").as_deref().and_then(text),
            exchange: &exchange,
            status: self.caller.status,
            flags: end.flags,
            cluster: self.filters.target.as_ref().map(|target| target.cluster.as_str()),
            received: end.received,
            sent: end.sent,
        });
        drop(exchange);
        if let Some(forward) = self.forward.take() {
            forward.settle();
        }
        match (self.caller.is_answered() && !self.cut, self.keep) {
            (true, true) => Left::Ready,
            (true, false) => Left::Last,
            (false, _) => Left::Cut,
        }
    }
}

/// A gateway that ends while a stream runs still tells filters and loggers of it.
impl Drop for Stream<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.abandon("downstream_local_disconnect");
            self.end();
        }
    }
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

/// What a caller gets whose request cannot be read.
pub(super) fn malformed_reply(malformed: Malformed) -> LocalReply {
    let (status, details, text) = malformed.answer();
    crate::proxy::chain::own(u32::from(status), details, text)
}
