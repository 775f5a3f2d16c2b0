//! One question on its way: evidence if needed, the sealed message, at most one retry,
//! two seconds in all.
//!
//! Owns evidence and calls in flight. Knows no cache and no meaning of an answer.
//! Invariant: an answer leaves here only if it opened under the question's own
//! request; every retry has a new nonce; evidence is refreshed at most once in
//! [`REFRESH`] for the sake of anyone on the path.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use postern_core::api_key::KeyId;
use postern_core::credential::Want;
use postern_core::key_service::{
    Batch, Call, CallId, CallResult, Destination, KeyServiceFault, MAX_ANSWER, Turn,
};
use postern_core::time::{Moment, UnixMillis};

use crate::envelope::CONTENT_TYPE;
use crate::evidence::{self, Evidence, Seen, Trust};
use crate::exchange::{self, Asker, Awaiting};
use crate::identity::{Identity, Role};
use crate::message::{Answer, Message, audit, directory, release};

/// Longest wait for an answer, retry included.
pub(super) const DEADLINE: Duration = Duration::from_secs(2);
/// Least time between two refreshes of evidence that is still valid.
const REFRESH: Duration = Duration::from_secs(10);
/// Most questions in flight.
pub(super) const MAX_PENDING: usize = 64;
/// A call the host never answered is forgotten after this.
const FORGOTTEN: Duration = Duration::from_secs(10);

/// Who asks.
pub(super) struct Origin {
    pub(super) identity: Identity,
    pub(super) role: Role,
    pub(super) gateway_id: [u8; 16],
    pub(super) tenant: String,
    pub(super) trust: Trust,
    pub(super) modules: Option<[u8; 32]>,
}

/// What is asked.
pub(super) enum Question {
    Key(KeyId),
    Release(Box<Want>),
    Batch(Box<Batch>),
    /// Kept as it is, since a secret in it cannot be copied.
    Kept(Box<Message>),
}

/// What a question is as a message.
enum Said<'a> {
    Made(Box<Message>),
    Kept(&'a Message),
}

impl Said<'_> {
    fn message(&self) -> &Message {
        match self {
            Self::Made(message) => message,
            Self::Kept(message) => message,
        }
    }
}

impl Question {
    fn said(&self, origin: &Origin) -> Said<'_> {
        Said::Made(Box::new(match self {
            Self::Key(id) => Message::Directory(directory::Request { ids: vec![*id] }),
            Self::Release(want) => Message::Release(release_request(want, origin)),
            Self::Batch(batch) => Message::Audit(audit::Request { batch: (**batch).clone() }),
            Self::Kept(message) => return Said::Kept(message),
        }))
    }
}

fn release_request(want: &Want, origin: &Origin) -> release::Request {
    release::Request {
        agent: want.agent.clone(),
        credential: want.credential.clone(),
        host: want.host.clone(),
        method: want.method.clone(),
        caller_hash: want.caller_hash,
        capability: Vec::new(),
        request_digest: want.request_digest,
        approval: want.approval,
        path: want.path.clone(),
        binding_hash: want.binding_hash,
        module_digest: origin.modules,
        policy_hash: Some(want.policy_hash),
    }
}

struct Pending {
    question: Question,
    started: UnixMillis,
    retried: bool,
    stage: Stage,
}

enum Stage {
    Evidence,
    Message { awaiting: Box<Awaiting>, generation: u64 },
}

/// An authenticated answer with its question.
pub(super) struct Answered {
    pub(super) question: Question,
    pub(super) answer: Answer,
    /// When the question was first asked.
    pub(super) started: UnixMillis,
}

#[derive(Default)]
pub(super) struct Questions {
    evidence: Option<Evidence>,
    seen: Seen,
    /// Grows with each evidence, so that a reply to an old one is known.
    generation: u64,
    refreshed: Option<UnixMillis>,
    calls: u32,
    exchanges: u64,
    pending: BTreeMap<CallId, Pending>,
}

