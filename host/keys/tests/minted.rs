//! What a gateway may store of a token endpoint's answer, and who gets it back.
#![allow(clippy::unwrap_used)]

mod support;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use postern_core::binding::{Binding, Wire};
use postern_core::key_service::Origin;
use postern_core::secret::Secret;
use postern_core::time::UnixMillis;
use postern_crp::message::{Answer, Message, Status, release, store};
use support::*;

const NAME: &str = "access-aaaaaaaaaaaaaaaaaaaaaaaaa2";
const HOUR: u64 = 3_600_000;

fn source() -> Binding {
    let wire: Wire = serde_json::from_value(serde_json::json!({
        "credential": "oauth", "tenant": "acme", "authority": "auth.test",
        "methods": ["POST"], "paths": ["/token"], "site": {"style": "basic_password"},
        "mints": [
            {"value": "/access_token", "name": "access", "authority": "api.test",
             "methods": ["GET"], "paths": ["/api/**"], "site": {"style": "bearer"}},
            {"value": "/refresh_token", "name": "refresh", "authority": "auth.test",
             "methods": ["POST"], "paths": ["/token"], "site": {"form": "refresh_token"},
             "max_life": "24h", "again": true},
        ],
    }))
    .unwrap();
    Binding::try_from(wire).unwrap()
}

fn family(rule: usize) -> Binding {
    let source = source();
    source.minted(&source.mints()[rule])
}

/// An operator's message.
fn client() -> store::Request {
    let bindings = vec![store::Binding::new(source().canonical())];
    store::Request { credential: "oauth".into(), bindings, ..storing("acme", b"client-secret") }
}

/// What the credential module stores.
fn minted(name: &str, rule: usize) -> store::Request {
    store::Request {
        credential: name.into(),
        description: "minted from oauth".into(),
        expected: store::Expected::Absent,
        not_after: Some(later(HOUR)),
        fields: vec![(String::new(), Secret::new(b"tok-en-7".to_vec()))],
        bindings: vec![store::Binding::new(family(rule).canonical())],
        guard: store::Guard::default(),
        minted: Some(Origin {
            agent: "helper".into(),
            caller_hash: [1; 32],
            source: "oauth".into(),
            source_binding: source().hash(),
        }),
    }
}

fn using(name: &str) -> release::Request {
    release::Request {
        credential: name.into(),
        host: "api.test:443".into(),
        method: "GET".into(),
        path: "/api/things".into(),
        binding_hash: family(0).hash(),
        ..releasing("acme")
    }
}

async fn world() -> (World, Tenant) {
    let world = World::in_memory().await;
    let acme = world.tenant("acme").await;
    let answer = world.ask(&acme.operator, &Message::Store(client()), NOW).await;
    assert!(matches!(answer, Answer::Store(_)));
    (world, acme)
}

async fn mint(world: &World, acme: &Tenant, request: store::Request, now: UnixMillis) -> Status {
    status(&world.ask(&acme.credential, &Message::Store(request), now).await)
}

#[tokio::test]
async fn a_minted_value_is_released_to_who_minted_it_and_unknown_to_all_others() {
    let (world, acme) = world().await;
    assert_eq!(mint(&world, &acme, minted(NAME, 0), NOW).await, Status::Ok);
    let answer = world.release(&acme.credential, using(NAME), NOW).await;
    assert_eq!((answer.status, answer.version), (Status::Ok, 1));
    assert_eq!(answer.fields[0].1.expose(), b"tok-en-7");
    assert_eq!(answer.not_after, later(HOUR));
    for other in [
        release::Request { agent: "other".into(), ..using(NAME) },
        release::Request { caller_hash: [2; 32], ..using(NAME) },
        using("access-bbbbbbbbbbbbbbbbbbbbbbbbbb"),
    ] {
        let answer = world.release(&acme.credential, other, NOW).await;
        assert_eq!((answer.status, answer.fields.len()), (Status::UnknownCredential, 0));
    }
    for other in [
        release::Request { path: "/admin".into(), ..using(NAME) },
        release::Request { host: "auth.test:443".into(), ..using(NAME) },
        release::Request { binding_hash: family(1).hash(), ..using(NAME) },
    ] {
        let answer = world.release(&acme.credential, other, NOW).await;
        assert_eq!(answer.status, Status::Denied);
    }
    let answer = world.release(&acme.credential, using(NAME), later(HOUR)).await;
    assert_eq!(answer.status, Status::Expired);
}

