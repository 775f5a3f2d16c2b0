//! Streams driven by hand: a fake key service, a scrubber that knows one form, virtual time.

mod answers;
mod orders;
mod refusals;
mod requests;
mod sites;
mod websockets;
mod world;
