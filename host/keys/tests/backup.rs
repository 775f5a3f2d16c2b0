//! Rows that go away and come back: backups, and the schema's versions, on either store.
#![allow(clippy::unwrap_used)]

mod support;

use std::path::Path;

use postern_core::time::UnixMillis;
use postern_crp::message::{Message, Status};
use postern_keys::backup::{backup, restore};
use postern_keys::config::{Config, Database};
use postern_keys::store::schema::{self, Ask};
use postern_keys::{Fault, Service};
use support::approvals;
use support::postgres::{OWNER, cluster};
use support::*;

/// An hour and more: what was an epoch at [`NOW`] is over.
const OVER: u64 = 2 * 3_600_000;

/// A service beside `world` with the same keys and, so far, no rows.
async fn beside(world: &World, name: &str) -> Config {
    let mut config = Config::local(&world.dir.path().join(name));
    std::fs::create_dir(&config.data_dir).unwrap();
    for file in ["kek.key", "sim.key"] {
        let from = world.config.data_dir.join(file);
        std::fs::copy(from, config.data_dir.join(file)).unwrap();
    }
    if world.on_postgres() {
        // The schema comes with the rows.
        let mut at = cluster().await.database().await;
        let empty = format!("empty_{}", at.name);
        let pool = world.database().await;
        let make = format!("CREATE DATABASE {empty} OWNER {OWNER}");
        sqlx::raw_sql(sqlx::AssertSqlSafe(make)).execute(&pool).await.unwrap();
        at.name = empty;
        config.database = Database::Postgres(at);
    }
    config
}

/// Every row that is there, seeds too: a copy of the files, or a whole dump. With `clean`, as
/// the manual says.
async fn saved(world: &World, to: &Path, clean: bool) {
    match &world.config.database {
        Database::Postgres(at) => {
            let without: &[&str] = if clean { &["--no-unlogged-table-data"] } else { &[] };
            let words = [&["--format", "custom"], without].concat();
            let dump = cluster().await.run("pg_dump", &at.name, &words);
            postern_files::write_atomic(to, &dump).unwrap();
        }
        _ if clean => backup(&world.config, to).await.unwrap(),
        _ => {
            let pool = world.database().await;
            sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&pool).await.unwrap();
            std::fs::copy(world.config.data_dir.join("keys.sqlite"), to).unwrap();
        }
    }
}

async fn put_back(config: &Config, from: &Path) -> Result<postern_keys::backup::Restored, Fault> {
    put_back_at(config, from, later(OVER)).await
}

async fn put_back_at(
    config: &Config,
    from: &Path,
    now: UnixMillis,
) -> Result<postern_keys::backup::Restored, Fault> {
    let Database::Postgres(at) = &config.database else {
        return restore(config, Some(from), now).await;
    };
    let file = from.to_str().unwrap();
    cluster().await.run("pg_restore", &at.name, &["--no-privileges", file]);
    let ask = Ask { owner: Some((OWNER.to_owned(), None)), ..Ask::default() };
    schema::migrate(&config.database, &ask).await?;
    restore(config, None, now).await
}

async fn seeds(config: &Config) -> i64 {
    let url = match &config.database {
        Database::Postgres(at) => cluster().await.superuser(&at.name),
        _ => format!("sqlite:{}", config.data_dir.join("keys.sqlite").display()),
    };
    let pool = sqlx::AnyPool::connect(&url).await.unwrap();
    let (count,): (i64,) =
        sqlx::query_as("SELECT count(*) FROM epochs").fetch_one(&pool).await.unwrap();
    pool.close().await;
    count
}

#[tokio::test]
async fn an_epoch_that_was_destroyed_does_not_come_back() {
    let world = World::on_disk().await;
    let acme = world.tenant("acme").await;
    world.put(&acme, b"value", NOW).await;
    // What somebody recorded on the way.
    let message = Message::Release(releasing("acme"));
    let (recorded, _) = world.sealed(&acme.credential, &message, NOW).await;
    let file = world.dir.path().join("whole.copy");
    saved(&world, &file, false).await;
    world.service.maintain(later(OVER)).await.unwrap();
    assert_eq!(world.service.message(&recorded, NOW).await.status, 409, "destroyed");

    let config = beside(&world, "again").await;
    put_back(&config, &file).await.unwrap();
    assert_eq!(seeds(&config).await, 0, "even from a copy that has them");
    // With the clock of that hour, too: the hour begins again under other keys.
    let service = Service::open(&config, NOW).await.unwrap();
    assert_eq!(service.message(&recorded, NOW).await.status, 409);
}

