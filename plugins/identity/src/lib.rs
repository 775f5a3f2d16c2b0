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
use postern_core::config::gate::{Authentication, Config};
use postern_core::config::{ConfigError, Problems};
use postern_core::gate::ApiKeys;
use postern_core::key_service::Directory;
use postern_core::nonces::Nonces;

mod capability;

use capability::Capabilities;

/// The authenticators of a gate.
pub struct Callers {
    /// In the order of the configuration.
    pub authenticators: Vec<Rc<dyn Authenticator>>,
}

/// Puts together what the configuration lists; API keys are looked up in `directory`.
/// Nonces of signed requests are remembered in `nonces`.
pub fn assemble(
    config: &Config,
    directory: &Rc<dyn Directory>,
    nonces: &Rc<dyn Nonces>,
) -> Result<Callers, ConfigError> {
    let mut problems = Problems::default();
    let one = |(index, one): (usize, &Authentication)| -> Option<Rc<dyn Authenticator>> {
        Some(match one {
            Authentication::ApiKey(field) => {
                Rc::new(ApiKeys::new(field.clone(), Rc::clone(directory)))
            }
            Authentication::Capability(tokens) => {
                let made = Capabilities::new(tokens, &config.tenant, Rc::clone(nonces));
                let path = format!("authenticators[{index}].capability");
                Rc::new(problems.part(&path, made)?)
            }
        })
    };
    let authenticators: Vec<_> = config.authenticators.iter().enumerate().filter_map(one).collect();
    problems.finish(Some(Callers { authenticators }))
}
