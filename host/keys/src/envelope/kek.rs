//! Key-encryption keys: who may unwrap the data keys.
//!
//! Invariant: a KEK never touches the database; only what it wrapped does.

use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64;
use postern_core::secret::Secret;
use sha2::{Digest, Sha256};

use crate::envelope::aead;
use crate::fault::Fault;
use crate::files;
use crate::random;

/// Wraps and unwraps data keys.
pub trait KekProvider: Send + Sync {
    /// Names the key and its version; stored beside every wrapped key.
    fn id(&self) -> &str;
    /// Whether the key was released against an attestation of this process.
    fn attested(&self) -> bool;
    /// Wraps `plain`, bound to `aad`.
    ///
    /// # Errors
    /// When there is no randomness.
    fn wrap(&self, aad: &[u8], plain: &Secret) -> Result<Vec<u8>, Fault>;
    /// Unwraps what [`KekProvider::wrap`] made with the same `aad`.
    ///
    /// # Errors
    /// When it was wrapped by another key or for another purpose.
    fn unwrap(&self, aad: &[u8], wrapped: &[u8]) -> Result<Secret, Fault>;
}

/// A key in a file of mode 0600: for development and single machines. Not attested.
pub struct LocalKek {
    id: String,
    key: Secret,
}

impl LocalKek {
    /// Reads the key at `path`, or makes it there on first start.
    ///
    /// # Errors
    /// When the file is readable by group or others, or is not 32 bytes of base64url.
    pub fn release(path: &Path) -> Result<Self, Fault> {
        let key = files::key_or_new(path, random::key)?;
        let id = Sha256::new().chain_update(b"kek id\0").chain_update(key.expose()).finalize();
        Ok(Self { id: format!("local:{}", B64.encode(&id[..8])), key })
    }
}

impl KekProvider for LocalKek {
    fn id(&self) -> &str {
        &self.id
    }

    fn attested(&self) -> bool {
        false
    }

    fn wrap(&self, aad: &[u8], plain: &Secret) -> Result<Vec<u8>, Fault> {
        aead::seal(&self.key, aad, plain.expose())
    }

    fn unwrap(&self, aad: &[u8], wrapped: &[u8]) -> Result<Secret, Fault> {
        aead::open(&self.key, aad, wrapped, "data key")
    }
}
