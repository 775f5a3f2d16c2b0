//! Headers, content and trailers from filter to filter.
//!
//! Positions count in the order of the direction; [`Chain::at`] turns one into a filter.
//! Invariant: no member is borrowed and no cell of the exchange either while a filter runs.

use bytes::Bytes;

use super::{Answer, Chain, Flow, Gate, Guests, Member, Output, Routed, Verdict};
use crate::view::Direction;

impl Chain {
    /// The filter at a position.
    fn at(&self, direction: Direction, position: usize) -> Option<usize> {
        let count = self.members.len();
        match direction {
            Direction::Request => (position < count).then_some(position),
            Direction::Response => count.checked_sub(position + 1),
        }
    }

    /// Where a filter stands in a direction.
    fn position(&self, direction: Direction, filter: usize) -> usize {
        match direction {
            Direction::Request => filter,
            Direction::Response => self.members.len() - 1 - filter,
        }
    }

    fn gate(&mut self, filter: usize, direction: Direction) -> &mut Gate {
        self.members[filter].gate(direction)
    }

    /// Whether a direction still moves.
    fn moves(&self, direction: Direction) -> bool {
        match direction {
            Direction::Request => self.request_open && self.answer != Answer::Over,
            Direction::Response => {
                matches!(self.answer, Answer::Inside | Answer::Sent) && !self.direct
            }
        }
    }

    /// Lets a filter see what is held for it.
    pub(super) fn show(&mut self, filter: usize) {
        let Member { request, response, .. } = &mut self.members[filter];
        let mut exchange = self.exchange.borrow_mut();
        for (direction, gate) in [(Direction::Request, request), (Direction::Response, response)] {
            let body = gate.buffered.then(|| gate.held.take());
            exchange.show(direction, gate.holds_headers, body, gate.holds_trailers);
        }
    }

    /// Takes back what [`Chain::show`] lent.
    pub(super) fn hide(&mut self, filter: usize) {
        let Member { request, response, .. } = &mut self.members[filter];
        let mut exchange = self.exchange.borrow_mut();
        for (direction, gate) in [(Direction::Request, request), (Direction::Response, response)] {
            if let Some(body) = exchange.hide(direction) {
                gate.held.replace(body);
            }
        }
    }

    pub(super) fn walk_headers(
        &mut self,
        guests: &mut dyn Guests,
        direction: Direction,
        from: usize,
        end: bool,
    ) {
        let mut position = from;
        while self.moves(direction) {
            if direction == Direction::Request && position == self.listener && !self.routed {
                self.routed = true;
                match guests.route() {
                    Routed::To(slots) => self.members.extend(slots.into_iter().map(Member::new)),
                    Routed::Refused(reply) => return self.refuse(guests, reply),
                }
            }
            if direction == Direction::Response && self.is_router(position) && !self.answered {
                self.answer_leaves_router(guests);
            }
            self.pass_router(guests, direction, position, end);
            let Some(filter) = self.at(direction, position) else {
                return self.headers_leave(direction, end);
            };
            if !self.ask_headers(guests, filter, direction, end) {
                return;
            }
            position += 1;
        }
    }

    /// The listener's filters see the upstream's answer as router and route have changed it.
    fn answer_leaves_router(&mut self, guests: &mut dyn Guests) {
        self.answered = true;
        let mut pairs = self.exchange.borrow().headers(Direction::Response);
        guests.leaves_router(&mut pairs);
        self.exchange.borrow_mut().set_headers(Direction::Response, pairs);
    }

    /// Whether a response at this position has passed the cluster's filters and not yet one of
    /// the listener's.
    fn is_router(&self, position: usize) -> bool {
        position + self.listener == self.members.len()
    }

    /// The end of a response is the end of the cluster's filters, too.
    fn pass_router(
        &mut self,
        guests: &mut dyn Guests,
        direction: Direction,
        position: usize,
        end: bool,
    ) {
        if end && direction == Direction::Response && self.is_router(position) {
            guests.cluster_over();
        }
    }

    /// Whether the headers go on.
    fn ask_headers(
        &mut self,
        guests: &mut dyn Guests,
        filter: usize,
        direction: Direction,
        end: bool,
    ) -> bool {
        let member = &mut self.members[filter];
        if direction == Direction::Response && !member.created {
            return true;
        }
        member.created = true;
        let body_too = member.slot.body_while_headers_paused;
        let gate = member.gate(direction);
        gate.holds_headers = true;
        gate.end = end;
        self.show(filter);
        let verdict = guests.headers(filter, direction, end);
        self.hide(filter);
        if self.interrupted(guests, filter, &verdict) {
            return false;
        }
        let gate = self.gate(filter, direction);
        if verdict.pause {
            gate.flow = if body_too { Flow::Stopped } else { Flow::StoppedAll };
        } else {
            gate.holds_headers = false;
        }
        self.continued(guests, filter, &verdict);
        !verdict.pause && self.moves(direction)
    }

    pub(super) fn walk_body(
        &mut self,
        guests: &mut dyn Guests,
        direction: Direction,
        from: usize,
        bytes: Vec<u8>,
        end: bool,
    ) {
        let (mut position, mut bytes, mut end) = (from, bytes, end);
        let mut trailers = None;
        while self.moves(direction) {
            self.pass_router(guests, direction, position, end);
            let Some(filter) = self.at(direction, position) else {
                self.body_leaves(direction, bytes, end);
                break;
            };
            let Some(passed) = self.ask_body(guests, filter, direction, bytes, end) else { break };
            bytes = passed;
            position += 1;
            // The filter has made trailers: the content does not end the message any more.
            if std::mem::take(&mut self.gate(filter, direction).holds_trailers) {
                (end, trailers) = (false, Some(position));
            }
        }
        // Those behind the filter see them next, whatever they did with the content.
        if let Some(position) = trailers {
            self.walk_trailers(guests, direction, position);
        }
    }

