//! Every message type as a gateway and an operator send it, and as an attacker would.
#![allow(clippy::unwrap_used)]

mod support;

use postern_core::chain::{START, edge_link};
use postern_core::identity::KeyState;
use postern_core::key_service::Batch;
use postern_core::secret::Secret;
use postern_crp::Role;
use postern_crp::message::{Answer, Message, Status, audit, directory, release, store};
use support::*;

#[tokio::test]
async fn a_stored_value_is_released_to_its_own_gateway_with_its_event_number() {
    let world = World::in_memory().await;
    let acme = world.tenant("acme").await;
    world.put(&acme, b"xoxb-secret", NOW).await;
    let answer = world.release(&acme.credential, releasing("acme"), NOW).await;
    assert_eq!((answer.status, answer.version), (Status::Ok, 1));
    assert_eq!(answer.fields[0].1.expose(), b"xoxb-secret");
    assert_eq!(answer.binding_hash, binding("acme").hash());
    let export = world.export(&acme, NOW).await;
    let event = export.lines().nth(answer.receipt.seq as usize).unwrap();
    assert!(event.contains(&format!("\"n\":\"{}\"", answer.receipt.seq)), "{event}");
}

type Change = fn(&mut release::Request);

#[tokio::test]
async fn a_release_that_is_not_as_bound_is_refused_sealed() {
    let world = World::in_memory().await;
    let acme = world.tenant("acme").await;
    world.put(&acme, b"xoxb-secret", NOW).await;
    let rows: [(Change, Status); 8] = [
        (|r| r.credential = "other".into(), Status::UnknownCredential),
        (|r| r.host = "evil.example".into(), Status::Denied),
        (|r| r.host = "slack.com:8443".into(), Status::Denied),
        (|r| r.method = "DELETE".into(), Status::Denied),
        (|r| r.path = "/admin".into(), Status::Denied),
        (|r| r.path = "/api/../admin".into(), Status::Denied),
        (|r| r.binding_hash = [0; 32], Status::Denied),
        (|r| r.approval = Some([1; 16]), Status::NeedsApproval),
    ];
    for (at, (change, want)) in rows.into_iter().enumerate() {
        let mut request = releasing("acme");
        change(&mut request);
        let answer = world.release(&acme.credential, request, NOW).await;
        assert_eq!((answer.status, answer.fields.len()), (want, 0), "row {at}");
    }
    let mut request = releasing("acme");
    request.capability = vec![1];
    assert_eq!(world.release(&acme.credential, request, NOW).await.status, Status::Denied);
}

#[tokio::test]
async fn another_tenants_credential_is_unknown() {
    let world = World::in_memory().await;
    let (acme, other) = (world.tenant("acme").await, world.tenant("other").await);
    world.put(&acme, b"xoxb-secret", NOW).await;
    let answer = world.release(&other.credential, releasing("acme"), NOW).await;
    assert_eq!(answer.status, Status::UnknownCredential);
    let spoofed = support::Party { tenant: "acme".into(), ..other.credential };
    let answer = world.release(&spoofed, releasing("acme"), NOW).await;
    assert_eq!(answer.status, Status::Denied);
}

#[tokio::test]
async fn an_identity_may_send_only_its_own_types() {
    let world = World::in_memory().await;
    let acme = world.tenant("acme").await;
    world.put(&acme, b"xoxb-secret", NOW).await;
    let release = Message::Release(releasing("acme"));
    for party in [&acme.gate, &acme.audit, &acme.operator] {
        assert_eq!(status(&world.ask(party, &release, NOW).await), Status::Denied);
    }
    let directory = Message::Directory(directory::Request {
        ids: vec![postern_core::api_key::KeyId::new(b"AbCd0123").unwrap()],
    });
    for party in [&acme.credential, &acme.audit, &acme.operator] {
        assert_eq!(status(&world.ask(party, &directory, NOW).await), Status::Denied);
    }
    let store = Message::Store(storing("acme", b"new"));
    for party in [&acme.gate, &acme.credential, &acme.audit] {
        assert_eq!(status(&world.ask(party, &store, NOW).await), Status::Denied);
    }
}

