//! A person approves a request: what is asked, what is answered, and what goes on.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use serde_json::{Value, json};

use super::fixture::*;
use crate::approvals::{Approvals, Ask, NotTold, Standing, State, Told};
use crate::config::gate::Config;
use crate::denial::PolicyReason;
use crate::effect::Flow;
use crate::event::Event;
use crate::gate::Loaded;
use crate::key_service::{
    Call, CallId, CallResult, Destination, KeyServiceFault, MAX_ANSWER, Turn,
};
use crate::policy::{Answer, Changes, Obligations, Policy, Question};
use crate::time::Moment;

const ID: [u8; 16] = [0xab; 16];

/// Asks with one call, and then says this.
struct Fake {
    told: Cell<Told>,
    asked: RefCell<Vec<Ask>>,
    polled: RefCell<Vec<([u8; 16], [u8; 32])>>,
    abandoned: Cell<u32>,
}

impl Fake {
    fn call() -> Turn<Told> {
        Turn::Ask(Call {
            id: CallId(7),
            to: Destination::KeyService,
            method: "POST",
            path: "/crp/v1/message".into(),
            content_type: "application/crp",
            authorization: None,
            unless: None,
            most: MAX_ANSWER,
            body: Vec::new(),
            timeout: Duration::from_secs(2),
        })
    }
}

impl Approvals for Fake {
    fn ask(&self, ask: Ask, _: Moment) -> Turn<Told> {
        self.asked.borrow_mut().push(ask);
        Self::call()
    }

    fn poll(&self, id: [u8; 16], subject_hash: [u8; 32], _: Moment) -> Turn<Told> {
        self.polled.borrow_mut().push((id, subject_hash));
        Self::call()
    }

    fn heard(&self, _: CallId, result: CallResult, _: Moment) -> Turn<Told> {
        match result {
            Ok(_) => Turn::Answer(self.told.get()),
            Err(_) => Turn::Failed(KeyServiceFault::Unreachable),
        }
    }

    fn abandon(&self, _: CallId) {
        self.abandoned.set(self.abandoned.get() + 1);
    }
}

struct Obliges(Obligations);

impl Policy for Obliges {
    fn reads_content(&self) -> bool {
        false
    }

    fn decide(&self, _: &Question<'_>) -> Result<Answer, PolicyReason> {
        Ok(Answer::Allow(Changes::default(), self.0.clone()))
    }
}

struct Site {
    gate: Gate,
    approvals: Rc<Fake>,
}

fn site(duties: Obligations, change: impl FnOnce(&mut Value)) -> Site {
    let mut document = document();
    document["policy"] = json!({"rego": {"inline": "package envoy.authz"}});
    document["approvals"] = json!({"page": "https://keys.example/.postern/approvals"});
    change(&mut document);
    let config = Config::parse(document.to_string().as_bytes()).unwrap();
    let approvals = Rc::new(Fake {
        told: Cell::new(standing(State::Pending, false)),
        asked: RefCell::default(),
        polled: RefCell::default(),
        abandoned: Cell::new(0),
    });
    let loaded = Loaded {
        config,
        policy: Some(Rc::new(Obliges(duties))),
        tallies: None,
        invites: None,
        approvals: Some(Rc::clone(&approvals) as _),
    };
    Site { gate: Gate::loaded(loaded), approvals }
}

fn approval() -> Obligations {
    Obligations { approval: true, ..Obligations::default() }
}

fn standing(state: State, claimed: bool) -> Told {
    Ok(Standing { id: ID, state, claimed, expires: NOW.after(Duration::from_secs(600)) })
}

impl Site {
    fn begin(&self, lines: &[(&str, &str)], content: &[u8]) -> Run {
        let mut run = Run::new(self.gate.pipeline.stream());
        run.event(headers(fields(lines), content.is_empty()));
        if !content.is_empty() {
            run.event(Event::RequestBody { chunk: content.to_vec(), end: true });
        }
        run
    }

    fn told(&self, lines: &[(&str, &str)], told: Told) -> Run {
        self.approvals.told.set(told);
        let mut run = self.begin(lines, b"");
        run.event(reply_to(7, true));
        run
    }
}

