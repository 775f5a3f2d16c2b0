//! What is inside each module: a CycloneDX 1.6 document (ECMA-424).
//!
//! Which packages a module has is what cargo resolves for that module alone: features that
//! another member of the workspace turns on are not in it. Written by hand: the crate
//! `cyclonedx-bom` ends at version 1.5 and would bring thirty packages for a hundred lines.
//! Invariant: nothing of tests, of build scripts and of macros is listed: it is not in the
//! module.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::source::About;
use super::{Module, sum};
use crate::guests;
use crate::run::{Failure, quiet};
use crate::setup::TARGET;
use crate::workspace;

/// Name and version.
type Id = (String, String);

/// What cargo knows of the packages of the lock file.
struct Known {
    licences: BTreeMap<Id, String>,
    checksums: BTreeMap<Id, String>,
}

/// A module's packages; each with those that it uses.
type Tree = BTreeMap<Id, BTreeSet<Id>>;

/// The document of each module.
pub fn of_all(modules: &[Module], about: &About) -> Result<Vec<Value>> {
    let (_, packages) = guests::shipped()?;
    let known = Known::read()?;
    let compiler = compiler()?;
    let one = |module: &Module| {
        let package = packages.iter().find(|(name, _)| *name == module.name);
        let (_, package) = package.with_context(|| format!("no module {}", module.name))?;
        let (root, tree) = tree(&cargo_tree(package)?).context("cargo tree said nothing")?;
        Ok(known.bom(module, about, &compiler, (&root, &tree)))
    };
    modules.iter().map(one).collect()
}

/// Licences of the workspace's own packages, by name.
pub fn licences() -> Result<BTreeMap<String, String>> {
    let licences = Known::read()?.licences;
    Ok(licences.into_iter().map(|((name, _), licence)| (name, licence)).collect())
}

/// `1.95.0` of `rustc 1.95.0 (59807616e 2026-04-14)`.
fn compiler() -> Result<String> {
    let said = guests::compiler()?;
    said.split(' ').nth(1).map(str::to_owned).context("expected a version of rustc")
}

fn cargo_tree(package: &str) -> Result<String> {
    let mut command = Command::new("cargo");
    command.args(["tree", "--locked", "--package", package, "--target", TARGET]);
    command.args(["--edges", "normal,no-proc-macro", "--prefix", "depth", "--format", " {p}"]);
    command.env("CARGO_ENCODED_RUSTFLAGS", guests::FEATURES.join("\x1f"));
    quiet(command.current_dir(workspace::root())).map_err(Failure::environment)
}

/// Reads `DEPTH NAME vVERSION …`, a line for each use. A subtree is there once; the root first.
fn tree(text: &str) -> Option<(Id, Tree)> {
    let (mut tree, mut path) = (Tree::new(), Vec::<Id>::new());
    for line in text.lines() {
        let mut words = line.split(' ');
        let depth: usize = words.next()?.parse().ok()?;
        let id = (words.next()?.to_owned(), words.next()?.strip_prefix('v')?.to_owned());
        path.truncate(depth);
        if let Some(user) = path.last() {
            tree.entry(user.clone()).or_default().insert(id.clone());
        }
        tree.entry(id.clone()).or_default();
        path.push(id);
    }
    Some((path.into_iter().next()?, tree))
}

impl Known {
    fn read() -> Result<Self> {
        let mut command = Command::new("cargo");
        command.args(["metadata", "--locked", "--format-version", "1"]);
        command.args(["--filter-platform", TARGET]).current_dir(workspace::root());
        let said = quiet(&mut command).map_err(Failure::environment)?;
        let metadata: Value = serde_json::from_str(&said)?;
        let lock = std::fs::read_to_string(workspace::root().join("Cargo.lock"))?;
        let lock: toml::Table = toml::from_str(&lock)?;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let licence = |package: &Value| {
            let id = (text(&package["name"])?, text(&package["version"])?);
            // The older form of SPDX's expressions in manifests.
            Some((id, text(&package["license"])?.replace('/', " OR ")))
        };
        let packages = metadata["packages"].as_array().context("cargo metadata: no packages")?;
        let licences = packages.iter().filter_map(licence).collect();
        let checksum = |package: &toml::Value| {
            let text = |name: &str| Some(package.get(name)?.as_str()?.to_owned());
            Some(((text("name")?, text("version")?), text("checksum")?))
        };
        let locked = lock.get("package").and_then(toml::Value::as_array);
        let locked = locked.context("Cargo.lock: no packages")?;
        Ok(Self { licences, checksums: locked.iter().filter_map(checksum).collect() })
    }

