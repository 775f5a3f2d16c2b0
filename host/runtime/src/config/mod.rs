//! The `envoy.yaml` that this gateway understands, as domain types.
//!
//! Owns the reading of Envoy's bootstrap: exactly the constructs of `envoy/envoy.yaml`
//! and of what tests generate from it. Knows no socket and no module.
//!
//! Invariant: a key or value that is not understood is a problem with its path and line,
//! never ignored, and all problems of a file are reported at once. So a file that this
//! reader takes means here what it means in Envoy.

mod action;
mod bootstrap;
mod cluster;
mod condition;
mod decompressor;
mod discovered;
mod duration;
mod edits;
mod http;
mod http2;
mod listener;
mod log;
mod metadata;
mod pattern;
mod plugin;
mod read;
mod route;
mod shown;
#[cfg(test)]
mod tests;
mod tls;

pub use action::{Action, Body, Forward, PathRewrite, Redirect, Reply};
pub use bootstrap::{Gateway, StatsTag};
pub use cluster::{Breaker, Cluster, Discovery, Family, Hosts};
pub use condition::{
    Condition, FieldMatch, PathMatch, QueryMatch, QueryTest, Test, TextKind, TextMatch,
};
pub use decompressor::{Coding, Decompressor, DirectionConfig, Library};
pub use discovered::{Discovered, parse as discovered};
pub use edits::{AppendAction, Edits, FieldAdd, FieldEdits};
pub use http::{Codec, EscapedSlashes, Http, HttpLimits, Timers};
pub use http2::Http2;
pub use listener::{Address, Listener};
pub use log::{AccessLogger, Output, Value};
pub use metadata::Metadata;
pub use pattern::Pattern;
pub use plugin::{Backoff, FailurePolicy, Filter, FilterKind, Plugin};
pub use read::{Problem, Problems};
pub use route::{Route, RouteTable, VirtualHost};
pub use tls::{ClientTls, HTTP1, HTTP2, ServerTls, Version};
