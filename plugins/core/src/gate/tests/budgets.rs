//! Budgets and labels: what a request takes, who shares a bucket, and what refuses.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use serde_json::{Value, json};

use super::fixture::*;
use crate::denial::PolicyReason;
use crate::gate::budgets::{agent, session};
use crate::gate::{Config, Loaded};
use crate::identity::{Identity, Kind};
use crate::policy::{Answer, Changes, Obligations, Policy, Question};
use crate::tally::{Change, Entry, Tallies, Updated};
use crate::time::UnixMillis;

/// Remembers everything, or answers always the same.
#[derive(Default)]
struct Memory {
    entries: RefCell<BTreeMap<[u8; 32], Entry>>,
    broken: Cell<Option<Updated>>,
}

impl Tallies for Memory {
    fn update(&self, key: &[u8; 32], _: UnixMillis, change: Change<'_>) -> Updated {
        if let Some(updated) = self.broken.get() {
            return updated;
        }
        let mut entries = self.entries.borrow_mut();
        match change(entries.get(key).copied().unwrap_or_default()) {
            Some(entry) => {
                entries.insert(*key, entry);
                Updated::Done
            }
            None => Updated::Left,
        }
    }
}

/// Obliges everybody to the same, and notes what it was told.
#[derive(Default)]
struct Obliges {
    duties: Obligations,
    told: RefCell<String>,
}

impl Policy for Obliges {
    fn reads_content(&self) -> bool {
        false
    }

    fn reads_tallies(&self) -> bool {
        true
    }

    fn decide(&self, question: &Question<'_>) -> Result<Answer, PolicyReason> {
        *self.told.borrow_mut() = format!("{:?} {:?}", question.budgets, question.taints);
        Ok(Answer::Allow(Changes::default(), self.duties.clone()))
    }
}

struct Site {
    gate: Gate,
    memory: Rc<Memory>,
    policy: Rc<Obliges>,
}

fn site(budgets: Value, duties: Obligations) -> Site {
    let mut document = document();
    document["policy"] = json!({"rego": {"inline": "package envoy.authz"}});
    document["budgets"] = budgets;
    document["taints"] = json!({"labels": ["web", "pii"], "life": "1h"});
    let config = Config::parse(document.to_string().as_bytes()).unwrap();
    let policy = Rc::new(Obliges { duties, ..Obliges::default() });
    let memory = Rc::<Memory>::default();
    let tallies = Some(Rc::clone(&memory) as Rc<dyn Tallies>);
    let loaded = Loaded {
        config,
        policy: Some(Rc::clone(&policy) as _),
        tallies,
        invites: None,
        approvals: None,
    };
    Site { gate: Gate::loaded(loaded), memory, policy }
}

fn spent(reason: &str) -> Outcome {
    refused(429, "budget_exhausted", reason)
}

fn allowed(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Allowed { .. })
}

#[test]
fn a_request_takes_a_token_of_every_budget_that_it_counts_in() {
    let budgets = json!([
        {"name": "agent", "by": "agent", "tokens": 3, "every": "1s"},
        {"name": "slack", "by": "credential", "tokens": 1, "every": "2500ms"},
        {"name": "all", "by": "tenant", "tokens": 100, "every": "1s"},
        {"name": "org", "by": "organisation", "tokens": 100, "every": "1s"},
    ]);
    let site = site(budgets, Obligations::default());
    let slack = [("authorization", "Bearer <CREDENTIAL:slack>")];
    assert!(allowed(&site.gate.get(&slack)));
    assert_eq!(
        site.policy.told.borrow().as_str(),
        r#"[("agent", 3), ("slack", 1), ("all", 100), ("org", 100)] []"#
    );
    let mut run = Run::new(site.gate.pipeline.stream());
    run.event(headers(fields(&slack), true));
    assert_eq!(run.outcome(), spent("budget_credential"));
    let reply = run.replies.last().unwrap();
    assert!(reply.fields.contains(&("retry-after".to_owned(), "3".to_owned())), "{reply:?}");
    // Without a credential only its agent's, its organisation's and the tenant's.
    assert!(allowed(&site.gate.get(&[])));
    assert_eq!(
        site.policy.told.borrow().as_str(),
        r#"[("agent", 1), ("all", 99), ("org", 99)] []"#
    );
    assert_eq!(site.gate.get(&[]), spent("budget_agent"));
    // Another agent has a bucket of its own, and time refills.
    site.gate.change(|record| record.agent = "other".into());
    assert!(allowed(&site.gate.get(&[])));
    site.gate.change(|record| record.agent = "bot".into());
    let mut run = Run::new(site.gate.pipeline.stream());
    run.advance(Duration::from_secs(1));
    run.event(headers(fields(&[]), true));
    assert!(run.permit().is_some());
}

#[test]
fn a_class_counts_where_the_policy_says_so_and_has_to_be_one_that_is_counted() {
    let budgets = json!([
        {"name": "models", "by": "class", "class": "model:*", "tokens": 1, "every": "1s"},
        {"name": "bulk", "by": "agent", "class": "bulk", "tokens": 1, "every": "1s"},
    ]);
    let classes = |classes: &[&str]| Obligations {
        rate_classes: classes.iter().map(|&class| class.to_owned()).collect(),
        ..Obligations::default()
    };
    let none = site(budgets.clone(), Obligations::default());
    assert!(allowed(&none.gate.get(&[])) && allowed(&none.gate.get(&[])));
    let model = site(budgets.clone(), classes(&["model:large", "model:large"]));
    assert!(allowed(&model.gate.get(&[])));
    assert_eq!(model.gate.get(&[]), spent("budget_class"));
    let bulk = site(budgets.clone(), classes(&["bulk"]));
    assert!(allowed(&bulk.gate.get(&[])));
    assert_eq!(bulk.gate.get(&[]), spent("budget_agent"));
    let unknown = site(budgets, classes(&["bulk", "other"]));
    assert_eq!(unknown.gate.get(&[]), refused(403, "policy_denied", "policy_obligation"));
}

