//! Content that is taken out of the log: what goes, what stays, and what is found afterwards.

mod support;

use postern_core::chain::START;
use postern_core::hex;
use postern_core::key_service::Batch;
use postern_core::record::user_hash;
use postern_crp::message::{Message, audit};
use postern_keys::audit::proof::Inclusion;
use postern_keys::audit::{Break, Report, verify_export};
use serde_json::{Value, json};
use support::{NOW, Tenant, World, edit, later, logged, run};

const DAY: u64 = 24 * 3600 * 1000;

async fn remove(world: &World, tenant: &Tenant, body: &Value, days: u64) -> (u16, Value) {
    let (body, now) = (body.to_string(), later(days * DAY));
    let path = "/audit/removals";
    let answer = world.operate(&tenant.operator, "POST", path, body.as_bytes(), now).await;
    (answer.status, serde_json::from_slice(&answer.body).unwrap())
}

/// The export, and what the verifier says of it and the newest checkpoint.
async fn verified(world: &World, tenant: &Tenant, days: u64) -> (String, Report) {
    let export = world.export(tenant, later(days * DAY)).await;
    let note = world.service.last_checkpoint().await.unwrap().unwrap();
    let report = verify_export(export.as_bytes(), &world.service.audit_key(), [&*note]);
    (export, report)
}

/// A request of each user, on record.
async fn requests(world: &World, tenant: &Tenant, users: &[&str]) {
    let record = |user: &&str| {
        let user = hex::lower(&user_hash("acme", user));
        json!({"decision": "allow", "user": user}).to_string().into_bytes()
    };
    let records = users.iter().map(record).collect();
    let batch = Batch { boot: [1; 16], vm: [2; 16], first: 0, prev: START, records };
    world.ask(&tenant.audit, &Message::Audit(audit::Request { batch }), NOW).await;
}

#[tokio::test]
async fn a_person_is_erased_and_the_log_still_holds() {
    let world = World::on_disk().await;
    let (acme, other) = (world.tenant("acme").await, world.tenant("other").await);
    assert_eq!(world.api_key(&acme, "AbCd0123", "ada", NOW).await, 200);
    assert_eq!(world.api_key(&acme, "AbCd0124", "bob", NOW).await, 200);
    assert_eq!(world.api_key(&other, "AbCd0125", "ada", NOW).await, 200);
    requests(&world, &acme, &["ada", "bob", "ada"]).await;
    world.service.maintain(later(60_000)).await.unwrap();
    let (before, whole) = verified(&world, &acme, 0).await;
    let hash = hex::lower(&user_hash("acme", "ada"));
    assert!(logged(&before).contains(&hash) && whole.removed == 0);

    let (status, taken) = remove(&world, &acme, &json!({"which": {"person": "ada"}}), 0).await;
    assert_eq!((status, &taken["removed"], &taken["more"]), (200, &json!(3), &Value::Null));
    let (after, report) = verified(&world, &acme, 0).await;
    assert_eq!((report.broken, report.removed, report.good), (None, 3, whole.good + 1));
    let text = logged(&after);
    assert!(!text.contains(&hash) && !text.contains("\"user\":\"ada\""), "{text}");
    assert!(text.contains("\"user\":\"bob\"") && text.contains("\"why\":\"erasure\""));
    assert_eq!(world.service.integrity().await.unwrap().broken, None);
    // The other tenant's ada is another person; and sees nothing of what was taken out here.
    let (theirs, report) = verified(&world, &other, 0).await;
    assert_eq!((report.broken, report.removed), (None, 0));
    assert!(logged(&theirs).contains("\"user\":\"ada\"") && !theirs.contains("gone"));
    // A receipt for such an event still proves that it was there.
    let gone = after.lines().find(|line| line.contains("\"gone\"")).unwrap();
    let gone: Value = serde_json::from_str(gone).unwrap();
    let path = format!("/audit/proof/{}", gone["n"].as_str().unwrap());
    let receipt = world.operate(&acme.operator, "GET", &path, b"", NOW).await;
    let receipt = Inclusion::parse(std::str::from_utf8(&receipt.body).unwrap()).unwrap();
    assert!(receipt.verify(&world.service.audit_key()).is_ok());
    // A second time there is nothing left, and no second tombstone.
    let (_, again) = remove(&world, &acme, &json!({"which": {"person": "ada"}}), 0).await;
    assert_eq!((&again["removed"], &again["tombstone"]), (&json!(0), &Value::Null));
}

