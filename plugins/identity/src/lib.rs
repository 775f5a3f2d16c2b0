//! Everybody who can say who is calling, in the order of the gate's `authenticators`.
//!
//! Owns how a configured kind becomes an [`Authenticator`]: one file for each kind that the
//! core has not itself. The gate's module and the tests' core boundary call [`assemble`].
//!
//! Invariant: the order is the document's; what a kind cannot use is a `ConfigError` and
//! never an authenticator that does less.
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

use std::rc::Rc;

use postern_core::authenticator::Authenticator;
use postern_core::config::ConfigError;
use postern_core::config::gate::{Authentication, Config};
use postern_core::gate::ApiKeys;
use postern_core::key_service::Directory;

/// The authenticators of a gate.
pub struct Callers {
    /// In the order of the configuration.
    pub authenticators: Vec<Rc<dyn Authenticator>>,
}

/// Puts together what the configuration lists; API keys are looked up in `directory`.
pub fn assemble(config: &Config, directory: &Rc<dyn Directory>) -> Result<Callers, ConfigError> {
    let mut authenticators: Vec<Rc<dyn Authenticator>> = Vec::new();
    for one in &config.authenticators {
        authenticators.push(match one {
            Authentication::ApiKey(field) => {
                Rc::new(ApiKeys::new(field.clone(), Rc::clone(directory)))
            }
        });
    }
    Ok(Callers { authenticators })
}
