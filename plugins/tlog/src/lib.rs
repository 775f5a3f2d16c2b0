//! Transparency logs, as bytes and texts: what a log of releases publishes and what it takes
//! to believe it. `SPEC.md` is the specification, `vectors` holds examples.
//!
//! Owns trees (RFC 6962) and the forms of C2SP: signed notes, checkpoints, tiles, proofs,
//! cosignatures and the questions to a witness. Knows no file, no socket and no clock.
//!
//! Invariant: nothing is believed because a text says so: keys, origin, quorum and the time
//! are arguments. A text that is not in its one form is none.
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

pub mod checkpoint;
pub mod cosignature;
pub mod merkle;
pub mod note;
pub mod package;
pub mod policy;
pub mod proof;
pub mod release;
pub mod tiles;
pub mod witness;

#[cfg(test)]
mod vectors;

use base64::Engine;
use base64::prelude::BASE64_STANDARD as B64;

use merkle::Hash;

/// Most hashes of a proof: one for each bit of a size.
const HASHES: usize = 63;

/// A number in its one decimal form.
fn decimal(text: &str) -> Option<u64> {
    text.parse().ok().filter(|number: &u64| number.to_string() == text)
}

/// A line of base64 for each hash.
fn lines(hashes: &[Hash]) -> String {
    hashes.iter().map(|hash| B64.encode(hash) + "\n").collect()
}

/// The hashes of such lines.
fn hashes<'a>(lines: impl Iterator<Item = &'a str>) -> Option<Vec<Hash>> {
    let hashes: Option<Vec<Hash>> =
        lines.map(|line| B64.decode(line).ok()?.try_into().ok()).collect();
    hashes.filter(|hashes| hashes.len() <= HASHES)
}
