//! What the authenticators of tokens have in common: where their issuers are asked, and
//! which claims become which part of the identity document.

use std::time::Duration;

use serde::Deserialize;

use super::endpoint::{Endpoint, EndpointWire};
use crate::config::{ConfigError, Problems, units};

/// Names of claims, as written. A name that begins with `/` is a JSON pointer (RFC 6901).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClaimsWire {
    /// Claim with the tenant, which has to be the gate's. Default: none, everybody of this
    /// issuer is of the gate's tenant.
    pub tenant: Option<String>,
    /// Claim with the organisation. Default: none.
    pub organisation: Option<String>,
    /// Claim with the user. Default `sub`.
    pub user: Option<String>,
    /// Claim with the agent. Default `client_id`, else `azp`.
    pub agent: Option<String>,
    /// Claim with the roles, a list or a text. Default `roles`.
    pub roles: Option<String>,
    /// Claim with the scopes, a list or a text with spaces. Default `scope`, else `scp`.
    pub scopes: Option<String>,
    /// Claim with the trust level. Default: none, which is `observer`.
    pub trust: Option<String>,
    /// Claim with the clearance. Default: none.
    pub clearance: Option<String>,
}

/// Names of claims; of several the first one that the token has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// Tenant.
    pub tenant: Vec<String>,
    /// Organisation.
    pub organisation: Vec<String>,
    /// User.
    pub user: Vec<String>,
    /// Agent.
    pub agent: Vec<String>,
    /// Roles.
    pub roles: Vec<String>,
    /// Scopes.
    pub scopes: Vec<String>,
    /// Trust level.
    pub trust: Vec<String>,
    /// Clearance.
    pub clearance: Vec<String>,
}

pub(super) fn claims(wire: ClaimsWire) -> Result<Claims, ConfigError> {
    let mut problems = Problems::default();
    let mut names = |path: &str, written: Option<String>, usual: &[&str]| match written {
        None => usual.iter().map(|name| (*name).to_owned()).collect(),
        Some(name) => {
            if name.is_empty() || name.len() > 128 || name == "/" {
                problems.note(path, "expected the name of a claim or a JSON pointer");
            }
            vec![name]
        }
    };
    let claims = Claims {
        tenant: names("tenant", wire.tenant, &[]),
        organisation: names("organisation", wire.organisation, &[]),
        user: names("user", wire.user, &["sub"]),
        agent: names("agent", wire.agent, &["client_id", "azp"]),
        roles: names("roles", wire.roles, &["roles"]),
        scopes: names("scopes", wire.scopes, &["scope", "scp"]),
        trust: names("trust", wire.trust, &[]),
        clearance: names("clearance", wire.clearance, &[]),
    };
    problems.finish(Some(claims))
}

/// A key set as written: exactly one of the two.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeySetWire {
    /// Fetched from here with `GET`.
    pub from: Option<EndpointWire>,
    /// The set itself (RFC 7517, 5).
    pub inline: Option<serde_json::Value>,
    /// How often a fetched set is fetched again. Default `5m`; `10s` to `24h`.
    pub refresh: Option<String>,
    /// How long the last good set is kept when no newer one can be had. Default `1h`, at
    /// least `refresh`, at most `24h`.
    pub keep: Option<String>,
}

/// Where the keys of an issuer come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// Over there.
    Fetched {
        /// Where.
        from: Endpoint,
        /// How often.
        refresh: Duration,
        /// How long the last good set is kept.
        keep: Duration,
    },
    /// In the document: the set as JSON.
    Inline(Vec<u8>),
}

const REFRESH: Duration = Duration::from_secs(300);
const KEEP: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

pub(super) fn key_source(wire: KeySetWire) -> Result<KeySource, ConfigError> {
    let mut problems = Problems::default();
    let refresh = span(&mut problems, "refresh", wire.refresh, REFRESH);
    let keep = span(&mut problems, "keep", wire.keep, KEEP.max(refresh));
    if !(Duration::from_secs(10)..=DAY).contains(&refresh) {
        problems.note("refresh", "expected 10s to 24h");
    }
    if !(refresh..=DAY).contains(&keep) {
        problems.note("keep", "expected at least refresh, and at most 24h");
    }
    let source = match (wire.from, wire.inline) {
        (Some(from), None) => {
            let from = problems.part("from", super::endpoint::endpoint(from));
            from.map(|from| KeySource::Fetched { from, refresh, keep })
        }
        (None, Some(set)) => Some(KeySource::Inline(set.to_string().into_bytes())),
        _ => {
            problems.note("", "expected either from or inline");
            None
        }
    };
    problems.finish(source)
}

/// A duration, or its default.
pub(super) fn span(
    problems: &mut Problems,
    path: &str,
    written: Option<String>,
    usual: Duration,
) -> Duration {
    let read = written.map(|text| problems.scalar(path, units::duration(&text)));
    read.flatten().unwrap_or(usual)
}

/// Audiences: at least one, none empty.
pub(super) fn audiences(written: Vec<String>, problems: &mut Problems) -> Vec<String> {
    if written.is_empty() || written.len() > 16 {
        problems.note("audience", "expected 1 to 16: a token for anybody is for nobody");
    }
    problems.list("audience", written, |audience| {
        let expected = || ConfigError::one("", "expected 1 to 512 characters");
        let fits = (1..=512).contains(&audience.len());
        fits.then_some(audience).ok_or_else(expected)
    })
}
