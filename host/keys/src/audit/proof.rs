//! Proofs about the tree, as texts that stand alone.
//!
//! Owns two forms (AUDIT.md, Proofs): that an event is in the log, which is a receipt for it
//! (C2SP tlog-proof), and that a checkpoint continues an older one. Knows no database.
//! Invariant: what comes out of a check was signed by the given key, and its proof holds.

use base64::Engine;
use base64::prelude::BASE64_STANDARD as B64;
use ed25519_dalek::VerifyingKey;

use crate::audit::checkpoint::Checkpoint;
use crate::audit::entry::{Judge, decimal};
use crate::audit::export::Line;
use crate::audit::merkle::{self, Hash};

const HEADING: &str = "c2sp.org/tlog-proof@v1";
/// Most hashes of a proof.
const MOST: usize = 64;

/// That an event is in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inclusion {
    /// The event, as a line of an export.
    pub line: Line,
    /// The hashes beside its way to the root.
    pub path: Vec<Hash>,
    /// The signed checkpoint.
    pub note: String,
}

/// An event that was shown to be in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Included {
    /// Its number.
    pub n: u64,
    /// Whether its content is withheld.
    pub withheld: bool,
    /// The checkpoint it is under.
    pub checkpoint: Checkpoint,
}

/// Why a proof proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotProven {
    /// Not of its form.
    #[error("this is not a proof of the audit log")]
    Malformed,
    /// The event is not one that this key signed.
    #[error("the event was changed, or is signed by another key")]
    Event,
    /// The checkpoint is not one that this key signed.
    #[error("the checkpoint is not signed by this key")]
    Checkpoint,
    /// The hashes lead to another root.
    #[error("the event is not in the tree of this checkpoint")]
    Inclusion,
    /// The newer tree does not begin with the older one.
    #[error("the log was written anew: the newer checkpoint does not continue the older one")]
    Consistency,
    /// The newer checkpoint covers less.
    #[error("the log was cut off: the newer checkpoint covers {new} events, the older one {old}")]
    Shorter {
        /// Events of the older.
        old: u64,
        /// Events of the newer.
        new: u64,
    },
}

impl Inclusion {
    /// The text.
    pub fn text(&self) -> String {
        let line = serde_json::to_vec(&self.line).unwrap_or_default();
        let index = decimal(&self.line.n).map_or(0, |n| n.saturating_sub(1));
        let path = lines(&self.path);
        format!("{HEADING}\nextra {}\nindex {index}\n{path}\n{}", B64.encode(line), self.note)
    }

    /// Reads a text; only what [`Inclusion::text`] writes.
    ///
    /// # Errors
    /// [`NotProven::Malformed`].
    pub fn parse(text: &str) -> Result<Self, NotProven> {
        let read = || {
            let (head, note) = text.split_once("\n\n")?;
            let mut lines = head.split('\n');
            lines.next().filter(|line| *line == HEADING)?;
            let line = B64.decode(lines.next()?.strip_prefix("extra ")?).ok()?;
            lines.next()?.strip_prefix("index ").and_then(decimal)?;
            let line = serde_json::from_slice(&line).ok()?;
            Some(Self { line, path: hashes(lines)?, note: note.to_owned() })
        };
        read().filter(|proof| proof.text() == text).ok_or(NotProven::Malformed)
    }

    /// Checks event, checkpoint and path.
    ///
    /// # Errors
    /// The first that does not hold.
    pub fn verify(&self, key: &VerifyingKey) -> Result<Included, NotProven> {
        let event = Judge::of_few(key).line(self.line.clone());
        if !event.genuine {
            return Err(NotProven::Event);
        }
        let checkpoint = Checkpoint::open(&self.note, key).map_err(|_| NotProven::Checkpoint)?;
        let (leaf, size) = (merkle::leaf(&event.hash), checkpoint.head.n);
        let index = event.n.checked_sub(1).ok_or(NotProven::Malformed)?;
        let root = merkle::root_of_inclusion(index, size, leaf, &self.path);
        if root != Some(checkpoint.root) {
            return Err(NotProven::Inclusion);
        }
        Ok(Included { n: event.n, withheld: event.withheld, checkpoint })
    }
}

/// That the log of a checkpoint begins with the first `old` events as they were.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consistency {
    /// Events of the older tree.
    pub old: u64,
    /// The hashes.
    pub path: Vec<Hash>,
    /// The signed newer checkpoint.
    pub note: String,
}

impl Consistency {
    /// The text.
    pub fn text(&self) -> String {
        format!("old {}\n{}\n{}", self.old, lines(&self.path), self.note)
    }

    /// Reads a text; only what [`Consistency::text`] writes.
    ///
    /// # Errors
    /// [`NotProven::Malformed`].
    pub fn parse(text: &str) -> Result<Self, NotProven> {
        let read = || {
            let (head, note) = text.split_once("\n\n")?;
            let mut lines = head.split('\n');
            let old = lines.next()?.strip_prefix("old ").and_then(decimal)?;
            Some(Self { old, path: hashes(lines)?, note: note.to_owned() })
        };
        read().filter(|proof| proof.text() == text).ok_or(NotProven::Malformed)
    }

    /// The newer checkpoint, if it continues `old`.
    ///
    /// # Errors
    /// What does not hold.
    pub fn verify(&self, old: &Checkpoint, key: &VerifyingKey) -> Result<Checkpoint, NotProven> {
        let new = Checkpoint::open(&self.note, key).map_err(|_| NotProven::Checkpoint)?;
        if new.head.n < old.head.n {
            return Err(NotProven::Shorter { old: old.head.n, new: new.head.n });
        }
        let trees = [old, &new].map(|point| (point.head.n, point.root));
        let holds = self.old == old.head.n && merkle::is_consistent(trees[0], trees[1], &self.path);
        if holds { Ok(new) } else { Err(NotProven::Consistency) }
    }
}

fn lines(hashes: &[Hash]) -> String {
    hashes.iter().map(|hash| B64.encode(hash) + "\n").collect()
}

fn hashes<'a>(lines: impl Iterator<Item = &'a str>) -> Option<Vec<Hash>> {
    let hashes: Option<Vec<Hash>> =
        lines.map(|line| B64.decode(line).ok()?.try_into().ok()).collect();
    hashes.filter(|hashes| hashes.len() <= MOST)
}