#[tokio::test]
async fn a_forged_signature_an_unknown_and_a_revoked_gateway_get_the_same_refusal() {
    let world = World::in_memory().await;
    let acme = world.tenant("acme").await;
    world.put(&acme, b"xoxb-secret", NOW).await;
    let id = acme.credential.id;
    let forged = Party { id, ..Party::new("acme") };
    let unknown = Party { id: [9; 16], ..Party::new("acme") };
    let hex: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
    let path = format!("/api/v1/gateways/{hex}/revoke");
    let revoked = world.operate(&acme.operator, "POST", &path, b"", NOW).await;
    assert_eq!(revoked.status, 204);
    let mut sizes = Vec::new();
    for party in [&forged, &unknown, &acme.credential] {
        let (body, awaiting) = world.sealed(party, &Message::Release(releasing("acme")), NOW).await;
        let reply = world.service.message(&body, NOW).await;
        let answer = awaiting.open(&reply.body).unwrap();
        assert_eq!(status(&answer), Status::Denied);
        sizes.push((reply.status, reply.body.len()));
    }
    assert!(sizes.iter().all(|size| *size == sizes[0]), "{sizes:?}");
}

#[tokio::test]
async fn the_clock_may_differ_by_a_minute_and_no_more() {
    let world = World::in_memory().await;
    let acme = world.tenant("acme").await;
    world.put(&acme, b"xoxb-secret", NOW).await;
    for (ahead, want) in [
        (60_000, Status::Ok),
        (60_001, Status::Denied),
        (-60_000, Status::Ok),
        (-60_001, Status::Denied),
    ] {
        let (body, awaiting) =
            world.sealed(&acme.credential, &Message::Release(releasing("acme")), NOW).await;
        let then = postern_core::time::UnixMillis(NOW.0.saturating_add_signed(ahead));
        let reply = world.service.message(&body, then).await;
        assert_eq!(status(&awaiting.open(&reply.body).unwrap()), want, "{ahead}");
    }
}

#[tokio::test]
async fn of_many_replays_at_once_one_is_served_and_one_recorded() {
    let world = World::on_disk().await;
    let acme = world.tenant("acme").await;
    world.put(&acme, b"xoxb-secret", NOW).await;
    let (body, awaiting) =
        world.sealed(&acme.credential, &Message::Release(releasing("acme")), NOW).await;
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let (service, body) = (world.service.clone(), body.clone());
            tokio::spawn(async move { service.message(&body, NOW).await })
        })
        .collect();
    let mut served = 0;
    for task in tasks {
        let reply = task.await.unwrap();
        served += usize::from(status(&awaiting.open(&reply.body).unwrap()) == Status::Ok);
    }
    assert_eq!(served, 1);
    let kinds = kinds(&world.export(&acme, NOW).await);
    assert_eq!(kinds.iter().filter(|kind| *kind == "message_replayed").count(), 1);
    assert_eq!(kinds.iter().filter(|kind| *kind == "credential_release").count(), 1);
}

#[tokio::test]
async fn any_flipped_byte_of_a_message_gives_no_value() {
    let world = World::in_memory().await;
    let acme = world.tenant("acme").await;
    world.put(&acme, b"xoxb-secret", NOW).await;
    let (body, _) = world.sealed(&acme.credential, &Message::Release(releasing("acme")), NOW).await;
    for at in 0..body.len() {
        let mut changed = body.clone();
        changed[at] ^= 1;
        let reply = world.service.message(&changed, NOW).await;
        assert!(matches!(reply.status, 400 | 409), "byte {at}: {}", reply.status);
        assert!(reply.body.is_empty(), "byte {at}");
    }
    assert_eq!(world.service.message(&body[..body.len() - 1], NOW).await.status, 400);
    assert_eq!(world.service.message(b"", NOW).await.status, 400);
    assert_eq!(world.service.message(&vec![0; 65_537], NOW).await.status, 413);
}

#[tokio::test]
async fn an_old_epochs_key_serves_ten_minutes_longer_and_then_is_gone() {
    let world = World::in_memory().await;
    let acme = world.tenant("acme").await;
    world.put(&acme, b"xoxb-secret", NOW).await;
    let hour_end = (NOW.0 / 3_600_000 + 1) * 3_600_000;
    let evidence = world.evidence(NOW).await;
    let sealed_at = |now| {
        let asker = postern_crp::exchange::Asker {
            identity: &acme.credential.identity,
            gateway_id: acme.credential.id,
            tenant: "acme",
            now,
        };
        let message = Message::Release(releasing("acme"));
        postern_crp::exchange::ask(&evidence, &asker, &message, &fresh()).unwrap().0
    };
    for (now, want) in [(hour_end + 599_000, 200), (hour_end + 600_000, 409)] {
        let now = postern_core::time::UnixMillis(now);
        assert_eq!(world.service.message(&sealed_at(now), now).await.status, want);
    }
}

