//! The text that a package of modules is signed by, and the list of its files.
//!
//! Owns both texts; reads no folder. Invariant: the names of a list lead nowhere but into the
//! package's own folder, each is there once, and a text in another form is none.

use std::collections::BTreeMap;

use postern_core::hex;
use sha2::{Digest, Sha256};

use crate::note::{self, Key, NotOpened};

/// Name of the list, which names neither itself nor its signature.
pub const SUMS: &str = "SHA256SUMS";
/// Name of the note over the list.
pub const NOTE: &str = "SHA256SUMS.note";
/// Most bytes of a list.
pub const LENGTH: usize = 64 << 10;
/// The first line: no text of another kind begins so, whichever key signed it.
const HEAD: &str = "postern package/1\n";

/// What the note says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    /// Version of the modules.
    pub version: String,
    /// Commit that they were built of: a SHA-1 or SHA-256 name, lower-case hex.
    pub revision: String,
    /// SHA-256 of the list.
    pub sums: [u8; 32],
}

/// SHA-256 of each file, by its name in the package.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sums(pub BTreeMap<String, [u8; 32]>);

/// Why a signature does not hold for a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Not opened by any of the keys.
    #[error("{NOTE}: {0}")]
    Note(#[from] NotOpened),
    /// Signed, but it is of another kind.
    #[error("{NOTE}: what is signed is no package")]
    OtherKind,
    /// The list is another one.
    #[error("{SUMS} is not the list that was signed")]
    OtherList,
}

impl Package {
    /// The bytes that are signed.
    pub fn text(&self) -> String {
        let Self { version, revision, sums } = self;
        format!("{HEAD}version {version}\nrevision {revision}\nsums {}\n", hex::lower(sums))
    }

    /// Reads a text.
    pub fn parse(text: &str) -> Option<Self> {
        let (version, rest) =
            text.strip_prefix(HEAD)?.strip_prefix("version ")?.split_once('\n')?;
        let (revision, rest) = rest.strip_prefix("revision ")?.split_once('\n')?;
        let sums = rest.strip_prefix("sums ")?.strip_suffix('\n')?;
        let (version, revision) = (version.to_owned(), revision.to_owned());
        let package = Self { version, revision, sums: hex::read(sums.as_bytes())? };
        package.is_canonical().then_some(package)
    }

    /// Whether the version is one word and the revision a commit.
    pub fn is_canonical(&self) -> bool {
        let digits = self.revision.as_bytes();
        let commit = hex::read::<20>(digits).is_some() || hex::read::<32>(digits).is_some();
        commit && is_word(&self.version)
    }

    /// What `keys` have signed of this list.
    ///
    /// # Errors
    /// When none of them did, or what they signed is something else.
    pub fn open(note: &str, keys: &[Key], list: &[u8]) -> Result<Self, Refused> {
        let package = Self::parse(note::open(note, keys)?).ok_or(Refused::OtherKind)?;
        let same = package.sums == <[u8; 32]>::from(Sha256::digest(list));
        same.then_some(package).ok_or(Refused::OtherList)
    }
}

impl Sums {
    /// As `sha256sum` writes it, in the order of the names.
    pub fn text(&self) -> String {
        self.0.iter().map(|(name, sum)| format!("{}  {name}\n", hex::lower(sum))).collect()
    }

    /// Reads a list, which is in order and ends with a line break.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > LENGTH {
            return None;
        }
        let line = |line: &str| {
            let (sum, name) = line.split_once("  ").filter(|(_, name)| is_path(name))?;
            Some((name.to_owned(), hex::read(sum.as_bytes())?))
        };
        let sums = Self(text.split_terminator('\n').map(line).collect::<Option<_>>()?);
        (sums.text() == text && !sums.0.is_empty()).then_some(sums)
    }
}

/// Whether it names a file below the folder: words between single slashes.
fn is_path(name: &str) -> bool {
    name != SUMS && name != NOTE && name.split('/').all(is_word)
}

fn is_word(word: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"._-+".contains(&byte);
    !word.is_empty() && !word.starts_with('.') && word.len() <= 128 && word.bytes().all(good)
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;

    use super::*;

    fn package() -> Package {
        Package { version: "0.1.0".into(), revision: "ab".repeat(20), sums: [7; 32] }
    }

    #[test]
    fn a_text_is_read_in_its_one_form_alone() {
        let text = package().text();
        assert_eq!(Package::parse(&text), Some(package()));
        for bad in [
            text.replace("package/1", "package/2"),
            text.replace("0.1.0", "0.1.0 beta"),
            text.replace("version 0.1.0\n", ""),
            text.replace("abab", "ABAB"),
            text.replace("abab", "ab"),
            text.replace("0707", "07"),
            format!("{text}\n"),
            text.trim_end().to_owned(),
            String::new(),
        ] {
            assert_eq!(Package::parse(&bad), None, "{bad}");
        }
    }

    #[test]
    fn a_list_names_files_below_its_folder_once_and_in_order() {
        let sums = Sums([("a/b.wasm".to_owned(), [1; 32]), ("c".to_owned(), [2; 32])].into());
        let text = sums.text();
        assert_eq!(Sums::parse(&text), Some(sums));
        let (first, second) = text.split_once('\n').unwrap();
        for bad in [
            format!("{second}{first}\n"),
            format!("{first}\n{first}\n"),
            text.trim_end().to_owned(),
            text.replace("  a", " a"),
            text.replace("  a", " *a"),
            text.replace("0101", "01"),
            text.replace("0101", "0A01"),
            String::new(),
        ] {
            assert_eq!(Sums::parse(&bad), None, "{bad}");
        }
        let names = ["/a", "../a", "a/../b", "a//b", "a/", ".a", "a b", "a\\b", SUMS, NOTE, ""];
        for name in names {
            assert_eq!(Sums::parse(&Sums([(name.to_owned(), [1; 32])].into()).text()), None);
        }
    }

    #[test]
    fn a_signature_holds_for_its_list_and_its_kind() {
        let (key, list) = (SigningKey::from_bytes(&[3; 32]), b"a list");
        let public = Key::new("package.test", key.verifying_key().as_bytes()).unwrap();
        let signed = |text: &str| note::sign(text, "package.test", &[&key]).unwrap();
        let package = Package { sums: Sha256::digest(list).into(), ..package() };
        let note = signed(&package.text());
        let keys = [public];
        assert_eq!(Package::open(&note, &keys, list), Ok(package));
        assert_eq!(Package::open(&note, &keys, b"another"), Err(Refused::OtherList));
        assert_eq!(Package::open(&note, &[], list), Err(NotOpened::UnknownKey.into()));
        let release = signed("postern release set\n");
        assert_eq!(Package::open(&release, &keys, list), Err(Refused::OtherKind));
        let forged = note.replace("0.1.0", "0.2.0");
        assert_eq!(Package::open(&forged, &keys, list), Err(NotOpened::Forged.into()));
    }
}
