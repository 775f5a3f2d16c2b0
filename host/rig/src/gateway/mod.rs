//! A gateway on ports of its own, with our file and changes to it: a real Envoy, or our own
//! on wasmtime, or the component for Spin on our host for it. Whoever starts one says which;
//! after that they are used alike.
//!
//! Invariant: the process is the one we started (`/server_info` names our node id), and
//! it is ended through its own handle when the value is dropped.

mod config;
mod launch;
mod process;
mod spin;
mod turns;

pub use config::{Config, merge};
pub use launch::{Kind, Launch};
pub use process::Gateway;
