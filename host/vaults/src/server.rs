//! Where a vault is.
//!
//! Invariant: a [`ServerUrl`] is `https`, or `http` to this machine where the caller allows it,
//! and has no user, query or fragment: a token goes nowhere else, and nothing is appended to
//! what would read it otherwise.

use std::fmt;
use std::net::IpAddr;

/// What is not the address of a vault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected https://HOST[:PORT] without a path (http: loopback in simulated mode only)")]
pub struct BadUrl;

/// `https://HOST[:PORT]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerUrl(String);

impl ServerUrl {
    /// Takes a URL; `http` only where `plain_loopback`, and then only to this machine.
    ///
    /// # Errors
    /// When it is not one.
    pub fn parse(text: &str, plain_loopback: bool) -> Result<Self, BadUrl> {
        let text = text.strip_suffix('/').unwrap_or(text);
        let (scheme, authority) = text.split_once("://").ok_or(BadUrl)?;
        let (host, port) = split(authority)?;
        let port = port.is_none_or(|port| {
            port.bytes().all(|byte| byte.is_ascii_digit())
                && port.parse::<u16>().is_ok_and(|port| port > 0)
        });
        let allowed = match scheme {
            "https" => true,
            "http" => plain_loopback && is_loopback(host),
            _ => false,
        };
        match allowed && port {
            true => Ok(Self(text.to_owned())),
            false => Err(BadUrl),
        }
    }
}

impl ServerUrl {
    /// Host and port, as they stand.
    #[must_use]
    pub fn authority(&self) -> &str {
        self.0.split_once("://").map_or("", |(_, authority)| authority)
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The host, without brackets, and the port.
fn split(authority: &str) -> Result<(&str, Option<&str>), BadUrl> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').ok_or(BadUrl)?;
        host.parse::<std::net::Ipv6Addr>().map_err(|_| BadUrl)?;
        return match rest {
            "" => Ok((host, None)),
            rest => Ok((host, Some(rest.strip_prefix(':').ok_or(BadUrl)?))),
        };
    }
    let (host, port) = match authority.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (authority, None),
    };
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-.".contains(&byte);
    match !host.is_empty() && host.bytes().all(known) {
        true => Ok((host, port)),
        false => Err(BadUrl),
    }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_goes_over_tls_or_stays_on_this_machine() {
        for (url, strict, simulated) in [
            ("https://vault.example:8200", true, true),
            ("https://vault.example/", true, true),
            ("https://[::1]:8200", true, true),
            ("http://127.0.0.1:8200", false, true),
            ("http://[::1]", false, true),
            ("http://localhost:8200", false, true),
            ("http://vault.example", false, false),
            ("http://127.0.0.1.example", false, false),
            ("http://localhost@vault.example", false, false),
            ("https://user@vault.example", false, false),
            ("https://vault.example/v1", false, false),
            ("https://vault.example?a", false, false),
            ("https://vault.example#a", false, false),
            ("https://vault.example:", false, false),
            ("https://vault.example:0", false, false),
            ("https://vault.example:65536", false, false),
            ("https://[vault.example]", false, false),
            ("https://[::1]8200", false, false),
            ("https://", false, false),
            ("vault.example", false, false),
            ("HTTPS://vault.example", false, false),
        ] {
            let taken = [false, true].map(|plain| ServerUrl::parse(url, plain).is_ok());
            assert_eq!(taken, [strict, simulated], "{url}");
        }
    }
}
