//! What can go wrong inside the service, and how little of it is told.
//!
//! Invariant: no variant carries a value, a key or a token; database texts pass through
//! [`Redacted`] before they reach a log.

use postern_core::redacted::Redacted;

/// A failure of the service itself. A client only learns "not now".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The database refused or is away.
    #[error("database: {0}")]
    Database(Redacted),
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
    /// Certificates or TLS settings.
    #[error("tls: {0}")]
    Tls(Redacted),
}

impl From<sqlx::Error> for Fault {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(Redacted::new(&error.to_string()))
    }
}

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
