//! Frameworks, classified sections and cleared agents: what operators may set, and what gateways
//! hear of it.
#![allow(clippy::unwrap_used)]

mod support;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64;
use postern_crp::revocation::open;
use serde_json::{Value, json};
use support::*;

const PATH: &str = "/api/v1/frameworks";

async fn post(world: &World, tenant: &Tenant, path: &str, body: Value) -> u16 {
    let body = body.to_string();
    world.operate(&tenant.operator, "POST", path, body.as_bytes(), NOW).await.status
}

async fn get(world: &World, tenant: &Tenant, path: &str) -> (u16, Value) {
    let answer = world.operate(&tenant.operator, "GET", path, b"", NOW).await;
    (answer.status, serde_json::from_slice(&answer.body).unwrap())
}

async fn events(world: &World, tenant: &Tenant) -> Vec<Value> {
    let export = world.export(tenant, NOW).await;
    let event = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        serde_json::from_slice(&B64.decode(line["bytes"].as_str()?).ok()?).ok()
    };
    export.lines().skip(1).filter_map(event).collect()
}

async fn create(world: &World, tenant: &Tenant) {
    let new = json!({"framework": "default", "levels": ["public", "internal", "secret"]});
    assert_eq!(post(world, tenant, PATH, new).await, 200);
}

async fn clear(world: &World, tenant: &Tenant, agent: &str, level: Option<&str>) -> u16 {
    let body = json!({"agent": agent, "level": level});
    post(world, tenant, "/api/v1/frameworks/default/clearances", body).await
}

/// The clearance of the key `AbCd0123`, whose agent is `helper`.
async fn heard(world: &World, tenant: &Tenant) -> Option<String> {
    let answer = world.look_up(&tenant.gate, &["AbCd0123"], NOW).await;
    answer.entries[0].1.as_ref().unwrap().record.clearance.clone()
}

#[tokio::test]
async fn what_was_set_is_shown_and_each_change_is_an_event() {
    let world = World::on_disk().await;
    let acme = world.tenant("acme").await;
    create(&world, &acme).await;
    let sections = "/api/v1/frameworks/default/sections";
    for (section, level) in
        [("a", json!("secret")), ("b", json!("public")), ("a", json!("internal"))]
    {
        let body = json!({"document": "plan", "section": section, "level": level});
        assert_eq!(post(&world, &acme, sections, body).await, 200);
    }
    let gone = json!({"document": "plan", "section": "b", "level": null});
    assert_eq!(post(&world, &acme, sections, gone.clone()).await, 200);
    assert_eq!(post(&world, &acme, sections, gone).await, 404);
    assert_eq!(clear(&world, &acme, "helper", Some("secret")).await, 200);
    assert_eq!(clear(&world, &acme, "other", Some("public")).await, 200);
    assert_eq!(clear(&world, &acme, "other", None).await, 200);
    assert_eq!(clear(&world, &acme, "other", None).await, 404);
    let levels = ["public", "internal", "secret"];
    let shown = json!({
        "framework": "default", "levels": levels,
        "sections": [{"document": "plan", "section": "a", "level": "internal"}],
        "clearances": [{"agent": "helper", "level": "secret"}],
    });
    assert_eq!(get(&world, &acme, "/api/v1/frameworks/default").await, (200, shown));
    let list = json!({"frameworks": [{"framework": "default", "levels": levels}]});
    assert_eq!(get(&world, &acme, PATH).await, (200, list));
    let events = events(&world, &acme).await;
    let of = |kind: &str| events.iter().filter(|event| event["kind"] == kind).count();
    let counts = ["framework_created", "section_classified", "agent_cleared"].map(of);
    assert_eq!(counts, [1, 4, 3]);
    let cleared = events.iter().find(|event| event["kind"] == "agent_cleared").unwrap();
    assert_eq!((&cleared["agent"], &cleared["level"]), (&json!("helper"), &json!("secret")));
}

#[tokio::test]
async fn gateways_hear_of_an_agents_clearance_and_of_the_lower_one_of_two() {
    let world = World::in_memory().await;
    let acme = world.tenant("acme").await;
    create(&world, &acme).await;
    assert_eq!(world.api_key(&acme, "AbCd0123", "jo", NOW).await, 200);
    assert_eq!(heard(&world, &acme).await, None);
    assert_eq!(clear(&world, &acme, "helper", Some("internal")).await, 200);
    assert_eq!(heard(&world, &acme).await.as_deref(), Some("internal"));
    assert_eq!(clear(&world, &acme, "helper", None).await, 200);
    assert_eq!(heard(&world, &acme).await, None);
}

