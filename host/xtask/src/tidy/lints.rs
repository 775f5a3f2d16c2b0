//! rustfmt and clippy, as checks like any other.

use std::process::Command;

use anyhow::Result;

use super::Tree;
use crate::run::quiet;
use crate::workspace;

pub fn formatted(_: &Tree) -> Result<Vec<String>> {
    let words = ["fmt", "--all", "--", "--check", "--files-with-diff"];
    Ok(complaint(Command::new("cargo").args(words)))
}

/// All packages, modules included: they are checked for the host, where only the
/// hostcalls are missing.
pub fn clippy(_: &Tree) -> Result<Vec<String>> {
    let words = ["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"];
    Ok(complaint(Command::new("cargo").args(words)))
}

fn complaint(command: &mut Command) -> Vec<String> {
    quiet(command.current_dir(workspace::root())).err().into_iter().collect()
}
