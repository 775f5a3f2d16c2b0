//! Asks the policy, once bindings are chosen and content is read, and applies what it
//! answers.
//!
//! Invariant: a configured policy that is not loaded, or has no decision, denies. What a
//! policy changes is no field that frames, routes, authenticates or holds a credential, none
//! that gives a server another method or target, and no value that it sets holds a placeholder.
//! A policy sees no field that does not go on.

use std::rc::Rc;

use crate::approvals::Approvals;
use crate::binding::{is_field_name, is_reserved};
use crate::config::gate::Config;
use crate::denial::{Denial, PolicyReason};
use crate::effect::{Effect, Part};
use crate::gate::barrier::Barrier;
use crate::gate::bind::Destination;
use crate::gate::content::Content;
use crate::gate::decide::Decided;
use crate::gate::outcome::Request;
use crate::gate::region::region;
use crate::gate::strip::is_override;
use crate::gate::{Pipeline, Step};
use crate::identity::Identity;
use crate::invites::Invites;
use crate::permit::CredentialUse;
use crate::policy::{Answer, Changes, Obligations, Policies, Policy, Question, Refusal};
use crate::tally::Tallies;
use crate::time::UnixMillis;

/// A configuration, and what it names, loaded.
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Its policy.
    pub policy: Option<Rc<dyn Policies>>,
    /// Where budgets and labels are remembered; without it requests that need them are refused.
    pub tallies: Option<Rc<dyn Tallies>>,
    /// Who exchanges invites.
    pub invites: Option<Rc<dyn Invites>>,
    /// Who asks people; without it what needs an approval is refused.
    pub approvals: Option<Rc<dyn Approvals>>,
}

impl From<Config> for Loaded {
    fn from(config: Config) -> Self {
        Self { config, policy: None, tallies: None, invites: None, approvals: None }
    }
}

impl Pipeline {
    /// The policy of a request whose head has come: the same one to its end, whatever comes
    /// meanwhile, so that what it reads was kept and what decided is what the record names.
    pub(super) fn policy_now(&self, now: UnixMillis) -> Option<Rc<dyn Policy>> {
        self.policy.as_ref().and_then(|policies| Rc::clone(policies).current(now))
    }

    /// What the policy changes about a request that it allows, what is removed from the
    /// answer, and its obligations, of which approvals and what is spent are still to be kept.
    pub(super) fn ask_policy(
        &self,
        request: &mut Request,
        caller: &Identity,
        decided: &Decided,
        content: &Content,
        now: UnixMillis,
    ) -> Result<(Changes, Obligations, Option<Barrier>), Denial> {
        let (mut changes, duties) = self.answer(request, caller, decided, content, now)?;
        let barrier = self.oblige(request, caller, &duties, &mut changes)?;
        apply(&changes, request);
        Ok((changes, duties, barrier))
    }

    /// The policy's answer, where one is configured.
    fn answer(
        &self,
        request: &Request,
        caller: &Identity,
        decided: &Decided,
        content: &Content,
        now: UnixMillis,
    ) -> Result<(Changes, Obligations), Denial> {
        if self.config.policy.is_none() {
            return Ok(Default::default());
        }
        let policy = request.policy.as_ref();
        let policy = policy.ok_or(Denial::PolicyDenied(PolicyReason::NotLoaded))?;
        let mut question = self.question(request, caller, decided, content, now);
        if policy.reads_tallies() {
            question.budgets = self.left(caller, decided, now).map_err(Denial::PolicyDenied)?;
            question.taints = self.taints(caller, now).map_err(Denial::PolicyDenied)?;
        }
        match policy.decide(&question).map_err(Denial::PolicyDenied)? {
            Answer::Allow(changes, duties) => {
                self.check(&changes, decided)?;
                Ok((changes, duties))
            }
            Answer::Deny(refusal) if refusal == Refusal::default() => {
                Err(Denial::PolicyDenied(PolicyReason::Denied))
            }
            Answer::Deny(refusal) => {
                check_answer(&refusal)?;
                Err(Denial::PolicyAnswered(Box::new(refusal)))
            }
        }
    }

