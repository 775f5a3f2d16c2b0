//! Where the modules come from: an in-toto statement with SLSA's provenance.
//!
//! It is what the one who built them says, at SLSA's build level 1 and no higher: no service
//! apart from him has seen the build. Invariant: no time and no name of a machine is in it.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::source::About;
use super::{Files, Module, images, sum};
use crate::guests;
use crate::setup::{TARGET, Toolchain};
use crate::workspace;

/// Its file in a package.
pub const FILE: &str = "provenance.intoto.json";
const STATEMENT: &str = "https://in-toto.io/Statement/v1";
const PREDICATE: &str = "https://slsa.dev/provenance/v1";
/// What the parameters mean: `PACKAGE.md` says it.
const BUILD: &str = "urn:postern:build:package:1";

/// What built modules: two packages can be compared when it is the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiler {
    /// `rustup` or `debian`: the two give other bytes.
    pub toolchain: String,
    /// What `rustc --version` says.
    pub rustc: String,
}

impl Compiler {
    /// Of this machine.
    pub fn here() -> Result<Self> {
        let (toolchain, _) = guests::shipped()?;
        let toolchain = match toolchain {
            Toolchain::Rustup => "rustup",
            Toolchain::Debian => "debian",
        };
        Ok(Self { toolchain: toolchain.into(), rustc: guests::compiler()? })
    }

    /// Of a statement, and the commit.
    pub fn stated(statement: &Value) -> Option<(Self, String)> {
        let definition = &statement["predicate"]["buildDefinition"];
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let inside = &definition["internalParameters"];
        let compiler =
            Self { toolchain: text(&inside["toolchain"])?, rustc: text(&inside["rustc"])? };
        Some((compiler, text(&definition["externalParameters"]["revision"])?))
    }
}

/// Of the modules and of the images in `files`.
pub fn statement(modules: &[Module], files: &Files, about: &About) -> Result<Value> {
    let lock = std::fs::read(workspace::root().join("Cargo.lock")).context("Cargo.lock")?;
    Ok(state(modules, files, about, (&Compiler::here()?, &sum(&lock))))
}

fn state(modules: &[Module], files: &Files, about: &About, with: (&Compiler, &str)) -> Value {
    let (compiler, lock) = with;
    let subject = |name: String, sum: &str| json!({"name": name, "digest": {"sha256": sum}});
    let mut subjects = Vec::new();
    for module in modules {
        subjects.push(subject(format!("{}.wasm", module.name), &sum(&module.bytes)));
        for (tag, digest) in images(files, module.name) {
            let hex = digest.trim_start_matches("sha256:");
            subjects.push(subject(format!("{}:{tag}", module.name), hex));
        }
    }
    let mut sources = vec![json!({"name": "Cargo.lock", "digest": {"sha256": lock}})];
    if !about.changed {
        sources.push(json!({"name": "source", "digest": {"gitCommit": about.commit}}));
    }
    json!({
        "_type": STATEMENT,
        "subject": subjects,
        "predicateType": PREDICATE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD,
                "externalParameters": {
                    "command": "cargo xtask package", "revision": about.revision(),
                    "version": about.version,
                },
                "internalParameters": {
                    "flags": guests::FEATURES.join(" "), "profile": "wasm", "target": TARGET,
                    "rustc": compiler.rustc, "toolchain": compiler.toolchain,
                },
                "resolvedDependencies": sources,
            },
            "runDetails": {"builder": {"id": "urn:postern:builder:whoever-signed"}},
        },
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{about, module};
    use super::*;

    fn compiler() -> Compiler {
        Compiler { toolchain: "rustup".into(), rustc: "rustc 1.95.0".into() }
    }

    #[test]
    fn the_commit_and_the_compiler_are_read_back() {
        let modules = [module("gate", b"\0asm")];
        let statement = state(&modules, &Files::new(), &about(), (&compiler(), "00"));
        assert_eq!(Compiler::stated(&statement), Some((compiler(), "ab".repeat(20))));
        assert_eq!(statement["subject"][0]["name"], "gate.wasm");
        assert_eq!(Compiler::stated(&json!({})), None);
    }

    #[test]
    fn a_tree_with_changes_claims_no_commit_as_its_source() {
        let changed = About { changed: true, ..about() };
        let statement = state(&[], &Files::new(), &changed, (&compiler(), "00"));
        let definition = &statement["predicate"]["buildDefinition"];
        assert_eq!(definition["resolvedDependencies"].as_array().map(Vec::len), Some(1));
        let revision = definition["externalParameters"]["revision"].as_str().unwrap();
        assert!(revision.ends_with("-changed"), "{revision}");
    }
}
