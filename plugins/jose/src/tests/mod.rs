//! Tests of whole tokens and of every algorithm, in Rust and by a native library.

mod fixture;
mod native;
mod rfc;
mod rules;
mod sets;
mod shapes;
mod wycheproof;
