//! Backup, and what has to happen to rows that come back from one.
//!
//! A backup holds no seed of an epoch: what was sealed to an epoch that is over stays sealed,
//! whoever gets hold of it. Rows that come back are older than what gateways have seen since,
//! so before anything is served from them ([`restored`]): no epoch of theirs is used, the count
//! of revocations is moved ahead of every count that gateways may know, everything that admits
//! once (join tokens, open invites) is taken back, and checkpoints beyond the last event are
//! put aside, not forgotten; the chain says so. Invariant: nothing here makes a log that was cut
//! look whole: whoever kept a checkpoint sees what is missing.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use postern_core::time::UnixMillis;
use sqlx::{AnyConnection, Connection as _, Executor};

use crate::audit::checkpoint::Checkpoint;
use crate::audit::{AuditLog, Event, head};
use crate::config::{Config, Database, Kek};
use crate::envelope::{RowKeys, SALT_FILE, Scope, key_encryption_key};
use crate::fault::Fault;
use crate::store::approvals::Ending;
use crate::store::open::{encoded, open};
use crate::store::{
    Reach, approvals, deks, epochs, identities, invites, people, revocations, sessions,
};

/// Largest checkpoint that is read.
const MAX_NOTE: usize = 64 * 1024;

/// Writes a backup of SQLite's database to `to`, which must not be there yet. The service may
/// run meanwhile.
///
/// # Errors
/// When the database is another one, or a file fails.
pub async fn backup(config: &Config, to: &Path) -> Result<(), Fault> {
    let Database::File(from) = &config.database else {
        return Err(Fault::Schema(
            "expected a SQLite file; for PostgreSQL see pg_dump in host/keys/README.md".to_owned(),
        ));
    };
    if !from.exists() {
        return Err(Fault::file(from, &"expected a database"));
    }
    postern_files::reserve(to).map_err(|error| Fault::file(to, &error))?;
    let copied = copy(from, to).await;
    if copied.is_err() {
        // No half of a backup, and none with seeds in it.
        let _ = std::fs::remove_file(to);
    }
    copied
}

/// What a backup does not hold: seeds of epochs, what people are shown, and what admits somebody
/// for a short time.
const LEFT_OUT: [&str; 4] = [
    "DELETE FROM epochs",
    "DELETE FROM approval_previews",
    "DELETE FROM person_links",
    "DELETE FROM page_sessions",
];

/// Every row at one moment, then without what is left out: it is overwritten where it lay, and
/// the journal of that is in memory.
async fn copy(from: &Path, to: &Path) -> Result<(), Fault> {
    sqlx::any::install_default_drivers();
    let mut db = connect(from).await?;
    let path = to.to_str().ok_or_else(|| Fault::file(to, &"expected UTF-8"))?;
    sqlx::query("VACUUM INTO $1").bind(path).execute(&mut db).await?;
    db.close().await?;
    let mut db = connect(to).await?;
    db.execute("PRAGMA journal_mode = MEMORY; PRAGMA secure_delete = ON").await?;
    for statement in LEFT_OUT {
        db.execute(statement).await?;
    }
    db.close().await?;
    Ok(())
}

async fn connect(file: &Path) -> Result<AnyConnection, Fault> {
    let path = file.to_str().ok_or_else(|| Fault::file(file, &"expected UTF-8"))?;
    Ok(AnyConnection::connect(&format!("sqlite:{}", encoded(path))).await?)
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// Events of the chain that came back.
    pub events: u64,
    /// The newest event that a checkpoint beside the database speaks of, if there are more.
    pub known: Option<u64>,
    /// Join tokens and invites that were taken back.
    pub taken_back: u64,
}

/// Puts the backup `from` where SQLite's database belongs, which must be free, and makes it fit
/// to be served. For PostgreSQL, after `pg_restore` and without `from`.
///
/// # Errors
/// When there is a database already, the backup is none, or it is of another key-encryption key.
pub async fn restore(
    config: &Config,
    from: Option<&Path>,
    now: UnixMillis,
) -> Result<Restored, Fault> {
    let dir = &config.data_dir;
    let needed = match config.kek {
        Kek::File => Some(config.kek_file()),
        Kek::Passphrase(_) => Some(dir.join(SALT_FILE)),
        Kek::Azure(_) => None,
    };
    if let Some(file) = needed.filter(|file| !file.exists()) {
        let why = "expected what the backup's key-encryption key was made of";
        return Err(Fault::file(&file, &why));
    }
    match (&config.database, from) {
        (Database::File(to), Some(from)) => put(from, to)?,
        (Database::Postgres(_), None) => {}
        (Database::File(_), None) => return Err(unfit("expected the file of a backup")),
        _ => return Err(unfit("expected a backup of this kind of database")),
    }
    let back = restored(config, &dir.join("checkpoints"), now).await;
    if let (Err(_), Database::File(to)) = (&back, &config.database) {
        // Nobody serves it by mistake.
        for end in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{end}", to.display()));
        }
    }
    back
}

