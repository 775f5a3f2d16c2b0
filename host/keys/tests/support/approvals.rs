//! A gate that asks for approvals, and people who decide.

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64;
use postern_core::approvals::{Ask, Requested, Standing, State};
use postern_core::time::UnixMillis;
use postern_crp::message::store::{Guard, Needed};
use postern_crp::message::{Answer, Message, Status, approval, release};
use postern_keys::approvals::{self, Decider, How, Refusal, Ruling, Verdict};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::*;

pub const CONTENT: &[u8] = br#"{"text":"preview-that-must-not-stay"}"#;

pub fn requested(content: &[u8]) -> Requested {
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

pub fn asking(content: &[u8]) -> Ask {
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

pub type Told = Result<Standing, Status>;

pub async fn tell(
    world: &World,
    party: &Party,
    request: approval::Request,
    now: UnixMillis,
) -> Told {
    match world.ask(party, &Message::Approval(request), now).await {
        Answer::Approval(answer) => Ok(answer.standing),
        answer => Err(status(&answer)),
    }
}

pub async fn ask(world: &World, tenant: &Tenant, ask: Ask, now: UnixMillis) -> Told {
    tell(world, &tenant.gate, approval::Request::Ask(Box::new(ask)), now).await
}

pub async fn poll(world: &World, tenant: &Tenant, id: [u8; 16], now: UnixMillis) -> Told {
    let request = approval::Request::Poll { id, subject_hash: [1; 32] };
    tell(world, &tenant.gate, request, now).await
}

pub fn named(id: [u8; 16]) -> Ask {
    Ask { named: Some(id), ..asking(CONTENT) }
}

pub fn person(name: &str) -> Decider {
    Decider::pretend("acme", name, How::Person)
}

pub async fn decide(
    world: &World,
    id: &[u8; 16],
    by: &Decider,
    ruling: &Ruling,
    now: UnixMillis,
) -> Result<State, Refusal> {
    let decided = approvals::decide(&world.service, id, by, ruling, now).await.unwrap();
    decided.map(|approval| approval.state(now))
}

pub async fn approve(world: &World, id: &[u8; 16]) {
    let yes = Ruling::of(Verdict::Approve);
    assert_eq!(decide(world, id, &person("bea"), &yes, NOW).await, Ok(State::Approved));
}

pub async fn pending(world: &World, acme: &Tenant) -> [u8; 16] {
    let told = ask(world, acme, asking(CONTENT), NOW).await.unwrap();
    assert_eq!((told.state, told.claimed), (State::Pending, false));
    told.id
}

pub async fn guarded(world: &World, tenant: &Tenant, guard: Guard) {
    let store = postern_crp::message::store::Request { guard, ..storing("acme", b"xoxb-secret") };
    let answer = world.ask(&tenant.operator, &Message::Store(store), NOW).await;
    assert!(matches!(answer, Answer::Store(_)));
}

pub fn under(approval: Option<[u8; 16]>) -> release::Request {
    release::Request { request_digest: requested(CONTENT).digest(), approval, ..releasing("acme") }
}

pub async fn released(
    world: &World,
    tenant: &Tenant,
    request: release::Request,
    now: UnixMillis,
) -> Status {
    world.release(&tenant.credential, request, now).await.status
}

pub const WRITES: Guard = Guard { approval: Needed::Writes, passkey: false, approvers: 1 };

/// Events of the log of this kind: decision and reason.
pub async fn events(world: &World, tenant: &Tenant, kind: &str) -> Vec<Value> {
    let export = world.export(tenant, NOW).await;
    let event = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        let bytes = B64.decode(line["bytes"].as_str()?).ok()?;
        let event: Value = serde_json::from_slice(&bytes).unwrap();
        (event["kind"] == kind).then_some(event)
    };
    export.lines().skip(1).filter_map(event).collect()
}

pub type Change = fn(&mut Ask);

pub type Bend = fn(&mut release::Request);

pub fn hex(id: &[u8; 16]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}
