//! A credential whose value stays in a vault, as an operator stores it: against a key service
//! with a `keys.yaml`, and a local vault of HashiCorp's shapes.

#[allow(dead_code)]
#[path = "../../vaults/tests/hashicorp/server.rs"]
mod server;
mod support;

use std::path::Path;

use serde_json::json;
use server::{ROLE, Server, Trick};
use support::{Day, command};

fn keys_yaml(folder: &Path, address: &str) {
    let text = format!(
        "data_dir: keys\nlisten: 127.0.0.1:0\nvaults:\n  main:\n    hashicorp:\n      \
         address: {address}\n      approle: {{role_id: {ROLE}, secret_id_file: secret-id}}\n    \
         tenants: {{acme: teams/acme}}\n    timeout_ms: 4000\n"
    );
    postern_files::write_atomic(folder.join("keys.yaml"), text.as_bytes()).unwrap();
    postern_files::write_private(folder.join("secret-id"), b"first-secret-id\n").unwrap();
}

const PUT: [&str; 9] = [
    "credential",
    "put",
    "stripe",
    "--authority",
    "api.stripe.com",
    "--method",
    "GET",
    "--path",
    "/v1/**",
];

#[test]
fn a_value_is_left_in_its_vault_and_what_is_not_there_is_said_at_once() {
    let vault = Server::start();
    vault.put("|secret/teams/acme/payments/stripe", json!({"api_key": "sk_live_1"}));
    let address = format!("http://127.0.0.1:{}", vault.port());
    let day = Day::begin_as(|folder| {
        keys_yaml(folder, &address);
        command(folder, &["keys", "serve", "--config", "keys.yaml", "--while-stdin"])
    });
    let from = |place: &'static str, more: &[&'static str]| {
        day.run(&[&PUT[..], &["--from", place], more].concat(), "")
    };
    let good = "vault:main/payments/stripe#api_key";
    let (code, said, _) = from(good, &[]);
    assert_eq!((code, said.contains("stored stripe, version 1; its value stays in")), (0, true));
    for (place, more, want, text) in [
        (good, &[][..], 1, "Another version of this credential is stored"),
        ("vault:main/payments/other#api_key", &["--replace"], 1, "the vault has no such secret"),
        ("vault:main/payments/stripe#other", &["--replace"], 1, "the vault has no such field"),
        ("vault:none/payments/stripe#api_key", &["--replace"], 1, "no vault of this name"),
        ("vault:main/../stripe#api_key", &["--replace"], 1, "Expected vault:NAME/PATH#FIELD"),
        (good, &["--from", good], 2, "expected one --from, and one for each --field"),
    ] {
        let (code, stdout, stderr) = from(place, more);
        assert!(code == want && stderr.contains(text), "{place}: {code} {stdout}{stderr}");
    }
    vault.play(Trick::Status(503, None));
    let (code, _, stderr) = from(good, &["--replace"]);
    assert!(code == 3 && stderr.contains("the vault unreachable: answers 503"), "{stderr}");
    let list = day.json(&["credential", "list"]);
    assert_eq!(
        (&list["credentials"][0]["vault"], list["credentials"][0]["version"].as_u64()),
        (&json!("main"), Some(1))
    );
    assert!(!list.to_string().contains("api_key"), "{list}");
    day.has_recorded(&[
        r#""reason":"vault_not_found""#.to_owned(),
        r#""vault":"main","vault_version":"1","version":"1""#.to_owned(),
    ]);
}

#[test]
fn a_vault_that_is_not_acceptable_is_named_by_the_check() {
    let folder = tempfile::tempdir().unwrap();
    keys_yaml(folder.path(), "http://vault.example");
    let check = ["check", "--allow-simulated", "keys.yaml"];
    let output = command(folder.path(), &check).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("keys.yaml:6: error: vaults.main.hashicorp.address: expected https"),
        "{said}"
    );
    keys_yaml(folder.path(), "https://vault.example");
    assert!(command(folder.path(), &check).status().unwrap().success());
}
