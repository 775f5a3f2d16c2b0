//! A key vault of Azure's REST shapes, on loopback, for tests.
//!
//! It evaluates a key's release policy against the claims of an attestation token whose
//! signature it verifies, answers 403 as the vault does, wraps to the key in the token, and
//! signs what it releases under a chain that a test's own authority made. [`Trick`] has it
//! err in each way that a client has to notice.
//!
//! Invariant: it shares no code with what it tests; nothing here is trusted by what ships.
#![forbid(unsafe_code)]
#![allow(clippy::missing_panics_doc)]

mod authority;
mod operations;
mod policy;
mod server;

pub use operations::{Key, Material};
pub use policy::{good, satisfied};
pub use server::{Trick, VaultServer};
