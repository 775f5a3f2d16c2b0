//! Connections, and how far each of them reaches.
//!
//! SQLite and PostgreSQL through one type: `sqlx::Any`. Statements are written once, with
//! `$1`, in the subset that both read; what they bind is whole numbers, text, bytes and NULL,
//! which is all that `Any` carries. An enum of two connections would need a layer of its own
//! to do the same. Invariant: nobody gets a connection without saying whose rows it is for,
//! and a write holds the one write lock of the database from its first moment: what it reads
//! (the chain's head, a version) cannot change before it commits, on either store and with
//! however many replicas.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use postern_core::placeholder::Name;
use sqlx::pool::PoolConnection;
use sqlx::{Any, AnyPool, Executor, Transaction};
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::timeout;

use crate::store::postgres::PATIENCE;

use crate::fault::Fault;

/// What every statement runs on.
pub type Connection = sqlx::AnyConnection;

/// A write transaction. Nothing of one that is dropped is kept.
pub struct Write {
    db: Transaction<'static, Any>,
    _turn: Option<OwnedMutexGuard<()>>,
}

impl Write {
    /// Makes it durable.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn commit(self) -> Result<(), Fault> {
        Ok(self.db.commit().await?)
    }
}

/// A write transaction of several parts, each of them for somebody else.
pub struct Batch {
    write: Write,
    engine: Engine,
    /// Whether there is a part, and whether it can be undone alone.
    begun: bool,
    marked: bool,
}

impl Batch {
    /// Begins the next part, which sees the rows of `reach` and no others.
    ///
    /// # Errors
    /// When the database fails: the batch is lost.
    pub async fn part(&mut self, reach: Reach<'_>) -> Result<&mut Connection, Fault> {
        // Nothing stands before the first: the whole transaction is what it would go back to.
        let mark = match (self.begun, self.marked) {
            (false, _) => "",
            (true, false) => "SAVEPOINT part; ",
            (true, true) => "RELEASE SAVEPOINT part; SAVEPOINT part; ",
        };
        let confine = match self.engine {
            Engine::Sqlite => String::new(),
            Engine::Postgres => confine(setting(reach)?),
        };
        // One way to the server and back.
        let begin = format!("{mark}{confine}");
        if !begin.is_empty() {
            self.write.execute(sqlx::AssertSqlSafe(begin)).await?;
        }
        (self.marked, self.begun) = (self.begun, true);
        Ok(&mut self.write)
    }

    /// Takes back what the last part has written, and nothing else.
    ///
    /// # Errors
    /// When the database fails or the part was the first: the batch is lost.
    pub async fn undo(&mut self) -> Result<(), Fault> {
        if !self.marked {
            return Err(Fault::Malformed("transaction"));
        }
        self.write.execute("ROLLBACK TO SAVEPOINT part").await?;
        Ok(())
    }

    /// Makes all parts durable.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn commit(self) -> Result<(), Fault> {
        self.write.commit().await
    }
}

/// Whose rows a connection sees. PostgreSQL holds it to that (row-level security); SQLite
/// has no such means, and every statement names its tenant on both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach<'a> {
    /// One tenant's.
    Tenant(&'a str),
    /// Everybody's: what is done before it is known who asks, and for all at once.
    All,
}

/// Which database it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// SQLite: one file, one process.
    Sqlite,
    /// PostgreSQL: one process or several.
    Postgres,
}

/// The open database.
#[derive(Clone)]
pub struct Pool {
    pool: AnyPool,
    engine: Engine,
    /// Whose turn it is to write to SQLite. It has no queue of its own: who waits for it asks
    /// again and again, and may find somebody else each time. PostgreSQL's lock has one.
    turn: Arc<Mutex<()>>,
}

impl Pool {
    pub(super) fn new(pool: AnyPool, engine: Engine) -> Self {
        Self { pool, engine, turn: Arc::default() }
    }

    /// Which database it is.
    pub fn engine(&self) -> Engine {
        self.engine
    }

    /// A connection to read with.
    ///
    /// # Errors
    /// When the database gives none.
    pub async fn read(&self, reach: Reach<'_>) -> Result<Read, Fault> {
        match self.engine {
            Engine::Sqlite => Ok(Read::Plain(self.pool.acquire().await?)),
            Engine::Postgres => {
                let begin = format!("BEGIN READ ONLY; {}", confine(setting(reach)?));
                Ok(Read::Confined(self.pool.begin_with(sqlx::AssertSqlSafe(begin)).await?))
            }
        }
    }

