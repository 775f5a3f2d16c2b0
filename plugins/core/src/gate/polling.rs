//! A caller asks how its approval stands.
//!
//! Invariant: the caller was authenticated like any other, nothing of the request goes on, and
//! of an approval that is not this caller's it learns nothing, not even that it is there.

use crate::approvals::{NotTold, Standing, State as Stands, Told};
use crate::denial::{Denial, Ours, PolicyReason};
use crate::effect::{Effect, Flow};
use crate::event::Event;
use crate::gate::Pipeline;
use crate::gate::Step;
use crate::gate::authenticating::DEADLINE;
use crate::gate::head::Head;
use crate::gate::outcome::{self, Request, left, overtaken, refuse};
use crate::gate::states::{State, is_response};
use crate::hex;
use crate::identity::Identity;
use crate::key_service::{CallId, KeyServiceFault, Turn};
use crate::permit::subject_hash;
use crate::time::{Moment, UnixMillis};

/// The id that a request asks about.
pub(super) fn asked(pipeline: &Pipeline, head: &Head) -> Option<[u8; 16]> {
    let approvals = pipeline.config.approvals.as_ref()?;
    let asks = head.method == "GET" && head.end && !head.websocket;
    head.fields.only(":path").filter(|_| asks).and_then(|path| approvals.asked(path))
}

/// A question about an approval is out.
pub(super) struct Polling {
    request: Request,
    since: UnixMillis,
    call: Option<CallId>,
}

/// Begins.
pub(super) fn start(
    mut request: Request,
    caller: &Identity,
    id: [u8; 16],
    step: &mut Step<'_>,
) -> State {
    let pipeline = step.pipeline;
    let (Some(approvals), Some(config)) = (&pipeline.approvals, &pipeline.config.approvals) else {
        return refuse(step, request.draft, request.id, &Denial::Internal(Ours::Unreachable));
    };
    request.draft.route = format!("{}/{{id}}", config.poll);
    let entropy = request.fresh();
    let turn = approvals.poll(id, subject_hash(caller), Moment { now: step.now, entropy });
    Polling { request, since: step.now, call: None }.turn(turn, step)
}

impl Polling {
    pub(super) fn handle(mut self, event: Event, step: &mut Step<'_>) -> State {
        match event {
            Event::CallReply { id, result, entropy } if self.call == Some(id) => {
                let Some(approvals) = &step.pipeline.approvals else {
                    return self.refuse(&Denial::Internal(Ours::Unreachable), step);
                };
                self.call = None;
                let turn = approvals.heard(id, result, Moment { now: step.now, entropy });
                self.turn(turn, step)
            }
            Event::Tick if step.now.since(self.since) >= DEADLINE => {
                self.refuse(&KeyServiceFault::TimedOut.into(), step)
            }
            Event::Tick => self.wait(step),
            Event::Done => {
                self.abandon(step);
                left(step, self.request.draft)
            }
            event if is_response(&event) => {
                self.abandon(step);
                overtaken(step, self.request.draft, &Denial::Internal(Ours::EndedByHost))
            }
            Event::EffectFailed => self.refuse(&Denial::Internal(Ours::EffectFailed), step),
            _ => self.refuse(&Denial::Internal(Ours::Unexpected), step),
        }
    }

    fn turn(mut self, turn: Turn<Told>, step: &mut Step<'_>) -> State {
        match turn {
            Turn::Ask(call) => {
                self.call = Some(call.id);
                step.emit(Effect::Call(call));
                self.wait(step)
            }
            Turn::Failed(fault) => self.refuse(&fault.into(), step),
            Turn::Answer(Ok(standing)) => self.tell(&standing, step),
            Turn::Answer(Err(NotTold::Rate)) => self.refuse(&Denial::TooManyApprovals, step),
            Turn::Answer(Err(NotTold::Unknown)) => {
                self.refuse(&Denial::PolicyDenied(PolicyReason::ApprovalUnknown), step)
            }
        }
    }

    fn tell(self, standing: &Standing, step: &mut Step<'_>) -> State {
        let document = serde_json::json!({
            "approval": hex::lower(&standing.id),
            "state": standing.state.name(),
            "expires": standing.expires.seconds(),
        });
        let retry = step.pipeline.config.approvals.as_ref().map(|approvals| approvals.retry);
        let retry = retry.filter(|_| standing.state == Stands::Pending);
        outcome::tell(step, self.request.draft, document.to_string().into_bytes(), retry)
    }

    fn wait(self, step: &mut Step<'_>) -> State {
        step.flow(Flow::Pause);
        State::Polling(Box::new(self))
    }

    fn refuse(mut self, denial: &Denial, step: &mut Step<'_>) -> State {
        self.abandon(step);
        refuse(step, self.request.draft, self.request.id, denial)
    }

    fn abandon(&mut self, step: &Step<'_>) {
        if let (Some(call), Some(approvals)) = (self.call.take(), &step.pipeline.approvals) {
            approvals.abandon(call);
        }
    }
}
