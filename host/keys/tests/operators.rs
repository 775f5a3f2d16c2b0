//! The operators' interface: who may, what is refused, what is shown.
#![allow(clippy::unwrap_used)]

mod support;

use postern_core::time::UnixMillis;
use postern_keys::HttpAnswer;
use postern_keys::admin::Rotation;
use postern_keys::audit::{Break, verify_export};
use postern_keys::operator_auth;
use serde_json::Value;
use support::*;

fn json(body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap()
}

#[tokio::test]
async fn only_an_operators_fresh_signature_opens_the_interface() {
    let world = World::in_memory().await;
    let acme = world.tenant("acme").await;
    let request = operator_auth::Request {
        method: "GET",
        authority: "keys",
        path: "/api/v1/keys",
        query: "",
        body: b"",
    };
    let signed =
        |party: &Party, now| operator_auth::sign(&request, &claim(party, now), &signing(party));
    let good = signed(&acme.operator, NOW);
    let ask = async |fields: Option<operator_auth::Fields>| {
        world.service.operator_request(&request, fields.as_ref(), NOW).await.status
    };
    assert_eq!(ask(None).await, 401);
    assert_eq!(ask(Some(signed(&acme.gate, NOW))).await, 401);
    assert_eq!(ask(Some(signed(&Party::new("acme"), NOW))).await, 401);
    assert_eq!(ask(Some(signed(&acme.operator, later(61_000)))).await, 401);
    assert_eq!(ask(Some(good.clone())).await, 200);
    assert_eq!(ask(Some(good)).await, 401, "replay");
    let other = operator_auth::Request { path: "/api/v1/credentials", ..request };
    let moved = signed(&acme.operator, NOW);
    let answer = world.service.operator_request(&other, Some(&moved), NOW).await;
    assert_eq!(answer.status, 401);
}

#[tokio::test]
async fn a_revoked_operator_is_refused() {
    let world = World::in_memory().await;
    let acme = world.tenant("acme").await;
    let id: String = acme.operator.id.iter().map(|byte| format!("{byte:02x}")).collect();
    let path = format!("/api/v1/gateways/{id}/revoke");
    assert_eq!(world.operate(&acme.operator, "POST", &path, b"", NOW).await.status, 204);
    assert_eq!(world.operate(&acme.operator, "GET", "/api/v1/keys", b"", NOW).await.status, 401);
}

#[tokio::test]
async fn an_operator_sees_and_changes_only_its_own_tenant() {
    let world = World::in_memory().await;
    let (acme, other) = (world.tenant("acme").await, world.tenant("other").await);
    world.put(&acme, b"value", NOW).await;
    world.api_key(&acme, "AbCd0123", "ada", NOW).await;
    for (method, path) in [
        ("POST", "/api/v1/keys/AbCd0123/revoke"),
        ("DELETE", "/api/v1/credentials/slack"),
        ("GET", "/api/v1/nothing"),
    ] {
        assert_eq!(
            world.operate(&other.operator, method, path, b"", NOW).await.status,
            404,
            "{path}"
        );
    }
    for (path, list) in [("/api/v1/keys", "keys"), ("/api/v1/credentials", "credentials")] {
        let answer = world.operate(&other.operator, "GET", path, b"", NOW).await;
        assert_eq!(json(&answer.body)[list], serde_json::json!([]), "{path}");
    }
    let export = world.export(&other, NOW).await;
    assert!(export.contains("\"bytes\"") && export.lines().any(|line| !line.contains("bytes")));
    let report = verify_export(export.as_bytes(), &world.service.audit_key(), None);
    assert_eq!(report.broken, None);
    assert!(report.withheld > 0);
}

