//! What a package is made of: the commit, its time and the version.
//!
//! Invariant: nothing here asks the clock; a commit gives the same answers for ever.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::run::{Failure, quiet};

/// What every part of a package says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// Version of the workspace.
    pub version: &'static str,
    /// Name of the commit, in hex.
    pub commit: String,
    /// Whether there are changes that the commit does not have.
    pub changed: bool,
    /// When it was committed: RFC 3339, UTC.
    pub created: String,
}

impl About {
    /// Of a checkout.
    pub fn of(root: &Path) -> Result<Self> {
        let commit = git(root, &["rev-parse", "HEAD"])?;
        let changed = !git(root, &["status", "--porcelain"])?.is_empty();
        let format = "--date=format-local:%Y-%m-%dT%H:%M:%SZ";
        let created = git(root, &["show", "--no-patch", "--format=%cd", format, "HEAD"])?;
        Ok(Self { version: env!("CARGO_PKG_VERSION"), commit, changed, created })
    }

    /// The commit, marked when the modules may have more than it has.
    pub fn revision(&self) -> String {
        format!("{}{}", self.commit, if self.changed { "-changed" } else { "" })
    }
}

/// What git says of a checkout.
pub fn git(root: &Path, words: &[&str]) -> Result<String> {
    let mut command = Command::new("git");
    command.arg("-C").arg(root).args(words).env("TZ", "UTC");
    let said = quiet(&mut command);
    let said = said.map_err(|why| Failure::environment(format!("expected a git checkout: {why}")));
    Ok(said?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_told_and_the_time_is_the_commits() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        assert!(About::of(root).is_err());
        git(root, &["init", "--quiet"]).unwrap();
        postern_files::write_atomic(root.join("a"), b"a").unwrap();
        git(root, &["add", "a"]).unwrap();
        let mut commit = Command::new("git");
        commit.arg("-C").arg(root).args(["-c", "user.name=a", "-c", "user.email=a@example"]);
        commit.args(["commit", "--quiet", "--message", "a"]);
        commit.env("GIT_COMMITTER_DATE", "2026-01-02T03:04:05+02:00");
        quiet(&mut commit).unwrap();
        let about = About::of(root).unwrap();
        assert_eq!((about.created.as_str(), about.changed), ("2026-01-02T01:04:05Z", false));
        assert_eq!(about.revision(), about.commit);
        postern_files::write_atomic(root.join("b"), b"b").unwrap();
        assert!(About::of(root).unwrap().revision().ends_with("-changed"));
    }
}
