//! The permit: the one small value between the gate and the credential module.
//!
//! Who calls, which credentials may stand at which site under which binding, the digest
//! of the request as it was decided, and seconds of life; a CBOR array in deterministic
//! form (RFC 8949 4.2) followed by an HMAC under a key that only these two modules hold.
//!
//! Invariant: a [`Permit`] is made by [`grant`], which takes a [`Principal`] by value, or
//! by [`PermitKeys::open`], which verifies a MAC and the permit's life; there is no
//! other constructor, no `Default`, no `Deserialize` and no `Clone`.

use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::denial::DecisionId;
use crate::identity::{Identity, Principal};
use crate::mac::{self, MacKeys};
use crate::time::UnixMillis;

mod codec;

/// Longest life of a permit.
pub const LONGEST_LIFE: Duration = Duration::from_secs(10);
/// Largest sealed permit, in bytes.
pub const MAX_SEALED: usize = 16 * 1024;
/// Most credentials of one permit.
pub const MOST_USES: usize = 16;
const LABEL: &[u8] = b"postern permit/1\0";
/// How far ahead of ours the clock of another module's callback may be.
const CLOCK_SKEW: Duration = Duration::from_secs(1);

/// One credential at one site under one binding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialUse {
    /// Credential's name.
    pub credential: String,
    /// Field of a credential of several values; empty for the only one.
    pub field: String,
    /// Lower-case name of the field it stands in.
    pub site: String,
    /// Hash of the binding it was decided under.
    pub binding_hash: [u8; 32],
}

/// What was decided about one request; becomes a permit only with a principal.
#[derive(Debug, PartialEq, Eq)]
pub struct Decision {
    /// Names the decision in every record.
    pub id: DecisionId,
    /// When it was made.
    pub at: UnixMillis,
    /// How long it holds; cut at [`LONGEST_LIFE`].
    pub life: Duration,
    /// Digest of the request as decided.
    pub request_digest: [u8; 32],
    /// SHA-256 of the content, where the decision read it.
    pub content_digest: Option<[u8; 32]>,
    /// Credentials that may be put in.
    pub uses: Vec<CredentialUse>,
    /// Approval that it rests on.
    pub approval: Option<[u8; 16]>,
    /// Names the policy that decided; the key service is told.
    pub policy_revision: [u8; 32],
    /// The gate VM that decided.
    pub gate_vm: [u8; 16],
}

/// Leave to forward one request with these credentials.
#[derive(Debug, PartialEq, Eq)]
pub struct Permit {
    decision_id: [u8; 16],
    issued: UnixMillis,
    expires: UnixMillis,
    tenant: String,
    agent: String,
    subject_hash: [u8; 32],
    request_digest: [u8; 32],
    content_digest: Option<[u8; 32]>,
    uses: Vec<CredentialUse>,
    approval: Option<[u8; 16]>,
    policy_revision: [u8; 32],
    gate_vm: [u8; 16],
}

/// Turns a decision about an authenticated caller into a permit; the principal is spent.
pub fn grant(principal: Principal, decision: Decision) -> Permit {
    let identity = principal.identity();
    Permit {
        decision_id: decision.id.0,
        issued: decision.at,
        expires: decision.at.after(decision.life.min(LONGEST_LIFE)),
        tenant: identity.tenant.clone(),
        agent: identity.agent.clone(),
        subject_hash: subject_hash(identity),
        request_digest: decision.request_digest,
        content_digest: decision.content_digest,
        uses: decision.uses,
        approval: decision.approval,
        policy_revision: decision.policy_revision,
        gate_vm: decision.gate_vm,
    }
}

/// `SHA-256("postern subject/1\0" || tenant || 0x00 || subject)`: the same for every
/// request of one caller, and says nothing about who that is.
pub fn subject_hash(identity: &Identity) -> [u8; 32] {
    Sha256::new()
        .chain_update(b"postern subject/1\0")
        .chain_update(&identity.tenant)
        .chain_update([0])
        .chain_update(&identity.subject)
        .finalize()
        .into()
}

impl Permit {
    /// Names the decision.
    pub fn decision_id(&self) -> DecisionId {
        DecisionId(self.decision_id)
    }

