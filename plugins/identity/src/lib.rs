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

pub mod cache;
pub mod claims;
pub mod jwt;
pub mod keys;

use std::rc::Rc;

use postern_core::authenticator::Authenticator;
use postern_core::config::ConfigError;
use postern_core::config::gate::{Authentication, Config};
use postern_core::gate::ApiKeys;
use postern_core::key_service::{Background, Directory};

/// The authenticators of a gate.
pub struct Callers {
    /// In the order of the configuration.
    pub authenticators: Vec<Rc<dyn Authenticator>>,
    /// What they fetch without a request.
    pub background: Vec<Rc<dyn Background>>,
}

/// Puts together what the configuration lists; API keys are looked up in `directory`.
pub fn assemble(config: &Config, directory: &Rc<dyn Directory>) -> Result<Callers, ConfigError> {
    let mut authenticators: Vec<Rc<dyn Authenticator>> = Vec::new();
    let mut background: Vec<Rc<dyn Background>> = Vec::new();
    for (index, one) in config.authenticators.iter().enumerate() {
        authenticators.push(match one {
            Authentication::ApiKey(field) => {
                Rc::new(ApiKeys::new(field.clone(), Rc::clone(directory)))
            }
            Authentication::Jwt(jwt) => {
                let unusable = || {
                    let path = format!("authenticators[{index}].jwt.jwks.inline");
                    ConfigError::one(path, "expected a key set with a key that can be used")
                };
                let keys = Rc::new(keys::Keys::new(&jwt.keys).ok_or_else(unusable)?);
                background.push(Rc::clone(&keys) as _);
                Rc::new(jwt::JwtAuthenticator(jwt::Jwts::new(jwt, &config.tenant, keys)))
            }
        });
    }
    Ok(Callers { authenticators, background })
}
