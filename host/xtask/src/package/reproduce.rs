//! `cargo xtask package --verify`: builds the modules again, of the same commit but elsewhere and
//! from nothing, and compares.
//!
//! Invariant: what was built before is not read; a module that differs is named and makes the
//! command fail. Packages of another compiler are refused before anything is built: they cannot
//! be the same.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use postern_core::hex;
use postern_tlog::package::{LENGTH, SUMS, Sums};
use serde_json::{Value, json};

use super::provenance::{self, Compiler};
use super::source::git;
use crate::guests;
use crate::run::{Failure, quiet, shown};
use crate::workspace;

/// Largest statement that is read.
const MAX_STATEMENT: usize = 1 << 20;

/// What somebody has published.
struct Known {
    /// Modules and their sums.
    modules: BTreeMap<String, String>,
    /// The commit; of a bare list the one that is checked out.
    commit: String,
}

/// Builds again and compares.
pub fn run(path: &Path, json: bool) -> Result<()> {
    let known = Known::read(path)?;
    let place = workspace::root().join("target/reproduce");
    if place.exists() {
        fs::remove_dir_all(&place)?;
    }
    let root = place.join("another/checkout");
    checkout(&root, &known.commit)?;
    let modules = guests::modules_of(&root, &place.join("compiled"), &place.join("modules"))?;
    let built = modules.into_iter().map(|module| (module.name.to_owned(), module.sha256));
    let rows = compared(&known.modules, &built.collect());
    report(&known.commit, &rows, json);
    if rows.iter().all(Row::same) {
        // Gigabytes that nobody looks at again.
        return Ok(fs::remove_dir_all(&place)?);
    }
    let differ = rows.iter().filter(|row| !row.same()).map(|row| row.name.as_str());
    let differ = differ.collect::<Vec<_>>().join(", ");
    let kept = place.join("modules");
    Err(Failure::found(format!("differ: {differ}; what was built is in {}", kept.display())))
}

impl Known {
    fn read(path: &Path) -> Result<Self> {
        let folder = path.is_dir();
        let list = if folder { path.join(SUMS) } else { path.to_owned() };
        let modules = of_list(&postern_files::read_bounded(&list, LENGTH)?);
        let modules = modules.with_context(|| format!("{}: no list of sums", list.display()));
        let modules = modules.map_err(|why| Failure::usage(why.to_string()))?;
        let commit = if folder {
            stated(&path.join(provenance::FILE))?
        } else {
            git(&workspace::root(), &["rev-parse", "HEAD"])?
        };
        Ok(Self { modules, commit })
    }
}

/// The modules of a list: what is in no folder and is WebAssembly.
fn of_list(list: &[u8]) -> Option<BTreeMap<String, String>> {
    let text = str::from_utf8(list).ok()?;
    // `target/plugins/SHA256SUMS` has the modules in the order of a request.
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_by_key(|line| line.split_once("  ").map(|(_, name)| name));
    let sums = Sums::parse(&(lines.join("\n") + "\n"))?;
    let module = |(name, sum): (String, [u8; 32])| {
        let module = name.strip_suffix(".wasm").filter(|name| !name.contains('/'))?;
        Some((module.to_owned(), hex::lower(&sum)))
    };
    let modules: BTreeMap<_, _> = sums.0.into_iter().filter_map(module).collect();
    Some(modules).filter(|modules| !modules.is_empty())
}

/// The commit of a package that this machine's compiler can build.
fn stated(path: &Path) -> Result<String> {
    let bytes = postern_files::read_bounded(path, MAX_STATEMENT)?;
    let statement: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let stated = Compiler::stated(&statement);
    let wrong = || Failure::found(format!("{}: says no compiler and commit", path.display()));
    let (theirs, revision) = stated.ok_or_else(wrong)?;
    let ours = Compiler::here()?;
    if theirs != ours {
        let [theirs, ours] =
            [theirs, ours].map(|it| format!("{} by way of {}", it.rustc, it.toolchain));
        let text = format!("built with {theirs}; here is {ours}, which gives other bytes");
        return Err(Failure::environment(text));
    }
    let commit = hex::read::<20>(revision.as_bytes()).is_some()
        || hex::read::<32>(revision.as_bytes()).is_some();
    let text = format!("built of {revision}: no commit has these sources");
    commit.then_some(revision).ok_or_else(|| Failure::found(text))
}

