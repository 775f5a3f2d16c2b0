//! Filters in Envoy's order: the listener's, the router, the cluster's; responses run back.
//!
//! A [`Chain`] is one stream. What arrives goes in through its methods, what leaves comes
//! out of [`Chain::poll`]; filters are asked through [`Guests`] while a method runs. It
//! does what Envoy's filter manager does where a filter can tell: a pause in headers holds
//! everything (or only the headers, with `allow_on_headers_stop_iteration`), a pause in
//! the body keeps what is there and asks again with more, trailers are a second end, a
//! local reply passes back through the filters that have seen the request.
//!
//! Invariant: output is in the order of HTTP, one head, then content, then trailers, each
//! direction; after [`Output::Reset`] nothing follows.

mod reply;
#[cfg(test)]
mod tests;
mod walk;

use std::collections::VecDeque;
use std::rc::Rc;

use bytes::Bytes;

pub use reply::own;

use super::exchange::{Exchange, Held, Shared, Sight, Waiting};
use crate::record::{In, Tap};
use crate::view::{Direction, LocalReply, Pairs};

/// What a filter wants after a callback.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verdict {
    /// Whether the callback returned `Pause`.
    pub pause: bool,
    /// `proxy_continue_stream` for the request.
    pub continue_request: bool,
    /// `proxy_continue_stream` for the response.
    pub continue_response: bool,
    /// `proxy_close_stream`.
    pub close: bool,
    /// `proxy_send_local_response`.
    pub reply: Option<LocalReply>,
    /// The machine died in the callback, or was dead before.
    pub failed: bool,
    /// The filter has seen the end of the content and put trailers behind it.
    pub adds_trailers: bool,
}

/// One filter of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// `allow_on_headers_stop_iteration`.
    pub body_while_headers_paused: bool,
    /// Bytes that are held for this filter at most, each way.
    pub limit: usize,
}

/// Where the router sends a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Routed {
    /// To a cluster with these filters.
    To(Vec<Slot>),
    /// Nowhere.
    Refused(LocalReply),
}

/// The filters, and the router between those of the listener and those of the cluster.
pub trait Guests {
    /// Request or response fields; `end` when nothing follows.
    fn headers(&mut self, filter: usize, direction: Direction, end: bool) -> Verdict;
    /// Content; what is held and new stands in the exchange.
    fn body(&mut self, filter: usize, direction: Direction, end: bool) -> Verdict;
    /// Trailers.
    fn trailers(&mut self, filter: usize, direction: Direction) -> Verdict;
    /// The request has passed the listener's filters: finds the route and rewrites.
    fn route(&mut self) -> Routed;
    /// An answer leaves the router, the upstream's or its own: what the router and the route
    /// change of its fields.
    fn leaves_router(&mut self, answer: &mut Pairs) {
        let _ = answer;
    }
    /// The cluster's filters have nothing more to see.
    fn cluster_over(&mut self) {}
}

/// What leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Fields, to the upstream or to the caller.
    Headers(Direction, Pairs, bool),
    /// Content.
    Body(Direction, Bytes, bool),
    /// Trailers, which end the message.
    Trailers(Direction, Pairs),
    /// The upstream is not needed any more.
    CancelUpstream,
    /// Both sides are cut.
    Reset,
}

impl Output {
    /// Whether the request has left whole with this.
    pub fn ends_request(&self) -> bool {
        matches!(
            self,
            Self::Headers(Direction::Request, _, true)
                | Self::Body(Direction::Request, _, true)
                | Self::Trailers(Direction::Request, _)
        )
    }
}

/// How far one direction of one filter is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Flow {
    #[default]
    Open,
    /// Waits for this filter; its body callbacks come.
    Stopped,
    /// Waits for this filter; no callbacks come.
    StoppedAll,
}

/// One direction of one filter.
#[derive(Debug, Clone, Default)]
struct Gate {
    flow: Flow,
    /// Headers have come and wait here.
    holds_headers: bool,
    /// Content that waits here.
    held: Held,
    /// Whether a body callback has paused, so that even an empty buffer is one.
    buffered: bool,
    /// Everything has come.
    end: bool,
    /// Trailers have come and wait here.
    holds_trailers: bool,
}

impl Gate {
    /// What callbacks of others may see.
    fn waiting(&self) -> Waiting {
        let sight = Sight { headers: self.holds_headers, trailers: self.holds_trailers };
        Waiting { sight, held: self.buffered.then(|| Rc::clone(&self.held)) }
    }
}

#[derive(Debug, Clone)]
struct Member {
    slot: Slot,
    /// Has seen the request's fields, so its context exists.
    created: bool,
    request: Gate,
    response: Gate,
}

impl Member {
    fn new(slot: Slot) -> Self {
        Self { slot, created: false, request: Gate::default(), response: Gate::default() }
    }

    fn gate(&mut self, direction: Direction) -> &mut Gate {
        match direction {
            Direction::Request => &mut self.request,
            Direction::Response => &mut self.response,
        }
    }
}

/// How far the response is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Answer {
    /// Nothing has come.
    None,
    /// Its fields are at the filters.
    Inside,
    /// Its fields have left.
    Sent,
    /// It has left whole, or the stream was cut.
    Over,
}

