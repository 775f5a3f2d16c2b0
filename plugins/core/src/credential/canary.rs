//! The gate's canary on its way through this module: a request with a mark instead of a permit.
//!
//! Invariant: nothing is released or injected here, and what passes is exactly the canary
//! request of the binding that the mark names, to that binding's upstream, without the mark.

use super::run::Run;
use super::stream::State;
use crate::authority::Authority;
use crate::binding::Binding;
use crate::canary::{MARK, Mark};
use crate::config::credential::Config;
use crate::denial::{Denial, Ours, PolicyReason};
use crate::effect::Part;
use crate::event::{Event, Surroundings};
use crate::fields::Fields;
use crate::time::UnixMillis;

/// The canary has left; its answer is proved to be the upstream's.
pub(super) struct Canary {
    proof: String,
}

/// A head with the mark's field.
pub(super) fn head(
    fields: &Fields,
    end: bool,
    around: &Surroundings,
    now: UnixMillis,
    run: &mut Run,
) -> State {
    // Nobody has called: a permit beside it belongs to some other request.
    let alone = end && around.permit.is_none();
    let mark = fields.only(MARK).and_then(|value| Mark::open(&run.pipeline.keys, value, now));
    let mark = mark.filter(|mark| {
        let config = &run.pipeline.config;
        let binding = config.bindings.hashed(&mark.binding()).next();
        alone && binding.is_some_and(|binding| is_its(config, binding, fields, around))
    });
    let Some(mark) = mark else {
        return run.refuse(Denial::PolicyDenied(PolicyReason::CanaryMark));
    };
    run.remove(Part::Request, MARK);
    run.proceed();
    State::Canary(Box::new(Canary { proof: mark.prove(&run.pipeline.keys) }))
}

/// Whether this is the canary request of `binding`, on its way to that binding's upstream.
fn is_its(config: &Config, binding: &Binding, fields: &Fields, around: &Surroundings) -> bool {
    let Some(canary) = binding.canary() else { return false };
    let cluster = around.cluster.as_deref().and_then(|name| config.upstreams.find(name));
    let text = |name| fields.only(name).and_then(|value| str::from_utf8(value).ok());
    let path = text(":path").and_then(|target| target.split('?').next());
    let authority = text(":authority").and_then(Authority::parse);
    cluster.is_some_and(|upstream| upstream.authority == *binding.authority())
        && authority.as_ref() == Some(binding.authority())
        && text(":method") == Some(&canary.method)
        && path == Some(&canary.path)
}

impl Canary {
    pub(super) fn on(self, event: &Event, run: &mut Run) -> State {
        match event {
            // An upstream's own line of it goes with this.
            Event::ResponseHeaders { .. } => {
                run.set(Part::Response, MARK, self.proof.as_bytes());
                run.proceed();
            }
            Event::ResponseBody { .. } | Event::ResponseTrailers(_) | Event::Tick => run.proceed(),
            Event::Done => return State::Over,
            Event::EffectFailed => return run.cut(Denial::Internal(Ours::EffectFailed)),
            _ => return run.cut(Denial::Internal(Ours::Unexpected)),
        }
        State::Canary(Box::new(self))
    }
}
