//! Key-encryption keys: who may unwrap the data keys.
//!
//! Several may be known at a time, so that a rotation needs no moment at which all replicas and
//! all rows change together: every wrapped key says by which it was wrapped. Invariant: a KEK
//! never touches the database; only what it wrapped does.

use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

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
    /// Names the key, and its version, that wraps where a database names none yet.
    fn id(&self) -> &str;
    /// Whether the key was released against an attestation of this process.
    fn attested(&self) -> bool;
    /// Wraps `plain` by the key `id`, bound to `aad`.
    ///
    /// # Errors
    /// [`Fault::OtherKek`] for a key that is not known; when there is no randomness.
    fn wrap(&self, id: &str, aad: &[u8], plain: &Secret) -> Result<Vec<u8>, Fault>;
    /// Unwraps what [`KekProvider::wrap`] made by the same key with the same `aad`.
    ///
    /// # Errors
    /// [`Fault::OtherKek`] for a key that is not known; when it was wrapped for another purpose.
    fn unwrap(&self, id: &str, aad: &[u8], wrapped: &[u8]) -> Result<Secret, Fault>;
}

/// Keys in files of mode 0600: for development and single machines. Not attested.
pub struct LocalKek {
    path: PathBuf,
    id: String,
    keys: RwLock<Vec<Key>>,
}

struct Key {
    id: String,
    key: Secret,
}

impl Key {
    fn new(key: Secret) -> Self {
        let id = Sha256::new().chain_update(b"kek id\0").chain_update(key.expose()).finalize();
        Self { id: format!("local:{}", B64.encode(&id[..8])), key }
    }
}

/// The file of the key that a rotation goes to, beside that of the key in use.
#[must_use]
pub fn next_file(path: &Path) -> PathBuf {
    path.with_extension("next.key")
}

/// The file of the key that was in use before.
#[must_use]
pub fn previous_file(path: &Path) -> PathBuf {
    path.with_extension("previous.key")
}

impl LocalKek {
    /// Reads the key at `path`, or makes it there on first start, and those of a rotation.
    ///
    /// # Errors
    /// When a file is readable by group or others, or is not 32 bytes of base64url.
    pub fn release(path: &Path) -> Result<Self, Fault> {
        let own = Key::new(files::key_or_new(path, random::key)?);
        let id = own.id.clone();
        let kek = Self { path: path.to_owned(), id, keys: RwLock::new(vec![own]) };
        kek.look_again()?;
        Ok(kek)
    }

    /// The id of the key that a rotation goes to; makes it when there is none.
    ///
    /// # Errors
    /// As [`LocalKek::release`].
    pub fn next(&self) -> Result<String, Fault> {
        let next = Key::new(files::key_or_new(&next_file(&self.path), random::key)?);
        self.look_again()?;
        Ok(next.id)
    }

    /// Reads whichever files are there, as a rotation leaves them: in the order in which it moves
    /// a key, so that one which moves meanwhile is met in one place or the other.
    fn look_again(&self) -> Result<(), Fault> {
        let mut found = Vec::new();
        for path in [next_file(&self.path), self.path.clone(), previous_file(&self.path)] {
            found.extend(files::key_if_there(&path)?.map(Key::new));
        }
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        found.retain(|key| keys.iter().all(|known| known.id != key.id));
        keys.append(&mut found);
        Ok(())
    }

    /// Uses the key `id`; one that is not known yet may be in a file by now.
    fn with<T>(
        &self,
        id: &str,
        mut then: impl FnMut(&Secret) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        for looked in [false, true] {
            let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(key) = keys.iter().find(|key| key.id == id) {
                return then(&key.key);
            }
            drop(keys);
            if !looked {
                self.look_again()?;
            }
        }
        Err(Fault::OtherKek)
    }
}

impl KekProvider for LocalKek {
    fn id(&self) -> &str {
        &self.id
    }

    fn attested(&self) -> bool {
        false
    }

    fn wrap(&self, id: &str, aad: &[u8], plain: &Secret) -> Result<Vec<u8>, Fault> {
        self.with(id, |key| aead::seal(key, aad, plain.expose()))
    }

    fn unwrap(&self, id: &str, aad: &[u8], wrapped: &[u8]) -> Result<Secret, Fault> {
        self.with(id, |key| aead::open(key, aad, wrapped, "data key"))
    }
}