fn unfit(why: &str) -> Fault {
    Fault::Schema(why.to_owned())
}

fn put(from: &Path, to: &Path) -> Result<(), Fault> {
    // A log that is left of another database would be played into this one.
    for end in ["", "-wal", "-shm"] {
        let there = PathBuf::from(format!("{}{end}", to.display()));
        if there.exists() {
            return Err(Fault::file(&there, &"expected no database there; move it away first"));
        }
    }
    // Before anything is made: an empty database would be taken for a new service's.
    let mut backup = File::open(from).map_err(|error| Fault::file(from, &error))?;
    postern_files::create_private(to).map_err(|error| Fault::file(to, &error))?;
    let copied = File::options().write(true).open(to).and_then(|mut file| {
        io::copy(&mut backup, &mut file)?;
        file.sync_all()
    });
    copied.map_err(|error| {
        let _ = std::fs::remove_file(to);
        Fault::file(to, &error)
    })
}

async fn restored(config: &Config, notes: &Path, now: UnixMillis) -> Result<Restored, Fault> {
    let kek = key_encryption_key(config, None, now).await?;
    let pool = open(&config.database).await?;
    let mut db = pool.write(Reach::All).await?;
    // Of this key-encryption key, before anything is changed.
    let found = deks::find(&mut db, &Scope::System, kek.as_ref()).await?;
    let dek = found.ok_or_else(|| unfit("expected a database of a key service"))?;
    let rows = RowKeys::new(&dek)?;
    epochs::destroy(&mut db).await?;
    revocations::leap(&mut db, &rows, now).await?;
    let tokens = identities::forget_tokens(&mut db).await?;
    let invites = invites::revoke_open(&mut db, &rows, now).await?;
    let approvals = approvals::end_open(&mut db, &rows, Ending::All, now).await?;
    let links = people::forget_links(&mut db).await?;
    sessions::end_everywhere(&mut db).await?;
    let seed = deks::seed(&mut db, &dek, "audit", now).await?;
    let audit = AuditLog::new(&seed, "none")?;
    let last = head(&mut db).await?;
    let (beyond, known) = beyond(notes, &audit, last.n)?;
    let taken_back = tokens + invites + approvals + links;
    let event = Event::new("database_restored", "")
        .with("events", last.n.to_string())
        .with("known", known.unwrap_or(last.n).to_string())
        .with("taken_back", taken_back.to_string());
    audit.append(&mut db, event, now).await?;
    db.commit().await?;
    pool.close().await;
    put_aside(notes, &beyond, now)?;
    Ok(Restored { events: last.n, known, taken_back })
}

/// Checkpoints of this log over more than `n` events, and the highest number among them.
fn beyond(notes: &Path, audit: &AuditLog, n: u64) -> Result<(Vec<PathBuf>, Option<u64>), Fault> {
    let (mut files, mut known) = (Vec::new(), None);
    for entry in std::fs::read_dir(notes).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.extension().is_none_or(|end| end != "checkpoint") {
            continue;
        }
        let note = postern_files::read_bounded(&path, MAX_NOTE);
        let note = note.map_err(|error| Fault::file(&path, &error))?;
        let point = Checkpoint::open(&String::from_utf8_lossy(&note), &audit.public_key());
        if let Ok(point) = point
            && point.head.n > n
        {
            known = known.max(Some(point.head.n));
            files.push(path);
        }
    }
    Ok((files, known))
}

/// Moves `files` into a folder of their own below `notes`.
fn put_aside(notes: &Path, files: &[PathBuf], now: UnixMillis) -> Result<(), Fault> {
    if files.is_empty() {
        return Ok(());
    }
    let aside = notes.join(format!("before-restore-{}", now.0));
    postern_files::create_private_dir(&aside).map_err(|error| Fault::file(&aside, &error))?;
    for file in files {
        let to = aside.join(file.file_name().unwrap_or_default());
        std::fs::rename(file, &to).map_err(|error| Fault::file(file, &error))?;
    }
    Ok(())
}
