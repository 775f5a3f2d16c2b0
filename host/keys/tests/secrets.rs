//! What a thief of the disk, a reader of every answer, and a writer to the database get.
#![allow(clippy::unwrap_used)]

mod support;

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use postern_crp::message::{Message, Status};
use postern_keys::{Fault, Service};
use support::*;

const VALUE: &[u8] = b"xoxb-4242-a-value-that-must-not-be-found";

fn forms(value: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let hex: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut forms = vec![
        ("plain", value.to_vec()),
        ("hex", hex.to_uppercase().into_bytes()),
        ("hex", hex.into_bytes()),
        ("base64url", BASE64_URL_SAFE_NO_PAD.encode(value).into_bytes()),
    ];
    for offset in 0..3 {
        let encoded = BASE64_STANDARD.encode([vec![b'.'; offset], value.to_vec()].concat());
        forms.push(("base64", encoded.as_bytes()[4..encoded.len() - 4].to_vec()));
    }
    forms
}

fn assert_absent(place: &str, bytes: &[u8]) {
    for (form, needle) in forms(VALUE) {
        let found = bytes.windows(needle.len()).any(|window| window == needle);
        assert!(!found, "{form} value in {place}");
    }
}

#[test]
fn the_search_finds_each_form_where_it_is() {
    for text in [
        String::from_utf8(VALUE.to_vec()).unwrap(),
        BASE64_STANDARD.encode(VALUE),
        BASE64_STANDARD.encode([b"ab", VALUE].concat()),
        VALUE.iter().map(|byte| format!("{byte:02x}")).collect(),
    ] {
        let found = forms(VALUE).iter().any(|(_, needle)| {
            text.as_bytes().windows(needle.len()).any(|window| window == needle)
        });
        assert!(found, "{text}");
    }
}

#[tokio::test]
async fn a_stored_value_is_nowhere_on_disk_and_in_no_answer_but_the_sealed_one() {
    let world = World::on_disk().await;
    let acme = world.tenant("acme").await;
    world.put(&acme, VALUE, NOW).await;
    let (body, awaiting) =
        world.sealed(&acme.credential, &Message::Release(releasing("acme")), NOW).await;
    assert_absent("sealed request", &body);
    let reply = world.service.message(&body, NOW).await;
    assert_absent("sealed reply", &reply.body);
    assert_eq!(status(&awaiting.open(&reply.body).unwrap()), Status::Ok);
    world.service.maintain(later(60_000)).await.unwrap();
    for path in [
        "/api/v1/tenants",
        "/api/v1/users",
        "/api/v1/keys",
        "/api/v1/credentials",
        "/api/v1/gateways",
        "/api/v1/audit",
        "/audit/integrity",
        "/api/v1/credentials/slack",
    ] {
        let answer = world.operate(&acme.operator, "GET", path, b"", NOW).await;
        assert_absent(path, &answer.body);
    }
    let files = files(&world).await;
    for (path, bytes) in &files {
        assert_absent(path, bytes);
    }
    assert!(files.len() >= 5, "database, log, keys and checkpoint, found {}", files.len());
}

/// Every file of the service with its content, and of the server that has its rows.
async fn files(world: &World) -> Vec<(String, Vec<u8>)> {
    let mut files = postgres::files(world.dir.path());
    if world.on_postgres() {
        let pool = world.database().await;
        // Writes everything to disk, unlogged tables too, which a mere CHECKPOINT leaves out;
        // that then takes the files away that are no longer any table's.
        let other = format!("other_{}", world.dir.path().file_name().unwrap().display());
        for statement in [
            format!("CREATE DATABASE \"{other}\" TEMPLATE template0 STRATEGY file_copy"),
            format!("DROP DATABASE \"{other}\""),
            "CHECKPOINT".to_owned(),
        ] {
            let statement = sqlx::AssertSqlSafe(statement);
            sqlx::raw_sql(statement).execute(&pool).await.unwrap();
        }
        let oid = "SELECT oid::text FROM pg_database WHERE datname = current_database()";
        let (oid,): (String,) = sqlx::query_as(oid).fetch_one(&pool).await.unwrap();
        let data = postgres::cluster().await.data();
        files.extend(postgres::files(&data.join("base").join(oid)));
        files.extend(postgres::files(&data.join("pg_wal")));
    }
    files
}

#[tokio::test]
async fn the_seed_of_an_epoch_that_is_over_is_nowhere_on_disk() {
    let world = World::on_disk().await;
    let acme = world.tenant("acme").await;
    world.put(&acme, VALUE, NOW).await;
    let pool = world.database().await;
    let (seed,): (Vec<u8>,) =
        sqlx::query_as("SELECT sealed FROM epochs").fetch_one(&pool).await.unwrap();
    pool.close().await;
    let holds = |bytes: &[u8]| bytes.windows(seed.len()).any(|window| window == seed);
    assert!(
        files(&world).await.iter().any(|(_, bytes)| holds(bytes)),
        "the search finds it at first"
    );
    world.service.maintain(later(2 * 3_600_000)).await.unwrap();
    assert_eq!(world.service.evidence(None, later(2 * 3_600_000)).await.status, 200);
    for (path, bytes) in files(&world).await {
        assert!(!holds(&bytes), "{path}");
    }
}

