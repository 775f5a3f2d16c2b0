//! What a writer to the database gets by editing or adding rows: nothing that is believed.
#![allow(clippy::unwrap_used)]

mod support;

use postern_core::chain::{START, edge_link};
use postern_core::identity::KeyState;
use postern_core::key_service::Batch;
use postern_core::secret::Secret;
use postern_crp::Role;
use postern_crp::message::{Message, Status, audit, directory};
use postern_keys::audit::Break;
use support::*;

#[tokio::test]
async fn a_credential_whose_end_was_edited_is_not_released() {
    let world = World::on_disk().await;
    let acme = world.tenant("acme").await;
    let mut ending = storing("acme", b"value");
    ending.not_after = Some(later(60_000));
    let answer = world.ask(&acme.operator, &Message::Store(ending), NOW).await;
    assert_eq!(status(&answer), Status::Ok);
    let pool = world.database().await;
    for statement in [
        "UPDATE credentials SET not_after_ms = NULL",
        "UPDATE credentials SET not_after_ms = 1999999999999",
    ] {
        edit(&pool, statement).await;
        let answer = world.release(&acme.credential, releasing("acme"), later(60_001)).await;
        assert_eq!((answer.status, answer.fields.len()), (Status::Denied, 0), "{statement}");
    }
}

