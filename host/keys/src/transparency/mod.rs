//! The log of releases as a folder of static files (`plugins/tlog/SPEC.md`, sections 4 and 8),
//! which any web server can publish.
//!
//! Owns the files and the order in which they are written: entries, tiles, and the checkpoint
//! last, each under a temporary name that is renamed. Knows no leaf's meaning. Invariant:
//! nothing is appended to a log that is not whole, nor to one that does not continue the
//! checkpoint that its owner has seen: a [`Log`] comes only from a check of every file.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use ed25519_dalek::SigningKey;
use postern_tlog::checkpoint::Checkpoint;
use postern_tlog::merkle::{self, Hash, Whole};
use postern_tlog::note::{self, Key};
use postern_tlog::proof::{LEAF, Proof};
use postern_tlog::tiles::{self, Bundle, WIDTH};

#[cfg(test)]
mod tests;

/// Most releases of a log that is read whole: a checkpoint may say any number.
const MOST: u64 = 1 << 20;
/// Largest file of a log: a full bundle of the longest leaves.
const MAX_FILE: usize = 256 * (LEAF + 2);
const CHECKPOINT: &str = "checkpoint";
const LOCK: &str = ".lock";

/// A log that was read whole and holds.
pub struct Log {
    folder: PathBuf,
    key: Key,
    entries: Vec<Vec<u8>>,
    note: Option<String>,
}

/// What is wrong with a log.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// A file cannot be read or written.
    #[error("{0}")]
    Files(#[from] io::Error),
    /// Somebody else appends.
    #[error("the log is being written by somebody else")]
    Locked,
    /// There are files of a log and no checkpoint.
    #[error("the log has entries and no checkpoint")]
    NoCheckpoint,
    /// The checkpoint is not one that this key signed.
    #[error("the checkpoint is not signed by this key, or of another log")]
    Checkpoint,
    /// A file differs from what the checkpoint was signed over.
    #[error("{0} is not what the checkpoint was signed over")]
    Changed(String),
    /// The log does not begin with what was seen before.
    #[error(
        "the log does not continue the checkpoint that was seen: {seen} entries then, {size} now"
    )]
    Fork {
        /// Entries of the checkpoint that was seen.
        seen: u64,
        /// Entries of the log.
        size: u64,
    },
    /// The key that should sign is not the log's.
    #[error("the key is not the one of this log")]
    OtherKey,
    /// A leaf that no proof could carry.
    #[error("a leaf has 1 to {LEAF} bytes")]
    Leaf,
}

impl Log {
    /// Reads a log and checks all of it: the checkpoint's signature, every entry and every
    /// tile. A folder that is empty or not there is a log without entries.
    ///
    /// # Errors
    /// The first thing that does not hold.
    pub fn open(folder: &Path, key: Key) -> Result<Self, Fault> {
        let mut log = Self { folder: folder.to_owned(), key, entries: Vec::new(), note: None };
        let Some(note) = log.read(CHECKPOINT)? else {
            let empty = !folder.join("tile").exists();
            return empty.then_some(log).ok_or(Fault::NoCheckpoint);
        };
        let note = String::from_utf8(note).map_err(|_| Fault::Checkpoint)?;
        let checkpoint = opened(&note, &log.key).ok_or(Fault::Checkpoint)?;
        if checkpoint.size > MOST {
            return Err(Fault::Checkpoint);
        }
        for bundle in tiles::grown_bundles(0, checkpoint.size) {
            log.entries.extend(log.bundle(bundle)?);
        }
        log.note = Some(note);
        log.compare(&checkpoint)?;
        Ok(log)
    }

    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, Fault> {
        match postern_files::read_bounded(self.folder.join(path), MAX_FILE) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn bundle(&self, bundle: Bundle) -> Result<Vec<Vec<u8>>, Fault> {
        let bytes = self.read(&bundle.path())?;
        let entries = bytes.and_then(|bytes| bundle.read(&bytes));
        entries.ok_or_else(|| Fault::Changed(bundle.path()))
    }

    /// Entries against the root, tiles against the entries.
    fn compare(&self, checkpoint: &Checkpoint) -> Result<(), Fault> {
        let tree = self.tree();
        if root(&tree, checkpoint.size) != checkpoint.root {
            return Err(Fault::Changed("an entry".to_owned()));
        }
        for tile in tiles::grown(0, checkpoint.size) {
            let made = tiles::hashes_of(tile, |range| tree.part(range));
            if self.read(&tile.path())? != made {
                return Err(Fault::Changed(tile.path()));
            }
        }
        Ok(())
    }

    fn tree(&self) -> Whole {
        Whole::new(self.entries.iter().map(|entry| merkle::leaf(entry)).collect())
    }

    /// The entries, each a leaf.
    pub fn entries(&self) -> &[Vec<u8>] {
        &self.entries
    }

    /// Number of entries.
    pub fn size(&self) -> u64 {
        self.entries.len() as u64
    }

    /// The signed checkpoint; of a log without entries none.
    pub fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }

    /// Refuses a log that does not begin with what `seen`, a checkpoint kept apart, was
    /// signed over: one that was cut off or written anew.
    ///
    /// # Errors
    /// [`Fault::Checkpoint`] when the log's key has not signed it, [`Fault::Fork`].
    pub fn continues(&self, seen: &str) -> Result<(), Fault> {
        let seen = opened(seen, &self.key).ok_or(Fault::Checkpoint)?;
        let size = self.size();
        let same = seen.size <= size && root(&self.tree(), seen.size) == seen.root;
        if same { Ok(()) } else { Err(Fault::Fork { seen: seen.size, size }) }
    }

    /// Appends leaves and signs a checkpoint over all; the new log. Without leaves nothing
    /// is written.
    ///
    /// # Errors
    /// When the key is another, a leaf is too long, somebody else appends or has appended
    /// since, or a file cannot be written: then the old checkpoint stands.
    pub fn append(mut self, leaves: Vec<Vec<u8>>, key: &SigningKey) -> Result<Self, Fault> {
        if Key::new(self.key.name(), key.verifying_key().as_bytes()).as_ref() != Some(&self.key) {
            return Err(Fault::OtherKey);
        }
        if !leaves.iter().all(|leaf| (1..=LEAF).contains(&leaf.len())) {
            return Err(Fault::Leaf);
        }
        if leaves.is_empty() {
            return Ok(self);
        }
        let _held = self.lock()?;
        let old = self.size();
        self.entries.extend(leaves);
        self.write(old)?;
        let (size, origin) = (self.size(), self.key.name().to_owned());
        let checkpoint = Checkpoint { origin, size, root: root(&self.tree(), size) };
        let note = checkpoint.sign(key).ok_or(Fault::OtherKey)?;
        postern_files::write_atomic(self.folder.join(CHECKPOINT), note.as_bytes())?;
        self.note = Some(note);
        Ok(self)
    }

    /// Keeps others from appending until the file is dropped. What was read has to be what
    /// is there still.
    fn lock(&self) -> Result<File, Fault> {
        fs::create_dir_all(&self.folder)?;
        let file = File::options().create(true).append(true).open(self.folder.join(LOCK))?;
        file.try_lock().map_err(|_| Fault::Locked)?;
        let now = self.read(CHECKPOINT)?;
        let same = now.as_deref() == self.note().map(str::as_bytes);
        if same { Ok(file) } else { Err(Fault::Locked) }
    }

    fn write(&self, old: u64) -> Result<(), Fault> {
        let (tree, size) = (self.tree(), self.size());
        for bundle in tiles::grown_bundles(old, size) {
            let first = usize::try_from(bundle.index * WIDTH).unwrap_or(usize::MAX);
            let some = self.entries.iter().skip(first).take(WIDTH as usize);
            let bytes: Option<Vec<Vec<u8>>> = some.map(|entry| tiles::entry(entry)).collect();
            self.put(&bundle.path(), &bytes.ok_or(Fault::Leaf)?.concat())?;
        }
        for tile in tiles::grown(old, size) {
            let bytes = tiles::hashes_of(tile, |range| tree.part(range)).ok_or(Fault::Leaf)?;
            self.put(&tile.path(), &bytes)?;
        }
        Ok(())
    }

    fn put(&self, path: &str, bytes: &[u8]) -> Result<(), Fault> {
        let path = self.folder.join(path);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        Ok(postern_files::write_atomic(path, bytes)?)
    }

    /// The proof that an entry is in the log as it is; `None` when there is no such entry.
    pub fn prove(&self, index: u64) -> Option<Proof> {
        let leaf = self.entries.get(usize::try_from(index).ok()?)?.clone();
        let tree = self.tree();
        let ranges = merkle::inclusion(index, self.size())?;
        let path: Option<Vec<Hash>> = ranges.into_iter().map(|range| tree.part(range)).collect();
        Some(Proof { leaf, index, path: path?, note: self.note.clone()? })
    }
}

/// A checkpoint of the log of this key, whose name is the origin.
fn opened(note: &str, key: &Key) -> Option<Checkpoint> {
    let text = note::open(note, std::slice::from_ref(key)).ok()?;
    Checkpoint::parse(text).filter(|checkpoint| checkpoint.origin == key.name())
}

fn root(tree: &Whole, size: u64) -> Hash {
    let empty = merkle::Growing::default().root();
    tree.part(0..size).unwrap_or(empty)
}
