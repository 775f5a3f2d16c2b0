//! The canary of a binding: a request that is harmless, sent with a made-up value before any
//! real one, to see whether the route gives back what stands at the binding's site.
//!
//! Invariant: what a canary asks for is something that the binding itself allows, by a safe
//! method (RFC 9110 9.2.1); its value has at least [`LEAST_RANDOM`] random characters.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Binding;
use crate::config::{ConfigError, Problems, units};
use crate::path::RequestPath;

/// Random characters of a value, so that none stands in an answer by chance.
const LEAST_RANDOM: usize = 16;
/// A scrubber looks for the beginning of a value from 12 characters on: at least four of them
/// are random.
const LONGEST_PREFIX: usize = 8;
const LENGTHS: std::ops::RangeInclusive<usize> = 24..=256;
const LENGTH: u16 = 40;
const SHORTEST_TTL: Duration = Duration::from_secs(1);
const LONGEST_TTL: Duration = Duration::from_secs(24 * 60 * 60);

/// `canary` as written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CanaryWire {
    /// Length of the made-up value, its prefix included: that of real ones. Default 40, 24 to
    /// 256.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub length: Option<u16>,
    /// `GET` (default), `HEAD` or `OPTIONS`; one of the binding's methods.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub method: Option<String>,
    /// Path without a query, one of the binding's, at which a request with a value that is no
    /// good does no harm. Required.
    pub path: Option<String>,
    /// What real values begin with, at most 8 of `[A-Za-z0-9._-]`, where the upstream looks at
    /// that first. Default: nothing.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub prefix: Option<String>,
    /// What becomes of requests when the value comes back, or nobody can tell: `refuse`
    /// (default), or `allow`, which only notes it in the audit record.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reflective: Option<Reflective>,
    /// How long a worker believes what it has seen. Default `10m`, `1s` to `24h`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ttl: Option<String>,
}

/// What becomes of requests over a route that gives values back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reflective {
    /// They are refused.
    #[default]
    Refuse,
    /// They go on.
    Allow,
}

/// A request that shows whether values come back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Canary {
    /// Path, without a query.
    pub path: String,
    /// Method.
    pub method: String,
    /// What becomes of requests when they do.
    pub reflective: Reflective,
    /// How long a verdict holds; whole seconds.
    pub ttl: Duration,
    /// What the value begins with.
    pub prefix: String,
    /// Length of the value.
    pub length: usize,
}

impl TryFrom<CanaryWire> for Canary {
    type Error = ConfigError;

    fn try_from(wire: CanaryWire) -> Result<Self, ConfigError> {
        let mut problems = Problems::default();
        let path = problems.required("path", wire.path).and_then(|path| {
            let clean = RequestPath::parse(path.as_bytes()).filter(|_| !path.contains('?'));
            let path = clean.map(|_| path).ok_or("expected a clean absolute path, no query");
            problems.scalar("path", path)
        });
        let method = problems.scalar("method", method(wire.method));
        let ttl = problems.scalar("ttl", ttl(wire.ttl.as_deref()));
        let prefix = problems.scalar("prefix", prefix(wire.prefix));
        let length = problems.scalar("length", length(wire.length));
        let read = (|| {
            let (path, method, ttl, prefix) = (path?, method?, ttl?, prefix?);
            let reflective = wire.reflective.unwrap_or_default();
            Some(Self { path, method, reflective, ttl, prefix, length: length? })
        })();
        problems.finish(read)
    }
}

impl From<&Canary> for CanaryWire {
    /// With every member, so that its order and its texts are one form.
    fn from(canary: &Canary) -> Self {
        Self {
            length: u16::try_from(canary.length).ok(),
            method: Some(canary.method.clone()),
            path: Some(canary.path.clone()),
            prefix: (!canary.prefix.is_empty()).then(|| canary.prefix.clone()),
            reflective: Some(canary.reflective),
            ttl: Some(format!("{}s", canary.ttl.as_secs())),
        }
    }
}

fn method(written: Option<String>) -> Result<String, &'static str> {
    let method = written.unwrap_or_else(|| "GET".to_owned());
    let safe = super::is_safe_method(method.as_bytes());
    safe.then_some(method).ok_or("expected a safe method: GET, HEAD or OPTIONS")
}