/// Every message of `party` is refused, or not answered at all.
async fn powerless(world: &World, party: &Party, message: &Message) {
    let (body, awaiting) = world.sealed(party, message, NOW).await;
    let reply = world.service.message(&body, NOW).await;
    match reply.status {
        503 => assert!(reply.body.is_empty()),
        200 => assert_eq!(status(&awaiting.open(&reply.body).unwrap()), Status::Denied),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn an_identity_that_was_not_enrolled_is_not_believed() {
    let world = World::on_disk().await;
    let acme = world.tenant("acme").await;
    world.put(&acme, b"value", NOW).await;
    let pool = world.database().await;
    let mut planted = Party::new("acme");
    planted.id = [9; 16];
    for role in ["credential", "gate", "operator"] {
        sqlx::query(
            "INSERT INTO identities (gateway, role, tenant, public_key, label, created_ms, not_after_ms, mac)
             SELECT $1, $2, tenant, $3, label, created_ms, not_after_ms, mac FROM identities WHERE role = 'credential' LIMIT 1",
        )
        .bind(planted.id.as_slice())
        .bind(role)
        .bind(planted.identity.public_key().as_slice())
        .execute(&pool)
        .await
        .unwrap();
    }
    powerless(&world, &planted, &Message::Release(releasing("acme"))).await;
    powerless(&world, &planted, &Message::Store(storing("acme", b"mine"))).await;
    let list = world.operate(&planted, "GET", "/api/v1/credentials", b"", NOW).await;
    assert!(matches!(list.status, 401 | 503), "{}", list.status);
}

#[tokio::test]
async fn an_edited_identity_is_not_believed() {
    for statement in [
        "UPDATE identities SET revoked_ms = NULL WHERE role = 'credential'",
        "UPDATE identities SET not_after_ms = not_after_ms + 1 WHERE role = 'credential'",
        "UPDATE identities SET tenant = 'acme' WHERE role = 'credential'",
        "DELETE FROM identities WHERE role = 'credential'; UPDATE identities SET role = 'credential' WHERE role = 'gate'",
    ] {
        let world = World::on_disk().await;
        let (acme, other) = (world.tenant("acme").await, world.tenant("other").await);
        world.put(&acme, b"value", NOW).await;
        let pool = world.database().await;
        let mut sender = Party { tenant: "acme".into(), ..other.credential };
        if statement.contains("revoked_ms") {
            let hex: String = acme.credential.id.iter().map(|b| format!("{b:02x}")).collect();
            let path = format!("/api/v1/gateways/{hex}/revoke");
            assert_eq!(world.operate(&acme.operator, "POST", &path, b"", NOW).await.status, 204);
        }
        if !statement.contains("tenant") {
            sender = if statement.contains("gate") { acme.gate } else { acme.credential };
        }
        edit(&pool, statement).await;
        powerless(&world, &sender, &Message::Release(releasing("acme"))).await;
    }
}

#[tokio::test]
async fn a_join_token_that_was_not_minted_or_was_edited_admits_nobody() {
    for statement in [
        "UPDATE join_tokens SET role = 'operator' WHERE role = 'gate'",
        "UPDATE join_tokens SET tenant = 'other' WHERE role = 'gate'",
        "UPDATE join_tokens SET expires_ms = expires_ms + 1 WHERE role = 'gate'",
        "UPDATE join_tokens SET gateway = x'09090909090909090909090909090909' WHERE role = 'gate'",
        "UPDATE join_tokens SET used_ms = NULL WHERE role = 'gate'",
    ] {
        let world = World::on_disk().await;
        world.service.mint("other", NOW).await.unwrap();
        let pool = world.database().await;
        sqlx::query("DELETE FROM join_tokens").execute(&pool).await.unwrap();
        let (gateway, _) = world.service.mint("acme", NOW).await.unwrap();
        if statement.contains("used_ms") {
            let token = Secret::new(gateway.gate.expose().to_vec());
            world.enrol(token, Role::Gate, "acme").await;
        }
        edit(&pool, statement).await;
        let role = if statement.contains("operator") { Role::Operator } else { Role::Gate };
        let party = Party::new("");
        powerless(&world, &party, &enrolment(gateway.gate, role, &party)).await;
    }
}

#[tokio::test]
async fn an_api_key_that_was_planted_or_edited_is_not_vouched_for() {
    for statement in [
        "UPDATE api_keys SET scopes = '[\"documents:write\"]'",
        "UPDATE api_keys SET roles = '[\"ADMIN\"]'",
        "UPDATE api_keys SET trust = 'autonomous'",
        "UPDATE api_keys SET \"user\" = 'root'",
        "UPDATE api_keys SET agent = 'other'",
        "UPDATE api_keys SET organisation = 'other'",
        "UPDATE api_keys SET clearance = 'SECRET'",
        "UPDATE api_keys SET platform = NULL",
        "UPDATE api_keys SET not_after_ms = 1999999999999",
        "UPDATE api_keys SET revoked_ms = NULL",
        "UPDATE api_keys SET hash = x'0101010101010101010101010101010101010101010101010101010101010101'",
        "UPDATE api_keys SET key_id = 'BbBb0000'",
    ] {
        let world = World::on_disk().await;
        let acme = world.tenant("acme").await;
        assert_eq!(world.api_key(&acme, "AbCd0123", "ada", NOW).await, 200);
        let pool = world.database().await;
        if statement.contains("revoked_ms") {
            let path = "/api/v1/keys/AbCd0123/revoke";
            assert_eq!(world.operate(&acme.operator, "POST", path, b"", NOW).await.status, 200);
        }
        edit(&pool, statement).await;
        let id = if statement.contains("key_id") { "BbBb0000" } else { "AbCd0123" };
        let ids = vec![postern_core::api_key::KeyId::new(id.as_bytes()).unwrap()];
        powerless(&world, &acme.gate, &Message::Directory(directory::Request { ids })).await;
    }
}

#[tokio::test]
async fn an_untouched_row_is_believed_after_every_change_the_service_makes() {
    let world = World::on_disk().await;
    let acme = world.tenant("acme").await;
    assert_eq!(world.api_key(&acme, "AbCd0123", "ada", NOW).await, 200);
    let body = br#"{"id":"BbBb0000","salt":"AAAAAAAAAAAAAAAAAAAAAA","hash":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA","overlap_seconds":60,"not_after":1795332700000}"#;
    let path = "/api/v1/keys/AbCd0123/rotate";
    assert_eq!(world.operate(&acme.operator, "POST", path, body, NOW).await.status, 200);
    let path = "/api/v1/keys/BbBb0000/revoke";
    assert_eq!(world.operate(&acme.operator, "POST", path, b"", NOW).await.status, 200);
    let answer = world.look_up(&acme.gate, &["AbCd0123", "BbBb0000"], later(1)).await;
    let records: Vec<_> = answer.entries.into_iter().map(|(_, e)| e.unwrap().record).collect();
    assert_eq!((records[0].state, records[0].not_after), (KeyState::Active, Some(later(60_000))));
    assert_eq!(records[1].state, KeyState::Revoked);
}

#[tokio::test]
async fn an_edge_chain_that_was_edited_takes_no_records() {
    let world = World::on_disk().await;
    let acme = world.tenant("acme").await;
    let batch = |first, prev| Batch {
        boot: [1; 16],
        vm: [2; 16],
        first,
        prev,
        records: vec![b"{}".to_vec()],
    };
    let message = |batch| Message::Audit(audit::Request { batch });
    assert_eq!(status(&world.ask(&acme.audit, &message(batch(0, START)), NOW).await), Status::Ok);
    edit(&world.database().await, "UPDATE edge_chains SET next = 1000").await;
    let next = message(batch(1, edge_link(&START, b"{}")));
    let (body, _) = world.sealed(&acme.audit, &next, NOW).await;
    assert_eq!(world.service.message(&body, NOW).await.status, 503);
}

#[tokio::test]
async fn a_chain_cut_together_with_its_checkpoints_is_seen_by_the_copy_beside_the_database() {
    let world = World::on_disk().await;
    let acme = world.tenant("acme").await;
    world.put(&acme, b"value", NOW).await;
    world.service.maintain(later(60_000)).await.unwrap();
    let whole = world.service.integrity().await.unwrap();
    assert_eq!(whole.broken, None);
    let pool = world.database().await;
    support::let_log_be_bent(&pool).await;
    edit(&pool, "DELETE FROM audit_events WHERE n > 3").await;
    edit(&pool, "DELETE FROM checkpoints").await;
    let cut = world.service.integrity().await.unwrap();
    let missing = Break::Truncated { first: 4, last: whole.good };
    assert_eq!((cut.good, cut.broken), (3, Some(missing)));
}