    fn bom(&self, module: &Module, about: &About, rustc: &str, of: (&Id, &Tree)) -> Value {
        let (root, tree) = of;
        let own = format!("{}.wasm", module.name);
        let standard = format!("pkg:generic/rust-std@{rustc}");
        let mut components = vec![json!({
            "bom-ref": standard, "name": "std", "purl": standard, "type": "library",
            "version": rustc, "licenses": licence("MIT OR Apache-2.0"),
            "description": "Rust's standard library and what it brings along",
        })];
        let others = tree.keys().filter(|id| *id != root);
        components.extend(others.map(|id| self.component(id)));
        let uses = |(id, used): (&Id, &BTreeSet<Id>)| {
            let name = if id == root { own.clone() } else { reference(id) };
            let mut used: Vec<String> = used.iter().map(reference).collect();
            used.push(standard.clone());
            json!({"ref": name, "dependsOn": used})
        };
        let mut dependencies: Vec<Value> = tree.iter().map(uses).collect();
        dependencies.push(json!({"ref": standard}));
        let digest = sum(&module.bytes);
        json!({
            "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
            "bomFormat": "CycloneDX",
            "specVersion": "1.6",
            "serialNumber": serial(&digest),
            "version": 1,
            "metadata": {
                "timestamp": about.created,
                "component": {
                    "bom-ref": own, "name": own, "type": "library", "version": about.version,
                    "hashes": [{"alg": "SHA-256", "content": digest}],
                    "licenses": licence(&module.licence),
                },
                "tools": {"components": [
                    {"name": "cargo xtask package", "type": "application",
                     "version": about.version},
                    {"name": "rustc", "type": "application", "version": rustc},
                ]},
            },
            "components": components,
            "dependencies": dependencies,
        })
    }

    fn component(&self, id: &Id) -> Value {
        let (name, version) = id;
        let mut component = json!({
            "bom-ref": reference(id), "name": name, "type": "library", "version": version,
        });
        if let Some(expression) = self.licences.get(id) {
            component["licenses"] = licence(expression);
        }
        // Without a sum it is one of the workspace, which no registry has.
        if let Some(checksum) = self.checksums.get(id) {
            component["hashes"] = json!([{"alg": "SHA-256", "content": checksum}]);
            component["purl"] = json!(reference(id));
        }
        component
    }
}

fn licence(expression: &str) -> Value {
    json!([{"expression": expression}])
}

fn reference((name, version): &Id) -> String {
    format!("pkg:cargo/{name}@{version}")
}

/// A UUID of version 8 (RFC 9562) out of the module's digest: another module, another document.
fn serial(hex: &str) -> String {
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    let [a, b, c, d, e] = [part(0, 8), part(8, 12), part(13, 16), part(17, 20), part(20, 32)];
    format!("urn:uuid:{a}-{b}-8{c}-8{d}-{e}")
}

#[cfg(test)]
mod tests {
    use super::super::tests::{about, module};
    use super::*;

    const TREE: &str =
        "0 postern-gate v1.2.3 (/somewhere)\n1 a v1.0.0\n2 b v2.0.0\n1 b v2.0.0 (*)\n";

    fn id(name: &str, version: &str) -> Id {
        (name.into(), version.into())
    }

    #[test]
    fn uses_are_read_from_their_depths() {
        let (root, tree) = tree(TREE).unwrap();
        let [a, b] = [id("a", "1.0.0"), id("b", "2.0.0")];
        assert_eq!(root, id("postern-gate", "1.2.3"));
        assert_eq!(tree[&root], [a.clone(), b.clone()].into());
        assert_eq!((&tree[&a], &tree[&b]), (&[b.clone()].into(), &BTreeSet::new()));
        assert!(super::tree("").is_none() && super::tree("x y").is_none());
    }

    #[test]
    fn a_document_names_packages_with_their_licences_and_sums() {
        let (root, tree) = tree(TREE).unwrap();
        let known = Known {
            licences: [(id("a", "1.0.0"), "MIT".to_owned())].into(),
            checksums: [(id("a", "1.0.0"), "ab".repeat(32))].into(),
        };
        let made = known.bom(&module("gate", b"\0asm"), &about(), "1.95.0", (&root, &tree));
        let names = made["components"].as_array().unwrap().iter().map(|it| &it["name"]);
        assert_eq!(names.collect::<Vec<_>>(), ["std", "a", "b"]);
        let a = &made["components"][1];
        assert_eq!(
            (&a["purl"], &a["licenses"][0]["expression"]),
            (&"pkg:cargo/a@1.0.0".into(), &"MIT".into())
        );
        assert_eq!(a["hashes"][0]["content"], "ab".repeat(32));
        assert!(made["components"][2].get("purl").is_none());
        let uses = made["dependencies"].as_array().unwrap();
        assert_eq!(uses.len(), 4);
        assert_eq!(uses.iter().filter(|it| it["ref"] == "gate.wasm").count(), 1);
        let serial = made["serialNumber"].as_str().unwrap();
        assert_eq!((serial.len(), serial.as_bytes()[23], serial.as_bytes()[28]), (45, b'8', b'8'));
    }

    #[test]
    fn the_audit_module_has_no_policy_engine_and_the_gate_has_no_tests() {
        let of = |package: &str| tree(&cargo_tree(package).unwrap()).unwrap().1;
        let names = |package: &str| of(package).into_keys().map(|(name, _)| name);
        let names = |package: &str| names(package).collect::<BTreeSet<_>>();
        let (gate, audit) = (names("postern-gate"), names("postern-audit"));
        assert!(gate.contains("regorus") && !audit.contains("regorus"));
        for absent in ["proptest", "serde_derive", "syn", "wasmtime", "tokio"] {
            assert!(!gate.contains(absent), "{absent}");
        }
    }
}
