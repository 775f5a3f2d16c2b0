//! What is stored with a value and covered by its seal: where it may go and, where it was
//! minted, whose it is.
//!
//! Invariant: a policy that does not read binds nothing, and a minted value without an owner
//! does not exist.

use postern_core::binding::{Binding, Wire};
use postern_core::hex;
use postern_crp::message::store::{self, Guard, Needed};
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

/// An operator's whose releases need an approval, or whose value is in a vault.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Guarded<'a> {
    approval: String,
    approvers: u8,
    #[serde(borrow)]
    bindings: Vec<&'a RawValue>,
    passkey: bool,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    vault: Option<Vaulted>,
}

/// In which vault a value is, and of which version it was when that was last seen. What is
/// sealed is then not the value but where it is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Vaulted {
    pub(crate) name: String,
    pub(crate) version: String,
}

impl Guarded<'_> {
    fn guard(&self) -> Option<Guard> {
        let approval = Needed::ALL.into_iter().find(|one| one.name() == self.approval)?;
        Some(Guard { approval, passkey: self.passkey, approvers: self.approvers })
    }
}

/// What both demand.
pub(super) fn both(left: Guard, right: Guard) -> Guard {
    Guard {
        approval: left.approval.max(right.approval),
        passkey: left.passkey || right.passkey,
        approvers: left.approvers.max(right.approvers),
    }
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
    /// What a release needs besides.
    pub(super) guard: Guard,
}

/// Reads what is stored.
pub(super) fn read(stored: &[u8]) -> Policy {
    let Some(Parts { minted, guard, written }) = parts(stored) else { return Policy::default() };
    let bindings = written.iter().filter_map(|json| binding(json.get().as_bytes())).collect();
    let (owner, source) = minted.unzip();
    Policy { bindings, owner, source, guard }
}

struct Parts<'a> {
    minted: Option<(Owner, String)>,
    guard: Guard,
    written: Vec<&'a RawValue>,
}

fn parts(stored: &[u8]) -> Option<Parts<'_>> {
    let guard = Guard::default();
    if !stored.starts_with(b"{") {
        return Some(Parts { minted: None, guard, written: serde_json::from_slice(stored).ok()? });
    }
    if let Ok(guarded) = serde_json::from_slice::<Guarded<'_>>(stored) {
        let guard = guarded.guard()?;
        return Some(Parts { minted: None, guard, written: guarded.bindings });
    }
    let Minted { agent, bindings, caller, source } = serde_json::from_slice(stored).ok()?;
    let minted = Some((Owner { agent, caller }, source));
    Some(Parts { minted, guard, written: bindings })
}

/// In which vault the value is, if it is in one. Quick for all that are in none.
pub(crate) fn vault(stored: &[u8]) -> Option<Vaulted> {
    if !stored.starts_with(b"{") {
        return None;
    }
    serde_json::from_slice::<Guarded<'_>>(stored).ok()?.vault
}

/// The same policy of a value of another version in its vault.
pub(super) fn seen(stored: &[u8], version: &str) -> Option<Vec<u8>> {
    let mut guarded: Guarded<'_> = serde_json::from_slice(stored).ok()?;
    guarded.vault.as_mut()?.version = version.to_owned();
    serde_json::to_vec(&guarded).ok()
}

/// The owner, what releases need and the array of bindings, for a list.
pub(crate) fn shown(stored: &[u8]) -> Option<(Option<Owner>, Guard, Box<RawValue>)> {
    let Parts { minted, guard, written } = parts(stored)?;
    let owner = minted.map(|(owner, _)| owner);
    let texts: Vec<&str> = written.iter().map(|json| json.get()).collect();
    Some((owner, guard, RawValue::from_string(format!("[{}]", texts.join(","))).ok()?))
}

/// The bytes to store of an operator's.
pub(super) fn written(
    bindings: &[store::Binding],
    guard: Guard,
    vault: Option<Vaulted>,
) -> Option<Vec<u8>> {
    let bindings = raw(bindings)?;
    if guard == Guard::default() && vault.is_none() {
        return serde_json::to_vec(&bindings).ok();
    }
    let Guard { approval, passkey, approvers } = guard;
    let approval = approval.name().to_owned();
    serde_json::to_vec(&Guarded { approval, approvers, bindings, passkey, vault }).ok()
}

/// The bytes to store of a minted one, and by whom and what it was minted.
pub(super) fn minted(
    bindings: &[store::Binding],
    Owner { agent, caller }: &Owner,
    source: &str,
) -> Option<Vec<u8>> {
    let (agent, caller) = (agent.clone(), caller.clone());
    let minted = Minted { agent, bindings: raw(bindings)?, caller, source: source.to_owned() };
    serde_json::to_vec(&minted).ok()
}

fn raw(bindings: &[store::Binding]) -> Option<Vec<&RawValue>> {
    bindings.iter().map(|binding| serde_json::from_slice(binding.json()).ok()).collect()
}

/// One binding of a message or a policy.
pub(crate) fn binding(json: &[u8]) -> Option<Binding> {
    Binding::try_from(serde_json::from_slice::<Wire>(json).ok()?).ok()
}