    fn question<'a>(
        &'a self,
        request: &'a Request,
        caller: &'a Identity,
        decided: &'a Decided,
        content: &'a Content,
        now: UnixMillis,
    ) -> Question<'a> {
        let config = &self.config;
        let bindings = &config.bindings;
        let with_binding =
            |used: &'a CredentialUse| (used, bindings.hashed(&used.binding_hash).next());
        let authority = match &request.destination {
            Destination::To(authority) => Some(authority),
            Destination::Untold | Destination::Nowhere => None,
        };
        let region = region(config, request);
        let removed = decided.removed.iter().map(String::as_str);
        Question {
            fields: &request.head.fields,
            hidden: config.credential_fields().chain(removed).collect(),
            identity: caller,
            uses: decided.bound.uses.iter().map(with_binding).collect(),
            authority: authority.map(ToString::to_string),
            region,
            budgets: Vec::new(),
            taints: Vec::new(),
            content: content.whole(),
            now,
            id: request.id,
        }
    }

    /// Whether every change is one that a policy may make.
    fn check(&self, changes: &Changes, decided: &Decided) -> Result<(), Denial> {
        let denied = Denial::PolicyDenied(PolicyReason::Change);
        let uses = &decided.bound.uses;
        let names = changes.set.iter().map(|(name, _)| name).chain(&changes.remove);
        let names_fit = names.into_iter().all(|name| {
            may_change(&self.config, name) && !uses.iter().any(|used| used.site == *name)
        });
        let clean = |value: &str| {
            let mut scan = self.detector.scan();
            is_value(value) && !scan.feed(value.as_bytes()) && !scan.finish()
        };
        let values_fit = changes.set.iter().all(|(_, value)| clean(value));
        if names_fit && values_fit { Ok(()) } else { Err(denied) }
    }
}

/// Not a field that frames or routes, that authenticates, that is a credential's site, or
/// that somebody behind the gate believes because only the gate writes it.
fn may_change(config: &Config, name: &str) -> bool {
    is_field_name(name)
        && !is_reserved(name)
        && !is_override(name)
        && !config.credential_fields().any(|field| field == name)
        && !config.is_site(name)
        && name != config.credential_header
        && !["postern-", "x-postern-", "x-tap-", "x-envoy-"].iter().any(|p| name.starts_with(p))
}

/// The digest of the request covers what leaves, so its head changes first.
fn apply(changes: &Changes, request: &mut Request) {
    let fields = &mut request.head.fields;
    let named = |name: &str| {
        changes.remove.iter().any(|one| one == name)
            || changes.set.iter().any(|(one, _)| one == name)
    };
    fields.0.retain(|field| !named(&String::from_utf8_lossy(&field.name).to_ascii_lowercase()));
    for (name, value) in &changes.set {
        let (name, value) = (name.clone().into_bytes(), value.clone().into_bytes());
        fields.0.push(crate::fields::Field { name, value });
    }
}

/// Tells the host what [`apply`] did to the head.
pub(super) fn write(step: &mut Step<'_>, changes: Changes) {
    for name in changes.remove {
        step.emit(Effect::RemoveField { part: Part::Request, name });
    }
    for (name, value) in changes.set {
        step.emit(Effect::SetField { part: Part::Request, name, value: value.into_bytes() });
    }
}

fn check_answer(refusal: &Refusal) -> Result<(), Denial> {
    let fits = |(name, value): &(String, String)| {
        let free = name == "content-type" || !is_reserved(name);
        is_field_name(name) && free && is_value(value)
    };
    let status = refusal.status.is_none_or(|status| (300..=599).contains(&status));
    if status && refusal.fields.iter().all(fits) {
        return Ok(());
    }
    Err(Denial::PolicyDenied(PolicyReason::Change))
}

/// RFC 9110 5.5, without what ends a line or a string somewhere.
fn is_value(value: &str) -> bool {
    value.len() <= 8 * 1024 && !value.bytes().any(|byte| b"\r\n\0".contains(&byte))
}
