//! What was seen last of each log: a file of its checkpoint's text.
//!
//! Invariant: what is in memory is what is on the disk; what does not read is not taken for
//! nothing seen.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use postern_core::hex;
use postern_tlog::checkpoint::Checkpoint;
use postern_tlog::merkle::Hash;
use postern_tlog::note::{self, Key};
use postern_tlog::witness::Consistent;
use sha2::{Digest, Sha256};

use crate::Fault;

const LOCK: &str = ".lock";

pub(crate) struct State {
    folder: PathBuf,
    seen: BTreeMap<String, (u64, Hash)>,
    /// Held as long as the witness is.
    _lock: File,
}

impl State {
    /// Takes the folder, which is made if it is not there, and reads what is in it.
    pub(crate) fn open(folder: &Path, logs: &[Key]) -> Result<Self, Fault> {
        postern_files::create_private_dir(folder).map_err(|why| Fault::file(folder, why))?;
        let path = folder.join(LOCK);
        let lock = File::options().create(true).write(true).truncate(false).open(&path);
        let lock = lock.map_err(|why| Fault::file(&path, why))?;
        lock.try_lock().map_err(|why| match why {
            std::fs::TryLockError::WouldBlock => Fault::Taken(folder.display().to_string()),
            std::fs::TryLockError::Error(why) => Fault::file(&path, why),
        })?;
        let mut state = Self { folder: folder.to_owned(), seen: BTreeMap::new(), _lock: lock };
        for log in logs {
            if let Some(seen) = state.read(log.name())? {
                state.seen.insert(log.name().to_owned(), seen);
            }
        }
        Ok(state)
    }

    fn path(&self, origin: &str) -> PathBuf {
        self.folder.join(format!("{}.checkpoint", hex::lower(&Sha256::digest(origin))))
    }

    fn read(&self, origin: &str) -> Result<Option<(u64, Hash)>, Fault> {
        let path = self.path(origin);
        let text = match postern_files::read_bounded(&path, note::LENGTH) {
            Ok(text) => text,
            Err(why) if why.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(why) => return Err(Fault::file(&path, why)),
        };
        let point = str::from_utf8(&text).ok().and_then(Checkpoint::parse_extended);
        let point = point.filter(|point| point.origin == origin);
        let point = point.ok_or_else(|| Fault::Kept(path.display().to_string()))?;
        Ok(Some((point.size, point.root)))
    }

    /// Size and root of what was seen last; size 0 for a log that was never seen.
    pub(crate) fn seen(&self, origin: &str) -> (u64, Hash) {
        self.seen.get(origin).copied().unwrap_or_default()
    }

    /// Remembers a checkpoint, on the disk first.
    pub(crate) fn keep(&mut self, good: &Consistent) -> Result<(), Fault> {
        let point = good.checkpoint();
        // Whoever asks the same again does not get a file written.
        if self.seen.get(&point.origin) == Some(&(point.size, point.root)) {
            return Ok(());
        }
        let path = self.path(&point.origin);
        postern_files::write_atomic(&path, good.text().as_bytes())
            .map_err(|why| Fault::file(&path, why))?;
        self.seen.insert(point.origin.clone(), (point.size, point.root));
        Ok(())
    }
}
