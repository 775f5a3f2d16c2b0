//! `budgets` and `taints` of the gate's document.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Deserialize;

use crate::budget::{Bucket, Budget, By, Taints};
use crate::config::{ConfigError, Problems, units};

/// One budget as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BudgetWire {
    /// What it is called, in policies and in shared data. Required.
    pub name: Option<String>,
    /// `agent`, `credential`, `organisation`, `tenant` or `class`: whose requests share a
    /// bucket. Required.
    pub by: Option<ByWire>,
    /// Only requests that the policy puts in this rate class count; `model:*` is every class
    /// that begins so. Default: all requests count. Required for `by: class`.
    pub class: Option<String>,
    /// Requests that a full bucket is good for. Required, 1 to 1000000.
    pub tokens: Option<u32>,
    /// How long until the bucket has one more. Required, `1ms` to `24h`.
    pub every: Option<String>,
}

/// `by` as written.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ByWire {
    /// Each agent.
    Agent,
    /// Each credential.
    Credential,
    /// Each organisation.
    Organisation,
    /// The tenant.
    Tenant,
    /// Each rate class.
    Class,
}

/// `taints` as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaintsWire {
    /// Labels that a policy can give to the caller's session. Required, 1 to 64.
    #[serde(default)]
    pub labels: Vec<String>,
    /// How long a session keeps its labels after the last one was added. Default `8h`, `1s`
    /// to `168h`.
    pub life: Option<String>,
}

const MOST_BUDGETS: usize = 32;
const MOST_LABELS: usize = 64;
const LONGEST_LIFE: Duration = Duration::from_secs(7 * 24 * 60 * 60);

pub(super) fn budgets(wire: Vec<BudgetWire>, problems: &mut Problems) -> Vec<Budget> {
    if wire.len() > MOST_BUDGETS {
        problems.note("budgets", "expected at most 32");
    }
    let budgets = problems.list("budgets", wire, budget);
    let names: BTreeSet<&str> = budgets.iter().map(|budget| budget.name.as_str()).collect();
    if names.len() < budgets.len() {
        problems.note("budgets", "expected every name once");
    }
    budgets
}

fn budget(wire: BudgetWire) -> Result<Budget, ConfigError> {
    let mut problems = Problems::default();
    let name = problems.required("name", wire.name);
    let name = name.and_then(|name| problems.scalar("name", word(name)));
    let by = problems.required("by", wire.by).map(|by| match by {
        ByWire::Agent => By::Agent,
        ByWire::Credential => By::Credential,
        ByWire::Organisation => By::Organisation,
        ByWire::Tenant => By::Tenant,
        ByWire::Class => By::Class,
    });
    if by == Some(By::Class) && wire.class.is_none() {
        problems.note("class", "missing");
    }
    let class = wire.class.and_then(|class| problems.scalar("class", word(class)));
    let tokens = problems.required("tokens", wire.tokens);
    let every = problems.required("every", wire.every);
    let every = every.and_then(|text| problems.scalar("every", units::duration(&text)));
    let bucket = tokens.zip(every).and_then(|(tokens, every)| {
        let expected = "expected 1 to 1000000 tokens, and 1ms to 24h for each";
        problems.scalar("", Bucket::new(tokens, every).ok_or(expected))
    });
    let read = (|| Some(Budget { name: name?, by: by?, class, bucket: bucket? }))();
    problems.finish(read)
}

pub(super) fn taints(wire: TaintsWire) -> Result<Taints, ConfigError> {
    let mut problems = Problems::default();
    if !(1..=MOST_LABELS).contains(&wire.labels.len()) {
        problems.note("labels", "expected 1 to 64");
    }
    let distinct: BTreeSet<&String> = wire.labels.iter().collect();
    if distinct.len() < wire.labels.len() {
        problems.note("labels", "expected every label once");
    }
    let labels = problems.list("labels", wire.labels, |label| {
        word(label).map_err(|expected| ConfigError::one("", expected))
    });
    let life = units::duration(wire.life.as_deref().unwrap_or("8h")).and_then(|life| {
        let fits = (Duration::from_secs(1)..=LONGEST_LIFE).contains(&life);
        fits.then_some(life).ok_or("expected 1s to 168h")
    });
    let life = problems.scalar("life", life);
    problems.finish(life.map(|life| Taints { labels, life }))
}

fn word(text: String) -> Result<String, &'static str> {
    let fits = (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    if fits { Ok(text) } else { Err("expected 1 to 64 printable characters") }
}
