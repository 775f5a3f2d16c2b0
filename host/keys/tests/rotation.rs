//! New keys while the service runs, on either store: no request fails, and what was sealed by an
//! old key and put back is noticed.
#![allow(clippy::unwrap_used)]

mod support;

use postern_core::hex;
use postern_core::time::UnixMillis;
use postern_crp::Role;
use postern_crp::message::{Answer, Message, Status};
use postern_keys::renewal::Renewal;
use postern_keys::rotation::{self, Rotated};
use postern_keys::{Fault, Service};
use support::*;

async fn value(world: &World, tenant: &Tenant, now: UnixMillis) -> Vec<u8> {
    let request = releasing(&tenant.credential.tenant);
    let answer = world.release(&tenant.credential, request, now).await;
    assert_eq!(answer.status, Status::Ok);
    answer.fields[0].1.expose().to_vec()
}

async fn kek_ids(world: &World) -> Vec<String> {
    let pool = world.database().await;
    let rows: Vec<(String,)> =
        sqlx::query_as("SELECT DISTINCT kek_id FROM deks").fetch_all(&pool).await.unwrap();
    rows.into_iter().map(|(id,)| id).collect()
}

#[tokio::test]
async fn another_key_encryption_key_takes_over_while_the_service_runs() {
    let world = World::on_disk().await;
    let acme = world.tenant("acme").await;
    world.put(&acme, b"value", NOW).await;
    let old = kek_ids(&world).await;
    // Given to the replicas first; nothing else changes by that.
    rotation::prepare_kek(&world.config).unwrap();
    assert_eq!(kek_ids(&world).await, old);
    let rotated = rotation::kek(&world.config, NOW).await.unwrap();
    assert_eq!(rotated, Rotated { keys: 2, values: 0 });
    let new = kek_ids(&world).await;
    assert_eq!(new.len(), 1);
    assert_ne!(new, old);
    // The service that was there all the time: old values, new values, a new tenant.
    assert_eq!(value(&world, &acme, NOW).await, b"value");
    world.put(&acme, b"another", NOW).await;
    let other = world.tenant("other").await;
    world.put(&other, b"theirs", NOW).await;
    assert_eq!(kek_ids(&world).await, new, "it wraps by the new key, too");
    world.service.close(NOW).await;
    // The new key is all that is needed.
    std::fs::remove_file(world.config.data_dir.join("kek.previous.key")).unwrap();
    assert!(!world.config.data_dir.join("kek.next.key").exists());
    let service = Service::open(&world.config, NOW).await.unwrap();
    let world = World { service, ..world };
    assert_eq!(value(&world, &acme, NOW).await, b"another");
    assert_eq!(value(&world, &other, NOW).await, b"theirs");
    assert_eq!(world.service.integrity().await.unwrap().broken, None);
}

#[tokio::test]
async fn the_key_that_was_in_use_opens_nothing_any_more() {
    let world = World::on_disk().await;
    let acme = world.tenant("acme").await;
    world.put(&acme, b"value", NOW).await;
    rotation::kek(&world.config, NOW).await.unwrap();
    world.service.close(NOW).await;
    let dir = &world.config.data_dir;
    std::fs::rename(dir.join("kek.previous.key"), dir.join("kek.key")).unwrap();
    assert_eq!(Service::open(&world.config, NOW).await.err(), Some(Fault::OtherKek));
}

#[tokio::test]
async fn a_rotation_that_ended_before_its_files_were_moved_is_done_again() {
    let world = World::on_disk().await;
    let acme = world.tenant("acme").await;
    world.put(&acme, b"value", NOW).await;
    let dir = world.config.data_dir.clone();
    rotation::prepare_kek(&world.config).unwrap();
    let [key, next] =
        ["kek.key", "kek.next.key"].map(|file| std::fs::read(dir.join(file)).unwrap());
    rotation::kek(&world.config, NOW).await.unwrap();
    // As if it had died behind the commit.
    postern_files::write_private(dir.join("kek.key"), &key).unwrap();
    postern_files::write_private(dir.join("kek.next.key"), &next).unwrap();
    world.service.close(NOW).await;
    let service = Service::open(&world.config, NOW).await.unwrap();
    let world = World { service, ..world };
    assert_eq!(value(&world, &acme, NOW).await, b"value");
    assert_eq!(rotation::kek(&world.config, NOW).await.unwrap().keys, 0, "rows were done");
    assert_eq!(std::fs::read(dir.join("kek.key")).unwrap(), next);
}

