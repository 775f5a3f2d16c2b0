//! Callbacks to events: one request and its response.
//!
//! Invariant: content goes on only by [`action`], from what the core's stream says. Once
//! the stream was answered here or cut, nothing of the upstream passes.

use std::rc::Rc;

use postern_core::effect::{Effect, Flow};
use postern_core::event::{Event, Surroundings};
use postern_core::fields::Fields;
use postern_core::key_service::{CallAnswer, CallFailure, CallId, CallResult, MAX_ANSWER};
use postern_core::stream::Stream;
use postern_core::time::UnixMillis;
use postern_proxy_wasm::abi::{self, Buffer, Direction, Map};
use postern_proxy_wasm::{host, pairs};
use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;

use crate::module::Place;
use crate::perform::{self, Done, End, Standing, perform};
use crate::root::Ready;

/// Most events that one callback may lead to (a call that was not sent, a failed effect).
const MOST_EVENTS: usize = 8;

/// The stream context of a filter module.
pub(crate) struct Filter {
    ready: Rc<Ready>,
    stream: Box<dyn Stream>,
    standing: Standing,
    /// Which direction waits for a call.
    waiting: Option<Direction>,
    /// The response has begun, so a reply of ours would not pass here any more.
    answered: bool,
    over: bool,
}

/// The one place where a flow becomes an action.
fn action(flow: Flow) -> Action {
    match flow {
        Flow::Continue => Action::Continue,
        Flow::Pause => Action::Pause,
    }
}

impl Filter {
    pub(crate) fn new(ready: Rc<Ready>) -> Self {
        let stream = (ready.module.streams)();
        Self {
            ready,
            stream,
            standing: Standing::default(),
            waiting: None,
            answered: false,
            over: false,
        }
    }

    /// A callback of one direction: the event goes to the core, its effects to the host.
    fn step(&mut self, direction: Direction, event: Option<Event>) -> Action {
        let flow = self.drive(event.unwrap_or(Event::EffectFailed));
        self.settle(direction, flow);
        action(flow)
    }

    fn settle(&mut self, direction: Direction, flow: Flow) {
        match direction {
            Direction::Request => self.standing.request.settle(flow),
            Direction::Response => self.standing.response.settle(flow),
        }
        match flow {
            Flow::Pause => self.waiting = Some(direction),
            Flow::Continue if self.waiting == Some(direction) => self.waiting = None,
            Flow::Continue => {}
        }
    }

    fn drive(&mut self, event: Event) -> Flow {
        let now = host::now();
        let mut next = Some(event);
        for _ in 0..MOST_EVENTS {
            let Some(event) = next else { break };
            self.stream.handle(event, now);
            next = self.perform_all();
        }
        if next.is_some() && self.standing.end == End::Open {
            let _ = perform::reset(&mut self.standing);
        }
        if self.standing.end == End::Open { self.stream.flow() } else { Flow::Pause }
    }

    /// Performs what the stream asks; an event when that leads to one.
    fn perform_all(&mut self) -> Option<Event> {
        while let Some(effect) = self.stream.poll() {
            match perform(effect, &self.ready, &mut self.standing) {
                Ok(Done::Quiet) => {}
                Ok(Done::NotSent(id)) => return reply_event(id, Err(CallFailure::NotSent)),
                // Nothing is forwarded any more: no effect can be needed for safety.
                Err(_) if self.standing.end != End::Open => {}
                Err(_) => return Some(Event::EffectFailed),
            }
        }
        None
    }

    /// What a response callback returns once the stream has ended here: our own reply
    /// passes its filter's callbacks, and nothing else does.
    fn ended(&self) -> Option<Action> {
        match self.standing.end {
            End::Open => None,
            End::Replied if !self.answered => Some(Action::Continue),
            End::Replied | End::Cut => Some(Action::Pause),
        }
    }

    fn surroundings(&self, now: UnixMillis) -> Surroundings {
        let property = |path: &[&str]| abi::property(path).ok().flatten();
        let state = |name: &str| property(&["filter_state", name]);
        let (permit, record) = match self.ready.module.place {
            Place::Listener { .. } => (None, None),
            Place::Cluster => (state("wasm.postern.permit"), state("wasm.postern.record")),
        };
        let cluster = property(&["xds", "cluster_name"]);
        Surroundings { cluster, permit, record, audit: self.ready.audit(now) }
    }

    fn request_headers(&self, end: bool) -> Option<Event> {
        let fields = fields(Map::RequestHeaders)?;
        let around = self.surroundings(host::now());
        Some(Event::RequestHeaders { fields, end, around, entropy: host::entropy()? })
    }