impl Questions {
    pub(super) fn start(
        &mut self,
        origin: &Origin,
        question: Question,
        at: &Moment,
    ) -> Turn<Answered> {
        self.pending.retain(|_, pending| at.now.since(pending.started) < FORGOTTEN);
        if self.pending.len() >= MAX_PENDING {
            return Turn::Failed(KeyServiceFault::Local);
        }
        self.advance(origin, question, at.now, false, at)
    }

    pub(super) fn heard(
        &mut self,
        origin: &Origin,
        call: CallId,
        result: CallResult,
        at: &Moment,
    ) -> Turn<Answered> {
        let Some(pending) = self.pending.remove(&call) else {
            return Turn::Failed(KeyServiceFault::Local);
        };
        if left(pending.started, at.now).is_none() {
            return Turn::Failed(KeyServiceFault::TimedOut);
        }
        match pending.stage {
            Stage::Evidence => self.heard_evidence(origin, pending, result, at),
            Stage::Message { .. } => self.heard_reply(origin, pending, result, at),
        }
    }

    pub(super) fn abandon(&mut self, call: CallId) {
        self.pending.remove(&call);
    }

    /// The clock cannot be trusted to say what is still valid.
    pub(super) fn forget_evidence(&mut self) {
        self.evidence = None;
        self.refreshed = None;
    }

    fn heard_evidence(
        &mut self,
        origin: &Origin,
        pending: Pending,
        result: CallResult,
        at: &Moment,
    ) -> Turn<Answered> {
        let Content::Body(body) = content(result) else {
            return self.retry(origin, pending, KeyServiceFault::Unreachable, at);
        };
        // What we had stays good until its own end.
        if !self.take_evidence(origin, &body, at.now) {
            return Turn::Failed(KeyServiceFault::Evidence);
        }
        self.advance(origin, pending.question, pending.started, pending.retried, at)
    }

    /// Appraises a document and holds it if it is good.
    pub(super) fn take_evidence(&mut self, origin: &Origin, body: &[u8], now: UnixMillis) -> bool {
        let Ok(evidence) = evidence::appraise(body, &origin.trust, self.seen, now) else {
            return false;
        };
        self.seen.epoch = self.seen.epoch.max(evidence.epoch());
        self.seen.releases = self.seen.releases.max(evidence.releases());
        self.generation = self.generation.wrapping_add(1);
        self.evidence = Some(evidence);
        true
    }

    /// The key that valid evidence vouches for: it signs revocation heads.
    pub(super) fn signing_key(&self, now: UnixMillis) -> Option<[u8; 32]> {
        self.evidence.as_ref().filter(|held| held.is_valid(now)).map(|held| *held.signing_key())
    }

    /// Whether evidence that is valid may be fetched again now; whoever is told so does it.
    pub(super) fn may_refresh(&mut self, now: UnixMillis) -> bool {
        let rested = self.refreshed.is_none_or(|last| now.since(last) >= REFRESH);
        if rested {
            self.refreshed = Some(now);
        }
        rested
    }

    fn heard_reply(
        &mut self,
        origin: &Origin,
        pending: Pending,
        result: CallResult,
        at: &Moment,
    ) -> Turn<Answered> {
        let Stage::Message { awaiting, generation } = &pending.stage else {
            return Turn::Failed(KeyServiceFault::Local);
        };
        let generation = *generation;
        match content(result) {
            Content::Body(body) => match awaiting.open(&body) {
                Ok(answer) => {
                    let Pending { question, started, .. } = pending;
                    Turn::Answer(Answered { question, answer, started })
                }
                Err(_) => {
                    let fault = KeyServiceFault::NotAuthentic;
                    self.renew(origin, pending, generation, fault, at)
                }
            },
            Content::UnknownKey => {
                self.renew(origin, pending, generation, KeyServiceFault::Unreachable, at)
            }
            Content::None => self.retry(origin, pending, KeyServiceFault::Unreachable, at),
        }
    }

