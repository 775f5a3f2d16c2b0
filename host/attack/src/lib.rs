//! Attacks a gateway: hostile caller and hostile upstream in one program.
//!
//! Owns the cases (`tests/conformance/attacks`), how they are sent and answered, and the
//! verdict. Knows a gateway only from outside: a profile says how it is used, sockets do the
//! rest. It must not share code with what it tests, least of all with the scrubber: forms of a
//! secret are made in `forms` and looked for in `seek`, and nowhere else.
//!
//! Invariant: a case passes only when it was sent, its answer was read to the end, and what
//! the upstream got by the end of the run is what it wants. What cannot be sent because the
//! profile lacks something is `not applicable`, with the reason, and never passed.
#![forbid(unsafe_code)]

pub mod caller;
pub mod case;
mod engine;
mod forms;
mod judge;
pub mod library;
pub mod profile;
mod report;
mod seek;
mod template;
mod upstream;

pub use engine::{Engine, Error, Options};
pub use judge::{Outcome, Verdict, is_proxy_made};
pub use profile::Profile;
pub use report::{Run, Score};