#[tokio::test]
async fn an_eleventh_active_key_of_a_user_is_a_conflict() {
    let world = World::in_memory().await;
    let acme = world.tenant("acme").await;
    for at in 0..10 {
        assert_eq!(world.api_key(&acme, &format!("Key0000{at}"), "ada", NOW).await, 200);
    }
    assert_eq!(world.api_key(&acme, "Key00010", "ada", NOW).await, 409);
    assert_eq!(world.api_key(&acme, "Key00011", "bob", NOW).await, 200);
    assert_eq!(world.api_key(&acme, "Key00011", "bob", NOW).await, 409, "taken id");
    let path = "/api/v1/keys/Key00000/revoke";
    assert_eq!(world.operate(&acme.operator, "POST", path, b"", NOW).await.status, 200);
    assert_eq!(world.api_key(&acme, "Key00010", "ada", NOW).await, 200);
}

/// A day in milliseconds.
const DAY: u64 = 86_400_000;

/// Rotates with an overlap of a minute; the new key lives a day.
async fn rotate(
    world: &World,
    tenant: &Tenant,
    old: &str,
    new: &str,
    now: UnixMillis,
) -> HttpAnswer {
    let new = new_key(new, "ada");
    let not_after = now.0 + DAY;
    let rotation =
        Rotation { id: new.id, salt: new.salt, hash: new.hash, overlap_seconds: 60, not_after };
    let body = serde_json::to_vec(&rotation).unwrap();
    world.operate(&tenant.operator, "POST", &format!("/api/v1/keys/{old}/rotate"), &body, now).await
}

#[tokio::test]
async fn a_rotated_key_lives_anew_however_little_its_predecessor_had_left() {
    let world = World::in_memory().await;
    let acme = world.tenant("acme").await;
    let mut old = new_key("OldKey00", "ada");
    old.grant.not_after = Some(later(1_000).0);
    let body = serde_json::to_vec(&old).unwrap();
    world.operate(&acme.operator, "POST", "/api/v1/keys", &body, NOW).await;
    let answer = rotate(&world, &acme, "OldKey00", "NewKey00", NOW).await;
    assert_eq!(json(&answer.body)["not_after"], later(DAY).0);
    let list = world.operate(&acme.operator, "GET", "/api/v1/keys", b"", NOW).await;
    let ends = json(&list.body)["keys"]
        .as_array()
        .unwrap()
        .iter()
        .find_map(|key| (key["id"] == "OldKey00").then(|| key["not_after"].clone()));
    assert_eq!(ends, Some(later(1_000).0.into()), "the old one ends no later than it would have");
}

