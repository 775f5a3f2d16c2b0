//! Starts the parts of Postern on 127.0.0.1: gateway, recording upstream, key service
//! stand-in and a client that sends bytes as given.
//!
//! Owns processes, threads and sockets of tests and of the demo, and ends what it
//! started. It must not know what a right answer is: it records, the caller judges.
//!
//! Invariant: everything binds to 127.0.0.1 on ports that the system chose, and no
//! process is ended but by the handle that started it.
#![forbid(unsafe_code)]

pub mod authority;
pub mod client;
pub mod gateway;
pub mod message;
pub mod nginx;
pub mod server;
pub mod tls;
pub mod upstream;
pub mod wait;

use std::path::PathBuf;

/// What can go wrong while a part is started or asked.
#[derive(Debug, thiserror::Error)]
pub enum RigError {
    /// A file, socket or process of ours failed.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A configuration that does not parse or lacks a part.
    #[error("{0}")]
    Config(String),
    /// A program is missing.
    #[error("{} is missing: run `{command}`", path.display())]
    Missing {
        /// Where it should be.
        path: PathBuf,
        /// What puts it there.
        command: String,
    },
    /// A process ended or did not get ready.
    #[error("{what}\n{log}")]
    NotReady {
        /// What was waited for.
        what: String,
        /// The end of its log.
        log: String,
    },
    /// Certificates could not be made or loaded.
    #[error("tls: {0}")]
    Tls(String),
}

impl RigError {
    /// Names what was tried when the system refused it.
    pub fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}
