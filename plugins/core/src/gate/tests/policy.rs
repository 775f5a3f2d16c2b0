//! Where the policy is asked, and what becomes of its answers.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use serde_json::json;

use super::fixture::*;
use crate::denial::PolicyReason;
use crate::gate::{Config, Loaded};
use crate::policy::{Answer, Changes, Obligations, Policies, Policy, Question, Refusal};
use crate::time::UnixMillis;

/// Answers always the same.
struct Fixed {
    answer: Result<Answer, PolicyReason>,
    asked: Cell<u32>,
    reads: bool,
    revision: Option<&'static str>,
}

impl Policy for Fixed {
    fn reads_content(&self) -> bool {
        self.reads
    }

    fn revision(&self) -> Option<&str> {
        self.revision
    }

    fn decide(&self, question: &Question<'_>) -> Result<Answer, PolicyReason> {
        self.asked.set(self.asked.get() + 1);
        assert_eq!(question.content.is_some(), self.reads);
        // The key that the fixture sends is hidden and removed.
        assert_eq!(question.hidden, ["authorization", "x-tap-key", "x-tap-key"]);
        self.answer.clone()
    }
}

fn fixed(answer: Result<Answer, PolicyReason>) -> Rc<Fixed> {
    Rc::new(Fixed { answer, asked: Cell::new(0), reads: false, revision: None })
}

fn gate(policy: Option<Rc<Fixed>>) -> Gate {
    with(policy.map(|policy| policy as Rc<dyn Policies>))
}

fn with(policy: Option<Rc<dyn Policies>>) -> Gate {
    let mut document = document();
    document["policy"] = json!({"rego": {"inline": "package envoy.authz"}});
    let config = Config::parse(document.to_string().as_bytes()).unwrap();
    Gate::loaded(Loaded { config, policy, tallies: None, invites: None, approvals: None })
}

fn allow(set: &[(&str, &str)], remove: &[&str]) -> Result<Answer, PolicyReason> {
    let set = set.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let remove = remove.iter().map(|name| (*name).to_owned()).collect();
    Ok(Answer::Allow(Changes { set: set.collect(), remove }, Obligations::default()))
}

#[test]
fn a_policy_that_was_not_loaded_denies() {
    assert_eq!(gate(None).get(&[]), refused(403, "policy_denied", "policy_not_loaded"));
}

#[test]
fn every_record_names_the_document_and_the_revision_of_its_policy() {
    let named = |revision| {
        let policy = Fixed { answer: allow(&[], &[]), asked: Cell::new(0), reads: false, revision };
        let mut run = Run::new(gate(Some(Rc::new(policy))).pipeline.stream());
        run.event(headers(fields(&[(":path", "/../x")]), true));
        run.records.last().unwrap().policy_revision.clone().unwrap()
    };
    let plain = named(None);
    assert_eq!(plain.len(), 64);
    assert_eq!(named(Some("r7")), format!("{plain} r7"));
    let longest = "r".repeat(63);
    assert_eq!(named(Some(longest.leak())).len(), 128);
}

#[test]
fn every_reason_is_a_denial_of_its_own() {
    let reasons = [
        (PolicyReason::Undefined, "policy_undefined"),
        (PolicyReason::Conflict, "policy_conflict"),
        (PolicyReason::Failed, "policy_error"),
        (PolicyReason::Limit, "policy_limit"),
        (PolicyReason::Type, "policy_type"),
        (PolicyReason::Input, "policy_input"),
    ];
    for (reason, text) in reasons {
        let outcome = gate(Some(fixed(Err(reason)))).get(&[]);
        assert_eq!(outcome, refused(403, "policy_denied", text));
    }
}

#[test]
fn a_refusal_looks_as_the_policy_wants() {
    let plain = gate(Some(fixed(Ok(Answer::Deny(Refusal::default())))));
    assert_eq!(plain.get(&[]), refused(403, "policy_denied", "policy_denies"));
    let refusal = Refusal {
        status: Some(402),
        fields: vec![("x-price".to_owned(), "7".to_owned())],
        content: Some("pay first".to_owned()),
    };
    let gate = gate(Some(fixed(Ok(Answer::Deny(refusal)))));
    let mut run = Run::new(gate.pipeline.stream());
    run.event(headers(fields(&[]), true));
    let reply = run.replies.first().unwrap();
    assert_eq!((reply.status, reply.content.as_slice()), (402, b"pay first".as_slice()));
    assert!(reply.fields.contains(&("x-price".to_owned(), "7".to_owned())));
    assert_eq!(run.publications[0].decision, "deny:policy_denied");
}

