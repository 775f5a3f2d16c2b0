//! Previews of approvals at rest. See `approvals::Preview` for the form.

use postern_core::secret::Secret;

use crate::envelope::{Dek, aead, put};
use crate::fault::Fault;

fn aad(tenant: &str, id: &[u8; 16]) -> Vec<u8> {
    let mut aad = b"preview/1".to_vec();
    put(&mut aad, tenant.as_bytes());
    aad.extend_from_slice(id);
    aad
}

/// Seals a preview for the database.
pub fn seal_preview(
    dek: &Dek,
    tenant: &str,
    id: &[u8; 16],
    preview: &Secret,
) -> Result<Vec<u8>, Fault> {
    aead::seal(&dek.derive(id, b"preview/1")?, &aad(tenant, id), preview.expose())
}

/// Opens a preview for a person.
pub fn open_preview(
    dek: &Dek,
    tenant: &str,
    id: &[u8; 16],
    sealed: &[u8],
) -> Result<Secret, Fault> {
    aead::open(&dek.derive(id, b"preview/1")?, &aad(tenant, id), sealed, "preview")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preview_opens_for_its_own_tenant_and_approval_alone() {
        let dek = Dek::draw().unwrap();
        let sealed = seal_preview(&dek, "acme", &[1; 16], &Secret::new(b"{}".to_vec())).unwrap();
        let opened = |tenant: &str, id| open_preview(&dek, tenant, id, &sealed).is_ok();
        assert!(opened("acme", &[1; 16]));
        assert!(!opened("other", &[1; 16]));
        assert!(!opened("acme", &[2; 16]));
    }
}
