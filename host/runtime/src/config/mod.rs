//! The `envoy.yaml` that this gateway understands, as domain types.
//!
//! Owns the reading of Envoy's bootstrap: exactly the constructs of `envoy/envoy.yaml`
//! and of what tests generate from it. Knows no socket and no module.
//!
//! Invariant: a key or value that is not understood is a problem with its path and line,
//! never ignored, and all problems of a file are reported at once. So a file that this
//! reader takes means here what it means in Envoy.

mod bootstrap;
mod cluster;
mod duration;
mod http;
mod http2;
mod listener;
mod log;
mod plugin;
mod read;
mod route;
#[cfg(test)]
mod tests;
mod tls;

pub use bootstrap::{Gateway, StatsTag};
pub use cluster::{Breaker, Cluster, Endpoint};
pub use http::{Codec, EscapedSlashes, Http, HttpLimits, Timers};
pub use http2::Http2;
pub use listener::{Address, Listener};
pub use log::{AccessLogger, Output, Value};
pub use plugin::{Backoff, FailurePolicy, Filter, Plugin};
pub use read::{Problem, Problems};
pub use route::{FieldMatch, Route, RouteTable, Test, VirtualHost};
pub use tls::{ClientTls, HTTP1, HTTP2, ServerTls, Version};
