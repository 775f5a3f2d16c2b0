//! `spin-gateway.wasm`: gate, credential and audit in one component, for the interfaces of Spin.
//!
//! Owns only the wiring ([`wiring`]): documents and keys to pipelines.
#![forbid(unsafe_code)]
#![allow(missing_docs, reason = "the macro of the bindings exports functions without")]
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod wiring;

use wiring::configure;

postern_spin_component::component!(configure);
