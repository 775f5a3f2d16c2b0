//! What a working folder starts with: the texts that `postern init` writes.
//!
//! Knows no file system and no key service. Invariant: `envoy.yaml` is the shipped file with
//! values put in, so that what was tested is what is written, comments included.

mod bootstrap;
mod upstream;

#[cfg(test)]
pub use bootstrap::SHIPPED;
pub use bootstrap::{Values, envoy_yaml};
pub use upstream::Upstream;

/// `keys.yaml`, with every key and its default.
pub const KEYS_YAML: &str = include_str!("../../../keys/keys.example.yaml");
/// The policy that is in force: writes wait for a person.
pub const POLICY: &str = include_str!("policy.rego");
const README: &str = include_str!("README.txt");

/// `README.txt`: the next commands, with the first upstream as the example.
pub fn readme(tenant: &str, first: &Upstream) -> String {
    README
        .replace("{tenant}", tenant)
        .replace("{name}", &first.name)
        .replace("{authority}", &first.authority.to_string())
}