    /// Since when it holds.
    pub fn issued(&self) -> UnixMillis {
        self.issued
    }

    /// No good from this moment on.
    pub fn expires(&self) -> UnixMillis {
        self.expires
    }

    /// Tenant of the caller and of every credential.
    pub fn tenant(&self) -> &str {
        &self.tenant
    }

    /// Agent.
    pub fn agent(&self) -> &str {
        &self.agent
    }

    /// Stable hash of the caller: [`subject_hash`].
    pub fn subject_hash(&self) -> [u8; 32] {
        self.subject_hash
    }

    /// Digest of the request as decided.
    pub fn request_digest(&self) -> [u8; 32] {
        self.request_digest
    }

    /// SHA-256 of the content, where the decision read it.
    pub fn content_digest(&self) -> Option<[u8; 32]> {
        self.content_digest
    }

    /// Credentials that may be put in.
    pub fn uses(&self) -> &[CredentialUse] {
        &self.uses
    }

    /// Approval that it rests on.
    pub fn approval(&self) -> Option<[u8; 16]> {
        self.approval
    }

    /// SHA-256 of the configuration that decided.
    pub fn policy_revision(&self) -> [u8; 32] {
        self.policy_revision
    }

    /// The gate VM that decided.
    pub fn gate_vm(&self) -> [u8; 16] {
        self.gate_vm
    }
}

/// The keys that seal and open permits.
pub struct PermitKeys(MacKeys);

impl PermitKeys {
    /// Uses `keys` for permits.
    pub fn new(keys: MacKeys) -> Self {
        Self(keys)
    }

    /// The keys, for what else is between the same two modules ([`crate::canary`]).
    pub(crate) fn macs(&self) -> &MacKeys {
        &self.0
    }

    /// The permit as it travels through filter state.
    pub fn seal(&self, permit: &Permit) -> Vec<u8> {
        let mut sealed = codec::encode(permit);
        let mac = self.0.sign(LABEL, &[&sealed]);
        sealed.extend_from_slice(&mac);
        sealed
    }

    /// Verifies MAC, form and life, in this order.
    pub fn open(&self, sealed: &[u8], now: UnixMillis) -> Result<Permit, PermitFault> {
        if sealed.len() > MAX_SEALED {
            return Err(PermitFault::Malformed);
        }
        let body = sealed.len().checked_sub(mac::LENGTH).ok_or(PermitFault::Malformed)?;
        let (body, mac) = sealed.split_at_checked(body).ok_or(PermitFault::Malformed)?;
        if !self.0.verify(LABEL, &[body], mac) {
            return Err(PermitFault::Forged);
        }
        let permit = codec::decode(body).ok_or(PermitFault::Malformed)?;
        // A second encoding of the same permit would be another byte string with the same
        // meaning; there is exactly one.
        if codec::encode(&permit) != body {
            return Err(PermitFault::Malformed);
        }
        permit.alive(now).then_some(permit).ok_or(PermitFault::Expired)
    }
}

/// An authentic body, which only a holder of the key could make, opens in one form only.
#[cfg(any(test, feature = "fuzz"))]
pub(crate) fn fuzz_body(body: &[u8]) {
    let key = crate::secret::Secret::new(vec![7; 32]);
    let Some(keys) = MacKeys::new(key, None).map(PermitKeys::new) else { return };
    let mac = keys.0.sign(LABEL, &[body]);
    if let Ok(permit) = keys.open(&[body, &mac].concat(), UnixMillis(1_800_000_000_000)) {
        assert_eq!(codec::encode(&permit), body, "a permit has one form");
    }
}

impl Permit {
    fn alive(&self, now: UnixMillis) -> bool {
        let life = self.expires.since(self.issued);
        life <= LONGEST_LIFE && now < self.expires && self.issued <= now.after(CLOCK_SKEW)
    }
}

/// Why bytes are no permit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PermitFault {
    /// No key of ours made this MAC.
    #[error("permit is not authentic")]
    Forged,
    /// Authentic, but not in the one form a permit has.
    #[error("permit is not well formed")]
    Malformed,
    /// Its life is over, too long, or yet to come.
    #[error("permit is not valid now")]
    Expired,
}

#[cfg(test)]
mod tests;
