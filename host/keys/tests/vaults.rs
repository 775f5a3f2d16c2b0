//! Values that stay in a vault: released through the service's own messages, against a local vault
//! of HashiCorp's REST shapes (`host/vaults/tests/hashicorp/server.rs`), on either store.
#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
#[path = "../../vaults/tests/hashicorp/server.rs"]
mod server;
#[path = "../../vaults/tests/aws/site.rs"]
mod site;
mod support;

use std::path::Path;

use postern_core::time::UnixMillis;
use postern_crp::message::{Message, Status, release};
use postern_keys::config::Database;
use postern_keys::{Config, HttpAnswer};
use serde_json::{Value, json};
use server::{ROLE, Server, Trick};
use support::*;

const STRIPE: &str = "|secret/acme/stripe";
const READ: &str = "|GET /v1/secret/data/acme/stripe";
const LOGIN: &str = "|POST /v1/auth/approle/login";
const FROM: &str = "vault:main/stripe#api_key";
const MINUTE: u64 = 60_000;

/// The service's vaults, as `keys.yaml` would name them.
fn vaults(server: &Server, folder: &Path, limits: &str) -> Config {
    let port = server.port();
    // A machine that is busy with other tests is not a vault that is away.
    let timeout = if limits.contains("timeout_ms") { "" } else { ", timeout_ms: 4000" };
    let yaml = format!(
        "data_dir: d\nvaults: {{main: {{hashicorp: {{address: 'http://127.0.0.1:{port}', \
         approle: {{role_id: {ROLE}, secret_id_file: secret-id}}}}, \
         tenants: {{acme: acme, other: other}}{limits}{timeout}}}}}\n"
    );
    Config::parse(yaml.as_bytes(), folder).unwrap()
}

struct Site {
    world: World,
    server: Server,
    acme: Tenant,
}

impl Site {
    async fn new(limits: &str) -> Self {
        let server = Server::start();
        server.put(STRIPE, json!({"api_key": "sk_live_first", "id": "AKIA"}));
        let world = World::open(|config| {
            config.database = Database::Memory;
            let folder = config.data_dir.parent().unwrap();
            postern_files::write_private(folder.join("secret-id"), b"first-secret-id\n").unwrap();
            config.vaults = vaults(&server, folder, limits).vaults;
        })
        .await;
        let acme = world.tenant("acme").await;
        Self { world, server, acme }
    }

    /// With the credential stored.
    async fn stored(limits: &str) -> Self {
        let site = Self::new(limits).await;
        let answer = site.put(&site.acme, FROM, NOW).await;
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
        assert_eq!(site.server.asked(), [LOGIN, READ]);
        site
    }

    async fn put(&self, tenant: &Tenant, from: &str, now: UnixMillis) -> HttpAnswer {
        self.put_fields(tenant, json!({"": from}), now).await
    }

    async fn put_fields(&self, tenant: &Tenant, from: Value, now: UnixMillis) -> HttpAnswer {
        let party = &tenant.operator;
        let binding: Value = serde_json::from_slice(&binding(&party.tenant).canonical()).unwrap();
        let body = json!({
            "name": "slack", "from": from, "bindings": [binding], "replace": true,
            "approval": "none", "approvers": 1,
        });
        let path = "/api/v1/credentials";
        self.world.operate(party, "POST", path, body.to_string().as_bytes(), now).await
    }

    async fn release(&self, now: UnixMillis) -> release::Answer {
        self.world.release(&self.acme.credential, releasing("acme"), now).await
    }

    /// What is released so many milliseconds later: its value and version.
    async fn value(&self, ms: u64) -> (String, u32) {
        let answer = self.release(later(ms)).await;
        assert_eq!(answer.status, Status::Ok, "{ms}");
        let text = String::from_utf8(answer.fields[0].1.expose().to_vec()).unwrap();
        (text, answer.version)
    }