#[tokio::test]
async fn a_backup_has_no_seed_and_gives_everything_else_back() {
    let world = World::on_disk().await;
    let acme = world.tenant("acme").await;
    world.put(&acme, b"value", NOW).await;
    let pool = world.database().await;
    let (seed,): (Vec<u8>,) =
        sqlx::query_as("SELECT sealed FROM epochs").fetch_one(&pool).await.unwrap();
    let file = world.dir.path().join("keys.backup");
    saved(&world, &file, true).await;
    let bytes = std::fs::read(&file).unwrap();
    assert!(!bytes.windows(seed.len()).any(|window| window == seed));

    let config = beside(&world, "again").await;
    let back = put_back(&config, &file).await.unwrap();
    assert_eq!((back.known, back.taken_back), (None, 0));
    let service = Service::open(&config, later(OVER)).await.unwrap();
    let World { dir, .. } = world;
    let world = World { dir, config, service };
    assert_eq!(world.service.integrity().await.unwrap().broken, None);
    let answer = world.release(&acme.credential, releasing("acme"), later(OVER)).await;
    assert_eq!((answer.status, answer.fields[0].1.expose()), (Status::Ok, b"value".as_slice()));
    let list = world.export(&acme, later(OVER)).await;
    assert!(list.lines().count() > 5);
}

#[tokio::test]
async fn an_approval_does_not_come_back_to_be_used_again() {
    let world = World::on_disk().await;
    let acme = world.tenant("acme").await;
    let id = approvals::pending(&world, &acme).await;
    approvals::approve(&world, &id).await;
    let pool = world.database().await;
    let (preview,): (Vec<u8>,) =
        sqlx::query_as("SELECT sealed FROM approval_previews").fetch_one(&pool).await.unwrap();
    let part = &preview[..64.min(preview.len())];
    let file = world.dir.path().join("keys.backup");
    saved(&world, &file, true).await;
    let bytes = std::fs::read(&file).unwrap();
    assert!(!bytes.windows(part.len()).any(|window| window == part), "what people are shown");
    // Used after the backup was made.
    let named = approvals::ask(&world, &acme, approvals::named(id), NOW).await.unwrap();
    assert!(named.claimed);

    let config = beside(&world, "again").await;
    let soon = later(60_000);
    assert_eq!(put_back_at(&config, &file, soon).await.unwrap().taken_back, 1);
    let service = Service::open(&config, soon).await.unwrap();
    let World { dir, .. } = world;
    let world = World { dir, config, service };
    let named = approvals::ask(&world, &acme, approvals::named(id), soon).await.unwrap();
    assert!(!named.claimed && named.id != id, "{named:?}");
}

#[tokio::test]
async fn what_gateways_have_seen_since_is_behind_what_comes_back() {
    let world = World::on_disk().await;
    let acme = world.tenant("acme").await;
    let (gateway, _) = world.service.mint("acme", NOW).await.unwrap();
    let file = world.dir.path().join("keys.backup");
    saved(&world, &file, true).await;
    // After the backup: a revocation, and events under a checkpoint.
    world.put(&acme, b"value", NOW).await;
    let body = br#"{"kind":"agent","id":"helper"}"#;
    let revoked = world.operate(&acme.operator, "POST", "/api/v1/revocations", body, NOW).await;
    assert_eq!(revoked.status, 200);
    world.service.maintain(later(60_000)).await.unwrap();
    let epoch = async || -> u64 {
        let pool = world.database().await;
        let (epoch,): (i64,) =
            sqlx::query_as("SELECT epoch FROM revocation_state").fetch_one(&pool).await.unwrap();
        epoch.unsigned_abs()
    };
    let (seen, kept) = (epoch().await, world.service.last_checkpoint().await.unwrap().unwrap());

    let config = beside(&world, "again").await;
    let notes = config.data_dir.join("checkpoints");
    std::fs::create_dir(&notes).unwrap();
    postern_files::write_atomic(notes.join("000000000099.checkpoint"), kept.as_bytes()).unwrap();
    let back = put_back(&config, &file).await.unwrap();
    assert!(back.known.unwrap() > back.events, "{back:?}");
    assert_eq!(back.taken_back, 4, "join tokens");
    assert!(!notes.join("000000000099.checkpoint").exists(), "put aside");
    let key = world.service.audit_key();
    let service = Service::open(&config, later(OVER)).await.unwrap();
    let World { dir, config: _, service: _ } = world;
    let world = World { dir, config, service };
    let head = world.service.revocations(None, later(OVER)).await;
    assert_eq!(head.status, 200);
    let pool = world.database().await;
    let (epoch,): (i64,) =
        sqlx::query_as("SELECT epoch FROM revocation_state").fetch_one(&pool).await.unwrap();
    assert!(epoch.unsigned_abs() > seen + 1_000_000);
    // A join token of before admits nobody.
    let party = Party::new("");
    let enrols = enrolment(gateway.gate, postern_crp::Role::Gate, &party);
    let answer = world.ask(&party, &enrols, later(OVER)).await;
    assert_eq!(status(&answer), Status::Denied);
    // The log goes on, says so, and hides nothing from whoever kept the checkpoint.
    world.service.maintain(later(OVER + 120_000)).await.unwrap();
    assert_eq!(world.service.integrity().await.unwrap().broken, None);
    let export = world.export(&acme, later(OVER)).await;
    let report = postern_keys::audit::verify_export(export.as_bytes(), &key, [&*kept]);
    assert!(report.broken.is_some());
    let (events,): (i64,) =
        sqlx::query_as("SELECT count(*) FROM audit_events WHERE bytes LIKE '%database_restored%'")
            .fetch_one(&pool)
            .await
            .unwrap();
    assert_eq!(events, 1);
}

