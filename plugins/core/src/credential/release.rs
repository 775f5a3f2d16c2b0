//! What is asked of the key service for one injection, and what comes back.

use crate::secret::Secret;
use crate::time::UnixMillis;

/// A release question: everything the key service checks again on its side.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Want {
    /// Tenant of the caller and of the credential.
    pub tenant: String,
    /// Agent.
    pub agent: String,
    /// Credential name.
    pub credential: String,
    /// Upstream authority from the `upstreams` table, lower case, with port.
    pub host: String,
    /// Method as it leaves.
    pub method: String,
    /// Path as it leaves, without the query.
    pub path: String,
    /// SHA-256 of the verified caller identity.
    pub caller_hash: [u8; 32],
    /// Digest of the request as it was decided.
    pub request_digest: [u8; 32],
    /// SHA-256 of the binding in RFC 8785 form.
    pub binding_hash: [u8; 32],
    /// Names the policy that decided: from the permit.
    pub policy_hash: [u8; 32],
    /// Approval id, where the permit has one.
    pub approval: Option<[u8; 16]>,
}

/// A released credential. Shared behind `Rc`, never cloned.
pub struct Release {
    /// Field name (empty for a credential of one value) and value.
    pub fields: Vec<(String, Secret)>,
    /// Version of the credential.
    pub version: u32,
    /// No good after this.
    pub not_after: UnixMillis,
    /// Audit sequence number under which the key service recorded the release.
    pub audit_seq: u64,
}

impl Release {
    /// The value of `field`; the empty name means the only value.
    pub fn field(&self, field: &str) -> Option<&Secret> {
        self.fields.iter().find(|(name, _)| name == field).map(|(_, value)| value)
    }
}
