//! Configuration of the credential module.
//!
//! Invariant: every binding leads to an upstream in the table and is of this gateway's
//! tenant, so a typo is refused at start and not at the first request.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use super::key_service::{self, AllowSimulated, KeyService};
use super::{ConfigError, Problems, tenant, units};
use crate::binding::{self, Binding};
use crate::bindings::Bindings;
use crate::modules;
use crate::residency::{self, Residency};
use crate::upstreams::{self, Upstreams};

/// The document as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wire {
    /// Tenant that the gateway serves. Required.
    pub tenant: Option<String>,
    /// What this filter does. Default `inject`, the only role so far.
    pub role: Option<String>,
    /// The key service, which releases values. Required.
    pub key_service: Option<key_service::Wire>,
    /// Where each credential may go; the same as in the gate's document.
    #[serde(default)]
    pub bindings: Vec<binding::Wire>,
    /// Which authority each cluster leads to; the same as in the gate's document.
    #[serde(default)]
    pub upstreams: BTreeMap<String, upstreams::Wire>,
    /// Released values that may be kept.
    #[serde(default)]
    pub cache: CacheWire,
    /// Scrubbing of answers. Every form is always looked for.
    #[serde(default)]
    pub scrub: ScrubWire,
    /// Regions that requests may leave for; the same as in the gate's document. Default: none,
    /// and every region is allowed.
    pub residency: Option<residency::Wire>,
    /// SHA-256 of each module file of this gateway, in hexadecimal: `gate`, `credential` and
    /// `audit`, or `gateway` for Spin's component. The key service is told, and releases only to
    /// what an operator has authorised. Default: none, and nothing is told.
    #[serde(default)]
    pub modules: BTreeMap<String, String>,
    /// Accept simulated evidence under this key.
    pub danger_allow_simulated: Option<AllowSimulated>,
}

/// `cache` as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CacheWire {
    /// Longest life of a kept value. Default `60s`, `0s` to `300s`; while there is no
    /// live revocation head, no value is used longer than 3 s after it came.
    pub ttl: Option<String>,
    /// Most values kept. Default 256, 0 to 256.
    pub entries: Option<u16>,
}

/// `scrub` as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScrubWire {
    /// Let requests ask for parts of a representation (`Range`) and let such answers
    /// (206, `multipart/byteranges`) pass. Default false. Each part is scrubbed alone, so
    /// a caller can read a secret in parts that are too short to be known.
    #[serde(default)]
    pub danger_allow_partial: bool,
    /// Let requests hold values that this worker has injected. Default false: such a
    /// request is refused, and content that streams is cut.
    #[serde(default)]
    pub danger_allow_secrets: bool,
}

/// The credential module's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Tenant that the gateway serves.
    pub tenant: String,
    /// The key service, which releases values.
    pub key_service: KeyService,
    /// Where each credential may go.
    pub bindings: Bindings,
    /// Which authority each cluster leads to.
    pub upstreams: Upstreams,
    /// Regions that requests may leave for.
    pub residency: Option<Residency>,
    /// Longest life of a kept value.
    pub cache_ttl: Duration,
    /// Most values kept.
    pub cache_entries: usize,
    /// Names the modules of this gateway to the key service.
    pub modules: Option<[u8; 32]>,
    /// Parts of a representation may pass.
    pub allow_partial: bool,
    /// Requests may hold values that this worker has injected.
    pub allow_secrets: bool,
}

const MOST_ENTRIES: u16 = 256;
const LONGEST_TTL: Duration = Duration::from_secs(300);

impl Config {
    /// Reads the document.
    pub fn parse(json: &[u8]) -> Result<Self, ConfigError> {
        super::read::<Wire, Self>(json)
    }
}

impl TryFrom<Wire> for Config {
    type Error = ConfigError;

    fn try_from(wire: Wire) -> Result<Self, ConfigError> {
        let mut problems = Problems::default();
        let tenant = tenant(wire.tenant, &mut problems);
        problems.scalar("role", role(wire.role.as_deref()));
        let key_service =
            key_service::read(wire.key_service, wire.danger_allow_simulated, &mut problems);
        let bindings = problems.list("bindings", wire.bindings, |wire| {
            let binding = Binding::try_from(wire)?;
            let expected = || ConfigError::one("minted", "expected credential; mints makes these");
            (!binding.is_family()).then_some(binding).ok_or_else(expected)
        });
        let bindings = binding::with_minted(bindings, &mut problems);
        let upstreams = problems.part("upstreams", Upstreams::try_from(wire.upstreams));
        if let (Some(tenant), Some(upstreams)) = (&tenant, &upstreams) {
            check(&bindings, tenant, upstreams, &mut problems);
        }
        let residency =
            wire.residency.and_then(|wire| problems.part("residency", Residency::try_from(wire)));
        let cache_ttl = problems.scalar("cache.ttl", ttl(wire.cache.ttl.as_deref()));
        let cache_entries = problems.scalar("cache.entries", entries(wire.cache.entries));
        let modules = problems.part("modules", modules::read(&wire.modules));
        let read = (|| {
            Some(Self {
                tenant: tenant?,
                key_service: key_service?,
                bindings: Bindings::new(bindings),
                upstreams: upstreams?,
                residency,
                cache_ttl: cache_ttl?,
                cache_entries: cache_entries?,
                modules: modules?,
                allow_partial: wire.scrub.danger_allow_partial,
                allow_secrets: wire.scrub.danger_allow_secrets,
            })
        })();
        problems.finish(read)
    }
}

