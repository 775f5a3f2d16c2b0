//! The functions of module `env`, by what they touch.
//!
//! Every one takes the guest and checked-later spans and answers with a value or a
//! [`Status`](crate::view::Status); [`super::link`] gives them their names.

pub(super) mod calls;
pub(super) mod content;
pub(super) mod foreign;
pub(super) mod grpc;
pub(super) mod maps;
pub(super) mod metrics;
pub(super) mod properties;
pub(super) mod queues;
pub(super) mod service;
pub(super) mod stream;