    /// New content of a direction; `None` when the host does not give it.
    fn content(&mut self, direction: Direction, whole: usize) -> Option<Vec<u8>> {
        let (held, buffer) = match direction {
            Direction::Request => (&mut self.standing.request, Buffer::RequestBody),
            Direction::Response => (&mut self.standing.response, Buffer::ResponseBody),
        };
        let new = held.arrived(whole).ok()?;
        if new.is_empty() {
            return Some(Vec::new());
        }
        let chunk = abi::buffer(buffer, new.start, new.len()).ok()?;
        (chunk.len() == new.len()).then_some(chunk)
    }

    /// The stream is over: a last record, and the gate's count for the audit logger, which
    /// runs after the listener's filters. Nothing can be forwarded or answered any more.
    fn finish(&mut self) {
        if std::mem::replace(&mut self.over, true) {
            return;
        }
        self.stream.handle(Event::Done, host::now());
        while let Some(effect) = self.stream.poll() {
            if matches!(effect, Effect::Record(_) | Effect::Count(_) | Effect::Publish(_)) {
                let _ = perform(effect, &self.ready, &mut self.standing);
            }
        }
        if let Some(seq) = self.ready.seq() {
            // Not written means no receipt, and the next request is refused.
            let _ = abi::set_filter_state("postern.seq", &seq);
        }
    }
}

fn fields(map: Map) -> Option<Fields> {
    abi::header_pairs(map).ok().and_then(|bytes| pairs::decode(&bytes))
}

fn reply_event(id: CallId, result: CallResult) -> Option<Event> {
    let entropy = host::entropy();
    Some(entropy.map_or(Event::EffectFailed, |entropy| Event::CallReply { id, result, entropy }))
}

/// The reply at hand. The host turns its own failures into replies as well (503 or 504
/// with a text); telling them apart is the client's: only what opens counts.
fn answer(size: usize) -> CallResult {
    if size > MAX_ANSWER {
        return Err(CallFailure::TooLarge);
    }
    let fields = fields(Map::CallHeaders).ok_or(CallFailure::Unreadable)?;
    let status = fields.only(":status").and_then(|value| std::str::from_utf8(value).ok());
    let status = status.and_then(|text| text.parse().ok()).ok_or(CallFailure::Unreadable)?;
    let body = match size {
        0 => Vec::new(),
        _ => abi::buffer(Buffer::CallBody, 0, size).map_err(|_| CallFailure::Unreadable)?,
    };
    Ok(CallAnswer { status: Some(status), body })
}

impl Context for Filter {
    fn on_http_call_response(&mut self, token: u32, _: usize, size: usize, _: usize) {
        let Some(id) = self.standing.calls.remove(&token) else { return };
        if self.standing.end != End::Open || self.over {
            return;
        }
        let Some(event) = reply_event(id, answer(size)) else { return };
        let flow = self.drive(event);
        let Some(direction) = self.waiting else { return };
        self.settle(direction, flow);
        if flow == Flow::Continue && abi::continue_stream(direction).is_err() {
            let _ = perform::reset(&mut self.standing);
        }
    }

    /// The only end that a filter in a cluster's chain hears of.
    fn on_done(&mut self) -> bool {
        self.finish();
        true
    }
}

impl HttpContext for Filter {
    fn on_http_request_headers(&mut self, _: usize, end: bool) -> Action {
        let event = self.request_headers(end);
        self.step(Direction::Request, event)
    }

    fn on_http_request_body(&mut self, size: usize, end: bool) -> Action {
        if self.standing.end != End::Open {
            return Action::Pause;
        }
        let chunk = self.content(Direction::Request, size);
        self.step(Direction::Request, chunk.map(|chunk| Event::RequestBody { chunk, end }))
    }

    fn on_http_request_trailers(&mut self, _: usize) -> Action {
        if self.standing.end != End::Open {
            return Action::Pause;
        }
        self.step(Direction::Request, fields(Map::RequestTrailers).map(Event::RequestTrailers))
    }

    fn on_http_response_headers(&mut self, _: usize, end: bool) -> Action {
        if let Some(action) = self.ended() {
            return action;
        }
        self.answered = true;
        let fields = fields(Map::ResponseHeaders);
        self.step(Direction::Response, fields.map(|fields| Event::ResponseHeaders { fields, end }))
    }

    fn on_http_response_body(&mut self, size: usize, end: bool) -> Action {
        if let Some(action) = self.ended() {
            return action;
        }
        let chunk = self.content(Direction::Response, size);
        self.step(Direction::Response, chunk.map(|chunk| Event::ResponseBody { chunk, end }))
    }

    fn on_http_response_trailers(&mut self, _: usize) -> Action {
        if let Some(action) = self.ended() {
            return action;
        }
        self.step(Direction::Response, fields(Map::ResponseTrailers).map(Event::ResponseTrailers))
    }

    fn on_log(&mut self) {
        self.finish();
    }
}
