//! Approvals: asked for by gates, decided by people, used once.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64;
use postern_core::approvals::{Ask, Requested, Standing, State};
use postern_core::time::UnixMillis;
use postern_crp::message::store::{Guard, Needed};
use postern_crp::message::{Answer, Message, Status, approval, release};
use postern_keys::approvals::{
    self, Content, Decider, Filter, How, Preview, Refusal, Ruling, Verdict, challenge,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use support::*;

const CONTENT: &[u8] = br#"{"text":"preview-that-must-not-stay"}"#;

fn requested(content: &[u8]) -> Requested {
    Requested {
        method: "POST".into(),
        scheme: "https".into(),
        authority: "gateway.test".into(),
        path: "/api/chat.postMessage?as=bot".into(),
        fields: vec![("content-type".into(), b"application/json".to_vec())],
        content_digest: Some(Sha256::digest(content).into()),
        content_length: content.len() as u64,
        content: content.to_vec(),
    }
}

fn asking(content: &[u8]) -> Ask {
    Ask {
        agent: "helper".into(),
        user: "ada".into(),
        organisation: "engines".into(),
        subject_hash: [1; 32],
        passkey: false,
        life: Duration::from_secs(600),
        named: None,
        requested: requested(content),
        credentials: vec!["slack".into()],
    }
}

type Told = Result<Standing, Status>;

async fn tell(world: &World, party: &Party, request: approval::Request, now: UnixMillis) -> Told {
    match world.ask(party, &Message::Approval(request), now).await {
        Answer::Approval(answer) => Ok(answer.standing),
        answer => Err(status(&answer)),
    }
}

async fn ask(world: &World, tenant: &Tenant, ask: Ask, now: UnixMillis) -> Told {
    tell(world, &tenant.gate, approval::Request::Ask(Box::new(ask)), now).await
}

async fn poll(world: &World, tenant: &Tenant, id: [u8; 16], now: UnixMillis) -> Told {
    let request = approval::Request::Poll { id, subject_hash: [1; 32] };
    tell(world, &tenant.gate, request, now).await
}

fn named(id: [u8; 16]) -> Ask {
    Ask { named: Some(id), ..asking(CONTENT) }
}

fn person(name: &str) -> Decider {
    Decider { name: name.into(), how: How::Person }
}

async fn decide(
    world: &World,
    id: &[u8; 16],
    by: &Decider,
    ruling: &Ruling,
    now: UnixMillis,
) -> Result<State, Refusal> {
    let decided = approvals::decide(&world.service, "acme", id, by, ruling, now).await.unwrap();
    decided.map(|approval| approval.state(now))
}

async fn approve(world: &World, id: &[u8; 16]) {
    let yes = Ruling::of(Verdict::Approve);
    assert_eq!(decide(world, id, &person("bea"), &yes, NOW).await, Ok(State::Approved));
}

async fn pending(world: &World, acme: &Tenant) -> [u8; 16] {
    let told = ask(world, acme, asking(CONTENT), NOW).await.unwrap();
    assert_eq!((told.state, told.claimed), (State::Pending, false));
    told.id
}

async fn guarded(world: &World, tenant: &Tenant, guard: Guard) {
    let store = postern_crp::message::store::Request { guard, ..storing("acme", b"xoxb-secret") };
    let answer = world.ask(&tenant.operator, &Message::Store(store), NOW).await;
    assert!(matches!(answer, Answer::Store(_)));
}

fn under(approval: Option<[u8; 16]>) -> release::Request {
    release::Request { request_digest: requested(CONTENT).digest(), approval, ..releasing("acme") }
}

async fn released(
    world: &World,
    tenant: &Tenant,
    request: release::Request,
    now: UnixMillis,
) -> Status {
    world.release(&tenant.credential, request, now).await.status
}

const WRITES: Guard = Guard { approval: Needed::Writes, passkey: false, approvers: 1 };

/// Events of the log of this kind: decision and reason.
async fn events(world: &World, tenant: &Tenant, kind: &str) -> Vec<Value> {
    let export = world.export(tenant, NOW).await;
    let event = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        let bytes = B64.decode(line["bytes"].as_str()?).ok()?;
        let event: Value = serde_json::from_slice(&bytes).unwrap();
        (event["kind"] == kind).then_some(event)
    };
    export.lines().skip(1).filter_map(event).collect()
}

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
    let long = "ä".repeat(9000);
    let cut = Requested {
        content: long.as_bytes()[..16 * 1024 - 1].to_vec(),
        content_digest: Some(Sha256::digest(long.as_bytes()).into()),
        content_length: long.len() as u64,
        ..requested(b"")
    };
    let shown = "ä".repeat(8191);
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

