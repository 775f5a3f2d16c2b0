//! The course of one stream: what happened is told to its chain, and what leaves the chain
//! is kept as messages.
//!
//! The counterpart of the stream on a socket: the same filters, chain, timers, failures and
//! field rules, with what would be read and written as values. Invariant: filters and loggers
//! are told of each stream once, however it ends.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use super::desk::{Desk, Ticket};
use super::message::Message;
use super::side::Side;
use crate::config::{Http, Output as LogOutput};
use crate::http1::{Unsendable, refuse_underscores};
use crate::proxy::chain::{Chain, Output, own};
use crate::proxy::deadlines::{Deadlines, Timer};
use crate::proxy::exchange::{Exchange, Facts, Shared};
use crate::proxy::failure::{CALLER_GONE, Failure, Flags};
use crate::proxy::fields::{self, Leaving, Scheme};
use crate::proxy::filters::{Filters, Site};
use crate::proxy::line::{Ended, line};
use crate::proxy::route;
use crate::serve::facts;
use crate::view::{CallAnswer, Direction, LocalReply, Pairs};

/// A listener of the lab.
pub(super) struct Listening {
    pub name: String,
    pub site: Rc<Site>,
    pub http: Http,
    pub chain: String,
    pub scheme: Scheme,
    /// Lines of access loggers that are no modules.
    pub lines: RefCell<Vec<String>>,
}

/// What comes after a head.
pub(super) enum Piece {
    Content(Vec<u8>),
    Trailers(Pairs),
    End,
}

/// What a stream begins with.
pub(super) struct Arrived {
    pub pairs: Pairs,
    /// Instead of serving it, with flags of the access log.
    pub refused: Option<(LocalReply, Flags)>,
    pub end: bool,
    pub connection: Rc<Facts>,
}

/// One stream.
pub(super) struct Course {
    desk: Rc<Desk>,
    listening: Rc<Listening>,
    chain: Chain,
    filters: Filters,
    pub exchange: Shared,
    deadlines: Deadlines<Duration>,
    flags: Flags,
    /// What has come and waits, since filters hold as much as they may.
    from_caller: VecDeque<Piece>,
    from_upstream: VecDeque<Piece>,
    request_came: bool,
    upstream: Option<Side>,
    /// Whether the upstream may still answer.
    forwarding: bool,
    answered: bool,
    answer: Option<Side>,
    /// Something else was answered than what left the filters.
    replaced: bool,
    cut: bool,
    ended: bool,
    began: (Duration, SystemTime),
    upstream_began: Duration,
    received: u64,
}

impl Course {
    /// A stream that begins now; its filters see it at once.
    pub fn begin(
        desk: &Rc<Desk>,
        listening: &Rc<Listening>,
        number: usize,
        arrived: Arrived,
    ) -> Self {
        let mut exchange = Exchange::new(arrived.pairs);
        exchange.number = number as u64 + 1;
        exchange.connection = arrived.connection;
        facts::at_start(&mut exchange, &listening.chain, "HTTP/1.1", desk.wall());
        let exchange = Rc::new(RefCell::new(exchange));
        let turn = Rc::new(Ticket { desk: Rc::clone(desk), stream: number });
        let site = Rc::clone(&listening.site);
        let filters = Filters::new(site, Rc::clone(&exchange), turn, desk.now());
        let chain = Chain::new(Rc::clone(&exchange), &filters.slots());
        let mut course = Self {
            desk: Rc::clone(desk),
            listening: Rc::clone(listening),
            chain,
            filters,
            exchange,
            deadlines: Deadlines::start(&listening.http.timers, desk.now()),
            flags: Flags::NONE,
            from_caller: VecDeque::new(),
            from_upstream: VecDeque::new(),
            request_came: arrived.end,
            upstream: None,
            forwarding: false,
            answered: false,
            answer: None,
            replaced: false,
            cut: false,
            ended: false,
            began: (desk.now(), desk.wall()),
            upstream_began: Duration::ZERO,
            received: 0,
        };
        match arrived.refused {
            Some((reply, flags)) => {
                course.flags = flags;
                course.chain.expire(&mut course.filters, reply);
            }
            None => course.chain.request_headers(&mut course.filters, arrived.end),
        }
        course.settle();
        course
    }

