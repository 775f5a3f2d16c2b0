//! `people`: the pages on which people decide, and who may see them for how long.
//!
//! Invariant: the origin is https, with a name that passkeys can be bound to; nothing of a
//! request replaces it.

use std::time::Duration;

use serde::Deserialize;

use super::{ConfigError, problem};

/// `people` as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wire {
    /// Where browsers find the pages: `https://NAME`, with a port unless it is 443. The name is
    /// what passkeys are bound to: with another one, they are of no use.
    origin: String,
    /// Hours after which somebody has to sign in again, 1 to 24. Default 8.
    #[serde(default = "default_hours")]
    session_hours: u64,
    /// Minutes without a look after which somebody has to sign in again, 1 to 240. Default 30.
    #[serde(default = "default_minutes")]
    idle_minutes: u64,
}

fn default_hours() -> u64 {
    8
}

fn default_minutes() -> u64 {
    30
}

/// Pages for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct People {
    /// `https://NAME[:PORT]`.
    pub origin: String,
    /// `NAME`: what passkeys are bound to.
    pub host: String,
    /// Longest session.
    pub session: Duration,
    /// Longest time without a look.
    pub idle: Duration,
}

impl People {
    /// The pages at `origin`, with the default times.
    ///
    /// # Errors
    /// When `origin` is not `https://NAME[:PORT]`.
    pub fn at(origin: &str) -> Result<Self, ConfigError> {
        let (session_hours, idle_minutes) = (default_hours(), default_minutes());
        checked(Wire { origin: origin.to_owned(), session_hours, idle_minutes })
    }
}

pub(super) fn checked(wire: Wire) -> Result<People, ConfigError> {
    let expected = "expected https://NAME or https://NAME:PORT, lower case, not an address";
    let host = host(&wire.origin).ok_or_else(|| problem("people.origin", expected))?;
    for (name, value, most) in
        [("session_hours", wire.session_hours, 24), ("idle_minutes", wire.idle_minutes, 240)]
    {
        if !(1..=most).contains(&value) {
            return Err(problem(&format!("people.{name}"), format!("expected 1 to {most}")));
        }
    }
    Ok(People {
        host: host.to_owned(),
        session: Duration::from_secs(wire.session_hours.saturating_mul(3600)),
        idle: Duration::from_secs(wire.idle_minutes.saturating_mul(60)),
        origin: wire.origin,
    })
}

fn host(origin: &str) -> Option<&str> {
    let authority = origin.strip_prefix("https://")?;
    let (host, port) = match authority.split_once(':') {
        None => (authority, None),
        Some((host, port)) => (host, Some(port)),
    };
    // Browsers leave the default port out, so an origin that has it matches none.
    let port_fits = port.is_none_or(|port| {
        let number = port.parse::<u16>().ok().filter(|number| ![0, 443].contains(number));
        number.is_some_and(|number| number.to_string() == port)
    });
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    let named = host.len() <= 253
        && host.split('.').all(label)
        && host
            .rsplit('.')
            .next()
            .is_some_and(|last| last.starts_with(|c: char| c.is_alphabetic()));
    (named && port_fits).then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_https_and_a_name() {
        let people = People::at("https://approve.example:8843").unwrap();
        assert_eq!(people.host, "approve.example");
        assert_eq!(People::at("https://localhost").unwrap().host, "localhost");
        for origin in [
            "http://approve.example",
            "https://approve.example/",
            "https://approve.example:443",
            "https://approve.example:0443",
            "https://approve.example:",
            "https://Approve.example",
            "https://127.0.0.1",
            "https://[::1]",
            "https://a@b.example",
            "https://",
            "https://a..example",
            "https://a.example.",
        ] {
            assert_eq!(People::at(origin).unwrap_err().path, "people.origin", "{origin}");
        }
    }
}
