//! How a request ends at the gate: allowed, refused with an answer, or cut.
//!
//! Invariant: every end writes an audit record and the decision; only [`allow`] publishes a
//! permit, and it takes the principal by value.

use std::rc::Rc;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::authenticator::NextNonce;
use crate::binding::Binding;
use crate::config::gate::Resource;
use crate::denial::{Code, DecisionId, Denial, Module, Offer};
use crate::digest::request_digest;
use crate::effect::{Effect, Flow, Metric, Part, Publication, Reply};
use crate::fields::Fields;
use crate::gate::bind::Destination;
use crate::gate::canary::Ready;
use crate::gate::content::Content;
use crate::gate::decide::Decided;
use crate::gate::head::Head;
use crate::gate::states::{Granted, Refused, State};
use crate::gate::tunnel::Tunnel;
use crate::gate::{Config, Pipeline, Step, forward, policy};
use crate::hex;
use crate::identity::Identity;
use crate::invites::Issued;
use crate::limits::Limits;
use crate::permit::{self, Decision, LONGEST_LIFE};
use crate::policy::Policy;
use crate::record::{self, Amendment, AnswerPart, Caller, Draft};
use crate::target::Target;
use crate::time::{Entropy, UnixMillis};

const ALLOWED: Metric = Metric("postern.gate.allowed.total");

/// What is known of one request while it is decided.
pub(super) struct Request {
    pub(super) head: Head,
    /// The cluster that the route chose for it as it came.
    pub(super) cluster: Option<Vec<u8>>,
    pub(super) destination: Destination,
    /// What a request for the forward endpoint asks for, until its caller is known.
    pub(super) asked: Option<forward::Asked>,
    /// What it was rewritten to.
    pub(super) target: Option<Target>,
    /// What the caller's credentials allow at most, once he is known.
    pub(super) limits: Vec<Rc<dyn Limits>>,
    /// Nonces that the caller is told with the answer.
    pub(super) offers: Vec<NextNonce>,
    /// What decides about it, where one was there when its head came.
    pub(super) policy: Option<Rc<dyn Policy>>,
    pub(super) draft: Draft,
    pub(super) id: DecisionId,
    /// Randomness that nobody has used yet.
    pub(super) rest: Entropy,
}

impl Request {
    /// Randomness that is used once.
    pub(super) fn fresh(&mut self) -> Entropy {
        let (fresh, rest) = Entropy(self.rest.0).split();
        self.rest = rest;
        fresh
    }
}

/// A decision id and randomness for a key-service exchange, from the randomness of one
/// event; neither tells anything about the other.
pub(super) fn split(entropy: &Entropy) -> (DecisionId, Entropy) {
    let derived = |label: &[u8]| -> [u8; 32] {
        Sha256::new().chain_update(label).chain_update(entropy.0).finalize().into()
    };
    let mut id = [0; 16];
    id.iter_mut().zip(derived(b"postern decision/1\0")).for_each(|(to, from)| *to = from);
    (DecisionId(id), Entropy(derived(b"postern exchange/1\0")))
}

/// The draft of a request whose head was just seen. It names the policy by the digest of the
/// document that holds it, and by the revision that its authors gave it, if any.
pub(super) fn draft(
    pipeline: &Pipeline,
    policy: Option<&dyn Policy>,
    fields: &Fields,
    id: DecisionId,
    now: UnixMillis,
) -> Draft {
    let config = &pipeline.config;
    let method = fields.only(":method").and_then(|method| str::from_utf8(method).ok());
    let named = policy.and_then(|policy| policy.revision());
    let named = named.map(|name| format!(" {name}")).unwrap_or_default();
    let revision = hex::lower(&config.revision) + &named;
    Draft {
        decision_id: Some(id.0),
        method: method.unwrap_or_default().to_owned(),
        attestation: Some(config.key_service.evidence.label().to_owned()),
        policy_revision: Some(revision),
        ..Draft::new(now)
    }
}

/// What the audit learns of a caller.
pub(super) fn caller(identity: &Identity, widened: &[String]) -> Caller {
    Caller {
        tenant: identity.tenant.clone(),
        user_hash: record::user_hash(&identity.tenant, &identity.user),
        agent: identity.agent.clone(),
        key_id: identity.token_id.clone(),
        platform: identity.platform.clone(),
        scopes: identity.scopes.clone(),
        kind: identity.kind.as_str().into(),
        widened: widened.to_vec(),
    }
}