fn ttl(written: Option<&str>) -> Result<Duration, &'static str> {
    let ttl = units::duration(written.unwrap_or("10m"))?;
    let fits = (SHORTEST_TTL..=LONGEST_TTL).contains(&ttl) && ttl.subsec_nanos() == 0;
    fits.then_some(ttl).ok_or("expected 1s to 24h, whole seconds")
}

fn prefix(written: Option<String>) -> Result<String, &'static str> {
    let prefix = written.unwrap_or_default();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let fits = prefix.len() <= LONGEST_PREFIX && prefix.bytes().all(plain);
    fits.then_some(prefix).ok_or("expected at most 8 of [A-Za-z0-9._-]")
}

fn length(written: Option<u16>) -> Result<usize, &'static str> {
    const { assert!(*LENGTHS.start() >= LONGEST_PREFIX + LEAST_RANDOM) }
    let length = usize::from(written.unwrap_or(LENGTH));
    if LENGTHS.contains(&length) { Ok(length) } else { Err("expected 24 to 256") }
}

/// What a binding and its canary say to each other.
pub(super) fn check(binding: &Binding, problems: &mut Problems) {
    let Some(canary) = &binding.canary else { return };
    if binding.site.place().in_content() {
        problems.note("canary", "expected none: a safe request has no content to put a value in");
    }
    if binding.site.signing().is_some() {
        problems.note("canary", "expected none: a signature puts no value into the request");
    }
    let path = RequestPath::parse(canary.path.as_bytes());
    if !path.is_some_and(|path| binding.allows_path(&path)) {
        problems.note("canary.path", "expected a path that the binding allows");
    }
    if !binding.allows_method(&canary.method) {
        problems.note("canary.method", "expected a method that the binding allows");
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Wire, tests::wire};
    use super::*;

    fn with(canary: serde_json::Value) -> Result<Binding, ConfigError> {
        let canary = serde_json::from_value(canary).unwrap();
        Binding::try_from(Wire { canary: Some(canary), ..wire() })
    }

    #[test]
    fn a_canary_is_part_of_the_hash_and_survives_a_round_trip() {
        let binding = with(serde_json::json!({"path": "/api/whoami", "ttl": "5m"})).unwrap();
        let text = String::from_utf8(binding.canonical()).unwrap();
        let canary = r#""canary":{"length":40,"method":"GET","path":"/api/whoami","reflective":"refuse","ttl":"300s"},"credential""#;
        assert!(text.contains(canary), "{text}");
        assert_ne!(binding.hash(), Binding::try_from(wire()).unwrap().hash());
        assert_eq!(Binding::try_from(Wire::from(&binding)).as_ref(), Ok(&binding));
        let stored: Wire = serde_json::from_slice(&binding.canonical()).unwrap();
        assert_eq!(Binding::try_from(stored), Ok(binding));
    }

    #[test]
    fn every_problem_of_a_canary_is_reported_where_it_stands() {
        let problems = |canary| {
            let error = with(canary).unwrap_err();
            error.problems.into_iter().map(|problem| problem.path).collect::<Vec<_>>()
        };
        let bad = serde_json::json!({"method": "POST", "ttl": "0s", "prefix": "to:", "length": 23});
        let all = ["path", "method", "ttl", "prefix", "length"].map(|it| format!("canary.{it}"));
        assert_eq!(problems(bad), all);
        for path in ["api", "/api/../x", "/api/x?y=1"] {
            assert_eq!(problems(serde_json::json!({"path": path})), ["canary.path"], "{path}");
        }
        let outside = serde_json::json!({"path": "/whoami", "method": "HEAD"});
        assert_eq!(problems(outside), ["canary.path", "canary.method"]);
    }

    #[test]
    fn a_site_that_a_safe_request_does_not_have_cannot_have_a_canary() {
        for site in [
            serde_json::json!({"json": "/token"}),
            serde_json::json!({"form": "token"}),
            serde_json::json!({"style": "oauth1"}),
            serde_json::json!({"style": "sigv4", "region": "a", "service": "b"}),
        ] {
            let canary = CanaryWire { path: Some("/api/whoami".into()), ..CanaryWire::default() };
            let site = Some(serde_json::from_value(site).unwrap());
            let binding = Binding::try_from(Wire { canary: Some(canary), site, ..wire() });
            let problems = binding.unwrap_err().problems;
            assert_eq!(problems.first().map(|problem| problem.path.as_str()), Some("canary"));
        }
    }
}
