//! What gateways may run: one that drifted from it gets no value, and only the log says why.
#![allow(clippy::unwrap_used)]

mod support;

use postern_core::hex;
use postern_crp::message::{Status, release};
use postern_keys::Service;
use postern_keys::admin::{NamedSet, NewSet};
use support::*;

const PATH: &str = "/api/v1/gateway-sets";

fn set(name: &str) -> NewSet {
    NewSet { name: name.into(), ..NewSet::default() }
}

fn running(modules: u8, policy: u8) -> release::Request {
    release::Request {
        module_digest: Some([modules; 32]),
        policy_hash: Some([policy; 32]),
        ..releasing("acme")
    }
}

fn hash(byte: u8) -> Option<String> {
    Some(hex::lower(&[byte; 32]))
}

impl World {
    async fn authorise(&self, tenant: &Tenant, set: &NewSet) -> u16 {
        let body = serde_json::to_vec(set).unwrap();
        self.operate(&tenant.operator, "POST", PATH, &body, NOW).await.status
    }

    async fn take_back(&self, tenant: &Tenant, named: &NamedSet) -> u16 {
        let body = serde_json::to_vec(named).unwrap();
        self.operate(&tenant.operator, "DELETE", PATH, &body, NOW).await.status
    }

    async fn released(&self, tenant: &Tenant, request: release::Request) -> Status {
        self.release(&tenant.credential, request, NOW).await.status
    }

    /// Events of the last release.
    async fn last_event(&self, tenant: &Tenant) -> serde_json::Value {
        use base64::Engine;
        let export = self.export(tenant, NOW).await;
        let line: serde_json::Value = serde_json::from_str(export.lines().last().unwrap()).unwrap();
        let bytes = line["bytes"].as_str().unwrap();
        let bytes = base64::prelude::BASE64_URL_SAFE_NO_PAD.decode(bytes).unwrap();
        serde_json::from_slice(&bytes).unwrap()
    }
}

async fn stored() -> (World, Tenant) {
    let world = World::on_disk().await;
    let tenant = world.tenant("acme").await;
    world.put(&tenant, b"value", NOW).await;
    (world, tenant)
}

#[tokio::test]
async fn without_a_set_a_gateway_may_run_anything() {
    let (world, tenant) = stored().await;
    assert_eq!(world.released(&tenant, running(1, 2)).await, Status::Ok);
    assert_eq!(world.released(&tenant, releasing("acme")).await, Status::Ok);
}

#[tokio::test]
async fn each_part_that_drifted_is_refused_alike_and_named_in_the_log_alone() {
    let (world, tenant) = stored().await;
    let bindings = vec![hex::lower(&binding("acme").hash())];
    let all = NewSet { modules: hash(1), policy: hash(2), bindings, ..set("today") };
    assert_eq!(world.authorise(&tenant, &all).await, 200);
    assert_eq!(world.released(&tenant, running(1, 2)).await, Status::Ok);
    let absent = release::Request { module_digest: None, ..running(1, 2) };
    let no_policy = release::Request { policy_hash: None, ..running(1, 2) };
    let other = release::Request { binding_hash: [9; 32], ..running(1, 2) };
    for (request, reason) in [
        (running(9, 2), "modules_drifted"),
        (running(9, 9), "modules_drifted"),
        (absent, "modules_drifted"),
        (running(1, 9), "policy_drifted"),
        (no_policy, "policy_drifted"),
        (other, "binding_drifted"),
    ] {
        let (policy, asked) = (request.policy_hash, request.binding_hash);
        let answer = world.release(&tenant.credential, request, NOW).await;
        assert_eq!((answer.status, answer.fields.len()), (Status::Denied, 0), "{reason}");
        assert_eq!(answer.binding_hash, asked, "{reason}");
        let event = world.last_event(&tenant).await;
        assert_eq!(event["kind"], "credential_release");
        assert_eq!((&event["decision"], &event["reason"]), (&"refused".into(), &reason.into()));
        assert_eq!(event["policy"].as_str().map(str::to_owned), policy.map(|it| hex::lower(&it)));
    }
}

#[tokio::test]
async fn sets_overlap_while_they_are_rotated_and_are_not_mixed() {
    let (world, tenant) = stored().await;
    let one = NewSet { modules: hash(1), policy: hash(1), ..set("one") };
    let two = NewSet { modules: hash(2), policy: hash(2), ..set("two") };
    assert_eq!(world.authorise(&tenant, &one).await, 200);
    assert_eq!(world.released(&tenant, running(2, 2)).await, Status::Denied);
    assert_eq!(world.authorise(&tenant, &two).await, 200);
    for (request, status) in [
        (running(1, 1), Status::Ok),
        (running(2, 2), Status::Ok),
        (running(1, 2), Status::Denied),
        (running(2, 1), Status::Denied),
    ] {
        assert_eq!(world.released(&tenant, request).await, status);
    }
    let old = NamedSet { name: "one".into(), ..NamedSet::default() };
    assert_eq!(world.take_back(&tenant, &old).await, 204);
    assert_eq!(world.released(&tenant, running(1, 1)).await, Status::Denied);
    assert_eq!(world.released(&tenant, running(2, 2)).await, Status::Ok);
}

