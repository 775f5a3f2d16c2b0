//! Whether a gateway runs what an operator has authorised for it.
//!
//! The gateway says of itself what it runs, so this finds drift: a module, a policy or a binding
//! that nobody authorised. It is no proof against whoever operates the gateway. Invariant: the
//! answer to a gateway never depends on which part drifted, and nothing says what was expected.

use postern_crp::message::release::Request;

use super::Asker;
use crate::audit::Event;
use crate::fault::Fault;
use crate::service::Inner;
use crate::store::Connection;
use crate::store::gateway_sets::{self, Authorised};

/// What is not as authorised, for the audit log.
const MODULES: &str = "modules_drifted";
const POLICY: &str = "policy_drifted";
const BINDING: &str = "binding_drifted";
/// There is no set, and the configuration demands one.
const NO_SET: &str = "gateway_set_missing";

/// Why the gateway gets no value, if that is so.
pub(super) async fn drifted(
    service: &Inner,
    db: &mut Connection,
    asker: &Asker<'_>,
    request: &Request,
) -> Result<Option<&'static str>, Fault> {
    let sets = gateway_sets::of_gateway(db, &service.rows, asker.tenant, asker.gateway).await?;
    if sets.is_empty() {
        return Ok(service.requires_gateway_set.then_some(NO_SET));
    }
    Ok(first_drift(&sets, request))
}

/// Each part has to be in one of the sets that all parts before it are in: what two sets authorise
/// cannot be mixed.
fn first_drift(sets: &[Authorised], request: &Request) -> Option<&'static str> {
    type Part = fn(&Authorised, &Request) -> bool;
    let parts: [(&str, Part); 3] = [
        (MODULES, |set, request| set.modules.is_none() || set.modules == request.module_digest),
        (POLICY, |set, request| set.policy.is_none() || set.policy == request.policy_hash),
        (BINDING, |set, request| {
            set.bindings.is_empty() || set.bindings.contains(&request.binding_hash)
        }),
    ];
    let mut left: Vec<&Authorised> = sets.iter().collect();
    parts.into_iter().find_map(|(reason, fits)| {
        left.retain(|set| fits(set, request));
        left.is_empty().then_some(reason)
    })
}

/// What the gateway said of itself, where that is why it was refused.
pub(super) fn said(event: Event, request: &Request, reason: &str) -> Event {
    if ![MODULES, POLICY, BINDING].contains(&reason) {
        return event;
    }
    let event = event.with_hex("binding", &request.binding_hash);
    let with = |event: Event, name, hash: Option<[u8; 32]>| match hash {
        Some(hash) => event.with_hex(name, &hash),
        None => event,
    };
    let event = with(event, "modules", request.module_digest);
    with(event, "policy", request.policy_hash)
}
