//! Keys, tokens and URLs as the command line has them.
//!
//! Invariant: a private key comes from a file that only its owner can read, and goes to a
//! new one.

use std::io::Read;
use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64;
use ed25519_dalek::SigningKey;
use postern_capability::{PublicKey, form, mint, proof, token};
use zeroize::Zeroizing;

use crate::failure::{Failure, Outcome, Sort};
use crate::random;

/// Longest key file.
const KEY: usize = 64;
/// Longest content that is signed here.
const CONTENT: usize = 64 << 20;

/// Makes a key, writes its private half to a new file and returns the public half.
pub fn make_key(path: &Path) -> Outcome<PublicKey> {
    let seed = Zeroizing::new(random::bytes::<32>()?);
    let text = Zeroizing::new(format!("{}\n", B64.encode(*seed)));
    // An existing key is never replaced.
    postern_files::reserve(path).or_environment("no new key")?;
    postern_files::write_private(path, text.as_bytes()).or_environment("no new key")?;
    mint::public(&SigningKey::from_bytes(&seed)).ok_or_else(|| Failure::bug("key"))
}

/// Reads a private key.
pub fn private_key(path: &Path) -> Outcome<SigningKey> {
    let bytes = Zeroizing::new(postern_files::read_private(path, KEY).or_environment("no key")?);
    let seed = Zeroizing::new(B64.decode(bytes.trim_ascii()).unwrap_or_default());
    let seed: Option<&[u8; 32]> = seed.as_slice().try_into().ok();
    let expected = || format!("{}: expected a private key", path.display());
    seed.map(SigningKey::from_bytes).ok_or_else(|| Failure::environment(expected()))
}

/// A public key as text.
pub fn shown(key: &PublicKey) -> String {
    B64.encode(key.as_bytes())
}

/// Parses a public key.
pub fn public_key(text: &str) -> Result<PublicKey, String> {
    let bytes = B64.decode(text).unwrap_or_default();
    PublicKey::parse(&bytes).ok_or_else(|| "expected an Ed25519 key in base64url".to_owned())
}

/// Parses `ID=KEY`.
pub fn issuer_key(text: &str) -> Result<(String, PublicKey), String> {
    let (id, key) = text.split_once('=').ok_or("expected ID=KEY")?;
    if !form::key_id(id) {
        return Err("expected an id of at most 64 visible characters".to_owned());
    }
    Ok((id.to_owned(), public_key(key)?))
}

/// Reads a token; `-` is stdin.
pub fn token(path: &Path) -> Outcome<String> {
    // One more than the longest, so that a longer one is refused as that.
    let most = token::LENGTH + 2;
    let bytes = if path == Path::new("-") {
        let mut bytes = Vec::new();
        let limit = u64::try_from(most).or_bug("limit")?;
        std::io::stdin().lock().take(limit).read_to_end(&mut bytes).or_environment("stdin")?;
        bytes
    } else {
        postern_files::read_bounded(path, most).or_environment("no token")?
    };
    let text = String::from_utf8(bytes).or_found(path.display())?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// Reads the content of a request.
pub fn content(path: &Path) -> Outcome<Vec<u8>> {
    postern_files::read_bounded(path, CONTENT).or_environment("no content")
}

/// A field of a request: its name in lower case, and its value.
pub type Field = (String, String);

/// Parses `NAME: VALUE`.
pub fn field(text: &str) -> Result<Field, String> {
    let parts = text.split_once(':').map(|(name, value)| (name.trim(), value.trim()));
    let (name, value) = parts.filter(|(name, _)| !name.is_empty()).ok_or("expected NAME: VALUE")?;
    Ok((name.to_ascii_lowercase(), value.to_owned()))
}

/// Fields as they are signed and verified, ascending.
pub fn borrowed(fields: &[Field]) -> Vec<(&str, &str)> {
    let mut all: Vec<_> =
        fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    all.sort_unstable();
    all
}

/// The parts of a URL that are signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// `https` or `http`.
    pub scheme: String,
    /// Host and port.
    pub authority: String,
    /// Path and query.
    pub target: String,
}

impl Url {
    /// The authority as rights name it.
    pub fn host(&self) -> Outcome<String> {
        proof::authority(&self.scheme, &self.authority).ok_or_else(|| Failure::usage("--url"))
    }

    /// The path as rights name it.
    pub fn path(&self) -> &str {
        match self.target.split('?').next() {
            None | Some("") => "/",
            Some(path) => path,
        }
    }
}

/// Parses an absolute URL without user information and fragment.
pub fn url(text: &str) -> Result<Url, String> {
    let expected = || "expected https://HOST/PATH, encoded, without a fragment".to_owned();
    let (scheme, rest) = text.split_once("://").ok_or_else(expected)?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, target) = rest.split_at(end);
    let plain = text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#' && byte != b'\\');
    let known = matches!(scheme, "https" | "http");
    if !plain || !known || authority.is_empty() || authority.contains('@') {
        return Err(expected());
    }
    let [scheme, authority, target] = [scheme, authority, target].map(str::to_owned);
    Ok(Url { scheme, authority, target })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        let rows = [
            ("https://a.test", "a.test", "", "/"),
            ("http://a.test:81/b/c?d=/?e", "a.test:81", "/b/c?d=/?e", "/b/c"),
            ("https://a.test?x", "a.test", "?x", "/"),
        ];
        for (text, authority, target, path) in rows {
            let url = url(text).unwrap();
            assert_eq!(
                (url.authority.as_str(), url.target.as_str(), url.path()),
                (authority, target, path)
            );
        }
        for text in [
            "",
            "a.test/b",
            "ftp://a.test/",
            "https:///b",
            "https://u@a.test/",
            "https://a.test/#b",
            "https://a.test/ü",
        ] {
            assert!(url(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_made_key_is_private_and_never_replaced() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("holder.key");
        let public = make_key(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(mint::public(&private_key(&path).unwrap()), Some(public.clone()));
        assert!(make_key(&path).is_err());
        assert_eq!(mint::public(&private_key(&path).unwrap()), Some(public));
    }
}
