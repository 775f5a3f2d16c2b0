//! Where requests go: on Spin there are no clusters, so a cluster is its authority.
//!
//! The configuration documents are those of Envoy, with their cluster names; `upstreams` says
//! which authority each one is, and this is where the component connects: to that host, by
//! `https`. Plain HTTP is for the authorities that the variable `danger_plain_http` names.

use postern_core::authority::Authority;
use postern_core::config::ConfigError;
use postern_core::upstreams::Upstreams;

/// The variable that names authorities without TLS.
pub const PLAIN: &str = "danger_plain_http";

/// The upstreams of the gate's document, and who of them speaks plain HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hosts {
    upstreams: Upstreams,
    plain: Vec<Authority>,
}

impl Hosts {
    /// `plain` is a list of authorities with commas between them, or nothing.
    pub fn new(upstreams: Upstreams, plain: &str) -> Result<Self, ConfigError> {
        // The host verifies a certificate against the name that is asked for.
        for (cluster, upstream) in upstreams.iter() {
            if upstream.tls_name != upstream.authority.host() {
                let path = format!("gate.upstreams.{cluster}.tls_name");
                return Err(ConfigError::one(path, "expected the authority's host on Spin"));
            }
        }
        let names = plain.split(',').map(str::trim).filter(|name| !name.is_empty());
        let plain: Option<Vec<Authority>> = names.map(Authority::parse).collect();
        match plain {
            Some(plain) => Ok(Self { upstreams, plain }),
            None => Err(ConfigError::one(PLAIN, "expected hosts, or host:port, with commas")),
        }
    }

    /// The cluster that a request to `authority` is for, with its authority. The caller's
    /// authority selects a cluster and nothing else.
    pub fn route(&self, authority: &[u8]) -> Option<(&str, &Authority)> {
        let wanted = Authority::parse(str::from_utf8(authority).ok()?)?;
        let mut all = self.upstreams.iter();
        all.find(|(_, upstream)| upstream.authority == wanted)
            .map(|(cluster, upstream)| (cluster, &upstream.authority))
    }

    /// The authority of a cluster.
    pub fn of(&self, cluster: &str) -> Option<&Authority> {
        self.upstreams.find(cluster.as_bytes()).map(|upstream| &upstream.authority)
    }

    /// Whether `authority` is spoken to without TLS.
    pub fn is_plain(&self, authority: &str) -> bool {
        Authority::parse(authority).is_some_and(|authority| self.plain.contains(&authority))
    }
}

#[cfg(test)]
mod tests {
    use postern_core::config::gate::Config;

    use super::*;

    fn hosts(plain: &str) -> Result<Hosts, ConfigError> {
        let config = Config::parse(
            br#"{"tenant":"acme",
            "key_service":{"cluster":"keys","authority":"keys.test","gateway_id":"00112233445566778899aabbccddeeff","evidence":"sim"},
            "danger_allow_simulated":{"key":"GYH9HAEhaoYrHHyIyqTIh407DfTiVDUqtPWkS5-DuLs"},
            "authenticators":[{"api_key":{"header":"x-tap-key","prefixes":["pk_"]}}],
            "scopes":[{"methods":["GET"],"path":"/**","require":["documents:read"]}],
            "upstreams":{"slack":{"authority":"slack.com"},"local":{"authority":"local.test:8080"}}}"#,
        );
        Hosts::new(config.unwrap().upstreams, plain)
    }

    #[test]
    fn an_authority_of_the_table_selects_its_cluster() {
        let hosts = hosts("").unwrap();
        for (asked, cluster) in [
            ("slack.com", Some("slack")),
            ("SLACK.com", Some("slack")),
            ("local.test:8080", Some("local")),
            ("local.test", None),
            ("evil.test", None),
            ("slack.com@evil.test", None),
            ("", None),
        ] {
            let found = hosts.route(asked.as_bytes()).map(|(cluster, _)| cluster);
            assert_eq!(found, cluster, "{asked}");
        }
        assert_eq!(hosts.of("slack").map(ToString::to_string).as_deref(), Some("slack.com"));
        assert_eq!(hosts.of("none"), None);
    }

    #[test]
    fn plain_http_is_for_whom_the_variable_names() {
        let hosts = hosts("local.test:8080, keys.test").unwrap();
        let plain = ["local.test:8080", "keys.test", "slack.com", "local.test"];
        assert_eq!(plain.map(|name| hosts.is_plain(name)), [true, true, false, false]);
        assert!(super::Hosts::new(hosts.upstreams, "http://local.test").is_err());
    }
}
