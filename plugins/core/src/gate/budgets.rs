//! What requests cost, and what sessions are marked with: the obligations that need memory.
//!
//! Invariant: a request that goes on has a token of every budget that it counts in, and its
//! session has every label that the policy gave it. Tokens of budgets before the one that
//! refuses stay spent.

use std::time::Duration;

use crate::budget::{Budget, By, Taints};
use crate::denial::{BudgetReason, Denial, Ours, PolicyReason};
use crate::gate::Pipeline;
use crate::gate::decide::Decided;
use crate::identity::{Identity, Kind};
use crate::order;
use crate::permit::subject_hash;
use crate::policy::Obligations;
use crate::tally::{Entry, Tallies, Updated};
use crate::time::UnixMillis;

impl Pipeline {
    /// Whether somebody counts and remembers what these obligations ask for.
    pub(super) fn remembers(&self, duties: &Obligations) -> bool {
        let counted = |class: &String| self.config.budgets.iter().any(|one| one.has_class(class));
        let taints = self.config.taints.as_ref();
        let known = |label: &String| taints.is_some_and(|taints| taints.knows(label));
        duties.rate_classes.iter().all(counted) && duties.taints.iter().all(known)
    }

    /// Takes what the request costs and marks the session.
    pub(super) fn spend(
        &self,
        caller: &Identity,
        decided: &Decided,
        duties: &Obligations,
        now: UnixMillis,
    ) -> Result<(), Denial> {
        for budget in &self.config.budgets {
            for whose in whose(budget, caller, decided, &duties.rate_classes) {
                self.take(budget, &budget.key(&caller.tenant, whose), now)?;
            }
        }
        let Some(taints) = &self.config.taints else { return Ok(()) };
        if duties.taints.is_empty() {
            return Ok(());
        }
        let key = Taints::key(&session(caller));
        let updated =
            self.tallies()?.update(&key, now, &mut |entry| taints.add(&duties.taints, entry, now));
        match updated {
            // A label that is none, which was looked at before.
            Updated::Left => Err(Denial::PolicyDenied(PolicyReason::Obligation)),
            updated => settled(updated, Duration::from_secs(1)),
        }
    }

    fn take(&self, budget: &Budget, key: &[u8; 32], now: UnixMillis) -> Result<(), Denial> {
        let mut wait = None;
        let updated = self.tallies()?.update(key, now, &mut |entry| {
            let taken = budget.bucket.take(entry, now);
            wait = taken.err();
            taken.ok()
        });
        match wait {
            Some(retry) if updated == Updated::Left => {
                Err(Denial::BudgetExhausted { reason: budget.by.reason(), retry })
            }
            _ => settled(updated, Duration::from_secs(1)),
        }
    }

    /// How much is left of every budget that counts all requests of the caller, by name.
    pub(super) fn left(
        &self,
        caller: &Identity,
        decided: &Decided,
        now: UnixMillis,
    ) -> Result<Vec<(&str, u64)>, PolicyReason> {
        let all = self.config.budgets.iter().filter(|budget| budget.class.is_none());
        let left = all.map(|budget| {
            let whose = whose(budget, caller, decided, &[]);
            let keys = whose.into_iter().map(|whose| budget.key(&caller.tenant, whose));
            let left = keys
                .map(|key| self.remembered(&key, now).map(|entry| budget.bucket.left(entry, now)));
            let left: Vec<u64> = left.collect::<Result<_, _>>()?;
            Ok(left.into_iter().min().map(|left| (budget.name.as_str(), left)))
        });
        left.filter_map(Result::transpose).collect()
    }

    /// Labels that the caller's session has.
    pub(super) fn taints(
        &self,
        caller: &Identity,
        now: UnixMillis,
    ) -> Result<Vec<&str>, PolicyReason> {
        let Some(taints) = &self.config.taints else { return Ok(Vec::new()) };
        let entry = self.remembered(&Taints::key(&session(caller)), now)?;
        Ok(taints.of(entry))
    }

    fn remembered(&self, key: &[u8; 32], now: UnixMillis) -> Result<Entry, PolicyReason> {
        let mut seen = Entry::default();
        let tallies = self.tallies().map_err(|_| PolicyReason::Input)?;
        let updated = tallies.update(key, now, &mut |entry| {
            seen = entry;
            None
        });
        if updated == Updated::Left { Ok(seen) } else { Err(PolicyReason::Input) }
    }

    fn tallies(&self) -> Result<&dyn Tallies, Denial> {
        self.tallies.as_deref().ok_or(Denial::Internal(Ours::TalliesUnwritten))
    }
}

fn settled(updated: Updated, retry: Duration) -> Result<(), Denial> {
    match updated {
        Updated::Done => Ok(()),
        Updated::Full => Err(Denial::BudgetExhausted { reason: BudgetReason::Full, retry }),
        Updated::Forged => Err(Denial::Internal(Ours::TalliesForged)),
        Updated::Left | Updated::Unwritten => Err(Denial::Internal(Ours::TalliesUnwritten)),
    }
}

/// Whose requests have the same labels. Who holds a capability token can pass it on to as many as
/// he likes, himself included: all of them are one session, named by the block that was issued.
pub(super) fn session(caller: &Identity) -> [u8; 32] {
    match caller.kind {
        Kind::Capability => {
            let subject = format!("capability:{}", caller.token_id);
            subject_hash(&Identity { subject, ..caller.clone() })
        }
        _ => subject_hash(caller),
    }
}

/// The agent that counts: of a capability token the one that it was issued to, since whoever
/// holds it names those to whom he passes it on.
pub(super) fn agent(caller: &Identity) -> &str {
    if caller.kind == Kind::Capability { &caller.user } else { &caller.agent }
}

/// Whose buckets of this budget a request counts in; none where it does not count.
fn whose<'a>(
    budget: &Budget,
    caller: &'a Identity,
    decided: &'a Decided,
    classes: &'a [String],
) -> Vec<&'a str> {
    let in_class = classes.iter().map(String::as_str).filter(|class| budget.has_class(class));
    let classes: Vec<&str> = order::distinct(in_class);
    if budget.class.is_some() && classes.is_empty() {
        return Vec::new();
    }
    match budget.by {
        By::Agent => vec![agent(caller)],
        By::Organisation => vec![&caller.organisation],
        By::Tenant => vec![""],
        By::Credential => {
            order::distinct(decided.bound.uses.iter().map(|used| used.credential.as_str()))
        }
        By::Class => classes,
    }
}
