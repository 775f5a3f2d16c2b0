//! Waits for the key service to say that a person has approved the request.
//!
//! The gate asks where the policy obliges it to, and where the caller names an approval or asks
//! for one ([`FIELD`]): a credential may need one that the policy does not speak of.
//!
//! Invariant: such a request goes on only after an answer that has used an approval for
//! exactly its digest, with that approval in its permit; the digest covers all of its content.
//! Nothing is taken of a budget before.

use crate::approvals::{Ask, Claimed, FIELD, NotTold, Requested, State as Stands, Told};
use crate::authenticator::Revocable;
use crate::denial::{ApprovalAwaited, ApprovalReason, Denial, Ours, PolicyReason};
use crate::effect::{Effect, Flow};
use crate::event::Event;
use crate::gate::authenticating::DEADLINE;
use crate::gate::barrier::Barrier;
use crate::gate::canary::Ready;
use crate::gate::content::Content;
use crate::gate::decide::Decided;
use crate::gate::outcome::{self, Request, left, overtaken, refuse};
use crate::gate::states::{State, is_response};
use crate::gate::{Pipeline, Step, revocation};
use crate::hex;
use crate::identity::Principal;
use crate::key_service::{CallId, KeyServiceFault, Turn};
use crate::order;
use crate::permit::subject_hash;
use crate::policy::{Changes, Obligations};
use crate::time::{Moment, UnixMillis};

/// A request that the policy allows.
pub(super) struct Allowed {
    pub(super) request: Request,
    pub(super) principal: Principal,
    pub(super) decided: Decided,
    pub(super) content: Content,
    /// What the policy changes about it.
    pub(super) changes: Changes,
    /// What the policy obliges to.
    pub(super) duties: Obligations,
    /// What is removed from the answer.
    pub(super) barrier: Option<Barrier>,
    /// Everything of the caller's credentials that can be revoked.
    pub(super) names: Vec<Revocable>,
}

/// An approval that a caller names.
enum Named {
    /// This one.
    Id([u8; 16]),
    /// None: he asks for one.
    New,
}

impl Allowed {
    /// Lets the request go on, unless a person has to approve it first.
    pub(super) fn go_on(self, step: &mut Step<'_>) -> State {
        let pipeline = step.pipeline;
        let known = pipeline.config.approvals.is_some();
        let named = self.named().filter(|_| known);
        let reason = match (self.duties.passkey, self.duties.approval, &named) {
            (true, _, _) => ApprovalReason::Passkey,
            (false, true, _) => ApprovalReason::Policy,
            (false, false, Some(_)) => ApprovalReason::Asked,
            (false, false, None) => return self.ready(None, step),
        };
        let Some(approvals) = pipeline.approvals.as_ref().filter(|_| known) else {
            return self.refuse(&Denial::ApprovalRequired(reason), step);
        };
        let ask = match self.asks(pipeline, named.as_ref()) {
            Ok(ask) => ask,
            Err(denial) => return self.refuse(&denial, step),
        };
        let mut state = Approving { since: step.now, allowed: self, reason, call: None };
        let entropy = state.allowed.request.fresh();
        let turn = approvals.ask(ask, Moment { now: step.now, entropy });
        state.turn(turn, step)
    }

    /// What the caller says of an approval; what does not read names none.
    fn named(&self) -> Option<Named> {
        let fields = &self.request.head.fields;
        fields.has(FIELD).then(|| match fields.only(FIELD).and_then(hex::read) {
            Some(id) => Named::Id(id),
            None => Named::New,
        })
    }

    fn asks(&self, pipeline: &Pipeline, named: Option<&Named>) -> Result<Ask, Denial> {
        let Self { request, principal, decided, content, .. } = self;
        let Some(approvals) = &pipeline.config.approvals else {
            return Err(Denial::Internal(Ours::Unreachable));
        };
        // What the digest does not cover is not approved.
        let digest = content.digest().filter(|_| !request.head.websocket);
        let digest = digest.ok_or(Denial::PolicyDenied(PolicyReason::ApprovalContent))?;
        let bound = outcome::bound(&pipeline.config, decided);
        let requested = Requested::of(&request.head.fields, &bound);
        let requested = requested.ok_or(Denial::PolicyDenied(PolicyReason::ApprovalContent))?;
        let caller = principal.identity();
        let credentials = decided.bound.uses.iter().map(|used| used.credential.clone());
        Ok(Ask {
            agent: caller.agent.clone(),
            user: caller.user.clone(),
            organisation: caller.organisation.clone(),
            subject_hash: subject_hash(caller),
            passkey: self.duties.passkey,
            life: approvals.life,
            named: match named {
                Some(Named::Id(id)) => Some(*id),
                Some(Named::New) | None => None,
            },
            requested: Requested {
                content_digest: Some(digest),
                content_length: content.length(),
                content: content.sample().to_vec(),
                ..requested
            },
            credentials: order::distinct(credentials),
        })
    }

