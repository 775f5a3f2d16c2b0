//! Key-encryption keys from passphrases (Argon2id, RFC 9106).
//!
//! Who has the disk tries passphrases, each of which costs him what it costs here: memory and time
//! of [`COST`]. Invariant: a passphrase shorter than [`SHORTEST`] derives nothing, and neither it
//! nor its key is written anywhere.

use std::path::Path;

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64;
use postern_core::secret::Secret;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::config::Passphrase;
use crate::envelope::held::{Held, Named};
use crate::fault::Fault;
use crate::{files, random};

/// Least bytes of a passphrase: six words of a list of 7776, or 16 characters by chance.
const SHORTEST: usize = 16;
/// Most bytes of its file.
const LONGEST: usize = 1024;
/// KiB of memory, passes and lanes: the second recommendation of RFC 9106, section 4.
const COST: (u32, u32, u32) = (64 << 10, 3, 4);
/// File of the salt, 32 bytes, in the service's folder.
pub const SALT_FILE: &str = "kek.salt";

/// The keys of the passphrases in the files that `keys` names, salted by `kek.salt` in `folder`,
/// which is made on first start. Takes some tenths of a second for each.
///
/// # Errors
/// When a file cannot be read, is open to others, or holds too short a passphrase.
pub fn derived(keys: &Passphrase, folder: &Path) -> Result<Held, Fault> {
    let salt = salt(&folder.join(SALT_FILE))?;
    let salt = salt.expose();
    let first = named(&keys.file, salt)?;
    let others = keys.previous.iter().map(|file| named(file, salt)).collect::<Result<_, _>>()?;
    Ok(Held::new(first, others, false))
}

/// Not secret: replicas have the same one, and it is kept with backups of the database.
fn salt(path: &Path) -> Result<Secret, Fault> {
    files::key_or_new(path, random::key)
}

fn named(path: &Path, salt: &[u8]) -> Result<Named, Fault> {
    let text = postern_files::read_private(path, LONGEST).map(Zeroizing::new);
    let text = text.map_err(|error| Fault::file(path, &error))?;
    let passphrase = text.trim_ascii();
    if passphrase.len() < SHORTEST {
        let why = format!("expected a passphrase of at least {SHORTEST} bytes");
        return Err(Fault::file(path, &why));
    }
    let key = key(passphrase, salt).map_err(|error| Fault::file(path, &error))?;
    let id = Sha256::new().chain_update(b"kek id\0").chain_update(key.expose()).finalize();
    Ok((format!("passphrase:{}", B64.encode(&id[..8])), key))
}

fn key(passphrase: &[u8], salt: &[u8]) -> Result<Secret, argon2::Error> {
    let (memory, passes, lanes) = COST;
    let params = Params::new(memory, passes, lanes, Some(32))?;
    let mut key = Zeroizing::new([0; 32]);
    let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    argon.hash_password_into(passphrase, salt, key.as_mut_slice())?;
    Ok(Secret::new(key.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passphrase_and_salt_both_decide() {
        let key =
            |passphrase: &[u8], salt: u8| key(passphrase, &[salt; 32]).unwrap().expose().to_vec();
        let one = key(b"a passphrase of some length", 2);
        assert_eq!(one, key(b"a passphrase of some length", 2));
        assert_ne!(one, key(b"a passphrase of some lengtH", 2));
        assert_ne!(one, key(b"a passphrase of some length", 3));
    }
}
