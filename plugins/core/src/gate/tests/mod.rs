//! The gate in virtual time, with a directory and a detector of the tests' own.

mod approvals;
mod authenticators;
mod barrier;
mod budgets;
mod canary;
mod fixture;
mod flow;
mod forward;
mod identity;
mod invites;
mod order;
mod policy;
mod refusals;
mod residency;
mod revocation;
mod signatures;
mod sites;
mod websockets;
