//! The schema's versions: forward, and back.
//!
//! Each version is a file of `migrations/sqlite` and, from 6 on, one of the same number in
//! `migrations/postgres`; what goes back has a `.down.sql` beside its `.up.sql`. A file that
//! goes back and would lose rows says so in its first line: `-- loses: SELECT count(*) …`.
//! Invariant: nothing goes back that has no such file, and nothing is lost that was not asked
//! for.

use std::collections::HashSet;
use std::path::PathBuf;

use sqlx::migrate::{Migration, Migrator};

use crate::config::Database;
use crate::fault::Fault;
use crate::store::open::sqlite;
use crate::store::pool::{Connection, Engine};
use crate::store::postgres;

static SQLITE: Migrator = sqlx::migrate!("./migrations/sqlite");
static POSTGRES: Migrator = sqlx::migrate!("./migrations/postgres");

fn migrator(engine: Engine) -> &'static Migrator {
    match engine {
        Engine::Sqlite => &SQLITE,
        Engine::Postgres => &POSTGRES,
    }
}

/// The version of this program.
pub fn newest(engine: Engine) -> i64 {
    migrator(engine).iter().map(|one| one.version).max().unwrap_or_default()
}

/// Brings the schema to the version of this program.
pub(super) async fn forward(db: &mut Connection, engine: Engine) -> Result<(), Fault> {
    Ok(migrator(engine).run(db).await?)
}

/// Refuses a schema that is not exactly the one of this program.
pub(super) async fn is_current(db: &mut Connection, engine: Engine) -> Result<(), Fault> {
    let there = applied(db).await?;
    let ups = migrator(engine).iter().filter(|one| !one.migration_type.is_down_migration());
    let ours: Vec<(i64, Vec<u8>)> = ups.map(|one| (one.version, one.checksum.to_vec())).collect();
    if there == ours {
        return Ok(());
    }
    let (has, wants) = (there.last().map_or(0, |one| one.0), newest(engine));
    Err(Fault::Schema(format!(
        "the schema is of version {has} and this program of {wants}: run postern keys migrate"
    )))
}

/// Versions and checksums, in order.
async fn applied(db: &mut Connection) -> Result<Vec<(i64, Vec<u8>)>, Fault> {
    let (tables,): (i64,) = match db.backend_name() {
        "SQLite" => {
            let find = "SELECT count(*) FROM sqlite_schema WHERE name = '_sqlx_migrations'";
            sqlx::query_as(find).fetch_one(&mut *db).await?
        }
        _ => {
            let find = "SELECT count(*) FROM pg_tables WHERE tablename = '_sqlx_migrations'";
            sqlx::query_as(find).fetch_one(&mut *db).await?
        }
    };
    if tables == 0 {
        return Ok(Vec::new());
    }
    let all = "SELECT version, checksum FROM _sqlx_migrations ORDER BY version";
    Ok(sqlx::query_as(all).fetch_all(db).await?)
}

/// What a migration is asked to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ask {
    /// The version to end at; the program's own without one.
    pub to: Option<i64>,
    /// Go back even where rows are lost.
    pub lose_data: bool,
    /// The role that owns PostgreSQL's schema, and the file of its password.
    pub owner: Option<(String, Option<PathBuf>)>,
}

/// Brings the schema to the version that is asked for; the versions before and after.
///
/// # Errors
/// When there is no such version, no way back to it, or rows would be lost.
pub async fn migrate(database: &Database, ask: &Ask) -> Result<(i64, i64), Fault> {
    let (engine, pool) = match database {
        Database::Postgres(at) => {
            let (owner, password) = ask.owner.clone().ok_or_else(|| {
                Fault::Schema("expected the role that owns the schema (--owner)".to_owned())
            })?;
            let pool = postgres::connect(&at.to_owner(&owner, password)).await?;
            postgres::owns(&mut *pool.acquire().await?).await?;
            (Engine::Postgres, pool)
        }
        Database::File(_) | Database::Memory => (Engine::Sqlite, sqlite(database).await?),
    };
    let mut db = pool.acquire().await?;
    let moved = go(&mut db, engine, ask).await;
    if let (Ok(_), Database::Postgres(at)) = (&moved, database) {
        postgres::grant(&mut db, &at.user).await?;
    }
    drop(db);
    pool.close().await;
    moved
}

async fn go(db: &mut Connection, engine: Engine, ask: &Ask) -> Result<(i64, i64), Fault> {
    let from = applied(db).await?.last().map_or(0, |one| one.0);
    let to = ask.to.unwrap_or(newest(engine));
    let migrator = migrator(engine);
    if !migrator.iter().any(|one| one.version == to) {
        return Err(Fault::Schema(format!("there is no version {to} of the schema")));
    }
    if to >= from {
        migrator.run_to(to, &mut *db).await?;
        return Ok((from, to));
    }
    // Before anything is changed.
    for version in backward(migrator, from, to)? {
        let lost = loses(db, version).await?;
        if lost > 0 && !ask.lose_data {
            let version = version.version;
            return Err(Fault::Schema(format!(
                "going back behind version {version} loses {lost} rows; --lose-data allows it"
            )));
        }
    }
    migrator.undo(&mut *db, to).await?;
    Ok((from, to))
}

/// The files that go back from `from` to `to`.
fn backward(migrator: &Migrator, from: i64, to: i64) -> Result<Vec<&Migration>, Fault> {
    let between = |one: &&Migration| (to + 1..=from).contains(&one.version);
    let (downs, ups): (Vec<&Migration>, Vec<&Migration>) =
        migrator.iter().filter(between).partition(|one| one.migration_type.is_down_migration());
    let has: HashSet<i64> = downs.iter().map(|one| one.version).collect();
    match ups.iter().find(|one| !has.contains(&one.version)) {
        Some(one) => {
            Err(Fault::Schema(format!("there is no way back from version {}", one.version)))
        }
        None => Ok(downs),
    }
}

/// How many rows a file that goes back would lose.
async fn loses(db: &mut Connection, back: &Migration) -> Result<i64, Fault> {
    let first = back.sql.as_str().lines().next().unwrap_or_default();
    let Some(count) = first.strip_prefix("-- loses: ") else { return Ok(0) };
    // Of our own file.
    let count = sqlx::AssertSqlSafe(count.to_owned());
    let (rows,): (i64,) = sqlx::query_as(count).fetch_one(db).await?;
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_stores_have_the_same_versions_from_six_on() {
        let versions = |migrator: &Migrator| -> Vec<(i64, bool)> {
            let all = migrator.iter().filter(|one| one.version > 5);
            all.map(|one| (one.version, one.migration_type.is_down_migration())).collect()
        };
        assert_eq!(versions(&SQLITE), versions(&POSTGRES));
        assert_eq!(newest(Engine::Sqlite), newest(Engine::Postgres));
    }
}