    /// Nobody has to approve it any more: takes what it costs.
    fn ready(self, approval: Option<Claimed>, step: &mut Step<'_>) -> State {
        let Self { request, principal, decided, content, changes, duties, barrier, names } = self;
        let spent = step.pipeline.spend(principal.identity(), &decided, &duties, step.now);
        if let Err(denial) = spent {
            return refuse(step, request.draft, request.id, &denial);
        }
        let unsent = Vec::new();
        let ready = Ready {
            request,
            principal,
            decided,
            content,
            changes,
            barrier,
            names,
            approval,
            alarm: duties.alarm,
            unsent,
        };
        ready.go_on(step)
    }

    fn refuse(self, denial: &Denial, step: &mut Step<'_>) -> State {
        refuse(step, self.request.draft, self.request.id, denial)
    }
}

/// A question about an approval is out.
pub(super) struct Approving {
    allowed: Allowed,
    reason: ApprovalReason,
    since: UnixMillis,
    call: Option<CallId>,
}

impl Approving {
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
            // The end was seen; hosts may say so twice.
            Event::RequestBody { chunk, .. } if chunk.is_empty() => self.wait(step),
            Event::Done => {
                self.abandon(step);
                left(step, self.allowed.request.draft)
            }
            event if is_response(&event) => {
                self.abandon(step);
                overtaken(step, self.allowed.request.draft, &Denial::Internal(Ours::EndedByHost))
            }
            Event::EffectFailed => self.refuse(&Denial::Internal(Ours::EffectFailed), step),
            _ => self.refuse(&Denial::Internal(Ours::Unexpected), step),
        }
    }

    fn turn(mut self, turn: Turn<Told>, step: &mut Step<'_>) -> State {
        let told = match turn {
            Turn::Ask(call) => {
                self.call = Some(call.id);
                step.emit(Effect::Call(call));
                return self.wait(step);
            }
            Turn::Failed(fault) => return self.refuse(&fault.into(), step),
            Turn::Answer(told) => told,
        };
        let standing = match told {
            Ok(standing) => standing,
            Err(NotTold::Rate) => return self.refuse(&Denial::TooManyApprovals, step),
            Err(NotTold::Unknown) => {
                return self.refuse(&Denial::PolicyDenied(PolicyReason::ApprovalUnknown), step);
            }
        };
        if let Some(claimed) = standing.claim() {
            return self.approved(claimed, step);
        }
        let denial = match standing.state {
            Stands::Used => Denial::ApprovalUsed,
            Stands::Denied => Denial::PolicyDenied(PolicyReason::ApprovalDenied),
            Stands::Pending | Stands::Approved | Stands::Expired => {
                let Some(approvals) = &step.pipeline.config.approvals else {
                    return self.refuse(&Denial::Internal(Ours::Unreachable), step);
                };
                Denial::ApprovalAwaited(Box::new(ApprovalAwaited {
                    reason: self.reason,
                    id: standing.id,
                    state: standing.state,
                    link: approvals.link(&standing.id),
                    poll: approvals.poll(&standing.id),
                    expires: standing.expires,
                    retry: approvals.retry,
                }))
            }
        };
        self.refuse(&denial, step)
    }

    fn approved(self, claimed: Claimed, step: &mut Step<'_>) -> State {
        let Allowed { names, request, .. } = &self.allowed;
        // The answer may have taken long.
        if let Err(denial) = revocation::check(step.pipeline, names, &request.head, step.now) {
            return self.refuse(&denial, step);
        }
        self.allowed.ready(Some(claimed), step)
    }

    fn wait(self, step: &mut Step<'_>) -> State {
        step.flow(Flow::Pause);
        State::Approving(Box::new(self))
    }

    fn refuse(mut self, denial: &Denial, step: &mut Step<'_>) -> State {
        self.abandon(step);
        self.allowed.refuse(denial, step)
    }

    fn abandon(&mut self, step: &Step<'_>) {
        if let (Some(call), Some(approvals)) = (self.call.take(), &step.pipeline.approvals) {
            approvals.abandon(call);
        }
    }
}
