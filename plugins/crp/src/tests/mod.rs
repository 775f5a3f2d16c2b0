//! Tests of both sides together: every refusal, the published vectors, and the parties
//! they are played with.

mod attestation;
pub(crate) mod fixture;
mod heads;
mod refusals;
mod vectors;
