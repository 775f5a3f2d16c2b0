//! The credential pipeline: permit in, secret into the request, answer scrubbed.

mod release;

pub use release::{Release, Want};
