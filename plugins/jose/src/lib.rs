//! JSON Web Signatures, Keys and Tokens (RFC 7515, 7517, 7519), to verify access tokens.
//!
//! Owns parsing ([`json`], [`jws`], [`jwk`]), signatures ([`signatures`]) and the rules for
//! claims ([`jwt`]). Where keys come from, how often they are fetched and who a token's
//! subject is are the caller's. Time is an argument. RFC 8725 is followed throughout.
//!
//! Invariant: the algorithm and the key come from what was configured, never from the
//! token; a [`jwt::Token`] exists only of a token whose signature was verified and whose
//! claims satisfy the rules.
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

pub mod algorithm;
mod der;
#[cfg(feature = "full")]
pub mod dpop;
pub mod json;
pub mod jwk;
pub mod jws;
pub mod jwt;
pub mod refusal;
pub mod signatures;
#[cfg(test)]
mod tests;

pub use algorithm::Algorithm;
pub use jwk::{Key, KeySet, Usage};
pub use refusal::Refusal;
pub use signatures::{Native, Pure, Signatures};
