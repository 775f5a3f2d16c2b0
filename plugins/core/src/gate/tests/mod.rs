//! The gate in virtual time, with a directory and a detector of the tests' own.

mod authenticators;
mod canary;
mod fixture;
mod flow;
mod forward;
mod identity;
mod invites;
mod order;
mod policy;
mod refusals;
mod revocation;
mod signatures;
mod sites;
mod websockets;
