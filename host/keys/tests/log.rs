//! The audit log as a tree: proofs against checkpoints, and a database that only grows.

mod support;

use postern_core::chain::START;
use postern_core::key_service::Batch;
use postern_crp::message::{Message, audit};
use postern_keys::audit::checkpoint::Checkpoint;
use postern_keys::audit::proof::{Consistency, Inclusion, NotProven};
use postern_keys::audit::{Break, verify_export};
use postern_keys::{Fault, Service};
use support::{NOW, Tenant, World, later, run};

async fn get(world: &World, tenant: &Tenant, path: &str) -> (u16, String) {
    let answer = world.operate(&tenant.operator, "GET", path, b"", NOW).await;
    (answer.status, String::from_utf8(answer.body).unwrap())
}

async fn checkpoint(world: &World, after: u64) -> (String, Checkpoint) {
    world.service.maintain(later(after)).await.unwrap();
    let note = world.service.last_checkpoint().await.unwrap().unwrap();
    let point = Checkpoint::open(&note, &world.service.audit_key()).unwrap();
    (note, point)
}

#[tokio::test]
async fn every_event_under_a_checkpoint_has_a_receipt_that_stands_alone() {
    let world = World::in_memory().await;
    let (acme, other) = (world.tenant("acme").await, world.tenant("other").await);
    let (_, point) = checkpoint(&world, 60_000).await;
    let (key, size) = (world.service.audit_key(), point.head.n);
    let mut withheld = 0;
    for n in 1..=size {
        let (status, text) = get(&world, &acme, &format!("/audit/proof/{n}")).await;
        assert_eq!(status, 200);
        let included = Inclusion::parse(&text).unwrap().verify(&key).unwrap();
        assert_eq!((included.n, included.checkpoint), (n, point));
        withheld += u64::from(included.withheld);
    }
    assert!(withheld > 0 && withheld < size);
    world.put(&other, b"value", later(60_500)).await;
    for path in ["0", "9999", &(size + 1).to_string()] {
        assert_eq!(get(&world, &acme, &format!("/audit/proof/{path}")).await.0, 404, "{path}");
    }
    assert_eq!(get(&world, &acme, "/audit/proof/x").await.0, 400);
}

#[tokio::test]
async fn who_was_refused_gets_a_receipt_by_the_decisions_id() {
    let world = World::in_memory().await;
    let (acme, other) = (world.tenant("acme").await, world.tenant("other").await);
    let id = "000102030405060708090a0b0c0d0e0f";
    let record = |agent: &str, id: &str| {
        let record = serde_json::json!({"agent": agent, "decision_id": id, "v": 1});
        record.to_string().into_bytes()
    };
    // The last says of itself, in a text of the caller's, that it is the first.
    let lie = format!("\",\"decision_id\":\"{id}\",\"x\":\"");
    let records = vec![record("bot", id), record(&lie, &"ff".repeat(16))];
    let batch = Batch { boot: [1; 16], vm: [2; 16], first: 0, prev: START, records };
    world.ask(&acme.audit, &Message::Audit(audit::Request { batch }), NOW).await;
    let (_, point) = checkpoint(&world, 60_000).await;
    let (status, text) = get(&world, &acme, &format!("/audit/proof/decision/{id}")).await;
    assert_eq!(status, 200);
    let proof = Inclusion::parse(&text).unwrap();
    let included = proof.verify(&world.service.audit_key()).unwrap();
    assert_eq!((included.n, included.checkpoint), (point.head.n - 1, point));
    for (tenant, id, status) in [
        (&other, id, 404),
        (&acme, "00000000000000000000000000000000", 404),
        (&acme, "0001", 400),
        (&acme, "%", 400),
    ] {
        let path = format!("/audit/proof/decision/{id}");
        assert_eq!(get(&world, tenant, &path).await.0, status, "{path}");
    }
}

