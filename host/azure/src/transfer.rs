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

#[cfg(test)]
mod tests {
    use aes_kw::KwpAes192;

    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        let digits = text.as_bytes().chunks(2);
        digits.map(|two| u8::from_str_radix(str::from_utf8(two).unwrap(), 16).unwrap()).collect()
    }

    #[test]
    fn the_vectors_of_rfc_5649_hold() {
        let key = hex("5840df6e29b02af1ab493b705bf16ea1ae8338f4dcc176a8");
        let cipher = KwpAes192::new_from_slice(&key).unwrap();
        for (plain, wrapped) in [
            (
                "c37b7e6492584340bed12207808941155068f738",
                "138bdeaa9b8fa7fc61f97742e72248ee5ae6ae5360d1ae6a5f54f373fa543b6a",
            ),
            ("466f7250617369", "afbeb0f07dfbf5419200f2ccb50bb24f"),
        ] {
            let mut buffer = [0; 64];
            assert_eq!(cipher.unwrap_key(&hex(wrapped), &mut buffer).unwrap(), hex(plain));
        }
    }

    #[test]
    fn a_changed_byte_a_cut_and_another_key_do_not_open() {
        let key = [3; 32];
        let cipher = KwpAes256::new_from_slice(&key).unwrap();
        // Lengths with and without padding; the check covers length and padding too.
        for length in [1, 7, 8, 9, 20, 32] {
            let mut buffer = [0; 64];
            let whole = cipher.wrap_key(&vec![5; length], &mut buffer).unwrap().to_vec();
            assert_eq!(padded_unwrap(&key, &whole).unwrap().expose(), vec![5; length]);
            assert!(padded_unwrap(&[4; 32], &whole).is_err());
            for at in 0..whole.len() {
                let mut changed = whole.clone();
                changed[at] ^= 1;
                assert_eq!(padded_unwrap(&key, &changed).err(), Some(Refused::Unwrap), "{at}");
                assert_eq!(padded_unwrap(&key, &whole[..at]).err(), Some(Refused::Unwrap), "{at}");
            }
        }
    }
}
