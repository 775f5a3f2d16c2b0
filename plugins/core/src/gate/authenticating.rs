//! Waits for whoever authenticates the caller; content may come meanwhile.
//!
//! Invariant: a request goes on when every attempt has established somebody, and at the
//! first one that has not it is refused; what was asked for it is then abandoned.

use std::time::Duration;

use crate::authenticator::{Attempt, Established, Progress, Verdict};
use crate::denial::{Denial, Ours};
use crate::effect::{Effect, Flow};
use crate::event::Event;
use crate::gate::authenticate::admit;
use crate::gate::content::Content;
use crate::gate::outcome::{self, Request, left, overtaken, refuse};
use crate::gate::states::{AwaitContent, State, is_response};
use crate::gate::{Step, polling, revocation};
use crate::key_service::{CallId, CallResult};
use crate::time::{Entropy, Moment, UnixMillis};

/// Nobody is waited for longer than this; clients of services give up first.
pub(super) const DEADLINE: Duration = Duration::from_secs(2);

/// A request whose caller is not known yet.
pub(super) struct Authenticating {
    request: Request,
    content: Content,
    since: UnixMillis,
    running: Vec<Running>,
}

/// One credential of the request.
struct Running {
    attempt: Box<dyn Attempt>,
    /// The call that is out for it.
    call: Option<CallId>,
    established: Option<Established>,
}

/// Begins with every credential of the request.
pub(super) fn start(
    request: Request,
    attempts: Vec<Box<dyn Attempt>>,
    entropy: Entropy,
    step: &mut Step<'_>,
) -> State {
    let pipeline = step.pipeline;
    let content = Content::new(&pipeline.config, &*pipeline.detector, &request.head)
        .kept_whole(request.policy.as_ref().is_some_and(|policy| policy.reads_content()));
    let running = |attempt| Running { attempt, call: None, established: None };
    let running = attempts.into_iter().map(running).collect();
    let mut state = Authenticating { request, content, since: step.now, running };
    let mut entropy = entropy;
    for one in &mut state.running {
        let (own, rest) = entropy.split();
        entropy = rest;
        let progress = one.attempt.start(Moment { now: step.now, entropy: own });
        if let Err(denial) = one.take(progress, step) {
            return state.refuse(&denial, step);
        }
    }
    state.go_on(step)
}

impl Running {
    fn take(&mut self, progress: Progress, step: &mut Step<'_>) -> Result<(), Denial> {
        self.call = None;
        let verdict = match progress {
            Progress::Ask(call) => {
                self.call = Some(call.id);
                step.emit(Effect::Call(call));
                return Ok(());
            }
            Progress::Wait => return Ok(()),
            Progress::Done(verdict) => verdict,
            Progress::DoneForAll(verdict) => {
                step.emit(Effect::Wake);
                verdict
            }
        };
        self.settle(verdict)
    }

    fn settle(&mut self, verdict: Verdict) -> Result<(), Denial> {
        self.established = Some(verdict?);
        Ok(())
    }
}

impl Authenticating {
    pub(super) fn handle(mut self, event: Event, step: &mut Step<'_>) -> State {
        step.flow(Flow::Pause);
        let pipeline = step.pipeline;
        match event {
            Event::CallReply { id, result, entropy } if self.asked(id) => {
                self.heard(id, result, entropy, step)
            }
            Event::RequestBody { chunk, end } => {
                self.content.take(&chunk, end);
                self.go_on(step)
            }
            Event::RequestTrailers(trailers) => {
                self.content.take_trailers(&pipeline.config, &trailers, &*pipeline.detector);
                self.go_on(step)
            }
            Event::Tick => self.look(step),
            Event::Done => {
                self.abandon();
                left(step, self.request.draft)
            }
            event if is_response(&event) => {
                self.abandon();
                overtaken(step, self.request.draft, &Denial::Internal(Ours::EndedByHost))
            }
            Event::EffectFailed => self.refuse(&Denial::Internal(Ours::EffectFailed), step),
            _ => self.refuse(&Denial::Internal(Ours::Unexpected), step),
        }
    }

    fn asked(&self, id: CallId) -> bool {
        self.running.iter().any(|one| one.call == Some(id))
    }

    fn heard(
        mut self,
        id: CallId,
        result: CallResult,
        entropy: Entropy,
        step: &mut Step<'_>,
    ) -> State {
        let moment = Moment { now: step.now, entropy };
        let Some(one) = self.running.iter_mut().find(|one| one.call == Some(id)) else {
            return self.refuse(&Denial::Internal(Ours::Unexpected), step);
        };
        let progress = one.attempt.heard(id, result, moment);
        match one.take(progress, step) {
            Ok(()) => self.go_on(step),
            Err(denial) => self.refuse(&denial, step),
        }
    }

    fn look(mut self, step: &mut Step<'_>) -> State {
        let waits = |one: &&mut Running| one.call.is_none() && one.established.is_none();
        for one in self.running.iter_mut().filter(waits) {
            let verdict = one.attempt.look(step.now);
            if let Some(Err(denial)) = verdict.map(|verdict| one.settle(verdict)) {
                return self.refuse(&denial, step);
            }
        }
        self.go_on(step)
    }

    /// Too much content is refused at once: the host has to hold it. Any other fault of the
    /// content waits for the caller's name, so that the record has it.
    fn go_on(self, step: &mut Step<'_>) -> State {
        step.flow(Flow::Pause);
        let Some(waiting) = self.running.iter().find(|one| one.established.is_none()) else {
            return self.decide(step);
        };
        if self.content.fault() == Some(&Denial::BodyTooLarge) {
            return self.refuse(&Denial::BodyTooLarge, step);
        }
        if step.now.since(self.since) >= DEADLINE {
            let denial = waiting.attempt.late();
            return self.refuse(&denial, step);
        }
        State::Authenticating(Box::new(self))
    }

    fn decide(self, step: &mut Step<'_>) -> State {
        let Self { mut request, content, running, .. } = self;
        let established = running.into_iter().filter_map(|one| one.established).collect();
        let admitted = match admit(established, &step.pipeline.config.tenant) {
            Ok(admitted) => admitted,
            Err(denial) => return refuse(step, request.draft, request.id, &denial),
        };
        let caller = admitted.principal.identity();
        let in_force = revocation::check(step.pipeline, &admitted.names, &request.head, step.now);
        // Whoever is revoked leaves the same record whether the directory says so or the list.
        if !matches!(in_force, Err(Denial::InvalidToken(_))) {
            request.draft.caller = Some(outcome::caller(caller, &admitted.attempts));
        }
        request.limits.clone_from(&admitted.limits);
        request.offers.clone_from(&admitted.offers);
        if in_force.is_ok()
            && let Some(id) = polling::asked(step.pipeline, &request.head)
        {
            return polling::start(request, caller, id, step);
        }
        let forwarded = in_force.and_then(|()| step.pipeline.forward(&mut request));
        match forwarded.and_then(|()| step.pipeline.decide(&mut request, caller)) {
            Ok(decided) => {
                AwaitContent::new(request, admitted, decided, content, step.now).go_on(step)
            }
            Err(denial) => refuse(step, request.draft, request.id, &denial),
        }
    }

    fn abandon(&mut self) {
        self.running.iter_mut().for_each(|one| one.attempt.abandon());
    }

    fn refuse(mut self, denial: &Denial, step: &mut Step<'_>) -> State {
        self.abandon();
        refuse(step, self.request.draft, self.request.id, denial)
    }
}