#[tokio::test]
async fn more_events_than_a_kept_subtree_has_prove_the_same() {
    let world = World::in_memory().await;
    let acme = world.tenant("acme").await;
    let (_, old) = checkpoint(&world, 60_000).await;
    // Four events each.
    for _ in 0..200 {
        world.service.mint("acme", NOW).await.unwrap();
    }
    let (note, new) = checkpoint(&world, 120_000).await;
    let (key, size) = (world.service.audit_key(), new.head.n);
    assert!(size > 3 * 256, "{size}");
    let whole = verify_export(world.export(&acme, NOW).await.as_bytes(), &key, [&*note]);
    assert_eq!((whole.good, whole.broken), (size, None));
    for n in [1, 255, 256, 257, 512, 513, 700, size] {
        let (_, text) = get(&world, &acme, &format!("/audit/proof/{n}")).await;
        assert_eq!(Inclusion::parse(&text).unwrap().verify(&key).unwrap().n, n);
    }
    let path = format!("/log/consistency?from={}", old.head.n);
    let (status, text) = get(&world, &acme, &path).await;
    assert_eq!(status, 200);
    let proof = Consistency::parse(&text).unwrap();
    assert_eq!(proof.verify(&old, &key), Ok(new));
    let anew = Checkpoint { root: [9; 32], ..old };
    assert_eq!(proof.verify(&anew, &key), Err(NotProven::Consistency));
    let longer = Checkpoint { head: postern_keys::audit::Link { n: size + 1, ..old.head }, ..old };
    let cut = NotProven::Shorter { old: size + 1, new: size };
    assert_eq!(proof.verify(&longer, &key), Err(cut));
    for (from, status) in [("0", 404), ("99999", 404), ("x", 400), ("", 400)] {
        assert_eq!(get(&world, &acme, &format!("/log/consistency?from={from}")).await.0, status);
    }
}

#[tokio::test]
async fn the_database_refuses_to_change_delete_or_slip_in_an_event() {
    let world = World::on_disk().await;
    let _ = world.tenant("acme").await;
    checkpoint(&world, 60_000).await;
    let pool = world.database().await;
    for statement in [
        "UPDATE audit_events SET bytes = x'00' WHERE n = 2",
        "UPDATE audit_events SET n = 99999 WHERE n = 2",
        "DELETE FROM audit_events WHERE n = (SELECT max(n) FROM audit_events)",
        "DELETE FROM audit_events",
        "INSERT OR REPLACE INTO audit_events SELECT * FROM audit_events WHERE n = 2",
        "INSERT INTO audit_events SELECT n + 1000, at_ms, tenant, prev, hash, sig, bytes, gone
         FROM audit_events WHERE n = 2",
        "UPDATE audit_events SET bytes = x'', gone = 3 WHERE n = 2",
        "UPDATE audit_events SET gone = 1",
        "UPDATE checkpoints SET note = ''",
        "DELETE FROM checkpoints",
        "INSERT OR REPLACE INTO checkpoints SELECT * FROM checkpoints",
    ] {
        let error = run(&pool, statement).await.unwrap_err().to_string();
        assert!(error.contains("append"), "{statement}: {error}");
    }
    assert_eq!(world.service.integrity().await.unwrap().broken, None);
}

#[tokio::test]
async fn no_checkpoint_is_signed_over_a_log_that_was_written_anew() {
    let world = World::on_disk().await;
    let acme = world.tenant("acme").await;
    let (kept, point) = checkpoint(&world, 60_000).await;
    let pool = world.database().await;
    support::let_log_be_bent(&pool).await;
    for statement in ["DELETE FROM audit_events WHERE n > 3", "DELETE FROM checkpoints"] {
        sqlx::query(statement).execute(&pool).await.unwrap();
    }
    world.service.close(NOW).await;
    let service = Service::open(&world.config, NOW).await.unwrap();
    let world = World { service, ..world };
    let cut = world.service.integrity().await.unwrap();
    assert!(matches!(cut.broken, Some(Break::Truncated { first: 4, .. })), "{:?}", cut.broken);
    // The key's holder writes other events in their place, and more.
    while world.service.integrity().await.unwrap().good < point.head.n {
        world.put(&acme, b"value", NOW).await;
    }
    world.put(&acme, b"value", NOW).await;
    let refused = world.service.maintain(later(120_000)).await;
    assert_eq!(refused, Err(Fault::Forged("audit_events")));
    assert_eq!(world.service.last_checkpoint().await.unwrap(), None);
    let key = world.service.audit_key();
    let report = verify_export(world.export(&acme, NOW).await.as_bytes(), &key, [&*kept]);
    assert_eq!(report.broken, Some(Break::Forked { n: point.head.n }));
}
