//! What can go wrong inside the service, and how little of it is told.
//!
//! Invariant: no variant carries a value, a key or a token; database texts pass through
//! [`Redacted`] before they reach a log.

use postern_core::redacted::Redacted;

use crate::vaults::Reference;

/// A failure of the service itself. A client only learns "not now".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The database refused or is away.
    #[error("database: {0}")]
    Database(Redacted),
    /// The database broke the transaction off in favour of another writer: worth trying again.
    #[error("database: another writer was in the way: {0}")]
    Busy(Redacted),
    /// The database does not answer. Whether it keeps what it was told is not known.
    #[error("database: no answer in time")]
    Stuck,
    /// Too many messages wait for the database.
    #[error("database: too many messages wait to be written")]
    Crowded,
    /// The database has another schema, or lets the service do too much.
    #[error("database: {0}")]
    Schema(String),
    /// The value has to be read from its vault first. Nothing was written, and the message is
    /// written again when it was.
    #[error("a value was not read from its vault")]
    Unread(Box<Reference>),
    /// A file could not be read, written or is too open.
    #[error("file {path}: {why}")]
    File {
        /// Which file.
        path: String,
        /// What was expected.
        why: Redacted,
    },
    /// A sealed row does not open: wrong key, changed or swapped.
    #[error("a sealed {0} does not open under its key")]
    Sealed(&'static str),
    /// A row whose MAC does not hold: planted or changed by someone else.
    #[error("the database holds a row of {0} that this service did not write")]
    Forged(&'static str),
    /// The data keys in the database were wrapped by another key-encryption key.
    #[error("the key-encryption key is not the one that wrapped this database's data keys")]
    OtherKek,
    /// The operating system gave no randomness.
    #[error("no randomness from the operating system")]
    NoRandomness,
    /// A row that this program cannot have written.
    #[error("the database holds a malformed {0}")]
    Malformed(&'static str),
    /// The machine, its host or its attestation service gives no evidence.
    #[error("attestation: {0}")]
    Attestation(Redacted),
    /// The vault does not release the key-encryption key.
    #[error("the key-encryption key {key}: the vault: {why}")]
    Vault {
        /// The vault's identifier of it.
        key: String,
        /// What it refuses, or what does not hold of its answer.
        why: Redacted,
    },
    /// Certificates or TLS settings.
    #[error("tls: {0}")]
    Tls(Redacted),
}

impl From<sqlx::Error> for Fault {
    fn from(error: sqlx::Error) -> Self {
        let text = Redacted::new(&error.to_string());
        let code = error.as_database_error().and_then(|error| error.code());
        match code.as_deref() {
            Some(SERIALIZATION | DEADLOCK | LOCK_TIMEOUT) => Self::Busy(text),
            _ => Self::Database(text),
        }
    }
}

// PostgreSQL's codes (appendix A of its manual). Each says that nothing was committed.
const SERIALIZATION: &str = "40001";
const DEADLOCK: &str = "40P01";
const LOCK_TIMEOUT: &str = "55P03";

impl From<sqlx::migrate::MigrateError> for Fault {
    fn from(error: sqlx::migrate::MigrateError) -> Self {
        Self::Database(Redacted::new(&error.to_string()))
    }
}

impl Fault {
    /// A file failure with its path.
    pub fn file(path: &std::path::Path, error: &dyn std::fmt::Display) -> Self {
        Self::File { path: path.display().to_string(), why: Redacted::new(&error.to_string()) }
    }
}
