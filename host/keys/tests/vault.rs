//! The key-encryption key from a local vault of Azure's REST shapes, which compares the token of a
//! local attestation service with its release policy.

mod support;

use std::path::Path;
use std::sync::Arc;

use postern_attester::MaaServer;
use postern_azure::KeyRef;
use postern_keys::config::{AzureKey, Database, Evidence, Kek, StandIn};
use postern_keys::evidence::Hardware;
use postern_keys::{Config, Fault, Service, rotation};
use postern_vault::{Key, Material, Trick, VaultServer};
use serde_json::json;
use support::NOW;
use support::hardware::{Machine, TCBM, host, settings};

fn now() -> u64 {
    NOW.seconds()
}

/// A machine, its attestation service and its vault.
struct Site {
    folder: tempfile::TempDir,
    attestation: MaaServer,
    vault: VaultServer,
    config: Config,
}

impl Site {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        host(folder.path(), TCBM);
        let attestation = MaaServer::start(now);
        let vault = VaultServer::start(now);
        vault.put("kek", Key::oct(7));
        let mut config = Config::local(&folder.path().join("data"));
        if support::postgres::is_asked_for() {
            config.database =
                Database::Postgres(support::postgres::cluster().await.database().await);
        }
        let hardware = settings(folder.path(), false, Some(&attestation));
        config.evidence = Evidence::Hardware(hardware);
        let mut site = Self { folder, attestation, vault, config };
        site.names("kek", &[]);
        site
    }

    fn key(&self, name: &str) -> KeyRef {
        KeyRef::parse(&self.vault.kid(name), true).unwrap()
    }

    /// As `keys.yaml` would name them.
    fn names(&mut self, key: &str, previous: &[&str]) {
        let stand_in = StandIn { identity: self.vault.identity(), root: self.vault.root() };
        self.config.kek = Kek::Azure(AzureKey {
            key: self.key(key),
            previous: previous.iter().map(|name| self.key(name)).collect(),
            client_id: None,
            stand_in: Some(stand_in),
        });
    }

    fn machine(&self) -> Arc<Hardware> {
        let hardware = settings(self.folder.path(), false, Some(&self.attestation));
        Arc::new(Hardware::new(&hardware, Box::new(Machine)))
    }

    async fn open(&self) -> Result<Service, Fault> {
        Service::open_with(&self.config, self.machine(), NOW).await
    }

    async fn refusal(&self) -> String {
        self.open().await.err().expect("a refusal").to_string()
    }
}

