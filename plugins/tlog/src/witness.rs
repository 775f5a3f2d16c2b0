//! What a witness is asked and decides (C2SP tlog-witness, `add-checkpoint`).
//!
//! Owns the question's text and the decision; who carries it and where the last size is kept
//! is somebody else's, who has to make both one step. Invariant: a [`Consistent`] comes only
//! from [`judge`], so that nothing is cosigned that does not continue what was seen before.

use crate::checkpoint::Checkpoint;
use crate::merkle::{self, Hash};
use crate::note::{self, Key, NotOpened};
use crate::proof::LENGTH;
use crate::{decimal, hashes, lines};

/// A question to a witness.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddCheckpoint {
    /// The size that the witness is believed to have.
    pub old: u64,
    /// That the new tree begins with the old one.
    pub proof: Vec<Hash>,
    /// The checkpoint that the log has signed.
    pub note: String,
}

impl AddCheckpoint {
    /// The body of the request.
    pub fn text(&self) -> String {
        format!("old {}\n{}\n{}", self.old, lines(&self.proof), self.note)
    }

    /// Reads a body; only what [`AddCheckpoint::text`] writes.
    pub fn parse(text: &str) -> Option<Self> {
        let (head, note) = Some(text).filter(|text| text.len() <= LENGTH)?.split_once("\n\n")?;
        let mut words = head.split('\n');
        let old = words.next()?.strip_prefix("old ").and_then(decimal)?;
        let asked = Self { old, proof: hashes(words)?, note: note.to_owned() };
        (asked.text() == text).then_some(asked)
    }
}

/// A checkpoint that continues what was seen, with its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consistent {
    checkpoint: Checkpoint,
    text: String,
}

impl Consistent {
    /// The checkpoint: what is to be kept as the last one of its origin.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// What is cosigned, lines of extension included.
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// Why nothing is cosigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Not in its form, or the old size is above the new one.
    #[error("the question is not as specified")]
    Malformed,
    /// No log of that origin is known.
    #[error("the log is not known")]
    Unknown,
    /// The log's key has not signed.
    #[error("the checkpoint is not signed by the log")]
    Unsigned,
    /// The witness has seen another size, or another tree of the same size.
    #[error("the last size that was seen is {0}")]
    Conflict(u64),
    /// The proof does not hold.
    #[error("the new tree does not continue the old one")]
    Inconsistent,
}

impl Refused {
    /// Its status; [`Refused::Conflict`] has the size for a body, as `text/x.tlog.size`.
    pub fn status(self) -> u16 {
        match self {
            Self::Malformed => 400,
            Self::Unsigned => 403,
            Self::Unknown => 404,
            Self::Conflict(_) => 409,
            Self::Inconsistent => 422,
        }
    }
}

/// Decides about a question. `known` says the key of a log and what was seen of it last: its
/// size and root; a log of which nothing was seen has size 0.
///
/// # Errors
/// The first rule that is broken.
pub fn judge<'a>(
    body: &str,
    known: impl Fn(&str) -> Option<(&'a Key, (u64, Hash))>,
) -> Result<Consistent, Refused> {
    let asked = AddCheckpoint::parse(body).ok_or(Refused::Malformed)?;
    let (text, _) = note::parts(&asked.note).ok_or(Refused::Malformed)?;
    let checkpoint = Checkpoint::parse_extended(text).ok_or(Refused::Malformed)?;
    let (key, seen) = known(&checkpoint.origin).ok_or(Refused::Unknown)?;
    note::open(&asked.note, std::slice::from_ref(key)).map_err(|why| match why {
        NotOpened::Malformed => Refused::Malformed,
        NotOpened::UnknownKey | NotOpened::Forged => Refused::Unsigned,
    })?;
    if asked.old > checkpoint.size {
        return Err(Refused::Malformed);
    }
    if asked.old != seen.0 {
        return Err(Refused::Conflict(seen.0));
    }
    continues(&asked, &checkpoint, seen)?;
    Ok(Consistent { text: text.to_owned(), checkpoint })
}

fn continues(
    asked: &AddCheckpoint,
    new: &Checkpoint,
    (size, root): (u64, Hash),
) -> Result<(), Refused> {
    let holds = match size {
        0 => asked.proof.is_empty(),
        _ if size == new.size && root != new.root => return Err(Refused::Conflict(size)),
        _ => merkle::is_consistent((size, root), (new.size, new.root), &asked.proof),
    };
    if holds { Ok(()) } else { Err(Refused::Inconsistent) }
}