    /// Whether filters and loggers have been told of its end.
    pub fn is_over(&self) -> bool {
        self.ended
    }

    /// Whether it was cut instead of answered whole.
    pub fn is_cut(&self) -> bool {
        self.cut
    }

    pub fn flags(&self) -> Flags {
        self.flags
    }

    pub fn cluster(&self) -> Option<String> {
        self.filters.target.as_ref().map(|target| target.cluster.clone())
    }

    pub fn upstream(&self) -> Option<&Message> {
        self.upstream.as_ref().map(|side| &side.message)
    }

    pub fn answer(&self) -> Option<&Message> {
        self.answer.as_ref().map(|side| &side.message)
    }

    /// Whether an upstream has the request and may say something.
    pub fn may_answer(&self) -> bool {
        self.forwarding && !self.ended
    }

    /// Whether its upstream has answered with a head.
    pub fn has_answer(&self) -> bool {
        self.answered
    }

    pub fn next_timer(&self) -> Option<Duration> {
        if self.ended { None } else { self.deadlines.earliest().map(|(_, due)| due) }
    }

    /// More of the request.
    pub fn caller_sends(&mut self, piece: Piece) {
        self.from_caller.push_back(piece);
        self.settle();
    }

    /// The caller has gone.
    pub fn abandon(&mut self) {
        if !self.ended {
            self.give_up(CALLER_GONE);
            self.settle();
        }
    }

    /// The head of the upstream's answer.
    pub fn upstream_begins(&mut self, status: u16, fields: Pairs, end: bool) {
        let now = self.desk.now();
        self.answered = true;
        self.deadlines.moved(now);
        let took = self.request_came.then(|| now.saturating_sub(self.upstream_began));
        let pairs = fields::answered(status, fields);
        let mut exchange = self.exchange.borrow_mut();
        exchange.took = took;
        exchange.set_headers(Direction::Response, pairs);
        exchange.details = b"via_upstream".to_vec();
        drop(exchange);
        if end {
            self.deadlines.answer_came();
        }
        self.enter();
        self.chain.response_headers(&mut self.filters, end);
        self.settle();
    }

    /// More of the upstream's answer.
    pub fn upstream_sends(&mut self, piece: Piece) {
        self.from_upstream.push_back(piece);
        self.settle();
    }

    /// There is no answer, or no more of it.
    pub fn upstream_failed(&mut self, failure: Failure) {
        if !self.ended {
            self.enter();
            self.fail(failure);
            self.settle();
        }
    }

    /// A call-out of a filter is answered.
    pub fn called(&mut self, filter: usize, token: u32, answer: CallAnswer) {
        if !self.ended {
            self.enter();
            self.chain.meanwhile(&mut self.filters, filter, |it| it.answer(filter, token, answer));
            self.settle();
        }
    }

    /// A callback of another context has asked for something.
    pub fn asked(&mut self, filter: usize) {
        if !self.ended {
            self.enter();
            self.chain.meanwhile(&mut self.filters, filter, |it| it.asked(filter));
            self.settle();
        }
    }

    /// A timer that has run out by now, if one has.
    pub fn expire(&mut self) {
        if self.ended {
            return;
        }
        let Some(timer) = self.deadlines.take(self.desk.now()) else { return };
        let failure = timer.failure(self.request_came);
        self.enter();
        if timer == Timer::Route {
            self.fail(failure);
        } else {
            self.flags = self.flags | failure.flags();
            self.note_cut(failure);
            self.chain.expire(&mut self.filters, failure.reply());
        }
        self.settle();
    }

    fn enter(&mut self) {
        self.filters.at(self.desk.now());
    }

    fn give_up(&mut self, details: &str) {
        self.enter();
        self.flags = self.flags | Flags::DC;
        self.exchange.borrow_mut().details = details.as_bytes().to_vec();
        self.chain.abandon();
    }