    /// The content that goes on at once, if any does.
    fn ask_body(
        &mut self,
        guests: &mut dyn Guests,
        filter: usize,
        direction: Direction,
        bytes: Vec<u8>,
        end: bool,
    ) -> Option<Vec<u8>> {
        if direction == Direction::Response && !self.members[filter].created {
            return Some(bytes);
        }
        let gate = self.gate(filter, direction);
        gate.end |= end;
        gate.held.borrow_mut().extend(bytes);
        if gate.flow == Flow::StoppedAll {
            return None;
        }
        gate.buffered = true;
        self.show(filter);
        if end {
            self.exchange.borrow_mut().ends(direction);
        }
        let verdict = guests.body(filter, direction, end);
        self.hide(filter);
        if self.exchange.borrow_mut().made_trailers(direction) || verdict.adds_trailers {
            self.gate(filter, direction).holds_trailers = true;
        }
        if self.interrupted(guests, filter, &verdict) {
            return None;
        }
        let limit = self.members[filter].slot.limit;
        let gate = self.gate(filter, direction);
        let passed = match (verdict.pause, gate.flow) {
            (false, Flow::Open) => {
                gate.buffered = false;
                Some(gate.held.take())
            }
            (false, _) => {
                self.resume(guests, direction, filter);
                None
            }
            (true, _) => {
                gate.flow = Flow::Stopped;
                if gate.held.borrow().len() > limit {
                    self.too_large(guests, direction);
                }
                None
            }
        };
        self.continued(guests, filter, &verdict);
        passed
    }

    pub(super) fn walk_trailers(
        &mut self,
        guests: &mut dyn Guests,
        direction: Direction,
        from: usize,
    ) {
        let mut position = from;
        while self.moves(direction) {
            self.pass_router(guests, direction, position, true);
            let Some(filter) = self.at(direction, position) else {
                return self.trailers_leave(direction);
            };
            if !self.ask_trailers(guests, filter, direction) {
                return;
            }
            position += 1;
        }
    }

    /// Whether the trailers go on at once.
    fn ask_trailers(
        &mut self,
        guests: &mut dyn Guests,
        filter: usize,
        direction: Direction,
    ) -> bool {
        if direction == Direction::Response && !self.members[filter].created {
            return true;
        }
        let gate = self.gate(filter, direction);
        gate.holds_trailers = true;
        gate.end = true;
        if gate.flow == Flow::StoppedAll {
            return false;
        }
        self.show(filter);
        let verdict = guests.trailers(filter, direction);
        self.hide(filter);
        if self.interrupted(guests, filter, &verdict) {
            return false;
        }
        let gate = self.gate(filter, direction);
        let passed = match (verdict.pause, gate.flow) {
            (true, _) => {
                gate.flow = Flow::Stopped;
                false
            }
            (false, Flow::Open) => {
                gate.holds_trailers = false;
                true
            }
            // Takes the trailers along.
            (false, _) => {
                self.resume(guests, direction, filter);
                false
            }
        };
        self.continued(guests, filter, &verdict);
        passed
    }

    /// `proxy_continue_stream`, as recorded during a callback.
    pub(super) fn continued(&mut self, guests: &mut dyn Guests, filter: usize, verdict: &Verdict) {
        for (wanted, direction) in [
            (verdict.continue_request, Direction::Request),
            (verdict.continue_response, Direction::Response),
        ] {
            let stopped = self.gate(filter, direction).flow != Flow::Open;
            if wanted && stopped && self.moves(direction) {
                self.resume(guests, direction, filter);
            }
        }
    }

    /// Lets everything go on that waits at a filter. After a stop of everything, content
    /// and trailers have yet to be shown to the filter itself.
    fn resume(&mut self, guests: &mut dyn Guests, direction: Direction, filter: usize) {
        let position = self.position(direction, filter);
        let waiting = std::mem::take(self.gate(filter, direction));
        let next = if waiting.flow == Flow::StoppedAll { position } else { position + 1 };
        let held = waiting.held.take();
        let has_body = !held.is_empty() || waiting.buffered;
        let only_headers = waiting.end && !has_body && !waiting.holds_trailers;
        if waiting.holds_headers {
            self.walk_headers(guests, direction, position + 1, only_headers);
        }
        let ends = waiting.end && !waiting.holds_trailers;
        if !held.is_empty() || (has_body && ends) {
            self.walk_body(guests, direction, next, held, ends);
        }
        if waiting.holds_trailers {
            self.walk_trailers(guests, direction, next);
        }
    }

    fn headers_leave(&mut self, direction: Direction, end: bool) {
        let pairs = self.exchange.borrow().headers(direction);
        match direction {
            Direction::Request => self.forwarding = true,
            Direction::Response => self.answer = Answer::Sent,
        }
        self.output.push_back(Output::Headers(direction, pairs, end));
        self.left(direction, end);
    }

    fn body_leaves(&mut self, direction: Direction, bytes: Vec<u8>, end: bool) {
        if !bytes.is_empty() || end {
            if direction == Direction::Response {
                self.exchange.borrow_mut().sent += bytes.len() as u64;
            }
            self.output.push_back(Output::Body(direction, Bytes::from(bytes), end));
            self.left(direction, end);
        }
    }

    fn trailers_leave(&mut self, direction: Direction) {
        let pairs = self.exchange.borrow().trailers(direction);
        self.output.push_back(Output::Trailers(direction, pairs));
        self.left(direction, true);
    }

    fn left(&mut self, direction: Direction, end: bool) {
        if direction == Direction::Response && end {
            self.answer = Answer::Over;
        }
    }
}
