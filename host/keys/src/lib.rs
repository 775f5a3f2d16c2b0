//! The attested key service: credentials, the API-key directory and the audit chain.
//!
//! Owns the database, the envelope encryption of what is in it, the answering side of
//! CRP/1 and the interface for operators. [`Service`] is the whole logic; [`http`] is a
//! thin shell round it. Every function takes `now`, so that tests run in virtual time.
//!
//! Invariant: a credential value arrives sealed (CRP type 4), is stored encrypted, and
//! leaves sealed to one gateway's request (CRP type 1), after the event that says so was
//! written. No other function gives one out.
#![forbid(unsafe_code)]

// Tests here share the PostgreSQL server of the tests beside, which name the crate.
#[cfg(test)]
extern crate self as postern_keys;

pub mod admin;
pub mod approvals;
pub mod audit;
pub mod backup;
#[cfg(feature = "bench")]
pub mod bench;
mod checkpoints;
pub mod config;
mod crp;
pub mod envelope;
mod epoch;
pub mod evidence;
pub mod fault;
mod feed;
mod files;
pub mod http;
pub mod join;
pub mod memory;
mod notify;
pub mod operator_auth;
mod outgoing;
mod pages;
pub mod people;
mod random;
mod releases;
pub mod renewal;
pub mod rotation;
mod service;
pub mod store;
pub mod tls;
mod tokens;
pub mod transparency;
mod vaults;
mod witnesses;
mod writer;

pub use config::{Config, ConfigError};
pub use fault::Fault;
pub use service::{HttpAnswer, Service};
