//! Waits for the key service to exchange an invite.
//!
//! Invariant: nothing of such a request goes on; a token leaves only when nothing of it is
//! revoked and that is known.

use crate::denial::{DecisionId, Denial, Ours};
use crate::effect::{Effect, Flow};
use crate::event::Event;
use crate::gate::authenticating::DEADLINE;
use crate::gate::head::Head;
use crate::gate::outcome::{self, left, overtaken, refuse};
use crate::gate::states::{State, is_response};
use crate::gate::{Step, revocation};
use crate::invites::{Exchange, Outcome};
use crate::key_service::{CallId, KeyServiceFault, Turn};
use crate::record::Draft;
use crate::time::{Entropy, Moment, UnixMillis};

/// An invite that is on its way.
pub(super) struct Exchanging {
    head: Head,
    draft: Draft,
    id: DecisionId,
    since: UnixMillis,
    exchange: Box<dyn Exchange>,
    call: Option<CallId>,
}

/// Begins, unless nobody would know whether what comes of it is revoked.
pub(super) fn start(
    head: Head,
    (mut draft, id): (Draft, DecisionId),
    path: &str,
    entropy: Entropy,
    step: &mut Step<'_>,
) -> State {
    path.clone_into(&mut draft.route);
    let known = revocation::check(step.pipeline, &[], &head, step.now);
    let invites = step.pipeline.invites.as_ref();
    let exchange = known.and_then(|()| {
        invites.map(|all| all.presented(&head.fields)).ok_or(Denial::Internal(Ours::Unreachable))
    });
    let mut exchange = match exchange {
        Ok(exchange) => exchange,
        Err(denial) => return refuse(step, draft, id, &denial),
    };
    let turn = exchange.start(Moment { now: step.now, entropy });
    Exchanging { head, draft, id, since: step.now, exchange, call: None }.turn(turn, step)
}

impl Exchanging {
    pub(super) fn handle(mut self, event: Event, step: &mut Step<'_>) -> State {
        match event {
            Event::CallReply { id, result, entropy } if self.call == Some(id) => {
                let turn = self.exchange.heard(id, result, Moment { now: step.now, entropy });
                self.turn(turn, step)
            }
            Event::Tick if step.now.since(self.since) >= DEADLINE => {
                self.refuse(&KeyServiceFault::TimedOut.into(), step)
            }
            Event::Tick => self.wait(step),
            Event::Done => {
                self.exchange.abandon();
                left(step, self.draft)
            }
            event if is_response(&event) => {
                self.exchange.abandon();
                overtaken(step, self.draft, &Denial::Internal(Ours::EndedByHost))
            }
            Event::EffectFailed => self.refuse(&Denial::Internal(Ours::EffectFailed), step),
            _ => self.refuse(&Denial::Internal(Ours::Unexpected), step),
        }
    }

    fn turn(mut self, turn: Turn<Outcome>, step: &mut Step<'_>) -> State {
        match turn {
            Turn::Ask(call) => {
                self.call = Some(call.id);
                step.emit(Effect::Call(call));
                self.wait(step)
            }
            Turn::Failed(fault) => refuse(step, self.draft, self.id, &fault.into()),
            Turn::Answer(Err(denial)) => refuse(step, self.draft, self.id, &denial),
            Turn::Answer(Ok(issued)) => {
                let names = issued.established.names();
                match revocation::check(step.pipeline, names, &self.head, step.now) {
                    Ok(()) => outcome::issue(step, self.draft, &issued),
                    Err(denial) => refuse(step, self.draft, self.id, &denial),
                }
            }
        }
    }

    fn wait(self, step: &mut Step<'_>) -> State {
        step.flow(Flow::Pause);
        State::Exchanging(Box::new(self))
    }

    fn refuse(mut self, denial: &Denial, step: &mut Step<'_>) -> State {
        self.exchange.abandon();
        refuse(step, self.draft, self.id, denial)
    }
}
