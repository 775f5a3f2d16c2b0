//! Tests of whole tokens: vectors for other implementations, properties, the cache.

mod cache;
mod fixture;
mod good;
mod hostile;
mod proofs;
mod properties;
mod raw;
mod vectors;
