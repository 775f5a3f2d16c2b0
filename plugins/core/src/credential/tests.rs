//! Streams driven by hand: a fake key service, a scrubber that knows one form, virtual time.

mod answers;
mod canary;
mod guard;
mod minting;
mod orders;
mod refusals;
mod requests;
mod signatures;
mod sites;
mod websockets;
mod world;

pub(crate) use world::StarScrubbing;