/// The bytes of the newest event.
async fn last_event(world: &World, acme: &Tenant) -> String {
    let export = world.export(acme, NOW).await;
    let line: serde_json::Value = serde_json::from_str(export.lines().last().unwrap()).unwrap();
    let bytes = URL_SAFE_NO_PAD.decode(line["bytes"].as_str().unwrap()).unwrap();
    String::from_utf8(bytes).unwrap()
}

type Change = fn(&mut store::Request);

#[tokio::test]
async fn a_gateway_stores_only_what_an_operator_has_declared() {
    let (world, acme) = world().await;
    fn origin(request: &mut store::Request) -> &mut Origin {
        request.minted.as_mut().unwrap()
    }
    let rows: [(Change, &str); 15] = [
        (|r| r.minted = None, "not_of_this_role"),
        (|r| origin(r).source = "other".into(), "source_unknown"),
        (|r| origin(r).source_binding = [0; 32], "source_binding_unknown"),
        (|r| r.bindings = vec![store::Binding::new(source().canonical())], "not_declared"),
        (|r| r.bindings = vec![store::Binding::new(binding("acme").canonical())], "not_declared"),
        (|r| r.bindings.push(store::Binding::new(family(1).canonical())), "not_declared"),
        (|r| r.credential = "slack".into(), "not_acceptable"),
        (|r| r.credential = "access".into(), "not_acceptable"),
        (|r| r.credential = "refresh-aaaaaaaaaaaaaaaaaaaaaaaaaa".into(), "not_acceptable"),
        (|r| r.fields[0].0 = "user".into(), "not_acceptable"),
        (|r| r.fields[0].1 = Secret::new(b"a\r\nb".to_vec()), "not_acceptable"),
        (|r| r.expected = store::Expected::Any, "not_acceptable"),
        (|r| r.not_after = None, "life_not_declared"),
        (|r| r.not_after = Some(NOW), "life_not_declared"),
        (|r| r.not_after = Some(later(HOUR + 60_001)), "life_not_declared"),
    ];
    for (change, reason) in rows {
        let mut request = minted(NAME, 0);
        change(&mut request);
        assert_eq!(mint(&world, &acme, request, NOW).await, Status::Denied, "{reason}");
        assert!(
            last_event(&world, &acme).await.contains(&format!("\"reason\":\"{reason}\"")),
            "{reason}"
        );
    }
    let answer = world.release(&acme.credential, using(NAME), NOW).await;
    assert_eq!(answer.status, Status::UnknownCredential);
    // An operator cannot make one either, nor bind anything to a family.
    let message = Message::Store(minted(NAME, 0));
    assert_eq!(status(&world.ask(&acme.operator, &message, NOW).await), Status::Denied);
    let bindings = vec![store::Binding::new(family(0).canonical())];
    for name in [NAME, "access"] {
        let bindings = bindings.clone();
        let request = store::Request { credential: name.into(), bindings, ..client() };
        let answer = world.ask(&acme.operator, &Message::Store(request), NOW).await;
        assert_eq!(status(&answer), Status::Denied);
    }
}

#[tokio::test]
async fn nothing_that_is_stored_is_ever_replaced() {
    let (world, acme) = world().await;
    assert_eq!(mint(&world, &acme, minted(NAME, 0), NOW).await, Status::Ok);
    assert_eq!(mint(&world, &acme, minted(NAME, 0), NOW).await, Status::Denied);
    // An operator's credential that is called as a minted one might be.
    let name = "access-cccccccccccccccccccccccccc";
    let mut wire = Wire::from(&source());
    wire.credential = Some(name.into());
    let own = Binding::try_from(wire).unwrap();
    let bindings = vec![store::Binding::new(own.canonical())];
    let request = store::Request { credential: name.into(), bindings, ..client() };
    let answer = world.ask(&acme.operator, &Message::Store(request), NOW).await;
    assert!(matches!(answer, Answer::Store(_)));
    assert_eq!(mint(&world, &acme, minted(name, 0), NOW).await, Status::Denied);
}

#[tokio::test]
async fn a_refresh_token_mints_for_its_owner_until_it_ends() {
    let (world, acme) = world().await;
    let refresh = "refresh-aaaaaaaaaaaaaaaaaaaaaaaaaa";
    assert_eq!(mint(&world, &acme, minted(refresh, 1), NOW).await, Status::Ok);
    let again = |caller: u8| {
        let mut request = minted(NAME, 0);
        let origin = request.minted.as_mut().unwrap();
        origin.source = refresh.into();
        origin.source_binding = family(1).hash();
        origin.caller_hash = [caller; 32];
        request
    };
    assert_eq!(mint(&world, &acme, again(2), NOW).await, Status::Denied);
    assert_eq!(mint(&world, &acme, again(1), NOW).await, Status::Ok);
    let late = later(2 * HOUR);
    let mut request = again(1);
    request.credential = "access-dddddddddddddddddddddddddd".into();
    request.not_after = Some(UnixMillis(late.0 + 1000));
    assert_eq!(mint(&world, &acme, request, late).await, Status::Denied);
}

