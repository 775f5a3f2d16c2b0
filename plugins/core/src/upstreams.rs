//! The `upstreams` table: which authority each cluster of the proxy leads to.
//!
//! Invariant: the table alone says what a cluster is; nothing of a request can add to it.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::authority::Authority;
use crate::config::{ConfigError, Problems};

/// One entry as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wire {
    /// Authority of the service behind the cluster: host or host:port. Required.
    pub authority: Option<String>,
    /// Region that the service is in, for residency rules. Default: none.
    pub region: Option<String>,
    /// Name that its certificate must show. Default: the authority's host.
    pub tls_name: Option<String>,
}

/// What is behind one cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// Authority.
    pub authority: Authority,
    /// Region.
    pub region: Option<String>,
    /// Name in its certificate.
    pub tls_name: String,
}

/// Cluster name to upstream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Upstreams(BTreeMap<String, Upstream>);

impl Upstreams {
    /// The upstream behind `cluster`.
    pub fn find(&self, cluster: &[u8]) -> Option<&Upstream> {
        self.0.get(str::from_utf8(cluster).ok()?)
    }

    /// Whether some cluster leads to `authority`.
    pub fn has_authority(&self, authority: &Authority) -> bool {
        self.0.values().any(|upstream| upstream.authority == *authority)
    }

    /// Every cluster and its upstream, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Upstream)> {
        self.0.iter().map(|(cluster, upstream)| (cluster.as_str(), upstream))
    }
}

impl TryFrom<Wire> for Upstream {
    type Error = ConfigError;

    fn try_from(wire: Wire) -> Result<Self, ConfigError> {
        let mut problems = Problems::default();
        let authority = problems.required("authority", wire.authority).and_then(|text| {
            let parsed = Authority::parse(&text).ok_or("expected a host or host:port");
            problems.scalar("authority", parsed)
        });
        let tls_name = match wire.tls_name {
            Some(name) => {
                let parsed = Authority::parse(&name).filter(|parsed| parsed.to_string() == name);
                problems
                    .scalar("tls_name", parsed.ok_or("expected a lower-case host"))
                    .map(|_| name)
            }
            None => authority.as_ref().map(|authority| authority.host().to_owned()),
        };
        let read = authority.zip(tls_name);
        problems.finish(read.map(|(authority, tls_name)| Self {
            authority,
            region: wire.region,
            tls_name,
        }))
    }
}

impl TryFrom<BTreeMap<String, Wire>> for Upstreams {
    type Error = ConfigError;

    fn try_from(wire: BTreeMap<String, Wire>) -> Result<Self, ConfigError> {
        let mut problems = Problems::default();
        let mut table = BTreeMap::new();
        for (cluster, wire) in wire {
            if let Some(upstream) = problems.part(&cluster, Upstream::try_from(wire)) {
                table.insert(cluster, upstream);
            }
        }
        problems.finish(Some(Self(table)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(authority: &str) -> Wire {
        Wire { authority: Some(authority.into()), ..Wire::default() }
    }

    #[test]
    fn a_cluster_leads_to_its_authority_and_nothing_else() {
        let table = BTreeMap::from([("slack".to_owned(), wire("Slack.com:443"))]);
        let upstreams = Upstreams::try_from(table).unwrap();
        let authority = Authority::parse("slack.com").unwrap();
        assert_eq!(
            upstreams.find(b"slack"),
            Some(&Upstream {
                authority: authority.clone(),
                region: None,
                tls_name: "slack.com".into()
            })
        );
        assert!(upstreams.has_authority(&authority));
        assert_eq!(upstreams.find(b"other"), None);
        assert_eq!(upstreams.find(b"\xff"), None);
    }

    #[test]
    fn every_bad_entry_is_reported_under_its_cluster() {
        let table = BTreeMap::from([
            ("a".to_owned(), wire("*.a.com")),
            ("b".to_owned(), Wire { tls_name: Some("B".into()), ..Wire::default() }),
        ]);
        let problems = Upstreams::try_from(table).unwrap_err().problems;
        let paths: Vec<&str> = problems.iter().map(|problem| problem.path.as_str()).collect();
        assert_eq!(paths, ["a.authority", "b.authority", "b.tls_name"]);
    }
}
