//! Renewals: an identity's key hands over to another.
//!
//! A renewal stands in an enrolment (type 2) where a join token would. The enrolment is signed by
//! the new key, the renewal by the one in use:
//!
//! ```text
//! renewal = "crpr_" | u8[16] gateway_id | u32 overlap_s | u64 at_ms | u8[64] signature
//! signature = Ed25519(old key, "crp/1 renewal\0" | u8[16] gateway_id | u8 role | u32 overlap_s
//!                              | u64 at_ms | u8[32] new public key)
//! ```
//!
//! Invariant: only the key in use renews, never the one before it, and only to a key whose holder
//! has signed as well; so there are two keys at most, and an old one ends with its overlap.

use postern_core::secret::Secret;
use postern_core::time::UnixMillis;
use postern_crp::{Role, identity};

use ed25519_dalek::{Signer, SigningKey};

/// Longest overlap: a day.
pub const LONGEST_OVERLAP_S: u32 = 24 * 3600;
const PREFIX: &[u8] = b"crpr_";
const LABEL: &[u8] = b"crp/1 renewal\0";
/// How far clocks may be apart, as of every message.
const SKEW_MS: u64 = 60_000;

/// One that was read and not judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Renewal {
    /// Whose key is renewed.
    pub gateway: [u8; 16],
    /// For how long the old key is taken beside the new one.
    pub overlap_s: u32,
    at: UnixMillis,
    signature: [u8; 64],
}

/// What is signed.
fn signed(
    gateway: &[u8; 16],
    role: Role,
    overlap_s: u32,
    at: UnixMillis,
    new: &[u8; 32],
) -> Vec<u8> {
    let (overlap, at) = (overlap_s.to_be_bytes(), at.0.to_be_bytes());
    [LABEL, gateway, &[role.code()], &overlap, &at, new].concat()
}

impl Renewal {
    /// By `old`, for the key `new`.
    pub fn sign(
        old: &SigningKey,
        gateway: [u8; 16],
        role: Role,
        new: &[u8; 32],
        (overlap_s, at): (u32, UnixMillis),
    ) -> Self {
        let signature = old.sign(&signed(&gateway, role, overlap_s, at, new)).to_bytes();
        Self { gateway, overlap_s, at, signature }
    }

    /// As it stands in an enrolment.
    pub fn written(&self) -> Secret {
        let (overlap, at) = (self.overlap_s.to_be_bytes(), self.at.0.to_be_bytes());
        Secret::new([PREFIX, &self.gateway, &overlap, &at, &self.signature].concat())
    }

    /// Of what stands there; `None` for a join token.
    pub fn parse(written: &[u8]) -> Option<Self> {
        let (gateway, rest) = written.strip_prefix(PREFIX)?.split_first_chunk::<16>()?;
        let (overlap, rest) = rest.split_first_chunk::<4>()?;
        let (at, signature) = rest.split_first_chunk::<8>()?;
        Some(Self {
            gateway: *gateway,
            overlap_s: u32::from_be_bytes(*overlap),
            at: UnixMillis(u64::from_be_bytes(*at)),
            signature: signature.try_into().ok()?,
        })
    }

    /// Whether the holder of `old` says now that `new` takes over.
    pub fn holds(&self, old: &[u8; 32], role: Role, new: &[u8; 32], now: UnixMillis) -> bool {
        let signed = signed(&self.gateway, role, self.overlap_s, self.at, new);
        let in_time = now.0.abs_diff(self.at.0) <= SKEW_MS;
        let bounded = self.overlap_s <= LONGEST_OVERLAP_S;
        in_time && bounded && identity::verify(old, &signed, &self.signature)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: UnixMillis = UnixMillis(1_795_332_600_000);

    fn renewal(overlap_s: u32) -> (Renewal, [u8; 32], [u8; 32]) {
        let (old, new) = (SigningKey::from_bytes(&[1; 32]), [2; 32]);
        let renewal = Renewal::sign(&old, [3; 16], Role::Gate, &new, (overlap_s, AT));
        (renewal, old.verifying_key().to_bytes(), new)
    }

    #[test]
    fn a_renewal_reads_as_it_was_written_and_a_join_token_as_none() {
        let (renewal, ..) = renewal(60);
        assert_eq!(Renewal::parse(renewal.written().expose()), Some(renewal.clone()));
        let whole = renewal.written().expose().to_vec();
        for other in [&b"crpj_"[..], b"", &whole[..whole.len() - 1], &[&whole[..], b"x"].concat()] {
            assert_eq!(Renewal::parse(other), None);
        }
    }

    #[test]
    fn a_renewal_holds_for_its_own_keys_role_and_time_alone() {
        let (good, old, new) = renewal(60);
        assert!(good.holds(&old, Role::Gate, &new, AT));
        let mut moved = good.clone();
        moved.gateway = [4; 16];
        let mut longer = good.clone();
        longer.overlap_s = 61;
        let late = UnixMillis(AT.0 + 60_001);
        for (renewal, old, role, new, now) in [
            (&good, &new, Role::Gate, &new, AT),
            (&good, &old, Role::Credential, &new, AT),
            (&good, &old, Role::Gate, &old, AT),
            (&good, &old, Role::Gate, &new, late),
            (&moved, &old, Role::Gate, &new, AT),
            (&longer, &old, Role::Gate, &new, AT),
        ] {
            assert!(!renewal.holds(old, role, new, now));
        }
        let (endless, old, new) = self::renewal(LONGEST_OVERLAP_S + 1);
        assert!(!endless.holds(&old, Role::Gate, &new, AT));
    }
}