#[tokio::test]
async fn rotation_replaces_and_so_works_at_the_limit_but_adds_no_second_key() {
    let world = World::in_memory().await;
    let acme = world.tenant("acme").await;
    for at in 0..10 {
        world.api_key(&acme, &format!("Key0000{at}"), "ada", NOW).await;
    }
    let status = async |old: &str, new: &str, now| {
        let answer = rotate(&world, &acme, old, new, now).await;
        (answer.status, json(&answer.body)["title"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(status("Key00000", "NewKey00", NOW).await.0, 200);
    assert_eq!(world.api_key(&acme, "Key00010", "ada", NOW).await, 409, "still ten");
    let overlaps = "An earlier rotation still overlaps; revoke its old key first";
    assert_eq!(status("Key00000", "NewKey01", NOW).await, (409, overlaps.to_owned()));
    assert_eq!(status("NewKey00", "NewKey01", NOW).await, (409, overlaps.to_owned()));
    assert_eq!(status("NewKey00", "NewKey01", later(60_000)).await.0, 200, "after the overlap");
    let path = "/api/v1/keys/NewKey01/revoke";
    world.operate(&acme.operator, "POST", path, b"", later(60_001)).await;
    assert_eq!(
        world.api_key(&acme, "Key00010", "ada", later(60_001)).await,
        409,
        "an old key whose successor is gone counts again"
    );
    assert_eq!(status("NewKey00", "NewKey02", later(60_002)).await.0, 200);
}

#[tokio::test]
async fn a_rotated_key_ends_after_the_overlap_and_its_successor_goes_on() {
    let world = World::in_memory().await;
    let acme = world.tenant("acme").await;
    world.api_key(&acme, "OldKey00", "ada", NOW).await;
    let answer = rotate(&world, &acme, "OldKey00", "NewKey00", NOW).await;
    assert_eq!((answer.status, json(&answer.body)["id"].as_str()), (200, Some("NewKey00")));
    let found = world.look_up(&acme.gate, &["NewKey00", "OldKey00"], NOW).await;
    let ends: Vec<_> =
        found.entries.into_iter().map(|(_, entry)| entry.unwrap().record.not_after).collect();
    assert_eq!(ends, [Some(later(DAY)), Some(later(60_000))]);
    let list = world.operate(&acme.operator, "GET", "/api/v1/keys", b"", later(60_000)).await;
    let states: Vec<Value> = json(&list.body)["keys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| serde_json::json!([key["id"], key["state"], key["replaced_by"]]))
        .collect();
    assert!(states.contains(&serde_json::json!(["OldKey00", "expired", "NewKey00"])), "{states:?}");
    assert!(states.contains(&serde_json::json!(["NewKey00", "active", null])), "{states:?}");
}

#[tokio::test]
async fn a_malformed_key_is_a_bad_request() {
    let world = World::in_memory().await;
    let acme = world.tenant("acme").await;
    for (member, value) in [
        ("id", "short".into()),
        ("salt", "AA".into()),
        ("hash", "AA".into()),
        ("grant", serde_json::json!({"user": "ada"})),
        ("key", "pk_secret".into()),
    ] {
        let mut body = serde_json::to_value(new_key("AbCd0123", "ada")).unwrap();
        body[member] = value;
        let body = body.to_string();
        let answer =
            world.operate(&acme.operator, "POST", "/api/v1/keys", body.as_bytes(), NOW).await;
        assert_eq!(answer.status, 400, "{member}");
    }
    let mut new = new_key("AbCd0123", "ada");
    new.grant.trust = "root".into();
    let body = serde_json::to_vec(&new).unwrap();
    assert_eq!(world.operate(&acme.operator, "POST", "/api/v1/keys", &body, NOW).await.status, 400);
}

#[tokio::test]
async fn one_changed_byte_of_the_stored_chain_is_named_online_and_offline() {
    let world = World::on_disk().await;
    let acme = world.tenant("acme").await;
    world.service.maintain(later(60_000)).await.unwrap();
    let note = world.service.last_checkpoint().await.unwrap().unwrap();
    let files = std::fs::read_dir(world.dir.path().join("data/checkpoints")).unwrap();
    assert!(
        files
            .into_iter()
            .any(|file| std::fs::read_to_string(file.unwrap().path()).unwrap() == note)
    );
    let key = world.service.audit_key();
    let good = verify_export(world.export(&acme, NOW).await.as_bytes(), &key, Some(&*note));
    assert_eq!(good.broken, None);
    let integrity = world.operate(&acme.operator, "GET", "/audit/integrity", b"", NOW).await;
    assert_eq!(json(&integrity.body)["intact"], true);

    let pool = world.database().await;
    support::let_log_be_bent(&pool).await;
    edit(&pool, "UPDATE audit_events SET bytes = CAST(replace(CAST(bytes AS TEXT), 'gate', 'Gate') AS BLOB) WHERE n = 3").await;
    let broken = verify_export(world.export(&acme, NOW).await.as_bytes(), &key, Some(&*note));
    assert_eq!((broken.good, broken.broken), (2, Some(Break::Changed { n: 3 })));
    let integrity = world.operate(&acme.operator, "GET", "/audit/integrity", b"", NOW).await;
    assert_eq!(json(&integrity.body)["broken"], "event 3 was changed");

    sqlx::query("DELETE FROM audit_events WHERE n >= 3").execute(&pool).await.unwrap();
    let cut = world.service.integrity().await.unwrap();
    assert!(matches!(cut.broken, Some(Break::Truncated { first: 3, .. })), "{:?}", cut.broken);
}

#[tokio::test]
async fn a_part_of_an_export_starts_where_the_one_before_ended() {
    let world = World::in_memory().await;
    let acme = world.tenant("acme").await;
    let get = async |path: &str| world.operate(&acme.operator, "GET", path, b"", NOW).await;
    let whole = world.export(&acme, NOW).await;
    let lines: Vec<&str> = whole.split_inclusive('\n').collect();
    assert!(lines.len() > 4, "{whole}");
    for (query, want) in [("0", &lines[..]), ("2", &lines[3..]), ("1000", &[])] {
        let part = get(&format!("/audit/export?after={query}")).await;
        assert_eq!((part.status, part.body), (200, want.concat().into_bytes()), "{query}");
    }
    for query in ["after=", "after=-1", "after=x", "before=1", "after=1&after=2"] {
        assert_eq!(get(&format!("/audit/export?{query}")).await.status, 400, "{query}");
    }
}

#[tokio::test]
async fn an_export_is_read_page_by_page_as_long_as_the_chain_was_at_first() {
    let world = World::in_memory().await;
    let acme = world.tenant("acme").await;
    for _ in 0..100 {
        world.service.mint("acme", NOW).await.unwrap();
    }
    let whole = world.export(&acme, NOW).await;
    let mut export = world.service.export(Some("acme"), None).await.unwrap();
    let mut pages = Vec::new();
    while let Some(page) = world.service.export_page(&mut export).await.unwrap() {
        pages.push(String::from_utf8(page).unwrap());
        world.service.mint("acme", NOW).await.unwrap();
    }
    assert!(pages.len() > 4 && pages.iter().all(|page| page.lines().count() <= 101));
    assert_eq!(pages.concat(), whole);
}

#[tokio::test]
async fn the_newest_checkpoint_is_shown_without_a_check_of_the_chain() {
    let world = World::in_memory().await;
    let acme = world.tenant("acme").await;
    world.service.maintain(later(60_000)).await.unwrap();
    let answer = world.operate(&acme.operator, "GET", "/log/checkpoint", b"", NOW).await;
    let note = world.service.last_checkpoint().await.unwrap();
    assert_eq!((answer.status, String::from_utf8(answer.body).ok()), (200, note));
}

#[tokio::test]
async fn a_checkpoint_is_signed_each_hundred_events_but_once_a_second() {
    let world = World::in_memory().await;
    let acme = world.tenant("acme").await;
    for _ in 0..100 {
        world.put(&acme, b"value", NOW).await;
    }
    let note = world.service.last_checkpoint().await.unwrap().unwrap();
    let count = |note: &str| -> u64 { note.lines().nth(1).unwrap().parse().unwrap() };
    assert!(count(&note) < 100, "{note}");
    world.put(&acme, b"value", later(1_000)).await;
    let note = world.service.last_checkpoint().await.unwrap().unwrap();
    assert!(count(&note) >= 100, "{note}");
}

#[tokio::test]
async fn lists_read_back_as_the_types_that_wrote_them() {
    use postern_keys::store::{api_keys, credentials};
    #[derive(serde::Deserialize)]
    struct Keys {
        keys: Vec<api_keys::Metadata>,
    }
    #[derive(serde::Deserialize)]
    struct Credentials {
        credentials: Vec<credentials::Metadata>,
    }
    let world = World::in_memory().await;
    let acme = world.tenant("acme").await;
    world.put(&acme, b"value", NOW).await;
    world.api_key(&acme, "AbCd0123", "ada", NOW).await;
    let keys = world.operate(&acme.operator, "GET", "/api/v1/keys", b"", NOW).await;
    let keys: Keys = serde_json::from_slice(&keys.body).unwrap();
    assert_eq!(keys.keys[0].grant, new_key("AbCd0123", "ada").grant);
    let list = world.operate(&acme.operator, "GET", "/api/v1/credentials", b"", NOW).await;
    let list: Credentials = serde_json::from_slice(&list.body).unwrap();
    assert_eq!((list.credentials[0].name.as_str(), list.credentials[0].version), ("slack", 1));
}
