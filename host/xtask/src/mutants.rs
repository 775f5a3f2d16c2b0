//! `cargo xtask mutants`: takes guards away, one at a time, and looks whether a test notices.
//!
//! The guards are data (`tests/mutants.toml`). Each is taken out of a copy of the tree, never of
//! the tree itself, and the unit tests of the crates that hold them run there, with a target
//! directory of their own.
//!
//! Invariant: before the first and behind the last the copy is as it was, and its tests pass;
//! a mutant that does not compile is no test's merit and counted apart.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde::{Deserialize, Serialize};

use crate::run::Failure;
use crate::workspace;

/// Where the guards are listed.
const LIST: &str = "tests/mutants.toml";
/// The crates whose unit tests have to notice.
const CRATES: [&str; 2] = ["postern-core", "postern-scrub"];

#[derive(Args)]
#[command(
    after_help = "Examples:\n  cargo xtask mutants\n  cargo xtask mutants --only coding\n\nExit codes: 0 each was noticed, 1 one was not, 3 environment."
)]
pub struct Options {
    /// Only those of files whose path has this in it.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// One JSON document on stdout.
    #[arg(long)]
    json: bool,
}

#[derive(Deserialize)]
struct List {
    mutant: Vec<Mutant>,
}

/// One guard that is taken away.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Mutant {
    file: String,
    find: String,
    replace: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    /// A test fails.
    Caught,
    /// All tests pass.
    Missed,
    /// It does not compile.
    Unviable,
}

#[derive(Serialize)]
struct Tried<'a> {
    file: &'a str,
    guard: &'a str,
    outcome: Outcome,
}

/// `cargo xtask mutants`.
pub fn run(options: &Options) -> Result<()> {
    let mut mutants = listed()?;
    let wanted = |mutant: &Mutant| options.only.as_ref().is_none_or(|it| mutant.file.contains(it));
    mutants.retain(wanted);
    if mutants.is_empty() {
        return Err(Failure::usage("no mutant is of such a file"));
    }
    let copy = Copy::make()?;
    eprintln!("mutants: the tests of an unchanged copy");
    ensure!(copy.test()? == Outcome::Missed, "the tests of the unchanged tree do not pass");
    let (count, start) = (mutants.len(), Instant::now());
    let mut tried = Vec::new();
    for (number, mutant) in mutants.iter().enumerate() {
        let outcome = copy.with(mutant, Copy::test)?;
        let spent = start.elapsed().as_secs();
        let guard = mutant.find.trim();
        eprintln!("{}/{count} {spent} s: {outcome:?} {}: {guard}", number + 1, mutant.file);
        tried.push(Tried { file: &mutant.file, guard, outcome });
    }
    report(&tried, options.json)
}

fn listed() -> Result<Vec<Mutant>> {
    let text = fs::read_to_string(workspace::root().join(LIST)).context(LIST)?;
    Ok(toml::from_str::<List>(&text).context(LIST)?.mutant)
}

fn report(tried: &[Tried<'_>], json: bool) -> Result<()> {
    let of = |outcome| tried.iter().filter(|it| it.outcome == outcome).count();
    let [caught, missed, unviable] = [Outcome::Caught, Outcome::Missed, Outcome::Unviable].map(of);
    if json {
        println!("{}", serde_json::to_string(tried)?);
    } else {
        println!("mutants: {caught} caught, {missed} missed, {unviable} unviable");
    }
    if missed == 0 { Ok(()) } else { Err(Failure::found("a guard can go without a test failing")) }
}

/// A copy of the tracked files.
struct Copy {
    root: PathBuf,
    target: PathBuf,
}

impl Copy {
    fn make() -> Result<Self> {
        let target = workspace::root().join("target/mutants");
        let root = target.join("tree");
        let mut git = Command::new("git");
        git.args(["ls-files", "-z"]).current_dir(workspace::root());
        let listed = git.output().context("git ls-files")?;
        ensure!(listed.status.success(), "git ls-files ended with {}", listed.status);
        for name in String::from_utf8(listed.stdout)?.split('\0').filter(|name| !name.is_empty()) {
            refresh(&workspace::root().join(name), &root.join(name))?;
        }
        Ok(Self { root, target })
    }

    /// What `look` says while the guard is away.
    fn with<T>(&self, mutant: &Mutant, look: impl FnOnce(&Self) -> Result<T>) -> Result<T> {
        let path = self.root.join(&mutant.file);
        let text = fs::read_to_string(&path).with_context(|| mutant.file.clone())?;
        let found = mutant.applied(&text)?;
        postern_files::write_atomic(&path, found.as_bytes())?;
        let seen = look(self);
        postern_files::write_atomic(&path, text.as_bytes())?;
        seen
    }

    fn test(&self) -> Result<Outcome> {
        if !self.cargo(&["test", "--no-run"])? {
            return Ok(Outcome::Unviable);
        }
        Ok(if self.cargo(&["test"])? { Outcome::Missed } else { Outcome::Caught })
    }

    fn cargo(&self, words: &[&str]) -> Result<bool> {
        let mut cargo = Command::new("cargo");
        cargo.args(words).args(["--quiet", "--lib"]).current_dir(&self.root);
        cargo.args(CRATES.iter().flat_map(|name| ["-p", name]));
        cargo.env("CARGO_TARGET_DIR", self.target.join("target"));
        cargo.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(cargo.status().context("cannot start cargo")?.success())
    }
}

/// Copies what is not the same already, so that a second run builds little.
fn refresh(from: &Path, to: &Path) -> Result<()> {
    // A name that git knows may be gone from the tree.
    let Ok(bytes) = fs::read(from) else { return Ok(()) };
    if fs::read(to).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder)?;
    }
    Ok(postern_files::write_atomic(to, &bytes)?)
}

impl Mutant {
    fn applied(&self, text: &str) -> Result<String> {
        let count = text.matches(&self.find).count();
        ensure!(count == 1, "{}: {:?} is there {count} times, not once", self.file, self.find);
        Ok(text.replacen(&self.find, &self.replace, 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_guard_is_where_the_list_says() {
        let mutants = listed().unwrap();
        assert!(mutants.len() >= 40);
        for mutant in mutants {
            let text = fs::read_to_string(workspace::root().join(&mutant.file)).unwrap();
            assert_ne!(mutant.applied(&text).unwrap(), text, "{}", mutant.find);
        }
    }
}
