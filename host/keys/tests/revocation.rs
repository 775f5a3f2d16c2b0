//! The revocation feed: what is on it, for how long, and what the service refuses itself.
#![allow(clippy::unwrap_used)]

mod support;

use postern_core::revocation::{Entry, Kind};
use postern_core::time::UnixMillis;
use postern_crp::message::{Message, Status};
use postern_crp::revocation::{Head, List, open};
use serde_json::json;
use support::*;

async fn head(world: &World, now: UnixMillis) -> (Head, List) {
    let body = world.service.revocations(None, now).await.body;
    let evidence = world.evidence(now).await;
    let opened = open(&body, evidence.signing_key()).unwrap();
    (opened.head, opened.list.unwrap())
}

fn on(list: &List, kind: Kind, tenant: &str, id: &[u8]) -> bool {
    list.has(&Entry::of(kind, tenant, id))
}

async fn revoke(world: &World, tenant: &Tenant, kind: &str, id: &str, now: UnixMillis) -> u16 {
    let body = json!({"kind": kind, "id": id}).to_string();
    let path = "/api/v1/revocations";
    world.operate(&tenant.operator, "POST", path, body.as_bytes(), now).await.status
}

async fn restore(world: &World, tenant: &Tenant, kind: &str, id: &str, now: UnixMillis) -> u16 {
    let body = json!({"kind": kind, "id": id}).to_string();
    let path = "/api/v1/revocations";
    world.operate(&tenant.operator, "DELETE", path, body.as_bytes(), now).await.status
}

#[tokio::test]
async fn a_head_is_always_fresh_and_brings_its_list_only_when_it_changed() {
    let world = World::in_memory().await;
    let acme = world.tenant("acme").await;
    let (first, list) = head(&world, NOW).await;
    assert_eq!((first.epoch, first.ts, list.len()), (0, NOW.seconds(), 0));
    let (second, _) = head(&world, later(2000)).await;
    assert_eq!(second, Head { ts: first.ts + 2, ..first });
    assert_eq!(revoke(&world, &acme, "agent", "helper", later(2000)).await, 200);
    let (third, list) = head(&world, later(2000)).await;
    assert_eq!((third.epoch, third.count), (1, 1));
    assert!(on(&list, Kind::Agent, "acme", b"helper"));
    assert!(!on(&list, Kind::Agent, "other", b"helper"));
    let key = *world.evidence(NOW).await.signing_key();
    let same = world.service.revocations(Some(1), later(3000)).await.body;
    assert_eq!(open(&same, &key).unwrap().list, None);
    let old = world.service.revocations(Some(0), later(3000)).await.body;
    assert_eq!(open(&old, &key).unwrap().list, Some(list));
}

#[tokio::test]
async fn both_epochs_in_force_sign_a_head() {
    let world = World::in_memory().await;
    let before = *world.evidence(NOW).await.signing_key();
    let next = UnixMillis((NOW.seconds() / 3600 + 1) * 3_600_000 + 5000);
    let after = *world.evidence(next).await.signing_key();
    let body = world.service.revocations(None, next).await.body;
    assert_ne!(before, after);
    assert!(open(&body, &before).is_ok() && open(&body, &after).is_ok());
}

#[tokio::test]
async fn what_ends_by_its_own_request_is_told_for_ten_minutes() {
    let world = World::in_memory().await;
    let acme = world.tenant("acme").await;
    world.put(&acme, b"value", NOW).await;
    world.api_key(&acme, "AbCd0123", "ada", NOW).await;
    let id: String = acme.gate.id.iter().map(|byte| format!("{byte:02x}")).collect();
    for (method, path) in [
        ("POST", "/api/v1/keys/AbCd0123/revoke".to_owned()),
        ("DELETE", "/api/v1/credentials/slack".to_owned()),
        ("POST", format!("/api/v1/gateways/{id}/revoke")),
    ] {
        let status = world.operate(&acme.operator, method, &path, b"", NOW).await.status;
        assert!(status < 300, "{path}");
    }
    let told = async |now| {
        world.service.maintain(now).await.unwrap();
        let (_, list) = head(&world, now).await;
        [
            on(&list, Kind::ApiKey, "acme", b"AbCd0123"),
            on(&list, Kind::Credential, "acme", b"slack"),
            on(&list, Kind::Gateway, "acme", &acme.gate.id),
        ]
    };
    assert_eq!(told(NOW).await, [true; 3]);
    assert_eq!(told(later(599_000)).await, [true; 3]);
    assert_eq!(told(later(600_000)).await, [false, false, true]);
}

