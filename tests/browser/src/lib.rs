//! The pages of the key service in a real Chromium, with its virtual authenticator.
//!
//! Owns a small WebDriver client and a key service on a free port. Written here, and not taken
//! from `fantoccini` or `thirtyfour`: neither knows the commands for authenticators that
//! WebAuthn adds to WebDriver, both bring a second HTTP client, and what is needed is a dozen
//! calls that wait for nothing but their answers.
//!
//! Invariant: nothing sleeps. Looking for an element waits in the browser until it is there,
//! five seconds at most.
#![forbid(unsafe_code)]

mod axe;
mod driver;
mod world;

pub use axe::violations;
pub use driver::{Authenticator, Browser, Element};
pub use world::{Reply, World, pictures, root};
