//! Invites: made by operators, exchanged once by somebody unknown.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64;
use ed25519_dalek::SigningKey;
use postern_capability::{Chain, Context, IssuerKey, PublicKey, Strict, verify};
use postern_core::api_key::{INVITE_PREFIX, KeyId, StoredKey, assemble};
use postern_core::secret::Secret;
use postern_core::time::UnixMillis;
use postern_crp::message::{Answer, Message, Status, exchange};
use postern_keys::admin::NewInvite;
use postern_keys::store::invites::Grant;
use serde_json::{Value, json};
use support::*;

const AUDIENCE: &str = "https://gateway.test";
const DAY: u64 = 86_400_000;

fn invite(id: &str) -> Secret {
    assemble(INVITE_PREFIX, &KeyId::new(id.as_bytes()).unwrap(), &[b's'; 43]).unwrap()
}

fn grant() -> Grant {
    Grant {
        document: "q3-report".into(),
        organisation: "acme".into(),
        scopes: vec!["comments:write".into(), "documents:read".into()],
        roles: vec!["AGENT".into()],
        trust: "suggester".into(),
        credentials: Vec::new(),
        hosts: Vec::new(),
        methods: vec!["GET".into()],
        paths: vec!["/api/documents/q3-report".into()],
        depth: 0,
        life_seconds: 600,
    }
}

fn new_invite(id: &str) -> NewInvite {
    let stored = StoredKey::of([7; 16], &invite(id));
    NewInvite {
        id: id.into(),
        salt: B64.encode(stored.salt),
        hash: B64.encode(stored.hash),
        grant: grant(),
        not_after: later(DAY).0,
    }
}

async fn create(world: &World, tenant: &Tenant, new: &NewInvite) -> u16 {
    let body = serde_json::to_vec(new).unwrap();
    world.operate(&tenant.operator, "POST", "/api/v1/invites", &body, NOW).await.status
}

fn holder(seed: u8) -> [u8; 32] {
    *SigningKey::from_bytes(&[seed; 32]).verifying_key().as_bytes()
}

fn asking(invite: Secret, holder: [u8; 32]) -> Message {
    let (audience, max_life_s) = (AUDIENCE.to_owned(), 900);
    Message::Exchange(exchange::Request { invite, holder, audience, max_life_s })
}

async fn exchange(
    world: &World,
    tenant: &Tenant,
    id: &str,
    by: u8,
    now: UnixMillis,
) -> Result<exchange::Answer, Status> {
    match world.ask(&tenant.gate, &asking(invite(id), holder(by)), now).await {
        Answer::Exchange(answer) => Ok(answer),
        answer => Err(status(&answer)),
    }
}

async fn issuer(world: &World, tenant: &Tenant) -> IssuerKey {
    let path = "/api/v1/invites/issuer";
    let answer = world.operate(&tenant.operator, "GET", path, b"", NOW).await;
    let key: Value = serde_json::from_slice(&answer.body).unwrap();
    IssuerKey {
        id: key["kid"].as_str().unwrap().into(),
        issuer: key["issuer"].as_str().unwrap().into(),
        key: PublicKey::parse(&B64.decode(key["key"].as_str().unwrap()).unwrap()).unwrap(),
    }
}

/// As a gateway verifies it.
fn chain(token: &str, issuers: &[IssuerKey], now: UnixMillis) -> Chain {
    let now = now.seconds();
    let context = Context { tenant: "acme", audience: AUDIENCE, issuers, life: 900, now };
    verify(token.as_bytes(), &context, &Strict).unwrap()
}

async fn list(world: &World, tenant: &Tenant, now: UnixMillis) -> Vec<Value> {
    let answer = world.operate(&tenant.operator, "GET", "/api/v1/invites", b"", now).await;
    let list: Value = serde_json::from_slice(&answer.body).unwrap();
    list["invites"].as_array().unwrap().clone()
}

