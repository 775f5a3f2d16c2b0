//! CRP/1, the credential release protocol: how a gateway asks the attested key
//! service, and how the service answers. `SPEC.md` is the specification.
//!
//! Owns the bytes: [`wire`] and [`message`] say what is written, [`envelope`] and
//! [`suite`] how it is sealed, [`evidence`] whose key it is sealed to. [`exchange`] is
//! the asking half, [`service`] the answering half, [`client`] what the modules use.
//! Everything is sans I/O: time and randomness are arguments.
//!
//! Invariant: a reply is returned only if it opened under the request it answers; a
//! request is readable only after its signature was verified.
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

pub mod client;
pub mod envelope;
pub mod evidence;
pub mod exchange;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
pub mod identity;
mod json;
pub mod message;
pub mod padding;
pub mod revocation;
pub mod service;
pub mod suite;
#[cfg(test)]
mod tests;
pub mod wire;

pub use identity::{Identity, Role};