#[tokio::test]
async fn a_stored_value_makes_gateways_forget_the_one_before() {
    let world = World::in_memory().await;
    let acme = world.tenant("acme").await;
    world.put(&acme, b"value", NOW).await;
    assert_eq!(head(&world, NOW).await.1.forget(), 0);
    world.put(&acme, b"value 2", NOW).await;
    assert_eq!(head(&world, NOW).await.1.forget(), 1);
    world.operate(&acme.operator, "DELETE", "/api/v1/credentials/slack", b"", NOW).await;
    world.put(&acme, b"value 3", NOW).await;
    let (_, list) = head(&world, NOW).await;
    assert!(!on(&list, Kind::Credential, "acme", b"slack"), "the name is in use again");
    let answer = world.release(&acme.credential, releasing("acme"), NOW).await;
    assert_eq!(answer.rev_epoch, head(&world, NOW).await.0.epoch);
}

#[tokio::test]
async fn the_service_itself_refuses_revoked_agents_users_credentials_and_tenants() {
    use postern_core::identity::KeyState::{Active, Revoked};
    let world = World::in_memory().await;
    let (acme, other) = (world.tenant("acme").await, world.tenant("other").await);
    world.put(&acme, b"value", NOW).await;
    world.api_key(&acme, "AbCd0123", "ada", NOW).await;
    let seen = async || {
        let answer = world.look_up(&acme.gate, &["AbCd0123"], NOW).await;
        let key = answer.entries[0].1.as_ref().unwrap().record.state;
        (key, world.release(&acme.credential, releasing("acme"), NOW).await.status)
    };
    assert_eq!(seen().await, (Active, Status::Ok));
    for (kind, id, wanted) in [
        ("agent", "helper", (Revoked, Status::Revoked)),
        ("user", "ada", (Revoked, Status::Ok)),
        ("credential", "slack", (Active, Status::Revoked)),
        ("tenant", "", (Revoked, Status::Revoked)),
    ] {
        assert_eq!(revoke(&world, &other, kind, id, NOW).await, 200);
        assert_eq!(seen().await, (Active, Status::Ok), "{kind} of another tenant");
        assert_eq!(revoke(&world, &acme, kind, id, NOW).await, 200);
        assert_eq!(seen().await, wanted, "{kind}");
        assert_eq!(restore(&world, &acme, kind, id, NOW).await, 200);
        assert_eq!(restore(&world, &acme, kind, id, NOW).await, 404);
    }
    assert_eq!(seen().await, (Active, Status::Ok));
}

#[tokio::test]
async fn what_cannot_be_revoked_so_is_refused() {
    let world = World::in_memory().await;
    let acme = world.tenant("acme").await;
    let long = "x".repeat(129);
    for (kind, id) in [
        ("api-key", "AbCd0123"),
        ("gateway", "00"),
        ("tenant", "acme"),
        ("agent", ""),
        ("agent", "a\nb"),
        ("user", long.as_str()),
        ("thing", "x"),
    ] {
        assert_eq!(revoke(&world, &acme, kind, id, NOW).await, 400, "{kind} {id}");
    }
}

#[tokio::test]
async fn what_nothing_would_enforce_is_refused_and_can_still_be_taken_back() {
    let world = World::in_memory().await;
    let acme = world.tenant("acme").await;
    let measurement = "0a".repeat(32);
    for (kind, id) in [("session", "s"), ("measurement", measurement.as_str())] {
        assert_eq!(revoke(&world, &acme, kind, id, NOW).await, 422, "{kind}");
        assert_eq!(restore(&world, &acme, kind, id, NOW).await, 404, "{kind}");
    }
}

