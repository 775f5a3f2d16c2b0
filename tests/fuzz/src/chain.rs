//! The filter chain as operations: events in any order that sockets allow, verdicts in any.
//!
//! Filters change nothing here, so what leaves has to be what came.

use std::cell::RefCell;
use std::rc::Rc;

use postern_runtime::proxy::chain::{Chain, Guests, Output, Routed, Slot, Verdict, own};
use postern_runtime::proxy::exchange::{Exchange, Shared};
use postern_runtime::view::{Direction, Pairs};

use crate::source::Source;

/// One of the two messages as it came in and as it left.
#[derive(Default)]
struct Half {
    came: Vec<u8>,
    ended: bool,
    left: Vec<u8>,
    headed: bool,
    over: bool,
}

/// What a filter has said about the request so far.
#[derive(Default, Clone)]
struct Said {
    asked: bool,
    passed: bool,
}

/// Filters that say what the input says.
struct Scripted<'a> {
    source: Source<'a>,
    said: Vec<Said>,
    cluster: Vec<Slot>,
    routed: bool,
    /// A filter or the router has ended the request.
    refused: bool,
}

impl Scripted<'_> {
    fn verdict(&mut self, filter: usize, direction: Option<Direction>) -> Verdict {
        let byte = self.source.byte();
        let rare = byte & 0xf0 == 0xf0;
        let verdict = Verdict {
            pause: byte & 1 != 0,
            continue_request: byte & 2 != 0,
            continue_response: byte & 4 != 0,
            close: rare && byte & 8 != 0,
            failed: byte & 0xfc == 0xe0,
            reply: (byte & 0xfc == 0xe8).then(|| own(403, "no", "no")),
            adds_trailers: false,
        };
        let ends = verdict.close || verdict.failed || verdict.reply.is_some();
        let said = &mut self.said[filter];
        if direction == Some(Direction::Request) {
            said.asked = true;
            said.passed |= !verdict.pause && !ends;
        }
        said.passed |= said.asked && verdict.continue_request && !ends;
        self.refused |= ends;
        verdict
    }
}

impl Guests for Scripted<'_> {
    fn headers(&mut self, filter: usize, direction: Direction, _: bool) -> Verdict {
        self.verdict(filter, Some(direction))
    }
    fn body(&mut self, filter: usize, direction: Direction, _: bool) -> Verdict {
        self.verdict(filter, Some(direction))
    }
    fn trailers(&mut self, filter: usize, direction: Direction) -> Verdict {
        self.verdict(filter, Some(direction))
    }
    fn route(&mut self) -> Routed {
        assert!(!self.routed, "routed twice");
        assert!(self.said.iter().all(|said| said.passed), "routed before every filter passed");
        self.routed = true;
        if self.source.byte() == 0xff {
            self.refused = true;
            return Routed::Refused(own(404, "route_not_found", ""));
        }
        self.said.extend(vec![Said::default(); self.cluster.len()]);
        Routed::To(self.cluster.clone())
    }
}

struct World<'a> {
    chain: Chain,
    guests: Scripted<'a>,
    exchange: Shared,
    request: Half,
    response: Half,
    /// A local reply, which is no answer of the upstream.
    local: bool,
    cancelled: bool,
    cut: bool,
}

/// Takes any bytes and may only return.
pub fn fuzz_chain(bytes: &[u8]) {
    let mut source = Source::new(bytes);
    let listener: Vec<Slot> = (0..source.below(4)).map(|_| slot(&mut source)).collect();
    let cluster = (0..source.below(3)).map(|_| slot(&mut source)).collect();
    let events = source.block().to_vec();
    let method = if events.len() % 5 == 4 { "HEAD" } else { "POST" };
    let exchange = Rc::new(RefCell::new(Exchange::new(pairs(":method", method))));
    let said = vec![Said::default(); listener.len()];
    let guests = Scripted { source, said, cluster, routed: false, refused: false };
    let mut world = World {
        chain: Chain::new(Rc::clone(&exchange), &listener),
        guests,
        exchange,
        request: Half::default(),
        response: Half::default(),
        local: false,
        cancelled: false,
        cut: false,
    };
    world.chain.request_headers(&mut world.guests, events.first().is_none_or(|byte| byte & 1 == 0));
    world.request.ended = events.first().is_none_or(|byte| byte & 1 == 0);
    world.look();
    let mut begun = false;
    for event in events.iter().skip(1) {
        if world.chain.is_over() {
            break;
        }
        world.event(*event, &mut begun);
        world.chain.park();
        world.look();
    }
}

