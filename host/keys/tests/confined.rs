//! PostgreSQL holds a tenant's transaction to the tenant's rows, and the service's role to what
//! a service needs, whatever a statement says. Runs with `POSTERN_STORE=postgres` alone.
#![allow(clippy::unwrap_used)]

mod support;

use postern_keys::config::{Database, Server};
use postern_keys::store::open::open;
use postern_keys::store::schema::{self, Ask};
use postern_keys::store::{Connection, Reach};
use postern_keys::{Fault, Service, tls};
use sqlx::{AnyConnection, Connection as _};
use support::postgres::{OWNER, PASSWORD, SERVICE, cluster};
use support::*;

/// Tables whose rows are some tenant's, and how to find another's there.
const TABLES: [(&str, &str); 14] = [
    ("tenants", "tenant = 'other'"),
    ("users", "tenant = 'other'"),
    ("api_keys", "tenant = 'other'"),
    ("identities", "tenant = 'other'"),
    ("join_tokens", "tenant = 'other'"),
    ("credentials", "tenant = 'other'"),
    (
        "credential_versions",
        "cred_id NOT IN (SELECT cred_id FROM credentials WHERE tenant = 'acme')",
    ),
    ("frameworks", "tenant = 'other'"),
    ("classifications", "tenant = 'other'"),
    ("clearances", "tenant = 'other'"),
    ("gateway_sets", "tenant = 'other'"),
    ("audit_events", "tenant = 'other'"),
    ("deks", "scope <> 'tenant:acme'"),
    ("service_keys", "name NOT LIKE '%/acme'"),
];

