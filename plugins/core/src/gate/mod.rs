//! The gate's pipeline: who calls, may they, and is every placeholder where it belongs.
//!
//! A request is read in this order, and stops at the first refusal: audit receipts,
//! method, an unambiguous head, API key (offline, then the directory), the target of the
//! forward endpoint, scopes, placeholder positions, bindings, content, policy, permit. From the
//! target on everything is about the request as it is rewritten. The states of one [`Stream`] are in `states`, one
//! struct for each thing to wait for; each check is a function in a file of its own.
//!
//! Invariant: a permit is published only after a [`Principal`] was authenticated and, where
//! content is held, after its end was seen; until then nothing is forwarded. The caller's
//! authority decides nothing.
//!
//! [`Principal`]: crate::identity::Principal

use std::collections::VecDeque;
use std::rc::Rc;

use crate::effect::{Effect, Flow};
use crate::event::Event;
use crate::key_service::Directory;
use crate::permit::PermitKeys;
use crate::policy::Policy;
use crate::scrubbing::Detector;
use crate::time::UnixMillis;

mod authenticate;
mod bind;
mod content;
mod decide;
mod forward;
mod head;
mod key;
mod outcome;
mod policy;
mod references;
mod states;
mod strip;
mod tunnel;

pub use crate::config::gate::Config;

use states::State;

/// The gate as configured; shared by all streams of a VM.
pub struct Pipeline {
    config: Config,
    keys: PermitKeys,
    directory: Rc<dyn Directory>,
    detector: Rc<dyn Detector>,
    policy: Option<Rc<dyn Policy>>,
    vm: [u8; 16],
}

impl Pipeline {
    /// Puts the parts together. `vm` is this VM's random id, which permits name. A policy
    /// that is configured has to be given by [`Pipeline::with_policy`]: without it every
    /// request is refused.
    pub fn new(
        config: Config,
        keys: PermitKeys,
        directory: Rc<dyn Directory>,
        detector: Rc<dyn Detector>,
        vm: [u8; 16],
    ) -> Rc<Self> {
        Self::with_policy(config, keys, directory, detector, vm, None)
    }

    /// Like [`Pipeline::new`], with the policy that the configuration names, loaded.
    pub fn with_policy(
        config: Config,
        keys: PermitKeys,
        directory: Rc<dyn Directory>,
        detector: Rc<dyn Detector>,
        vm: [u8; 16],
        policy: Option<Rc<dyn Policy>>,
    ) -> Rc<Self> {
        Rc::new(Self { config, keys, directory, detector, policy, vm })
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
}

#[cfg(test)]
mod tests;