#[test]
fn an_answer_that_no_refusal_may_have_is_a_plain_one() {
    let rows = [
        Refusal { status: Some(200), ..Refusal::default() },
        Refusal { status: Some(600), ..Refusal::default() },
        Refusal { fields: vec![("content-length".into(), "3".into())], ..Refusal::default() },
        Refusal { fields: vec![("x".into(), "a\r\nb: c".into())], ..Refusal::default() },
    ];
    for refusal in rows {
        let outcome = gate(Some(fixed(Ok(Answer::Deny(refusal))))).get(&[]);
        assert_eq!(outcome, refused(403, "policy_denied", "policy_change"));
    }
}

#[test]
fn changes_are_part_of_the_request_that_the_permit_is_about() {
    let plain = gate(Some(fixed(allow(&[], &[]))));
    let changed = gate(Some(fixed(allow(&[("x-idempotency", "mine")], &[]))));
    let permit = |gate: &Gate, head: &[(&str, &str)]| {
        let mut run = Run::new(gate.pipeline.stream());
        run.event(headers(fields(head), true));
        run.permit().unwrap().request_digest()
    };
    let written = permit(&plain, &[("x-idempotency", "mine")]);
    assert_eq!(permit(&changed, &[("x-idempotency", "theirs")]), written);
    assert_ne!(permit(&plain, &[("x-idempotency", "theirs")]), written);
}

#[test]
fn what_no_policy_may_change_denies() {
    let names = [
        "content-length",
        "host",
        ":path",
        "cookie",
        "authorization",
        "x-tap-key",
        "x-api-key",
        "x-tap-credential",
        "x-postern-a",
        "postern-a",
        "x-envoy-a",
        "transfer-encoding",
        "te",
        "x-http-method-override",
        "x-http-method",
        "x-method-override",
        "x-original-method",
        "x-original-url",
        "x-rewrite-url",
        "x-original-uri",
        "x-override-url",
        "x-forwarded-uri",
        "x-forwarded-method",
        "",
        "X-Upper",
        "a b",
    ];
    for name in names {
        for answer in [allow(&[(name, "1")], &[]), allow(&[], &[name])] {
            let outcome = gate(Some(fixed(answer))).get(&[]);
            assert_eq!(outcome, refused(403, "policy_denied", "policy_change"), "{name}");
        }
    }
    for value in ["a\nb", "a\rb", "a\0b", "<CREDENTIAL:slack>"] {
        let outcome = gate(Some(fixed(allow(&[("x-a", value)], &[])))).get(&[]);
        assert_eq!(outcome, refused(403, "policy_denied", "policy_change"), "{value:?}");
    }
}

#[test]
fn the_policy_is_asked_last_and_once() {
    let policy = fixed(allow(&[], &[]));
    let gate = gate(Some(policy.clone()));
    gate.get(&[(":path", "/admin"), (":method", "GET")]);
    gate.get(&[("authorization", "Bearer <CREDENTIAL:unknown>")]);
    assert_eq!(policy.asked.get(), 0);
    gate.get(&[("authorization", "Bearer <CREDENTIAL:slack>")]);
    assert_eq!(policy.asked.get(), 1);
}

#[test]
fn a_policy_that_reads_content_waits_for_its_end() {
    let answer = allow(&[], &[]);
    let policy = Rc::new(Fixed { answer, asked: Cell::new(0), reads: true, revision: None });
    let gate = gate(Some(policy.clone()));
    let mut run = Run::new(gate.pipeline.stream());
    run.event(headers(fields(&[]), false));
    run.event(crate::event::Event::RequestBody { chunk: b"a".to_vec(), end: false });
    assert_eq!(policy.asked.get(), 0);
    run.event(crate::event::Event::RequestBody { chunk: b"b".to_vec(), end: true });
    assert_eq!(policy.asked.get(), 1);
    assert!(run.permit().is_some());
}