#[tokio::test]
async fn the_database_is_private_in_a_folder_that_is_not() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let mut config = postern_keys::Config::local(&folder.path().join("data"));
    let file = folder.path().join("open.sqlite");
    config.database = postern_keys::config::Database::File(file.clone());
    let _service = Service::open(&config, NOW).await.unwrap();
    for name in ["open.sqlite", "open.sqlite-wal", "open.sqlite-shm"] {
        let mode = std::fs::metadata(folder.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

async fn last_reason(pool: &sqlx::AnyPool) -> String {
    let (bytes,): (Vec<u8>,) = sqlx::query_as(
        "SELECT bytes FROM audit_events WHERE bytes LIKE '%credential_release%' ORDER BY n DESC LIMIT 1",
    )
    .fetch_one(pool)
    .await
    .unwrap();
    let event: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    event["reason"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn rows_swapped_between_tenants_or_policies_do_not_open() {
    let world = World::on_disk().await;
    let (acme, other) = (world.tenant("acme").await, world.tenant("other").await);
    world.put(&acme, VALUE, NOW).await;
    world.put(&other, b"theirs", NOW).await;
    let pool = world.database().await;
    // The other tenant's row now holds acme's ciphertext.
    sqlx::query(
        "UPDATE credential_versions SET value_ct = (SELECT value_ct FROM credential_versions v
         JOIN credentials c USING (cred_id) WHERE c.tenant = 'acme')
         WHERE cred_id = (SELECT cred_id FROM credentials WHERE tenant = 'other')",
    )
    .execute(&pool)
    .await
    .unwrap();
    let answer = world.release(&other.credential, releasing("other"), NOW).await;
    assert_eq!((answer.status, answer.fields.len()), (Status::Denied, 0));
    assert_eq!(last_reason(&pool).await, "value_does_not_open");
    // acme's credential is given to the other tenant whole.
    sqlx::query("DELETE FROM credentials WHERE tenant = 'other'").execute(&pool).await.unwrap();
    sqlx::query("UPDATE credentials SET tenant = 'other'").execute(&pool).await.unwrap();
    let answer = world.release(&other.credential, releasing("acme"), NOW).await;
    assert_eq!((answer.status, answer.fields.len()), (Status::Denied, 0));
    // Back again, but with a policy that would let the value go elsewhere.
    edit(&pool, "UPDATE credentials SET tenant = 'acme', policy = CAST(replace(CAST(policy AS TEXT), 'slack.com', 'evil.com') AS BLOB)").await;
    let mut request = releasing("acme");
    request.host = "evil.com".into();
    let list = world.operate(&acme.operator, "GET", "/api/v1/credentials", b"", NOW).await;
    let list: serde_json::Value = serde_json::from_slice(&list.body).unwrap();
    let binding = list["credentials"][0]["bindings"][0].to_string();
    request.binding_hash = *postern_crp::message::store::Binding::new(binding.into_bytes()).hash();
    let answer = world.release(&acme.credential, request, NOW).await;
    assert_eq!((answer.status, answer.fields.len()), (Status::Denied, 0));
    assert_eq!(last_reason(&pool).await, "value_does_not_open");
}

#[tokio::test]
async fn the_database_does_not_open_under_another_key_encryption_key() {
    let world = World::on_disk().await;
    world.service.close(NOW).await;
    std::fs::remove_file(world.dir.path().join("data/kek.key")).unwrap();
    assert_eq!(Service::open(&world.config, NOW).await.err(), Some(Fault::OtherKek));
}

#[tokio::test]
async fn a_reopened_service_keeps_its_keys_and_goes_on_with_the_chain() {
    let world = World::on_disk().await;
    let acme = world.tenant("acme").await;
    world.put(&acme, VALUE, NOW).await;
    let (audit, sim) = (world.service.audit_key(), world.service.sim_key());
    world.service.close(NOW).await;
    let service = Service::open(&world.config, NOW).await.unwrap();
    assert_eq!((service.audit_key(), service.sim_key()), (audit, sim));
    let world = World { service, ..world };
    let answer = world.release(&acme.credential, releasing("acme"), NOW).await;
    assert_eq!(answer.fields[0].1.expose(), VALUE);
    assert_eq!(world.service.integrity().await.unwrap().broken, None);
}

#[tokio::test]
async fn when_the_event_cannot_be_written_nothing_is_released() {
    let world = World::on_disk().await;
    let acme = world.tenant("acme").await;
    world.put(&acme, VALUE, NOW).await;
    let pool = world.database().await;
    let full = if world.on_postgres() {
        "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN RAISE EXCEPTION 'disk full'; END $$;
         CREATE TRIGGER full_disk BEFORE INSERT ON audit_events
             FOR EACH ROW EXECUTE FUNCTION full_disk()"
    } else {
        "CREATE TRIGGER full_disk BEFORE INSERT ON audit_events
             BEGIN SELECT RAISE(ABORT, 'disk full'); END"
    };
    sqlx::raw_sql(full).execute(&pool).await.unwrap();
    let (body, _) = world.sealed(&acme.credential, &Message::Release(releasing("acme")), NOW).await;
    let reply = world.service.message(&body, NOW).await;
    assert_eq!((reply.status, reply.body.len()), (503, 0));
}
