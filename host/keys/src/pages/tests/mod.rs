//! The pages without a browser: an authenticator in software, forms by hand, time as it likes.
//!
//! What a real browser does is in `tests/browser`; here is what none would send.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod authenticator;
mod ceremonies;
pub(crate) mod deciding;
mod forms;
mod log;
#[path = "../../../tests/support/postgres.rs"]
mod postgres;
pub(crate) mod world;
