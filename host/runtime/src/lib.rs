//! A gateway that runs the `envoy.yaml` and the Proxy-Wasm modules that Envoy runs, on
//! wasmtime.
//!
//! Owns the modules' machines ([`engine`]) and the seam between them and the proxy
//! ([`view`]).
//!
//! Invariant: a module reaches the proxy through the traits of [`view`] and nothing else,
//! and whatever it does costs at most its own machine.
#![forbid(unsafe_code)]

pub mod engine;
pub mod view;
