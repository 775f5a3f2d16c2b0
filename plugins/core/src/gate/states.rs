//! The states of a gate stream, one struct for each thing to wait for.
//!
//! ```text
//! ExpectHead ──> Authenticating ──> AwaitContent ──> Approving ──> AwaitCanary ──> Granted or Tunnel ──> Over
//!     │ │            │ └────────────────┴───────────────┴──────────────┴──> Refused ──────────────────────┘
//!     │ └──> Exchanging ────────────────────────────────────────────────────────┘
//!     └──────────────└──> Polling ──────────────────────────────────────────────┘
//! ```
//!
//! Invariant: an event takes its state by value and gives the next one; an event that a
//! state does not expect refuses, and after a refusal nothing of the request goes on.

use std::time::Duration;

use crate::authenticator::{Attempt, NextNonce};
use crate::binding::is_safe_method;
use crate::config::gate::{BodyMode, Resource};
use crate::denial::{Ambiguity, AuditReason, DecisionId, Denial, Ours, TokenReason};
use crate::effect::{Effect, Flow, Part};
use crate::event::{AuditState, Event, Surroundings};
use crate::fields::Fields;
use crate::gate::approving::{Allowed, Approving};
use crate::gate::authenticate::Admitted;
use crate::gate::authenticating::{self, Authenticating};
use crate::gate::barrier::Barrier;
use crate::gate::bind::Destination;
use crate::gate::canary::AwaitCanary;
use crate::gate::content::Content;
use crate::gate::decide::Decided;
use crate::gate::exchanging::{self, Exchanging};
use crate::gate::head::Head;
use crate::gate::outcome::{self, Request, cut, left, overtaken, refuse};
use crate::gate::polling::Polling;
use crate::gate::recognise::recognise;
use crate::gate::tunnel::Tunnel;
use crate::gate::{Step, forward, revocation};
use crate::record::{Amendment, AnswerPart, Draft};
use crate::time::UnixMillis;

/// A host that delivers nothing of announced content within this does not deliver content
/// to us at all: its configuration does not match `body: hold`.
const CONTENT_DEADLINE: Duration = Duration::from_secs(10);

/// Where a stream stands.
pub(super) enum State {
    ExpectHead,
    Authenticating(Box<Authenticating>),
    Exchanging(Box<Exchanging>),
    AwaitContent(Box<AwaitContent>),
    Approving(Box<Approving>),
    Polling(Box<Polling>),
    AwaitCanary(Box<AwaitCanary>),
    Granted(Box<Granted>),
    Tunnel(Box<Tunnel>),
    Refused(Refused),
    Over,
}

impl State {
    pub(super) fn start() -> Self {
        Self::ExpectHead
    }

    pub(super) fn handle(self, event: Event, step: &mut Step<'_>) -> Self {
        match self {
            Self::ExpectHead => expect_head(event, step),
            Self::Authenticating(state) => state.handle(event, step),
            Self::Exchanging(state) => state.handle(event, step),
            Self::AwaitContent(state) => state.handle(event, step),
            Self::Approving(state) => state.handle(event, step),
            Self::Polling(state) => state.handle(event, step),
            Self::AwaitCanary(state) => state.handle(event, step),
            Self::Granted(state) => state.handle(event, step),
            Self::Tunnel(state) => state.handle(event, step),
            Self::Refused(state) => state.handle(&event, step),
            Self::Over => {
                step.flow(if is_response(&event) { Flow::Continue } else { Flow::Pause });
                Self::Over
            }
        }
    }

    /// The answer has begun and nobody looks at what comes of it.
    pub(super) fn passes_answer(&self) -> bool {
        matches!(self, Self::Granted(granted) if granted.answered && granted.barrier.is_none())
    }
}

pub(super) fn is_response(event: &Event) -> bool {
    matches!(
        event,
        Event::ResponseHeaders { .. } | Event::ResponseBody { .. } | Event::ResponseTrailers(_)
    )
}

fn expect_head(event: Event, step: &mut Step<'_>) -> State {
    match event {
        Event::RequestHeaders { fields, end, around, entropy } => {
            let (id, exchange) = outcome::split(&entropy);
            let (exchange, rest) = exchange.split();
            let policy = step.pipeline.policy_now(step.now);
            let draft = outcome::draft(step.pipeline, policy.as_deref(), &fields, id, step.now);
            match open(fields, end, &around, step) {
                Ok(Opened::Metadata(resource)) => outcome::describe(step, draft, resource),
                Ok(Opened::Invite { head, path }) => {
                    exchanging::start(head, (draft, id), path, exchange, step)
                }
                Ok(Opened::Request { head, asked, attempts }) => {
                    let config = &step.pipeline.config;
                    let destination = Destination::of(config, around.cluster.as_deref());
                    let request = Request {
                        head,
                        cluster: around.cluster,
                        destination,
                        asked,
                        target: None,
                        limits: Vec::new(),
                        offers: Vec::new(),
                        policy,
                        draft,
                        id,
                        rest,
                    };
                    authenticating::start(request, attempts, exchange, step)
                }
                Err(denial) => refuse(step, draft, id, &denial),
            }
        }
        Event::Done => State::Over,
        Event::Tick => State::ExpectHead,
        event if is_response(&event) => {
            // The host answers a request that it never showed us.
            step.flow(Flow::Continue);
            State::Over
        }
        _ => {
            let denial = Denial::Internal(Ours::Unexpected);
            refuse(step, Draft::new(step.now), DecisionId([0; 16]), &denial)
        }
    }
}

