//! Who is calling: the identity document and the proof that it was established.
//!
//! Invariant: a [`Principal`] is made only by the authenticators of this
//! crate; it has no public constructor, no `Default` and no `Deserialize`.

use serde::Serialize;

use crate::time::UnixMillis;

/// Roles that a user can hold in an organisation.
pub const ROLES: [&str; 5] = ["AGENT", "DEVELOPER", "ADMIN", "AUDITOR", "PLATFORM"];
/// Trust levels of an agent, least first.
pub const TRUST_LEVELS: [&str; 4] = ["observer", "suggester", "collaborator", "autonomous"];

/// What the directory holds about a key's owner. Data, not proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryRecord {
    /// Tenant whose credentials this caller may reach.
    pub tenant: String,
    /// User the key belongs to.
    pub user: String,
    /// Organisation in which the roles hold.
    pub organisation: String,
    /// Agent that presents the key.
    pub agent: String,
    /// Scopes granted.
    pub scopes: Vec<String>,
    /// Roles in `organisation`, of [`ROLES`].
    pub roles: Vec<String>,
    /// Trust level, of [`TRUST_LEVELS`].
    pub trust: String,
    /// Clearance level of the information barrier, if any.
    pub clearance: Option<String>,
    /// Connector platform the key was made for.
    pub platform: Option<String>,
    /// The key is no good from this moment on.
    pub not_after: Option<UnixMillis>,
    /// Active, revoked or expired.
    pub state: KeyState,
}

/// State of a key (NIST SP 800-57 part 1, 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// May authenticate.
    Active,
    /// Never again.
    Revoked,
}

/// How a caller was authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// An API key.
    ApiKey,
}

/// The identity document: filter state `postern.identity`, Rego
/// `input.postern.identity`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Identity {
    /// Stable name of the caller, such as `key:AbCd0123`.
    pub subject: String,
    /// How it was established.
    pub kind: Kind,
    /// Tenant.
    pub tenant: String,
    /// Organisation.
    pub organisation: String,
    /// User.
    pub user: String,
    /// Agent.
    pub agent: String,
    /// Roles in the organisation.
    pub roles: Vec<String>,
    /// Scopes granted.
    pub scopes: Vec<String>,
    /// Trust level.
    pub trust: String,
    /// Clearance level.
    pub clearance: Option<String>,
    /// Document the token is restricted to.
    pub document: Option<String>,
    /// Key id or token id.
    pub token_id: String,
    /// Seconds since the epoch, where the token ends by itself.
    pub expires: Option<u64>,
    /// Connector platform.
    pub platform: Option<String>,
}

/// An authenticated caller.
#[derive(Debug, PartialEq, Eq)]
pub struct Principal {
    identity: Identity,
}

impl Principal {
    /// Only authenticators of this crate call this, after their check has passed.
    pub(crate) fn authenticated(identity: Identity) -> Self {
        Self { identity }
    }

    /// The identity document.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }
}
