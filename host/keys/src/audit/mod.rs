//! The service chain: every event hashed onto the last one, signed, put into one tree, and
//! checkpointed.
//!
//! Owns the signing key `A_sig`, the event bytes, the checkpoints and the offline
//! verifier. Knows no sealed message and no HTTP. Invariant: an event is appended in the
//! transaction of what it reports, so there is neither an unrecorded release nor a record
//! of one that did not happen.

#[cfg(any(test, feature = "bench"))]
pub mod changes;
pub mod checkpoint;
pub mod collect;
mod entry;
mod event;
pub mod export;
pub mod integrity;
mod log;
pub mod proof;
mod read;
pub mod removal;
pub mod tree;
pub mod verify;

pub use postern_tlog::merkle;

pub use event::Event;
pub use log::{AuditLog, Link, head};
pub use verify::{Break, Report, verify_export};
