//! Around the gateway of `postern-runtime`: what its command reads before and says after.
//!
//! Knows no socket and no stream. Invariant: nothing here shows the value of a variable or
//! of a configuration; names, addresses and files are shown.

mod environment;
mod facts;
mod observe;
mod problem;
mod report;
mod spin;

pub use environment::Variables;
pub use facts::Facts;
pub use observe::ObserveArgs;
pub use problem::{read, refused};
pub use report::Started;
pub use spin::SpinArgs;
