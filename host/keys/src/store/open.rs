//! Opening the database.

use std::path::Path;
use std::time::Duration;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::{AnyPool, Executor};

use crate::config::Database;
use crate::fault::Fault;
use crate::store::pool::{Engine, Pool};

/// What is deleted (an epoch's seed above all) is overwritten, not only unlinked; in the log
/// too, after [`empty_log`].
const SQLITE: &str = "PRAGMA busy_timeout = 2000; PRAGMA foreign_keys = ON;
    PRAGMA synchronous = FULL; PRAGMA secure_delete = ON;";
const SQLITE_LOG: &str = "PRAGMA journal_mode = WAL";

/// Opens the database and brings its schema up to date.
///
/// # Errors
/// When it cannot be opened, or was made by a newer program.
pub async fn open(database: &Database) -> Result<Pool, Fault> {
    sqlx::any::install_default_drivers();
    let pool = match database {
        Database::Memory => {
            let pool = AnyPoolOptions::new().max_connections(1).idle_timeout(None);
            let pool = pool.max_lifetime(None);
            connected(pool, "sqlite::memory:", [SQLITE, ""]).await?
        }
        Database::File(path) => {
            // SQLite gives its log and index the mode of the database.
            postern_files::create_private(path).map_err(|e| Fault::file(path, &e))?;
            let pool = AnyPoolOptions::new().max_connections(4);
            connected(pool, &url(path)?, [SQLITE, SQLITE_LOG]).await?
        }
    };
    sqlx::migrate!("./migrations/sqlite").run(&pool).await?;
    Ok(Pool::new(pool, Engine::Sqlite))
}

/// Opens the first connection; each is prepared by the statements of `prepare`.
async fn connected(
    pool: AnyPoolOptions,
    url: &str,
    prepare: [&'static str; 2],
) -> Result<AnyPool, Fault> {
    let options: AnyConnectOptions = url.parse()?;
    let pool = pool.acquire_timeout(Duration::from_secs(4)).after_connect(move |db, _| {
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
fn encoded(text: &str) -> String {
    let one = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(one).collect()
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