fn files(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_is_released_at_each_start_and_is_in_no_file() {
    let site = Site::new().await;
    let service = site.open().await.unwrap();
    let audit_key = service.audit_key();
    service.close(NOW).await;
    assert!(!files(&site.config.data_dir).contains(&"kek.key".to_owned()));
    // The same key opens what was sealed by the first start.
    let service = site.open().await.unwrap();
    assert_eq!(service.audit_key(), audit_key);
    service.close(NOW).await;
    let released = site.vault.asked().iter().filter(|asked| asked.contains("release")).count();
    assert_eq!(released, 2);
    // A token about the key it is released to is asked for each time.
    assert!(site.attestation.asked() >= 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_measurement_gets_no_key_and_does_not_start() {
    let site = Site::new().await;
    site.open().await.unwrap().close(NOW).await;
    // The policy of a release that is not this one.
    site.vault.change("kek", |key| {
        let text = key.policy.to_string();
        let other = "ab".repeat(32);
        let known = postern_core::hex::lower(&postern_attester::HOST_DATA);
        assert!(text.contains(&known), "{text}");
        key.policy = serde_json::from_str(&text.replace(&known, &other)).unwrap();
    });
    let refusal = site.refusal().await;
    assert!(refusal.contains("the vault: forbids it (403"), "{refusal}");
    assert!(refusal.contains("/keys/kek/1"), "{refusal}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_vault_or_the_attestation_service_refuses_keeps_the_service_from_starting() {
    let site = Site::new().await;
    site.open().await.unwrap().close(NOW).await;
    for (trick, says) in [
        (Trick::Status(404, None), "has no such key (404)"),
        (Trick::Status(409, None), "answers 409"),
        (Trick::OtherKey, "another key than was asked for"),
        (Trick::StrangeChain, "its certificates do not hold"),
        (Trick::BrokenWrap, "does not open with the transfer key"),
    ] {
        site.vault.play(trick.clone());
        let refusal = site.refusal().await;
        assert!(refusal.contains(says), "{trick:?}: {refusal}");
    }
    site.vault.play(Trick::None);
    site.attestation.fail(403);
    let refusal = site.refusal().await;
    assert!(refusal.contains("no attestation: attestation: attestation service: 403"), "{refusal}");
    site.attestation.fail(200);
    // Another key of the vault is not the one that wrapped what is in the database.
    site.vault.change("kek", |key| key.material = Material::Oct(vec![8; 32]));
    assert_eq!(site.open().await.err(), Some(Fault::Sealed("data key")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_goes_to_the_key_that_is_named_first() {
    let mut site = Site::new().await;
    let service = site.open().await.unwrap();
    let audit_key = service.audit_key();
    site.vault.put("next", Key::rsa());
    // Named alone, it does not open what the other one wrapped.
    site.names("next", &[]);
    assert_eq!(site.open().await.err(), Some(Fault::OtherKek));
    site.names("next", &["kek"]);
    let replica = site.open().await.unwrap();
    assert_eq!(replica.audit_key(), audit_key);
    let rotated = rotation::kek_with(&site.config, site.machine(), NOW).await.unwrap();
    assert_eq!((rotated.keys, rotated.values), (1, 0));
    // Done again it changes nothing, and the one before is not needed any more.
    let rotated = rotation::kek_with(&site.config, site.machine(), NOW).await.unwrap();
    assert_eq!(rotated.keys, 0);
    site.vault.delete("kek");
    site.names("next", &[]);
    assert_eq!(site.open().await.unwrap().audit_key(), audit_key);
}

#[test]
fn a_vaults_key_is_named_with_care() {
    let folder = tempfile::tempdir().unwrap();
    let parsed = |kek: serde_json::Value, evidence: serde_json::Value| {
        let document = json!({"data_dir": "data", "kek": kek, "evidence": evidence});
        Config::parse(document.to_string().as_bytes(), folder.path())
            .map(|config| config.kek)
            .map_err(|error| error.to_string())
    };
    let key = "https://contoso.vault.azure.net/keys/kek/0123";
    let hardware =
        json!({"maa": "https://shared.attest.azure.net", "release_set": "releases.note"});
    let good = parsed(json!({"azure": {"key": key}}), hardware.clone()).unwrap();
    assert!(matches!(good, Kek::Azure(azure) if azure.key.to_string() == key));
    let snp = json!({"snp": true, "release_set": "releases.note"});
    let rows = [
        (json!({"azure": {"key": key}}), json!("sim"), "kek.azure: expected evidence.maa"),
        (json!({"azure": {"key": key}}), snp, "kek.azure: expected evidence.maa"),
        (json!({"azure": {}}), hardware.clone(), "missing field `key`"),
        (json!({}), hardware.clone(), "kek: expected azure or passphrase"),
        (
            json!({"azure": {"key": key}, "passphrase": {"file": "p"}}),
            hardware.clone(),
            "kek: expected azure or passphrase",
        ),
        (
            json!({"passphrase": {"file": "p", "previous": ["p"]}}),
            json!("sim"),
            "kek.passphrase.previous: expected",
        ),
        (json!({"azure": {"key": key, "name": 1}}), hardware.clone(), "unknown field `name`"),
        (json!({"file": "kek.key"}), hardware.clone(), "unknown field `file`"),
        (
            json!({"azure": {"key": "https://contoso.vault.azure.net/keys/kek"}}),
            hardware.clone(),
            "kek.azure.key: expected",
        ),
        (
            json!({"azure": {"key": "https://evil.example/keys/kek/1"}}),
            hardware.clone(),
            "kek.azure.key: expected",
        ),
        (
            json!({"azure": {"key": key, "previous": [key]}}),
            hardware.clone(),
            "kek.azure.previous: expected other",
        ),
        (
            json!({"azure": {"key": key, "previous": ["x"]}}),
            hardware.clone(),
            "kek.azure.previous: expected",
        ),
        (
            json!({"azure": {"key": key, "client_id": "a/b"}}),
            hardware.clone(),
            "kek.azure.client_id: expected",
        ),
    ];
    for (kek, evidence, says) in rows {
        let refusal = parsed(kek.clone(), evidence).unwrap_err();
        assert!(refusal.contains(says), "{kek}: {refusal}");
    }
}
