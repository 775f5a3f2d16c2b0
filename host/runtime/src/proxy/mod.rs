//! The proxy side: what Envoy does round the modules, without sockets.
//!
//! Owns how a path is read ([`path`]), what happens to fields between wire and filters
//! ([`fields`]), which route a request takes ([`route`]), what a filter may see and change of
//! a stream ([`exchange`]), the order in which filters are asked ([`chain`]), what is said
//! when an upstream fails ([`failure`]) or a filter answers ([`local`]) and in an access log
//! ([`line`](mod@line)), when a stream has waited long enough ([`deadlines`]), the machines
//! behind them ([`launch`], [`machine`], [`filters`]), and the filters that are no modules
//! ([`native`], [`decompress`]).
//! All of it is driven by events and by `now` as an argument: no socket, clock or thread
//! stands here.
//!
//! Invariant: nothing leaves towards an upstream before every filter of the listener and
//! of the cluster has let it pass, and after a filter has answered nothing leaves at all.

pub mod chain;
pub mod deadlines;
pub mod decompress;
pub mod exchange;
pub mod failure;
pub mod fields;
pub mod filters;
pub mod launch;
pub mod line;
pub mod local;
pub mod machine;
pub mod native;
pub mod path;
pub mod route;
