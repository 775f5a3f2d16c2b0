//! Azure Key Vault and Managed HSM, as the key service needs them: a managed identity's token,
//! secure key release against an attestation token, and `wrapkey`/`unwrapkey` by a key that
//! never leaves its vault.
//!
//! Requests are made and answers are read by functions without a socket or a clock ([`call`],
//! [`release`], [`jws`], [`transfer`]); [`Client`] alone talks, and tries again ([`retry`]).
//!
//! Never run against Azure: tests speak to a local server of the same REST shapes.
//!
//! Invariant: no answer is believed for having come over TLS alone. A released key is taken
//! only from a signature by a pinned algorithm under a chain that names the vault, for the key
//! version that was asked for, wrapped as asked to a key drawn for this one release.
#![forbid(unsafe_code)]

pub mod attest;
pub mod call;
mod client;
pub mod jws;
mod key;
mod refused;
pub mod release;
pub mod retry;
pub mod transfer;

pub use client::{Client, Settings, Waits};
pub use key::{KeyRef, MAX_VAULT};
pub use refused::Refused;
