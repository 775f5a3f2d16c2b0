//! `cargo xtask tidy`: what the style of this project asks and a program can see.
//!
//! Each check is a row of [`CHECKS`]: a name and a function that returns what it
//! found. Limits that change with the code stand in `tidy.toml`.

mod documents;
pub mod imports;
mod lints;
mod sources;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde::Deserialize;
use std::collections::BTreeMap;

use crate::run::{Failure, quiet};
use crate::workspace;

/// `tidy.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Limits {
    /// Most lines of a source file without its tests.
    file_lines: usize,
    /// Most lines of a function.
    function_lines: usize,
    /// Most lines of a module's `cdylib` crate.
    module_lines: usize,
    /// Calls of `Secret::expose` by file; every other file has none.
    expose: BTreeMap<String, usize>,
    /// Expressions that make a proof, and the only files that may hold them.
    makers: BTreeMap<String, Vec<String>>,
}

/// What the checks look at.
pub struct Tree {
    files: Vec<PathBuf>,
    limits: Limits,
}

type Check = fn(&Tree) -> Result<Vec<String>>;

/// A check by the sentence that it holds.
type Row = (&'static str, Check);

const CHECKS: &[Row] = &[
    ("every Rust file starts with module documentation", sources::documented),
    ("files and functions keep to their sizes", sources::sized),
    ("what ships as wasm denies panics and unsafe code", sources::guarded),
    ("proofs are made where the check is", sources::makers),
    ("uses of expose are the counted ones", sources::exposures),
    ("files are written whole", sources::whole_writes),
    ("paths named in documents exist", documents::paths),
    ("the project speaks of itself alone", documents::words),
    ("modules import and export what their lists say", imports::listed),
    ("code is formatted", lints::formatted),
    ("clippy finds nothing", lints::clippy),
];

/// What each check found.
pub struct Report(Vec<(&'static str, Vec<String>)>);

impl Report {
    /// How many checks hold.
    pub fn held(&self) -> usize {
        self.0.iter().filter(|(_, found)| found.is_empty()).count()
    }

    /// What does not hold, each with what was found.
    pub fn complaints(&self) -> Vec<String> {
        let broken = self.0.iter().filter(|(_, found)| !found.is_empty());
        broken.map(|(name, found)| format!("{name}: {}", found.join("; "))).collect()
    }

    /// One line a check, and one a finding.
    pub fn print(&self) {
        for (name, found) in &self.0 {
            println!("{} {name}", if found.is_empty() { "held  " } else { "broken" });
            found.iter().for_each(|finding| println!("       {finding}"));
        }
    }
}

/// `cargo xtask tidy`.
pub fn run() -> Result<()> {
    crate::guests::modules()?;
    let report = examine()?;
    report.print();
    if report.complaints().is_empty() {
        Ok(())
    } else {
        Err(Failure::found("the tree is not tidy"))
    }
}

/// Runs every check.
pub fn examine() -> Result<Report> {
    let tree = Tree::read()?;
    let row = |(name, check): &Row| Ok((*name, check(&tree)?));
    Ok(Report(CHECKS.iter().map(row).collect::<Result<_>>()?))
}

impl Tree {
    fn read() -> Result<Self> {
        let list = ["ls-files", "--cached", "--others", "--exclude-standard"];
        let listing = quiet(Command::new("git").args(list).current_dir(workspace::root()))
            .map_err(Failure::environment)?;
        let path = workspace::root().join("tidy.toml");
        let text = std::fs::read_to_string(&path).context("cannot read tidy.toml")?;
        let exists = |path: &PathBuf| workspace::root().join(path).is_file();
        let files = listing.lines().map(PathBuf::from).filter(exists).collect();
        Ok(Self { files, limits: toml::from_str(&text).context("tidy.toml")? })
    }

    fn with_extension<'a>(&'a self, extension: &'a str) -> impl Iterator<Item = &'a Path> {
        let matches = move |path: &&PathBuf| path.extension().is_some_and(|e| e == extension);
        self.files.iter().filter(matches).map(PathBuf::as_path)
    }

    fn text(path: &Path) -> Result<String> {
        let text = std::fs::read_to_string(workspace::root().join(path));
        text.with_context(|| format!("cannot read {}", path.display()))
    }
}
