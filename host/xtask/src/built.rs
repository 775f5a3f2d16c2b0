//! One build of the host's programs and tests, for all groups that run them.
//!
//! cargo chooses features for the packages of one command together, so that naming packages
//! one by one would build wasmtime and the database driver again for each. Invariant: every
//! program and test of the default members comes from one command that names none.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::run::{Failure, line};
use crate::workspace;

/// The default members of the workspace.
const MEMBERS: [&str; 34] = [
    "postern-attack",
    "postern-attest",
    "postern-attester",
    "postern-azure",
    "postern-bench",
    "postern-bench-audit",
    "postern-bench-identity",
    "postern-bench-line",
    "postern-bench-policy",
    "postern-bench-release",
    "postern-bench-scrub",
    "postern-browser",
    "postern-capability",
    "postern-cli",
    "postern-core",
    "postern-crp",
    "postern-example-plugin-test",
    "postern-files",
    "postern-fuzz",
    "postern-harness",
    "postern-identity",
    "postern-jose",
    "postern-keys",
    "postern-rego",
    "postern-rig",
    "postern-runtime",
    "postern-scrub",
    "postern-spin",
    "postern-spin-host",
    "postern-tlog",
    "postern-vault",
    "postern-vaults",
    "postern-witness",
    "xtask",
];

/// A test program of a package, and the folder that it runs in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Test {
    /// Its package.
    pub package: String,
    /// The program.
    pub program: PathBuf,
    /// Folder of the package's manifest.
    pub folder: PathBuf,
}

/// Programs and tests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Built {
    /// In the order in which cargo has made them.
    pub tests: Vec<Test>,
    programs: BTreeMap<String, PathBuf>,
}

/// Builds them, once for this command.
pub fn host() -> Result<&'static Built> {
    static BUILT: OnceLock<Built> = OnceLock::new();
    if let Some(built) = BUILT.get() {
        return Ok(built);
    }
    let built = build()?;
    Ok(BUILT.get_or_init(|| built))
}

fn build() -> Result<Built> {
    let mut command = Command::new("cargo");
    command.args(["build", "--quiet", "--bins", "--tests"]);
    command.arg("--message-format=json-render-diagnostics");
    command.current_dir(workspace::root()).stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = command.output().with_context(|| format!("cannot start {}", line(&command)))?;
    if !output.status.success() {
        return Err(Failure::found(format!("{} ended with {}", line(&command), output.status)));
    }
    Ok(Built::read(&String::from_utf8_lossy(&output.stdout)))
}

impl Built {
    fn read(messages: &str) -> Self {
        let mut built = Self::default();
        for text in messages.lines() {
            if let Ok(message) = serde_json::from_str::<Value>(text) {
                built.take(&message);
            }
        }
        built
    }

    /// Takes an artifact that can be run.
    fn take(&mut self, message: &Value) -> Option<()> {
        let program = PathBuf::from(message["executable"].as_str()?);
        if message["profile"]["test"] != true {
            self.programs.insert(message["target"]["name"].as_str()?.to_owned(), program);
            return Some(());
        }
        let folder = Path::new(message["manifest_path"].as_str()?).parent()?.to_owned();
        let package = package(message["package_id"].as_str()?)?.to_owned();
        self.tests.push(Test { package, program, folder });
        Some(())
    }

    /// A program by its name.
    pub fn program(&self, name: &str) -> Result<&Path> {
        let found = self.programs.get(name).map(PathBuf::as_path);
        found.with_context(|| format!("cargo has built no program {name}"))
    }

    /// The tests of a package.
    pub fn tests<'a>(&'a self, package: &'a str) -> impl Iterator<Item = &'a Test> {
        self.tests.iter().filter(move |test| test.package == package)
    }

    /// Whether a package is among those that are built here.
    pub fn holds(package: &str) -> bool {
        MEMBERS.contains(&package)
    }
}

/// `…/folder#name@1.0.0`, or `…/name#1.0.0` where both are the same.
fn package(id: &str) -> Option<&str> {
    let (place, rest) = id.rsplit_once('#')?;
    match rest.split_once('@') {
        Some((name, _)) => Some(name),
        None => place.rsplit('/').next(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGES: &str = r#"{"reason":"compiler-artifact","package_id":"path+file:///w/host/runtime#postern-runtime@0.1.0","manifest_path":"/w/host/runtime/Cargo.toml","target":{"name":"serve"},"profile":{"test":true},"executable":"/w/target/debug/deps/serve-1"}
{"reason":"compiler-artifact","package_id":"path+file:///w/host/cli#postern-cli@0.1.0","manifest_path":"/w/host/cli/Cargo.toml","target":{"name":"postern"},"profile":{"test":false},"executable":"/w/target/debug/postern"}
{"reason":"compiler-artifact","package_id":"path+file:///w/host/cli#postern-cli@0.1.0","manifest_path":"/w/host/cli/Cargo.toml","target":{"name":"x"},"profile":{"test":false},"executable":null}
not JSON
{"reason":"build-finished","success":true}"#;

    #[test]
    fn programs_and_tests_are_told_apart() {
        let built = Built::read(MESSAGES);
        assert_eq!(built.program("postern").unwrap(), Path::new("/w/target/debug/postern"));
        assert!(built.program("x").is_err());
        let tests: Vec<&Test> = built.tests("postern-runtime").collect();
        assert_eq!(tests.len(), 1);
        assert_eq!(tests[0].folder, Path::new("/w/host/runtime"));
    }

    #[test]
    fn the_members_are_those_of_the_workspace() {
        let text = std::fs::read_to_string(workspace::root().join("Cargo.toml")).unwrap();
        let document: toml::Table = toml::from_str(&text).unwrap();
        let members = document["workspace"]["default-members"].as_array().unwrap();
        assert_eq!(members.len(), MEMBERS.len());
        for member in members {
            let folder = workspace::root().join(member.as_str().unwrap());
            let text = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap();
            let manifest: toml::Table = toml::from_str(&text).unwrap();
            assert!(Built::holds(manifest["package"]["name"].as_str().unwrap()), "{member:?}");
        }
    }

    #[test]
    fn a_package_is_named_behind_its_folder_or_by_it() {
        assert_eq!(package("path+file:///w/host/cli#postern-cli@0.1.0"), Some("postern-cli"));
        assert_eq!(package("path+file:///w/host/xtask#0.1.0"), Some("xtask"));
    }
}