#[tokio::test]
async fn a_key_that_was_rotated_is_told_when_its_overlap_ends() {
    let world = World::in_memory().await;
    let acme = world.tenant("acme").await;
    world.api_key(&acme, "AbCd0123", "ada", NOW).await;
    let body = json!({
        "id": "EfGh4567", "salt": "AAAAAAAAAAAAAAAAAAAAAA", "hash": "A".repeat(43),
        "overlap_seconds": 60, "not_after": later(9_000_000).0,
    });
    let path = "/api/v1/keys/AbCd0123/rotate";
    let body = body.to_string();
    let rotated = world.operate(&acme.operator, "POST", path, body.as_bytes(), NOW).await;
    assert_eq!(rotated.status, 200);
    for (after, listed) in [(59_000, false), (60_000, true), (659_000, true), (660_000, false)] {
        world.service.maintain(later(after)).await.unwrap();
        let (_, list) = head(&world, later(after)).await;
        assert_eq!(on(&list, Kind::ApiKey, "acme", b"AbCd0123"), listed, "{after}");
        assert!(!on(&list, Kind::ApiKey, "acme", b"EfGh4567"));
    }
}

#[tokio::test]
async fn a_planted_revocation_stops_the_feed_and_revokes_nobody() {
    let world = World::on_disk().await;
    let acme = world.tenant("acme").await;
    let pool = world.database().await;
    let plant = "INSERT INTO revocations (tenant, kind, id, from_ms, until_ms, listed, mac)
                 VALUES ('acme', 4, x'62', 0, NULL, 1, x'00')";
    edit(&pool, plant).await;
    assert_eq!(world.service.revocations(None, NOW).await.status, 503);
    drop(acme);
}

#[tokio::test]
async fn a_thousand_tokens_do_not_keep_an_agent_from_being_revoked() {
    let world = World::in_memory().await;
    let acme = world.tenant("acme").await;
    for n in 0..1000 {
        assert_eq!(revoke(&world, &acme, "token", &format!("t{n}"), NOW).await, 200);
    }
    assert_eq!(revoke(&world, &acme, "token", "one-more", NOW).await, 409);
    assert_eq!(revoke(&world, &acme, "token", "t7", NOW).await, 200, "is revoked already");
    assert_eq!(revoke(&world, &acme, "agent", "helper", NOW).await, 200);
    assert_eq!(revoke(&world, &acme, "tenant", "", NOW).await, 200);
}

#[tokio::test]
async fn deleting_a_credential_does_not_end_its_revocation() {
    let world = World::in_memory().await;
    let acme = world.tenant("acme").await;
    world.ask(&acme.operator, &Message::Store(storing("acme", b"xoxb-value")), NOW).await;
    assert_eq!(revoke(&world, &acme, "credential", "slack", NOW).await, 200);
    let path = "/api/v1/credentials/slack";
    let deleted = world.operate(&acme.operator, "DELETE", path, b"", NOW).await;
    assert_eq!(deleted.status, 204);
    let much_later = later(700_000);
    let (_, list) = head(&world, much_later).await;
    assert!(on(&list, Kind::Credential, "acme", b"slack"));
    world.ask(&acme.operator, &Message::Store(storing("acme", b"xoxb-value")), much_later).await;
    let answer = world.release(&acme.credential, releasing("acme"), much_later).await;
    assert_eq!(answer.status, Status::Revoked);
}

#[tokio::test]
async fn what_was_revoked_while_a_message_waited_is_refused() {
    let world = World::in_memory().await;
    let acme = world.tenant("acme").await;
    world.put(&acme, b"value", NOW).await;
    let request = || releasing("acme");
    assert_eq!(world.release(&acme.credential, request(), NOW).await.status, Status::Ok);
    // It came at NOW and is written after a revocation of a moment later.
    assert!((200..300).contains(&revoke(&world, &acme, "agent", "helper", later(5)).await));
    assert_ne!(world.release(&acme.credential, request(), NOW).await.status, Status::Ok);
}
