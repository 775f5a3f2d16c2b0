//! Signed checkpoints of the audit log: when one is due, where they are kept, and proofs
//! against the newest.
//!
//! Invariant: no checkpoint is signed that does not continue the newest one that is known,
//! from the database or from the copies beside it: a log that was rolled back or written anew
//! gets no signature that says otherwise.

use std::path::{Path, PathBuf};

use ed25519_dalek::VerifyingKey;
use tokio::sync::Mutex;

use postern_core::time::UnixMillis;

use crate::audit::checkpoint::Checkpoint;
use crate::audit::proof::{Consistency, Inclusion};
use crate::audit::tree::Tree;
use crate::audit::{Link, export, head, integrity, merkle};
use crate::fault::Fault;
use crate::service::Service;
use crate::store::{Connection, Reach, millis};

/// Largest note that is read.
const MAX_NOTE: usize = 64 * 1024;

/// What is known of checkpoints, and the tree that they are over.
pub(crate) struct Checkpoints {
    /// Where notes are kept beside the database; `None` where it ends with the process.
    dir: Option<PathBuf>,
    newest: Mutex<Option<Checkpoint>>,
    tree: Tree,
}

impl Checkpoints {
    /// With the newest that is kept in either place.
    pub(crate) async fn open(
        db: &mut Connection,
        dir: Option<PathBuf>,
        key: &VerifyingKey,
    ) -> Result<Self, Fault> {
        let tree = Tree::default();
        let notes = [integrity::last_note(&mut *db).await?, kept_apart(dir.as_deref())?];
        let mut newest: Option<Checkpoint> = None;
        for note in notes.into_iter().flatten() {
            match Checkpoint::open(&note, key) {
                Ok(point) if newest.is_none_or(|known| known.head.n < point.head.n) => {
                    newest = Some(point);
                }
                Ok(_) => {}
                Err(error) => tracing::error!(%error, "a checkpoint that is kept is not ours"),
            }
        }
        let head = head(&mut *db).await?;
        if newest.is_some_and(|point| point.head.n > head.n) {
            tracing::error!(events = head.n, "the audit log ends before its last checkpoint");
        }
        // Reading all hashes takes a while: before anybody waits for it. What is missing is
        // for the verifier to name.
        let _ = tree.root(db, head.n).await;
        Ok(Self { dir, newest: Mutex::new(newest), tree })
    }

    /// The tree over the events up to `head`, if it continues `last`.
    async fn continued(
        &self,
        db: &mut Connection,
        last: Option<Checkpoint>,
        head: Link,
    ) -> Result<merkle::Hash, Fault> {
        if let Some(last) = last
            && self.tree.root(db, last.head.n).await? != last.root
        {
            return Err(Fault::Forged("audit_events"));
        }
        self.tree.root(db, head.n).await
    }

    /// The file beside the database: whoever can cut the table does not reach a copy of it.
    pub(crate) fn keep_apart(&self, count: u64, note: &str) -> Result<(), Fault> {
        let Some(dir) = &self.dir else { return Ok(()) };
        postern_files::create_private_dir(dir).map_err(|e| Fault::file(dir, &e))?;
        let path = dir.join(format!("{count:012}.checkpoint"));
        postern_files::write_atomic(&path, note.as_bytes()).map_err(|e| Fault::file(&path, &e))
    }

    /// The roots over these ranges of events.
    pub(crate) async fn parts(
        &self,
        db: &mut Connection,
        ranges: Vec<std::ops::Range<u64>>,
    ) -> Result<Vec<merkle::Hash>, Fault> {
        self.tree.parts(db, ranges).await
    }

    /// The newest note of the folder beside the database.
    pub(crate) fn kept_apart(&self) -> Result<Option<String>, Fault> {
        kept_apart(self.dir.as_deref())
    }
}

/// The note with the highest number.
fn kept_apart(dir: Option<&Path>) -> Result<Option<String>, Fault> {
    let Some(Ok(entries)) = dir.map(std::fs::read_dir) else { return Ok(None) };
    let paths = entries.filter_map(|entry| entry.ok().map(|entry| entry.path()));
    let notes = paths.filter(|path| path.extension().is_some_and(|end| end == "checkpoint"));
    let Some(newest) = notes.max() else { return Ok(None) };
    let note = postern_files::read_bounded(&newest, MAX_NOTE);
    let note = note.map_err(|e| Fault::file(&newest, &e))?;
    Ok(Some(String::from_utf8_lossy(&note).into_owned()))
}

impl Service {
    /// The same behind a message: looks at the head only when one may be due by the clock, and
    /// waits for nobody who is at it already.
    pub(crate) async fn checkpoint_behind(&self, now: UnixMillis) -> Result<(), Fault> {
        let idle = match self.inner.checkpoints.newest.try_lock() {
            Ok(newest) => newest.is_none_or(|point| Checkpoint::may_be_due(point.at, now)),
            Err(_) => false,
        };
        if idle { self.checkpoint_if_due(now).await } else { Ok(()) }
    }