#[test]
fn what_an_approval_is_asked_for_is_what_the_permit_is_about() {
    let site = site(approval(), |_| {});
    let slack = ("authorization", "Bearer <CREDENTIAL:slack>");
    let lines = [slack, ("x-idempotency", "7"), ("x-other", "1"), ("postern-approval", "new")];
    let mut run = site.begin(&lines, b"hello");
    assert_eq!((run.calls, run.outcome()), (1, Outcome::Waiting));
    let asked = site.approvals.asked.borrow()[0].clone();
    assert_eq!(asked.credentials, ["slack"]);
    assert_eq!((asked.agent.as_str(), asked.user.as_str()), ("bot", "u1"));
    assert_eq!((asked.named, asked.passkey), (None, false));
    let names: Vec<&str> = asked.requested.fields.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["authorization", "x-idempotency"]);
    assert_eq!(
        (asked.requested.content.as_slice(), asked.requested.content_length),
        (&b"hello"[..], 5)
    );
    assert!(asked.requested.is_true());
    site.approvals.told.set(standing(State::Used, true));
    assert_eq!(run.event(reply_to(7, true)), Flow::Continue);
    let permit = run.permit().unwrap();
    assert_eq!(permit.request_digest(), asked.requested.digest());
    assert_eq!((permit.approval(), permit.subject_hash()), (Some(ID), asked.subject_hash));
    assert!(run.removed.iter().any(|name| name == "postern-approval"));
}

#[test]
fn of_a_megabyte_of_hostile_text_the_first_sixteen_kib_are_shown_and_all_of_it_is_bound() {
    let site = site(approval(), |document| document["body_limit"] = json!("2MiB"));
    let content = "\u{202e}\u{200b}\u{1b}[2J".repeat(100_000).into_bytes();
    let mut run = Run::new(site.gate.pipeline.stream());
    run.event(headers(fields(&[]), false));
    for (index, chunk) in content.chunks(70_001).enumerate() {
        let end = (index + 1) * 70_001 >= content.len();
        run.event(Event::RequestBody { chunk: chunk.to_vec(), end });
    }
    let requested = site.approvals.asked.borrow()[0].requested.clone();
    assert_eq!(requested.content, content[..16 * 1024]);
    assert_eq!(requested.content_length, content.len() as u64);
    assert!(requested.is_true());
    site.approvals.told.set(standing(State::Used, true));
    run.event(reply_to(7, true));
    let permit = run.permit().unwrap();
    assert_eq!(permit.content_digest(), requested.content_digest);
    assert_eq!(permit.request_digest(), requested.digest());
}

#[test]
fn each_standing_has_its_answer() {
    let site = site(approval(), |_| {});
    for (told, want) in [
        (standing(State::Pending, false), refused(428, "approval_required", "approval_policy")),
        (standing(State::Approved, false), refused(428, "approval_required", "approval_policy")),
        (standing(State::Expired, false), refused(428, "approval_required", "approval_policy")),
        (standing(State::Denied, false), refused(403, "policy_denied", "approval_denied")),
        (standing(State::Used, false), refused(409, "approval_used", "approval_used")),
        (Err(NotTold::Rate), refused(429, "rate_limited", "approvals_rate")),
        (Err(NotTold::Unknown), refused(403, "policy_denied", "approval_unknown")),
        // A claim of anything but a used one is none.
        (standing(State::Approved, true), refused(428, "approval_required", "approval_policy")),
    ] {
        let run = site.told(&[], told);
        assert_eq!((run.outcome(), run.permit()), (want, None), "{told:?}");
    }
    let run = site.told(&[], standing(State::Used, true));
    assert!(matches!(run.outcome(), Outcome::Allowed { .. }));
}

#[test]
fn a_refusal_says_where_to_decide_and_where_to_ask() {
    let run = site(approval(), |_| {}).told(&[], standing(State::Pending, false));
    let reply = run.replies.last().unwrap();
    let document: Value = serde_json::from_slice(&reply.content).unwrap();
    let id = "ab".repeat(16);
    assert_eq!(document["approval"], id);
    assert_eq!(document["state"], "pending");
    assert_eq!(document["link"], format!("https://keys.example/.postern/approvals/{id}"));
    assert_eq!(document["poll"], format!("/.postern/approval/{id}"));
    assert_eq!(document["expires"], NOW.seconds() + 600);
    assert!(reply.fields.contains(&("retry-after".to_owned(), "5".to_owned())));
}

#[test]
fn a_caller_that_names_an_approval_has_it_used_even_where_no_policy_asks() {
    let site = site(Obligations::default(), |_| {});
    let id = "ab".repeat(16);
    let run = site.told(&[("postern-approval", &id)], standing(State::Used, true));
    assert_eq!(run.permit().unwrap().approval(), Some(ID));
    assert_eq!(site.approvals.asked.borrow()[0].named, Some(ID));
    for other in ["new", "AB", "", "abab"] {
        let run = site.told(&[("postern-approval", other)], standing(State::Pending, false));
        assert_eq!(run.outcome(), refused(428, "approval_required", "approval_asked"), "{other}");
        assert_eq!(site.approvals.asked.borrow().last().unwrap().named, None, "{other}");
    }
    let run = site.begin(&[], b"");
    assert_eq!((run.calls, run.permit().unwrap().approval()), (0, None));
}