#[tokio::test]
async fn of_a_key_with_a_clearance_of_its_own_the_lower_one_counts() {
    let rows = [
        ("public", "secret", "public"),
        ("secret", "public", "public"),
        ("internal", "internal", "internal"),
        // No level of the agent's framework, so nobody can say which is lower.
        ("cosmic", "public", "?"),
    ];
    for (own, agent, want) in rows {
        let world = World::in_memory().await;
        let acme = world.tenant("acme").await;
        create(&world, &acme).await;
        let mut new = new_key("AbCd0123", "jo");
        new.grant.clearance = Some(own.to_owned());
        let body = serde_json::to_value(&new).unwrap();
        assert_eq!(post(&world, &acme, "/api/v1/keys", body).await, 200);
        assert_eq!(heard(&world, &acme).await.as_deref(), Some(own));
        assert_eq!(clear(&world, &acme, "helper", Some(agent)).await, 200);
        assert_eq!(heard(&world, &acme).await.as_deref(), Some(want), "{own} {agent}");
    }
}

#[tokio::test]
async fn a_changed_clearance_makes_gateways_forget_their_records() {
    let world = World::in_memory().await;
    let acme = world.tenant("acme").await;
    create(&world, &acme).await;
    let before = world.service.revocations(None, NOW).await.body;
    assert_eq!(clear(&world, &acme, "helper", Some("public")).await, 200);
    let after = world.service.revocations(None, NOW).await.body;
    let key = *world.evidence(NOW).await.signing_key();
    let forget = |body: &[u8]| open(body, &key).unwrap().list.unwrap().forget();
    assert!(forget(&after) > forget(&before));
}

#[tokio::test]
async fn what_is_no_level_no_name_or_no_framework_is_refused() {
    let world = World::in_memory().await;
    let acme = world.tenant("acme").await;
    create(&world, &acme).await;
    let many: Vec<String> = (0..33).map(|n| n.to_string()).collect();
    let rows = [
        (PATH, json!({"framework": "default", "levels": ["a"]}), 409),
        (PATH, json!({"framework": "", "levels": ["a"]}), 400),
        (PATH, json!({"framework": "A", "levels": ["a"]}), 400),
        (PATH, json!({"framework": "a".repeat(64), "levels": ["a"]}), 400),
        (PATH, json!({"framework": "f", "levels": []}), 400),
        (PATH, json!({"framework": "f", "levels": ["a", "a"]}), 400),
        (PATH, json!({"framework": "f", "levels": ["a\n"]}), 400),
        (PATH, json!({"framework": "f", "levels": many}), 400),
        (PATH, json!({"framework": "f"}), 400),
        (PATH, json!({"framework": "f", "levels": ["a"], "more": 1}), 400),
        ("/api/v1/frameworks/default/clearances", json!({"agent": "a", "level": "x"}), 400),
        ("/api/v1/frameworks/default/clearances", json!({"agent": "", "level": "public"}), 400),
        ("/api/v1/frameworks/none/clearances", json!({"agent": "a", "level": "public"}), 404),
        (
            "/api/v1/frameworks/default/sections",
            json!({"document": "d", "section": "s", "level": "x"}),
            400,
        ),
        (
            "/api/v1/frameworks/default/sections",
            json!({"document": "d\u{0}", "section": "s", "level": "public"}),
            400,
        ),
        (
            "/api/v1/frameworks/none/sections",
            json!({"document": "d", "section": "s", "level": "public"}),
            404,
        ),
        ("/api/v1/frameworks/default/other", json!({}), 404),
    ];
    for (path, body, want) in rows {
        assert_eq!(post(&world, &acme, path, body.clone()).await, want, "{path} {body}");
    }
}

#[tokio::test]
async fn tenants_have_frameworks_of_their_own() {
    let world = World::in_memory().await;
    let (acme, other) = (world.tenant("acme").await, world.tenant("other").await);
    create(&world, &acme).await;
    assert_eq!(get(&world, &other, PATH).await.1, json!({"frameworks": []}));
    assert_eq!(get(&world, &other, "/api/v1/frameworks/default").await.0, 404);
    assert_eq!(clear(&world, &other, "helper", Some("secret")).await, 404);
    create(&world, &other).await;
    assert_eq!(clear(&world, &other, "helper", Some("secret")).await, 200);
    assert_eq!(world.api_key(&acme, "AbCd0123", "jo", NOW).await, 200);
    assert_eq!(heard(&world, &acme).await, None, "cleared in another tenant");
}

#[tokio::test]
async fn rows_that_the_service_did_not_write_are_not_believed() {
    let statements = [
        "UPDATE clearances SET level = 'secret'",
        "UPDATE clearances SET agent = 'helper'",
        "UPDATE frameworks SET levels = '[\"secret\",\"internal\",\"public\"]'",
    ];
    for statement in statements {
        let world = World::on_disk().await;
        let acme = world.tenant("acme").await;
        create(&world, &acme).await;
        assert_eq!(world.api_key(&acme, "AbCd0123", "jo", NOW).await, 200);
        let agent = if statement.contains("agent") { "other" } else { "helper" };
        assert_eq!(clear(&world, &acme, agent, Some("internal")).await, 200);
        edit(&world.database().await, statement).await;
        let ids = vec![postern_core::api_key::KeyId::new(b"AbCd0123").unwrap()];
        let message =
            postern_crp::message::Message::Directory(postern_crp::message::directory::Request {
                ids,
            });
        let (body, _) = world.sealed(&acme.gate, &message, NOW).await;
        assert_eq!(world.service.message(&body, NOW).await.status, 503, "{statement}");
    }
}
