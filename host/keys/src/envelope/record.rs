//! Credential values at rest.
//!
//! ```text
//! k_rec    = HKDF-SHA256(DEK_t, salt = cred_id || version, "cred/1")
//! value_ct = AES-256-GCM(k_rec, random nonce, value, aad)
//! aad      = "cred/1" || lp16 tenant || lp16 name || cred_id || version || dek_id
//!            || policy_hash || not_after_ms (u64; 0 = no end)
//! ```
//!
//! One key per record version makes reuse of a nonce impossible in practice.

use postern_core::secret::Secret;
use postern_core::time::UnixMillis;

use crate::envelope::{Dek, aead, put};
use crate::fault::Fault;

/// Which record a ciphertext belongs to.
#[derive(Clone, Copy, Debug)]
pub struct RecordName<'a> {
    /// Owner.
    pub tenant: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Random id of the credential.
    pub cred_id: &'a [u8; 16],
    /// Version, from 1.
    pub version: u32,
    /// SHA-256 of the stored hosts, methods, paths and sites: a policy that is changed
    /// in the database takes the value with it.
    pub policy_hash: &'a [u8; 32],
    /// When the credential ends: an end that is moved in the database takes the value
    /// with it.
    pub not_after: Option<UnixMillis>,
}

impl RecordName<'_> {
    fn salt(&self) -> Vec<u8> {
        [self.cred_id.as_slice(), &self.version.to_be_bytes()].concat()
    }

    fn aad(&self, dek: &Dek) -> Vec<u8> {
        let mut aad = b"cred/1".to_vec();
        put(&mut aad, self.tenant.as_bytes());
        put(&mut aad, self.name.as_bytes());
        aad.extend_from_slice(&self.salt());
        aad.extend_from_slice(dek.id());
        aad.extend_from_slice(self.policy_hash);
        aad.extend_from_slice(&self.not_after.map_or(0, |end| end.0).to_be_bytes());
        aad
    }
}

/// Seals a value for the database.
pub fn seal_value(dek: &Dek, name: &RecordName<'_>, value: &Secret) -> Result<Vec<u8>, Fault> {
    aead::seal(&dek.derive(&name.salt(), b"cred/1")?, &name.aad(dek), value.expose())
}

/// Opens a value for one release.
pub fn open_value(dek: &Dek, name: &RecordName<'_>, value_ct: &[u8]) -> Result<Secret, Fault> {
    let key = dek.derive(&name.salt(), b"cred/1")?;
    aead::open(&key, &name.aad(dek), value_ct, "credential")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: RecordName<'static> = RecordName {
        tenant: "acme",
        name: "slack",
        cred_id: &[1; 16],
        version: 1,
        policy_hash: &[2; 32],
        not_after: Some(UnixMillis(7)),
    };

    fn sealed(dek: &Dek) -> Vec<u8> {
        seal_value(dek, &NAME, &Secret::new(b"sk_live".to_vec())).unwrap()
    }

    #[test]
    fn a_sealed_value_opens_under_its_own_name() {
        let dek = Dek::draw().unwrap();
        assert_eq!(open_value(&dek, &NAME, &sealed(&dek)).unwrap().expose(), b"sk_live");
    }

    #[test]
    fn a_value_moved_to_another_row_does_not_open() {
        let dek = Dek::draw().unwrap();
        for other in [
            RecordName { tenant: "other", ..NAME },
            RecordName { cred_id: &[9; 16], ..NAME },
            RecordName { version: 2, ..NAME },
            RecordName { policy_hash: &[9; 32], ..NAME },
            RecordName { name: "other", ..NAME },
            RecordName { not_after: None, ..NAME },
            RecordName { not_after: Some(UnixMillis(8)), ..NAME },
        ] {
            let opened = open_value(&dek, &other, &sealed(&dek));
            assert_eq!(opened.err(), Some(Fault::Sealed("credential")), "{other:?}");
        }
    }

    #[test]
    fn a_value_does_not_open_under_another_tenants_key_or_when_any_byte_changes() {
        let (dek, other) = (Dek::draw().unwrap(), Dek::draw().unwrap());
        let whole = sealed(&dek);
        assert!(open_value(&other, &NAME, &whole).is_err());
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            assert!(open_value(&dek, &NAME, &changed).is_err(), "byte {at}");
            assert!(open_value(&dek, &NAME, &whole[..at]).is_err(), "cut at {at}");
        }
    }
}