async fn revoke(world: &World, tenant: &Tenant, id: &str) -> (u16, Value) {
    let path = format!("/api/v1/invites/{id}/revoke");
    let answer = world.operate(&tenant.operator, "POST", &path, b"", NOW).await;
    (answer.status, serde_json::from_slice(&answer.body).unwrap_or_default())
}

/// Events of the log whose kind begins so, without what differs each time.
async fn events(world: &World, tenant: &Tenant, kind: &str) -> Vec<Value> {
    let export = world.export(tenant, NOW).await;
    let event = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        let bytes = B64.decode(line["bytes"].as_str()?).ok()?;
        let event: Value = serde_json::from_slice(&bytes).unwrap();
        event["kind"].as_str()?.starts_with(kind).then_some(event)
    };
    export.lines().skip(1).filter_map(event).collect()
}

#[tokio::test]
async fn an_invite_becomes_a_token_for_its_document_and_its_holder() {
    let world = World::in_memory().await;
    let acme = world.tenant("acme").await;
    assert_eq!(create(&world, &acme, &new_invite("Invite01")).await, 200);
    let answer = exchange(&world, &acme, "Invite01", 1, NOW).await.unwrap();
    let chain = chain(&answer.token, &[issuer(&world, &acme).await], NOW);
    let right = chain.right();
    assert_eq!(chain.holder().as_bytes(), &holder(1));
    assert_eq!(chain.subjects(), ["invite:Invite01"]);
    assert_eq!(right.document.as_deref(), Some("q3-report"));
    assert_eq!((right.trust, right.tenant.as_str()), (1, "acme"));
    assert!(right.scopes.iter().eq(["comments:write", "documents:read"]));
    assert!(right.admits("GET", "a.test", "/api/documents/q3-report/parts/1"));
    assert!(!right.admits("GET", "a.test", "/api/documents/q4-report"));
    assert!(!right.admits("POST", "a.test", "/api/documents/q3-report"));
    assert_eq!(right.expires * 1000, answer.not_after.0);
    // A gateway whose clock is ten seconds behind takes it, and it lives as long as was said.
    assert_eq!(right.expires, NOW.seconds() - 10 + 600);
    // It cannot be passed on.
    let block = postern_capability::claims::Claims {
        id: Some([1; 16]),
        holder: PublicKey::parse(&holder(2)),
        ..Default::default()
    };
    let key = SigningKey::from_bytes(&[1; 32]);
    let passed = postern_capability::mint::attenuate(&answer.token, block, &key).unwrap();
    let issuers = [issuer(&world, &acme).await];
    let now = NOW.seconds();
    let context = Context { tenant: "acme", audience: AUDIENCE, issuers: &issuers, life: 900, now };
    assert!(verify(passed.as_bytes(), &context, &Strict).is_err());
}

#[tokio::test]
async fn a_gateway_that_takes_shorter_lives_gets_one() {
    let world = World::in_memory().await;
    let acme = world.tenant("acme").await;
    create(&world, &acme, &new_invite("Invite01")).await;
    let request = exchange::Request {
        invite: invite("Invite01"),
        holder: holder(1),
        audience: AUDIENCE.into(),
        max_life_s: 60,
    };
    let answer = world.ask(&acme.gate, &Message::Exchange(request), NOW).await;
    let Answer::Exchange(answer) = answer else { panic!("refused") };
    assert_eq!(answer.not_after.seconds(), NOW.seconds() - 10 + 60);
}

