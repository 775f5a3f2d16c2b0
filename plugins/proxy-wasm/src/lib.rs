//! The Proxy-Wasm side of Postern that all three modules share, and the access logger.
//!
//! Owns the ABI ([`abi`], the project's only `unsafe` file), the wire form of header maps
//! ([`pairs`]), how much content the host keeps back ([`held`]), the host's clock,
//! randomness, environment, counters and shared data ([`host`]), how a stream of the core
//! runs on a host ([`run`], [`perform`], [`receipts`]), the proxy's own verification of signatures
//! ([`signature`]), the revocation feed ([`watch`]), and the adapter of the audit module
//! ([`logger`]). `postern-proxy-wasm-filter` adds what needs the SDK.
//!
//! Invariant: no hostcall's failure is lost: it is a value that the caller turns into a
//! denial, and nothing here panics.
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

pub mod abi;
mod document;
pub mod held;
pub mod host;
pub mod logger;
pub mod module;
pub mod pairs;
pub mod perform;
pub mod receipts;
pub mod run;
pub mod signature;
pub mod watch;