fn slot(source: &mut Source<'_>) -> Slot {
    let byte = source.byte();
    Slot { body_while_headers_paused: byte & 1 != 0, limit: usize::from(byte >> 2) }
}

fn pairs(name: &str, value: &str) -> Pairs {
    vec![(name.as_bytes().to_vec(), value.as_bytes().to_vec())]
}

impl World<'_> {
    /// One event, if it can come now.
    fn event(&mut self, event: u8, begun: &mut bool) {
        let end = event & 0x10 != 0;
        let content = vec![b'a' + (event & 7); usize::from(event >> 5) * 5];
        // The upstream can speak once it has been spoken to, and while it is needed.
        let upstream = self.request.headed && !self.cancelled && !self.response.ended;
        let guests = &mut self.guests;
        match event & 15 {
            0..=3 if !self.request.ended => {
                self.request.came.extend(&content);
                self.request.ended = end;
                self.chain.request_body(guests, &content, end);
            }
            4 if !self.request.ended => {
                self.request.ended = true;
                self.exchange.borrow_mut().set_trailers(Direction::Request, pairs("a", "b"));
                self.chain.request_trailers(guests);
            }
            5..=6 if upstream && !*begun => {
                *begun = true;
                self.response.ended = end;
                let status = pairs(":status", "200");
                self.exchange.borrow_mut().set_headers(Direction::Response, status);
                self.chain.response_headers(guests, end);
            }
            7..=9 if upstream && *begun => {
                self.response.came.extend(&content);
                self.response.ended = end;
                self.chain.response_body(guests, &content, end);
            }
            10 if upstream && *begun => {
                self.response.ended = true;
                self.exchange.borrow_mut().set_trailers(Direction::Response, pairs("c", "d"));
                self.chain.response_trailers(guests);
            }
            11..=13 => {
                let filter = usize::from(event >> 4);
                self.chain.meanwhile(guests, filter, |guests| guests.verdict(filter, None));
            }
            14 if upstream => self.chain.fail(guests, own(503, "upstream", "gone")),
            15 if end => self.chain.expire(guests, own(504, "timeout", "late")),
            15 => self.chain.abandon(),
            _ => {}
        }
    }

    /// Holds everything that has left against what came.
    fn look(&mut self) {
        while let Some(output) = self.chain.poll() {
            assert!(!self.cut, "{output:?} after a reset");
            match output {
                Output::Headers(direction, pairs, end) => {
                    let status = pairs.first().map(|(_, value)| value.clone());
                    self.local |= direction == Direction::Response
                        && status.is_some_and(|status| status != b"200");
                    self.leaves(direction);
                    let half = self.half(direction);
                    assert!(!half.headed, "a second head");
                    (half.headed, half.over) = (true, end);
                }
                Output::Body(direction, bytes, end) => {
                    self.leaves(direction);
                    let local = self.local && direction == Direction::Response;
                    let half = self.half(direction);
                    assert!(half.headed && !half.over, "content without a head or after the end");
                    half.left.extend_from_slice(&bytes);
                    half.over = end;
                    assert!(local || half.came.starts_with(&half.left), "content was changed");
                }
                Output::Trailers(direction, _) => {
                    self.leaves(direction);
                    let half = self.half(direction);
                    assert!(half.headed && !half.over, "trailers without a head or after the end");
                    half.over = true;
                }
                Output::CancelUpstream => {
                    assert!(self.request.headed && !self.cancelled, "nothing to cancel");
                    self.cancelled = true;
                }
                Output::Reset => self.cut = true,
            }
        }
        let whole = |half: &Half| !half.over || half.ended && half.left == half.came;
        assert!(whole(&self.request), "the request has left, but not all of it");
        assert!(self.local || whole(&self.response), "the answer has left, but not all of it");
    }

    fn half(&mut self, direction: Direction) -> &mut Half {
        match direction {
            Direction::Request => &mut self.request,
            Direction::Response => &mut self.response,
        }
    }

    /// Nothing goes to an upstream that a filter has not passed, or after one has refused.
    fn leaves(&self, direction: Direction) {
        if direction == Direction::Request {
            assert!(!self.cancelled, "the request goes on after it was cancelled");
            assert!(self.guests.routed, "the request leaves without a route");
            assert!(self.guests.said.iter().all(|said| said.passed), "a filter was passed by");
        }
    }
}
