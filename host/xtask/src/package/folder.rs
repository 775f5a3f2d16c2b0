//! The folder of a package: its list of files, the signature over it, and how it is written.
//!
//! Owns what is around the files; the texts are `postern-tlog`'s. Invariant: nothing is removed
//! but an earlier package.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64;
use ed25519_dalek::SigningKey;
use postern_tlog::note::{self, Key};
use postern_tlog::package::{NOTE, Package, SUMS, Sums};
use sha2::{Digest, Sha256};

use super::Files;
use super::source::About;
use crate::run::Failure;

/// Most bytes of a key file.
const MAX_KEY: usize = 1 << 10;

/// A key and its name.
pub struct Signer {
    name: String,
    key: SigningKey,
    public: Key,
}

impl Signer {
    /// Reads a file that nobody else may read.
    pub fn read(path: &Path, name: &str) -> Result<Self> {
        let wrong = || {
            let text = format!("{}: expected 32 bytes in base64url", path.display());
            Failure::environment(text)
        };
        let text = postern_files::read_private(path, MAX_KEY)?;
        let seed = B64.decode(text.trim_ascii()).map_err(|_| wrong())?;
        Self::new(&seed.try_into().map_err(|_| wrong())?, name)
    }

    /// The key of a seed.
    pub fn new(seed: &[u8; 32], name: &str) -> Result<Self> {
        let key = SigningKey::from_bytes(seed);
        let public = Key::new(name, key.verifying_key().as_bytes());
        let public = public.ok_or_else(|| Failure::usage("--signer: no spaces and no +"))?;
        Ok(Self { name: name.to_owned(), key, public })
    }

    /// What verifies its signatures.
    pub fn vkey(&self) -> String {
        self.public.vkey()
    }
}

/// Adds the list of all files, and its signature.
pub fn seal(files: &mut Files, about: &About, signer: Option<&Signer>) -> Result<()> {
    let sum = |bytes: &Vec<u8>| <[u8; 32]>::from(Sha256::digest(bytes));
    let sums = Sums(files.iter().map(|(name, bytes)| (name.clone(), sum(bytes))).collect());
    let list = sums.text();
    if Sums::parse(&list).is_none() {
        anyhow::bail!("a list of files that nobody reads");
    }
    if let Some(signer) = signer {
        let sums = Sha256::digest(&list).into();
        let (version, revision) = (about.version.to_owned(), about.revision());
        let package = Package { version, revision, sums };
        let note = package.is_canonical().then(|| package.text());
        let note = note.and_then(|text| note::sign(&text, &signer.name, &[&signer.key]));
        files.insert(NOTE.into(), note.context("a commit and a version to sign")?.into_bytes());
    }
    files.insert(SUMS.into(), list.into_bytes());
    Ok(())
}

/// Writes them in place of what an earlier package left there.
pub fn write(out: &Path, files: &Files) -> Result<()> {
    let used = fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_some());
    if used && !out.join(SUMS).is_file() {
        let text = format!("{}: neither empty nor an earlier package", out.display());
        return Err(Failure::usage(text));
    }
    if used {
        fs::remove_dir_all(out)?;
    }
    for (name, bytes) in files {
        let path = out.join(name);
        fs::create_dir_all(path.parent().unwrap_or(out))?;
        postern_files::write_atomic(path, bytes)?;
    }
    Ok(())
}

/// The files of one of its folders, by their names in that.
pub fn below(files: &Files, folder: &str) -> Files {
    let inside = |name: &str| Some(name.strip_prefix(folder)?.strip_prefix('/')?.to_owned());
    files.iter().filter_map(|(name, bytes)| Some((inside(name)?, bytes.clone()))).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::about;
    use super::*;

    fn files() -> Files {
        Files::from([("a".into(), b"a".to_vec()), ("b/c".into(), b"c".to_vec())])
    }

    #[test]
    fn a_package_is_signed_over_all_its_files() {
        let signer = Signer::new(&[5; 32], "package.test").unwrap();
        let mut sealed = files();
        seal(&mut sealed, &about(), Some(&signer)).unwrap();
        let note = String::from_utf8(sealed[NOTE].clone()).unwrap();
        let key = Key::parse(&signer.vkey()).unwrap();
        let package = Package::open(&note, &[key], &sealed[SUMS]).unwrap();
        assert_eq!((package.version.as_str(), package.revision), ("1.2.3", "ab".repeat(20)));
        let sums = Sums::parse(str::from_utf8(&sealed[SUMS]).unwrap()).unwrap();
        assert_eq!(sums.0.keys().collect::<Vec<_>>(), ["a", "b/c"]);
    }

    #[test]
    fn a_tree_with_changes_is_not_signed() {
        let signer = Signer::new(&[5; 32], "package.test").unwrap();
        let changed = About { changed: true, ..about() };
        assert!(seal(&mut files(), &changed, Some(&signer)).is_err());
        assert!(seal(&mut files(), &changed, None).is_ok());
        assert!(Signer::new(&[5; 32], "two words").is_err());
    }

    #[test]
    fn an_earlier_package_is_replaced_and_nothing_else_is() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        let mut sealed = files();
        seal(&mut sealed, &about(), None).unwrap();
        sealed.insert("old".into(), b"old".to_vec());
        write(&out, &sealed).unwrap();
        sealed.remove("old");
        write(&out, &sealed).unwrap();
        assert!(out.join("b/c").is_file() && !out.join("old").exists());
        let other = folder.path().join("other");
        fs::create_dir(&other).unwrap();
        write(&other, &sealed).unwrap();
        let mine = folder.path().join("mine");
        fs::create_dir(&mine).unwrap();
        postern_files::write_atomic(mine.join("letter"), b"dear").unwrap();
        assert!(write(&mine, &sealed).is_err());
        assert!(mine.join("letter").is_file());
    }

    #[test]
    fn a_key_file_has_one_form_and_one_reader() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        postern_files::write_private(&path, B64.encode([5; 32]).as_bytes()).unwrap();
        assert!(Signer::read(&path, "a").is_ok());
        postern_files::write_private(&path, b"short").unwrap();
        assert!(Signer::read(&path, "a").is_err());
        let open = folder.path().join("open");
        postern_files::write_atomic(&open, B64.encode([5; 32]).as_bytes()).unwrap();
        assert!(Signer::read(&open, "a").is_err());
    }
}
