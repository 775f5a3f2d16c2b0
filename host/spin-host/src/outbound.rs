//! `allowed_outbound_hosts`: whom a component may speak to.
//!
//! `SCHEME://HOST[:PORT]`. The scheme is a name or `*`; the host a name, an address, a network
//! in CIDR form, `*`, or `*.` before a name; the port a number, `A..B` (without B) or `*`, and
//! without one that of `http` or `https`. Invariant: what is not understood allows nothing.

use std::net::IpAddr;

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    scheme: Option<String>,
    host: Host,
    ports: Ports,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    Any,
    Below(String),
    Name(String),
    Network(IpAddr, u8),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Ports {
    Any,
    OfScheme,
    From(u16, u16),
}

impl Rule {
    /// Reads an entry.
    pub fn parse(text: &str) -> Result<Self, String> {
        let bad = |what: &str| format!("allowed_outbound_hosts: {text:?}: {what}");
        let (scheme, rest) = text.split_once("://").ok_or_else(|| bad("expected scheme://host"))?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = split_port(rest).ok_or_else(|| bad("a port without a host"))?;
        let scheme = (scheme != "*").then(|| scheme.to_ascii_lowercase());
        let host = host_of(host).ok_or_else(|| bad("expected a host, an address or a network"))?;
        let ports = match (port, scheme.as_deref()) {
            (Some("*"), _) => Ports::Any,
            (Some(port), _) => ports_of(port).ok_or_else(|| bad("expected a port or A..B"))?,
            (None, Some("http" | "https")) => Ports::OfScheme,
            (None, _) => return Err(bad("expected a port")),
        };
        Ok(Self { scheme, host, ports })
    }

    /// Whether it allows a request.
    pub fn allows(&self, scheme: &str, host: &str, port: Option<u16>) -> bool {
        let usual = match scheme {
            "http" => Some(80),
            "https" => Some(443),
            _ => None,
        };
        let Some(port) = port.or(usual) else { return false };
        let scheme = self.scheme.as_deref().is_none_or(|allowed| allowed == scheme);
        scheme && self.host.has(host) && self.ports.have(port, usual)
    }
}

impl Host {
    fn has(&self, host: &str) -> bool {
        let host = host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        match self {
            Self::Any => true,
            Self::Below(name) => {
                let before = host.strip_suffix(name.as_str()).and_then(|it| it.strip_suffix('.'));
                before.is_some_and(|before| !before.is_empty())
            }
            Self::Name(name) => host == *name,
            Self::Network(network, bits) => {
                host.parse().is_ok_and(|address| is_in(address, *network, *bits))
            }
        }
    }
}

impl Ports {
    fn have(&self, port: u16, usual: Option<u16>) -> bool {
        match self {
            Self::Any => true,
            Self::OfScheme => usual == Some(port),
            Self::From(from, to) => (*from..*to).contains(&port) || (from == to && port == *from),
        }
    }
}

/// An address of version 6 stands in brackets.
fn split_port(text: &str) -> Option<(&str, Option<&str>)> {
    let (host, rest) = match text.strip_prefix('[') {
        Some(inside) => {
            let (host, rest) = inside.split_once(']')?;
            (host, rest)
        }
        None => match text.split_once(':') {
            Some((host, _)) => (host, text.get(host.len()..)?),
            None => (text, ""),
        },
    };
    match rest {
        "" => Some((host, None)),
        rest => Some((host, Some(rest.strip_prefix(':')?))),
    }
}

fn host_of(text: &str) -> Option<Host> {
    if text == "*" {
        return Some(Host::Any);
    }
    if let Some((network, bits)) = text.split_once('/') {
        let (network, bits): (IpAddr, u8) = (network.parse().ok()?, bits.parse().ok()?);
        let most = if network.is_ipv4() { 32 } else { 128 };
        return (bits <= most).then_some(Host::Network(network, bits));
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(Host::Network(address, if address.is_ipv4() { 32 } else { 128 }));
    }
    let (name, below) = match text.strip_prefix("*.") {
        Some(name) => (name, true),
        None => (text, false),
    };
    let labels = name.split('.').all(|label| {
        !label.is_empty()
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    });
    let name = name.to_ascii_lowercase();
    labels.then_some(if below { Host::Below(name) } else { Host::Name(name) })
}

fn ports_of(text: &str) -> Option<Ports> {
    match text.split_once("..") {
        Some((from, to)) => {
            let (from, to): (u16, u16) = (from.parse().ok()?, to.parse().ok()?);
            (from < to).then_some(Ports::From(from, to))
        }
        None => text.parse().ok().map(|port| Ports::From(port, port)),
    }
}

fn is_in(address: IpAddr, network: IpAddr, bits: u8) -> bool {
    let same = |a: u128, b: u128, width: u32| {
        let shift = width.saturating_sub(u32::from(bits));
        a.checked_shr(shift).unwrap_or(0) == b.checked_shr(shift).unwrap_or(0)
    };
    match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(n)) => same(u32::from(a).into(), u32::from(n).into(), 32),
        (IpAddr::V6(a), IpAddr::V6(n)) => same(a.into(), n.into(), 128),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_allow_what_they_say_and_nothing_else() {
        for (rule, scheme, host, port, allowed) in [
            ("https://slack.com", "https", "slack.com", None, true),
            ("https://slack.com", "https", "SLACK.com", Some(443), true),
            ("https://slack.com", "http", "slack.com", None, false),
            ("https://slack.com", "https", "slack.com", Some(8443), false),
            ("https://slack.com", "https", "evil-slack.com", None, false),
            ("https://slack.com", "https", "slack.com.evil.test", None, false),
            ("https://slack.com:8443", "https", "slack.com", Some(8443), true),
            ("https://*.test", "https", "a.b.test", None, true),
            ("https://*.test", "https", "test", None, false),
            ("https://*.test", "https", "atest", None, false),
            ("*://*:*", "redis", "x", Some(6379), true),
            ("*://*:*", "redis", "x", None, false),
            ("http://10.0.0.0/8", "http", "10.9.8.7", None, true),
            ("http://10.0.0.0/8", "http", "11.0.0.1", None, false),
            ("http://0.0.0.0/0", "http", "1.2.3.4", None, true),
            ("http://[::1]:8080", "http", "[::1]", Some(8080), true),
            ("http://a.test:8000..8010", "http", "a.test", Some(8009), true),
            ("http://a.test:8000..8010", "http", "a.test", Some(8010), false),
        ] {
            let parsed = Rule::parse(rule).unwrap();
            assert_eq!(
                parsed.allows(scheme, host, port),
                allowed,
                "{rule} {scheme} {host} {port:?}"
            );
        }
    }

    #[test]
    fn what_is_no_entry_is_refused() {
        for text in [
            "slack.com",
            "https://",
            "https://:443",
            "redis://x",
            "https://a.*",
            "https://a..b",
            "https://a/b",
            "http://10.0.0.0/33",
            "https://a:0x1",
            "https://a:9..8",
            "https://a b",
        ] {
            assert!(Rule::parse(text).is_err(), "{text}");
        }
    }
}