    /// What is refused then: the status, and the reason that the log has.
    async fn refused(&self, ms: u64) -> (Status, String) {
        let answer = self.release(later(ms)).await;
        assert!(answer.fields.is_empty());
        let log = logged(&self.world.export(&self.acme, later(ms)).await);
        let last = log.rsplit("\"reason\":\"").next().unwrap();
        (answer.status, last.split('"').next().unwrap().to_owned())
    }
}

fn first() -> (String, u32) {
    ("sk_live_first".into(), 1)
}

#[tokio::test]
async fn a_value_is_released_from_its_vault_which_is_asked_once_in_its_time() {
    let site = Site::stored("").await;
    for ms in [0, 1000, 30_000, MINUTE - 1] {
        assert_eq!(site.value(ms).await, first());
    }
    assert!(site.server.asked().is_empty());
    // A gateway keeps it no longer than the vault's value may be used.
    assert_eq!(site.release(later(0)).await.ttl_s, 60);
    assert_eq!(site.release(later(50_500)).await.ttl_s, 9);
    assert_eq!(site.value(MINUTE).await, first());
    assert_eq!(site.server.asked(), [READ]);
    let list = site.world.operate(&site.acme.operator, "GET", "/api/v1/credentials", b"", NOW);
    let list = String::from_utf8(list.await.body).unwrap();
    assert!(list.contains("\"vault\":\"main\"") && !list.contains("api_key"), "{list}");
    let log = logged(&site.world.export(&site.acme, NOW).await);
    assert!(log.contains("\"vault\":\"main\",\"vault_version\":\"1\""), "{log}");
    assert!(!log.contains("sk_live"), "{log}");
}

#[tokio::test]
async fn a_new_version_there_is_a_new_version_here_and_gateways_forget_the_one_before() {
    let site = Site::stored("").await;
    let epoch = site.release(NOW).await.rev_epoch;
    site.server.put(STRIPE, json!({"api_key": "sk_live_second"}));
    assert_eq!(site.value(MINUTE - 1).await, first());
    assert_eq!(site.value(MINUTE).await, ("sk_live_second".into(), 2));
    assert_eq!(site.value(2 * MINUTE - 1).await, ("sk_live_second".into(), 2));
    assert_eq!(site.server.asked(), [READ]);
    assert!(site.release(later(MINUTE + 1)).await.rev_epoch > epoch);
    let log = logged(&site.world.export(&site.acme, later(MINUTE)).await);
    assert_eq!(log.matches("\"kind\":\"credential_rotated\"").count(), 1, "{log}");
    assert!(log.contains("\"vault\":\"main\",\"vault_version\":\"2\",\"version\":\"2\""), "{log}");
}

#[tokio::test]
async fn what_is_deleted_there_is_denied_here_and_stays_so_when_the_vault_is_away() {
    let site = Site::stored(", stale_seconds: 600").await;
    site.server.delete(STRIPE);
    let gone = (Status::UnknownCredential, "vault_not_found".to_owned());
    assert_eq!(site.refused(MINUTE).await, gone);
    site.server.play(Trick::Status(503, None));
    let away = (Status::KekUnavailable, "vault_unavailable".to_owned());
    assert_eq!(site.refused(MINUTE + 3000).await, away);
    site.server.play(Trick::None);
    site.server.put(STRIPE, json!({"api_key": "sk_live_third"}));
    assert_eq!(site.value(MINUTE + 6000).await, ("sk_live_third".into(), 2));
}

#[tokio::test]
async fn a_vault_that_is_away_is_bridged_within_the_time_and_not_past_it() {
    let away = (Status::KekUnavailable, "vault_unavailable".to_owned());
    let site = Site::stored("").await;
    site.server.play(Trick::Status(503, None));
    assert_eq!(site.value(MINUTE - 1).await, first());
    assert_eq!(site.refused(MINUTE).await, away);
    site.server.play(Trick::None);
    assert_eq!(site.value(MINUTE + 3000).await, first());
    // With time beyond it, while it cannot be asked.
    let site = Site::stored(", stale_seconds: 30").await;
    site.server.play(Trick::Status(503, None));
    assert_eq!(site.value(MINUTE).await, first());
    assert_eq!(site.release(later(80_000)).await.ttl_s, 1);
    assert_eq!(site.value(MINUTE + 29_999).await, first());
    assert_eq!(site.refused(MINUTE + 30_000).await, away);
}

