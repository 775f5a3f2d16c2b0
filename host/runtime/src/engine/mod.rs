//! Machines for Proxy-Wasm modules on wasmtime.
//!
//! In the order in which they are used: [`Engine`] compiles and keeps the clock of all
//! deadlines; [`Program`] is a module that was checked to be Proxy-Wasm 0.2; [`Vm`] is one
//! instance with its roots and streams, used on one thread; [`Recovery`] says what to do
//! with requests after a machine has trapped.
//!
//! Knows the ABI and guest memory. Must not know sockets, configuration files or HTTP: it
//! reaches all of that through [`crate::view`].
//!
//! Invariant: whatever a module does (trap, loop, overflow its stack, ask for all memory,
//! pass wild pointers) ends at most its own [`Vm`], within the deadline of the callback.

mod callbacks;
mod deadline;
mod deflate;
mod fault;
#[cfg(any(test, feature = "fuzz"))]
mod fuzz;
mod grpc;
mod guest;
mod host;
mod hostcalls;
mod link;
mod machine;
mod metrics;
mod pairs;
mod program;
mod protobuf;
mod queues;
mod recovery;
mod roots;
mod shared;
mod signature;
mod streams;
pub mod trace;
mod vm;
mod wasi;

pub(crate) use hostcalls::content::splice;

pub use fault::{Reason, StartError, Trapped};
#[cfg(any(test, feature = "fuzz"))]
pub use fuzz::{fuzz_pairs, fuzz_protobuf, fuzz_signature};
pub use machine::{Engine, EngineSettings, private_cache};
pub use metrics::Metrics;
pub use program::{Capabilities, Program, ProgramError};
pub use queues::{MOST_ENTRIES, Queues, Waker};
pub use recovery::{FailurePolicy, Recovery, Verdict};
pub use shared::SharedData;
pub use streams::Action;
pub use vm::{Plugin, RootId, StreamId, Vm, VmSettings};
