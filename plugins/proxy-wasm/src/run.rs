//! One request and its response: events to the core, its effects to the host, its flow
//! back.
//!
//! Invariant: content goes on only when the core's stream says so. Once the stream was
//! answered here or cut, nothing of the upstream passes.

use std::rc::Rc;

use crate::abi::{self, Answer, Buffer, Direction};
use crate::host;
use postern_core::effect::{Effect, Flow};
use postern_core::event::{AuditState, Event};
use postern_core::key_service::{CallFailure, CallId, CallResult};
use postern_core::stream::Stream;

use crate::module::{Place, Ready};
use crate::perform::{self, Done, End, Standing, perform};
use crate::receipts::{self, Count};

/// Most events that one callback may lead to (a call that was not sent, a failed effect).
const MOST_EVENTS: usize = 8;

/// A running stream.
pub struct Run {
    /// What all streams of the root share.
    pub ready: Rc<Ready>,
    stream: Box<dyn Stream>,
    standing: Standing,
    /// Which direction is paused and may be resumed outside its own callbacks.
    waiting: Option<Direction>,
    /// The response's head is paused, and with it all that follows.
    head_held: bool,
    /// The response has begun, so a reply of ours would not pass here any more.
    answered: bool,
    over: bool,
    /// Where a gate counts this request for the audit logger.
    count: Option<Count>,
}

impl Run {
    /// A stream that has seen nothing yet.
    pub fn new(ready: Rc<Ready>) -> Self {
        let (stream, standing) = ((ready.module.streams)(), Standing::default());
        let (waiting, count, head_held) = (None, None, false);
        Self { ready, stream, standing, waiting, head_held, answered: false, over: false, count }
    }

    /// Whether the request or the answer's head is paused, so that time has to be told to it.
    /// Content that is paused waits for more of it, not for time.
    pub fn waits(&self) -> bool {
        (self.waiting == Some(Direction::Request) || self.head_held) && self.open()
    }

    fn open(&self) -> bool {
        self.standing.end == End::Open && !self.over
    }

    /// A callback of the request; no event means that the host did not give what it is
    /// about.
    pub fn request(&mut self, event: Option<Event>) -> Flow {
        if !self.open() {
            return Flow::Pause;
        }
        self.step(Direction::Request, event)
    }

    /// A callback of the response. Our own reply passes the callbacks of its filter, and
    /// nothing else does once the stream has ended here.
    pub fn response(&mut self, event: Option<Event>) -> Flow {
        match self.standing.end {
            End::Replied if !self.answered => return Flow::Continue,
            End::Replied | End::Cut => return Flow::Pause,
            End::Open => {}
        }
        let first = !std::mem::replace(&mut self.answered, true);
        let flow = self.step(Direction::Response, event);
        self.head_held = (first || self.head_held) && flow == Flow::Pause;
        flow
    }

    /// Whether new content of the answer goes on without being told.
    pub fn passes_answer(&self) -> bool {
        self.answered && !self.head_held && self.open() && self.stream.passes_answer()
    }

    /// Something happened outside the callbacks of the paused direction.
    pub fn meanwhile(&mut self, event: Event) {
        if !self.open() {
            return;
        }
        let flow = self.drive(event);
        let Some(direction) = self.waiting else { return };
        self.settle(direction, flow);
        self.head_held &= flow == Flow::Pause;
        if flow == Flow::Continue && abi::continue_stream(direction).is_err() {
            let _ = perform::reset(&mut self.standing);
        }
    }

    /// Time passed. No call can be sent now: the host would bring its reply to the root
    /// context, whose callback this is.
    pub fn tick(&mut self) {
        self.standing.mute = true;
        self.meanwhile(Event::Tick);
        self.standing.mute = false;
    }

    /// Whether other paused streams are to be told that time has passed, once.
    pub fn wakes(&mut self) -> bool {
        std::mem::take(&mut self.standing.wake)
    }

    /// The call that the host knows under this token, once.
    pub fn called(&mut self, token: u32) -> Option<CallId> {
        self.standing.calls.remove(&token)
    }

    /// New content of a direction; `None` when the host does not give it.
    pub fn content(&mut self, direction: Direction, whole: usize) -> Option<Vec<u8>> {
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
    pub fn finish(&mut self) {
        if std::mem::replace(&mut self.over, true) {
            return;
        }
        self.stream.handle(Event::Done, host::now());
        while let Some(effect) = self.stream.poll() {
            if matches!(
                effect,
                Effect::Record(_) | Effect::Amend(_) | Effect::Count(_) | Effect::Publish(_)
            ) {
                let _ = perform(effect, &self.ready, &mut self.standing);
            }
        }
        if let Place::Listener { .. } = self.ready.module.place
            && let Some(seq) = self.count().and_then(receipts::next)
        {
            // Not written means no receipt, and the next request is refused.
            let _ = abi::set_filter_state("postern.seq", &seq);
        }
    }

    /// Whether the audit logger has the last record of this stream's count. In a cluster's
    /// chain nobody asks: the gate has looked.
    pub fn audit(&mut self) -> AuditState {
        let ready = Rc::clone(&self.ready);
        match &ready.module.place {
            Place::Listener { shared, .. } => receipts::state(self.count(), shared, host::now()),
            Place::Cluster => AuditState::Acknowledged,
        }
    }

    fn count(&mut self) -> Option<&Count> {
        if self.count.is_none() {
            self.count = self.ready.receipts.count();
        }
        self.count.as_ref()
    }

    fn step(&mut self, direction: Direction, event: Option<Event>) -> Flow {
        let flow = self.drive(event.unwrap_or(Event::EffectFailed));
        self.settle(direction, flow);
        flow
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
            let Some(event) = next.take() else { break };
            self.stream.handle(event, now);
            next = self.perform_all();
        }
        if next.is_some() && self.open() {
            let _ = perform::reset(&mut self.standing);
        }
        if self.open() { self.stream.flow() } else { Flow::Pause }
    }

    /// Performs what the stream asks; an event when that leads to one.
    fn perform_all(&mut self) -> Option<Event> {
        while let Some(effect) = self.stream.poll() {
            match perform(effect, &self.ready, &mut self.standing) {
                Ok(Done::Quiet) => {}
                Ok(Done::NotSent(id)) => return Some(reply(id, Err(CallFailure::NotSent))),
                // Nothing is forwarded any more: no effect can be needed for safety.
                Err(_) if !self.open() => {}
                Err(_) => return Some(Event::EffectFailed),
            }
        }
        None
    }
}

/// A reply as an event; without randomness there is nothing to go on with.
pub fn reply(id: CallId, result: CallResult) -> Event {
    let entropy = host::entropy();
    entropy.map_or(Event::EffectFailed, |entropy| Event::CallReply { id, result, entropy })
}

/// What a hostcall gave, or nothing.
pub fn given<T>(answer: Answer<Option<T>>) -> Option<T> {
    answer.ok().flatten()
}

#[cfg(test)]
mod tests;