    fn fail(&mut self, failure: Failure) {
        self.deadlines.answer_came();
        self.flags = self.flags | failure.flags();
        self.forwarding = false;
        self.note_cut(failure);
        self.chain.fail(&mut self.filters, failure.reply());
    }

    fn note_cut(&mut self, failure: Failure) {
        if self.answer.is_some() {
            self.exchange.borrow_mut().details = failure.cut().into_bytes();
        }
    }

    /// Takes what waits for as long as the filters hold less than they may, and writes.
    fn settle(&mut self) {
        self.write();
        while !self.chain.is_over() && !self.cut && self.read() {
            self.write();
        }
        if (self.chain.is_over() || self.cut) && !self.ended {
            self.end();
        }
    }

    /// Reads one piece, if any may be read.
    fn read(&mut self) -> bool {
        if self.chain.wants(Direction::Request)
            && let Some(piece) = self.from_caller.pop_front()
        {
            self.take_from_caller(piece);
            return true;
        }
        if self.chain.wants(Direction::Response)
            && let Some(piece) = self.from_upstream.pop_front()
        {
            self.take_from_upstream(piece);
            return true;
        }
        false
    }

    fn take_from_caller(&mut self, piece: Piece) {
        self.enter();
        self.deadlines.moved(self.desk.now());
        match piece {
            Piece::Content(bytes) => {
                self.received += bytes.len() as u64;
                self.chain.request_body(&mut self.filters, &bytes, false);
            }
            Piece::End => {
                self.came_whole();
                self.chain.request_body(&mut self.filters, &[], true);
            }
            Piece::Trailers(trailers) => {
                if self.listening.http.limits.reject_underscores
                    && let Err(malformed) = refuse_underscores(&trailers)
                {
                    self.flags = self.flags | Flags::DPE;
                    let (status, details, text) = malformed.answer();
                    let reply = own(u32::from(status), details, text);
                    return self.chain.expire(&mut self.filters, reply);
                }
                self.came_whole();
                self.exchange.borrow_mut().set_trailers(Direction::Request, trailers);
                self.chain.request_trailers(&mut self.filters);
            }
        }
    }

    fn take_from_upstream(&mut self, piece: Piece) {
        self.enter();
        self.deadlines.moved(self.desk.now());
        match piece {
            Piece::Content(bytes) => self.chain.response_body(&mut self.filters, &bytes, false),
            Piece::End => {
                self.deadlines.answer_came();
                self.chain.response_body(&mut self.filters, &[], true);
            }
            Piece::Trailers(trailers) => {
                self.deadlines.answer_came();
                self.exchange.borrow_mut().set_trailers(Direction::Response, trailers);
                self.chain.response_trailers(&mut self.filters);
            }
        }
    }

    fn came_whole(&mut self) {
        self.request_came = true;
        self.time_upstream();
    }

    /// A route's time runs from the end of the request, once it is known where it goes.
    fn time_upstream(&mut self) {
        if self.request_came && self.forwarding {
            let time = self.filters.target.as_ref().and_then(|target| target.timeout);
            self.deadlines.route(time, self.desk.now());
        }
    }

    fn write(&mut self) {
        self.chain.park();
        while let Some(output) = self.chain.poll() {
            if !self.replaced && self.write_one(output).is_err() {
                self.cut = true;
                return;
            }
        }
    }

    fn write_one(&mut self, output: Output) -> Result<(), Unsendable> {
        if output.ends_request() || matches!(output, Output::Headers(Direction::Response, ..)) {
            self.deadlines.request_left();
        }
        match output {
            Output::Headers(Direction::Request, pairs, end) => self.forward(&pairs, end),
            Output::Headers(Direction::Response, pairs, end) => self.respond(&pairs, end),
            Output::Body(direction, bytes, end) => match self.side(direction) {
                Some(side) => side.content(&bytes, end),
                None => Ok(()),
            },
            Output::Trailers(direction, pairs) => match self.side(direction) {
                Some(side) => side.trailers(fields::trailers_leave(&pairs)),
                None => Ok(()),
            },
            Output::CancelUpstream => {
                self.deadlines.answer_came();
                self.forwarding = false;
                Ok(())
            }
            Output::Reset => {
                self.cut = true;
                Ok(())
            }
        }
    }