/// What is known before anybody is asked.
enum Opened<'a> {
    Request {
        head: Head,
        asked: Option<forward::Asked>,
        attempts: Vec<Box<dyn Attempt>>,
    },
    /// A question that needs no caller.
    Metadata(&'a Resource),
    /// An invite, for the endpoint of this path.
    Invite {
        head: Head,
        path: &'a str,
    },
}

/// Everything that is decided before anybody is asked.
fn open<'a>(
    fields: Fields,
    end: bool,
    around: &Surroundings,
    step: &Step<'a>,
) -> Result<Opened<'a>, Denial> {
    check_audit(around.audit, &fields).map_err(Denial::AuditUnavailable)?;
    let head = Head::read(fields, end)?;
    if head.websocket && !step.pipeline.config.bindings.allow_websockets() {
        return Err(Denial::RequestAmbiguous(Ambiguity::Upgrade));
    }
    let metadata = step.pipeline.config.resource.as_ref();
    if let Some(resource) = metadata.filter(|resource| head.asks("GET", &resource.path)) {
        return Ok(Opened::Metadata(resource));
    }
    if let Some(path) = step.pipeline.config.invites().filter(|path| head.asks("POST", path)) {
        return Ok(Opened::Invite { head, path });
    }
    let asked = forward::asked(&step.pipeline.config, &head)?;
    let attempts = recognise(step.pipeline, &head.fields, around.certificate.as_deref())?;
    Ok(Opened::Request { head, asked, attempts })
}

/// A request that cannot be recorded does not happen.
fn check_audit(audit: AuditState, fields: &Fields) -> Result<(), AuditReason> {
    match audit {
        AuditState::Acknowledged => Ok(()),
        AuditState::Behind => Err(AuditReason::Behind),
        AuditState::Full => Err(AuditReason::Full),
        AuditState::FullForWrites if fields.only(":method").is_some_and(is_safe_method) => Ok(()),
        AuditState::FullForWrites => Err(AuditReason::Full),
    }
}

/// Waits for the end of the content, where that is held; the caller is known and the head
/// is fine.
pub(super) struct AwaitContent {
    request: Request,
    admitted: Admitted,
    decided: Decided,
    content: Content,
    since: UnixMillis,
}

impl AwaitContent {
    pub(super) fn new(
        request: Request,
        admitted: Admitted,
        decided: Decided,
        content: Content,
        since: UnixMillis,
    ) -> Self {
        Self { request, admitted, decided, content, since }
    }

    fn handle(mut self, event: Event, step: &mut Step<'_>) -> State {
        let pipeline = step.pipeline;
        match event {
            Event::RequestBody { chunk, end } => {
                self.content.take(&chunk, end);
                self.go_on(step)
            }
            Event::RequestTrailers(trailers) => {
                let (config, detector) = (&pipeline.config, &*pipeline.detector);
                self.content.take_trailers(config, &trailers, detector);
                self.go_on(step)
            }
            Event::Tick => self.go_on(step),
            Event::Done => left(step, self.request.draft),
            event if is_response(&event) => {
                overtaken(step, self.request.draft, &Denial::Internal(Ours::EndedByHost))
            }
            Event::EffectFailed => self.refuse(&Denial::Internal(Ours::EffectFailed), step),
            _ => self.refuse(&Denial::Internal(Ours::Unexpected), step),
        }
    }

    pub(super) fn go_on(self, step: &mut Step<'_>) -> State {
        if let Some(denial) = self.content.fault().cloned() {
            return self.refuse(&denial, step);
        }
        if self.content.ended() || step.pipeline.config.body != BodyMode::Hold {
            if self.admitted.content.is_some() && self.content.digest() != self.admitted.content {
                return self.refuse(&Denial::InvalidToken(TokenReason::Content), step);
            }
            let Self { mut request, admitted, decided, content, .. } = self;
            let Admitted { principal, names, .. } = admitted;
            let caller = principal.identity();
            // Content may take long to come.
            let checked = revocation::check(step.pipeline, &names, &request.head, step.now);
            if let Err(denial) = checked {
                return refuse(step, request.draft, request.id, &denial);
            }
            let more = content.asked();
            let (pipeline, now) = (step.pipeline, step.now);
            let granted = pipeline.decide_content(&mut request, caller, decided, more);
            let granted = granted.and_then(|decided| {
                let asked = pipeline.ask_policy(&mut request, caller, &decided, &content, now);
                asked.map(|(changes, duties, barrier)| (decided, changes, duties, barrier))
            });
            return match granted {
                Ok((decided, changes, duties, barrier)) => {
                    let allowed = Allowed {
                        request,
                        principal,
                        decided,
                        content,
                        changes,
                        duties,
                        barrier,
                        names,
                    };
                    allowed.go_on(step)
                }
                Err(denial) => refuse(step, request.draft, request.id, &denial),
            };
        }
        if !self.content.delivered() && step.now.since(self.since) >= CONTENT_DEADLINE {
            return self.refuse(&Denial::Internal(Ours::ContentNotDelivered), step);
        }
        step.flow(Flow::Pause);
        State::AwaitContent(Box::new(self))
    }

