//! Runs the scenario files of `tests/scenarios` on every boundary.
//!
//! Owns the meaning of a scenario file, the two runners (the core in virtual time, and a
//! gateway: a real Envoy or our own) and the comparison. It must not know how a decision is
//! made.
//!
//! Invariant: a scenario passes only when each boundary gave what the file wants and all
//! boundaries gave the same observation.
#![forbid(unsafe_code)]

pub mod attacks;
pub mod canary;
pub mod capability;
pub mod certificates;
pub mod conformance;
pub mod core;
mod dpop;
pub mod faults;
pub mod gateway;
pub mod hostile;
pub mod live;
pub mod minted;
pub mod observation;
pub mod parts;
pub mod policy;
pub mod run;
pub mod scenario;
pub mod signature;
pub mod template;
pub mod verdict;
pub mod world;

use std::path::PathBuf;

/// The root of the workspace.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}