fn role(role: Option<&str>) -> Result<(), &'static str> {
    match role {
        None | Some("inject") => Ok(()),
        Some("guard") => Err("guard is not supported yet, expected inject"),
        Some(_) => Err("expected inject"),
    }
}

/// A list with problems has lost elements, so an index names a binding by what it says.
fn check(bindings: &[Binding], tenant: &str, upstreams: &Upstreams, problems: &mut Problems) {
    for binding in bindings {
        let path = format!("bindings ({})", binding.credential().as_str());
        if binding.tenant() != tenant {
            problems.note(format!("{path}.tenant"), "expected this gateway's tenant");
        }
        if !upstreams.has_authority(binding.authority()) {
            problems.note(format!("{path}.authority"), "expected an authority of upstreams");
        }
    }
}

fn ttl(text: Option<&str>) -> Result<Duration, &'static str> {
    let ttl = units::duration(text.unwrap_or("60s"))?;
    if ttl <= LONGEST_TTL { Ok(ttl) } else { Err("expected 0s to 300s") }
}

fn entries(number: Option<u16>) -> Result<usize, &'static str> {
    let number = number.unwrap_or(MOST_ENTRIES);
    if number <= MOST_ENTRIES { Ok(number.into()) } else { Err("expected 0 to 256") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = r#""tenant": "acme",
        "key_service": {"cluster": "keys", "authority": "keys.internal",
                        "gateway_id": "000102030405060708090a0b0c0d0e0f"},
        "danger_allow_simulated": {"key": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"}"#;
    const BINDING: &str = r#""credential": "slack", "methods": ["GET"], "paths": ["/api/**"],
        "site": {"style": "bearer"}"#;

    fn paths(more: &str) -> Vec<String> {
        let error = Config::parse(format!("{{{HEAD}{more}}}").as_bytes()).unwrap_err();
        error.problems.into_iter().map(|problem| problem.path).collect()
    }

    #[test]
    fn a_complete_document_is_read() {
        let document = format!(
            r#"{{{HEAD}, "role": "inject", "scrub": {{"danger_allow_partial": true}}, "cache": {{"ttl": "3s", "entries": 8}},
            "bindings": [{{{BINDING}, "tenant": "acme", "authority": "slack.com"}}],
            "upstreams": {{"slack": {{"authority": "slack.com"}}}}}}"#
        );
        let config = Config::parse(document.as_bytes()).unwrap();
        assert_eq!((config.cache_ttl, config.cache_entries), (Duration::from_secs(3), 8));
        assert_eq!(config.bindings[0].credential().as_str(), "slack");
        assert!(config.upstreams.find(b"slack").is_some());
        assert!(config.allow_partial);
    }

    #[test]
    fn defaults_are_those_of_the_documentation() {
        let config = Config::parse(format!("{{{HEAD}}}").as_bytes()).unwrap();
        assert_eq!((config.cache_ttl, config.cache_entries), (Duration::from_secs(60), 256));
        assert!(!config.allow_partial);
    }

    #[test]
    fn the_guard_role_is_refused_until_it_exists() {
        assert_eq!(paths(r#", "role": "guard""#), ["role"]);
    }

    #[test]
    fn a_binding_must_lead_to_an_upstream_and_be_of_the_tenant() {
        let more = format!(
            r#", "bindings": [{{{BINDING}, "tenant": "other", "authority": "evil.com"}}],
            "upstreams": {{"slack": {{"authority": "slack.com"}}}}"#
        );
        assert_eq!(paths(&more), ["bindings (slack).tenant", "bindings (slack).authority"]);
    }

    #[test]
    fn values_outside_their_limits_are_refused() {
        let more = r#", "cache": {"ttl": "301s", "entries": 257}, "scrub": {"off": true},
            "modules": {"gate": "00"}"#;
        let mut paths = paths(more);
        paths.sort();
        assert_eq!(paths, ["cache.entries", "cache.ttl", "modules.gate", "scrub.off"]);
    }
}