fn checkout(root: &Path, commit: &str) -> Result<()> {
    let from = workspace::root();
    let mut clone = Command::new("git");
    clone.args(["clone", "--quiet", "--no-checkout", "--no-hardlinks"]).arg(&from).arg(root);
    quiet(&mut clone).map_err(Failure::environment)?;
    shown(Command::new("git").arg("-C").arg(root).args(["checkout", "--quiet", "--detach", commit]))
}

/// A module, as it is known and as it was built.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    name: String,
    known: Option<String>,
    built: Option<String>,
}

impl Row {
    fn same(&self) -> bool {
        self.known.is_some() && self.known == self.built
    }
}

fn compared(known: &BTreeMap<String, String>, built: &BTreeMap<String, String>) -> Vec<Row> {
    let absent = built.keys().filter(|name| !known.contains_key(*name));
    let row = |name: &String| Row {
        name: name.clone(),
        known: known.get(name).cloned(),
        built: built.get(name).cloned(),
    };
    known.keys().chain(absent).map(row).collect()
}

fn report(commit: &str, rows: &[Row], json: bool) {
    if json {
        let row = |row: &Row| json!({"module": row.name, "known": row.known, "built": row.built, "same": row.same()});
        let modules: Vec<Value> = rows.iter().map(row).collect();
        println!("{:#}", json!({"revision": commit, "modules": modules}));
        return;
    }
    println!("of {commit}:");
    for row in rows {
        let [known, built] = [&row.known, &row.built].map(|it| it.as_deref().unwrap_or("none"));
        match row.same() {
            true => println!("{:<12} same     {known}", row.name),
            false => println!("{:<12} differs  {known} here {built}", row.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(rows: &[(&str, &str)]) -> BTreeMap<String, String> {
        rows.iter().map(|(name, sum)| ((*name).to_owned(), (*sum).to_owned())).collect()
    }

    #[test]
    fn each_module_that_differs_or_is_missing_is_named() {
        let known = map(&[("audit", "aa"), ("gate", "bb"), ("old", "cc")]);
        let rows = compared(&known, &map(&[("audit", "aa"), ("gate", "xx"), ("new", "dd")]));
        let same: Vec<_> = rows.iter().map(|row| (row.name.as_str(), row.same())).collect();
        assert_eq!(same, [("audit", true), ("gate", false), ("old", false), ("new", false)]);
    }

    #[test]
    fn modules_are_taken_from_both_kinds_of_lists() {
        let [one, two] = ["aa", "bb"].map(|byte| byte.repeat(32));
        let built = format!("{one}  gate.wasm\n{two}  audit.wasm\n");
        let package = format!(
            "{two}  audit.wasm\n{two}  gate.cdx.json\n{one}  gate.wasm\n{two}  gate/x.wasm\n"
        );
        let want = map(&[("audit", &two), ("gate", &one)]);
        for list in [built, package] {
            assert_eq!(of_list(list.as_bytes()), Some(want.clone()), "{list}");
        }
        for bad in ["", "gate.wasm\n", &format!("{one}  gate.cdx.json\n")] {
            assert_eq!(of_list(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn packages_of_another_compiler_or_of_no_commit_are_not_built_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(provenance::FILE);
        let here = Compiler::here().unwrap();
        let write = |rustc: &str, revision: &str| {
            let statement = json!({"predicate": {"buildDefinition": {
                "externalParameters": {"revision": revision},
                "internalParameters": {"toolchain": here.toolchain, "rustc": rustc},
            }}});
            postern_files::write_atomic(&path, statement.to_string().as_bytes()).unwrap();
            stated(&path)
        };
        let commit = "ab".repeat(20);
        assert_eq!(write(&here.rustc, &commit).unwrap(), commit);
        let other = write("rustc 1.0.0", &commit).unwrap_err().to_string();
        assert!(other.contains("gives other bytes"), "{other}");
        let changed = write(&here.rustc, &format!("{commit}-changed")).unwrap_err().to_string();
        assert!(changed.contains("no commit has these sources"), "{changed}");
        postern_files::write_atomic(&path, b"{}").unwrap();
        assert!(stated(&path).is_err());
    }
}
