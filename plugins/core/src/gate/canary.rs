//! The echo canary: before a credential goes to a route for the first time, and again when
//! what was seen is old, a made-up value goes to the same site. A route that gives it back is
//! reflective, and the binding says what becomes of the request then.
//!
//! It is the gate that asks: no value has been released, so none is at stake, and the call
//! passes the filters of the cluster in another VM (a call into the own VM would end it).
//! What is looked for in the answer, and how, is the scrubber's.
//!
//! Invariant: a request whose binding has a canary gets its permit only after a verdict that
//! is not older than the binding's ttl. Only an answer with the credential module's proof,
//! read to its end, makes a verdict of `clean`; a canary that fails makes `unknown`, which is
//! treated as reflective, and one that could not be sent makes it for its own request only. For each binding at most one canary is out, and one verdict is kept.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use crate::approvals::Claimed;
use crate::authenticator::Revocable;
use crate::binding::{Binding, Canary, Reflective};
use crate::canary::{MARK, Mark, Verdict};
use crate::config::gate::Config;
use crate::credential::answer;
use crate::denial::{Denial, NotAllowed, Ours, Unscannable};
use crate::effect::{Effect, Flow, Metric};
use crate::event::Event;
use crate::gate::barrier::Barrier;
use crate::gate::content::Content;
use crate::gate::decide::Decided;
use crate::gate::outcome::{Request, allow, left, overtaken, refuse};
use crate::gate::states::{State, is_response};
use crate::gate::{Pipeline, Step, revocation};
use crate::identity::Principal;
use crate::inject::{Decoy, InPlay};
use crate::key_service::{CallAnswer, CallFailure, CallId, CallResult, UpstreamCall};
use crate::policy::Changes;
use crate::time::UnixMillis;
use crate::upstreams::Upstream;

/// The upstream has this long.
const PATIENCE: Duration = Duration::from_secs(2);
/// For a host that does not keep to it; whoever waits for another request's canary gives up
/// then as well.
const DEADLINE: Duration = Duration::from_secs(5);
/// A canary that has failed is not sent again before.
const UNKNOWN_TTL: Duration = Duration::from_secs(5);
/// Requests that went on under the obligation `alarm`.
const ALARMED: Metric = Metric("postern.gate.alarmed.total");
/// Clients of services number their calls upwards from the smallest: these are far from them.
const FIRST_CALL: u32 = 1 << 31;

/// What canaries have shown, by the hash of their binding.
#[derive(Default)]
pub(super) struct Canaries {
    known: BTreeMap<[u8; 32], Known>,
    calls: u32,
}

#[derive(Clone, Copy)]
enum Known {
    /// One is out.
    Out {
        until: UnixMillis,
    },
    Said {
        verdict: Verdict,
        until: UnixMillis,
    },
}

impl Canaries {
    fn find(&self, binding: &[u8; 32], now: UnixMillis) -> Option<Known> {
        self.known.get(binding).copied().filter(|known| match known {
            Known::Out { until } | Known::Said { until, .. } => now < *until,
        })
    }

    fn begin(&mut self, binding: [u8; 32], now: UnixMillis) -> CallId {
        self.known.insert(binding, Known::Out { until: now.after(DEADLINE) });
        self.calls = self.calls.wrapping_add(1);
        CallId(FIRST_CALL | self.calls)
    }

    fn note(&mut self, binding: &Binding, canary: &Canary, verdict: Verdict, now: UnixMillis) {
        let ttl = match verdict {
            Verdict::Unknown => canary.ttl.min(UNKNOWN_TTL),
            Verdict::Clean | Verdict::Reflective => canary.ttl,
        };
        self.known.insert(binding.hash(), Known::Said { verdict, until: now.after(ttl) });
    }

    /// Whoever asked has gone.
    fn forget(&mut self, binding: &[u8; 32]) {
        self.known.remove(binding);
    }
}

/// A request on which everything else is decided.
pub(super) struct Ready {
    pub(super) request: Request,
    pub(super) principal: Principal,
    pub(super) decided: Decided,
    pub(super) content: Content,
    /// What the policy changes about it.
    pub(super) changes: Changes,
    /// What is removed from the answer.
    pub(super) barrier: Option<Barrier>,
    /// Everything of the caller's credentials that can be revoked.
    pub(super) names: Vec<Revocable>,
    /// The approval that was used for it.
    pub(super) approval: Option<Claimed>,
    /// The policy wants somebody to look at it.
    pub(super) alarm: bool,
    /// Bindings whose canary could not be sent for this request.
    pub(super) unsent: Vec<[u8; 32]>,
}

