//! What may not pass: placeholders on the way in, secrets on the way out.
//!
//! Owns the placeholder detector ([`MarkerDetector`]), the table of forms in which a
//! secret is looked for ([`forms`]), the readings of content in which they are, the
//! decoders of content codings and the streaming scrubber ([`PatternScrubbing`]). Knows
//! nothing of hosts, fields or policies.
//!
//! Invariant: what is found never depends on how the bytes were cut into chunks, and
//! the work done is linear in the bytes given.
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

pub mod automaton;
mod coding;
pub mod detect;
pub mod forms;
pub mod fuzz;
pub mod scrubbing;
mod sift;
mod views;
pub mod window;

pub use detect::MarkerDetector;
pub use scrubbing::PatternScrubbing;
