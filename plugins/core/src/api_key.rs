//! API keys: `prefix || keyid(8) || "_" || secret(43) || crc(6)`, base62.
//!
//! Invites are of the same form under a prefix of their own.
//!
//! The key has 256 random bits, so one salted SHA-256 is enough at rest. Invariant:
//! nothing here stores or prints a whole key; comparison is constant time.

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::secret::Secret;

/// The base62 alphabet, in the order digits, upper case, lower case.
pub const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Characters of the key id.
pub const ID_LENGTH: usize = 8;
/// Characters of the secret part: 43 base62 digits hold 256 bits.
pub const SECRET_LENGTH: usize = 43;
/// What an invite starts with.
pub const INVITE_PREFIX: &str = "inv_";
const CRC_LENGTH: usize = 6;
const LABEL: &[u8] = b"postern key/1\0";

/// The public part of a key, by which the directory finds its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId([u8; ID_LENGTH]);

impl KeyId {
    /// Eight base62 characters, or `None`.
    pub fn new(text: &[u8]) -> Option<Self> {
        let id: [u8; ID_LENGTH] = text.try_into().ok()?;
        is_base62(&id).then_some(Self(id))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// A key that is well formed and whose checksum holds; nothing is known about it yet.
pub struct PresentedKey {
    id: KeyId,
    whole: Secret,
}

impl PresentedKey {
    /// Parses an invite.
    pub fn parse_invite(text: &[u8]) -> Option<Self> {
        Self::under(text, INVITE_PREFIX.as_bytes())
    }

    /// Parses `text` under one of `prefixes`. `None` for any other text: wrong
    /// prefix, length, alphabet or checksum.
    pub fn parse(text: &[u8], prefixes: &[String]) -> Option<Self> {
        prefixes.iter().find_map(|prefix| Self::under(text, prefix.as_bytes()))
    }

    fn under(text: &[u8], prefix: &[u8]) -> Option<Self> {
        let rest = text.strip_prefix(prefix)?;
        let (id, rest) = rest.split_at_checked(ID_LENGTH)?;
        let rest = rest.strip_prefix(b"_")?;
        let (secret, crc) = rest.split_at_checked(SECRET_LENGTH)?;
        let (body, _) = text.split_at_checked(text.len().checked_sub(crc.len())?)?;
        if !is_base62(secret) || crc != checksum(body) {
            return None;
        }
        Some(Self { id: KeyId::new(id)?, whole: Secret::new(text.to_vec()) })
    }

    /// The id to look up.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// The whole of it, to be handed to whoever can compare it.
    pub fn into_whole(self) -> Secret {
        self.whole
    }

    /// Whether this key is the stored one. Takes the same time for every answer.
    pub fn matches(&self, stored: &StoredKey) -> bool {
        digest(&stored.salt, self.whole.expose()).ct_eq(&stored.hash).into()
    }
}

/// What is kept of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredKey {
    /// 16 random bytes.
    pub salt: [u8; 16],
    /// `SHA-256("postern key/1\0" || salt || key)`.
    pub hash: [u8; 32],
}

impl StoredKey {
    /// Compared against when the id is unknown, so that the work is the same.
    pub const DUMMY: Self = Self { salt: [0; 16], hash: [0; 32] };

    /// The stored form of a whole key.
    pub fn of(salt: [u8; 16], key: &Secret) -> Self {
        Self { salt, hash: digest(&salt, key.expose()) }
    }
}

/// Puts a key together; `id` and `secret` must be base62 of the right lengths.
pub fn assemble(prefix: &str, id: &KeyId, secret: &[u8; SECRET_LENGTH]) -> Option<Secret> {
    if !is_base62(secret) {
        return None;
    }
    let mut key = prefix.as_bytes().to_vec();
    key.extend_from_slice(&id.0);
    key.push(b'_');
    key.extend_from_slice(secret);
    let crc = checksum(&key);
    key.extend_from_slice(&crc);
    Some(Secret::new(key))
}

fn digest(salt: &[u8; 16], key: &[u8]) -> [u8; 32] {
    #[cfg(test)]
    DIGESTS.with(|count| count.set(count.get().wrapping_add(1)));
    Sha256::new().chain_update(LABEL).chain_update(salt).chain_update(key).finalize().into()
}

#[cfg(test)]
thread_local! {
    /// How many keys this thread has hashed.
    pub(crate) static DIGESTS: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
}

/// CRC-32/ISO-HDLC of `body` in six base62 digits, zero padded, most significant first.
fn checksum(body: &[u8]) -> [u8; CRC_LENGTH] {
    let mut left = crc32fast::hash(body);
    let mut digits = [b'0'; CRC_LENGTH];
    for digit in digits.iter_mut().rev() {
        let index = usize::try_from(left % 62).unwrap_or_default();
        *digit = ALPHABET.get(index).copied().unwrap_or(b'0');
        left /= 62;
    }
    digits
}

fn is_base62(text: &[u8]) -> bool {
    text.iter().all(u8::is_ascii_alphanumeric)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Secret {
        assemble("pk_", &KeyId::new(b"AbCd0123").unwrap(), &[b'x'; 43]).unwrap()
    }

    #[test]
    fn an_assembled_key_parses_and_matches_its_stored_form() {
        let key = key();
        let parsed = PresentedKey::parse(key.expose(), &["tp_".into(), "pk_".into()]).unwrap();
        assert_eq!(parsed.id().as_str(), "AbCd0123");
        assert!(parsed.matches(&StoredKey::of([7; 16], &key)));
        assert!(!parsed.matches(&StoredKey::DUMMY));
    }

    #[test]
    fn any_changed_character_is_refused_offline() {
        let key = key();
        for at in 0..key.len() {
            let mut bytes = key.expose().to_vec();
            bytes[at] = if bytes[at] == b'Z' { b'Y' } else { b'Z' };
            assert!(PresentedKey::parse(&bytes, &["pk_".into()]).is_none(), "character {at}");
        }
    }
}