impl Ready {
    /// Lets the request go on, unless a binding of it has a canary that says otherwise or has
    /// to be asked.
    pub(super) fn go_on(mut self, step: &mut Step<'_>) -> State {
        let pipeline = step.pipeline;
        let mut worst = None;
        for used in &self.decided.bound.uses {
            let Some((binding, canary)) = asked(&pipeline.config, &used.binding_hash) else {
                continue;
            };
            let Ok(canaries) = pipeline.canaries.try_borrow() else {
                return self.refuse(&Denial::Internal(Ours::Unreachable), step);
            };
            let known = match self.unsent.contains(&used.binding_hash) {
                true => Some(Known::Said { verdict: Verdict::Unknown, until: step.now }),
                false => canaries.find(&used.binding_hash, step.now),
            };
            drop(canaries);
            match known {
                Some(Known::Said { verdict, .. }) => {
                    worst = worst.max(Some(verdict));
                    self.request.draft.canary = worst;
                    if let Some(denial) = refusal(canary, verdict) {
                        return self.refuse(&denial, step);
                    }
                }
                Some(Known::Out { .. }) => {
                    let binding = used.binding_hash;
                    return self.wait(Awaited::Others { binding }, step);
                }
                None => return self.ask(binding, canary, step),
            }
        }
        // A canary may take long to come back.
        if let Err(denial) = revocation::check(pipeline, &self.names, &self.request.head, step.now)
        {
            return self.refuse(&denial, step);
        }
        if self.alarm {
            step.emit(Effect::Count(ALARMED));
        }
        allow(step, self)
    }

    fn ask(mut self, binding: &Binding, canary: &Canary, step: &mut Step<'_>) -> State {
        let entropy = self.request.fresh();
        let (nonce, entropy) = entropy.split();
        let nonce = nonce.0.first_chunk().copied().unwrap_or_default();
        let cluster = cluster(&step.pipeline.config, binding, self.request.cluster.as_deref());
        let decoy = Decoy::new(binding, canary, &entropy);
        let (Some(cluster), Some(decoy)) = (cluster, decoy) else {
            // The configuration has made sure of both.
            return self.refuse(&Denial::Internal(Ours::Unreachable), step);
        };
        let Ok(mut canaries) = step.pipeline.canaries.try_borrow_mut() else {
            return self.refuse(&Denial::Internal(Ours::Unreachable), step);
        };
        let id = canaries.begin(binding.hash(), step.now);
        drop(canaries);
        let mark = Mark::new(nonce, binding.hash(), step.now);
        let looked = Rc::clone(&decoy.in_play);
        let fields = fields(binding, canary, decoy, mark.seal(&step.pipeline.keys));
        step.emit(Effect::CallUpstream(UpstreamCall { id, cluster, fields, timeout: PATIENCE }));
        self.wait(Awaited::Own { call: id, mark, looked }, step)
    }

    fn wait(self, awaited: Awaited, step: &mut Step<'_>) -> State {
        step.flow(Flow::Pause);
        State::AwaitCanary(Box::new(AwaitCanary { ready: self, awaited, since: step.now }))
    }

    fn refuse(self, denial: &Denial, step: &mut Step<'_>) -> State {
        refuse(step, self.request.draft, self.request.id, denial)
    }
}

fn asked<'c>(config: &'c Config, hash: &[u8; 32]) -> Option<(&'c Binding, &'c Canary)> {
    let binding = config.bindings.hashed(hash).next()?;
    Some((binding, binding.canary()?))
}

fn refusal(canary: &Canary, verdict: Verdict) -> Option<Denial> {
    match (canary.reflective, verdict) {
        (Reflective::Allow, _) | (_, Verdict::Clean) => None,
        (Reflective::Refuse, Verdict::Reflective) => {
            Some(Denial::CredentialNotAllowed(NotAllowed::Reflective))
        }
        (Reflective::Refuse, Verdict::Unknown) => {
            Some(Denial::UpstreamUnscannable(Unscannable::Canary))
        }
    }
}

/// The cluster that the route has chosen, where it leads to the binding's upstream, and else
/// the first that does.
fn cluster(config: &Config, binding: &Binding, chosen: Option<&[u8]>) -> Option<String> {
    let leads = |(cluster, upstream): (&'_ str, &Upstream)| {
        (upstream.authority == *binding.authority()).then(|| cluster.to_owned())
    };
    let leading: Vec<String> = config.upstreams.iter().filter_map(leads).collect();
    let is_chosen = |cluster: &&String| chosen == Some(cluster.as_bytes());
    leading.iter().find(is_chosen).or(leading.first()).cloned()
}

fn fields(binding: &Binding, canary: &Canary, decoy: Decoy, mark: String) -> Vec<(String, String)> {
    let line = |name: &str, value: String| (name.to_owned(), value);
    let mut fields = vec![
        line(":method", canary.method.clone()),
        line(":path", decoy.target),
        line(":authority", binding.authority().to_string()),
        line("accept-encoding", "identity".to_owned()),
        line("user-agent", "postern-canary".to_owned()),
        line(MARK, mark),
    ];
    fields.extend(decoy.field);
    fields
}

/// Whose canary is waited for.
enum Awaited {
    /// This request's.
    Own { call: CallId, mark: Mark, looked: Rc<InPlay> },
    /// Another request's, which time tells of.
    Others { binding: [u8; 32] },
}

