//! The states of a gate stream, one struct for each thing to wait for.
//!
//! ```text
//! ExpectHead ──> AwaitDirectory ──> AwaitContent ──> Granted or Tunnel ──> Over
//!     └───────────────┴─────────────────┴──> Refused ──────────────────────┘
//! ```
//!
//! Invariant: an event takes its state by value and gives the next one; an event that a
//! state does not expect refuses, and after a refusal nothing of the request goes on.

use std::time::Duration;

use crate::api_key::PresentedKey;
use crate::config::gate::BodyMode;
use crate::denial::{Ambiguity, AuditReason, DecisionId, Denial, Ours};
use crate::effect::{Effect, Flow};
use crate::event::{AuditState, Event, Surroundings};
use crate::fields::Fields;
use crate::gate::authenticate::authenticate;
use crate::gate::bind::Destination;
use crate::gate::content::Content;
use crate::gate::decide::Decided;
use crate::gate::head::Head;
use crate::gate::outcome::{self, Request, allow, cut, left, overtaken, refuse};
use crate::gate::tunnel::Tunnel;
use crate::gate::{Step, forward, key};
use crate::identity::Principal;
use crate::key_service::{CallId, CallResult, KeyEntry, KeyServiceFault, Turn};
use crate::record::Draft;
use crate::time::{Entropy, Moment, UnixMillis};

/// The key service is waited for no longer than this; its client gives up first.
const DIRECTORY_DEADLINE: Duration = Duration::from_secs(2);
/// A host that delivers nothing of announced content within this does not deliver content
/// to us at all: its configuration does not match `body: hold`.
const CONTENT_DEADLINE: Duration = Duration::from_secs(10);

/// Where a stream stands.
pub(super) enum State {
    ExpectHead,
    AwaitDirectory(Box<AwaitDirectory>),
    AwaitContent(Box<AwaitContent>),
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
            Self::AwaitDirectory(state) => state.handle(event, step),
            Self::AwaitContent(state) => state.handle(event, step),
            Self::Granted(state) => state.handle(event, step),
            Self::Tunnel(state) => state.handle(event, step),
            Self::Refused(state) => state.handle(&event, step),
            Self::Over => {
                step.flow(if is_response(&event) { Flow::Continue } else { Flow::Pause });
                Self::Over
            }
        }
    }
}

fn is_response(event: &Event) -> bool {
    matches!(
        event,
        Event::ResponseHeaders { .. } | Event::ResponseBody { .. } | Event::ResponseTrailers(_)
    )
}

