//! What a component for Spin needs beside WASI: no import of WASI is in here, so that all
//! of it is tested on the machine that builds it.
//!
//! Owns where requests may go ([`hosts`]), the memory of one instance ([`memory`]), what tells
//! requests that wait ([`bell`]) and what the adapter holds of a message while a filter has
//! it ([`side`]). `postern-spin-component` adds WASI, `postern-spin-gateway` the wiring.
//!
//! Invariant: what leaves goes to an authority of the configuration; nothing of a request
//! can name another.
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

pub mod bell;
pub mod hosts;
pub mod memory;
pub mod side;
