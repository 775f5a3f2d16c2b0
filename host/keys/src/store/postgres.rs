//! PostgreSQL: how to get there, and what the service's role must not be able to do.
//!
//! Two roles: one owns the schema and is used by `postern keys migrate` alone; the other is the
//! service's. Invariant: the service does not run as a role that passes row-level security by
//! or could change what was logged, whatever was set up.

use std::time::Duration;

use sqlx::AnyPool;
use sqlx::any::AnyPoolOptions;
use zeroize::Zeroizing;

use crate::config::{Postgres, Server};
use crate::fault::Fault;
use crate::store::open::{connected, encoded};
use crate::store::pool::Connection;

/// Largest file of a password.
const MAX_PASSWORD: usize = 4096;

/// A commit is answered when it is on disk. Whoever hangs in a transaction loses it, and with
/// it the write lock, which other replicas wait for.
const PREPARE: &str = "SET synchronous_commit = on; SET lock_timeout = '2s';
    SET statement_timeout = '30s'; SET idle_in_transaction_session_timeout = '5s'";

/// Opens connections as the role of `at`.
pub(super) async fn connect(at: &Postgres) -> Result<AnyPool, Fault> {
    sqlx::any::install_default_drivers();
    let pool = AnyPoolOptions::new().max_connections(at.connections);
    connected(pool, &url(at)?, [PREPARE, ""]).await
}

fn url(at: &Postgres) -> Result<Zeroizing<String>, Fault> {
    let (host, port) = match &at.server {
        Server::Host { host, port } => (host.as_str(), port),
        Server::Socket { folder, port } => (folder.to_str().unwrap_or_default(), port),
    };
    let password = password(at)?;
    let (user, name, host) = (encoded(&at.user), encoded(&at.name), encoded(host));
    let mode = if at.verifies() { "verify-full" } else { "disable" };
    let mut url = Zeroizing::new(String::with_capacity(4 * MAX_PASSWORD));
    url.push_str(&format!("postgres://{user}"));
    if let Some(password) = password {
        url.push(':');
        url.push_str(&Zeroizing::new(encoded(&password)));
    }
    url.push_str(&format!("@localhost:{port}/{name}?host={host}&sslmode={mode}"));
    if let Some(ca) = &at.ca {
        let path = ca.to_str().ok_or_else(|| Fault::file(ca, &"expected UTF-8"))?;
        url.push_str(&format!("&sslrootcert={}", encoded(path)));
    }
    url.push_str("&application_name=postern-keys");
    Ok(url)
}

/// The file's first line; without a file `PGPASSWORD` is read by the driver.
fn password(at: &Postgres) -> Result<Option<Zeroizing<String>>, Fault> {
    let Some(file) = &at.password_file else { return Ok(None) };
    let bytes = postern_files::read_private(file, MAX_PASSWORD).map(Zeroizing::new);
    let bytes = bytes.map_err(|error| Fault::file(file, &error))?;
    let text = str::from_utf8(bytes.trim_ascii());
    let text = text.map_err(|_| Fault::file(file, &"expected UTF-8"))?;
    Ok(Some(Zeroizing::new(text.to_owned())))
}

/// Why the role is not one for the service; empty when it is.
const ROLE: &str = "SELECT CASE
    WHEN EXISTS (SELECT 1 FROM pg_roles r WHERE (r.rolsuper OR r.rolbypassrls OR r.rolcreaterole)
                 AND pg_has_role(current_user, r.oid, 'MEMBER'))
        THEN 'it is a superuser, makes roles or passes row-level security by'
    WHEN EXISTS (SELECT 1 FROM pg_class WHERE relnamespace = 'public'::regnamespace
                 AND pg_has_role(current_user, relowner, 'MEMBER'))
        THEN 'it owns the tables'
    WHEN has_table_privilege('audit_events', 'UPDATE, DELETE, TRUNCATE, TRIGGER')
        OR has_table_privilege('checkpoints', 'UPDATE, DELETE, TRUNCATE, TRIGGER')
        THEN 'it may change what was logged'
    WHEN EXISTS (SELECT 1 FROM pg_class WHERE relnamespace = 'public'::regnamespace
                 AND relname IN ('api_keys', 'approval_previews', 'approvals', 'audit_events',
                                  'classifications', 'clearances', 'credential_versions', 'credentials',
                                  'deks', 'frameworks', 'gateway_sets', 'identities', 'invites',
                                  'join_tokens', 'notices', 'page_sessions', 'passkeys', 'people',
                                 'person_links', 'revocations', 'service_keys', 'tenants', 'users')
                 AND NOT relrowsecurity)
        THEN 'tables have no row-level security'
    ELSE '' END";

/// Refuses a role that could do more than the service needs.
pub(super) async fn confined(db: &mut Connection) -> Result<(), Fault> {
    let (why,): (String,) = sqlx::query_as(ROLE).fetch_one(db).await?;
    if why.is_empty() {
        return Ok(());
    }
    Err(Fault::Schema(format!("the role is none for the service: {why}")))
}

/// Refuses a role that cannot make tables.
pub(super) async fn owns(db: &mut Connection) -> Result<(), Fault> {
    let may = "SELECT has_schema_privilege('public', 'CREATE')";
    match sqlx::query_as(may).fetch_one(db).await? {
        (true,) => Ok(()),
        (false,) => Err(Fault::Schema("the role does not own the schema".to_owned())),
    }
}

/// Gives the role of the service what it needs, and no more. As the owner.
pub(super) async fn grant(db: &mut Connection, service: &str) -> Result<(), Fault> {
    sqlx::query("SELECT set_config('postern.service', $1, false)")
        .bind(service)
        .execute(&mut *db)
        .await?;
    sqlx::raw_sql(include_str!("../../migrations/grants.sql")).execute(db).await?;
    Ok(())
}

/// How long a connection may take to be had.
pub(super) const PATIENCE: Duration = Duration::from_secs(4);
