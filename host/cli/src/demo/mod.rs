//! The demonstration: real parts, real commands, real requests, each line checked.
//!
//! [`stage`] starts the parts and runs this program's own commands, [`steps`] is the table
//! of what is shown, [`verdict`] says whether it is as it should be. Invariant: nothing is
//! shown that did not happen; what a line says comes from bytes that were received.

mod commands;
mod person;
mod secret;
mod stage;
mod steps;
mod verdict;

pub use stage::{Parts, Stage};
pub use steps::STEPS;
pub use verdict::Line;
