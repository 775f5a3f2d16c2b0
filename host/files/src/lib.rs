//! Files written whole or not at all, private files, and reads with a limit.
//!
//! Owns the one place where the project writes files (mission E6). Knows nothing
//! of what is in them. Invariant: a reader never sees half a file, and a private
//! file is never readable by group or others, not even for a moment.
#![forbid(unsafe_code)]

pub mod yaml;

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Mode of an ordinary file, before the process's umask.
const SHARED: u32 = 0o644;
/// Mode of a private file, whatever the umask.
const PRIVATE: u32 = 0o600;

/// Writes `bytes` to `path`, whole or not at all: a temporary name in the same
/// folder, synced, renamed, and the folder synced.
pub fn write_atomic(path: impl AsRef<Path>, bytes: &[u8]) -> io::Result<()> {
    replace(path.as_ref(), bytes, SHARED)
}

/// The same as [`write_atomic`] for a file that only its owner may read (0600).
pub fn write_private(path: impl AsRef<Path>, bytes: &[u8]) -> io::Result<()> {
    replace(path.as_ref(), bytes, PRIVATE)
}

/// Makes an empty file that only its owner may read (0600), for a library that opens it
/// by name. One that is there already is left as it is.
pub fn create_private(path: impl AsRef<Path>) -> io::Result<()> {
    let path = path.as_ref();
    match write_new(path, b"", PRIVATE) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(named(path, &error)),
        _ => Ok(()),
    }
}

/// Takes a name: makes an empty file that only its owner may read (0600), to be written
/// later. One that is there already is an error (`AlreadyExists`).
pub fn reserve(path: impl AsRef<Path>) -> io::Result<()> {
    let path = path.as_ref();
    write_new(path, b"", PRIVATE).map_err(|e| named(path, &e))
}

/// Reads a file of at most `max` bytes; a longer one is `InvalidData`.
pub fn read_bounded(path: impl AsRef<Path>, max: usize) -> io::Result<Vec<u8>> {
    let path = path.as_ref();
    bounded(path, File::open(path).map_err(|e| named(path, &e))?, max)
}

/// The same as [`read_bounded`], but refuses a file that group or others may read
/// or write (`PermissionDenied`).
pub fn read_private(path: impl AsRef<Path>, max: usize) -> io::Result<Vec<u8>> {
    let path = path.as_ref();
    let file = File::open(path).map_err(|e| named(path, &e))?;
    let mode = file.metadata().map_err(|e| named(path, &e))?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        let text = format!("{}: mode is {mode:o}, expected 600 (chmod 600)", path.display());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
    }
    bounded(path, file, max)
}

/// Makes a folder (and its parents) that only its owner may enter (0700). An
/// existing folder is left as it is.
pub fn create_private_dir(path: impl AsRef<Path>) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    let path = path.as_ref();
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|e| named(path, &e))
}

fn bounded(path: &Path, file: File, max: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    file.take(limit).read_to_end(&mut bytes).map_err(|e| named(path, &e))?;
    if bytes.len() > max {
        let text = format!("{}: expected at most {max} bytes", path.display());
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    Ok(bytes)
}

fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let temporary = temporary_beside(path)?;
    let written = write_new(&temporary, bytes, mode)
        .and_then(|()| fs::rename(&temporary, path))
        .and_then(|()| sync_folder(path));
    if written.is_err() {
        // Best effort: the error that matters is the one above.
        let _ = fs::remove_file(&temporary);
    }
    written.map_err(|e| named(path, &e))
}

fn write_new(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    if mode == PRIVATE {
        // A umask such as 0377 would have taken bits away.
        file.set_permissions(Permissions::from_mode(PRIVATE))?;
    }
    file.write_all(bytes)?;
    file.sync_all()
}

/// A name that no other thread or process uses: `.name.pid.count.tmp`.
fn temporary_beside(path: &Path) -> io::Result<PathBuf> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let name = path.file_name().ok_or_else(|| {
        let text = format!("{}: expected the name of a file", path.display());
        io::Error::new(io::ErrorKind::InvalidInput, text)
    })?;
    let mut temporary = OsString::from(".");
    temporary.push(name);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    temporary.push(format!(".{}.{count}.tmp", std::process::id()));
    Ok(path.with_file_name(temporary))
}

/// A rename is durable only when its folder is.
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    File::open(folder)?.sync_all()
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_file_is_replaced_whole_and_leaves_no_temporary() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        write_atomic(&path, b"one").unwrap();
        write_atomic(&path, b"two").unwrap();
        assert_eq!(read_bounded(&path, 3).unwrap(), b"two");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_private_file_has_mode_600_even_over_a_public_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        write_atomic(&path, b"public").unwrap();
        write_private(&path, b"private").unwrap();
        assert_eq!(mode(&path), 0o600);
        assert_eq!(read_private(&path, 100).unwrap(), b"private");
    }

    #[test]
    fn a_private_file_is_made_empty_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("database");
        create_private(&path).unwrap();
        assert_eq!((mode(&path), fs::read(&path).unwrap()), (0o600, Vec::new()));
        write_private(&path, b"rows").unwrap();
        create_private(&path).unwrap();
        assert_eq!(read_private(&path, 10).unwrap(), b"rows");
        assert!(create_private(folder.path().join("none/database")).is_err());
    }

    #[test]
    fn a_name_is_taken_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        reserve(&path).unwrap();
        assert_eq!((mode(&path), fs::read(&path).unwrap()), (0o600, Vec::new()));
        assert_eq!(reserve(&path).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    }

    #[test]
    fn a_private_read_refuses_a_file_that_others_may_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        for bits in [0o640, 0o604, 0o620, 0o602] {
            write_private(&path, b"x").unwrap();
            fs::set_permissions(&path, Permissions::from_mode(bits)).unwrap();
            let error = read_private(&path, 100).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{bits:o}");
        }
    }

    #[test]
    fn a_file_over_the_limit_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("big");
        write_atomic(&path, &[0; 11]).unwrap();
        assert_eq!(read_bounded(&path, 10).unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert_eq!(read_bounded(&path, 11).unwrap().len(), 11);
    }

    #[test]
    fn a_failed_write_leaves_the_old_file_and_no_temporary() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("is-a-folder");
        fs::create_dir(&path).unwrap();
        assert!(write_atomic(&path, b"x").is_err());
        assert!(path.is_dir());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_missing_folder_is_named_in_the_error() {
        let error = write_atomic("/nonexistent-folder/a", b"x").unwrap_err();
        assert!(error.to_string().starts_with("/nonexistent-folder/a: "), "{error}");
    }

    #[test]
    fn a_private_folder_has_mode_700() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b");
        create_private_dir(&path).unwrap();
        create_private_dir(&path).unwrap();
        assert_eq!(mode(&path), 0o700);
    }
}