    /// The key may have changed: fetch evidence again, unless that was just done.
    fn renew(
        &mut self,
        origin: &Origin,
        pending: Pending,
        generation: u64,
        fault: KeyServiceFault,
        at: &Moment,
    ) -> Turn<Answered> {
        if pending.retried || generation != self.generation || !self.may_refresh(at.now) {
            return self.retry(origin, pending, fault, at);
        }
        self.ask_evidence(pending.question, pending.started, true, at.now)
    }

    fn retry(
        &mut self,
        origin: &Origin,
        pending: Pending,
        fault: KeyServiceFault,
        at: &Moment,
    ) -> Turn<Answered> {
        if pending.retried {
            return Turn::Failed(fault);
        }
        self.advance(origin, pending.question, pending.started, true, at)
    }

    /// The next call: the message if there is a key to seal it to, else evidence.
    fn advance(
        &mut self,
        origin: &Origin,
        question: Question,
        started: UnixMillis,
        retried: bool,
        at: &Moment,
    ) -> Turn<Answered> {
        let Some(evidence) = self.evidence.as_ref().filter(|found| found.is_valid(at.now)) else {
            return self.ask_evidence(question, started, retried, at.now);
        };
        let said = question.said(origin);
        let message = said.message();
        // All zeros is what a host without randomness gives.
        if at.entropy.0 == [0; 32] || !message.kind().allows(origin.role) {
            return Turn::Failed(KeyServiceFault::Local);
        }
        self.exchanges = self.exchanges.wrapping_add(1);
        let seed = origin.identity.hedged(&at.entropy.0, at.now.0, self.exchanges);
        let asker = Asker {
            identity: &origin.identity,
            gateway_id: origin.gateway_id,
            tenant: &origin.tenant,
            now: at.now,
        };
        let asked = exchange::ask(evidence, &asker, message, &seed);
        drop(said);
        match asked {
            Ok((body, awaiting)) => {
                let awaiting = Box::new(awaiting);
                let stage = Stage::Message { awaiting, generation: self.generation };
                self.call(Pending { question, started, retried, stage }, body, at.now)
            }
            Err(_) => Turn::Failed(KeyServiceFault::Local),
        }
    }

    fn ask_evidence(
        &mut self,
        question: Question,
        started: UnixMillis,
        retried: bool,
        now: UnixMillis,
    ) -> Turn<Answered> {
        let pending = Pending { question, started, retried, stage: Stage::Evidence };
        self.call(pending, Vec::new(), now)
    }

    fn call(&mut self, pending: Pending, body: Vec<u8>, now: UnixMillis) -> Turn<Answered> {
        let Some(timeout) = left(pending.started, now) else {
            return Turn::Failed(KeyServiceFault::TimedOut);
        };
        let (method, path, content_type) = match pending.stage {
            Stage::Evidence => ("GET", Cow::Borrowed("/crp/v1/evidence"), ""),
            Stage::Message { .. } => ("POST", Cow::Borrowed("/crp/v1/message"), CONTENT_TYPE),
        };
        let id = CallId(self.calls);
        self.calls = self.calls.wrapping_add(1);
        self.pending.insert(id, pending);
        let (to, path) = (Destination::KeyService, path);
        let authorization = None;
        let (unless, most) = (None, MAX_ANSWER);
        Turn::Ask(Call {
            id,
            to,
            method,
            path,
            content_type,
            authorization,
            unless,
            most,
            body,
            timeout,
        })
    }
}

fn left(started: UnixMillis, now: UnixMillis) -> Option<Duration> {
    DEADLINE.checked_sub(now.since(started)).filter(|left| !left.is_zero())
}

pub(super) enum Content {
    Body(Vec<u8>),
    UnknownKey,
    None,
}

/// A host that cannot read the status gives none; then the body speaks for itself.
pub(super) fn content(result: CallResult) -> Content {
    match result {
        Ok(answer) => match answer.status {
            None | Some(200) => Content::Body(answer.body),
            Some(409) => Content::UnknownKey,
            Some(_) => Content::None,
        },
        Err(_) => Content::None,
    }
}
