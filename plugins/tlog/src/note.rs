//! Signed notes (C2SP signed-note) under Ed25519 keys: release sets, revocation heads and
//! checkpoints are texts of this form.
//!
//! Owns what is around a text, not what it says. Invariant: [`open`] returns a text only when a pinned key signed exactly these bytes and
//! no signature in a pinned key's name is bad; signatures of others are ignored.

use base64::Engine;
use base64::prelude::BASE64_STANDARD as B64;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use postern_core::hex;
use sha2::{Digest, Sha256};

/// Most bytes of a note.
pub const LENGTH: usize = 8 << 10;
/// Most signatures of a note.
const SIGNATURES: usize = 16;
/// The algorithm byte of Ed25519.
const ED25519: u8 = 1;
/// What a line of a signature begins with.
pub(crate) const DASH: &str = "\u{2014} ";

/// A key that notes are verified with (`vkey`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    name: String,
    key: VerifyingKey,
}

impl Key {
    /// Whether it is this one, under whatever name.
    pub fn is(&self, key: &VerifyingKey) -> bool {
        self.key == *key
    }

    /// A key of this name; `None` for a name that a note cannot have, or a bad key.
    pub fn new(name: &str, key: &[u8; 32]) -> Option<Self> {
        let key = VerifyingKey::from_bytes(key).ok().filter(|key| !key.is_weak())?;
        is_name(name).then(|| Self { name: name.to_owned(), key })
    }

    /// Reads `name+hex8+base64(0x01 || key)`.
    pub fn parse(text: &str) -> Option<Self> {
        let (name, rest) = text.split_once('+')?;
        let (id, key) = rest.split_once('+')?;
        let key = B64.decode(key).ok()?;
        let (ED25519, key) = key.split_first().map(|(kind, key)| (*kind, key))? else {
            return None;
        };
        let key = Self::new(name, key.try_into().ok()?)?;
        (hex::read(id.as_bytes())? == key.id()).then_some(key)
    }

    /// `name+hex8+base64(0x01 || key)`.
    pub fn vkey(&self) -> String {
        let key = [&[ED25519], self.key.as_bytes().as_slice()].concat();
        format!("{}+{}+{}", self.name, hex::lower(&self.id()), B64.encode(key))
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The first four bytes of `SHA-256(name || 0x0A || 0x01 || key)`.
    fn id(&self) -> [u8; 4] {
        key_id(&self.name, ED25519, &self.key)
    }
}

/// The first four bytes of `SHA-256(name || 0x0A || algorithm || key)`.
pub(crate) fn key_id(name: &str, algorithm: u8, key: &VerifyingKey) -> [u8; 4] {
    let hash = Sha256::new().chain_update(name).chain_update([0x0a, algorithm]);
    let [a, b, c, d, ..]: [u8; 32] = hash.chain_update(key.as_bytes()).finalize().into();
    [a, b, c, d]
}

/// Whether a key can have this name.
pub(crate) fn is_name(name: &str) -> bool {
    let good = |byte: u8| (b'!'..=b'~').contains(&byte) && byte != b'+';
    !name.is_empty() && name.len() <= 128 && name.bytes().all(good)
}

/// Why a note is not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotOpened {
    /// Not of this form.
    #[error("not a signed note")]
    Malformed,
    /// No signature by a known key.
    #[error("the note is signed by no known key")]
    UnknownKey,
    /// A signature in a known key's name is bad.
    #[error("the note is forged")]
    Forged,
}

/// The text of a note that one of `keys` has signed, with its last line break.
///
/// # Errors
/// When it is no note, or none of the keys signed it, or one of them seems to and did not.
pub fn open<'a>(note: &'a str, keys: &[Key]) -> Result<&'a str, NotOpened> {
    let (text, lines) = parts(note).ok_or(NotOpened::Malformed)?;
    let mut signed = false;
    for line in lines {
        signed |= holds(line, text, keys)?;
    }
    if signed { Ok(text) } else { Err(NotOpened::UnknownKey) }
}

/// The text and the lines of its signatures.
pub fn parts(note: &str) -> Option<(&str, Vec<&str>)> {
    if note.len() > LENGTH || !note.ends_with('\n') {
        return None;
    }
    let at = note.rfind("\n\n")?.checked_add(1)?;
    let (text, rest) = note.split_at_checked(at)?;
    let lines: Vec<&str> = rest.strip_prefix('\n')?.split_terminator('\n').collect();
    (1..=SIGNATURES).contains(&lines.len()).then_some((text, lines))
}

