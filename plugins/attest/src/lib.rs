//! Appraisal of evidence (RFC 9334): what a key service shows about the machine and the
//! image that it runs on, against what this gateway's owner has pinned.
//!
//! Owns SEV-SNP reports with their chains ([`snp`]), tokens of Azure Attestation ([`maa`])
//! and signed release sets ([`release_set`]). Knows no transport, no clock and no epoch: it
//! gets bytes, the hash that has to be bound, and the time. `plugins/crp/SPEC.md`, section
//! 3, is the specification.
//!
//! Invariant: nothing is trusted because the evidence says so: roots, issuers, keys,
//! products and releases are arguments. Parsers are total; what is not exactly as specified
//! is a [`Refusal`].
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

#[cfg(feature = "snp")]
mod der;
#[cfg(feature = "fuzz")]
pub mod fuzz;
#[cfg(feature = "maa")]
pub mod maa;
mod refusal;
pub mod release_set;
#[cfg(feature = "snp")]
pub mod snp;

pub use postern_tlog::note;
pub use refusal::Refusal;

/// Is told the name of each check that has passed, in order.
pub type Passed<'a> = &'a mut dyn FnMut(&'static str);

/// What is appraised against: the hash of the exact runtime data that the hardware has to
/// have bound, the releases that are authorised, and the time in seconds.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// SHA-256 of R.
    pub runtime_hash: &'a [u8; 32],
    /// A verified release set.
    pub releases: &'a release_set::Authorised,
    /// Seconds since 1970.
    pub now: u64,
}

/// `value` becomes `refusal` when it is `false`, else the check is noted.
fn check(
    holds: bool,
    name: &'static str,
    refusal: Refusal,
    passed: Passed<'_>,
) -> Result<(), Refusal> {
    if !holds {
        return Err(refusal);
    }
    passed(name);
    Ok(())
}
