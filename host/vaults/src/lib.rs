//! Values of credentials that are kept in somebody else's vault.
//!
//! [`Backend`] is what such a vault is to us: asked for one field of one secret, it gives its
//! value and version, or says why not by the error map ([`Refused`]). [`Kv2`] is HashiCorp
//! Vault's KV secrets engine, version 2, and [`SecretsManager`] is that of AWS. Requests are made
//! and answers are read by functions without a socket or a clock ([`call`]).
//!
//! Never run against Vault or AWS: tests speak to a local server of Vault's documented REST
//! shapes, and to moto.
//!
//! Invariant: a value, a token and a secret id are in `Secret` or in a buffer that is wiped,
//! and no error has one of them or the text of an answer in it.
#![forbid(unsafe_code)]

mod aws;
mod backend;
mod http;
mod item;
mod kv2;
mod place;
mod refused;
mod server;

pub use aws::sigv4::Keys;
pub use aws::{AwsSettings, KeySource, SecretsManager};
pub use backend::{Backend, Reading, Value, Version};
pub use kv2::call;
pub use kv2::{Kv2, Login, Settings, Source};
pub use place::{BadPlace, Path, Place};
pub use refused::Refused;
pub use server::{BadUrl, ServerUrl};