#[tokio::test]
async fn each_way_to_fail_has_its_own_reason() {
    type Do = fn(&Site);
    let rows: [(Do, Status, &str); 7] = [
        (|s| s.server.deny(STRIPE), Status::KekUnavailable, "vault_forbidden"),
        (|s| s.server.play(Trick::Status(500, None)), Status::KekUnavailable, "vault_unavailable"),
        (|s| s.server.play(Trick::Slow), Status::KekUnavailable, "vault_unavailable"),
        (|s| s.server.play(Trick::Content("{}")), Status::KekUnavailable, "vault_malformed"),
        (|s| s.server.play(Trick::Status(429, Some(9))), Status::KekUnavailable, "vault_throttled"),
        (
            |s| s.server.put(STRIPE, json!({"api_key": "sk\r\nx-other: 1"})),
            Status::KekUnavailable,
            "vault_malformed",
        ),
        (
            |s| s.server.put(STRIPE, json!({"other": "sk"})),
            Status::UnknownCredential,
            "vault_not_found",
        ),
    ];
    for (spoil, status, reason) in rows {
        let site = Site::stored(", timeout_ms: 1000").await;
        spoil(&site);
        assert_eq!(site.value(MINUTE - 1).await, first(), "{reason}: it is not asked yet");
        assert_eq!(site.refused(MINUTE).await, (status, reason.to_owned()));
    }
}

#[tokio::test]
async fn a_vault_that_refuses_is_left_alone_for_a_second_or_for_as_long_as_it_says() {
    let site = Site::stored("").await;
    site.server.play(Trick::Status(429, Some(9)));
    for ms in [0, 1, 999, 8_999] {
        let throttled = (Status::KekUnavailable, "vault_throttled".to_owned());
        assert_eq!(site.refused(MINUTE + ms).await, throttled);
    }
    assert_eq!(site.server.asked().len(), 1);
    site.server.play(Trick::None);
    assert_eq!(site.value(MINUTE + 12_000).await, first());
}

#[tokio::test]
async fn a_login_that_ended_is_had_again_and_one_that_is_refused_is_said() {
    let site = Site::stored("").await;
    site.server.revoke();
    assert_eq!(site.value(MINUTE).await, first());
    assert!(site.server.asked().contains(&LOGIN.to_owned()));
    site.server.revoke();
    site.server.renew_secret_id("second-secret-id");
    let refused = (Status::KekUnavailable, "vault_login_refused".to_owned());
    assert_eq!(site.refused(2 * MINUTE).await, refused);
    let file = site.world.dir.path().join("secret-id");
    std::fs::remove_file(&file).unwrap();
    assert_eq!(site.refused(2 * MINUTE + 3000).await, refused);
    postern_files::write_private(&file, b"second-secret-id").unwrap();
    assert_eq!(site.value(2 * MINUTE + 6000).await, first());
}

