//! What is stored with a value and covered by its seal: where it may go and, where it was
//! minted, whose it is.
//!
//! Invariant: a policy that does not read binds nothing, and a minted value without an owner
//! does not exist.

use postern_core::binding::{Binding, Wire};
use postern_core::hex;
use postern_crp::message::store;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// A minted credential's; an operator's is the array of bindings alone.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Minted<'a> {
    agent: String,
    #[serde(borrow)]
    bindings: Vec<&'a RawValue>,
    caller: String,
    source: String,
}

/// Who minted a credential: the only one to whom it is released.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) agent: String,
    caller: String,
}

impl Owner {
    /// The one of this agent and caller.
    pub(super) fn new(agent: &str, caller: &[u8; 32]) -> Self {
        Self { agent: agent.to_owned(), caller: hex::lower(caller) }
    }
}

/// What is stored with a credential.
#[derive(Default)]
pub(super) struct Policy {
    pub(super) bindings: Vec<Binding>,
    pub(super) owner: Option<Owner>,
    /// The operator's credential at whose token endpoint it was minted, be it over refreshed
    /// ones: it ends with that.
    pub(super) source: Option<String>,
}

/// Reads what is stored.
pub(super) fn read(stored: &[u8]) -> Policy {
    let Some(parts) = parts(stored) else { return Policy::default() };
    let (minted, written) = parts;
    let bindings = written.iter().filter_map(|json| binding(json.get().as_bytes())).collect();
    let (owner, source) = minted.unzip();
    Policy { bindings, owner, source }
}

type Parts<'a> = (Option<(Owner, String)>, Vec<&'a RawValue>);

fn parts(stored: &[u8]) -> Option<Parts<'_>> {
    if stored.starts_with(b"{") {
        let Minted { agent, bindings, caller, source } = serde_json::from_slice(stored).ok()?;
        return Some((Some((Owner { agent, caller }, source)), bindings));
    }
    Some((None, serde_json::from_slice(stored).ok()?))
}

/// The owner and the array of bindings, for a list.
pub(crate) fn shown(stored: &[u8]) -> Option<(Option<Owner>, Box<RawValue>)> {
    let (minted, bindings) = parts(stored)?;
    let owner = minted.map(|(owner, _)| owner);
    let texts: Vec<&str> = bindings.iter().map(|json| json.get()).collect();
    Some((owner, RawValue::from_string(format!("[{}]", texts.join(","))).ok()?))
}

/// The bytes to store; `minted` is who minted it, and by what.
pub(super) fn written(
    bindings: &[store::Binding],
    minted: Option<(&Owner, &str)>,
) -> Option<Vec<u8>> {
    let bindings: Vec<&RawValue> = bindings
        .iter()
        .map(|binding| serde_json::from_slice(binding.json()).ok())
        .collect::<Option<_>>()?;
    let stored = match minted {
        None => serde_json::to_vec(&bindings),
        Some((Owner { agent, caller }, source)) => {
            let (agent, caller) = (agent.clone(), caller.clone());
            serde_json::to_vec(&Minted { agent, bindings, caller, source: source.to_owned() })
        }
    };
    stored.ok()
}

/// One binding of a message or a policy.
pub(super) fn binding(json: &[u8]) -> Option<Binding> {
    Binding::try_from(serde_json::from_slice::<Wire>(json).ok()?).ok()
}
