//! Authorities (RFC 9110 7.2) as bindings and the `upstreams` table name them.
//!
//! Invariant: two authorities compare equal exactly when they name the same host and
//! port; `host` and `host:443` are the same. No wildcard, no user information, no zone.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Port of an authority that names none: `https` (RFC 9110 4.2.2).
pub const DEFAULT_PORT: u16 = 443;

/// Host and port, lower case.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Authority {
    host: String,
    port: u16,
}

impl Authority {
    /// `host` or `host:port`; a DNS name, an IPv4 address or an IPv6 address in brackets.
    /// One trailing dot of a name is dropped.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.to_ascii_lowercase();
        let (host, port) = match split_port(&text) {
            (host, None) => (host, DEFAULT_PORT),
            (host, Some(port)) => (host, decimal_port(port)?),
        };
        Some(Self { host: canonical_host(host)?, port })
    }

    /// `host:port`, always with the port, as the key service compares it.
    pub fn with_port(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// Whether the host is an IP address and not a name.
    pub fn is_address(&self) -> bool {
        self.host.starts_with('[') || self.host.parse::<Ipv4Addr>().is_ok()
    }

    /// The host alone.
    pub fn host(&self) -> &str {
        &self.host
    }
}

impl fmt::Display for Authority {
    /// Without the default port.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.port == DEFAULT_PORT {
            return f.write_str(&self.host);
        }
        write!(f, "{}:{}", self.host, self.port)
    }
}

fn split_port(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once(':') {
        // A colon inside the brackets of an IPv6 address is not a port's.
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (text, None),
    }
}

fn decimal_port(text: &str) -> Option<u16> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    text.parse().ok().filter(|_| plain)
}

fn canonical_host(host: &str) -> Option<String> {
    if let Some(address) = host.strip_prefix('[') {
        let address: Ipv6Addr = address.strip_suffix(']')?.parse().ok()?;
        return Some(format!("[{address}]"));
    }
    let host = host.strip_suffix('.').unwrap_or(host);
    let last = host.rsplit('.').next().unwrap_or_default();
    // A last label in digits or `0x…` is an address to some resolvers; only the plain
    // dotted form is one to us (RFC 3986 3.2.2).
    if last.starts_with("0x") || last.bytes().all(|byte| byte.is_ascii_digit()) {
        return host.parse::<Ipv4Addr>().ok().map(|address| address.to_string());
    }
    (host.len() <= 253 && host.split('.').all(is_label)).then(|| host.to_owned())
}

/// RFC 1123 2.1, and `_`, which service names in containers have.
fn is_label(label: &str) -> bool {
    let inside = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=63).contains(&label.len())
        && label.bytes().all(inside)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_port_and_case_and_one_trailing_dot_make_no_difference() {
        let expected = Authority { host: "slack.com".into(), port: 443 };
        for text in ["slack.com", "slack.com:443", "SLACK.com", "slack.com.", "Slack.Com.:443"] {
            assert_eq!(Authority::parse(text).as_ref(), Some(&expected), "{text}");
        }
        assert_eq!(expected.to_string(), "slack.com");
        assert_eq!(expected.with_port(), "slack.com:443");
        assert_ne!(Authority::parse("slack.com:8443"), Some(expected));
    }

    #[test]
    fn addresses_are_taken_in_one_form_only() {
        for (text, canonical) in
            [("127.0.0.1:8080", "127.0.0.1:8080"), ("[::1]:99", "[::1]:99"), ("[0::1]", "[::1]")]
        {
            assert_eq!(Authority::parse(text).map(|a| a.to_string()).as_deref(), Some(canonical));
        }
    }

    #[test]
    fn tricks_are_refused() {
        for text in [
            "",
            ".",
            ":443",
            "slack.com:",
            "slack.com:0443",
            "slack.com:65536",
            "slack.com:+1",
            "slack.com..",
            "a..b",
            "slack.com@evil.com",
            "*.slack.com",
            "slack.com/x",
            "slack com",
            "2130706433",
            "0x7f000001",
            "127.1",
            "0177.0.0.1",
            "[fe80::1%eth0]",
            "[::1",
            "bücher.example",
            "-a.com",
            "a.com\0",
            "slack.com#",
            "slack.com:443:443",
        ] {
            assert_eq!(Authority::parse(text), None, "{text:?}");
        }
    }
}