#[test]
fn without_an_answer_nothing_goes_on() {
    let site = site(approval(), |_| {});
    let mut run = site.begin(&[], b"");
    run.event(reply_to(7, false));
    let away = |why| refused(503, "key_service_unavailable", why);
    assert_eq!(run.outcome(), away("unreachable"));
    let mut run = site.begin(&[], b"");
    run.advance(Duration::from_millis(1999));
    run.event(Event::Tick);
    assert_eq!(run.outcome(), Outcome::Waiting);
    run.advance(Duration::from_millis(1));
    run.event(Event::Tick);
    assert_eq!(run.outcome(), away("timed_out"));
    assert_eq!(site.approvals.abandoned.get(), 1);
    let mut run = site.begin(&[], b"");
    run.event(reply_to(8, true));
    assert_eq!(run.outcome(), refused(500, "internal", "unexpected_event"));
    let mut run = site.begin(&[], b"");
    run.event(Event::Done);
    assert_eq!((run.permit(), site.approvals.abandoned.get()), (None, 3));
}

#[test]
fn who_is_revoked_meanwhile_does_not_go_on() {
    let site = site(approval(), |_| {});
    site.approvals.told.set(standing(State::Used, true));
    let mut run = site.begin(&[], b"");
    site.gate.revocations.revoked.borrow_mut().push((crate::revocation::Kind::Agent, "bot".into()));
    run.event(reply_to(7, true));
    assert_eq!(run.outcome(), refused(401, "invalid_token", "revoked"));
}

#[test]
fn without_the_section_what_needs_an_approval_is_refused_and_nobody_is_asked() {
    let site = site(approval(), |document| document["approvals"] = Value::Null);
    let run = site.begin(&[], b"");
    assert_eq!(run.outcome(), refused(428, "approval_required", "approval_policy"));
    assert_eq!(site.approvals.asked.borrow().len(), 0);
}

#[test]
fn a_caller_polls_for_its_own_approval() {
    let site = site(approval(), |_| {});
    let path = format!("/.postern/approval/{}", "ab".repeat(16));
    let lines = [(":method", "GET"), (":path", path.as_str())];
    let run = site.told(&lines, standing(State::Pending, false));
    let reply = run.replies.last().unwrap();
    assert_eq!(reply.status, 200);
    let document: Value = serde_json::from_slice(&reply.content).unwrap();
    let want = json!({
        "approval": "ab".repeat(16), "state": "pending", "expires": NOW.seconds() + 600,
    });
    assert_eq!(document, want);
    let (id, subject) = site.approvals.polled.borrow()[0];
    let run = site.told(&[], standing(State::Used, true));
    assert_eq!((id, subject), (ID, run.permit().unwrap().subject_hash()));
    let run = site.told(&lines, Err(NotTold::Unknown));
    assert_eq!(run.outcome(), refused(403, "policy_denied", "approval_unknown"));
    let mut away = site.begin(&lines, b"");
    away.event(reply_to(7, false));
    assert_eq!(away.outcome(), refused(503, "key_service_unavailable", "unreachable"));
    let anonymous = [(":method", "GET"), (":path", path.as_str()), ("x-tap-key", "nobody")];
    let run = site.begin(&anonymous, b"");
    assert_eq!(run.calls, 0);
    assert!(matches!(run.outcome(), Outcome::Refused(401, ..)));
}

#[test]
fn a_gate_that_does_not_hold_content_asks_for_no_approvals() {
    let mut document = document();
    document["approvals"] = json!({});
    for (body, good) in [("hold", true), ("stream", false), ("off", false)] {
        document["body"] = json!(body);
        assert_eq!(Config::parse(document.to_string().as_bytes()).is_ok(), good, "{body}");
    }
}

#[test]
fn the_section_says_what_is_wrong_with_it() {
    for (section, part) in [
        (json!({"page": "http://keys.example"}), "approvals.page"),
        (json!({"page": "https://keys.example/\"x"}), "approvals.page"),
        (json!({"page": "https://keys.example/?q"}), "approvals.page"),
        (json!({"poll": "/a/**"}), "approvals.poll"),
        (json!({"life": "29s"}), "approvals.life"),
        (json!({"life": "25h"}), "approvals.life"),
        (json!({"retry_after": "0s"}), "approvals.retry_after"),
        (json!({"colour": "red"}), "colour"),
    ] {
        let mut document = document();
        document["approvals"] = section;
        let problem = Config::parse(document.to_string().as_bytes()).unwrap_err().to_string();
        assert!(problem.contains(part), "{part}: {problem}");
    }
}
