//! The catalogue of scopes: name, label for people, and how bad a mistake would be.
//!
//! Owns the data of mission row B1 and nothing else: which request needs which scope
//! is configuration. Invariant: no entry stands for all the others, so no grant does.

use serde::Serialize;

/// How much harm a caller with this scope can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Risk {
    /// Reads what the agent is meant to see.
    Low,
    /// Changes that are easily seen and undone.
    Medium,
    /// Reaches other people or is hard to undo.
    High,
    /// Has legal or comparable effect.
    Critical,
}

/// One scope (RFC 6749, 3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Scope {
    /// What stands in a key or token.
    pub name: &'static str,
    /// What a person is shown.
    pub label: &'static str,
    /// Risk class.
    pub risk: Risk,
    /// What else a person should know before granting it.
    pub note: Option<&'static str>,
}

/// Granted when nothing is asked for.
pub const DEFAULT: &[&str] = &["documents:read"];

/// Every scope there is, sorted by name.
pub const CATALOGUE: &[Scope] = &[
    scope("admin:read", "Read organisation settings", Risk::Medium, None),
    scope("admin:write", "Change organisation settings", Risk::High, None),
    scope("baink:cost:read", "Read model costs", Risk::Low, None),
    scope("comments:read", "Read comments", Risk::Low, None),
    scope("comments:write", "Write comments", Risk::Medium, None),
    scope("documents:read", "Read documents", Risk::Low, None),
    scope("documents:write", "Change documents", Risk::Medium, None),
    scope("pages:publish", "Publish pages", Risk::High, Some("open world")),
    scope("reviews:read", "Read reviews", Risk::Low, None),
    scope("reviews:write", "Write reviews", Risk::Medium, None),
    scope("share:create", "Share documents", Risk::High, Some("open world")),
    scope("share:revoke", "Stop sharing documents", Risk::Medium, Some("destructive")),
    scope("signing:request", "Ask people to sign", Risk::High, Some("outbound email")),
    scope("signing:sign", "Sign documents", Risk::Critical, Some("legal artefact")),
    scope("tap:approve", "Approve proposals", Risk::High, None),
    scope("tap:coordinate", "Coordinate with agents", Risk::Medium, Some("low to medium")),
    scope("tap:propose", "Propose changes", Risk::Medium, None),
    scope("tap:read", "Read agent coordination", Risk::Low, None),
    scope("tap:write", "Take part in agent coordination", Risk::Medium, None),
];

const fn scope(
    name: &'static str,
    label: &'static str,
    risk: Risk,
    note: Option<&'static str>,
) -> Scope {
    Scope { name, label, risk, note }
}

/// The entry called `name`; scopes are compared exactly (RFC 6749, 3.3).
pub fn find(name: &str) -> Option<&'static Scope> {
    CATALOGUE.iter().find(|scope| scope.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scope_is_found_once_and_the_catalogue_is_sorted() {
        assert!(CATALOGUE.is_sorted_by(|a, b| a.name < b.name));
        for scope in CATALOGUE {
            assert_eq!(find(scope.name), Some(scope));
        }
        assert_eq!(CATALOGUE.len(), 19);
    }

    #[test]
    fn nothing_grants_everything() {
        for name in ["*", "documents:*", "all", "", "admin", "DOCUMENTS:READ"] {
            assert_eq!(find(name), None, "{name}");
        }
    }

    #[test]
    fn the_default_grant_reads_documents_only() {
        assert_eq!(DEFAULT, ["documents:read"]);
    }
}
