//! The operators' interface to people: whose they are, what is refused, what ends with them.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod support;

use postern_core::approvals::State;
use postern_crp::message::Status;
use postern_keys::approvals::{Ruling, Verdict};
use serde_json::{Value, json};
use support::approvals::{
    WRITES, approve, ask, asking, decide, events, guarded, hex, named, pending, person, released,
    under,
};
use support::*;

const PEOPLE: &str = "/api/v1/people";

async fn asked(world: &World, party: &Party, (method, path): (&str, &str), body: &Value) -> u16 {
    let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    world.operate(party, method, path, &body, NOW).await.status
}

async fn add(world: &World, tenant: &Tenant, name: &str) -> String {
    let body = json!({"person": name, "organisation": "engines", "role": "ADMIN"}).to_string();
    let answer = world.operate(&tenant.operator, "POST", PEOPLE, body.as_bytes(), NOW).await;
    let answer: Value = serde_json::from_slice(&answer.body).unwrap();
    answer["id"].as_str().unwrap().to_owned()
}

async fn people(world: &World, tenant: &Tenant) -> Vec<Value> {
    let answer = world.operate(&tenant.operator, "GET", PEOPLE, b"", NOW).await;
    let answer: Value = serde_json::from_slice(&answer.body).unwrap();
    answer["people"].as_array().unwrap().clone()
}

#[tokio::test]
async fn an_operator_sees_and_changes_people_of_its_own_tenant_alone() {
    let world = World::with_people().await;
    let (acme, other) = (world.tenant("acme").await, world.tenant("other").await);
    let id = add(&world, &acme, "bea").await;
    assert_eq!(people(&world, &other).await, Vec::<Value>::new());
    for (method, rest) in [
        ("DELETE", String::new()),
        ("POST", "/link".into()),
        ("POST", "/sign-out".into()),
        ("DELETE", format!("/passkeys/{id}")),
    ] {
        let path = format!("{PEOPLE}/{id}{rest}");
        let status = asked(&world, &other.operator, (method, &path), &Value::Null).await;
        assert_eq!(status, 404, "{method} {path}");
    }
    assert_eq!(people(&world, &acme).await.len(), 1);
    // The same name in another tenant is somebody else.
    let theirs = add(&world, &other, "bea").await;
    assert_ne!(theirs, id);
    let path = format!("{PEOPLE}/{theirs}");
    assert_eq!(asked(&world, &acme.operator, ("DELETE", &path), &Value::Null).await, 404);
    assert_eq!(asked(&world, &other.operator, ("DELETE", &path), &Value::Null).await, 204);
    assert_eq!(people(&world, &acme).await.len(), 1);
}

