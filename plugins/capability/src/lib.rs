//! Capability tokens with proof of possession. `SPEC.md` is the specification.
//!
//! Owns the format and its verification: [`token`] and [`block`] read the bytes, [`claims`]
//! what a block says, [`right`] what is left of it, [`chain`] whether it holds, [`proof`]
//! whether a request comes from the holder, [`cache`] what was verified before, [`tables`] how
//! keys that are met again are verified faster. Time is an
//! argument, keys are the caller's, and nothing here draws randomness.
//!
//! Invariant: a [`chain::Chain`] exists only of a token whose every signature was verified
//! over the received bytes, and its right is the intersection of what its blocks say.
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

pub mod block;
pub mod cache;
mod cbor;
pub mod chain;
pub mod claims;
mod comb;
pub mod form;
pub mod key;
#[cfg(any(test, feature = "mint"))]
pub mod mint;
pub mod proof;
#[cfg(any(test, feature = "mint"))]
pub mod reading;
pub mod refusal;
pub mod request_path;
pub mod right;
pub mod tables;
#[cfg(test)]
mod tests;
pub mod token;

pub use chain::{Chain, Context, IssuerKey, verify};
pub use key::{PublicKey, Signatures, Strict};
pub use refusal::Refusal;
pub use tables::Tables;