    fn refuse(self, denial: &Denial, step: &mut Step<'_>) -> State {
        refuse(step, self.request.draft, self.request.id, denial)
    }
}

/// The permit is out; content that was not held is read as it passes.
pub(super) struct Granted {
    draft: Draft,
    id: DecisionId,
    content: Content,
    /// What is removed from the answer.
    barrier: Option<Barrier>,
    /// Nonces that the answer's head tells.
    offers: Vec<NextNonce>,
    /// The answer's head has gone on.
    answered: bool,
    /// The host is still performing the effects of the grant: nothing has left.
    fresh: bool,
}

impl Granted {
    pub(super) fn new(request: Request, content: Content, barrier: Option<Barrier>) -> Self {
        let Request { draft, id, offers, .. } = request;
        Self { draft, id, content, barrier, offers, answered: false, fresh: true }
    }

    fn handle(mut self, event: Event, step: &mut Step<'_>) -> State {
        let pipeline = step.pipeline;
        let fresh = std::mem::replace(&mut self.fresh, false);
        match event {
            Event::EffectFailed if fresh => {
                refuse(step, self.draft, self.id, &Denial::Internal(Ours::EffectFailed))
            }
            Event::RequestBody { chunk, .. } if chunk.is_empty() && self.content.ended() => {
                self.go_on(step)
            }
            Event::RequestBody { chunk, end } if !self.content.ended() => {
                self.content.take(&chunk, end);
                self.go_on(step)
            }
            Event::RequestTrailers(trailers) if !self.content.ended() => {
                let (config, detector) = (&pipeline.config, &*pipeline.detector);
                self.content.take_trailers(config, &trailers, detector);
                self.go_on(step)
            }
            Event::Done => {
                self.note_removed(step);
                State::Over
            }
            Event::Tick => {
                self.fresh = fresh;
                State::Granted(Box::new(self))
            }
            event if is_response(&event) => self.answer(event, step),
            Event::EffectFailed => cut(step, self.draft, &Denial::Internal(Ours::EffectFailed)),
            _ => cut(step, self.draft, &Denial::Internal(Ours::Unexpected)),
        }
    }

    fn go_on(self, step: &mut Step<'_>) -> State {
        if let Some(denial) = self.content.fault().cloned() {
            return cut(step, self.draft, &denial);
        }
        step.flow(Flow::Continue);
        State::Granted(Box::new(self))
    }

    /// The answer passes; what the caller may not see of it is removed.
    fn answer(mut self, event: Event, step: &mut Step<'_>) -> State {
        if matches!(event, Event::ResponseHeaders { .. }) {
            offer(std::mem::take(&mut self.offers), step);
        }
        let Some(barrier) = &mut self.barrier else {
            self.answered = true;
            step.flow(Flow::Continue);
            return State::Granted(Box::new(self));
        };
        match barrier.on(event, step) {
            Ok(over) => {
                self.answered = true;
                if over {
                    self.note_removed(step);
                    self.barrier = None;
                }
                State::Granted(Box::new(self))
            }
            Err(denial) => {
                let removed = barrier.removed();
                outcome::withhold(step, self.draft, removed, self.id, &denial, self.answered)
            }
        }
    }

    fn note_removed(&self, step: &mut Step<'_>) {
        let removed = self.barrier.as_ref().map_or(0, Barrier::removed);
        if removed > 0 {
            let part = AnswerPart { removed_sections: removed, denied: None };
            step.emit(Effect::Amend(Amendment::new(self.draft.clone(), part)));
        }
    }
}

/// Tells the caller his next nonces; an answer that has one is for nobody else (RFC 9449, 8.2).
fn offer(offers: Vec<NextNonce>, step: &mut Step<'_>) {
    let none = offers.is_empty();
    for NextNonce { proof, nonce } in offers {
        let (name, value) = (proof.field().to_owned(), nonce.into_bytes());
        step.emit(Effect::SetField { part: Part::Response, name, value });
    }
    if !none {
        let (name, value) = ("cache-control".to_owned(), b"no-store".to_vec());
        step.emit(Effect::SetField { part: Part::Response, name, value });
    }
}

/// The request was refused; the host's answer to the client may pass.
pub(super) struct Refused;

impl Refused {
    fn handle(self, event: &Event, step: &mut Step<'_>) -> State {
        step.flow(if is_response(event) { Flow::Continue } else { Flow::Pause });
        match event {
            Event::Done => State::Over,
            _ => State::Refused(self),
        }
    }
}
