//! The gate in virtual time, with a directory and a detector of the tests' own.

mod authenticators;
mod fixture;
mod flow;
mod forward;
mod identity;
mod order;
mod refusals;
mod signatures;
mod sites;
mod websockets;