/// Whether a line is a good signature of a known key.
fn holds(line: &str, text: &str, keys: &[Key]) -> Result<bool, NotOpened> {
    let (name, id, signature) = signature(line).ok_or(NotOpened::Malformed)?;
    let Some(key) = keys.iter().find(|key| key.name == name && key.id() == id) else {
        return Ok(false);
    };
    let signature = Signature::from_slice(&signature).map_err(|_| NotOpened::Malformed)?;
    let verified = key.key.verify_strict(text.as_bytes(), &signature);
    verified.map(|()| true).map_err(|_| NotOpened::Forged)
}

/// Name, key id and the bytes of the signature.
pub fn signature(line: &str) -> Option<(&str, [u8; 4], Vec<u8>)> {
    let (name, value) = line.strip_prefix(DASH)?.split_once(' ')?;
    let value = B64.decode(value).ok()?;
    let (id, signature) = value.split_first_chunk::<4>()?;
    Some((name, *id, signature.to_vec()))
}

/// Signs a text that ends with a line break with each of `keys`, all under one name; the
/// note. `None` for a name that a note cannot have.
pub fn sign(text: &str, name: &str, keys: &[&SigningKey]) -> Option<String> {
    let mut note = format!("{text}\n");
    for key in keys {
        let public = Key::new(name, key.verifying_key().as_bytes())?;
        let value = [&public.id(), key.sign(text.as_bytes()).to_bytes().as_slice()].concat();
        note.push_str(&format!("{DASH}{name} {}\n", B64.encode(value)));
    }
    Some(note)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_bytes(&[seed; 32])
    }

    fn public(seed: u8, name: &str) -> Key {
        Key::new(name, key(seed).verifying_key().as_bytes()).unwrap()
    }

    #[test]
    fn a_note_is_opened_by_its_key_alone() {
        let note = sign("a\nb\n", "release", &[&key(1)]).unwrap();
        assert_eq!(open(&note, &[public(1, "release")]), Ok("a\nb\n"));
        for keys in [vec![], vec![public(2, "release")], vec![public(1, "other")]] {
            assert_eq!(open(&note, &keys), Err(NotOpened::UnknownKey));
        }
        let changed = note.replace("a\n", "A\n");
        assert_eq!(open(&changed, &[public(1, "release")]), Err(NotOpened::Forged));
        for bad in [
            note.clone() + "x",
            note.trim_end().to_owned(),
            note.replace('\u{2014}', "-"),
            note.replace("\n\n", "\n"),
            "a\n\n".to_owned(),
            String::new(),
        ] {
            let opened = open(&bad, &[public(1, "release")]);
            assert_eq!(opened, Err(NotOpened::Malformed), "{bad:?}");
        }
    }

    #[test]
    fn a_bad_signature_in_a_known_name_spoils_a_good_one_and_a_strangers_does_not() {
        let one = sign("a\n", "one", &[&key(1)]).unwrap();
        let two = sign("b\n", "two", &[&key(2)]).unwrap();
        let (_, line) = two.split_once("\n\n").unwrap();
        let both = format!("{one}{line}");
        assert_eq!(open(&both, &[public(1, "one")]), Ok("a\n"));
        let known = [public(1, "one"), public(2, "two")];
        assert_eq!(open(&both, &known), Err(NotOpened::Forged));
        let many = format!("{one}{}", line.repeat(16));
        assert_eq!(open(&many, &[public(1, "one")]), Err(NotOpened::Malformed));
    }

    #[test]
    fn keys_of_one_name_sign_one_note_and_each_opens_it() {
        let note = sign("a\n", "keys", &[&key(1), &key(2)]).unwrap();
        for seed in [1, 2] {
            assert_eq!(open(&note, &[public(seed, "keys")]), Ok("a\n"));
        }
        assert_eq!(open(&note, &[public(3, "keys")]), Err(NotOpened::UnknownKey));
        assert_eq!(sign("a\n", "a b", &[&key(1)]), None);
    }

    #[test]
    fn keys_are_read_as_they_are_written() {
        let text = public(1, "release.example").vkey();
        assert_eq!(Key::parse(&text), Some(public(1, "release.example")));
        for bad in [text.replace('+', "-"), text.to_uppercase(), text.clone() + "=", "a+b".into()] {
            assert_eq!(Key::parse(&bad), None, "{bad}");
        }
        assert_eq!(Key::new("a b", &[1; 32]), None);
    }
}
