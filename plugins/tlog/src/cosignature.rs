//! Cosignatures (C2SP tlog-cosignature, `cosignature/v1`): a witness says that it saw this
//! checkpoint at this time, and none that contradicts it.
//!
//! Owns a witness's key and the message that it signs. Invariant: the name, the key and the
//! algorithm byte are in the key id, so that no signature of a log passes for a witness's.

use base64::Engine;
use base64::prelude::BASE64_STANDARD as B64;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use postern_core::hex;

use crate::note::{self, DASH};

/// The algorithm byte of timestamped Ed25519.
const COSIGNATURE: u8 = 4;

/// A witness's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witness {
    name: String,
    key: VerifyingKey,
}

/// The witness's signature is bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forged;

impl Witness {
    /// A key of this name; `None` for a name that a note cannot have, or a bad key.
    pub fn new(name: &str, key: &[u8; 32]) -> Option<Self> {
        let key = VerifyingKey::from_bytes(key).ok().filter(|key| !key.is_weak())?;
        note::is_name(name).then(|| Self { name: name.to_owned(), key })
    }

    /// Reads `name+hex8+base64(0x04 || key)`.
    pub fn parse(text: &str) -> Option<Self> {
        let (name, rest) = text.split_once('+')?;
        let (id, key) = rest.split_once('+')?;
        let key = B64.decode(key).ok()?;
        let (COSIGNATURE, key) = key.split_first().map(|(kind, key)| (*kind, key))? else {
            return None;
        };
        let witness = Self::new(name, key.try_into().ok()?)?;
        (hex::read(id.as_bytes())? == witness.id()).then_some(witness)
    }

    /// `name+hex8+base64(0x04 || key)`.
    pub fn vkey(&self) -> String {
        let key = [&[COSIGNATURE], self.key.as_bytes().as_slice()].concat();
        format!("{}+{}+{}", self.name, hex::lower(&self.id()), B64.encode(key))
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether another has the same key, under whatever name.
    pub fn is(&self, other: &Self) -> bool {
        self.key == other.key
    }

    /// Whether a log signs with the same key.
    pub(crate) fn has_key_of(&self, log: &note::Key) -> bool {
        log.is(&self.key)
    }

    fn id(&self) -> [u8; 4] {
        note::key_id(&self.name, COSIGNATURE, &self.key)
    }

    /// The time in a line of a note, if the line is this witness's; seconds since 1970.
    ///
    /// # Errors
    /// [`Forged`] when it is in this witness's name and does not hold.
    pub fn time(&self, line: &str, text: &str) -> Result<Option<u64>, Forged> {
        let Some((name, id, value)) = note::signature(line) else { return Ok(None) };
        if name != self.name || id != self.id() {
            return Ok(None);
        }
        let (time, signature) = value.split_first_chunk::<8>().ok_or(Forged)?;
        let time = u64::from_be_bytes(*time);
        let signature = Signature::from_slice(signature).map_err(|_| Forged)?;
        let message = message(text, time);
        let verified = self.key.verify_strict(message.as_bytes(), &signature);
        verified.map(|()| Some(time)).map_err(|_| Forged)
    }
}

fn message(text: &str, time: u64) -> String {
    format!("cosignature/v1\ntime {time}\n{text}")
}

/// The line that a witness adds to a note of this text. `None` for a name that a note cannot
/// have.
pub fn sign(text: &str, time: u64, name: &str, key: &SigningKey) -> Option<String> {
    let witness = Witness::new(name, key.verifying_key().as_bytes())?;
    let signature = key.sign(message(text, time).as_bytes()).to_bytes();
    let value = [witness.id().as_slice(), &time.to_be_bytes(), &signature].concat();
    Some(format!("{DASH}{name} {}\n", B64.encode(value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_bytes(&[seed; 32])
    }

    fn witness(seed: u8, name: &str) -> Witness {
        Witness::new(name, key(seed).verifying_key().as_bytes()).unwrap()
    }

    #[test]
    fn a_cosignature_binds_time_text_and_name() {
        let line = sign("a\n", 77, "w.example", &key(1)).unwrap();
        let line = line.trim_end();
        let ours = witness(1, "w.example");
        assert_eq!(ours.time(line, "a\n"), Ok(Some(77)));
        assert_eq!(ours.time(line, "b\n"), Err(Forged));
        assert_eq!(witness(2, "w.example").time(line, "a\n"), Ok(None));
        assert_eq!(witness(1, "v.example").time(line, "a\n"), Ok(None));
        let (_, value) = line.rsplit_once(' ').unwrap();
        let mut value = B64.decode(value).unwrap();
        value[11] ^= 1;
        let later = format!("{DASH}w.example {}", B64.encode(&value));
        assert_eq!(ours.time(&later, "a\n"), Err(Forged));
        let short = format!("{DASH}w.example {}", B64.encode(&value[..9]));
        assert_eq!(ours.time(&short, "a\n"), Err(Forged));
    }

    #[test]
    fn keys_of_logs_are_no_keys_of_witnesses() {
        let text = witness(1, "w.example").vkey();
        assert_eq!(Witness::parse(&text), Some(witness(1, "w.example")));
        let log = note::Key::new("w.example", key(1).verifying_key().as_bytes()).unwrap();
        assert_eq!(Witness::parse(&log.vkey()), None);
        assert_eq!(note::Key::parse(&text), None);
        // The log's own signature is none of a witness, though the key is the same.
        let note = note::sign("a\n", "w.example", &[&key(1)]).unwrap();
        assert_eq!(witness(1, "w.example").time(note.lines().last().unwrap(), "a\n"), Ok(None));
    }
}