#[tokio::test]
async fn one_caller_has_256_at_a_time_and_what_has_ended_goes() {
    let (world, acme) = world().await;
    let letters = b"abcdefghijklmnopqrstuvwxyz";
    let name = |n: usize| {
        let (a, b) = (char::from(letters[n / 26]), char::from(letters[n % 26]));
        format!("access-{}{a}{b}", "e".repeat(24))
    };
    for n in 0..256 {
        assert_eq!(mint(&world, &acme, minted(&name(n), 0), NOW).await, Status::Ok);
    }
    assert_eq!(mint(&world, &acme, minted(&name(256), 0), NOW).await, Status::Rate);
    let mut other = minted(&name(257), 0);
    other.minted.as_mut().unwrap().caller_hash = [2; 32];
    assert_eq!(mint(&world, &acme, other, NOW).await, Status::Ok);
    // They have ended, and an hour later they are gone.
    let late = later(2 * HOUR);
    let mut request = minted(NAME, 0);
    request.not_after = Some(UnixMillis(late.0 + HOUR));
    assert_eq!(mint(&world, &acme, request, late).await, Status::Ok);
    let answer = world.operate(&acme.operator, "GET", "/api/v1/credentials", b"", late).await;
    let list: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    let shown: Vec<_> = list["credentials"].as_array().unwrap().iter().collect();
    assert_eq!(shown.len(), 2, "{list}");
    assert_eq!((&shown[0]["name"], &shown[0]["agent"]), (&NAME.into(), &"helper".into()));
    assert!(shown[0]["bindings"][0]["minted"] == "access" && shown[1].get("agent").is_none());
}

async fn revoke(world: &World, acme: &Tenant, kind: &str, id: &str) -> u16 {
    let body = serde_json::json!({"kind": kind, "id": id}).to_string();
    let path = "/api/v1/revocations";
    world.operate(&acme.operator, "POST", path, body.as_bytes(), NOW).await.status
}

/// A refresh token as the source of what comes next.
fn refreshed() -> store::Request {
    let mut request = minted("access-cccccccccccccccccccccccccc", 0);
    let origin = request.minted.as_mut().unwrap();
    origin.source = REFRESH.into();
    origin.source_binding = family(1).hash();
    request
}

const REFRESH: &str = "refresh-aaaaaaaaaaaaaaaaaaaaaaaaa2";

#[tokio::test]
async fn what_was_minted_ends_with_the_credential_that_minted_it() {
    for deleted in [false, true] {
        let (world, acme) = world().await;
        assert_eq!(mint(&world, &acme, minted(NAME, 0), NOW).await, Status::Ok);
        assert_eq!(mint(&world, &acme, minted(REFRESH, 1), NOW).await, Status::Ok);
        assert_eq!(mint(&world, &acme, refreshed(), NOW).await, Status::Ok);
        let done = if deleted {
            let path = "/api/v1/credentials/oauth";
            world.operate(&acme.operator, "DELETE", path, b"", NOW).await.status
        } else {
            revoke(&world, &acme, "credential", "oauth").await
        };
        assert_eq!(done, if deleted { 204 } else { 200 });
        let want = if deleted { Status::UnknownCredential } else { Status::Revoked };
        for name in [NAME, "access-cccccccccccccccccccccccccc"] {
            let answer = world.release(&acme.credential, using(name), NOW).await;
            assert_eq!((answer.status, answer.fields.len()), (want, 0), "{name}");
        }
    }
}

#[tokio::test]
async fn nothing_is_minted_of_what_is_revoked() {
    for (kind, id) in [("credential", "oauth"), ("agent", "helper"), ("tenant", "")] {
        let (world, acme) = world().await;
        assert_eq!(mint(&world, &acme, minted(REFRESH, 1), NOW).await, Status::Ok);
        assert_eq!(revoke(&world, &acme, kind, id).await, 200);
        assert_eq!(mint(&world, &acme, minted(NAME, 0), NOW).await, Status::Revoked, "{kind}");
        assert_eq!(mint(&world, &acme, refreshed(), NOW).await, Status::Revoked, "{kind}");
    }
}