#[test]
fn a_session_keeps_its_labels_and_policies_see_them() {
    let duties = Obligations { taints: vec!["pii".to_owned()], ..Obligations::default() };
    let site = site(json!([]), duties);
    assert!(allowed(&site.gate.get(&[])));
    assert_eq!(site.policy.told.borrow().as_str(), "[] []");
    assert!(allowed(&site.gate.get(&[])));
    assert_eq!(site.policy.told.borrow().as_str(), r#"[] ["pii"]"#);
    let unknown = Obligations { taints: vec!["other".to_owned()], ..Obligations::default() };
    let site = self::site(json!([]), unknown);
    assert_eq!(site.gate.get(&[]), refused(403, "policy_denied", "policy_obligation"));
}

#[test]
fn what_cannot_be_remembered_refuses() {
    let budgets = json!([{"name": "agent", "by": "agent", "tokens": 3, "every": "1s"}]);
    for (broken, outcome) in [
        (Updated::Full, spent("budget_full")),
        (Updated::Forged, refused(500, "internal", "tallies_forged")),
        (Updated::Unwritten, refused(500, "internal", "tallies_unwritten")),
        (Updated::Left, refused(500, "internal", "tallies_unwritten")),
    ] {
        let mut document = document();
        document["budgets"] = budgets.clone();
        let config = Config::parse(document.to_string().as_bytes()).unwrap();
        let memory = Rc::new(Memory { broken: Cell::new(Some(broken)), ..Memory::default() });
        let tallies = Some(memory as _);
        let gate =
            Gate::loaded(Loaded { config, policy: None, tallies, invites: None, approvals: None });
        assert_eq!(gate.get(&[]), outcome, "{broken:?}");
    }
    // A policy that reads them has no input.
    let site = site(budgets.clone(), Obligations::default());
    site.memory.broken.set(Some(Updated::Forged));
    assert_eq!(site.gate.get(&[]), refused(403, "policy_denied", "policy_input"));
    // Nobody remembers anything.
    let mut document = document();
    document["budgets"] = budgets;
    let gate = Gate::with(&document);
    assert_eq!(gate.get(&[]), refused(500, "internal", "tallies_unwritten"));
}

#[test]
fn every_problem_of_the_configuration_has_its_path() {
    let mut document = document();
    document["budgets"] = json!([
        {"name": "a", "by": "class", "tokens": 1, "every": "1s"},
        {"name": "b c", "by": "agent", "tokens": 0, "every": "1s"},
        {"by": "agent", "tokens": 1},
        {"name": "d", "by": "agent", "tokens": 1, "every": "1s"},
        {"name": "d", "by": "tenant", "tokens": 1, "every": "1s"},
    ]);
    document["taints"] = json!({"labels": ["a", "a", ""], "life": "0s"});
    let problems = Config::parse(document.to_string().as_bytes()).unwrap_err().problems;
    let paths: Vec<&str> = problems.iter().map(|problem| problem.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "budgets[0].class",
            "budgets[1].name",
            "budgets[1]",
            "budgets[2].name",
            "budgets[2].every",
            "budgets",
            "taints.labels",
            "taints.labels[2]",
            "taints.life",
        ]
    );
}

/// The caller with a capability token that was issued to `a1` and passed on to `agent`.
fn passed_on(agent: &str, clearance: Option<&str>) -> Identity {
    Identity {
        subject: format!("capability:00.{agent}#key"),
        kind: Kind::Capability,
        tenant: "acme".into(),
        organisation: String::new(),
        user: "a1".into(),
        agent: agent.into(),
        roles: Vec::new(),
        scopes: Vec::new(),
        trust: "observer".into(),
        clearance: clearance.map(str::to_owned),
        document: None,
        token_id: "00".into(),
        expires: None,
        platform: None,
    }
}

#[test]
fn who_passes_a_capability_token_on_to_himself_gets_no_new_session_and_no_new_budget() {
    let (one, other) = (passed_on("b1", None), passed_on("b2", None));
    assert_eq!(session(&one), session(&other));
    assert_eq!((agent(&one), agent(&other)), ("a1", "a1"));
    let another = Identity { token_id: "01".into(), ..one.clone() };
    assert_ne!(session(&one), session(&another), "issued again");
    let key = Identity { kind: Kind::ApiKey, ..one.clone() };
    assert_eq!(agent(&key), "b1");
    assert_ne!(session(&key), session(&Identity { kind: Kind::ApiKey, ..other }));
}

#[test]
fn a_capability_token_without_clearance_has_no_default() {
    let mut document = document();
    document["barriers"] = json!({
        "levels": ["public", "internal"], "clearance": "internal",
        "rules": [{"path": "/**", "sections": []}],
    });
    let config = Config::parse(document.to_string().as_bytes()).unwrap();
    let barriers = config.barriers.unwrap();
    let level = |name: &str| barriers.framework.level(name);
    assert_eq!(barriers.clearance(&passed_on("b1", None)), Ok(None));
    assert_eq!(barriers.clearance(&passed_on("b1", Some("1"))), Ok(level("public")));
    let key = Identity { kind: Kind::ApiKey, ..passed_on("b1", None) };
    assert_eq!(barriers.clearance(&key), Ok(level("internal")));
}
