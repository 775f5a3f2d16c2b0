//! A gateway that runs the `envoy.yaml` and the Proxy-Wasm modules that Envoy runs, on
//! wasmtime.
//!
//! Owns the reading of the file ([`config`]), the modules' machines ([`engine`]), the order
//! in which streams pass them ([`proxy`]), the seam between the two ([`view`]), HTTP/1.1 on
//! the wire ([`http1`]), the threads and sockets that join it all ([`serve`]), and the same
//! without them, in virtual time, for tests of plugins ([`lab`]).
//!
//! Invariant: a module reaches the proxy through the traits of [`view`] and nothing else,
//! and whatever it does costs at most its own machine.
#![forbid(unsafe_code)]

pub mod config;
pub mod engine;
pub mod http1;
pub mod lab;
pub mod proxy;
pub mod record;
pub mod replay;
pub mod serve;
pub mod view;
