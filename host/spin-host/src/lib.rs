//! Runs the HTTP components of a `spin.toml` on wasmtime, with the interfaces of Spin 4.1.
//!
//! Owns the manifest ([`manifest`]), its variables ([`variables`]) and who may be spoken to
//! ([`outbound`]), requests to others ([`client`]), instances ([`instance`]) and the front
//! ([`serve`]). It is not Spin: what stands in a manifest and is not known here is an error
//! that names it, never ignored. Of WASI it gives 0.2 and 0.3, of HTTP 0.3 alone.
//!
//! Invariant: a component speaks to nobody that `allowed_outbound_hosts` does not name, and
//! sees no variable but its own.
#![forbid(unsafe_code)]

mod bindings;
mod client;
mod instance;
pub mod manifest;
pub mod outbound;
pub mod serve;
pub mod variables;

pub use instance::Reuse;
pub use manifest::Application;
pub use serve::{Options, Prepared, Running, prepare, start};

/// Why an application does not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The manifest, or a value for one of its variables.
    #[error("{0}")]
    Manifest(String),
    /// A component that cannot be compiled, or needs what is not given here.
    #[error("component {name:?}: {problem}")]
    Component {
        /// Its id.
        name: String,
        /// What is wrong.
        problem: String,
    },
    /// A file, a port or the processor.
    #[error("{0}")]
    Environment(String),
}