#[tokio::test]
async fn a_join_token_admits_one_key_of_its_role_for_ten_minutes() {
    let world = World::in_memory().await;
    let again = |token: &Secret| Secret::new(token.expose().to_vec());
    let (gateway, operator) = world.service.mint("acme", NOW).await.unwrap();
    let party = Party::new("");
    let wrong_role = enrolment(again(&gateway.gate), Role::Operator, &party);
    assert_eq!(status(&world.ask(&party, &wrong_role, NOW).await), Status::Denied);
    world.enrol(again(&gateway.gate), Role::Gate, "acme").await;
    let used = enrolment(again(&gateway.gate), Role::Gate, &party);
    assert_eq!(status(&world.ask(&party, &used, NOW).await), Status::Denied);
    let late = enrolment(operator.token, Role::Operator, &party);
    assert_eq!(status(&world.ask(&party, &late, later(600_000)).await), Status::Denied);
    let invented = enrolment(Secret::new(b"crpj_x".to_vec()), Role::Gate, &party);
    assert_eq!(status(&world.ask(&party, &invented, NOW).await), Status::Denied);
}

#[tokio::test]
async fn a_value_that_could_split_a_header_or_is_too_long_is_not_stored() {
    let world = World::in_memory().await;
    let acme = world.tenant("acme").await;
    let long = vec![b'x'; 16 * 1024 + 1];
    for value in [b"a\r\nb".as_slice(), b"a\nb", b"a\0b", b"", &long] {
        let message = Message::Store(storing("acme", value));
        assert_eq!(status(&world.ask(&acme.operator, &message, NOW).await), Status::Denied);
    }
    let mut foreign = storing("acme", b"value");
    foreign.bindings = vec![store::Binding::new(binding("other").canonical())];
    let answer = world.ask(&acme.operator, &Message::Store(foreign), NOW).await;
    assert_eq!(status(&answer), Status::Denied);
    let mut loose = storing("acme", b"value");
    loose.bindings = vec![store::Binding::new(b"{}".to_vec())];
    let answer = world.ask(&acme.operator, &Message::Store(loose), NOW).await;
    assert_eq!(status(&answer), Status::Denied);
}

#[tokio::test]
async fn a_new_version_replaces_the_old_one_only_where_it_was_expected() {
    let world = World::in_memory().await;
    let acme = world.tenant("acme").await;
    world.put(&acme, b"one", NOW).await;
    let mut second = storing("acme", b"two");
    second.expected = store::Expected::Absent;
    let answer = world.ask(&acme.operator, &Message::Store(second), NOW).await;
    assert_eq!(status(&answer), Status::VersionConflict);
    let mut second = storing("acme", b"two");
    second.expected = store::Expected::Version(1);
    let answer = world.ask(&acme.operator, &Message::Store(second), NOW).await;
    assert!(matches!(answer, Answer::Store(stored) if stored.version == 2));
    let released = world.release(&acme.credential, releasing("acme"), NOW).await;
    assert_eq!((released.version, released.fields[0].1.expose()), (2, b"two".as_slice()));
}

#[tokio::test]
async fn an_ended_or_deleted_credential_is_not_released() {
    let world = World::in_memory().await;
    let acme = world.tenant("acme").await;
    let mut ending = storing("acme", b"value");
    ending.not_after = Some(later(1000));
    let answer = world.ask(&acme.operator, &Message::Store(ending), NOW).await;
    assert_eq!(status(&answer), Status::Ok);
    let released = world.release(&acme.credential, releasing("acme"), later(999)).await;
    assert_eq!((released.status, released.not_after), (Status::Ok, later(1000)));
    let released = world.release(&acme.credential, releasing("acme"), later(1000)).await;
    assert_eq!(released.status, Status::Expired);
    let path = "/api/v1/credentials/slack";
    assert_eq!(world.operate(&acme.operator, "DELETE", path, b"", NOW).await.status, 204);
    let released = world.release(&acme.credential, releasing("acme"), NOW).await;
    assert_eq!(released.status, Status::UnknownCredential);
}