#[tokio::test]
async fn a_tenant_reaches_nothing_but_its_own_folder() {
    let site = Site::stored("").await;
    let (other, third) = (site.world.tenant("other").await, site.world.tenant("third").await);
    let said = async |tenant: &Tenant, from: &str| {
        let answer = site.put(tenant, from, NOW).await;
        let problem: Value = serde_json::from_slice(&answer.body).unwrap();
        (answer.status, problem["code"].as_str().unwrap_or_default().to_owned())
    };
    for from in [
        "vault:main/../acme/stripe#api_key",
        "vault:main//acme/stripe#api_key",
        "vault:main/x/../../acme/stripe#api_key",
        "vault:main/%2e%2e/acme/stripe#api_key",
        "main/stripe#api_key",
    ] {
        assert_eq!(said(&other, from).await, (400, "bad_request".to_owned()), "{from}");
    }
    assert!(site.server.asked().is_empty());
    // The same words are another place.
    assert_eq!(said(&other, FROM).await, (409, "vault_not_found".to_owned()));
    let whole = "vault:main/acme/stripe#api_key";
    assert_eq!(said(&other, whole).await, (409, "vault_not_found".to_owned()));
    let under = ["|GET /v1/secret/data/other/stripe", "|GET /v1/secret/data/other/acme/stripe"];
    assert_eq!(site.server.asked(), under);
    assert_eq!(said(&third, FROM).await, (409, "vault_not_of_tenant".to_owned()));
    assert_eq!(said(&other, "vault:none/a#b").await, (409, "vault_not_configured".to_owned()));
    assert!(site.server.asked().is_empty());
    let log = logged(&site.world.export(&third, NOW).await);
    assert!(log.contains("\"reason\":\"vault_not_of_tenant\""), "{log}");
}

#[tokio::test]
async fn nothing_is_asked_for_what_is_refused_anyway_and_once_for_those_who_come_together() {
    let site = Site::stored("").await;
    let mut request = releasing("acme");
    request.path = "/elsewhere".into();
    let answer = site.world.release(&site.acme.credential, request, later(MINUTE)).await;
    assert_eq!(answer.status, Status::Denied);
    assert!(site.server.asked().is_empty());
    let one = || site.value(MINUTE);
    let all = tokio::join!(one(), one(), one(), one(), one(), one());
    assert_eq!([all.0, all.1, all.2, all.3, all.4, all.5], std::array::from_fn(|_| first()));
    assert_eq!(site.server.asked(), [READ]);
}

#[tokio::test]
async fn fields_of_one_secret_are_of_one_version() {
    let site = Site::new("").await;
    let from = json!({"key": "vault:main/stripe#api_key", "id": "vault:main/stripe#id"});
    assert_eq!(site.put_fields(&site.acme, from, NOW).await.status, 200);
    assert_eq!(site.server.asked(), [LOGIN.to_owned(), READ.into(), format!("{READ}?version=1")]);
    let fields = site.release(NOW).await.fields;
    let shown: Vec<(&str, &[u8])> =
        fields.iter().map(|(name, value)| (name.as_str(), value.expose())).collect();
    assert_eq!(shown, [("id", b"AKIA".as_slice()), ("key", b"sk_live_first")]);
}

#[tokio::test]
async fn a_value_that_is_put_takes_the_place_of_a_vaults_and_the_other_way() {
    let site = Site::stored("").await;
    site.world.put(&site.acme, b"put in", NOW).await;
    assert_eq!(site.value(0).await, ("put in".into(), 2));
    site.server.asked();
    assert_eq!(site.value(10 * MINUTE).await, ("put in".into(), 2));
    assert!(site.server.asked().is_empty());
    assert_eq!(site.put(&site.acme, FROM, NOW).await.status, 200);
    assert_eq!(site.value(0).await, ("sk_live_first".into(), 3));
    let path = "/api/v1/credentials/slack";
    let deleted = site.world.operate(&site.acme.operator, "DELETE", path, b"", NOW).await;
    assert_eq!(deleted.status, 204);
    let answer = site.release(NOW).await;
    assert_eq!((answer.status, answer.fields.len()), (Status::UnknownCredential, 0));
}