#[tokio::test]
async fn what_is_no_person_is_a_bad_request_and_changes_nothing() {
    let world = World::with_people().await;
    let acme = world.tenant("acme").await;
    let good = json!({"person": "bea", "organisation": "engines", "role": "ADMIN"});
    let long = "x".repeat(129);
    for (key, value) in [
        ("person", json!("")),
        ("person", json!(long)),
        ("person", json!("a\u{0}b")),
        ("person", json!("a\nb")),
        ("person", json!("operator:00")),
        ("person", json!("grant:00")),
        ("person", json!(7)),
        ("person", Value::Null),
        ("organisation", json!("")),
        ("organisation", json!(long)),
        ("role", json!("AGENT")),
        ("role", json!("admin")),
        ("role", json!("")),
        ("link_seconds", json!(0)),
        ("link_seconds", json!(24 * 3600 + 1)),
        ("link_seconds", json!(-1)),
        ("link_seconds", json!(1.5)),
        ("is_admin", json!(true)),
    ] {
        let mut bent = good.clone();
        bent[key] = value.clone();
        let status = asked(&world, &acme.operator, ("POST", PEOPLE), &bent).await;
        assert_eq!(status, 400, "{key}: {value}");
    }
    for body in [&b""[..], b"[]", b"{", b"\xff", b"null"] {
        let answer = world.operate(&acme.operator, "POST", PEOPLE, body, NOW).await;
        assert_eq!(answer.status, 400, "{body:?}");
    }
    assert_eq!(people(&world, &acme).await, Vec::<Value>::new());
    assert_eq!(asked(&world, &acme.operator, ("POST", PEOPLE), &good).await, 200);
    assert_eq!(asked(&world, &acme.operator, ("POST", PEOPLE), &good).await, 409, "twice");
    for (method, path) in [
        ("PUT", PEOPLE),
        ("DELETE", PEOPLE),
        ("DELETE", "/api/v1/people/00"),
        ("DELETE", "/api/v1/people/zz112233445566778899aabbccddeeff"),
        ("DELETE", "/api/v1/people/00112233445566778899aabbccddeeff"),
        ("POST", "/api/v1/people/00112233445566778899aabbccddeeff/link"),
    ] {
        let status = asked(&world, &acme.operator, (method, path), &Value::Null).await;
        assert_eq!(status, 404, "{method} {path}");
    }
    let id = people(&world, &acme).await[0]["id"].as_str().unwrap().to_owned();
    let link = format!("{PEOPLE}/{id}/link");
    for body in [json!({"link_seconds": 0}), json!({"link_seconds": 90_000}), json!({"life": 60})] {
        let status = asked(&world, &acme.operator, ("POST", &link), &body).await;
        assert_eq!(status, 400, "{body}");
    }
}

#[tokio::test]
async fn what_somebody_said_yes_to_ends_when_they_are_removed() {
    let world = World::with_people().await;
    let acme = world.tenant("acme").await;
    let (bea, _) = (add(&world, &acme, "bea").await, add(&world, &acme, "cyd").await);
    let granting = Ruling { grant_seconds: Some(1800), ..Ruling::of(Verdict::Approve) };
    let id = pending(&world, &acme).await;
    assert_eq!(decide(&world, &id, &person("bea"), &granting, NOW).await, Ok(State::Approved));
    assert!(ask(&world, &acme, asking(b"2"), NOW).await.unwrap().claimed);
    // What somebody else allowed stays.
    let elsewhere = |content: &[u8]| {
        let mut asked = asking(content);
        asked.requested.path = "/elsewhere".into();
        asked
    };
    let other = ask(&world, &acme, elsewhere(b"1"), NOW).await.unwrap().id;
    assert_eq!(decide(&world, &other, &person("cyd"), &granting, NOW).await, Ok(State::Approved));
    let path = format!("{PEOPLE}/{bea}");
    assert_eq!(asked(&world, &acme.operator, ("DELETE", &path), &Value::Null).await, 204);
    let again = ask(&world, &acme, named(id), NOW).await.unwrap();
    assert!(!again.claimed && again.id != id, "{}", hex(&id));
    assert!(!ask(&world, &acme, asking(b"3"), NOW).await.unwrap().claimed);
    assert!(ask(&world, &acme, elsewhere(b"2"), NOW).await.unwrap().claimed);
    // The grant, and what it gave a moment ago.
    assert_eq!(events(&world, &acme, "person_removed").await[0]["approvals"], "2");
}

#[tokio::test]
async fn an_approval_in_use_ends_with_the_person_who_gave_it() {
    let world = World::with_people().await;
    let acme = world.tenant("acme").await;
    guarded(&world, &acme, WRITES).await;
    let bea = add(&world, &acme, "bea").await;
    let id = pending(&world, &acme).await;
    approve(&world, &id).await;
    assert!(ask(&world, &acme, named(id), NOW).await.unwrap().claimed);
    let path = format!("{PEOPLE}/{bea}");
    assert_eq!(asked(&world, &acme.operator, ("DELETE", &path), &Value::Null).await, 204);
    let release = under(Some(id));
    assert_eq!(released(&world, &acme, release, NOW).await, Status::NeedsApproval);
}