#[test]
fn obligations_are_kept_or_the_request_is_refused() {
    let obliged = |duties: Obligations| {
        let answer = Ok(Answer::Allow(Changes::default(), duties));
        gate(Some(fixed(answer))).get(&[])
    };
    let one = |text: &str| vec![text.to_owned()];
    let none = Obligations::default;
    let approval = refused(428, "approval_required", "approval_policy");
    let passkey = refused(428, "approval_required", "passkey_policy");
    let unkept = refused(403, "policy_denied", "policy_obligation");
    assert_eq!(obliged(Obligations { approval: true, ..none() }), approval);
    assert_eq!(obliged(Obligations { passkey: true, ..none() }), passkey);
    assert_eq!(obliged(Obligations { approval: true, passkey: true, ..none() }), passkey);
    // Without barriers there are no levels, and nobody counts or remembers.
    assert_eq!(obliged(Obligations { redact_above: one("public"), ..none() }), unkept);
    assert_eq!(obliged(Obligations { rate_classes: one("bulk"), ..none() }), unkept);
    assert_eq!(obliged(Obligations { taints: one("web"), ..none() }), unkept);
    assert!(matches!(obliged(none()), Outcome::Allowed { .. }));
}

#[test]
fn an_alarm_is_counted_when_the_request_goes_on() {
    let counted = |duties: Obligations| {
        let site = gate(Some(fixed(Ok(Answer::Allow(Changes::default(), duties)))));
        let mut run = Run::new(site.pipeline.stream());
        run.event(headers(fields(&[]), true));
        (run.permit().is_some(), run.counted.contains(&"postern.gate.alarmed.total"))
    };
    let alarm = Obligations { alarm: true, ..Obligations::default() };
    assert_eq!(counted(Obligations::default()), (true, false));
    assert_eq!(counted(alarm.clone()), (true, true));
    assert_eq!(counted(Obligations { approval: true, ..alarm }), (false, false));
}

/// Whatever came last, or nothing.
struct Latest(RefCell<Option<Rc<Fixed>>>);

impl Policies for Latest {
    fn current(self: Rc<Self>, _: UnixMillis) -> Option<Rc<dyn Policy>> {
        self.0.borrow().clone().map(|policy| policy as Rc<dyn Policy>)
    }
}

#[test]
fn a_request_is_decided_to_its_end_by_the_policy_that_was_there_when_its_head_came() {
    let policy = |revision, answer, reads| {
        Some(Rc::new(Fixed { answer, asked: Cell::new(0), reads, revision: Some(revision) }))
    };
    // The newer one reads the content, which nobody has kept for it.
    let newer = || policy("r2", Ok(Answer::Deny(Refusal::default())), true);
    let latest = Rc::new(Latest(RefCell::new(policy("r1", allow(&[], &[]), false))));
    let gate = with(Some(Rc::clone(&latest) as _));
    let body = |end| crate::event::Event::RequestBody { chunk: b"a".to_vec(), end };
    let revision = |run: &Run| run.records.last().unwrap().policy_revision.clone().unwrap();
    let mut run = Run::new(gate.pipeline.stream());
    run.event(headers(fields(&[]), false));
    run.event(body(false));
    *latest.0.borrow_mut() = newer();
    run.event(body(true));
    assert!(run.permit().is_some() && revision(&run).ends_with(" r1"));
    let mut run = Run::new(gate.pipeline.stream());
    run.event(headers(fields(&[]), false));
    *latest.0.borrow_mut() = None;
    run.event(body(true));
    assert_eq!(run.outcome(), refused(403, "policy_denied", "policy_denies"));
    assert!(revision(&run).ends_with(" r2"));
    // Where there was none, one that comes before the content decides nothing.
    let mut run = Run::new(gate.pipeline.stream());
    run.event(headers(fields(&[]), false));
    *latest.0.borrow_mut() = policy("r3", allow(&[], &[]), false);
    run.event(body(true));
    assert_eq!(run.outcome(), refused(403, "policy_denied", "policy_not_loaded"));
}