    /// Signs the head of the chain and its tree when [`Checkpoint::due`].
    pub(crate) async fn checkpoint_if_due(&self, now: UnixMillis) -> Result<(), Fault> {
        self.checkpoint_when(now, |last, head| {
            Checkpoint::due(last.map(|point| (point.head.n, point.at)), head, now)
        })
        .await
    }

    /// Signs the head of the chain when there is anything new: the end of the service.
    pub(crate) async fn checkpoint_the_end(&self, now: UnixMillis) -> Result<(), Fault> {
        self.checkpoint_when(now, |last, head| head.n > last.map_or(0, |point| point.head.n)).await
    }

    async fn checkpoint_when(
        &self,
        now: UnixMillis,
        due: impl Fn(Option<Checkpoint>, Link) -> bool,
    ) -> Result<(), Fault> {
        let checkpoints = &self.inner.checkpoints;
        let mut newest = checkpoints.newest.lock().await;
        let last = head(&mut *self.inner.pool.read(Reach::All).await?).await?;
        if !due(*newest, last) {
            return Ok(());
        }
        // One replica signs, and the others read what it signed.
        let mut db = self.inner.pool.write(Reach::All).await?;
        let head = head(&mut db).await?;
        // Another process on this database may have signed one meanwhile.
        let note = integrity::last_note(&mut db).await?;
        let last = note.and_then(|note| Checkpoint::open(&note, &self.audit_key()).ok());
        *newest = newest.into_iter().chain(last).max_by_key(|point| point.head.n);
        if !due(*newest, head) {
            return Ok(());
        }
        let root = checkpoints.continued(&mut db, *newest, head).await?;
        let point = Checkpoint { head, root, at: now };
        let note = point.sign(&self.inner.audit);
        checkpoints.keep_apart(head.n, &note)?;
        sqlx::query(
            "INSERT INTO checkpoints (count, at_ms, note) SELECT $1, $2, $3
             WHERE $1 > (SELECT coalesce(max(count), 0) FROM checkpoints)",
        )
        .bind(i64::try_from(head.n).map_err(|_| Fault::Malformed("event number"))?)
        .bind(millis(now))
        .bind(note)
        .execute(&mut *db)
        .await?;
        db.commit().await?;
        *newest = Some(point);
        Ok(())
    }

    /// The newest checkpoint note.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn last_checkpoint(&self) -> Result<Option<String>, Fault> {
        let mut db = self.inner.pool.read(Reach::All).await?;
        integrity::last_note(&mut db).await
    }

    /// That event `n` is in the log, against the newest checkpoint; its content only for its
    /// tenant. `None` while no checkpoint covers it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn proof(&self, tenant: Option<&str>, n: u64) -> Result<Option<Inclusion>, Fault> {
        let mut db = self.inner.pool.read(Reach::All).await?;
        let Some((note, size)) = self.newest_note(&mut db).await? else { return Ok(None) };
        let index = n.checked_sub(1);
        let ranges = index.and_then(|index| merkle::inclusion(index, size));
        let Some((index, ranges)) = index.zip(ranges) else { return Ok(None) };
        let after = i64::try_from(index).map_err(|_| Fault::Malformed("event number"))?;
        let row = export::page(&mut db, after).await?.into_iter().next();
        let row = row.filter(|row| row.n.unsigned_abs() == n);
        let line = export::line(row.ok_or(Fault::Malformed("event"))?, tenant);
        let path = self.inner.checkpoints.tree.parts(&mut db, ranges).await?;
        Ok(Some(Inclusion { line, path, note }))
    }

    /// That the newest checkpoint continues the tree of `old` events; `None` when it covers
    /// fewer.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn consistency(&self, old: u64) -> Result<Option<Consistency>, Fault> {
        let mut db = self.inner.pool.read(Reach::All).await?;
        let Some((note, size)) = self.newest_note(&mut db).await? else { return Ok(None) };
        let Some(ranges) = merkle::consistency(old, size) else { return Ok(None) };
        let path = self.inner.checkpoints.tree.parts(&mut db, ranges).await?;
        Ok(Some(Consistency { old, path, note }))
    }

    pub(crate) async fn newest_note(
        &self,
        db: &mut Connection,
    ) -> Result<Option<(String, u64)>, Fault> {
        let note = integrity::last_note(db).await?;
        let point = note.as_deref().map(|note| Checkpoint::open(note, &self.audit_key()));
        let size = point.transpose().map_err(|_| Fault::Forged("checkpoints"))?;
        Ok(note.zip(size.map(|point| point.head.n)))
    }
}