    fn side(&mut self, direction: Direction) -> Option<&mut Side> {
        match direction {
            Direction::Request => self.upstream.as_mut().filter(|_| self.forwarding),
            Direction::Response => self.answer.as_mut(),
        }
    }

    fn forward(&mut self, pairs: &Pairs, end: bool) -> Result<(), Unsendable> {
        let cluster = self.cluster().unwrap_or_default();
        if self.desk.refusing.borrow().contains(&cluster) {
            self.fail(Failure::Overflow);
            return Ok(());
        }
        match fields::request_leaves(pairs, end) {
            Ok(head) => self.upstream = Some(Side::request(head, end)?),
            Err(unfit) => {
                self.flags = self.flags | Flags::DPE;
                self.chain.fail(&mut self.filters, unfit.reply(Direction::Request));
                return Ok(());
            }
        }
        self.forwarding = true;
        self.upstream_began = self.desk.now();
        self.time_upstream();
        Ok(())
    }

    fn respond(&mut self, pairs: &Pairs, end: bool) -> Result<(), Unsendable> {
        let date = httpdate::fmt_http_date(self.desk.wall());
        let head = self.exchange.borrow().is_head();
        let leaving =
            Leaving { date: &date, close: false, end, head, http2: false, upgrade: false };
        match fields::response_leaves(pairs, &leaving) {
            Ok(answer) => self.answer = Some(Side::response(answer, head, end)?),
            Err(unfit) => return self.replace(unfit.reply(Direction::Response), &leaving),
        }
        Ok(())
    }

    /// Answers past the filters, which have left what cannot be sent.
    fn replace(&mut self, reply: LocalReply, leaving: &Leaving<'_>) -> Result<(), Unsendable> {
        let mut exchange = self.exchange.borrow_mut();
        let body = exchange.answer_locally(reply);
        let pairs = exchange.headers(Direction::Response);
        drop(exchange);
        self.replaced = true;
        self.chain.abandon();
        let end = body.is_empty() || leaving.head;
        let leaving = Leaving { end, ..*leaving };
        let Ok(head) = fields::response_leaves(&pairs, &leaving) else { return Ok(()) };
        let mut side = Side::response(head, leaving.head, end)?;
        if !end {
            side.content(&body, true)?;
        }
        self.answer = Some(side);
        Ok(())
    }

    /// Tells filters and loggers that it is over.
    fn end(&mut self) {
        self.ended = true;
        if let Some(failure) = self.filters.refused {
            self.flags = self.flags | failure.flags();
        }
        let sent = self.answer().map_or(0, |message| message.content().len() as u64);
        let duration = self.desk.now().saturating_sub(self.began.0);
        let end = facts::End { flags: self.flags, duration };
        let mut exchange = self.exchange.borrow_mut();
        exchange.sent = sent;
        facts::at_end(&mut exchange, &end);
        drop(exchange);
        self.enter();
        self.filters.finish();
        self.log(duration, sent);
    }

    fn log(&self, lasted: Duration, sent: u64) {
        let exchange = self.exchange.borrow();
        let id = exchange.request_field(b"x-request-id");
        let ended = Ended {
            started: self.began.1,
            lasted,
            id: id.as_deref().and_then(|id| std::str::from_utf8(id).ok()),
            exchange: &exchange,
            status: self.answer.as_ref().map(Side::status),
            flags: self.flags,
            cluster: exchange.cluster(),
            received: self.received,
            sent,
        };
        for logger in &self.listening.http.access_log {
            let LogOutput::Stdout(format) = &logger.output else { continue };
            let field = |name: &str| exchange.request_field(name.as_bytes());
            if logger.filter.as_ref().is_none_or(|wanted| route::holds(wanted, field)) {
                self.listening.lines.borrow_mut().push(line(format, &ended));
            }
        }
    }
}

/// A lab that ends while a stream runs still tells filters and loggers of it.
impl Drop for Course {
    fn drop(&mut self) {
        if !self.ended && !std::thread::panicking() {
            self.give_up("downstream_local_disconnect");
            self.end();
        }
    }
}
