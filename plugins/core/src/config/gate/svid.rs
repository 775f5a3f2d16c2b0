//! `authenticators[].jwt_svid`: workloads that present a SPIFFE JWT-SVID.

use std::time::Duration;

use serde::Deserialize;

use super::authenticators::header;
use super::jwt::{cache, leeway};
use super::tokens::{self, KeySetWire, KeySource, span};
use super::workloads::{self, WorkloadWire, Workloads};
use crate::config::{ConfigError, Problems};
use crate::spiffe;

/// `jwt_svid` as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JwtSvidWire {
    /// Field that holds the token. Default `Authorization`, where the Bearer scheme is
    /// expected; any other field holds the bare token.
    pub header: Option<String>,
    /// Audiences, one of which the token has to be for. Required, at least one.
    #[serde(default)]
    pub audience: Vec<String>,
    /// Trust domains whose SVIDs are accepted. Required, 1 to 64.
    #[serde(default)]
    pub trust_domains: Vec<TrustDomainWire>,
    /// Who is behind a SPIFFE ID, as in `mtls`. Required, 1 to 1024.
    #[serde(default)]
    pub agents: Vec<WorkloadWire>,
    /// How far clocks may be apart. Default `30s`, limit `60s`.
    pub leeway: Option<String>,
    /// Longest life of a token, from `iat` (or now) to `exp`. Default `1h`, limit `24h`.
    pub max_life: Option<String>,
    /// Most verified tokens of a trust domain that each worker remembers. Default 1024, limit
    /// 16384; 0 remembers none.
    pub cache: Option<u32>,
}

/// A trust domain as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustDomainWire {
    /// Its name, without `spiffe://`. Required.
    pub name: Option<String>,
    /// Its keys: a trust bundle, of which the keys for `jwt-svid` count, or a plain key set.
    /// Required.
    pub jwks: Option<KeySetWire>,
    /// What `iss` says where a token has one. Default: a token with `iss` is refused.
    pub issuer: Option<String>,
}

/// JWT-SVIDs of some trust domains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwtSvid {
    /// Lower-case name of the field.
    pub header: String,
    /// `aud` has to name one.
    pub audiences: Vec<String>,
    /// Accepted trust domains and their keys.
    pub domains: Vec<TrustDomain>,
    /// Who the workloads are.
    pub workloads: Workloads,
    /// How far clocks may be apart.
    pub leeway: Duration,
    /// Longest life.
    pub max_life: Duration,
    /// Most remembered tokens of a trust domain.
    pub cache: usize,
}

/// A trust domain and its keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustDomain {
    /// Name.
    pub name: String,
    /// Keys.
    pub keys: KeySource,
    /// `iss`, where a token has one.
    pub issuer: Option<String>,
}

const LIFE: Duration = Duration::from_secs(3600);
const MOST_LIFE: Duration = Duration::from_secs(24 * 3600);

pub(super) fn jwt_svid(wire: JwtSvidWire) -> Result<JwtSvid, ConfigError> {
    let mut problems = Problems::default();
    let header = header(wire.header, &mut problems);
    let audiences = tokens::audiences(wire.audience, &mut problems);
    let names = wire.trust_domains.iter().filter_map(|domain| domain.name.clone()).collect();
    let domains = problems.list("trust_domains", wire.trust_domains, trust_domain);
    for (index, one) in domains.iter().enumerate() {
        if domains.iter().take(index).any(|earlier| earlier.name == one.name) {
            problems.note(format!("trust_domains[{index}].name"), "expected another than before");
        }
    }
    let workloads = workloads::workloads(names, wire.agents, &mut problems);
    let leeway = leeway(wire.leeway, &mut problems);
    let max_life = span(&mut problems, "max_life", wire.max_life, LIFE);
    if !(Duration::from_secs(1)..=MOST_LIFE).contains(&max_life) {
        problems.note("max_life", "expected 1s to 24h");
    }
    let cache = cache(wire.cache, &mut problems);
    let read = JwtSvid { header, audiences, domains, workloads, leeway, max_life, cache };
    problems.finish(Some(read))
}

fn trust_domain(wire: TrustDomainWire) -> Result<TrustDomain, ConfigError> {
    let mut problems = Problems::default();
    let name = problems.required("name", wire.name);
    if name.as_ref().is_some_and(|name| !spiffe::is_trust_domain(name)) {
        problems.note("name", workloads::DOMAIN);
    }
    let keys = problems.required("jwks", wire.jwks);
    let keys = keys.and_then(|wire| problems.part("jwks", tokens::key_source(wire)));
    if wire.issuer.as_ref().is_some_and(String::is_empty) {
        problems.note("issuer", "expected a text");
    }
    let read = (|| Some(TrustDomain { name: name?, keys: keys?, issuer: wire.issuer }))();
    problems.finish(read)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(document: Value) -> Result<JwtSvid, Vec<String>> {
        let wire: JwtSvidWire = serde_json::from_value(document).unwrap();
        jwt_svid(wire).map_err(|error| error.problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn defaults_are_the_strict_ones() {
        let read = read(json!({"audience": ["a"], "agents": [{"id": "spiffe://prod.test/a"}],
            "trust_domains": [{"name": "prod.test", "jwks": {"inline": {}}}]}))
        .unwrap();
        assert_eq!(
            (read.header.as_str(), read.max_life, read.cache),
            ("authorization", LIFE, 1024)
        );
        assert_eq!(read.domains[0].issuer, None);
    }

    #[test]
    fn every_problem_is_named() {
        let bad = json!({"trust_domains": [{"name": "A"}, {"jwks": {}},
            {"name": "prod.test", "jwks": {"inline": {}}, "issuer": ""}],
            "agents": [{"id": "spiffe://b.test/a"}], "leeway": "61s", "max_life": "25h", "cache": 20000});
        assert_eq!(
            read(bad).unwrap_err(),
            [
                "audience: expected 1 to 16: a token for anybody is for nobody",
                "trust_domains[0].name: expected 1 to 255 of [a-z0-9._-], without spiffe://",
                "trust_domains[0].jwks: missing",
                "trust_domains[1].name: missing",
                "trust_domains[1].jwks: expected either from or inline",
                "trust_domains[2].issuer: expected a text",
                "agents[0].id: expected an ID of one of the trust_domains",
                "leeway: expected at most 60s",
                "max_life: expected 1s to 24h",
                "cache: expected at most 16384",
            ]
        );
        assert_eq!(
            read(json!({"audience": ["a"]})).unwrap_err(),
            ["trust_domains: expected 1 to 64", "agents: expected 1 to 1024"]
        );
    }
}
