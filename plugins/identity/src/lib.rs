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
mod ed25519;
mod forwarded;
mod holder;
mod introspection;
mod invites;
pub mod jwt;
pub mod keys;
mod mtls;
mod nonce;
mod svid;
mod workload;

use std::rc::Rc;

use postern_core::api_key::INVITE_PREFIX;
use postern_core::authenticator::Authenticator;
use postern_core::commons::Commons;
use postern_core::config::gate::{Authentication, Config, Introspected, KeySource};
use postern_core::config::{ConfigError, Problems};
use postern_core::gate::ApiKeys;
use postern_core::invites::Invites;
use postern_core::key_service::{Background, Directory, Exchanges};
use postern_core::keyring;
use postern_core::nonces::Nonces;
use postern_jose::{Signatures, Usage};

use capability::Capabilities;
use ed25519::OftenMet;
use introspection::Introspection;
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

/// A variable of the environment by its name.
pub type Variable = dyn Fn(&str) -> Option<String>;

/// What they have of the module that they are in.
pub struct Services {
    /// Where API keys are looked up.
    pub directory: Rc<dyn Directory>,
    /// Where invites are exchanged.
    pub exchanges: Rc<dyn Exchanges>,
    /// Where nonces of signed requests are remembered.
    pub nonces: Rc<dyn Nonces>,
    /// Where workers leave one another the keys of issuers.
    pub commons: Rc<dyn Commons>,
    /// Who verifies the signatures of JWTs and of DPoP proofs.
    pub signatures: Rc<dyn Signatures>,
    /// Variables of its environment.
    pub variable: Rc<Variable>,
}

impl Services {
    /// The same, where keys that are met again are verified by tables.
    fn with_tables(&self) -> Self {
        Self {
            directory: Rc::clone(&self.directory),
            exchanges: Rc::clone(&self.exchanges),
            nonces: Rc::clone(&self.nonces),
            commons: Rc::clone(&self.commons),
            signatures: Rc::new(OftenMet::new(Rc::clone(&self.signatures))),
            variable: Rc::clone(&self.variable),
        }
    }
}

/// Puts together what the configuration lists.
pub fn assemble(config: &Config, services: &Services) -> Result<Callers, ConfigError> {
    // The tables take some 650 KiB: nothing for a gate that verifies no JWT.
    let verifies = |one: &Authentication| match one {
        Authentication::Jwt(_) => true,
        Authentication::Introspected(tokens) => tokens.dpop.is_some(),
        _ => false,
    };
    let tables = config.authenticators.iter().any(verifies).then(|| services.with_tables());
    let services = tables.as_ref().unwrap_or(services);
    let mut problems = Problems::default();
    let mut background: Vec<Rc<dyn Background>> = Vec::new();
    let mut invites: Option<Rc<dyn Invites>> = None;
    let mut one = |(index, one): (usize, &Authentication)| -> Option<Rc<dyn Authenticator>> {
        let path = format!("authenticators[{index}].{}", one.kind().as_str());
        Some(match one {
            Authentication::ApiKey(field) => {
                Rc::new(ApiKeys::new(field.clone(), Rc::clone(&services.directory)))
            }
            Authentication::Jwt(jwt) => {
                let keys =
                    Rc::new(problems.part(&path, usable(&jwt.keys, Usage::Signatures, services))?);
                background.push(Rc::clone(&keys) as _);
                Rc::new(jwt::JwtAuthenticator::new(jwt, &config.tenant, keys, services))
            }
            Authentication::Capability(tokens) => {
                let nonces = Rc::clone(&services.nonces);
                let made = Capabilities::new(tokens, &config.tenant, nonces);
                let made = problems.part(&path, made)?;
                if tokens.invites.is_some() {
                    invites = Some(Rc::new(CapabilityInvites::new(&made, &services.exchanges)));
                }
                Rc::new(made)
            }
            Authentication::JwtSvid(svid) => {
                let mut sets = Vec::new();
                for (index, domain) in svid.domains.iter().enumerate() {
                    let path = format!("{path}.trust_domains[{index}]");
                    sets.push(problems.part(&path, usable(&domain.keys, Usage::Svids, services)));
                }
                let keys: Option<Vec<_>> = sets.into_iter().map(|set| set.map(Rc::new)).collect();
                let keys = keys?;
                background.extend(keys.iter().map(|keys| Rc::clone(keys) as _));
                Rc::new(svid::JwtSvids::new(svid, &config.tenant, keys, services))
            }
            Authentication::Mtls(workloads) => {
                Rc::new(mtls::Mtls::new((**workloads).clone(), &config.tenant))
            }
            Authentication::Introspected(tokens) => {
                let introspection = introspection(config, tokens, services);
                let introspection = problems.part("", introspection)?;
                background.push(introspection.background());
                Rc::new(introspection)
            }
        })
    };
    let list = config.authenticators.iter().enumerate();
    let authenticators: Vec<_> = list.filter_map(&mut one).collect();
    problems.finish(Some(Callers { authenticators, background, invites }))
}