#[tokio::test]
async fn another_vault_written_into_the_database_takes_the_place_with_it() {
    let server = Server::start();
    server.put(STRIPE, json!({"api_key": "sk_live_first"}));
    let world = World::open(|config| {
        let folder = config.data_dir.parent().unwrap();
        postern_files::write_private(folder.join("secret-id"), b"first-secret-id").unwrap();
        config.vaults = vaults(&server, folder, "").vaults;
    })
    .await;
    let acme = world.tenant("acme").await;
    let site = Site { world, server, acme };
    assert_eq!(site.put(&site.acme, FROM, NOW).await.status, 200);
    assert_eq!(site.value(0).await, first());
    let pool = site.world.database().await;
    let other = "CAST(replace(CAST(policy AS TEXT), '\"main\"', '\"evil\"') AS BLOB)";
    edit(&pool, &format!("UPDATE credentials SET policy = {other}")).await;
    site.server.asked();
    assert_eq!(site.refused(0).await, (Status::Denied, "value_does_not_open".to_owned()));
    assert!(site.server.asked().is_empty());
}

#[tokio::test]
async fn a_replica_that_kept_the_value_of_before_asks_again_once_another_has_seen_a_new_one() {
    let site = Site::new("").await;
    if !site.world.on_postgres() {
        return;
    }
    let secret_id = site.world.dir.path().join("secret-id");
    assert!(secret_id.exists());
    let replica = site.world.replica("second").await;
    assert_eq!(site.put(&site.acme, FROM, NOW).await.status, 200);
    let at = async |service: &postern_keys::Service, ms: u64| {
        let message = Message::Release(releasing("acme"));
        let party = &site.acme.credential;
        let (body, awaiting) = site.world.sealed(party, &message, later(ms)).await;
        let reply = service.message(&body, later(ms)).await;
        match awaiting.open(&reply.body).unwrap() {
            postern_crp::message::Answer::Release(answer) => {
                (String::from_utf8(answer.fields[0].1.expose().to_vec()).unwrap(), answer.version)
            }
            _ => panic!("not a release"),
        }
    };
    assert_eq!(at(&replica, 0).await, first());
    site.server.put(STRIPE, json!({"api_key": "sk_live_second"}));
    let second = ("sk_live_second".to_owned(), 2);
    assert_eq!(at(&site.world.service, MINUTE).await, second);
    // Asked a moment ago, and still not served: the other has seen what came after.
    assert_eq!(at(&replica, MINUTE - 1).await, second);
    assert_eq!(at(&site.world.service, MINUTE + 1).await, second);
}

#[tokio::test]
async fn a_value_of_aws_is_released_followed_and_denied_once_it_is_gone() {
    let mut aws = site::Site::start();
    let name = "acme/stripe";
    let text = |value: &str| json!({"api_key": value}).to_string();
    aws.does("create_secret", &json!({"Name": name, "SecretString": text("sk_live_first")}));
    let (id, secret) = aws.keys("reader");
    let world = World::open(|config| {
        config.database = Database::Memory;
        let folder = config.data_dir.parent().unwrap();
        let keys = format!("[default]\naws_access_key_id={id}\naws_secret_access_key={secret}\n");
        postern_files::write_private(folder.join("aws"), keys.as_bytes()).unwrap();
        let yaml = format!(
            "data_dir: d\nvaults: {{main: {{aws: {{region: eu-west-1, credentials_file: aws, \
             endpoint: '{}'}}, tenants: {{acme: acme}}, timeout_ms: 4000}}}}",
            aws.url()
        );
        config.vaults = Config::parse(yaml.as_bytes(), folder).unwrap().vaults;
    })
    .await;
    let acme = world.tenant("acme").await;
    let site = Site { world, server: Server::start(), acme };
    assert_eq!(site.put(&site.acme, FROM, NOW).await.status, 200);
    assert_eq!(site.value(0).await, first());
    let next = json!({"SecretId": name, "SecretString": text("sk_live_second")});
    aws.does("put_secret_value", &next);
    assert_eq!(site.value(MINUTE - 1).await, first());
    assert_eq!(site.value(MINUTE).await, ("sk_live_second".into(), 2));
    aws.does("delete_secret", &json!({"SecretId": name}));
    let gone = (Status::UnknownCredential, "vault_not_found".to_owned());
    assert_eq!(site.refused(2 * MINUTE).await, gone);
}
