//! The domain of Postern: who calls, what they may do, which credential goes where.
//!
//! Owns the two request pipelines ([`gate`] and [`credential`]), the values that
//! prove a check was made ([`identity::Principal`], [`permit::Permit`]) and the audit
//! record. Everything arrives as an [`event::Event`] and leaves as an
//! [`effect::Effect`]: this crate knows no socket, clock, random source, log or
//! hostcall, and every function on the request path is total.
//!
//! Invariant: no injection without a permit; no permit without a principal.
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

pub mod api_key;
pub mod approvals;
pub mod authenticator;
pub mod authority;
pub mod barrier;
pub mod binding;
pub mod bindings;
pub mod budget;
pub mod canary;
pub mod chain;
pub mod commons;
pub mod config;
pub mod credential;
pub mod denial;
pub mod digest;
pub mod effect;
pub mod event;
pub mod fields;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
pub mod gate;
pub mod hex;
pub mod identity;
pub mod inject;
pub mod invites;
pub mod key_service;
pub mod keyring;
pub mod ledger;
pub mod limits;
pub mod mac;
pub mod modules;
pub mod nonces;
pub mod order;
pub mod path;
pub mod permit;
pub mod placeholder;
pub mod policy;
pub mod receipt;
pub mod record;
pub mod redacted;
pub mod residency;
pub mod revocation;
pub mod scopes;
pub mod scrubbing;
pub mod secret;
pub mod slots;
pub mod spiffe;
pub mod stream;
pub mod tally;
pub mod target;
pub mod time;
pub mod upstreams;
pub mod websocket;
