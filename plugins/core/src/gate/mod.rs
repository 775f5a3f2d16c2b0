//! The gate's pipeline: who calls, may they, and is every placeholder where it belongs.
//!
//! A request is read in this order, and stops at the first refusal: audit receipts,
//! method, an unambiguous head, the caller's credential (offline, then whoever can say whose
//! it is), revocation, the target of the forward endpoint, scopes, limits of the caller's token,
//! the upstream's region, placeholder positions, bindings, content, policy and its obligations,
//! approval, budgets, canaries, permit. From the target on everything is about the request as it is rewritten. Of
//! the answer it reads only what has sections that the caller may not see ([`barrier`]). The states of one [`Stream`] are in `states`, one
//! struct for each thing to wait for; each check is a function in a file of its own.
//!
//! Invariant: a permit is published only after a [`Principal`] was authenticated and, where
//! content is held, after its end was seen; until then nothing is forwarded. The caller's
//! authority decides nothing.
//!
//! [`Principal`]: crate::identity::Principal

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use crate::approvals::Approvals;
use crate::authenticator::Authenticator;
use crate::effect::{Effect, Flow};
use crate::event::Event;
use crate::invites::Invites;
use crate::permit::PermitKeys;
use crate::policy::Policies;
use crate::revocation::Revocations;
use crate::scrubbing::{Detector, Scrubbing};
use crate::tally::Tallies;
use crate::time::UnixMillis;

mod api_keys;
mod approving;
mod authenticate;
mod authenticating;
mod barrier;
mod bind;
mod budgets;
mod canary;
mod content;
mod decide;
mod exchanging;
mod forward;
mod head;
mod limits;
mod outcome;
mod policy;
mod polling;
mod recognise;
mod references;
mod region;
mod revocation;
mod states;
mod strip;
mod tunnel;

pub use crate::config::gate::Config;
pub use api_keys::ApiKeys;
pub use policy::Loaded;

use states::State;

/// The gate as configured; shared by all streams of a VM.
pub struct Pipeline {
    config: Config,
    keys: PermitKeys,
    authenticators: Vec<Rc<dyn Authenticator>>,
    revocations: Rc<dyn Revocations>,
    detector: Rc<dyn Detector>,
    policy: Option<Rc<dyn Policies>>,
    tallies: Option<Rc<dyn Tallies>>,
    invites: Option<Rc<dyn Invites>>,
    approvals: Option<Rc<dyn Approvals>>,
    scrubbing: Rc<dyn Scrubbing>,
    vm: [u8; 16],
    canaries: RefCell<canary::Canaries>,
}

impl Pipeline {
    /// Puts the parts together: `config` with the policy, the exchange of invites and the approvals that it
    /// names, without which every request, every invite, or what needs an approval, is refused; `authenticators` in the order of the configuration;
    /// `scrubbing` is for answers to canaries; `vm` is this VM's random id, which permits name.
    pub fn new(
        config: impl Into<Loaded>,
        keys: PermitKeys,
        authenticators: Vec<Rc<dyn Authenticator>>,
        revocations: Rc<dyn Revocations>,
        detector: Rc<dyn Detector>,
        scrubbing: Rc<dyn Scrubbing>,
        vm: [u8; 16],
    ) -> Rc<Self> {
        let canaries = RefCell::default();
        let Loaded { config, policy, tallies, invites, approvals } = config.into();
        Rc::new(Self {
            config,
            keys,
            authenticators,
            revocations,
            detector,
            policy,
            tallies,
            invites,
            approvals,
            scrubbing,
            vm,
            canaries,
        })
    }

    /// A stream for one request and its response.
    pub fn stream(self: &Rc<Self>) -> Stream {
        Stream {
            pipeline: Rc::clone(self),
            state: Some(State::start()),
            output: Output { effects: VecDeque::new(), flow: Flow::Pause },
        }
    }
}

/// One request on its way through the gate.
pub struct Stream {
    pipeline: Rc<Pipeline>,
    /// `None` only inside `handle`.
    state: Option<State>,
    output: Output,
}

/// What a step leaves for the host.
struct Output {
    effects: VecDeque<Effect>,
    flow: Flow,
}

/// What every step of every state has at hand.
struct Step<'a> {
    pipeline: &'a Pipeline,
    now: UnixMillis,
    output: &'a mut Output,
}

impl Step<'_> {
    fn emit(&mut self, effect: Effect) {
        self.output.effects.push_back(effect);
    }

    fn flow(&mut self, flow: Flow) {
        self.output.flow = flow;
    }
}

impl crate::stream::Stream for Stream {
    fn handle(&mut self, event: Event, now: UnixMillis) {
        let state = self.state.take().unwrap_or(State::Over);
        let mut step = Step { pipeline: &self.pipeline, now, output: &mut self.output };
        self.state = Some(state.handle(event, &mut step));
    }

    fn poll(&mut self) -> Option<Effect> {
        self.output.effects.pop_front()
    }

    fn flow(&self) -> Flow {
        self.output.flow
    }

    fn passes_answer(&self) -> bool {
        self.state.as_ref().is_some_and(State::passes_answer)
    }
}

#[cfg(test)]
mod tests;