/// Refuses with an answer; nothing of the request has left.
pub(super) fn refuse(step: &mut Step<'_>, draft: Draft, id: DecisionId, denial: &Denial) -> State {
    note_denial(step, draft, denial);
    let resource = step.pipeline.config.resource.as_ref();
    let metadata = resource.map(|resource| resource.url.as_str());
    let offer = Offer { metadata, proofs: step.pipeline.config.takes_proofs() };
    step.emit(Effect::Reply(denial.reply_with(&id, offer)));
    step.flow(Flow::Pause);
    State::Refused(Refused)
}

/// Answers a request for the metadata document, which anybody may read.
pub(super) fn describe(step: &mut Step<'_>, mut draft: Draft, resource: &Resource) -> State {
    draft.route.clone_from(&resource.path);
    let content = resource.document.clone().into_bytes();
    answer(step, draft, ("resource_metadata", "max-age=60"), content, None)
}

/// Hands out the token that an invite was exchanged for.
pub(super) fn issue(step: &mut Step<'_>, mut draft: Draft, issued: &Issued) -> State {
    let identity = issued.established.identity();
    draft.caller = Some(caller(identity, issued.established.attempts()));
    let document = serde_json::json!({
        "token": issued.token, "document": identity.document, "expires": identity.expires,
    });
    let content = document.to_string().into_bytes();
    answer(step, draft, ("invite_exchanged", "no-store"), content, None)
}

/// Tells a caller how its approval stands, and when to ask again.
pub(super) fn tell(
    step: &mut Step<'_>,
    draft: Draft,
    content: Vec<u8>,
    retry: Option<Duration>,
) -> State {
    answer(step, draft, ("approval", "no-store"), content, retry)
}

