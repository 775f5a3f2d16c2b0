//! The states of a stream and which event takes it from one to the next.
//!
//! Invariant: `handle` is total; an event that a state does not expect refuses, and a
//! refused stream never goes on.

use std::rc::Rc;

use super::Pipeline;
use super::canary::Canary;
use super::forwarded::{Forwarded, Upload};
use super::minting::{Holding, Storing};
use super::request::{self, AwaitRelease};
use super::run::Run;
use super::scrubbing::Scrubbing;
use super::tunnel::{Handshake, Tunnel};
use crate::denial::{Denial, Ours};
use crate::effect::{Effect, Flow};
use crate::event::Event;
use crate::time::UnixMillis;

/// One request and its answer.
pub struct Stream {
    run: Run,
    state: State,
}

/// Named for what comes next.
pub(super) enum State {
    /// The request's header section.
    ExpectHead,
    /// The answer to the gate's canary.
    Canary(Box<Canary>),
    /// The key service's answer; the request is held.
    AwaitRelease(Box<AwaitRelease>),
    /// The rest of a request without credentials, and its answer.
    Passing(Box<Upload>),
    /// The rest of an answer to a request without credentials, and of the request.
    Unscrubbed(Box<Upload>),
    /// The answer to a request that left with a credential.
    Forwarded(Box<Forwarded>),
    /// The rest of a token endpoint's answer, whose head is held.
    Holding(Box<Holding>),
    /// The key service's word that it has a value of that answer.
    Storing(Box<Storing>),
    /// The rest of that answer.
    Scrubbing(Box<Scrubbing>),
    /// The answer to a handshake that left with a credential.
    Handshake(Box<Handshake>),
    /// Frames, both ways.
    Tunnel(Box<Tunnel>),
    /// The rest of the request; its answer is over already.
    Answered(Box<Upload>),
    /// Nothing: the client has its refusal, or the stream is cut.
    Refused,
    /// Nothing: the stream is over.
    Over,
}

impl Stream {
    pub(super) fn new(pipeline: Rc<Pipeline>) -> Self {
        Self { run: Run::new(pipeline), state: State::ExpectHead }
    }
}

impl crate::stream::Stream for Stream {
    fn handle(&mut self, event: Event, now: UnixMillis) {
        let run = &mut self.run;
        self.state = match (std::mem::replace(&mut self.state, State::Over), event) {
            (State::Refused, _) => State::Refused,
            (State::ExpectHead, Event::RequestHeaders { fields, end, around, entropy }) => {
                request::head(&fields, end, &around, entropy, now, run)
            }
            (State::Canary(canary), event) => canary.on(&event, run),
            (State::AwaitRelease(wait), event) => wait.on(event, now, run),
            (State::Forwarded(forwarded), event) => forwarded.on(event, now, run),
            (State::Holding(holding), event) => holding.on(event, now, run),
            (State::Storing(storing), event) => storing.on(event, now, run),
            (State::Scrubbing(scrubbing), event) => scrubbing.on(event, run),
            (State::Handshake(handshake), event) => handshake.on(event, run),
            (State::Tunnel(tunnel), event) => tunnel.on(event, run),
            (State::Answered(upload), event) => upload.after_answer(&event, run),
            (State::Over | State::ExpectHead, Event::Done) => State::Over,
            (State::Passing(upload), event) => passing(upload, &event, false, run),
            (State::Unscrubbed(upload), event) => passing(upload, &event, true, run),
            (state @ State::ExpectHead, Event::Tick) => state,
            (State::ExpectHead, _) => run.refuse(Denial::Internal(Ours::Unexpected)),
            (State::Over, _) => run.cut(Denial::Internal(Ours::Unexpected)),
        };
    }

    fn poll(&mut self) -> Option<Effect> {
        self.run.next_effect()
    }

    fn flow(&self) -> Flow {
        self.run.flow()
    }
}

/// Without a credential in play there is nothing to protect in the answer.
fn passing(mut upload: Box<Upload>, event: &Event, answered: bool, run: &mut Run) -> State {
    let next = if answered { State::Unscrubbed } else { State::Passing };
    match event {
        Event::RequestHeaders { .. } | Event::CallReply { .. } => {
            run.cut(Denial::Internal(Ours::Unexpected))
        }
        Event::EffectFailed => run.cut(Denial::Internal(Ours::EffectFailed)),
        Event::Done => State::Over,
        Event::RequestBody { .. } | Event::RequestTrailers(_) => match upload.on(event, run) {
            Ok(()) => next(upload),
            Err(denial) if answered => run.cut(denial),
            Err(denial) => run.refuse_content(denial),
        },
        Event::Tick => {
            run.proceed();
            next(upload)
        }
        Event::ResponseHeaders { .. } | Event::ResponseBody { .. } | Event::ResponseTrailers(_) => {
            run.proceed();
            State::Unscrubbed(upload)
        }
    }
}