/// One stream and its filters.
pub struct Chain {
    exchange: Shared,
    members: Vec<Member>,
    /// How many of the members are the listener's.
    listener: usize,
    routed: bool,
    /// Whether the request may go on; a local reply ends it.
    request_open: bool,
    /// Whether something has gone out to the upstream.
    forwarding: bool,
    answer: Answer,
    /// Whether the response's fields have come to the listener's filters.
    answered: bool,
    /// A reply that came in the response phase goes out past the filters.
    direct: bool,
    head: bool,
    output: VecDeque<Output>,
}

impl Chain {
    /// A stream through the listener's filters.
    pub fn new(exchange: Shared, filters: &[Slot]) -> Self {
        let head = exchange.borrow().is_head();
        Self {
            exchange,
            members: filters.iter().copied().map(Member::new).collect(),
            listener: filters.len(),
            routed: false,
            request_open: true,
            forwarding: false,
            answer: Answer::None,
            answered: false,
            direct: false,
            head,
            output: VecDeque::new(),
        }
    }

    /// The next thing that leaves.
    pub fn poll(&mut self) -> Option<Output> {
        let output = self.output.pop_front()?;
        self.exchange.borrow().tap.iter().for_each(|tap| tap.left(&output));
        Some(output)
    }

    /// Tells a recording what comes.
    fn told(&self, event: impl FnOnce(&Tap, &Exchange) -> In) {
        let exchange = self.exchange.borrow();
        if let Some(tap) = &exchange.tap {
            tap.told(&exchange, event(tap, &exchange));
        }
    }

    /// The caller's request; its fields stand in the exchange.
    pub fn request_headers(&mut self, guests: &mut dyn Guests, end: bool) {
        self.told(|_, _| In::RequestHeaders { end });
        self.head = self.exchange.borrow().is_head();
        self.walk_headers(guests, Direction::Request, 0, end);
    }

    /// Content of the request.
    pub fn request_body(&mut self, guests: &mut dyn Guests, bytes: &[u8], end: bool) {
        self.told(|tap, _| In::RequestBody { bytes: tap.bytes(bytes), end });
        self.exchange.borrow_mut().received += bytes.len() as u64;
        self.walk_body(guests, Direction::Request, 0, bytes.to_vec(), end);
    }

    /// Trailers of the request, which stand in the exchange.
    pub fn request_trailers(&mut self, guests: &mut dyn Guests) {
        self.told(|tap, it| In::RequestTrailers {
            fields: tap.pairs(&it.trailers(Direction::Request)),
        });
        self.walk_trailers(guests, Direction::Request, 0);
    }

    /// The upstream's answer; its fields stand in the exchange.
    pub fn response_headers(&mut self, guests: &mut dyn Guests, end: bool) {
        self.told(|tap, it| {
            let fields = tap.pairs(&it.headers(Direction::Response));
            let took = it.took.map(|took| took.as_millis() as u64);
            In::ResponseHeaders { fields, end, took }
        });
        if self.answer == Answer::None {
            self.answer = Answer::Inside;
            self.walk_headers(guests, Direction::Response, 0, end);
        }
    }

    /// Content of the answer.
    pub fn response_body(&mut self, guests: &mut dyn Guests, bytes: &[u8], end: bool) {
        self.told(|tap, _| In::ResponseBody { bytes: tap.bytes(bytes), end });
        self.walk_body(guests, Direction::Response, 0, bytes.to_vec(), end);
    }

    /// Trailers of the answer, which stand in the exchange.
    pub fn response_trailers(&mut self, guests: &mut dyn Guests) {
        self.told(|tap, it| In::ResponseTrailers {
            fields: tap.pairs(&it.trailers(Direction::Response)),
        });
        self.walk_trailers(guests, Direction::Response, 0);
    }

    /// Runs what is no part of a direction at one filter: the answer to a call-out, or what
    /// a callback of another context has asked for. Does nothing for a filter that has no context.
    pub fn meanwhile<G: Guests>(
        &mut self,
        guests: &mut G,
        filter: usize,
        callback: impl FnOnce(&mut G) -> Verdict,
    ) {
        if !self.members.get(filter).is_some_and(|member| member.created) {
            return;
        }
        self.show(filter);
        let verdict = callback(guests);
        self.hide(filter);
        if !self.interrupted(guests, filter, &verdict) {
            self.continued(guests, filter, &verdict);
        }
    }

    /// Tells the exchange what waits at each filter, when an event has been dealt with.
    pub fn park(&self) {
        let parked = self.members.iter().map(|it| [it.request.waiting(), it.response.waiting()]);
        self.exchange.borrow_mut().park(parked);
    }

    /// Whether more of a message should be read: less is held than the limits allow.
    pub fn wants(&self, direction: Direction) -> bool {
        self.members.iter().all(|member| {
            let gate = match direction {
                Direction::Request => &member.request,
                Direction::Response => &member.response,
            };
            gate.held.borrow().len() <= member.slot.limit
        })
    }

    /// Whether the response has left whole, or the stream was cut.
    pub fn is_over(&self) -> bool {
        self.answer == Answer::Over
    }
}