fn expect_head(event: Event, step: &mut Step<'_>) -> State {
    match event {
        Event::RequestHeaders { fields, end, around, entropy } => {
            let (id, exchange) = outcome::split(&entropy);
            let draft = outcome::draft(&step.pipeline.config, &fields, id, step.now);
            match open(fields, end, &around, step) {
                Ok(Opened { head, asked, key }) => {
                    let config = &step.pipeline.config;
                    let destination = Destination::of(config, around.cluster.as_deref());
                    let request = Request { head, destination, asked, target: None, draft, id };
                    ask_directory(request, key, exchange, step)
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
struct Opened {
    head: Head,
    asked: Option<forward::Asked>,
    key: PresentedKey,
}

/// Everything that is decided before anybody is asked.
fn open(
    fields: Fields,
    end: bool,
    around: &Surroundings,
    step: &Step<'_>,
) -> Result<Opened, Denial> {
    check_audit(around.audit, &fields).map_err(Denial::AuditUnavailable)?;
    let head = Head::read(fields, end)?;
    if head.websocket && !step.pipeline.config.has_websockets() {
        return Err(Denial::RequestAmbiguous(Ambiguity::Upgrade));
    }
    let asked = forward::asked(&step.pipeline.config, &head)?;
    let key = key::presented(&step.pipeline.config, &head.fields)?;
    Ok(Opened { head, asked, key })
}

/// A request that cannot be recorded does not happen.
fn check_audit(audit: AuditState, fields: &Fields) -> Result<(), AuditReason> {
    // Safe methods (RFC 9110 9.2.1); whatever else it is, it may be a write.
    let safe = |method: &[u8]| [&b"GET"[..], b"HEAD", b"OPTIONS"].contains(&method);
    match audit {
        AuditState::Acknowledged => Ok(()),
        AuditState::Behind => Err(AuditReason::Behind),
        AuditState::Full => Err(AuditReason::Full),
        AuditState::FullForWrites if fields.only(":method").is_some_and(safe) => Ok(()),
        AuditState::FullForWrites => Err(AuditReason::Full),
    }
}

fn ask_directory(
    request: Request,
    key: PresentedKey,
    entropy: Entropy,
    step: &mut Step<'_>,
) -> State {
    let pipeline = step.pipeline;
    let content = Content::new(&pipeline.config, &*pipeline.detector, &request.head)
        .kept_whole(pipeline.policy_reads_content());
    let turn = pipeline.directory.find(&key.id(), Moment { now: step.now, entropy });
    let waiting = Waiting { request, key, content, asked: step.now };
    waiting.turn(turn, step)
}

/// A request whose caller is not known yet.
struct Waiting {
    request: Request,
    key: PresentedKey,
    content: Content,
    asked: UnixMillis,
}

impl Waiting {
    fn turn(self, turn: Turn<Option<KeyEntry>>, step: &mut Step<'_>) -> State {
        match turn {
            Turn::Ask(call) => {
                let id = call.id;
                step.emit(Effect::Call(call));
                step.flow(Flow::Pause);
                State::AwaitDirectory(Box::new(AwaitDirectory { call: id, waiting: self }))
            }
            Turn::Answer(entry) => self.answered(entry, step),
            Turn::Failed(fault) => self.refuse(&Denial::from(fault), step),
        }
    }

    fn answered(mut self, entry: Option<KeyEntry>, step: &mut Step<'_>) -> State {
        let tenant = &step.pipeline.config.tenant;
        let principal = match authenticate(&self.key, entry, tenant, step.now) {
            Ok(principal) => principal,
            Err(denial) => return self.refuse(&denial, step),
        };
        self.request.draft.caller = Some(outcome::caller(principal.identity()));
        let forwarded = step.pipeline.forward(&mut self.request);
        let decided =
            forwarded.and_then(|()| step.pipeline.decide(&mut self.request, principal.identity()));
        match decided {
            Ok(decided) => {
                let Self { request, content, .. } = self;
                let since = step.now;
                AwaitContent { request, principal, decided, content, since }.go_on(step)
            }
            Err(denial) => self.refuse(&denial, step),
        }
    }

    fn refuse(self, denial: &Denial, step: &mut Step<'_>) -> State {
        refuse(step, self.request.draft, self.request.id, denial)
    }
}

/// Waits for the directory's reply; content may come meanwhile.
pub(super) struct AwaitDirectory {
    call: CallId,
    waiting: Waiting,
}

impl AwaitDirectory {
    fn handle(mut self, event: Event, step: &mut Step<'_>) -> State {
        step.flow(Flow::Pause);
        let pipeline = step.pipeline;
        match event {
            Event::CallReply { id, result, entropy } if id == self.call => {
                self.heard(result, entropy, step)
            }
            Event::RequestBody { chunk, end } => {
                self.waiting.content.take(&chunk, end);
                self.go_on(step)
            }
            Event::RequestTrailers(trailers) => {
                let content = &mut self.waiting.content;
                content.take_trailers(&pipeline.config, &trailers, &*pipeline.detector);
                self.go_on(step)
            }
            Event::Tick => self.go_on(step),
            Event::Done => {
                pipeline.directory.abandon(self.call);
                left(step, self.waiting.request.draft)
            }
            event if is_response(&event) => {
                pipeline.directory.abandon(self.call);
                overtaken(step, self.waiting.request.draft, &Denial::Internal(Ours::EndedByHost))
            }
            Event::EffectFailed => self.give_up(&Denial::Internal(Ours::EffectFailed), step),
            _ => self.give_up(&Denial::Internal(Ours::Unexpected), step),
        }
    }

    fn heard(self, result: CallResult, entropy: Entropy, step: &mut Step<'_>) -> State {
        let moment = Moment { now: step.now, entropy };
        let turn = step.pipeline.directory.heard(self.call, result, moment);
        self.waiting.turn(turn, step)
    }

    /// Too much content is refused at once: the host has to hold it. Any other fault of the
    /// content waits for the caller's name, so that the record has it.
    fn go_on(self, step: &mut Step<'_>) -> State {
        if self.waiting.content.fault() == Some(&Denial::BodyTooLarge) {
            return self.give_up(&Denial::BodyTooLarge, step);
        }
        if step.now.since(self.waiting.asked) >= DIRECTORY_DEADLINE {
            return self.give_up(&Denial::from(KeyServiceFault::TimedOut), step);
        }
        State::AwaitDirectory(Box::new(self))
    }

    fn give_up(self, denial: &Denial, step: &mut Step<'_>) -> State {
        step.pipeline.directory.abandon(self.call);
        self.waiting.refuse(denial, step)
    }
}

/// Waits for the end of the content, where that is held; the caller is known and the head
/// is fine.
pub(super) struct AwaitContent {
    request: Request,
    principal: Principal,
    decided: Decided,
    content: Content,
    since: UnixMillis,
}

impl AwaitContent {
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

    fn go_on(self, step: &mut Step<'_>) -> State {
        if let Some(denial) = self.content.fault().cloned() {
            return self.refuse(&denial, step);
        }
        if self.content.ended() || step.pipeline.config.body != BodyMode::Hold {
            let Self { mut request, principal, decided, content, .. } = self;
            let caller = principal.identity();
            let more = content.asked();
            let (pipeline, now) = (step.pipeline, step.now);
            let granted = pipeline.decide_content(&mut request, caller, decided, more);
            let granted = granted.and_then(|decided| {
                let asked = pipeline.ask_policy(&mut request, caller, &decided, &content, now);
                asked.map(|changes| (decided, changes))
            });
            return match granted {
                Ok((decided, changes)) => {
                    allow(step, request, principal, decided, content, changes)
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
    /// The host is still performing the effects of the grant: nothing has left.
    fresh: bool,
}

impl Granted {
    pub(super) fn new(draft: Draft, id: DecisionId, content: Content) -> Self {
        Self { draft, id, content, fresh: true }
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
            Event::Done => State::Over,
            Event::Tick => {
                self.fresh = fresh;
                State::Granted(Box::new(self))
            }
            event if is_response(&event) => {
                step.flow(Flow::Continue);
                State::Granted(Box::new(self))
            }
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
