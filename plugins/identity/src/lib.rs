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
mod capability;
pub mod certificate;
pub mod claims;
mod confirmation;
mod dpop;
mod forwarded;
mod invites;
pub mod jwt;
pub mod keys;
mod mtls;
mod nonce;
mod svid;
mod workload;

use std::rc::Rc;

use postern_core::authenticator::Authenticator;
use postern_core::config::gate::{Authentication, Config, KeySource};
use postern_core::config::{ConfigError, Problems};
use postern_core::gate::ApiKeys;
use postern_core::invites::Invites;
use postern_core::key_service::{Background, Directory, Exchanges};
use postern_core::nonces::Nonces;
use postern_jose::Usage;

use capability::Capabilities;
use invites::CapabilityInvites;

/// The authenticators of a gate.
pub struct Callers {
    /// In the order of the configuration.
    pub authenticators: Vec<Rc<dyn Authenticator>>,
    /// What they fetch without a request.
    pub background: Vec<Rc<dyn Background>>,
    /// Who exchanges invites, where the configuration names an endpoint for it.
    pub invites: Option<Rc<dyn Invites>>,
}

/// Puts together what the configuration lists; `service` is asked about API keys and invites.
/// Nonces of signed requests are remembered in `nonces`.
pub fn assemble<S: Directory + Exchanges + 'static>(
    config: &Config,
    service: &Rc<S>,
    nonces: &Rc<dyn Nonces>,
) -> Result<Callers, ConfigError> {
    let mut problems = Problems::default();
    let directory: Rc<dyn Directory> = Rc::clone(service) as _;
    let exchanges: Rc<dyn Exchanges> = Rc::clone(service) as _;
    let mut background: Vec<Rc<dyn Background>> = Vec::new();
    let mut invites: Option<Rc<dyn Invites>> = None;
    let mut one = |(index, one): (usize, &Authentication)| -> Option<Rc<dyn Authenticator>> {
        let path = format!("authenticators[{index}].{}", one.kind().as_str());
        Some(match one {
            Authentication::ApiKey(field) => {
                Rc::new(ApiKeys::new(field.clone(), Rc::clone(&directory)))
            }
            Authentication::Jwt(jwt) => {
                let keys = Rc::new(problems.part(&path, usable(&jwt.keys, Usage::Signatures))?);
                background.push(Rc::clone(&keys) as _);
                let nonces = Rc::clone(nonces);
                Rc::new(jwt::JwtAuthenticator::new(jwt, &config.tenant, keys, nonces))
            }
            Authentication::Capability(tokens) => {
                let made = Capabilities::new(tokens, &config.tenant, Rc::clone(nonces));
                let made = problems.part(&path, made)?;
                if tokens.invites.is_some() {
                    invites = Some(Rc::new(CapabilityInvites::new(&made, &exchanges)));
                }
                Rc::new(made)
            }
            Authentication::JwtSvid(svid) => {
                let mut sets = Vec::new();
                for (index, domain) in svid.domains.iter().enumerate() {
                    let path = format!("{path}.trust_domains[{index}]");
                    sets.push(problems.part(&path, usable(&domain.keys, Usage::Svids)));
                }
                let keys: Option<Vec<_>> = sets.into_iter().map(|set| set.map(Rc::new)).collect();
                let keys = keys?;
                background.extend(keys.iter().map(|keys| Rc::clone(keys) as _));
                Rc::new(svid::JwtSvids::new(svid, &config.tenant, keys))
            }
            Authentication::Mtls(workloads) => {
                Rc::new(mtls::Mtls::new((**workloads).clone(), &config.tenant))
            }
        })
    };
    let list = config.authenticators.iter().enumerate();
    let authenticators: Vec<_> = list.filter_map(&mut one).collect();
    problems.finish(Some(Callers { authenticators, background, invites }))
}

/// The keys of an issuer; inline ones must be of some use.
fn usable(source: &KeySource, usage: Usage) -> Result<keys::Keys, ConfigError> {
    let expected = "expected a key set with a key that can be used";
    keys::Keys::new(source, usage).ok_or_else(|| ConfigError::one("jwks.inline", expected))
}
