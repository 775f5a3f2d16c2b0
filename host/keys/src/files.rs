//! Key files of the data directory.
//!
//! Invariant: a key file is made with mode 0600 and refused when group or others may
//! read it.

use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64;
use postern_core::secret::Secret;

use crate::fault::Fault;

const MAX_KEY_FILE: usize = 4096;

/// Reads 32 bytes of base64url from `path`; makes the file with `draw` when there is none.
///
/// # Errors
/// When the file cannot be read or written, is open to others, or holds something else.
pub fn key_or_new(
    path: &Path,
    draw: impl FnOnce() -> Result<Secret, Fault>,
) -> Result<Secret, Fault> {
    if !path.exists() {
        make(path, &draw()?)?;
    }
    let text = postern_files::read_private(path, MAX_KEY_FILE);
    read(path, text.map_err(|e| Fault::file(path, &e))?)
}

/// The same, for a file that need not be there.
///
/// # Errors
/// As [`key_or_new`].
pub fn key_if_there(path: &Path) -> Result<Option<Secret>, Fault> {
    match postern_files::read_private(path, MAX_KEY_FILE) {
        Ok(text) => read(path, text).map(Some),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Fault::file(path, &error)),
    }
}

fn read(path: &Path, text: Vec<u8>) -> Result<Secret, Fault> {
    let text = Secret::new(text);
    let line = text.expose().trim_ascii();
    let key = B64.decode(line).map(Secret::new);
    key.ok()
        .filter(|key| key.len() == 32)
        .ok_or_else(|| Fault::file(path, &"expected 32 bytes in base64url"))
}

/// Writes a key under a name of its own and links it to `path`: of two processes that
/// start at once one makes the key, and both then read it.
fn make(path: &Path, key: &Secret) -> Result<(), Fault> {
    let text = Secret::new(B64.encode(key.expose()).into_bytes());
    let mine = path.with_extension(format!("new{}", std::process::id()));
    postern_files::write_private(&mine, text.expose()).map_err(|e| Fault::file(&mine, &e))?;
    let linked = std::fs::hard_link(&mine, path);
    std::fs::remove_file(&mine).map_err(|e| Fault::file(&mine, &e))?;
    match linked {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(Fault::file(path, &error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::random;

    #[test]
    fn a_key_is_made_once_and_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kek.key");
        let made = key_or_new(&path, random::key).unwrap();
        let read = key_or_new(&path, || panic!("drawn twice")).unwrap();
        assert_eq!(made.expose(), read.expose());
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kek.key");
        key_or_new(&path, random::key).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let refused = key_or_new(&path, random::key).err().unwrap().to_string();
        assert!(refused.contains("expected 600"), "{refused}");
    }

    #[test]
    fn a_key_of_another_length_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kek.key");
        postern_files::write_private(&path, b"AAAA").unwrap();
        assert!(key_or_new(&path, random::key).is_err());
    }
}
