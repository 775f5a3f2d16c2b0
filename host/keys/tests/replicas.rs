//! Two services on one database of PostgreSQL. Runs with `POSTERN_STORE=postgres` alone.
#![allow(clippy::unwrap_used)]

mod support;

use postern_core::time::UnixMillis;
use postern_crp::message::{Message, Status};
use postern_keys::Service;
use postern_keys::audit::checkpoint::Checkpoint;
use support::*;

/// The other replica.
async fn another(world: &World) -> Option<Service> {
    if !world.on_postgres() {
        return None;
    }
    Some(world.replica("other").await)
}

async fn asked(service: &Service, body: &[u8], now: UnixMillis) -> u16 {
    service.message(body, now).await.status
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nonce_is_accepted_once_whichever_replica_it_comes_to() {
    let world = World::on_disk().await;
    let Some(other) = another(&world).await else { return };
    let acme = world.tenant("acme").await;
    world.put(&acme, b"value", NOW).await;
    let message = Message::Release(releasing("acme"));
    for _ in 0..20 {
        let (body, awaiting) = world.sealed(&acme.credential, &message, NOW).await;
        let (one, two) = tokio::join!(world.service.message(&body, NOW), other.message(&body, NOW));
        let replies = [one, two];
        let accepted = replies.iter().filter(|reply| {
            let answer = awaiting.open(&reply.body).unwrap();
            status(&answer) == Status::Ok
        });
        assert_eq!(accepted.count(), 1);
    }
    assert_eq!(other.integrity().await.unwrap().broken, None);
}

#[tokio::test]
async fn an_epoch_that_a_faster_clock_began_is_served_by_the_other_replica() {
    let world = World::on_disk().await;
    let Some(other) = another(&world).await else { return };
    let acme = world.tenant("acme").await;
    world.put(&acme, b"value", NOW).await;
    // The last seconds of an epoch here, the first of the next one there.
    let next = UnixMillis((NOW.seconds() / 3600 + 1) * 3_600_000);
    let (here, there) = (UnixMillis(next.0 - 2_000), UnixMillis(next.0 + 1_000));
    let message = Message::Release(releasing("acme"));
    world.service.maintain(there).await.unwrap();
    let (body, awaiting) = world.sealed(&acme.credential, &message, there).await;
    assert_eq!(asked(&other, &body, here).await, 409, "not known yet");
    other.maintain(here).await.unwrap();
    let reply = other.message(&body, here).await;
    assert_eq!(status(&awaiting.open(&reply.body).unwrap()), Status::Ok);
    // Its own evidence is still of the epoch that its clock is in.
    let evidence = other.evidence(None, here).await;
    let before = world.service.evidence(None, here).await;
    assert_eq!(evidence.body, before.body);
}

#[tokio::test]
async fn after_a_crash_of_the_server_both_serve_the_same_new_keys() {
    let world = World::on_disk().await;
    let Some(other) = another(&world).await else { return };
    let acme = world.tenant("acme").await;
    world.put(&acme, b"value", NOW).await;
    let message = Message::Release(releasing("acme"));
    let (old, _) = world.sealed(&acme.credential, &message, NOW).await;
    // What a crash does to a table without write-ahead log.
    let pool = world.database().await;
    sqlx::query("TRUNCATE epochs").execute(&pool).await.unwrap();
    let (one, two) = tokio::join!(world.service.maintain(NOW), other.maintain(NOW));
    assert_eq!((one, two), (Ok(()), Ok(())));
    let (body, awaiting) = world.sealed(&acme.credential, &message, NOW).await;
    let reply = other.message(&body, NOW).await;
    assert_eq!(status(&awaiting.open(&reply.body).unwrap()), Status::Ok);
    assert_eq!(asked(&other, &old, NOW).await, 409, "gone with its seed");
    assert_eq!(asked(&world.service, &old, NOW).await, 409);
}

#[tokio::test]
async fn what_one_replica_revokes_the_other_tells_at_once() {
    let world = World::on_disk().await;
    let Some(other) = another(&world).await else { return };
    let acme = world.tenant("acme").await;
    let before = other.revocations(None, NOW).await.body;
    let body = br#"{"kind":"agent","id":"helper"}"#;
    let revoked = world.operate(&acme.operator, "POST", "/api/v1/revocations", body, NOW).await;
    assert_eq!(revoked.status, 200);
    let (here, there) =
        (world.service.revocations(None, NOW).await, other.revocations(None, NOW).await);
    assert_ne!(there.body, before);
    assert_eq!(there.body, here.body, "one list, one count, one signature");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_replica_signs_a_checkpoint_and_the_other_reads_it() {
    let world = World::on_disk().await;
    let Some(other) = another(&world).await else { return };
    let _ = world.tenant("acme").await;
    let now = later(60_000);
    let (one, two) = tokio::join!(world.service.maintain(now), other.maintain(now));
    assert_eq!((one, two), (Ok(()), Ok(())));
    let note = world.service.last_checkpoint().await.unwrap().unwrap();
    assert_eq!(other.last_checkpoint().await.unwrap().as_ref(), Some(&note));
    // Each keeps a copy of what it signed.
    let point = Checkpoint::open(&note, &world.service.audit_key()).unwrap();
    let copy = format!("checkpoints/{:012}.checkpoint", point.head.n);
    let copies = ["data", "other"].map(|dir| world.dir.path().join(dir).join(&copy));
    let signed = copies.iter().filter(|file| file.exists());
    assert_eq!(signed.count(), 1);
}

/// Makes the server break off the next `times` transactions that append an event.
async fn broken_off(world: &World, code: &str, times: u32) {
    let pool = world.database().await;
    let statement = format!(
        "DROP TRIGGER IF EXISTS broken_off ON audit_events;
         DROP SEQUENCE IF EXISTS tries;
         CREATE SEQUENCE tries;
         GRANT USAGE ON SEQUENCE tries TO PUBLIC;
         CREATE OR REPLACE FUNCTION broken_off() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN
             IF nextval('tries') <= {times} THEN
                 RAISE EXCEPTION 'broken off' USING ERRCODE = '{code}';
             END IF;
             RETURN NEW;
         END $$;
         CREATE TRIGGER broken_off BEFORE INSERT ON audit_events
             FOR EACH ROW EXECUTE FUNCTION broken_off()"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(&pool).await.unwrap();
}

#[tokio::test]
async fn a_transaction_that_was_broken_off_for_another_is_tried_three_times() {
    let world = World::on_disk().await;
    if !world.on_postgres() {
        return;
    }
    let acme = world.tenant("acme").await;
    world.put(&acme, b"value", NOW).await;
    let message = Message::Release(releasing("acme"));
    // Serialization, deadlock, lock timeout; and what is no such thing.
    for (code, times, want) in [
        ("40001", 2, 200),
        ("40P01", 2, 200),
        ("55P03", 2, 200),
        ("40001", 3, 503),
        ("57014", 1, 503),
        ("XX000", 1, 503),
    ] {
        broken_off(&world, code, times).await;
        let (body, awaiting) = world.sealed(&acme.credential, &message, NOW).await;
        let reply = world.service.message(&body, NOW).await;
        assert_eq!(reply.status, want, "{code} {times} times");
        if want == 200 {
            assert_eq!(status(&awaiting.open(&reply.body).unwrap()), Status::Ok);
        }
        broken_off(&world, code, times).await;
        let keys = world.api_key(&acme, &format!("{code}Ab{times}"), "jo", NOW).await;
        assert_eq!(keys, want, "an operator's, {code} {times} times");
    }
    broken_off(&world, "40001", 0).await;
    assert_eq!(world.service.integrity().await.unwrap().broken, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_hangs_in_a_transaction_keeps_the_others_waiting_for_a_bounded_time() {
    let world = World::on_disk().await;
    let Some(other) = another(&world).await else { return };
    let acme = world.tenant("acme").await;
    world.put(&acme, b"value", NOW).await;
    // Holds the write lock and says nothing more.
    let pool = postern_keys::store::open::open(&world.config.database).await.unwrap();
    let hanging = pool.write(postern_keys::store::Reach::All).await.unwrap();
    let begun = std::time::Instant::now();
    let message = Message::Release(releasing("acme"));
    let mut tries = 0;
    loop {
        tries += 1;
        let (body, awaiting) = world.sealed(&acme.credential, &message, NOW).await;
        let reply = other.message(&body, NOW).await;
        assert!(begun.elapsed().as_secs() < 20, "{tries} tries");
        if reply.status == 200 {
            assert_eq!(status(&awaiting.open(&reply.body).unwrap()), Status::Ok);
            break;
        }
        assert_eq!(reply.status, 503);
    }
    drop(hanging);
}