type Change = fn(&mut Ask);

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
    let foreign =
        approvals::decide(&world.service, "other", &id, &person("bea"), &yes, NOW).await.unwrap();
    assert_eq!(foreign.unwrap_err(), Refusal::Unknown);
    let path = format!("/api/v1/approvals/{}", hex(&id));
    assert_eq!(world.operate(&other.operator, "GET", &path, b"", NOW).await.status, 404);
    let path = format!("{path}/deny");
    assert_eq!(world.operate(&other.operator, "POST", &path, b"", NOW).await.status, 404);
    let spoofed = Party { tenant: "acme".into(), ..other.gate };
    let request = approval::Request::Poll { id, subject_hash: [1; 32] };
    assert_eq!(tell(&world, &spoofed, request, NOW).await, Err(Status::Denied));
}

fn hex(id: &[u8; 16]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
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
    let operator = Decider { name: "operator:00".into(), how: How::Operator };
    for decider in [person("bea"), operator] {
        let decided = decide(&world, &id, &decider, &yes, NOW).await;
        assert_eq!(decided, Err(Refusal::NeedsPasskey), "{decider:?}");
    }
    let passkey = Decider { name: "bea".into(), how: How::Passkey };
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

type Bend = fn(&mut release::Request);

#[tokio::test]
async fn a_credential_that_wants_approvals_is_released_under_one_for_exactly_this() {
    let world = World::in_memory().await;
    let acme = world.tenant("acme").await;
    guarded(&world, &acme, WRITES).await;
    let id = pending(&world, &acme).await;
    assert_eq!(released(&world, &acme, under(None), NOW).await, Status::NeedsApproval);
    assert_eq!(released(&world, &acme, under(Some(id)), NOW).await, Status::NeedsApproval);
    approve(&world, &id).await;
    let rows: [Bend; 5] = [
        |r| r.request_digest = [9; 32],
        |r| r.caller_hash = [9; 32],
        |r| r.agent = "other".into(),
        |r| r.approval = Some([9; 16]),
        |r| r.approval = None,
    ];
    for (at, bend) in rows.into_iter().enumerate() {
        let mut request = under(Some(id));
        bend(&mut request);
        assert_eq!(released(&world, &acme, request, NOW).await, Status::NeedsApproval, "row {at}");
    }
    let answer = world.release(&acme.credential, under(Some(id)), NOW).await;
    assert_eq!((answer.status, answer.ttl_s, answer.max_uses), (Status::Ok, 0, 1));
    assert_eq!(released(&world, &acme, under(Some(id)), NOW).await, Status::NeedsApproval);
    assert!(!ask(&world, &acme, named(id), NOW).await.unwrap().claimed);
    let mut read = under(None);
    read.method = "GET".into();
    assert_eq!(released(&world, &acme, read, NOW).await, Status::Ok);
}

#[tokio::test]
async fn every_release_means_reads_too() {
    let world = World::in_memory().await;
    let acme = world.tenant("acme").await;
    guarded(&world, &acme, Guard { approval: Needed::EveryRelease, ..WRITES }).await;
    let mut read = under(None);
    read.method = "GET".into();
    assert_eq!(released(&world, &acme, read, NOW).await, Status::NeedsApproval);
    let list = world.operate(&acme.operator, "GET", "/api/v1/credentials", b"", NOW).await;
    let list: Value = serde_json::from_slice(&list.body).unwrap();
    let slack = &list["credentials"][0];
    let shown = (&slack["approval"], &slack["require_passkey"], &slack["approvers"]);
    assert_eq!(shown, (&json!("every_release"), &json!(false), &json!(1)));
    assert_eq!(slack["bindings"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn an_approval_without_the_credential_does_not_release_it() {
    let world = World::in_memory().await;
    let acme = world.tenant("acme").await;
    guarded(&world, &acme, WRITES).await;
    let asked = Ask { credentials: vec!["other".into()], ..asking(CONTENT) };
    let id = ask(&world, &acme, asked, NOW).await.unwrap().id;
    approve(&world, &id).await;
    assert_eq!(released(&world, &acme, under(Some(id)), NOW).await, Status::NeedsApproval);
}

#[tokio::test]
async fn what_is_over_is_over() {
    let world = World::in_memory().await;
    let acme = world.tenant("acme").await;
    guarded(&world, &acme, WRITES).await;
    let id = pending(&world, &acme).await;
    let yes = Ruling::of(Verdict::Approve);
    let end = later(600_000);
    let late = decide(&world, &id, &person("bea"), &yes, end).await;
    assert_eq!(late, Err(Refusal::Over(State::Expired)));
    assert_eq!(poll(&world, &acme, id, end).await.unwrap().state, State::Expired);
    let told = ask(&world, &acme, named(id), end).await.unwrap();
    assert!(told.id != id && told.state == State::Pending);
    let last = UnixMillis(told.expires.0 - 1);
    assert_eq!(decide(&world, &told.id, &person("bea"), &yes, last).await, Ok(State::Approved));
    let usable = UnixMillis(last.0 + approvals::USE_MS - 1);
    let used = ask(&world, &acme, named(told.id), usable).await.unwrap();
    assert!(used.claimed);
    let late = UnixMillis(usable.0 + approvals::CLAIM_MS);
    assert_eq!(released(&world, &acme, under(Some(told.id)), late).await, Status::NeedsApproval);
    let soon = UnixMillis(late.0 - 1);
    assert_eq!(released(&world, &acme, under(Some(told.id)), soon).await, Status::Ok);
}

#[tokio::test]
async fn a_grant_covers_alike_requests_until_it_ends_or_is_revoked() {
    let world = World::in_memory().await;
    let acme = world.tenant("acme").await;
    let id = pending(&world, &acme).await;
    let ruling = Ruling { grant_seconds: Some(1800), ..Ruling::of(Verdict::Approve) };
    assert_eq!(decide(&world, &id, &person("bea"), &ruling, NOW).await, Ok(State::Approved));
    let other = |content: &[u8]| asking(content);
    let told = ask(&world, &acme, other(b"2"), NOW).await.unwrap();
    assert_eq!((told.state, told.claimed), (State::Used, true));
    let rows: [Change; 6] = [
        |ask| ask.requested.method = "PUT".into(),
        |ask| ask.requested.path = "/api/other".into(),
        |ask| ask.subject_hash = [9; 32],
        |ask| ask.agent = "other".into(),
        |ask| ask.credentials = vec!["mail".into(), "slack".into()],
        |ask| ask.passkey = true,
    ];
    for (at, change) in rows.into_iter().enumerate() {
        let mut asked = other(b"3");
        change(&mut asked);
        assert!(!ask(&world, &acme, asked, NOW).await.unwrap().claimed, "row {at}");
    }
    for n in 0..70_u8 {
        let told = ask(&world, &acme, other(&[b'n', n]), NOW).await.unwrap();
        assert!(told.claimed, "nobody is asked, so nobody is asked too often: {n}");
    }
    assert!(ask(&world, &acme, other(b"4"), later(1_799_999)).await.unwrap().claimed);
    assert!(!ask(&world, &acme, other(b"5"), later(1_800_000)).await.unwrap().claimed);
    let body = json!({"kind": "approval", "id": hex(&id)}).to_string();
    let path = "/api/v1/revocations";
    let revoked = world.operate(&acme.operator, "POST", path, body.as_bytes(), NOW).await;
    assert!((200..300).contains(&revoked.status), "{}", revoked.status);
    assert!(!ask(&world, &acme, other(b"6"), NOW).await.unwrap().claimed);
    assert!(ask(&world, &acme, named(id), NOW).await.unwrap().id != id);
}

#[tokio::test]
async fn a_grant_is_for_a_day_at_most() {
    let world = World::in_memory().await;
    let acme = world.tenant("acme").await;
    let id = pending(&world, &acme).await;
    for seconds in [0, 24 * 3600 + 1, u32::MAX] {
        let ruling = Ruling { grant_seconds: Some(seconds), ..Ruling::of(Verdict::Approve) };
        let decided = decide(&world, &id, &person("bea"), &ruling, NOW).await;
        assert_eq!(decided, Err(Refusal::Grant), "{seconds}");
    }
    let ruling = Ruling { grant_seconds: Some(60), ..Ruling::of(Verdict::Deny) };
    assert_eq!(decide(&world, &id, &person("bea"), &ruling, NOW).await, Err(Refusal::Grant));
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
async fn of_a_hundred_that_use_it_at_once_one_does() {
    let world = World::on_disk().await;
    let acme = world.tenant("acme").await;
    guarded(&world, &acme, WRITES).await;
    let id = pending(&world, &acme).await;
    let yes = Ruling::of(Verdict::Approve);
    let mut deciding = tokio::task::JoinSet::new();
    for n in 0..100 {
        let (service, yes) = (world.service.clone(), yes.clone());
        deciding.spawn(async move {
            let by = person(&format!("person-{n}"));
            approvals::decide(&service, "acme", &id, &by, &yes, NOW).await.unwrap().is_ok()
        });
    }
    let taken = deciding.join_all().await;
    assert_eq!(taken.iter().filter(|taken| **taken).count(), 1);
    let mut asking = tokio::task::JoinSet::new();
    for n in 0..200 {
        let message = match n % 2 {
            0 => Message::Approval(approval::Request::Ask(Box::new(named(id)))),
            _ => Message::Release(under(Some(id))),
        };
        let party = if n % 2 == 0 { &acme.gate } else { &acme.credential };
        let (body, awaiting) = world.sealed(party, &message, NOW).await;
        let service = world.service.clone();
        asking.spawn(async move {
            let reply = service.message(&body, NOW).await;
            match awaiting.open(&reply.body).unwrap() {
                Answer::Approval(answer) => (usize::from(answer.standing.claimed), 0),
                Answer::Release(answer) => (0, usize::from(answer.status == Status::Ok)),
                _ => (0, 0),
            }
        });
    }
    let went = asking.join_all().await;
    let claimed: usize = went.iter().map(|(claimed, _)| claimed).sum();
    let released: usize = went.iter().map(|(_, released)| released).sum();
    assert_eq!(released, 1);
    assert!(claimed <= 1, "{claimed}");
}

#[tokio::test]
async fn a_preview_is_gone_from_the_disk_once_the_agent_has_its_decision() {
    let world = World::on_disk().await;
    let acme = world.tenant("acme").await;
    let sealed = |id: [u8; 16]| {
        let world = &world;
        async move {
            let file = world.dir.path().join("data/keys.sqlite");
            let pool =
                sqlx::SqlitePool::connect(&format!("sqlite:{}", file.display())).await.unwrap();
            let row: Option<(Vec<u8>,)> =
                sqlx::query_as("SELECT sealed FROM approval_previews WHERE approval_id = $1")
                    .bind(id.as_slice())
                    .fetch_optional(&pool)
                    .await
                    .unwrap();
            pool.close().await;
            row.map(|(sealed,)| sealed)
        }
    };
    let id = pending(&world, &acme).await;
    let kept = sealed(id).await.unwrap();
    let on_disk = |needle: &[u8]| {
        let folder = world.dir.path().join("data");
        std::fs::read_dir(folder).unwrap().any(|entry| {
            let path = entry.unwrap().path();
            let bytes = if path.is_file() { std::fs::read(path).unwrap() } else { Vec::new() };
            bytes.windows(needle.len()).any(|window| window == needle)
        })
    };
    // Of what is sealed a part that fits on one page.
    let part = &kept[..64.min(kept.len())];
    assert!(on_disk(part), "the search finds it at first");
    assert!(!on_disk(b"preview-that-must-not-stay"), "never in clear");
    approve(&world, &id).await;
    world.service.maintain(later(1000)).await.unwrap();
    assert!(sealed(id).await.is_some(), "kept while the agent does not know");
    assert_eq!(poll(&world, &acme, id, NOW).await.unwrap().state, State::Approved);
    assert!(sealed(id).await.is_none());
    world.service.maintain(later(2000)).await.unwrap();
    assert!(!on_disk(part));
    let export = world.export(&acme, NOW).await;
    for line in export.lines().skip(1) {
        let line: Value = serde_json::from_str(line).unwrap();
        let bytes = line["bytes"].as_str().map(|text| B64.decode(text).unwrap());
        let text = String::from_utf8(bytes.unwrap_or_default()).unwrap();
        assert!(!text.contains("postMessage") && !text.contains("must-not-stay"), "{text}");
    }
}

#[tokio::test]
async fn a_preview_goes_when_the_same_request_learns_the_decision() {
    let world = World::in_memory().await;
    let acme = world.tenant("acme").await;
    for verdict in [Verdict::Approve, Verdict::Deny] {
        let content = format!("{verdict:?}");
        let told = ask(&world, &acme, asking(content.as_bytes()), NOW).await.unwrap();
        let preview = || async {
            let shown = approvals::show(&world.service, "acme", &told.id).await.unwrap();
            shown.unwrap().preview
        };
        ask(&world, &acme, asking(content.as_bytes()), NOW).await.unwrap();
        decide(&world, &told.id, &person("bea"), &Ruling::of(verdict), NOW).await.unwrap();
        assert!(preview().await.is_some());
        ask(&world, &acme, asking(content.as_bytes()), NOW).await.unwrap();
        assert_eq!(preview().await, None);
    }
}

#[tokio::test]
async fn a_preview_goes_with_its_time() {
    let world = World::in_memory().await;
    let acme = world.tenant("acme").await;
    let id = pending(&world, &acme).await;
    world.service.maintain(later(599_999)).await.unwrap();
    let shown = approvals::show(&world.service, "acme", &id).await.unwrap().unwrap();
    assert!(shown.preview.is_some());
    world.service.maintain(later(600_000)).await.unwrap();
    let shown = approvals::show(&world.service, "acme", &id).await.unwrap().unwrap();
    assert!(shown.preview.is_none());
    world.service.maintain(later(600_001 + 30 * 24 * 3_600_000)).await.unwrap();
    assert!(approvals::show(&world.service, "acme", &id).await.unwrap().is_none());
}

#[tokio::test]
async fn a_row_that_is_planted_or_changed_approves_nothing() {
    let world = World::on_disk().await;
    let acme = world.tenant("acme").await;
    guarded(&world, &acme, WRITES).await;
    let id = pending(&world, &acme).await;
    let file = world.dir.path().join("data/keys.sqlite");
    let pool = sqlx::SqlitePool::connect(&format!("sqlite:{}", file.display())).await.unwrap();
    let decisions =
        r#"[{"by":"bea","how":"person","verdict":"approve","at":1,"reason":"","grant_seconds":0}]"#;
    sqlx::query("UPDATE approvals SET decisions = $1, decided_ms = $2")
        .bind(decisions)
        .bind(i64::try_from(NOW.0).unwrap())
        .execute(&pool)
        .await
        .unwrap();
    pool.close().await;
    for message in [
        Message::Approval(approval::Request::Ask(Box::new(named(id)))),
        Message::Release(under(Some(id))),
    ] {
        let party = match message {
            Message::Release(_) => &acme.credential,
            _ => &acme.gate,
        };
        let (body, _) = world.sealed(party, &message, NOW).await;
        assert_eq!(world.service.message(&body, NOW).await.status, 503);
    }
    let listed = approvals::list(&world.service, "acme", Filter::All, NOW).await.unwrap();
    assert_eq!(listed, []);
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
