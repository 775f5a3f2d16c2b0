//! The key that one release is wrapped to, and the unwrapping.
//!
//! `CKM_RSA_AES_KEY_WRAP` with SHA-256: an AES key under RSA-OAEP, then the key itself under
//! that AES key (RFC 5649). Invariant: lengths are checked before anything is cut, and every
//! way in which a ciphertext does not open is the same refusal.

use aes_kw::{KeyInit, KwpAes256};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64;
use postern_core::secret::Secret;
use rsa::PrivateKey;
use rsa::traits::PublicKeyParts;
use serde_json::json;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::Refused;

/// Bits of the modulus.
const BITS: usize = 2048;
/// Bytes of the modulus, and so of the first part of a ciphertext.
const MODULUS: usize = BITS / 8;
/// Shortest second part: one block, and the integrity check (RFC 5649, section 4.1).
const LEAST: usize = 16;
/// Longest released key: PKCS#8 of RSA-4096 is under 2.4 KiB.
const MOST: usize = 4096;

/// Drawn for one release, and dropped with it.
pub struct TransferKey(PrivateKey);

impl TransferKey {
    /// Draws one.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn draw() -> Result<Self, Refused> {
        let drawn = PrivateKey::new(&mut getrandom::SysRng, BITS);
        drawn.map(Self).map_err(|_| Refused::NoRandomness)
    }

    /// The runtime data that the report has to bind: exactly one key.
    #[must_use]
    pub fn runtime(&self) -> Vec<u8> {
        let (modulus, exponent) = (self.0.n_bytes(), self.0.e_bytes());
        let key = json!({
            "e": B64.encode(exponent), "key_ops": ["encrypt"], "kid": "postern-transfer",
            "kty": "RSA", "n": B64.encode(modulus),
        });
        json!({"keys": [key]}).to_string().into_bytes()
    }

    /// Opens what was wrapped to this key.
    ///
    /// # Errors
    /// [`Refused::Unwrap`].
    pub fn unwrap(&self, ciphertext: &[u8]) -> Result<Secret, Refused> {
        let (to_key, to_aes) = ciphertext.split_at_checked(MODULUS).ok_or(Refused::Unwrap)?;
        if to_aes.len() < LEAST || to_aes.len() > MOST {
            return Err(Refused::Unwrap);
        }
        let aes = self.0.oaep_decrypt::<Sha256>(to_key).map(Zeroizing::new);
        let aes = aes.map_err(|_| Refused::Unwrap)?;
        padded_unwrap(&aes, to_aes)
    }
}

/// RFC 5649, section 4.2, with a key of 256 bits.
fn padded_unwrap(key: &[u8], wrapped: &[u8]) -> Result<Secret, Refused> {
    let cipher = KwpAes256::new_from_slice(key).map_err(|_| Refused::Unwrap)?;
    let mut buffer = Zeroizing::new(vec![0; wrapped.len()]);
    let plain = cipher.unwrap_key(wrapped, &mut buffer).map_err(|_| Refused::Unwrap)?;
    Ok(Secret::new(plain.to_vec()))
}
