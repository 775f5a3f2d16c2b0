//! Data keys: one for each tenant and one for the service itself.

use hkdf::Hkdf;
use postern_core::secret::Secret;
use sha2::Sha256;

use crate::envelope::{KekProvider, aead, put};
use crate::fault::Fault;
use crate::random;

/// What a data key protects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The service's own seeds.
    System,
    /// The credentials of one tenant.
    Tenant(String),
}

impl Scope {
    /// As stored: `system` or `tenant:NAME`.
    pub fn text(&self) -> String {
        match self {
            Self::System => "system".to_owned(),
            Self::Tenant(tenant) => format!("tenant:{tenant}"),
        }
    }

    /// Of what [`Scope::text`] wrote.
    pub fn of(text: &str) -> Option<Self> {
        match text.strip_prefix("tenant:") {
            Some(tenant) => Some(Self::Tenant(tenant.to_owned())),
            None => (text == "system").then_some(Self::System),
        }
    }
}

/// An unwrapped data key with its id.
pub struct Dek {
    id: [u8; 16],
    key: Secret,
}

impl Dek {
    /// Draws a new key and its id.
    pub fn draw() -> Result<Self, Fault> {
        Ok(Self { id: random::bytes()?, key: random::key()? })
    }

    /// Its id.
    pub fn id(&self) -> &[u8; 16] {
        &self.id
    }

    /// Wrapped for the database.
    pub fn wrapped(
        &self,
        scope: &Scope,
        kek: &dyn KekProvider,
        kek_id: &str,
    ) -> Result<Vec<u8>, Fault> {
        kek.wrap(kek_id, &aad(scope, &self.id, kek_id), &self.key)
    }

    /// Unwraps the row of `scope`.
    pub fn unwrap(
        id: [u8; 16],
        wrapped: &[u8],
        scope: &Scope,
        kek: &dyn KekProvider,
        kek_id: &str,
    ) -> Result<Self, Fault> {
        Ok(Self { id, key: kek.unwrap(kek_id, &aad(scope, &id, kek_id), wrapped)? })
    }

    /// A key for one use only: HKDF-SHA256 with `salt` and `label`.
    pub(super) fn derive(&self, salt: &[u8], label: &[u8]) -> Result<Secret, Fault> {
        let mut key = vec![0; 32];
        Hkdf::<Sha256>::new(Some(salt), self.key.expose())
            .expand(label, &mut key)
            .map_err(|_| Fault::Malformed("key length"))?;
        Ok(Secret::new(key))
    }

    /// Seals a seed of the service under `name`.
    pub fn seal_seed(&self, name: &str, seed: &Secret) -> Result<Vec<u8>, Fault> {
        aead::seal(&self.derive(name.as_bytes(), b"seed/1")?, &seed_aad(name), seed.expose())
    }

    /// Opens a seed of the service.
    pub fn open_seed(&self, name: &str, sealed: &[u8]) -> Result<Secret, Fault> {
        let key = self.derive(name.as_bytes(), b"seed/1")?;
        aead::open(&key, &seed_aad(name), sealed, "service key")
    }
}

fn aad(scope: &Scope, id: &[u8; 16], kek_id: &str) -> Vec<u8> {
    let mut aad = b"dek/1".to_vec();
    put(&mut aad, scope.text().as_bytes());
    put(&mut aad, id);
    put(&mut aad, kek_id.as_bytes());
    aad
}

fn seed_aad(name: &str) -> Vec<u8> {
    let mut aad = b"seed/1".to_vec();
    put(&mut aad, name.as_bytes());
    aad
}