    /// Starts a transaction of several parts that holds the write lock. Between parts it sees
    /// nobody's rows.
    ///
    /// # Errors
    /// As [`Pool::write`].
    pub async fn batch(&self) -> Result<Batch, Fault> {
        let write = self.locked(NOBODY).await?;
        Ok(Batch { write, engine: self.engine, begun: false, marked: false })
    }

    /// Starts a transaction that holds the write lock.
    ///
    /// # Errors
    /// When the database gives none, or the lock is not to be had in time.
    pub async fn write(&self, reach: Reach<'_>) -> Result<Write, Fault> {
        self.locked(setting(reach)?).await
    }

    async fn locked(&self, setting: &str) -> Result<Write, Fault> {
        match self.engine {
            Engine::Sqlite => {
                let turn = timeout(PATIENCE, Arc::clone(&self.turn).lock_owned()).await;
                let turn = turn.map_err(|_| Fault::Stuck)?;
                let db = self.pool.begin_with("BEGIN IMMEDIATE").await?;
                Ok(Write { db, _turn: Some(turn) })
            }
            Engine::Postgres => {
                // Every statement sees what was committed before it, so what is read behind
                // the lock is what the last writer left.
                let begin = "BEGIN ISOLATION LEVEL READ COMMITTED";
                let mut db = self.pool.begin_with(begin).await?;
                sqlx::query(LOCK).bind(setting).bind(WRITE_LOCK).execute(&mut *db).await?;
                Ok(Write { db, _turn: None })
            }
        }
    }

    /// A connection outside any transaction.
    pub(super) async fn plain(&self) -> Result<PoolConnection<Any>, Fault> {
        Ok(self.pool.acquire().await?)
    }

    /// Closes every connection.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

/// The advisory lock of whoever writes: "postern" in ASCII.
const WRITE_LOCK: i64 = 0x0070_6f73_7465_726e;
/// Ends with the transaction, as that of [`LOCK`] does. A setting has no quote in it.
fn confine(setting: &str) -> String {
    format!("SELECT set_config('app.tenant', '{setting}', true)")
}

const LOCK: &str = "SELECT set_config('app.tenant', $1, true), pg_advisory_xact_lock($2)";

/// `app.tenant` of whoever reaches nothing.
const NOBODY: &str = "";

/// `app.tenant`: `*` is everybody, and no name of a tenant.
fn setting(reach: Reach<'_>) -> Result<&str, Fault> {
    match reach {
        Reach::All => Ok("*"),
        Reach::Tenant(tenant) if Name::new(tenant).is_some() => Ok(tenant),
        Reach::Tenant(_) => Err(Fault::Malformed("tenant")),
    }
}

/// How often a transaction is tried.
const TRIES: u32 = 3;

/// Tries `attempt` again when the database broke it off in favour of another writer and
/// nothing was committed. A commit whose outcome is not known is none of these.
///
/// # Errors
/// What the last attempt had.
pub async fn retried<T, E, F>(mut attempt: impl FnMut() -> F) -> Result<T, E>
where
    E: Busy,
    F: Future<Output = Result<T, E>>,
{
    let mut tried = 1;
    loop {
        match attempt().await {
            Err(error) if error.is_busy() && tried < TRIES => {
                tried += 1;
                tracing::info!(tried, "another writer was in the way");
            }
            answer => return answer,
        }
    }
}

/// An error that may say that another writer was in the way.
pub trait Busy {
    /// Whether it does.
    fn is_busy(&self) -> bool;
}

impl Busy for Fault {
    fn is_busy(&self) -> bool {
        matches!(self, Self::Busy(_))
    }
}

/// A connection to read with.
pub enum Read {
    /// Of SQLite.
    Plain(PoolConnection<Any>),
    /// Of PostgreSQL: a transaction, since what it reaches ends with one.
    Confined(Transaction<'static, Any>),
}

impl Deref for Write {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.db
    }
}

impl DerefMut for Write {
    fn deref_mut(&mut self) -> &mut Connection {
        &mut self.db
    }
}

impl Deref for Read {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        match self {
            Self::Plain(db) => db,
            Self::Confined(db) => db,
        }
    }
}

impl DerefMut for Read {
    fn deref_mut(&mut self) -> &mut Connection {
        match self {
            Self::Plain(db) => db,
            Self::Confined(db) => db,
        }
    }
}
