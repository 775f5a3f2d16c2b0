//! AES-256-GCM with a random nonce in front: `nonce(12) || ciphertext || tag(16)`.

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use postern_core::secret::Secret;

use crate::fault::Fault;
use crate::random;

const NONCE: usize = 12;

/// Seals `plain` under `key`, bound to `aad`.
pub fn seal(key: &Secret, aad: &[u8], plain: &[u8]) -> Result<Vec<u8>, Fault> {
    let cipher = cipher(key)?;
    let nonce = random::bytes::<NONCE>()?;
    let sealed = cipher
        .encrypt(&Nonce::from(nonce), Payload { msg: plain, aad })
        .map_err(|_| Fault::Sealed("plaintext"))?;
    Ok([nonce.as_slice(), &sealed].concat())
}

/// Opens what [`seal`] made. `what` names the thing in the error.
pub fn open(key: &Secret, aad: &[u8], sealed: &[u8], what: &'static str) -> Result<Secret, Fault> {
    let (nonce, msg) = sealed.split_first_chunk::<NONCE>().ok_or(Fault::Sealed(what))?;
    let plain = cipher(key)?
        .decrypt(&Nonce::from(*nonce), Payload { msg, aad })
        .map_err(|_| Fault::Sealed(what))?;
    Ok(Secret::new(plain))
}

fn cipher(key: &Secret) -> Result<Aes256Gcm, Fault> {
    Aes256Gcm::new_from_slice(key.expose()).map_err(|_| Fault::Malformed("key length"))
}
