//! Approvals: asked for by gates, decided by people.
#![allow(clippy::unwrap_used)]

mod support;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64;
use postern_core::approvals::{Ask, Requested, State};
use postern_crp::message::store::Guard;
use postern_crp::message::{Message, Status, approval};
use postern_keys::approvals::{
    self, Content, Decider, Filter, How, Preview, Refusal, Ruling, Verdict, challenge,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use support::approvals::*;
use support::*;

#[tokio::test]
async fn an_approved_request_is_let_go_once() {
    let world = World::in_memory().await;
    let acme = world.tenant("acme").await;
    let id = pending(&world, &acme).await;
    assert_eq!(poll(&world, &acme, id, NOW).await.unwrap().state, State::Pending);
    assert_eq!(ask(&world, &acme, named(id), NOW).await.unwrap().state, State::Pending);
    approve(&world, &id).await;
    let told = ask(&world, &acme, asking(CONTENT), NOW).await.unwrap();
    assert_eq!((told.id, told.state, told.claimed), (id, State::Approved, false));
    let used = ask(&world, &acme, named(id), NOW).await.unwrap();
    assert_eq!((used.id, used.state, used.claimed), (id, State::Used, true));
    let again = ask(&world, &acme, named(id), NOW).await.unwrap();
    assert_eq!((again.id, again.state, again.claimed), (id, State::Used, false));
    let decisions = |events: Vec<Value>| -> Vec<String> {
        events.iter().map(|event| event["decision"].as_str().unwrap_or("").to_owned()).collect()
    };
    assert_eq!(events(&world, &acme, "approval_requested").await.len(), 1);
    assert_eq!(decisions(events(&world, &acme, "approval_decided").await), ["taken"]);
    assert_eq!(decisions(events(&world, &acme, "approval_used").await), ["used", "refused"]);
}

#[tokio::test]
async fn a_person_sees_the_request_that_the_approval_is_bound_to() {
    let world = World::in_memory().await;
    let acme = world.tenant("acme").await;
    let id = pending(&world, &acme).await;
    let listed = approvals::list(&world.service, "acme", Filter::Pending, NOW).await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!((listed[0].id, &listed[0].preview), (id, &None));
    let shown = approvals::show(&world.service, "acme", &id).await.unwrap().unwrap();
    assert_eq!(shown.digest, requested(CONTENT).digest());
    assert_eq!(
        shown.preview,
        Some(Preview {
            method: "POST".into(),
            scheme: "https".into(),
            authority: "gateway.test".into(),
            path: "/api/chat.postMessage".into(),
            query: vec![("as".into(), "bot".into())],
            fields: vec![("content-type".into(), "application/json".into())],
            content: Content::Text { text: String::from_utf8_lossy(CONTENT).into(), more: 0 },
        })
    );
    assert_eq!(shown.challenge(), challenge(&id, &shown.digest));
    assert!(approvals::show(&world.service, "other", &id).await.unwrap().is_none());
}

#[tokio::test]
async fn content_is_shown_as_what_it_is() {
    let world = World::in_memory().await;
    let acme = world.tenant("acme").await;
    let long = format!("a{}", "ä".repeat(9000));
    let cut = Requested {
        content: long.as_bytes()[..16 * 1024].to_vec(),
        content_digest: Some(Sha256::digest(long.as_bytes()).into()),
        content_length: long.len() as u64,
        ..requested(b"")
    };
    let shown = format!("a{}", "ä".repeat(8191));
    let rows = [
        (requested(b""), Content::None),
        (requested(b"\xff\xfe\0"), Content::Binary { bytes: 3 }),
        (requested(b"a\0b"), Content::Binary { bytes: 3 }),
        (cut, Content::Text { text: shown, more: 18_000 - 2 * 8191 }),
        (
            Requested {
                content_digest: None,
                content_length: 0,
                content: Vec::new(),
                ..requested(b"")
            },
            Content::Unread,
        ),
    ];
    for (at, (requested, want)) in rows.into_iter().enumerate() {
        let asked = Ask { requested, ..asking(b"") };
        let told = ask(&world, &acme, asked, NOW).await.unwrap();
        let shown = approvals::show(&world.service, "acme", &told.id).await.unwrap().unwrap();
        assert_eq!(shown.preview.unwrap().content, want, "row {at}");
    }
}

#[tokio::test]
async fn content_that_is_not_what_is_bound_is_no_message() {
    let world = World::in_memory().await;
    let acme = world.tenant("acme").await;
    let lies = Requested { content: b"other".to_vec(), content_length: 5, ..requested(CONTENT) };
    let asked = approval::Request::Ask(Box::new(Ask { requested: lies, ..asking(CONTENT) }));
    let (body, _) = world.sealed(&acme.gate, &Message::Approval(asked), NOW).await;
    assert_eq!(world.service.message(&body, NOW).await.status, 400);
}

#[tokio::test]
async fn an_approval_is_for_one_request_of_one_caller() {
    let world = World::in_memory().await;
    let acme = world.tenant("acme").await;
    let id = pending(&world, &acme).await;
    approve(&world, &id).await;
    let rows: [Change; 9] = [
        |ask| ask.requested.method = "PUT".into(),
        |ask| ask.requested.scheme = "http".into(),
        |ask| ask.requested.authority = "other.test".into(),
        |ask| ask.requested.path.push('2'),
        |ask| ask.requested.fields.clear(),
        |ask| ask.requested = requested(b"other"),
        |ask| ask.subject_hash = [9; 32],
        |ask| ask.agent = "other".into(),
        |ask| ask.named = Some([7; 16]),
    ];
    for (at, change) in rows.into_iter().enumerate() {
        let mut asked = named(id);
        change(&mut asked);
        let told = ask(&world, &acme, asked, NOW).await.unwrap();
        assert!(!told.claimed, "row {at}");
    }
    assert!(ask(&world, &acme, named(id), NOW).await.unwrap().claimed);
}

#[tokio::test]
async fn another_tenants_approval_is_unknown() {
    let world = World::in_memory().await;
    let (acme, other) = (world.tenant("acme").await, world.tenant("other").await);
    let id = pending(&world, &acme).await;
    approve(&world, &id).await;
    assert_eq!(poll(&world, &other, id, NOW).await, Err(Status::Denied));
    let told = ask(&world, &other, named(id), NOW).await.unwrap();
    assert!(told.id != id && told.state == State::Pending);
    let yes = Ruling::of(Verdict::Approve);
    let elsewhere = Decider::pretend("other", "bea", How::Person);
    let foreign = approvals::decide(&world.service, &id, &elsewhere, &yes, NOW).await.unwrap();
    assert_eq!(foreign.unwrap_err(), Refusal::Unknown);
    let path = format!("/api/v1/approvals/{}", hex(&id));
    assert_eq!(world.operate(&other.operator, "GET", &path, b"", NOW).await.status, 404);
    let path = format!("{path}/deny");
    assert_eq!(world.operate(&other.operator, "POST", &path, b"", NOW).await.status, 404);
    let spoofed = Party { tenant: "acme".into(), ..other.gate };
    let request = approval::Request::Poll { id, subject_hash: [1; 32] };
    assert_eq!(tell(&world, &spoofed, request, NOW).await, Err(Status::Denied));
}

#[tokio::test]
async fn another_caller_learns_nothing() {
    let world = World::in_memory().await;
    let acme = world.tenant("acme").await;
    let id = pending(&world, &acme).await;
    for (id, subject_hash) in [(id, [2; 32]), ([3; 16], [1; 32])] {
        let request = approval::Request::Poll { id, subject_hash };
        assert_eq!(tell(&world, &acme.gate, request, NOW).await, Err(Status::Denied));
    }
}

#[tokio::test]
async fn who_asked_does_not_decide_and_nobody_counts_twice() {
    let world = World::in_memory().await;
    let acme = world.tenant("acme").await;
    guarded(&world, &acme, Guard { approvers: 2, ..WRITES }).await;
    let id = pending(&world, &acme).await;
    let yes = Ruling::of(Verdict::Approve);
    for name in ["ada", "helper", ""] {
        let decided = decide(&world, &id, &person(name), &yes, NOW).await;
        assert_eq!(decided, Err(Refusal::Requester), "{name}");
    }
    assert_eq!(decide(&world, &id, &person("bea"), &yes, NOW).await, Ok(State::Pending));
    assert_eq!(decide(&world, &id, &person("bea"), &yes, NOW).await, Err(Refusal::Twice));
    assert!(!ask(&world, &acme, named(id), NOW).await.unwrap().claimed);
    assert_eq!(released(&world, &acme, under(Some(id)), NOW).await, Status::NeedsApproval);
    assert_eq!(decide(&world, &id, &person("cem"), &yes, NOW).await, Ok(State::Approved));
    let late = decide(&world, &id, &person("dan"), &yes, NOW).await;
    assert_eq!(late, Err(Refusal::Over(State::Approved)));
    assert_eq!(released(&world, &acme, under(Some(id)), NOW).await, Status::Ok);
}

#[tokio::test]
async fn one_no_is_enough() {
    let world = World::in_memory().await;
    let acme = world.tenant("acme").await;
    guarded(&world, &acme, Guard { approvers: 2, ..WRITES }).await;
    let id = pending(&world, &acme).await;
    let yes = Ruling::of(Verdict::Approve);
    let no = Ruling::of(Verdict::Deny);
    assert_eq!(decide(&world, &id, &person("bea"), &yes, NOW).await, Ok(State::Pending));
    assert_eq!(decide(&world, &id, &person("cem"), &no, NOW).await, Ok(State::Denied));
    let told = ask(&world, &acme, asking(CONTENT), NOW).await.unwrap();
    assert_eq!((told.id, told.state), (id, State::Denied));
    let told = ask(&world, &acme, named(id), NOW).await.unwrap();
    assert_eq!((told.id, told.state, told.claimed), (id, State::Denied, false));
    assert_eq!(released(&world, &acme, under(Some(id)), NOW).await, Status::NeedsApproval);
}

#[tokio::test]
async fn only_a_passkey_approves_what_needs_one() {
    let world = World::in_memory().await;
    let acme = world.tenant("acme").await;
    guarded(&world, &acme, Guard { passkey: true, ..WRITES }).await;
    let id = pending(&world, &acme).await;
    let yes = Ruling::of(Verdict::Approve);
    let operator = Decider::pretend("acme", "operator:00", How::Operator);
    let elsewhere = Decider::pretend("acme", "bea", How::Passkey([9; 16]));
    for decider in [person("bea"), operator, elsewhere] {
        let decided = decide(&world, &id, &decider, &yes, NOW).await;
        assert_eq!(decided, Err(Refusal::NeedsPasskey), "{decider:?}");
    }
    let passkey = Decider::pretend("acme", "bea", How::Passkey(id));
    let granting = Ruling { grant_seconds: Some(60), ..yes.clone() };
    assert_eq!(decide(&world, &id, &passkey, &granting, NOW).await, Err(Refusal::Grant));
    assert_eq!(released(&world, &acme, under(None), NOW).await, Status::NeedsPasskey);
    assert_eq!(decide(&world, &id, &passkey, &yes, NOW).await, Ok(State::Approved));
    assert_eq!(released(&world, &acme, under(Some(id)), NOW).await, Status::Ok);
}

#[tokio::test]
async fn an_approval_of_a_lesser_class_does_not_serve_when_the_class_is_raised() {
    let world = World::in_memory().await;
    let acme = world.tenant("acme").await;
    guarded(&world, &acme, WRITES).await;
    let id = pending(&world, &acme).await;
    approve(&world, &id).await;
    for guard in [Guard { passkey: true, ..WRITES }, Guard { approvers: 2, ..WRITES }] {
        guarded(&world, &acme, guard).await;
        let told = ask(&world, &acme, named(id), NOW).await.unwrap();
        assert!(!told.claimed && told.id != id, "{guard:?}");
        assert_ne!(released(&world, &acme, under(Some(id)), NOW).await, Status::Ok, "{guard:?}");
    }
}

#[tokio::test]
async fn what_nobody_can_see_nobody_approves() {
    let world = World::on_disk().await;
    let acme = world.tenant("acme").await;
    let id = pending(&world, &acme).await;
    let pool = world.database().await;
    sqlx::query("DELETE FROM approval_previews").execute(&pool).await.unwrap();
    pool.close().await;
    let (yes, no) = (Ruling::of(Verdict::Approve), Ruling::of(Verdict::Deny));
    assert_eq!(decide(&world, &id, &person("bea"), &yes, NOW).await, Err(Refusal::Unseen));
    // Asked for again, it is another one, which can be seen.
    let again = pending(&world, &acme).await;
    assert_ne!(again, id);
    approve(&world, &again).await;
    assert!(decide(&world, &id, &person("bea"), &no, NOW).await.is_ok());
}

#[tokio::test]
async fn callers_without_an_agent_do_not_share_a_quota() {
    let world = World::in_memory().await;
    let acme = world.tenant("acme").await;
    let of = |subject: u8, n: u8| Ask {
        agent: String::new(),
        subject_hash: [subject; 32],
        ..asking(&[b'a', n])
    };
    for n in 0..8 {
        ask(&world, &acme, of(1, n), NOW).await.unwrap();
    }
    assert!(ask(&world, &acme, of(1, 8), NOW).await.is_err());
    ask(&world, &acme, of(2, 0), NOW).await.unwrap();
}

#[tokio::test]
async fn a_person_is_asked_only_so_often() {
    let world = World::in_memory().await;
    let acme = world.tenant("acme").await;
    for n in 0..8_u8 {
        assert!(ask(&world, &acme, asking(&[n]), NOW).await.is_ok(), "{n}");
    }
    assert_eq!(ask(&world, &acme, asking(b"x"), NOW).await, Err(Status::Rate));
    let other_key = Ask { subject_hash: [2; 32], ..asking(b"x") };
    assert_eq!(ask(&world, &acme, other_key, NOW).await, Err(Status::Rate));
    let other_agent = Ask { agent: "b".into(), subject_hash: [2; 32], ..asking(b"x") };
    assert!(ask(&world, &acme, other_agent, NOW).await.is_ok());
    assert!(ask(&world, &acme, asking(&[0]), NOW).await.is_ok(), "what is there already is told");
    let no = Ruling::of(Verdict::Deny);
    let mut asked = 8;
    while asked < 60 {
        for waiting in approvals::list(&world.service, "acme", Filter::Pending, NOW).await.unwrap()
        {
            let _ = decide(&world, &waiting.id, &person("bea"), &no, NOW).await;
        }
        for _ in 0..8.min(60 - asked) {
            let content = format!("more {asked}");
            assert!(ask(&world, &acme, asking(content.as_bytes()), NOW).await.is_ok(), "{asked}");
            asked += 1;
        }
    }
    for waiting in approvals::list(&world.service, "acme", Filter::Pending, NOW).await.unwrap() {
        let _ = decide(&world, &waiting.id, &person("bea"), &no, NOW).await;
    }
    assert_eq!(ask(&world, &acme, asking(b"61st"), NOW).await, Err(Status::Rate));
    assert!(ask(&world, &acme, asking(b"61st"), later(3_600_001)).await.is_ok());
}

#[tokio::test]
async fn an_operator_decides_over_its_interface() {
    let world = World::in_memory().await;
    let acme = world.tenant("acme").await;
    let id = pending(&world, &acme).await;
    let path = format!("/api/v1/approvals/{}", hex(&id));
    let shown = world.operate(&acme.operator, "GET", &path, b"", NOW).await;
    let shown: Value = serde_json::from_slice(&shown.body).unwrap();
    assert_eq!(shown["preview"]["content"]["kind"], "text");
    assert_eq!(
        (&shown["state"], &shown["requester"]["agent"]),
        (&json!("pending"), &json!("helper"))
    );
    let list = world.operate(&acme.operator, "GET", "/api/v1/approvals", b"", NOW).await;
    let list: Value = serde_json::from_slice(&list.body).unwrap();
    assert_eq!(list["approvals"][0]["preview"], Value::Null);
    let said = json!({"reason": "weekly", "grant": true}).to_string();
    let approve = format!("{path}/approve");
    let answer = world.operate(&acme.operator, "POST", &approve, said.as_bytes(), NOW).await;
    let answer: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(answer["state"], "approved");
    assert_eq!(answer["grant_until"], later(1_800_000).0);
    assert_eq!(answer["decisions"][0]["reason"], "weekly");
    let export = world.export(&acme, NOW).await;
    assert!(!export.contains(&B64.encode("weekly")), "reasons are in no event");
    let again = world.operate(&acme.operator, "POST", &approve, b"", NOW).await;
    assert_eq!(again.status, 409);
    for (method, path, body, want) in [
        ("GET", "/api/v1/approvals?state=odd", "", 400),
        ("GET", "/api/v1/approvals/xyz", "", 404),
        ("POST", approve.as_str(), "{\"colour\":1}", 400),
    ] {
        let answer = world.operate(&acme.operator, method, path, body.as_bytes(), NOW).await;
        assert_eq!(answer.status, want, "{method} {path}");
    }
}
