//! The credential pipeline: permit in, secret into the request, answer scrubbed.
//!
//! Owns the states of one request and its answer on the way to a credentialed upstream.
//! It decides nothing about callers: it opens the gate's permit, checks that what leaves
//! fits the binding, asks for the value, injects it and scrubs the answer. Of a token
//! endpoint's answer it takes the declared values into the key service's keeping first.
//!
//! Invariant: the request leaves with the caller's bytes only (a permit without
//! credentials), or with an injection made from a permit, or not at all; after an
//! injection nothing of the answer passes unscrubbed.

pub(crate) mod answer;
mod canary;
mod check;
mod content;
mod former;
mod forwarded;
mod guard;
mod minting;
mod release;
mod request;
mod run;
mod scrubbing;
mod session;
mod stream;
mod tokens;
mod tunnel;

use std::cell::RefCell;
use std::rc::Rc;

use crate::config::credential::Config;
use crate::key_service::{Releases, Vault};
use crate::permit::PermitKeys;
use crate::scrubbing::Scrubbing;

pub use release::{Release, Want};
pub use stream::Stream;

/// Compiled configuration, shared by all streams.
pub struct Pipeline {
    config: Config,
    keys: PermitKeys,
    releases: Rc<dyn Releases>,
    vault: Rc<dyn Vault>,
    scrubbing: Rc<dyn Scrubbing>,
    former: RefCell<former::Former>,
    sessions: RefCell<session::Sessions>,
}

impl Pipeline {
    /// Puts the parts together.
    pub fn new(
        config: Config,
        keys: PermitKeys,
        releases: Rc<dyn Releases>,
        vault: Rc<dyn Vault>,
        scrubbing: Rc<dyn Scrubbing>,
    ) -> Rc<Self> {
        Rc::new(Self {
            config,
            keys,
            releases,
            vault,
            scrubbing,
            former: RefCell::default(),
            sessions: RefCell::default(),
        })
    }

    /// One request and its answer.
    pub fn stream(self: &Rc<Self>) -> Stream {
        Stream::new(Rc::clone(self))
    }
}

#[cfg(test)]
pub(crate) mod tests;