#[tokio::test]
async fn the_last_set_is_taken_back_only_by_who_says_so() {
    let (world, tenant) = stored().await;
    assert_eq!(world.authorise(&tenant, &NewSet { policy: hash(1), ..set("one") }).await, 200);
    let named = NamedSet { name: "one".into(), ..NamedSet::default() };
    assert_eq!(world.take_back(&tenant, &named).await, 409);
    assert_eq!(world.released(&tenant, running(1, 2)).await, Status::Denied);
    assert_eq!(world.take_back(&tenant, &NamedSet { last: true, ..named.clone() }).await, 204);
    assert_eq!(world.released(&tenant, running(1, 2)).await, Status::Ok);
    assert_eq!(world.take_back(&tenant, &named).await, 404);
}

#[tokio::test]
async fn a_gateways_own_sets_stand_before_those_of_the_tenant() {
    let (world, tenant) = stored().await;
    let gateway = Some(hex::lower(&tenant.credential.id));
    let own = NewSet { gateway, policy: hash(2), ..set("own") };
    assert_eq!(world.authorise(&tenant, &NewSet { policy: hash(1), ..set("all") }).await, 200);
    assert_eq!(world.released(&tenant, running(0, 1)).await, Status::Ok);
    assert_eq!(world.authorise(&tenant, &own).await, 200);
    assert_eq!(world.released(&tenant, running(0, 1)).await, Status::Denied);
    assert_eq!(world.released(&tenant, running(0, 2)).await, Status::Ok);
    // Another tenant's gateways are held to nothing of this.
    let other = world.tenant("globex").await;
    world.put(&other, b"value", NOW).await;
    let request = release::Request { binding_hash: binding("globex").hash(), ..running(7, 7) };
    assert_eq!(world.released(&other, request).await, Status::Ok);
    let list = world.operate(&other.operator, "GET", PATH, b"", NOW).await;
    assert_eq!(list.body, br#"{"sets":[]}"#);
}

#[tokio::test]
async fn what_is_no_set_is_refused() {
    let (world, tenant) = stored().await;
    for (wrong, status) in [
        (set("nothing"), 400),
        (NewSet { policy: hash(1), ..set("Not a name") }, 400),
        (NewSet { policy: Some("00".into()), ..set("short") }, 400),
        (NewSet { policy: hash(1), gateway: Some("00".into()), ..set("short") }, 400),
        (NewSet { bindings: vec!["x".into()], ..set("short") }, 400),
        (NewSet { bindings: (0..257_u32).map(many).collect(), ..set("many") }, 400),
        (NewSet { policy: hash(1), ..set("once") }, 200),
        (NewSet { policy: hash(2), ..set("once") }, 409),
    ] {
        assert_eq!(world.authorise(&tenant, &wrong).await, status, "{wrong:?}");
    }
    let empty = world.operate(&tenant.operator, "POST", PATH, b"{}", NOW).await;
    assert_eq!(empty.status, 400);
}

fn many(number: u32) -> String {
    let mut hash = [0; 32];
    hash[..4].copy_from_slice(&number.to_be_bytes());
    hex::lower(&hash)
}

#[tokio::test]
async fn a_set_that_was_written_behind_the_service_stops_it() {
    let (world, tenant) = stored().await;
    assert_eq!(world.authorise(&tenant, &NewSet { policy: hash(1), ..set("one") }).await, 200);
    let pool = world.database().await;
    edit(&pool, "UPDATE gateway_sets SET name = 'two'").await;
    let (body, _) = world
        .sealed(&tenant.credential, &postern_crp::message::Message::Release(running(0, 2)), NOW)
        .await;
    assert_eq!(world.service.message(&body, NOW).await.status, 503);
}

#[tokio::test]
async fn where_a_set_is_required_a_gateway_without_one_gets_nothing() {
    let (world, tenant) = stored().await;
    let mut config = world.config.clone();
    config.require_gateway_set = true;
    let strict = World { service: Service::open(&config, NOW).await.unwrap(), ..world };
    assert_eq!(strict.released(&tenant, running(1, 2)).await, Status::Denied);
    assert_eq!(strict.last_event(&tenant).await["reason"], "gateway_set_missing");
    assert_eq!(strict.authorise(&tenant, &NewSet { policy: hash(2), ..set("one") }).await, 200);
    assert_eq!(strict.released(&tenant, running(1, 2)).await, Status::Ok);
    // Even if somebody deletes it from the database.
    edit(&strict.database().await, "DELETE FROM gateway_sets").await;
    assert_eq!(strict.released(&tenant, running(1, 2)).await, Status::Denied);
}

#[tokio::test]
async fn a_set_for_a_gateway_that_is_not_there_is_refused() {
    let (world, tenant) = stored().await;
    let other = world.tenant("other").await;
    for gateway in [[9; 16], other.credential.id] {
        let set = NewSet { gateway: Some(hex::lower(&gateway)), policy: hash(2), ..set("one") };
        assert_eq!(world.authorise(&tenant, &set).await, 409);
    }
    let gateway = Some(hex::lower(&tenant.credential.id));
    assert_eq!(
        world.authorise(&tenant, &NewSet { gateway, policy: hash(2), ..set("one") }).await,
        200
    );
}