async fn two_tenants() -> Option<World> {
    if !postgres::is_asked_for() {
        return None;
    }
    let world = World::on_disk().await;
    for name in ["acme", "other"] {
        let tenant = world.tenant(name).await;
        world.put(&tenant, b"value", NOW).await;
        let id = format!("{}AbCd0123", &name[..1]);
        assert_eq!(world.api_key(&tenant, &id[..8], "jo", NOW).await, 200);
        for (path, body) in [
            ("frameworks", r#"{"framework":"f","levels":["a"]}"#),
            ("frameworks/f/sections", r#"{"document":"d","section":"s","level":"a"}"#),
            ("frameworks/f/clearances", r#"{"agent":"helper","level":"a"}"#),
        ] {
            let path = format!("/api/v1/{path}");
            let set = world.operate(&tenant.operator, "POST", &path, body.as_bytes(), NOW).await;
            assert_eq!(set.status, 200, "{path}");
        }
        let issuer = "/api/v1/invites/issuer";
        assert_eq!(world.operate(&tenant.operator, "GET", issuer, b"", NOW).await.status, 200);
        let set = serde_json::json!({"name": "one", "policy": "00".repeat(32)}).to_string();
        let asked = ("POST", "/api/v1/gateway-sets");
        let made = world.operate(&tenant.operator, asked.0, asked.1, set.as_bytes(), NOW).await;
        assert_eq!(made.status, 200);
    }
    Some(world)
}

async fn count(db: &mut Connection, table: &str, which: &str) -> i64 {
    let select = format!("SELECT count(*) FROM {table} WHERE {which}");
    let (rows,): (i64,) = sqlx::query_as(sqlx::AssertSqlSafe(select)).fetch_one(db).await.unwrap();
    rows
}

async fn execute(db: &mut Connection, statement: &str) -> Result<u64, String> {
    let done = sqlx::query(sqlx::AssertSqlSafe(statement.to_owned())).execute(db).await;
    done.map(|done| done.rows_affected()).map_err(|error| error.to_string())
}

#[tokio::test]
async fn a_tenants_transaction_sees_and_changes_no_row_of_another() {
    let Some(world) = two_tenants().await else { return };
    let pool = open(&world.config.database).await.unwrap();
    for (table, theirs) in TABLES {
        let mut all = pool.read(Reach::All).await.unwrap();
        assert!(count(&mut all, table, theirs).await > 0, "{table}: nothing to hide");
        let mut own = pool.read(Reach::Tenant("acme")).await.unwrap();
        assert!(count(&mut own, table, "true").await > 0, "{table}: sees its own");
        assert_eq!(count(&mut own, table, theirs).await, 0, "{table}");
        let mut own = pool.write(Reach::Tenant("acme")).await.unwrap();
        if table != "audit_events" {
            let delete = format!("DELETE FROM {table} WHERE {theirs}");
            assert_eq!(execute(&mut own, &delete).await, Ok(0), "{table}");
        }
    }
}

#[tokio::test]
async fn a_row_is_neither_planted_with_another_tenant_nor_given_to_it() {
    let Some(world) = two_tenants().await else { return };
    let pool = open(&world.config.database).await.unwrap();
    for statement in [
        "INSERT INTO users VALUES ('other', 'eve', 'other', 0)",
        "INSERT INTO revocations VALUES ('other', 4, 'x', 0, NULL, 1, 'x')",
        "INSERT INTO deks VALUES ('x', 'system2', 'x', 'x', 0)",
        "INSERT INTO service_keys VALUES ('invites/1/third', 'x', 0)",
        "UPDATE credentials SET tenant = 'other'",
        "UPDATE identities SET tenant = 'other'",
    ] {
        let mut own = pool.write(Reach::Tenant("acme")).await.unwrap();
        let refused = execute(&mut own, statement).await.unwrap_err();
        assert!(refused.contains("row-level security"), "{statement}: {refused}");
    }
}

#[tokio::test]
async fn whoever_does_not_say_whose_rows_it_wants_sees_none() {
    let Some(world) = two_tenants().await else { return };
    let Database::Postgres(at) = &world.config.database else { panic!() };
    let url = cluster().await.url(&at.name, SERVICE);
    let mut db = AnyConnection::connect(&url).await.unwrap();
    for (table, _) in TABLES {
        assert_eq!(count(&mut db, table, "true").await, 0, "{table}");
    }
    // Nor does what a transaction said hold for the next one.
    let mut confined = db.begin().await.unwrap();
    let say = "SELECT set_config('app.tenant', 'acme', true)";
    execute(&mut confined, say).await.unwrap();
    assert_eq!(count(&mut confined, "credentials", "true").await, 1);
    confined.commit().await.unwrap();
    assert_eq!(count(&mut db, "credentials", "true").await, 0);
}

#[tokio::test]
async fn a_part_of_a_shared_transaction_sees_its_own_tenant_and_is_undone_alone() {
    let Some(world) = two_tenants().await else { return };
    let pool = open(&world.config.database).await.unwrap();
    let rename = |tenant: &str| format!("UPDATE credentials SET description = '{tenant} was here'");
    let mut batch = pool.batch().await.unwrap();
    for tenant in ["acme", "other"] {
        let part = batch.part(Reach::Tenant(tenant)).await.unwrap();
        assert_eq!(count(part, "credentials", "true").await, 1, "{tenant}");
        execute(part, &rename(tenant)).await.unwrap();
        // The reach of the one before is not had by the next, whatever became of it.
        if tenant == "other" {
            batch.undo().await.unwrap();
        }
    }
    let part = batch.part(Reach::Tenant("acme")).await.unwrap();
    assert_eq!(count(part, "credentials", "description = 'acme was here'").await, 1);
    // One that fails in the database takes nothing with it either.
    assert!(execute(part, "SELECT 1 / 0").await.is_err());
    batch.undo().await.unwrap();
    assert!(batch.part(Reach::Tenant("*")).await.is_err(), "no name of a tenant");
    batch.commit().await.unwrap();
    let mut db = pool.read(Reach::All).await.unwrap();
    assert_eq!(count(&mut db, "credentials", "description = 'acme was here'").await, 1);
    assert_eq!(count(&mut db, "credentials", "description = 'other was here'").await, 0);
}

#[tokio::test]
async fn a_name_that_would_mean_everybody_is_no_tenants() {
    let Some(world) = two_tenants().await else { return };
    let pool = open(&world.config.database).await.unwrap();
    for name in ["*", "", "acme' OR true --", "acme\0"] {
        let refused = pool.read(Reach::Tenant(name)).await.err();
        assert_eq!(refused, Some(Fault::Malformed("tenant")), "{name:?}");
    }
}

#[tokio::test]
async fn the_services_role_changes_neither_what_was_logged_nor_the_schema() {
    let Some(world) = two_tenants().await else { return };
    world.service.maintain(later(60_000)).await.unwrap();
    let pool = open(&world.config.database).await.unwrap();
    for statement in [
        "UPDATE audit_events SET bytes = '' WHERE n = 2",
        "DELETE FROM audit_events",
        "TRUNCATE audit_events",
        "UPDATE checkpoints SET note = ''",
        "DELETE FROM checkpoints",
        "TRUNCATE checkpoints",
        "INSERT INTO audit_events SELECT * FROM audit_events WHERE n = 2",
        "INSERT INTO audit_events SELECT n + 1000, at_ms, tenant, prev, hash, sig, bytes, gone
         FROM audit_events WHERE n = 2",
        "UPDATE audit_events SET bytes = '', gone = 3 WHERE n = 2",
        "SELECT remove_audit_content(2, 3)",
        "SELECT remove_audit_content(99999, 3)",
        "DROP TRIGGER audit_events_change ON audit_events",
        "ALTER TABLE audit_events DISABLE TRIGGER ALL",
        "ALTER TABLE audit_events DISABLE ROW LEVEL SECURITY",
        "DROP POLICY tenant ON credentials",
        "DROP TABLE credentials",
        "CREATE TABLE mine (a int)",
        "CREATE OR REPLACE FUNCTION reaches(tenant text) RETURNS boolean LANGUAGE sql AS 'SELECT true'",
        "SET session_replication_role = replica",
        "DELETE FROM _sqlx_migrations",
        "SET ROLE postern_owner",
        "COPY credentials TO PROGRAM 'cat'",
    ] {
        let mut db = pool.write(Reach::All).await.unwrap();
        let refused = execute(&mut db, statement).await.unwrap_err();
        let why = ["permission denied", "must be owner", "must be superuser", "append"];
        assert!(why.iter().any(|why| refused.contains(why)), "{statement}: {refused}");
    }
    assert_eq!(world.service.integrity().await.unwrap().broken, None);
}

#[tokio::test]
async fn the_service_does_not_start_as_a_role_that_may_do_more() {
    let Some(world) = two_tenants().await else { return };
    let Database::Postgres(at) = &world.config.database else { panic!() };
    let pool = world.database().await;
    let mut config = world.config.clone();
    for (role, why) in [("postern_super", "superuser"), (OWNER, "owns the tables")] {
        config.database = Database::Postgres(cluster().await.at(&at.name, role));
        let refused = Service::open(&config, NOW).await.err().unwrap().to_string();
        assert!(refused.contains(why), "{role}: {refused}");
    }
    config.database = world.config.database.clone();
    for (change, why, back) in [
        (
            "GRANT DELETE ON audit_events TO postern_service",
            "may change what was logged",
            "REVOKE DELETE ON audit_events FROM postern_service",
        ),
        (
            "ALTER TABLE credentials DISABLE ROW LEVEL SECURITY",
            "no row-level security",
            "ALTER TABLE credentials ENABLE ROW LEVEL SECURITY",
        ),
        (
            "UPDATE _sqlx_migrations SET checksum = 'x' WHERE version = 5",
            "run postern keys migrate",
            "SELECT 1",
        ),
    ] {
        sqlx::raw_sql(change).execute(&pool).await.unwrap();
        let refused = Service::open(&config, NOW).await.err().unwrap().to_string();
        assert!(refused.contains(why), "{change}: {refused}");
        sqlx::raw_sql(back).execute(&pool).await.unwrap();
    }
}

#[tokio::test]
async fn a_password_comes_from_a_private_file_and_is_never_told() {
    use std::os::unix::fs::PermissionsExt;
    let Some(world) = two_tenants().await else { return };
    let Database::Postgres(at) = &world.config.database else { panic!() };
    let mut at = at.clone();
    at.server = Server::Host { host: "127.0.0.1".into(), port: cluster().await.port() };
    let file = world.dir.path().join("password");
    at.password_file = Some(file.clone());
    let opened = async |text: &str, mode: u32| {
        postern_files::write_atomic(&file, text.as_bytes()).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        open(&Database::Postgres(at.clone())).await.map(drop)
    };
    assert_eq!(opened(&format!("{PASSWORD}\n"), 0o600).await, Ok(()));
    let wrong = opened("hunter2-hunter2", 0o600).await.unwrap_err().to_string();
    assert!(wrong.contains("authentication failed") && !wrong.contains("hunter2"), "{wrong}");
    let open = opened(PASSWORD, 0o644).await.unwrap_err().to_string();
    assert!(open.contains("expected 600") && !open.contains("horse"), "{open}");
}

#[tokio::test]
async fn a_server_that_does_not_prove_its_name_is_not_spoken_to() {
    let Some(world) = two_tenants().await else { return };
    let Database::Postgres(at) = &world.config.database else { panic!() };
    let cluster = cluster().await;
    let password = world.dir.path().join("password");
    postern_files::write_private(&password, PASSWORD.as_bytes()).unwrap();
    tls::server_config(&world.config).unwrap();
    let own = tls::authority_file(&world.config).unwrap();
    for (host, ca, good) in [
        ("localhost", cluster.ca(), true),
        // Its certificate names no address.
        ("127.0.0.1", cluster.ca(), false),
        ("localhost", own, false),
        ("localhost", world.dir.path().join("nothing.pem"), false),
    ] {
        let mut at = at.clone();
        at.server = Server::Host { host: host.into(), port: cluster.port() };
        (at.ca, at.password_file) = (Some(ca.clone()), Some(password.clone()));
        let opened = open(&Database::Postgres(at)).await;
        assert_eq!(opened.is_ok(), good, "{host} {ca:?} {:?}", opened.err());
        let Ok(opened) = opened else { continue };
        let pool = world.database().await;
        let (there,): (i64,) = sqlx::query_as(
            "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
             WHERE ssl AND datname = current_database()",
        )
        .fetch_one(&pool)
        .await
        .unwrap();
        assert!(there > 0, "not even TLS");
        opened.close().await;
    }
}

#[tokio::test]
async fn the_owner_alone_migrates_and_grants() {
    let Some(world) = two_tenants().await else { return };
    let database = &world.config.database;
    let refused = schema::migrate(database, &Ask::default()).await.unwrap_err().to_string();
    assert!(refused.contains("--owner"), "{refused}");
    let ask = Ask { owner: Some((SERVICE.to_owned(), None)), ..Ask::default() };
    assert!(schema::migrate(database, &ask).await.is_err(), "the service's role grants nothing");
    let ask = Ask { owner: Some((OWNER.to_owned(), None)), ..Ask::default() };
    let newest = schema::newest(postern_keys::store::Engine::Postgres);
    assert_eq!(schema::migrate(database, &ask).await, Ok((newest, newest)));
}
