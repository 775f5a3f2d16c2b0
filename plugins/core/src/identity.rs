//! Who is calling: the identity document and the proof that it was established.
//!
//! Invariant: a [`Principal`] is made only by the gate, of what an authenticator has
//! established; it has no public constructor, no `Default` and no `Deserialize`.

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
    /// An access token that is a JWT.
    Jwt,
    /// An access token that its issuer was asked about (RFC 7662).
    Introspected,
    /// A client certificate: a SPIFFE X.509-SVID.
    Mtls,
    /// A SPIFFE JWT-SVID.
    JwtSvid,
    /// A capability token.
    Capability,
}

impl Kind {
    /// The word in the identity document.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ApiKey => "api_key",
            Self::Jwt => "jwt",
            Self::Introspected => "introspected",
            Self::Mtls => "mtls",
            Self::JwtSvid => "jwt_svid",
            Self::Capability => "capability",
        }
    }
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
    /// Only the gate calls this, with what authenticators have established.
    pub(crate) fn authenticated(identity: Identity) -> Self {
        Self { identity }
    }

    /// The identity document.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }
}
