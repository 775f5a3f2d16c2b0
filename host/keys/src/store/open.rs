//! Opening the database.

use std::path::Path;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::{AnyPool, Executor};

use crate::config::{Database, Postgres};
use crate::fault::Fault;
use crate::store::pool::{Engine, Pool};
use crate::store::{postgres, schema};

/// What is deleted (an epoch's seed above all) is overwritten, not only unlinked; in the log
/// too, after [`empty_log`].
const SQLITE: &str = "PRAGMA busy_timeout = 2000; PRAGMA foreign_keys = ON;
    PRAGMA synchronous = FULL; PRAGMA secure_delete = ON;";
const SQLITE_LOG: &str = "PRAGMA journal_mode = WAL";

/// Opens the database. SQLite's schema is brought up to date; PostgreSQL's belongs to another
/// role, and has to be.
///
/// # Errors
/// When it cannot be opened, its schema is of another program, or the role could do too much.
pub async fn open(database: &Database) -> Result<Pool, Fault> {
    if let Database::Postgres(at) = database {
        return server(at).await;
    }
    let pool = sqlite(database).await?;
    schema::forward(&mut *pool.acquire().await?, Engine::Sqlite).await?;
    Ok(Pool::new(pool, Engine::Sqlite))
}

async fn server(at: &Postgres) -> Result<Pool, Fault> {
    let pool = postgres::connect(at).await?;
    let mut db = pool.acquire().await?;
    schema::is_current(&mut db, Engine::Postgres).await?;
    postgres::confined(&mut db).await?;
    drop(db);
    Ok(Pool::new(pool, Engine::Postgres))
}

/// Opens SQLite as it is.
pub(super) async fn sqlite(database: &Database) -> Result<AnyPool, Fault> {
    sqlx::any::install_default_drivers();
    let Database::File(path) = database else {
        let pool = AnyPoolOptions::new().max_connections(1).idle_timeout(None);
        return connected(pool.max_lifetime(None), "sqlite::memory:", [SQLITE, ""]).await;
    };
    // SQLite gives its log and index the mode of the database.
    postern_files::create_private(path).map_err(|e| Fault::file(path, &e))?;
    let pool = AnyPoolOptions::new().max_connections(4);
    connected(pool, &url(path)?, [SQLITE, SQLITE_LOG]).await
}

/// Opens the first connection; each is prepared by the statements of `prepare`.
pub(super) async fn connected(
    pool: AnyPoolOptions,
    url: &str,
    prepare: [&'static str; 2],
) -> Result<AnyPool, Fault> {
    let options: AnyConnectOptions = url.parse()?;
    let pool = pool.acquire_timeout(postgres::PATIENCE).after_connect(move |db, _| {
        Box::pin(async move {
            for statement in prepare {
                db.execute(statement).await?;
            }
            Ok(())
        })
    });
    Ok(pool.connect_with(options).await?)
}

/// `sqlite:` with the path in percent-encoding.
fn url(path: &Path) -> Result<String, Fault> {
    let path = path.to_str().ok_or_else(|| Fault::file(path, &"expected UTF-8"))?;
    Ok(format!("sqlite:{}", encoded(path)))
}

/// Every byte that could mean something in a URL in percent-encoding.
pub(crate) fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len().saturating_mul(3));
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// Moves SQLite's write-ahead log into the database and empties it: until then it holds what
/// was deleted. `false` when a reader was in the way; then it is to be tried again.
///
/// # Errors
/// When the database fails.
pub async fn empty_log(pool: &Pool) -> Result<bool, Fault> {
    if pool.engine() == Engine::Postgres {
        return Ok(true);
    }
    let mut db = pool.plain().await?;
    let (busy, _, _): (i64, i64, i64) =
        sqlx::query_as("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(&mut *db).await?;
    Ok(busy == 0)
}