#[tokio::test]
async fn nothing_is_restored_over_a_database_or_under_another_key() {
    let world = World::on_disk().await;
    let file = world.dir.path().join("keys.backup");
    saved(&world, &file, true).await;
    let config = beside(&world, "again").await;
    std::fs::remove_file(config.kek_file()).unwrap();
    let refused = restore(&config, Some(&file), NOW).await.unwrap_err().to_string();
    assert!(refused.contains("kek.key"), "{refused}");
    postern_files::write_atomic(config.kek_file(), b"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
        .unwrap();
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(config.kek_file(), private).unwrap();
    assert_eq!(put_back(&config, &file).await, Err(Fault::OtherKek));
    if !world.on_postgres() {
        let refused = restore(&world.config, Some(&file), NOW).await.unwrap_err().to_string();
        assert!(refused.contains("expected no database there"), "{refused}");
        assert!(backup(&world.config, &file).await.is_err(), "written over");
        assert!(!config.data_dir.join("keys.sqlite").exists(), "left behind");
    }
}

#[tokio::test]
async fn the_schema_goes_back_only_where_nothing_is_lost_that_was_not_asked_for() {
    let world = World::on_disk().await;
    let acme = world.tenant("acme").await;
    let owner = world.on_postgres().then(|| (OWNER.to_owned(), None));
    let database = &world.config.database;
    let ask = |to, lose_data| Ask { to, lose_data, owner: owner.clone() };
    let issuer = "/api/v1/invites/issuer";
    assert_eq!(world.operate(&acme.operator, "GET", issuer, b"", NOW).await.status, 200);
    world.service.close(NOW).await;
    let engine = match world.on_postgres() {
        true => postern_keys::store::Engine::Postgres,
        false => postern_keys::store::Engine::Sqlite,
    };
    let newest = schema::newest(engine);
    assert_eq!(schema::migrate(database, &ask(Some(5), false)).await, Ok((newest, 5)));
    if world.on_postgres() {
        let refused = Service::open(&world.config, NOW).await.err().unwrap().to_string();
        assert!(refused.contains("run postern keys migrate"), "{refused}");
    }
    assert_eq!(schema::migrate(database, &ask(None, false)).await, Ok((5, newest)));
    let service = Service::open(&world.config, NOW).await.unwrap();
    assert_eq!(service.integrity().await.unwrap().broken, None);
    service.close(NOW).await;

    for (to, why) in [(3, "version"), (99, "there is no version 99")] {
        let refused = schema::migrate(database, &ask(Some(to), true)).await.unwrap_err();
        assert!(refused.to_string().contains(why), "{refused}");
    }
    if world.on_postgres() {
        return;
    }
    let pool = world.database().await;
    edit(&pool, "INSERT INTO invites VALUES ('a', 'acme', '', x'00', x'00', x'00', 0, 0, NULL, NULL, NULL, NULL, NULL, NULL, x'00')").await;
    let refused = schema::migrate(database, &ask(Some(4), false)).await.unwrap_err().to_string();
    assert!(refused.contains("loses 1 rows"), "{refused}");
    assert_eq!(schema::migrate(database, &ask(Some(4), true)).await, Ok((newest, 4)));
    assert_eq!(schema::migrate(database, &ask(None, false)).await, Ok((4, newest)));
}
