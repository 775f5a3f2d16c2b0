//! `NAME=AUTHORITY` of the command line.

use std::net::IpAddr;

use postern_core::authority::Authority;
use postern_core::placeholder::Name;

/// Clusters that the file has anyway.
const TAKEN: [&str; 2] = ["local", "key_service"];

/// A service that needs a credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// Name of its cluster and of its credential.
    pub name: String,
    /// What it is called.
    pub authority: Authority,
}

impl Upstream {
    /// Reads `slack=slack.com` or `billing=billing.example:8443`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (name, authority) =
            text.split_once('=').ok_or("expected NAME=AUTHORITY, such as slack=slack.com")?;
        if Name::new(name).is_none() || TAKEN.contains(&name) {
            let taken = TAKEN.join(" and ");
            return Err(format!("expected a name [a-z0-9][a-z0-9_-]{{0,62}}; {taken} are taken"));
        }
        let authority = Authority::parse(authority).filter(|authority| {
            let host = authority.host();
            // A certificate is checked for a name.
            !host.starts_with('[') && host.parse::<IpAddr>().is_err()
        });
        let authority = authority.ok_or("expected a host name, or host:port")?;
        Ok(Self { name: name.to_owned(), authority })
    }

    /// Its port.
    pub fn port(&self) -> String {
        let whole = self.authority.with_port();
        whole.rsplit(':').next().unwrap_or_default().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_and_an_authority_are_read() {
        let upstream = Upstream::parse("billing=Billing.Example:8443").unwrap();
        let read = (upstream.name.as_str(), upstream.authority.host(), upstream.port());
        assert_eq!(read, ("billing", "billing.example", "8443".to_owned()));
        assert_eq!(Upstream::parse("slack=slack.com").unwrap().port(), "443");
    }

    #[test]
    fn what_cannot_be_an_upstream_is_refused() {
        for text in [
            "slack",
            "=slack.com",
            "Slack=slack.com",
            "local=example.com",
            "key_service=example.com",
            "a=",
            "a=https://example.com",
            "a=*.example.com",
            "a=10.0.0.1",
            "a=[::1]:80",
        ] {
            assert!(Upstream::parse(text).is_err(), "{text}");
        }
    }
}