/// Answers a request that does not go on, with JSON.
fn answer(
    step: &mut Step<'_>,
    mut draft: Draft,
    (details, cache): (&'static str, &str),
    content: Vec<u8>,
    retry: Option<Duration>,
) -> State {
    step.emit(Effect::Publish(Publication {
        permit: None,
        form: None,
        identity: None,
        decision: "allow".to_owned(),
    }));
    draft.decision = record::Decision::Allow;
    emit_record(step, draft);
    step.emit(Effect::Count(ALLOWED));
    let fields = [("content-type", "application/json"), ("cache-control", cache)];
    let fields = fields.map(|(name, value)| (name.to_owned(), value.to_owned())).into_iter();
    let retry = retry.map(|span| ("retry-after".to_owned(), span.as_secs().to_string()));
    step.emit(Effect::Reply(Reply {
        status: 200,
        fields: fields.chain(retry).collect(),
        content,
        details,
    }));
    step.flow(Flow::Pause);
    State::Refused(Refused)
}

/// Cuts a request whose head has left.
pub(super) fn cut(step: &mut Step<'_>, draft: Draft, denial: &Denial) -> State {
    note_denial(step, draft, denial);
    step.emit(Effect::Reset);
    step.flow(Flow::Pause);
    State::Refused(Refused)
}

/// The host answered by itself while we waited: let its answer pass, and say so.
pub(super) fn overtaken(step: &mut Step<'_>, draft: Draft, denial: &Denial) -> State {
    note_denial(step, draft, denial);
    step.flow(Flow::Continue);
    State::Over
}

/// The stream is over before a decision; the record says what was asked and that nobody
/// decided.
pub(super) fn left(step: &mut Step<'_>, draft: Draft) -> State {
    emit_record(step, draft);
    State::Over
}

/// Keeps an answer from the client: it gets a refusal instead, or, where the head of the answer
/// has gone on, nothing more.
pub(super) fn withhold(
    step: &mut Step<'_>,
    draft: Draft,
    removed_sections: u64,
    id: DecisionId,
    denial: &Denial,
    answered: bool,
) -> State {
    let denied = Some(recorded(denial));
    let part = AnswerPart { removed_sections, denied };
    publish_denial(step, denial);
    step.emit(Effect::Amend(Amendment::new(draft, part)));
    step.emit(Effect::Count(denial.metric(Module::Gate)));
    step.emit(if answered { Effect::Reset } else { Effect::Reply(denial.reply(&id)) });
    step.flow(Flow::Pause);
    State::Refused(Refused)
}

fn note_denial(step: &mut Step<'_>, draft: Draft, denial: &Denial) {
    publish_denial(step, denial);
    let decision = recorded(denial);
    emit_record(step, Draft { decision, ..draft });
    step.emit(Effect::Count(denial.metric(Module::Gate)));
}

fn publish_denial(step: &mut Step<'_>, denial: &Denial) {
    step.emit(Effect::Publish(Publication {
        permit: None,
        form: None,
        identity: None,
        decision: denial.decision(),
    }));
}

fn recorded(denial: &Denial) -> record::Decision {
    record::Decision::Deny {
        code: Code::as_str(denial.code()).into(),
        reason: denial.reason().into(),
    }
}

/// The one place where a draft becomes an effect.
fn emit_record(step: &mut Step<'_>, mut draft: Draft) {
    let spent = step.now.since(draft.received).as_millis();
    draft.decide_ms.get_or_insert(u32::try_from(spent).unwrap_or(u32::MAX));
    step.emit(Effect::Record(draft.encode()));
}

/// Lets the request go on, with a permit.
pub(super) fn allow(step: &mut Step<'_>, ready: Ready) -> State {
    let Ready { mut request, principal, decided, content, changes, barrier, approval, .. } = ready;
    let Ok(identity) = serde_json::to_string(principal.identity()) else {
        let denial = Denial::Internal(crate::denial::Ours::Unreachable);
        return refuse(step, request.draft, request.id, &denial);
    };
    let digest = digest(&step.pipeline.config, &request, &decided, &content);
    request.draft.request_digest = Some(digest);
    request.draft.binding_hash = decided.bound.uses.first().map(|used| used.binding_hash);
    let form = form(&step.pipeline.config, &decided, &content);
    let permit = permit::grant(
        principal,
        Decision {
            approval: approval.map(|used| used.id()),
            ..decision(step, &request, digest, decided.bound.uses, &content)
        },
    );
    if let Some(target) = &request.target {
        forward::write(step, &request.head, target);
    }
    if request.head.websocket {
        // Without `keep-alive`, which is for the caller's connection.
        let (name, value) = ("connection".to_owned(), b"Upgrade".to_vec());
        step.emit(Effect::SetField { part: Part::Request, name, value });
    }
    for name in decided.removed {
        step.emit(Effect::RemoveField { part: Part::Request, name });
    }
    policy::write(step, changes);
    step.emit(Effect::Publish(Publication {
        permit: Some(step.pipeline.keys.seal(&permit)),
        form,
        identity: Some(identity),
        decision: "allow".to_owned(),
    }));
    request.draft.decision = record::Decision::Allow;
    emit_record(step, request.draft.clone());
    step.emit(Effect::Count(ALLOWED));
    step.flow(Flow::Continue);
    if request.head.websocket {
        let tunnel = Tunnel::new(&step.pipeline.config, request.draft, request.id);
        return State::Tunnel(Box::new(tunnel));
    }
    State::Granted(Box::new(Granted::new(request, content, barrier)))
}

/// Form content for the module that signs it: it has to be in the signature before it comes
/// by there.
fn form(config: &Config, decided: &Decided, content: &Content) -> Option<Vec<u8>> {
    let signs = |used: &permit::CredentialUse| {
        config.bindings.hashed(&used.binding_hash).any(Binding::signs_forms)
    };
    let signed = decided.bound.uses.iter().any(signs);
    content.form().filter(|_| signed).map(<[u8]>::to_vec)
}

fn decision(
    step: &Step<'_>,
    request: &Request,
    request_digest: [u8; 32],
    uses: Vec<permit::CredentialUse>,
    content: &Content,
) -> Decision {
    Decision {
        id: request.id,
        at: step.now,
        life: LONGEST_LIFE,
        request_digest,
        content_digest: content.digest(),
        uses,
        approval: None,
        policy_revision: step.pipeline.config.policy_hash,
        gate_vm: step.pipeline.vm,
    }
}

/// Binds what the configuration names and every field that names a credential.
fn digest(config: &Config, request: &Request, decided: &Decided, content: &Content) -> [u8; 32] {
    let bound = bound(config, decided);
    request_digest(&request.head.fields, &bound, content.digest())
}

/// Names of the fields that the digest binds besides those that describe the content.
pub(super) fn bound<'a>(config: &'a Config, decided: &'a Decided) -> Vec<&'a str> {
    let mut bound: Vec<&str> = config.bind_headers.iter().map(String::as_str).collect();
    if !decided.bound.uses.is_empty() {
        bound.push(&config.credential_header);
    }
    let cleared = &decided.bound.cleared;
    // The target and the content are always bound.
    let field = |site| if str::starts_with(site, "cookie:") { "cookie" } else { site };
    let sites = decided.bound.uses.iter().map(|used| field(used.site.as_str()));
    bound.extend(sites.filter(|site| !cleared.iter().any(|cleared| cleared == site)));
    bound
}
