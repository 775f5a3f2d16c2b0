//! What every state shares: the effects, the flow and the credential module's part of the
//! audit record.
//!
//! Invariant: a refusal is one place: it counts, records, publishes and replies or cuts,
//! and leaves the flow at pause for good.

use std::collections::VecDeque;
use std::rc::Rc;

use super::Pipeline;
use super::guard::Guarded;
use super::session::Looked;
use super::stream::State;
use crate::denial::{DecisionId, Denial, Module, NotAllowed, Ours};
use crate::effect::{Effect, Flow, Metric, Part, Publication};
use crate::inject::InPlay;
use crate::record::{CredentialPart, Decision, Draft};
use crate::time::UnixMillis;

/// The shared part of a stream.
pub(super) struct Run {
    pub(super) pipeline: Rc<Pipeline>,
    pub(super) part: CredentialPart,
    effects: VecDeque<Effect>,
    flow: Flow,
    draft: Draft,
    decision: DecisionId,
    /// The part as it was last written.
    written: CredentialPart,
    /// Response fields dropped for their names.
    in_names: u64,
}

impl Run {
    pub(super) fn new(pipeline: Rc<Pipeline>) -> Self {
        Self {
            pipeline,
            part: CredentialPart::default(),
            effects: VecDeque::new(),
            flow: Flow::Pause,
            draft: Draft::new(UnixMillis(0)),
            decision: DecisionId([0; 16]),
            written: CredentialPart::default(),
            in_names: 0,
        }
    }

    /// Takes over the gate's draft; without one, this is the first to write a record.
    pub(super) fn begin(&mut self, record: Option<&[u8]>, fresh: [u8; 16], now: UnixMillis) {
        let draft = record.and_then(|bytes| Draft::decode(bytes).ok());
        self.draft = draft.unwrap_or_else(|| Draft::new(now));
        self.decision = DecisionId(self.draft.decision_id.unwrap_or(fresh));
    }

    /// The permit's decision, once there is a permit.
    pub(super) fn decided(&mut self, decision: DecisionId) {
        self.decision = decision;
    }

    pub(super) fn next_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    pub(super) fn flow(&self) -> Flow {
        self.flow
    }

    pub(super) fn emit(&mut self, effect: Effect) {
        self.effects.push_back(effect);
    }

    pub(super) fn count(&mut self, metric: &'static str) {
        self.emit(Effect::Count(Metric(metric)));
    }

    pub(super) fn set(&mut self, part: Part, name: &str, value: &[u8]) {
        self.emit(Effect::SetField { part, name: name.to_owned(), value: value.to_vec() });
    }

    pub(super) fn remove(&mut self, part: Part, name: &str) {
        self.emit(Effect::RemoveField { part, name: name.to_owned() });
    }

    pub(super) fn proceed(&mut self) {
        self.flow = Flow::Continue;
    }

    pub(super) fn pause(&mut self) {
        self.flow = Flow::Pause;
    }

    /// The scrubber's word on content.
    pub(super) fn follow(&mut self, flow: Flow) {
        self.flow = flow;
    }

    /// Looks through the request for what this worker holds.
    pub(super) fn guarded(&self) -> Result<Guarded, Denial> {
        if self.pipeline.config.allow_secrets {
            return Ok(Guarded::default());
        }
        let sessions = self.pipeline.sessions.try_borrow();
        sessions.map(|held| held.request()).map_err(|_| Denial::Internal(Ours::Unreachable))
    }

    /// All that the answer is scrubbed of, once the request carries these.
    pub(super) fn looked(
        &self,
        caller: [u8; 32],
        carried: Vec<InPlay>,
        now: UnixMillis,
    ) -> Result<Looked, Denial> {
        let sessions = self.pipeline.sessions.try_borrow_mut();
        let mut sessions = sessions.map_err(|_| Denial::Internal(Ours::Unreachable))?;
        Ok(sessions.note(caller, carried, self.pipeline.scrubbing.as_ref(), now))
    }

    /// A field name gave a secret away.
    pub(super) fn found_in_name(&mut self) {
        self.in_names = self.in_names.saturating_add(1);
    }

    /// How much the scrubber has found so far.
    pub(super) fn found(&mut self, hits: u64) {
        let hits = hits.saturating_add(self.in_names);
        if hits > 0 && self.part.scrub_hits == 0 {
            self.count("postern.credential.scrubbed.total");
        }
        self.part.scrub_hits = hits;
    }

    /// Writes the record, when there is something new to say.
    pub(super) fn record(&mut self) {
        if self.part != self.written {
            self.written = self.part.clone();
            let record = self.draft.clone().with(self.part.clone()).encode();
            self.emit(Effect::Record(record));
        }
    }

    /// Answers the client; its head has not been sent.
    pub(super) fn refuse(&mut self, denial: Denial) -> State {
        let reply = denial.reply(&self.decision);
        self.deny(&denial, Effect::Reply(reply))
    }

    /// Refuses for what came behind the head, to which no answer has begun: what the upstream
    /// has got of the request is not all of it. Where our own side fails, nothing is certain.
    pub(super) fn refuse_content(&mut self, denial: Denial) -> State {
        match denial {
            Denial::Internal(_) => self.cut(denial),
            denial => self.refuse(denial),
        }
    }

    /// Cuts the stream: an answer has begun, or our own side has failed.
    pub(super) fn cut(&mut self, denial: Denial) -> State {
        self.deny(&denial, Effect::Reset)
    }

    fn deny(&mut self, denial: &Denial, last: Effect) -> State {
        self.flow = Flow::Pause;
        self.part.denied = Some(Decision::Deny {
            code: denial.code().as_str().into(),
            reason: denial.reason().into(),
        });
        self.record();
        let decision = denial.decision();
        self.emit(Effect::Publish(Publication {
            permit: None,
            form: None,
            identity: None,
            decision,
        }));
        self.emit(Effect::Count(denial.metric(Module::Credential)));
        if *denial == Denial::CredentialNotAllowed(NotAllowed::SecretInRequest) {
            self.count("postern.credential.alarm.secret_in_request.total");
        }
        self.emit(last);
        State::Refused
    }
}
