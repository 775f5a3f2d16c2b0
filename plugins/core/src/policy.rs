//! Policies as the core sees them: a question about one request, and an answer. Another
//! crate implements them; this one contains no policy language.
//!
//! Invariant: what cannot be decided is a [`PolicyReason`], which denies; an answer that
//! allows names every change that it asks for, and the gate checks each of them.

use std::rc::Rc;

use crate::binding::Binding;
use crate::denial::{DecisionId, PolicyReason};
use crate::fields::Fields;
use crate::identity::Identity;
use crate::permit::CredentialUse;
use crate::time::UnixMillis;

/// Everything a policy may know of a request. Authentication, scopes, placeholder positions
/// and bindings have passed.
pub struct Question<'a> {
    /// The header section as it will be forwarded, before changes by the policy.
    pub fields: &'a Fields,
    /// Lower-case names of fields that the policy does not get: they hold credentials of callers,
    /// or do not go on.
    pub hidden: Vec<&'a str>,
    /// Who calls.
    pub identity: &'a Identity,
    /// Credentials that will be put in, each with its binding.
    pub uses: Vec<(&'a CredentialUse, Option<&'a Binding>)>,
    /// Authority that the request will leave for, where the gate knows it.
    pub authority: Option<String>,
    /// Region of that upstream.
    pub region: Option<&'a str>,
    /// What is left of the budgets that count every request of the caller, by name; empty
    /// unless the policy reads it.
    pub budgets: Vec<(&'a str, u64)>,
    /// Labels of the caller's session; empty unless the policy reads them.
    pub taints: Vec<&'a str>,
    /// The whole content, where it was held for a policy that reads it.
    pub content: Option<&'a [u8]>,
    /// The time of the decision.
    pub now: UnixMillis,
    /// The decision.
    pub id: DecisionId,
}

/// What a policy answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The request may go on, with these changes, if these obligations can be kept.
    Allow(Changes, Obligations),
    /// It may not.
    Deny(Refusal),
}

/// Changes to a request that is allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Fields of the request to set, lower-case names.
    pub set: Vec<(String, String)>,
    /// Fields of the request to remove, lower-case names.
    pub remove: Vec<String>,
}

/// What an allowed request is allowed under. Whoever allows it keeps them all, or refuses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Obligations {
    /// A person has to approve the request.
    pub approval: bool,
    /// A person has to approve it, with a passkey.
    pub passkey: bool,
    /// Sections of the answer above these levels are removed: above the lowest of them.
    pub redact_above: Vec<String>,
    /// Rate classes that the request counts in.
    pub rate_classes: Vec<String>,
    /// Labels that the caller's session has from now on.
    pub taints: Vec<String>,
    /// Somebody is to look at it: it is counted for an alarm.
    pub alarm: bool,
}

/// How a policy wants its refusal to look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusal {
    /// Status, 300 to 599; 403 when the policy has none.
    pub status: Option<u16>,
    /// Fields of the answer, lower-case names.
    pub fields: Vec<(String, String)>,
    /// Content; a problem document when the policy has none.
    pub content: Option<String>,
}

/// A loaded policy.
pub trait Policy {
    /// Whether it reads the content, which then has to be held.
    fn reads_content(&self) -> bool;

    /// Whether it reads budgets or labels, which then have to be looked up.
    fn reads_tallies(&self) -> bool {
        false
    }

    /// What its authors call this state of it, for records: at most 63 visible characters.
    fn revision(&self) -> Option<&str> {
        None
    }

    /// Decides about one request. `Err` when there is no decision: it denies.
    fn decide(&self, question: &Question<'_>) -> Result<Answer, PolicyReason>;
}

/// Where the policy comes from: one that stays, or the last one that came.
pub trait Policies {
    /// The policy for a request that comes now, to its end; `None` denies.
    fn current(self: Rc<Self>, now: UnixMillis) -> Option<Rc<dyn Policy>>;
}

/// One that stays.
impl<P: Policy + 'static> Policies for P {
    fn current(self: Rc<Self>, _: UnixMillis) -> Option<Rc<dyn Policy>> {
        Some(self)
    }
}