#[tokio::test]
async fn the_directory_shows_own_keys_with_their_state_and_no_others() {
    let world = World::in_memory().await;
    let (acme, other) = (world.tenant("acme").await, world.tenant("other").await);
    assert_eq!(world.api_key(&acme, "AbCd0123", "ada", NOW).await, 200);
    assert_eq!(world.api_key(&other, "OtherKey", "bob", NOW).await, 200);
    let answer = world.look_up(&acme.gate, &["AbCd0123", "NoSuchId", "OtherKey"], NOW).await;
    let found: Vec<bool> = answer.entries.iter().map(|(_, entry)| entry.is_some()).collect();
    assert_eq!(found, [true, false, false]);
    let record = &answer.entries[0].1.as_ref().unwrap().record;
    assert_eq!((record.state, record.user.as_str()), (KeyState::Active, "ada"));
    let path = "/api/v1/keys/AbCd0123/revoke";
    assert_eq!(world.operate(&acme.operator, "POST", path, b"", NOW).await.status, 200);
    let answer = world.look_up(&acme.gate, &["AbCd0123"], NOW).await;
    assert_eq!(answer.entries[0].1.as_ref().unwrap().record.state, KeyState::Revoked);
    let list = world.operate(&acme.operator, "GET", "/api/v1/keys", b"", NOW).await;
    let list: serde_json::Value = serde_json::from_slice(&list.body).unwrap();
    assert_eq!(list["keys"][0]["last_used"], NOW.0);
}

fn batch(first: u64, prev: [u8; 32], records: &[&str]) -> Batch {
    let records = records.iter().map(|text| text.as_bytes().to_vec()).collect();
    Batch { boot: [1; 16], vm: [2; 16], first, prev, records }
}

async fn deliver(world: &World, tenant: &Tenant, batch: Batch) -> u64 {
    match world.ask(&tenant.audit, &Message::Audit(audit::Request { batch }), NOW).await {
        Answer::Audit(answer) => answer.next,
        _ => panic!("not taken"),
    }
}

fn kinds(export: &str) -> Vec<String> {
    use base64::Engine;
    let bytes = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let bytes = line["bytes"].as_str()?.to_owned();
        base64::prelude::BASE64_URL_SAFE_NO_PAD.decode(bytes).ok()
    };
    let kind = |bytes: Vec<u8>| {
        let event: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        event["kind"].as_str().unwrap().to_owned()
    };
    export.lines().skip(1).filter_map(bytes).map(kind).collect()
}

#[tokio::test]
async fn records_are_kept_once_and_gaps_and_breaks_are_named() {
    let world = World::in_memory().await;
    let acme = world.tenant("acme").await;
    let before = kinds(&world.export(&acme, NOW).await).len();
    let one = edge_link(&START, b"{\"a\":1}");
    let two = edge_link(&one, b"{\"a\":2}");
    assert_eq!(deliver(&world, &acme, batch(0, START, &["{\"a\":1}"])).await, 1);
    // Again with one more: the first is known.
    assert_eq!(deliver(&world, &acme, batch(0, START, &["{\"a\":1}", "{\"a\":2}"])).await, 2);
    assert_eq!(deliver(&world, &acme, batch(0, START, &["{\"a\":1}"])).await, 2);
    // Record 2 never came.
    let three = edge_link(&two, b"lost");
    assert_eq!(deliver(&world, &acme, batch(3, three, &["{\"a\":4}"])).await, 4);
    // The predecessor is not the known head.
    assert_eq!(deliver(&world, &acme, batch(4, [9; 32], &["{\"a\":5}"])).await, 5);
    let kinds = kinds(&world.export(&acme, NOW).await);
    assert_eq!(
        kinds[before..],
        ["request", "request", "edge_gap", "request", "edge_break", "request"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_on_one_database_write_one_chain() {
    let world = World::on_disk().await;
    let acme = world.tenant("acme").await;
    let other = postern_keys::Service::open(&world.config, NOW).await.unwrap();
    let mut tasks = Vec::new();
    for vm in 0..24 {
        let batch = Batch { vm: [vm; 16], ..batch(0, START, &["{\"a\":1}"]) };
        let message = Message::Audit(audit::Request { batch });
        let (body, _) = world.sealed(&acme.audit, &message, NOW).await;
        let service = if vm % 2 == 0 { world.service.clone() } else { other.clone() };
        tasks.push(tokio::spawn(async move { service.message(&body, NOW).await.status }));
    }
    for task in tasks {
        assert_eq!(task.await.unwrap(), 200);
    }
    let report = other.integrity().await.unwrap();
    assert_eq!(report.broken, None);
    let kinds = kinds(&world.export(&acme, NOW).await);
    assert_eq!(kinds.iter().filter(|kind| *kind == "request").count(), 24);
}