#[tokio::test]
async fn the_holder_gets_the_same_token_again_while_it_lasts_and_nobody_else_any() {
    let world = World::in_memory().await;
    let acme = world.tenant("acme").await;
    create(&world, &acme, &new_invite("Invite01")).await;
    let first = exchange(&world, &acme, "Invite01", 1, NOW).await.unwrap();
    assert_eq!(exchange(&world, &acme, "Invite01", 2, NOW).await, Err(Status::Denied));
    assert_eq!(exchange(&world, &acme, "Invite01", 1, later(5_000)).await, Ok(first.clone()));
    let end = first.not_after.0 - NOW.0;
    assert_eq!(exchange(&world, &acme, "Invite01", 1, later(end - 1)).await, Ok(first));
    for by in [1, 2] {
        let after = exchange(&world, &acme, "Invite01", by, later(end)).await;
        assert_eq!(after, Err(Status::Denied));
    }
    let other = exchange::Request {
        invite: invite("Invite01"),
        holder: holder(1),
        audience: "https://other.test".into(),
        max_life_s: 900,
    };
    let answer = world.ask(&acme.gate, &Message::Exchange(other), NOW).await;
    assert_eq!(status(&answer), Status::Denied, "for another gateway");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_hundred_at_once_exactly_one_has_a_token() {
    let world = World::on_disk().await;
    let acme = world.tenant("acme").await;
    // Another process on the same database.
    let other = postern_keys::Service::open(&world.config, NOW).await.unwrap();
    for round in 0..3 {
        let id = format!("Invite0{round}");
        create(&world, &acme, &new_invite(&id)).await;
        let mut tasks = Vec::new();
        for by in 0..100 {
            let message = asking(invite(&id), holder(by));
            let (body, awaiting) = world.sealed(&acme.gate, &message, NOW).await;
            let service = if by % 2 == 0 { world.service.clone() } else { other.clone() };
            tasks.push(tokio::spawn(async move {
                let reply = service.message(&body, NOW).await;
                // A database that is busy is no answer; nothing has happened then.
                (reply.status == 200).then(|| awaiting.open(&reply.body).unwrap())
            }));
        }
        let mut tokens = BTreeSet::new();
        let mut denied = 0;
        for task in tasks {
            match task.await.unwrap() {
                Some(Answer::Exchange(answer)) => assert!(tokens.insert(answer.token)),
                Some(answer) => {
                    assert_eq!(status(&answer), Status::Denied);
                    denied += 1;
                }
                None => {}
            }
        }
        assert_eq!(tokens.len(), 1, "round {round}, {denied} denied");
        assert!(denied > 50, "{denied}");
    }
    let exchanged = events(&world, &acme, "invite_exchanged").await;
    assert_eq!(exchanged.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_hundred_times_the_same_holder_each_has_the_same_token() {
    let world = World::on_disk().await;
    let acme = world.tenant("acme").await;
    create(&world, &acme, &new_invite("Invite01")).await;
    let mut tasks = Vec::new();
    for _ in 0..100 {
        let message = asking(invite("Invite01"), holder(1));
        let (body, awaiting) = world.sealed(&acme.gate, &message, NOW).await;
        let service = world.service.clone();
        tasks.push(tokio::spawn(async move {
            let reply = service.message(&body, NOW).await;
            (reply.status == 200).then(|| awaiting.open(&reply.body).unwrap())
        }));
    }
    let mut tokens = BTreeSet::new();
    for task in tasks {
        match task.await.unwrap() {
            Some(Answer::Exchange(answer)) => drop(tokens.insert(answer.token)),
            Some(answer) => panic!("{:?}", status(&answer)),
            None => {}
        }
    }
    assert_eq!(tokens.len(), 1);
    assert_eq!(events(&world, &acme, "invite_exchanged").await.len(), 1);
}

#[tokio::test]
async fn whatever_is_wrong_with_an_invite_the_answer_is_the_same() {
    let world = World::in_memory().await;
    let (acme, other) = (world.tenant("acme").await, world.tenant("other").await);
    let mut short = new_invite("Expired1");
    short.not_after = later(1_000).0;
    create(&world, &acme, &short).await;
    let mut wrong = new_invite("Wrong001");
    wrong.hash = B64.encode([9; 32]);
    create(&world, &acme, &wrong).await;
    for id in ["Revoked1", "Used0001", "Subject1"] {
        create(&world, &acme, &new_invite(id)).await;
    }
    create(&world, &other, &new_invite("Foreign1")).await;
    assert_eq!(revoke(&world, &acme, "Revoked1").await.0, 200);
    exchange(&world, &acme, "Used0001", 9, NOW).await.unwrap();
    let named = json!({"kind": "agent", "id": "invite:Subject1"}).to_string();
    let path = "/api/v1/revocations";
    world.operate(&acme.operator, "POST", path, named.as_bytes(), NOW).await;
    let text = |id: &str| invite(id).expose().to_vec();
    let cut = |bytes: Vec<u8>| bytes[..61].to_vec();
    let rows = [
        ("unknown", text("Unknown1"), None),
        ("another secret", text("Wrong001"), None),
        ("another tenant's", text("Foreign1"), None),
        ("malformed", cut(text("Unknown1")), None),
        ("an API key", [b"pk__", &text("Unknown1")[4..]].concat(), None),
        ("nothing", Vec::new(), None),
        ("expired", text("Expired1"), Some("expired")),
        ("revoked", text("Revoked1"), Some("revoked")),
        ("revoked by name", text("Subject1"), Some("revoked")),
        ("used", text("Used0001"), Some("used")),
    ];
    let mut sizes = BTreeSet::new();
    for (name, bytes, reason) in rows {
        let before = events(&world, &acme, "invite_refused").await.len();
        let message = asking(Secret::new(bytes), holder(1));
        let (body, awaiting) = world.sealed(&acme.gate, &message, later(2_000)).await;
        let reply = world.service.message(&body, later(2_000)).await;
        assert_eq!(status(&awaiting.open(&reply.body).unwrap()), Status::Denied, "{name}");
        sizes.insert((reply.status, reply.body.len()));
        let refused = events(&world, &acme, "invite_refused").await;
        let said = refused.get(before).map(|event| event["reason"].as_str().unwrap());
        assert_eq!(said, reason, "{name}");
    }
    assert_eq!(sizes.len(), 1, "{sizes:?}");
    // A holder's key that is no key makes no token, and uses nothing up.
    create(&world, &acme, &new_invite("NoKey001")).await;
    let nobody = world.ask(&acme.gate, &asking(invite("NoKey001"), [0; 32]), NOW).await;
    assert_eq!(status(&nobody), Status::Denied);
    assert!(exchange(&world, &acme, "NoKey001", 1, NOW).await.is_ok());
}

#[tokio::test]
async fn only_a_gate_may_exchange_and_only_for_its_own_tenant() {
    let world = World::in_memory().await;
    let (acme, other) = (world.tenant("acme").await, world.tenant("other").await);
    create(&world, &acme, &new_invite("Invite01")).await;
    for party in [&acme.credential, &acme.audit, &acme.operator, &other.gate] {
        let answer = world.ask(party, &asking(invite("Invite01"), holder(1)), NOW).await;
        assert_eq!(status(&answer), Status::Denied);
    }
    let spoofed = Party { tenant: "acme".into(), ..other.gate };
    let answer = world.ask(&spoofed, &asking(invite("Invite01"), holder(1)), NOW).await;
    assert_eq!(status(&answer), Status::Denied);
    assert!(exchange(&world, &acme, "Invite01", 1, NOW).await.is_ok(), "still open");
}

#[tokio::test]
async fn an_invite_that_is_taken_back_takes_its_token_with_it() {
    let world = World::in_memory().await;
    let (acme, other) = (world.tenant("acme").await, world.tenant("other").await);
    create(&world, &acme, &new_invite("Invite01")).await;
    let answer = exchange(&world, &acme, "Invite01", 1, NOW).await.unwrap();
    assert_eq!(revoke(&world, &other, "Invite01").await.0, 404);
    let (status, said) = revoke(&world, &acme, "Invite01").await;
    let id = chain(&answer.token, &[issuer(&world, &acme).await], NOW).ids()[0];
    let id = postern_core::hex::lower(&id);
    assert_eq!((status, said["token"].as_str()), (200, Some(id.as_str())));
    let path = "/api/v1/revocations";
    let list = world.operate(&acme.operator, "GET", path, b"", NOW).await;
    let list: Value = serde_json::from_slice(&list.body).unwrap();
    assert_eq!(list["revocations"][0]["id"], id.as_str());
    assert_eq!(list["revocations"][0]["until"], answer.not_after.0);
    assert_eq!(exchange(&world, &acme, "Invite01", 1, NOW).await, Err(Status::Denied));
    assert_eq!(revoke(&world, &acme, "Invite01").await.0, 404, "once");
}

#[tokio::test]
async fn the_log_says_who_made_an_invite_and_what_became_of_it() {
    let world = World::in_memory().await;
    let acme = world.tenant("acme").await;
    create(&world, &acme, &new_invite("Invite01")).await;
    exchange(&world, &acme, "Invite01", 1, NOW).await.unwrap();
    revoke(&world, &acme, "Invite01").await;
    let kinds: Vec<Value> =
        events(&world, &acme, "invite_").await.iter().map(|event| event["kind"].clone()).collect();
    assert_eq!(kinds, ["invite_created", "invite_exchanged", "invite_revoked"]);
    let all = events(&world, &acme, "invite_").await;
    let operator = postern_core::hex::lower(&acme.operator.id);
    assert_eq!(all[0]["operator"], operator.as_str());
    assert_eq!(all[0]["document"], "q3-report");
    assert_eq!(all[1]["holder"], postern_core::hex::lower(&holder(1)).as_str());
    assert_eq!(all[1]["token"], all[2]["token"]);
    let shown = &list(&world, &acme, NOW).await[0];
    assert_eq!(
        (shown["state"].as_str(), shown["issuer"].as_str()),
        (Some("revoked"), Some(&*operator))
    );
}

#[tokio::test]
async fn a_list_says_what_became_of_each() {
    let world = World::in_memory().await;
    let acme = world.tenant("acme").await;
    for id in ["AOpen001", "BUsed001", "CBack001"] {
        create(&world, &acme, &new_invite(id)).await;
    }
    let mut short = new_invite("DOver001");
    short.not_after = later(500).0;
    create(&world, &acme, &short).await;
    exchange(&world, &acme, "BUsed001", 1, NOW).await.unwrap();
    revoke(&world, &acme, "CBack001").await;
    let states: Vec<Value> =
        list(&world, &acme, later(1_000)).await.iter().map(|one| one["state"].clone()).collect();
    assert_eq!(states, ["open", "exchanged", "revoked", "expired"]);
    // Nobody needs them a month later.
    world.service.maintain(later(DAY + 31 * DAY)).await.unwrap();
    assert!(list(&world, &acme, later(33 * DAY)).await.is_empty());
}

#[tokio::test]
async fn what_no_token_could_say_is_no_invite() {
    let world = World::in_memory().await;
    let acme = world.tenant("acme").await;
    type Change = fn(&mut NewInvite);
    let rows: [Change; 15] = [
        |new| new.grant.document = String::new(),
        |new| new.grant.document = "a b".into(),
        |new| new.grant.document = "a,b".into(),
        |new| new.grant.trust = "owner".into(),
        |new| new.grant.roles = vec!["EMPEROR".into()],
        |new| new.grant.scopes = vec!["*".into()],
        |new| new.grant.scopes = (0..33).map(|n| format!("s{n}")).collect(),
        |new| new.grant.paths = vec!["/a/../b".into()],
        |new| new.grant.paths = vec!["/**".into()],
        |new| new.grant.hosts = vec!["*.test".into()],
        |new| new.grant.methods = vec!["get".into()],
        |new| new.grant.life_seconds = 86_401,
        |new| new.grant.depth = 8,
        |new| new.not_after = later(91 * DAY).0,
        |new| new.id = "short".into(),
    ];
    for (at, change) in rows.into_iter().enumerate() {
        let mut new = new_invite("Invite01");
        change(&mut new);
        assert_eq!(create(&world, &acme, &new).await, 400, "row {at}");
    }
    assert_eq!(create(&world, &acme, &new_invite("Invite01")).await, 200);
    assert_eq!(create(&world, &acme, &new_invite("Invite01")).await, 409, "taken");
}

#[tokio::test]
async fn the_database_has_no_invite_and_a_row_that_was_edited_is_worth_nothing() {
    let world = World::on_disk().await;
    let acme = world.tenant("acme").await;
    create(&world, &acme, &new_invite("Invite01")).await;
    create(&world, &acme, &new_invite("Invite02")).await;
    exchange(&world, &acme, "Invite01", 1, NOW).await.unwrap();
    let pool = world.database().await;
    let secret = [b's'; 43];
    for file in std::fs::read_dir(&world.config.data_dir).unwrap().flatten() {
        if file.file_type().unwrap().is_file() {
            let bytes = std::fs::read(file.path()).unwrap();
            let found = bytes.windows(secret.len()).any(|window| window == secret);
            assert!(!found, "{}", file.path().display());
        }
    }
    for edit in [
        "UPDATE invites SET holder = NULL WHERE invite_id = 'Invite01'",
        "UPDATE invites SET grants = replace(grants, 'q3', 'q4') WHERE invite_id = 'Invite02'",
    ] {
        sqlx::query(edit).execute(&pool).await.unwrap();
    }
    for id in ["Invite01", "Invite02"] {
        let (body, _) = world.sealed(&acme.gate, &asking(invite(id), holder(2)), NOW).await;
        assert_eq!(world.service.message(&body, NOW).await.status, 503, "{id}");
    }
    let states: Vec<Value> =
        list(&world, &acme, NOW).await.iter().map(|one| one["state"].clone()).collect();
    assert_eq!(states, ["forged", "forged"]);
}

/// What an operator is told of an issuer's key.
async fn told(world: &World, tenant: &Tenant, method: &str, path: &str) -> (u16, Value) {
    let path = format!("/api/v1/invites/issuer{path}");
    let answer = world.operate(&tenant.operator, method, &path, b"", NOW).await;
    (answer.status, serde_json::from_slice(&answer.body).unwrap_or_default())
}

#[tokio::test]
async fn the_next_key_is_known_before_it_signs_and_the_one_before_is_gone() {
    let world = World::in_memory().await;
    let acme = world.tenant("acme").await;
    for id in ["AbCd0001", "AbCd0002"] {
        assert_eq!(create(&world, &acme, &new_invite(id)).await, 200);
    }
    let first = issuer(&world, &acme).await;
    let token = exchange(&world, &acme, "AbCd0001", 1, NOW).await.unwrap().token;
    assert_eq!(told(&world, &acme, "POST", "/change").await.0, 409, "none was drawn");
    let (status, next) = told(&world, &acme, "POST", "/next").await;
    assert_eq!((status, told(&world, &acme, "POST", "/next").await.1), (200, next.clone()));
    assert_eq!(issuer(&world, &acme).await.id, first.id, "it does not sign yet");
    assert_eq!(told(&world, &acme, "POST", "/change").await, (200, next.clone()));
    let second = issuer(&world, &acme).await;
    assert_eq!((second.id.as_str().into(), second.id == first.id), (next["kid"].clone(), false));
    let other = exchange(&world, &acme, "AbCd0002", 1, NOW).await.unwrap().token;
    let again = exchange(&world, &acme, "AbCd0001", 1, NOW).await.unwrap().token;
    let both = [first, second];
    for (token, at) in [(&token, 0), (&other, 1), (&again, 1)] {
        assert_eq!(chain(token, &both, NOW).issuer().id, both[at].id);
    }
    assert_eq!(told(&world, &acme, "POST", "/change").await.0, 409, "once");
    let other = world.tenant("other").await;
    assert_eq!(told(&world, &other, "POST", "/change").await.0, 409, "of another tenant");
    let kinds: Vec<Value> = events(&world, &acme, "invite_issuer_")
        .await
        .iter()
        .map(|event| event["kind"].clone())
        .collect();
    assert_eq!(kinds, ["invite_issuer_next", "invite_issuer_next", "invite_issuer_changed"]);
}