#[tokio::test]
async fn a_tenants_values_are_sealed_anew_and_old_rows_that_are_put_back_do_not_open() {
    let world = World::on_disk().await;
    let (acme, other) = (world.tenant("acme").await, world.tenant("other").await);
    world.put(&acme, b"value", NOW).await;
    world.put(&other, b"theirs", NOW).await;
    let issuer = async || {
        world.operate(&acme.operator, "GET", "/api/v1/invites/issuer", b"", NOW).await.body
    };
    let before = issuer().await;
    let pool = world.database().await;
    sqlx::query("CREATE TABLE kept AS SELECT * FROM credential_versions")
        .execute(&pool)
        .await
        .unwrap();
    let rotated = rotation::dek(&world.config, "acme", NOW).await.unwrap();
    assert_eq!(rotated, Rotated { keys: 1, values: 1 });
    assert_eq!(value(&world, &acme, NOW).await, b"value");
    assert_eq!(value(&world, &other, NOW).await, b"theirs");
    assert_eq!(issuer().await, before, "the key that signs invites' tokens is the same");
    world.put(&acme, b"another", NOW).await;
    assert_eq!(value(&world, &acme, NOW).await, b"another");
    // The old ciphertext in the new row, then the old row whole.
    let mine = "WHERE k.cred_id = v.cred_id";
    for edits in [
        format!(
            "UPDATE credential_versions AS v SET value_ct = (SELECT value_ct FROM kept k {mine})"
        ),
        format!("UPDATE credential_versions AS v SET dek_id = (SELECT dek_id FROM kept k {mine})"),
        "UPDATE credentials SET version = 1; UPDATE credential_versions SET version = 1".to_owned(),
    ] {
        edit(&pool, &edits).await;
        let answer = world.release(&acme.credential, releasing("acme"), NOW).await;
        assert_eq!((answer.status, answer.fields.len()), (Status::Denied, 0), "{edits}");
    }
    // Nor is it sealed anew by mistake.
    let refused = rotation::dek(&world.config, "acme", NOW).await;
    assert_eq!(refused, Err(Fault::Sealed("credential")));
    for none in ["nobody", "*"] {
        assert!(rotation::dek(&world.config, none, NOW).await.is_err(), "{none}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_fails_while_keys_change() {
    let world = World::on_disk().await;
    let acme = world.tenant("acme").await;
    world.put(&acme, b"value", NOW).await;
    let asks = async {
        let mut asked = 0;
        for _ in 0..60 {
            let message = Message::Release(releasing("acme"));
            let answer = world.ask(&acme.credential, &message, NOW).await;
            assert_eq!(status(&answer), Status::Ok);
            let message = Message::Store(storing("acme", b"value"));
            let answer = world.ask(&acme.operator, &message, NOW).await;
            assert_eq!(status(&answer), Status::Ok);
            asked += 2;
        }
        asked
    };
    let rotates = async {
        for _ in 0..5 {
            rotation::kek(&world.config, NOW).await.unwrap();
            rotation::dek(&world.config, "acme", NOW).await.unwrap();
        }
    };
    let (asked, ()) = tokio::join!(asks, rotates);
    assert_eq!(asked, 120);
    assert_eq!(world.service.integrity().await.unwrap().broken, None);
}

/// A new key for the identity of `by`, and the message that makes it so.
fn renewing(by: &Party, role: Role, overlap_s: u32, now: UnixMillis) -> (Party, Message) {
    let new = Party { id: by.id, ..Party::new(&by.tenant) };
    let key = new.identity.public_key();
    let renewal = Renewal::sign(&signing(by), by.id, role, &key, (overlap_s, now));
    let message = enrolment(renewal.written(), role, &new);
    (new, message)
}

/// What a renewal is told. It is sent as an enrolment is: by nobody yet.
async fn renewed(world: &World, new: &Party, message: &Message, now: UnixMillis) -> Status {
    let seed = postern_core::secret::Secret::new(new.seed.to_vec());
    let identity = postern_crp::Identity::from_seed(&seed).unwrap();
    let sender = Party { identity, ..Party::new("") };
    match world.ask(&sender, message, now).await {
        Answer::Enrol(answer) => {
            assert_eq!((answer.gateway_id, &answer.tenant), (new.id, &new.tenant));
            Status::Ok
        }
        answer => status(&answer),
    }
}

async fn released(world: &World, party: &Party, now: UnixMillis) -> Status {
    status(&world.ask(party, &Message::Release(releasing("acme")), now).await)
}

#[tokio::test]
async fn a_gateways_key_hands_over_to_another_and_ends_with_the_overlap() {
    let world = World::on_disk().await;
    let acme = world.tenant("acme").await;
    world.put(&acme, b"value", NOW).await;
    let old = &acme.credential;
    let (new, message) = renewing(old, Role::Credential, 60, NOW);
    assert_eq!(released(&world, &new, NOW).await, Status::Denied, "not before it is renewed");
    assert_eq!(renewed(&world, &new, &message, NOW).await, Status::Ok);
    assert_eq!(renewed(&world, &new, &message, NOW).await, Status::Ok, "and nothing changes");
    for party in [old, &new] {
        assert_eq!(released(&world, party, later(59_999)).await, Status::Ok);
    }
    assert_eq!(released(&world, old, later(60_000)).await, Status::Denied);
    assert_eq!(released(&world, &new, later(60_000)).await, Status::Ok);
    // Whoever has lost the answer hears it after the overlap, too.
    let (late, key) = (later(120_000), new.identity.public_key());
    let renewal = Renewal::sign(&signing(old), old.id, Role::Credential, &key, (60, late));
    let again = enrolment(renewal.written(), Role::Credential, &new);
    assert_eq!(renewed(&world, &new, &again, late).await, Status::Ok);
    assert_eq!(released(&world, old, late).await, Status::Denied);
    let log = world.export(&acme, NOW).await;
    assert_eq!(logged(&log).matches("identity_renewed").count(), 1);
    // The same for an operator, whose requests are signed in another way.
    let (new, message) = renewing(&acme.operator, Role::Operator, 60, NOW);
    assert_eq!(renewed(&world, &new, &message, NOW).await, Status::Ok);
    for (party, now, want) in [
        (&acme.operator, NOW, 200),
        (&new, NOW, 200),
        (&acme.operator, later(60_000), 401),
        (&new, later(60_000), 200),
    ] {
        let answer = world.operate(party, "GET", "/api/v1/gateways", b"", now).await;
        assert_eq!(answer.status, want);
    }
    // Whoever is revoked is so under both keys, and renews nothing.
    let path = format!("/api/v1/gateways/{}/revoke", hex::lower(&old.id));
    assert_eq!(world.operate(&new, "POST", &path, b"", NOW).await.status, 204);
    let (newer, message) = renewing(&acme.gate, Role::Gate, 60, NOW);
    assert_eq!(renewed(&world, &newer, &message, NOW).await, Status::Denied);
    assert_eq!(released(&world, old, NOW).await, Status::Denied);
}

#[tokio::test]
async fn an_old_key_does_not_outlive_its_own_enrolment() {
    let world = World::on_disk().await;
    let acme = world.tenant("acme").await;
    world.put(&acme, b"value", NOW).await;
    let old = &acme.credential;
    let end = 90 * 24 * 3600 * 1000;
    let near = later(end - 60_000);
    let (new, message) = renewing(old, Role::Credential, 3600, near);
    assert_eq!(renewed(&world, &new, &message, near).await, Status::Ok);
    assert_eq!(released(&world, old, later(end - 1)).await, Status::Ok);
    assert_eq!(released(&world, old, later(end)).await, Status::Denied);
    assert_eq!(released(&world, &new, later(end)).await, Status::Ok);
}

#[tokio::test]
async fn only_the_key_in_use_renews_and_only_its_own_identity() {
    let world = World::on_disk().await;
    let (acme, other) = (world.tenant("acme").await, world.tenant("other").await);
    world.put(&acme, b"value", NOW).await;
    let gateway = acme.credential.id;
    let by = |party: &Party, role, at: UnixMillis| {
        renewing(&Party { id: gateway, seed: party.seed, ..Party::new("acme") }, role, 60, at)
    };
    let (stale, long) = (UnixMillis(NOW.0 - 60_001), 24 * 3600 + 1);
    for (new, message) in [
        by(&other.credential, Role::Credential, NOW),
        by(&acme.gate, Role::Credential, NOW),
        by(&acme.credential, Role::Gate, NOW),
        by(&acme.credential, Role::Credential, stale),
        renewing(&acme.credential, Role::Credential, long, NOW),
    ] {
        assert_eq!(renewed(&world, &new, &message, NOW).await, Status::Denied);
    }
    // Nor does the key before, to a third.
    let (second, message) = renewing(&acme.credential, Role::Credential, 60, NOW);
    assert_eq!(renewed(&world, &second, &message, NOW).await, Status::Ok);
    let (third, message) = renewing(&acme.credential, Role::Credential, 60, NOW);
    assert_eq!(renewed(&world, &third, &message, NOW).await, Status::Denied);
    // An overlap that was made longer in the database, or another key before, is not believed.
    let pool = world.database().await;
    for edits in [
        "UPDATE identities SET previous_until_ms = previous_until_ms + 1 WHERE previous_key IS NOT NULL",
        "UPDATE identities SET previous_key = NULL WHERE previous_key IS NOT NULL",
    ] {
        edit(&pool, edits).await;
        let message = Message::Release(releasing("acme"));
        let (body, _) = world.sealed(&second, &message, NOW).await;
        assert_eq!(world.service.message(&body, NOW).await.status, 503);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_fails_while_a_gateways_keys_change() {
    let world = World::on_disk().await;
    let acme = world.tenant("acme").await;
    world.put(&acme, b"value", NOW).await;
    let mut using = acme.credential;
    for _ in 0..4 {
        let (new, message) = renewing(&using, Role::Credential, 60, NOW);
        // The module goes on with its key until it is started again with the other.
        let asks = async || {
            for _ in 0..15 {
                assert_eq!(released(&world, &using, NOW).await, Status::Ok);
            }
        };
        let renews = renewed(&world, &new, &message, NOW);
        let ((), (), told) = tokio::join!(asks(), asks(), renews);
        assert_eq!(told, Status::Ok);
        asks().await;
        using = new;
    }
    assert_eq!(released(&world, &using, NOW).await, Status::Ok);
    assert_eq!(world.service.integrity().await.unwrap().broken, None);
}
