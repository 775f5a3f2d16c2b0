//! Why there is no value, as the gateway and the log are told.
//!
//! Invariant: each reason has one name in the log; a gateway learns no more than whether the
//! value is gone or cannot be had now.

use postern_crp::message::Status;
use postern_vaults::Refused;

/// What kept a value from being read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotRead {
    /// The configuration names no such vault, any more perhaps.
    #[error("there is no vault of this name in keys.yaml")]
    NoSuchVault,
    /// The tenant has no folder there.
    #[error("the tenant has nothing in this vault (tenants)")]
    NotAdmitted,
    /// What the vault said.
    #[error("the vault {0}")]
    Refused(#[from] Refused),
}

impl NotRead {
    /// Whether a value of before may be used meanwhile.
    pub(crate) fn may_pass(&self) -> bool {
        matches!(self, Self::Refused(refused) if refused.may_pass())
    }

    /// Milliseconds for which nobody asks again.
    pub(super) fn pause(&self) -> u64 {
        match self {
            Self::Refused(Refused::Throttled(Some(seconds))) => seconds.clamp(&1, &60) * 1000,
            _ => 1000,
        }
    }

    /// What the gateway learns.
    pub(crate) fn status(&self) -> Status {
        match self {
            Self::Refused(Refused::NotFound(_)) => Status::UnknownCredential,
            Self::NotAdmitted => Status::Denied,
            _ => Status::KekUnavailable,
        }
    }

    /// What the log says.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::NoSuchVault => "vault_not_configured",
            Self::NotAdmitted => "vault_not_of_tenant",
            Self::Refused(Refused::NotFound(_)) => "vault_not_found",
            Self::Refused(Refused::Forbidden) => "vault_forbidden",
            Self::Refused(Refused::LoginExpired(_)) => "vault_login_refused",
            Self::Refused(Refused::Throttled(_)) => "vault_throttled",
            Self::Refused(Refused::Unreachable(_)) => "vault_unavailable",
            Self::Refused(Refused::Malformed(_)) => "vault_malformed",
        }
    }
}