impl Awaited {
    fn binding(&self) -> [u8; 32] {
        match self {
            Self::Own { mark, .. } => mark.binding(),
            Self::Others { binding } => *binding,
        }
    }
}

/// A canary is out; content that is not held may come meanwhile.
pub(super) struct AwaitCanary {
    ready: Ready,
    awaited: Awaited,
    since: UnixMillis,
}

impl AwaitCanary {
    pub(super) fn handle(mut self, event: Event, step: &mut Step<'_>) -> State {
        step.flow(Flow::Pause);
        let pipeline = step.pipeline;
        match event {
            Event::CallReply { id, result, .. } => match &self.awaited {
                Awaited::Own { call, .. } if *call == id && result == Err(CallFailure::NotSent) => {
                    self.unsent(step)
                }
                Awaited::Own { call, mark, looked } if *call == id => {
                    let verdict = judge(pipeline, mark, looked, result);
                    self.said(verdict, step)
                }
                _ => self.give_up(&Denial::Internal(Ours::Unexpected), step),
            },
            Event::RequestBody { chunk, end } => {
                self.ready.content.take(&chunk, end);
                self.content(step)
            }
            Event::RequestTrailers(trailers) => {
                let content = &mut self.ready.content;
                content.take_trailers(&pipeline.config, &trailers, &*pipeline.detector);
                self.content(step)
            }
            Event::Tick => self.tick(step),
            Event::Done => {
                self.forget(step);
                left(step, self.ready.request.draft)
            }
            event if is_response(&event) => {
                self.forget(step);
                let denial = Denial::Internal(Ours::EndedByHost);
                overtaken(step, self.ready.request.draft, &denial)
            }
            Event::EffectFailed => self.give_up(&Denial::Internal(Ours::EffectFailed), step),
            _ => self.give_up(&Denial::Internal(Ours::Unexpected), step),
        }
    }

    fn said(self, verdict: Verdict, step: &mut Step<'_>) -> State {
        let binding = self.awaited.binding();
        let known = asked(&step.pipeline.config, &binding);
        let canaries = step.pipeline.canaries.try_borrow_mut();
        let (Some((binding, canary)), Ok(mut canaries)) = (known, canaries) else {
            return self.ready.refuse(&Denial::Internal(Ours::Unreachable), step);
        };
        canaries.note(binding, canary, verdict, step.now);
        drop(canaries);
        self.ready.go_on(step)
    }

    /// Nothing was asked, so this says nothing to anybody else.
    fn unsent(mut self, step: &mut Step<'_>) -> State {
        self.forget(step);
        self.ready.unsent.push(self.awaited.binding());
        self.ready.go_on(step)
    }

    fn content(self, step: &mut Step<'_>) -> State {
        match self.ready.content.fault().cloned() {
            Some(denial) => self.give_up(&denial, step),
            None => State::AwaitCanary(Box::new(self)),
        }
    }

    /// Whoever waits for another's canary takes what it has shown. No call can be sent at a
    /// tick: where the request has a second binding whose canary is due then, that one stays
    /// unsent, and unknown to this request alone.
    fn tick(self, step: &mut Step<'_>) -> State {
        let late = step.now.since(self.since) >= DEADLINE;
        if let Awaited::Own { .. } = self.awaited {
            return match late {
                true => self.said(Verdict::Unknown, step),
                false => State::AwaitCanary(Box::new(self)),
            };
        }
        let canaries = step.pipeline.canaries.try_borrow();
        let known = canaries.ok().and_then(|it| it.find(&self.awaited.binding(), step.now));
        match known {
            Some(Known::Said { .. }) => self.ready.go_on(step),
            Some(Known::Out { .. }) if !late => State::AwaitCanary(Box::new(self)),
            _ => self.give_up(&Denial::UpstreamUnscannable(Unscannable::Canary), step),
        }
    }

    fn give_up(self, denial: &Denial, step: &mut Step<'_>) -> State {
        self.forget(step);
        self.ready.refuse(denial, step)
    }

    /// The next request asks anew.
    fn forget(&self, step: &Step<'_>) {
        if let Awaited::Own { mark, .. } = &self.awaited
            && let Ok(mut canaries) = step.pipeline.canaries.try_borrow_mut()
        {
            canaries.forget(&mark.binding());
        }
    }
}

/// What a canary's answer shows.
fn judge(pipeline: &Pipeline, mark: &Mark, looked: &Rc<InPlay>, result: CallResult) -> Verdict {
    let proved = |answer: &CallAnswer| {
        let proof = answer.fields.only(MARK);
        proof.is_some_and(|proof| mark.is_proved(&pipeline.keys, proof))
    };
    let Some(answer) = result.ok().filter(proved) else { return Verdict::Unknown };
    let looked = [Rc::clone(looked)];
    let mut scrubber = pipeline.scrubbing.known(&looked).scrubber();
    match answer::shows(&answer.fields, &answer.body, &looked, scrubber.as_mut()) {
        Ok(true) => Verdict::Reflective,
        Ok(false) => Verdict::Clean,
        Err(_) => Verdict::Unknown,
    }
}
