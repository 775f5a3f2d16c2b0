//! Streams driven by hand: a fake key service, a scrubber that knows one form, virtual time.

mod answers;
mod guard;
mod minting;
mod orders;
mod refusals;
mod requests;
mod signatures;
mod sites;
mod websockets;
mod world;

pub(super) use world::StarScrubbing;
