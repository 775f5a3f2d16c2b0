//! A real Envoy on ports of its own, with our file and changes to it.
//!
//! Invariant: the process is the one we started (`/server_info` names our node id), and
//! it is ended through its own handle when the value is dropped.

mod config;
mod process;

pub use config::{Config, merge};
pub use process::{Envoy, binary};
