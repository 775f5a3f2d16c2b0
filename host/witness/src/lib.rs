//! A witness of transparency logs (C2SP tlog-witness): it cosigns what continues what it saw.
//!
//! Owns the last checkpoint of each log, in a folder, and the witness's key. What a question is
//! and whether it may be cosigned is `postern-tlog`'s. Invariant: a checkpoint is on the disk before its
//! cosignature leaves, and one process at a time has the folder: there are never two
//! cosignatures under trees that contradict each other.
#![forbid(unsafe_code)]

mod http;
mod state;

pub use http::{Running, serve};

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use ed25519_dalek::SigningKey;
use postern_tlog::cosignature;
use postern_tlog::note::Key;
use postern_tlog::witness::{Refused, judge};

use state::State;

/// Most logs of a witness.
pub const MOST: usize = 64;

/// A witness with its memory.
pub struct Witness {
    name: String,
    key: SigningKey,
    logs: Vec<Key>,
    state: Mutex<State>,
}

/// A witness cannot work.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The name is none that a note can have.
    #[error("name: expected 1 to 128 printable characters without space and +")]
    Name,
    /// No logs, too many, or two of one name.
    #[error("logs: expected 1 to {MOST}, each with a name of its own")]
    Logs,
    /// A log is signed with the witness's own key.
    #[error("the key of {0} is the witness's own")]
    OwnKey(String),
    /// Another process has the folder.
    #[error("{0}: another witness uses this folder")]
    Taken(String),
    /// What was kept is not what a witness keeps.
    #[error("{0}: is not a checkpoint of this log; find out why before you take it away")]
    Kept(String),
    /// A file cannot be read or written.
    #[error("{path}: {why}")]
    File {
        /// Which.
        path: String,
        /// Why.
        why: std::io::Error,
    },
}

impl Fault {
    fn file(path: &Path, why: std::io::Error) -> Self {
        Self::File { path: path.display().to_string(), why }
    }
}

/// Why there is no cosignature.
#[derive(Debug, thiserror::Error)]
pub enum NotSigned {
    /// By the rules.
    #[error("{0}")]
    Refused(#[from] Refused),
    /// What was seen cannot be kept.
    #[error("{0}")]
    Fault(#[from] Fault),
}

impl Witness {
    /// A witness for logs, each known by the name of its key, that keeps what it saw in `folder`.
    ///
    /// # Errors
    /// When the folder is in use or holds something else, and for names that do not do.
    pub fn open(name: &str, key: SigningKey, logs: Vec<Key>, folder: &Path) -> Result<Self, Fault> {
        let public = key.verifying_key();
        if cosignature::Witness::new(name, public.as_bytes()).is_none() {
            return Err(Fault::Name);
        }
        let apart = logs.iter().enumerate().all(|(at, log)| {
            logs.iter().skip(at.saturating_add(1)).all(|other| other.name() != log.name())
        });
        if !apart || !(1..=MOST).contains(&logs.len()) {
            return Err(Fault::Logs);
        }
        if let Some(log) = logs.iter().find(|log| log.is(&public)) {
            return Err(Fault::OwnKey(log.name().to_owned()));
        }
        let state = Mutex::new(State::open(folder, &logs)?);
        Ok(Self { name: name.to_owned(), key, logs, state })
    }

    /// The key that others verify cosignatures with: `name+hex+base64`.
    pub fn vkey(&self) -> String {
        let key = self.key.verifying_key();
        cosignature::Witness::new(&self.name, key.as_bytes())
            .map_or_else(String::new, |it| it.vkey())
    }

    /// The line of the cosignature under the checkpoint that is asked about, at `now` in seconds
    /// since 1970.
    ///
    /// # Errors
    /// When it does not continue what was seen, or cannot be kept.
    pub fn add(&self, body: &str, now: u64) -> Result<String, NotSigned> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let known = |origin: &str| {
            let log = self.logs.iter().find(|log| log.name() == origin)?;
            Some((log, state.seen(origin)))
        };
        let good = judge(body, known)?;
        let line = cosignature::sign(good.text(), now, &self.name, &self.key).ok_or(Fault::Name)?;
        state.keep(&good)?;
        Ok(line)
    }
}

#[cfg(test)]
mod tests;