/// Tokens that an endpoint is asked about, and no credential of another kind.
fn introspection(
    config: &Config,
    tokens: &Introspected,
    services: &Services,
) -> Result<Introspection, ConfigError> {
    let name = &tokens.secret_variable;
    let secret = keyring::client_secret(name, (services.variable)(name).as_deref())?;
    let keys = config.authenticators.iter().filter_map(|one| match one {
        Authentication::ApiKey(field) => Some(field.prefixes.clone()),
        _ => None,
    });
    let others = others(keys.flatten());
    let made = Introspection::new(tokens, &config.tenant, others, &secret, services);
    made.ok_or_else(|| {
        ConfigError::one("authenticators", "expected a client that a field can hold")
    })
}

/// How credentials begin that are nobody else's to see: API keys, capability tokens, invites.
fn others(keys: impl IntoIterator<Item = String>) -> Vec<String> {
    let ours = [postern_capability::token::PREFIX, INVITE_PREFIX].map(str::to_owned);
    keys.into_iter().chain(ours).collect()
}

/// The keys of an issuer; inline ones must be of some use.
fn usable(
    source: &KeySource,
    usage: Usage,
    services: &Services,
) -> Result<keys::Keys, ConfigError> {
    let expected = "expected a key set with a key that can be used";
    let keys = keys::Keys::new(source, usage, &services.commons);
    keys.ok_or_else(|| ConfigError::one("jwks.inline", expected))
}

#[cfg(test)]
mod tests {
    use postern_core::commons::Found;
    use postern_core::key_service::{
        CallId, CallResult, Exchanged, KeyEntry, KeyServiceFault, Redemption, Turn,
    };
    use postern_core::nonces::Met;
    use postern_core::time::{Moment, UnixMillis};

    use super::*;

    struct Nothing;

    impl Nonces for Nothing {
        fn meet(&self, _: &[u8; 32], _: UnixMillis) -> Met {
            Met::Unwritten
        }
    }

    impl Commons for Nothing {
        fn find(&self, _: &str) -> Found {
            Found::Nothing
        }

        fn replace(&self, _: &str, _: &[u8], _: u32) -> bool {
            true
        }
    }

    impl Directory for Nothing {
        fn find(&self, _: &postern_core::api_key::KeyId, _: Moment) -> Turn<Option<KeyEntry>> {
            Turn::Failed(KeyServiceFault::Local)
        }

        fn heard(&self, _: CallId, _: CallResult, _: Moment) -> Turn<Option<KeyEntry>> {
            Turn::Failed(KeyServiceFault::Local)
        }

        fn abandon(&self, _: CallId) {}
    }

    impl Exchanges for Nothing {
        fn exchange(&self, _: Redemption, _: Moment) -> Turn<Exchanged> {
            Turn::Failed(KeyServiceFault::Local)
        }

        fn heard(&self, _: CallId, _: CallResult, _: Moment) -> Turn<Exchanged> {
            Turn::Failed(KeyServiceFault::Local)
        }

        fn abandon(&self, _: CallId) {}
    }

    impl Services {
        /// Of a module that has nothing.
        pub fn none() -> Self {
            Self {
                directory: Rc::new(Nothing),
                exchanges: Rc::new(Nothing),
                nonces: Rc::new(Nothing),
                commons: Rc::new(Nothing),
                signatures: Rc::new(postern_jose::Pure),
                variable: Rc::new(|_| None),
            }
        }
    }
}