#[tokio::test]
async fn what_is_old_goes_and_what_says_so_stays() {
    let world = World::on_disk().await;
    let acme = world.tenant("acme").await;
    requests(&world, &acme, &["ada", "bob"]).await;
    world.service.maintain(later(60_000)).await.unwrap();
    let old = NOW.0 + 1;
    let (status, taken) = remove(&world, &acme, &json!({"which": {"before": old}}), 40).await;
    assert_eq!(status, 200, "{taken}");
    let (export, report) = verified(&world, &acme, 40).await;
    assert_eq!((report.broken, json!(report.removed)), (None, taken["removed"].clone()));
    assert!(!logged(&export).contains("\"kind\":\"request\""));
    assert!(logged(&export).contains("\"why\":\"retention\""));
    // The tombstone is old too, by and by, and is kept.
    let (_, later) = remove(&world, &acme, &json!({"which": {"before": old + 44 * DAY}}), 75).await;
    let (export, report) = verified(&world, &acme, 75).await;
    assert_eq!(report.broken, None, "{later}");
    let text = logged(&export);
    assert!(text.contains(&format!("\"n\":{}", taken["tombstone"])), "{text}");
}

#[tokio::test]
async fn what_is_young_or_asked_for_wrongly_is_kept() {
    let world = World::on_disk().await;
    let acme = world.tenant("acme").await;
    let before = world.export(&acme, NOW).await;
    for body in [
        json!({"which": {"before": NOW.0}}),
        json!({"which": {"before": NOW.0 - 29 * DAY}}),
        json!({"which": {"person": ""}}),
        json!({"which": {"person": "a".repeat(257)}}),
        json!({"which": {"person": "operator:00112233445566778899aabbccddeeff"}}),
        json!({"which": {"person": "grant:a"}}),
        json!({"which": {"tenant": "other"}}),
        json!({"which": {"person": "ada"}, "tenant": "other"}),
        json!({"which": {"person": "ada"}, "after": -1}),
        json!({}),
    ] {
        assert_eq!(remove(&world, &acme, &body, 0).await.0, 400, "{body}");
    }
    assert_eq!(world.export(&acme, NOW).await, before);
    let gateway = world.operate(&acme.gate, "POST", "/audit/removals", b"{}", NOW).await;
    assert_eq!(gateway.status, 401);
}

#[tokio::test]
async fn content_that_somebody_takes_out_of_the_database_is_found() {
    let world = World::on_disk().await;
    world.tenant("other").await;
    let acme = world.tenant("acme").await;
    requests(&world, &acme, &["ada", "bob", "bob"]).await;
    world.service.maintain(later(60_000)).await.unwrap();
    let (_, taken) = remove(&world, &acme, &json!({"which": {"person": "ada"}}), 0).await;
    let tombstone: u64 = taken["tombstone"].as_str().unwrap().parse().unwrap();
    let pool = world.database().await;
    let empty = if world.on_postgres() { "''" } else { "x''" };
    let also = format!("UPDATE audit_events SET bytes = {empty}, gone = {tombstone} WHERE n = 2");
    // The second event is of the other tenant, whose tombstone this is not.
    let refused = run(&pool, &also).await.unwrap_err().to_string();
    assert!(refused.contains("append only"), "{refused}");
    let also = format!(
        "UPDATE audit_events SET bytes = {empty}, gone = {tombstone}
         WHERE n = (SELECT max(n) FROM audit_events WHERE n < {tombstone} AND gone IS NULL)"
    );
    edit(&pool, &also).await;
    let broken = world.service.integrity().await.unwrap().broken;
    assert!(
        matches!(broken, Some(Break::Removed { tombstone: at, .. }) if at == tombstone),
        "{broken:?}"
    );
    let (_, report) = verified(&world, &acme, 0).await;
    assert_eq!(report.broken, broken);
    let back = format!("UPDATE audit_events SET gone = NULL WHERE gone = {tombstone}");
    assert!(run(&pool, &back).await.unwrap_err().to_string().contains("append only"));
    support::let_log_be_bent(&pool).await;
    edit(&pool, &back).await;
    let broken = world.service.integrity().await.unwrap().broken;
    assert!(matches!(broken, Some(Break::Changed { .. })), "{broken:?}");
}
