//! What the test run checks of a package: made twice, signed, verified by `postern`, pushed to a
//! registry and read a second time in Python.
//!
//! Invariant: the modules are those that ship, and nothing outside a folder of its own is
//! written.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};

use super::folder::{self, Signer};
use super::registry::Registry;
use super::server::Server;
use super::source::About;
use super::{Files, Module, files, modules};
use crate::run::quiet;
use crate::workspace;

/// A check by name.
pub type Row = (&'static str, Result<(), String>);

/// Every check; the last may print rows of its own.
pub fn rows(postern: &Path) -> Result<Vec<Row>> {
    let home = tempfile::tempdir()?;
    let out = home.path().join("package");
    // The commit of a checkout that has changes would not be signed.
    let about = About { changed: false, ..About::of(&workspace::root())? };
    let modules = modules()?;
    let signer = Signer::new(&[7; 32], "package.test")?;
    let package = sealed(&modules, &about, &signer)?;
    folder::write(&out, &package)?;
    let verify = || verified(postern, &out, &signer.vkey());
    let good = verify();
    postern_files::write_atomic(out.join("gate.wasm"), b"\0asm changed")?;
    let spoiled = match verify() {
        Err(why) if why.contains("gate.wasm: changed") => Ok(()),
        other => Err(format!("a changed module: {other:?}")),
    };
    folder::write(&out, &package)?;
    let server = Server::start(home.path())?;
    let registry = Registry::parse(&format!("{}/postern", server.address()))?;
    let text = |why: anyhow::Error| format!("{why:#}");
    Ok(vec![
        ("two packages are the same", twice(&package, &modules, &about, &signer).map_err(text)),
        ("postern takes the package", good.map(drop)),
        ("postern refuses a changed module", spoiled),
        ("images come back from a registry", pushed(&registry, &modules, &package).map_err(text)),
        ("Python reads the package", read_again(&out, &signer.vkey())),
    ])
}

fn sealed(modules: &[Module], about: &About, signer: &Signer) -> Result<Files> {
    let mut files = files(modules, about)?;
    folder::seal(&mut files, about, Some(signer))?;
    Ok(files)
}

fn twice(first: &Files, modules: &[Module], about: &About, signer: &Signer) -> Result<()> {
    let second = sealed(modules, about, signer)?;
    let differ = |name: &&String| first.get(*name) != second.get(*name);
    let names = first.keys().chain(second.keys());
    let differ: Vec<&String> = names.filter(differ).collect();
    ensure!(differ.is_empty(), "other bytes the second time: {differ:?}");
    Ok(())
}

fn pushed(registry: &Registry, modules: &[Module], package: &Files) -> Result<()> {
    for module in modules {
        let images = registry.round_trip(module, &folder::below(package, module.name))?;
        ensure!(!images.is_empty(), "{}: no image", module.name);
    }
    Ok(())
}

fn verified(postern: &Path, package: &Path, key: &str) -> Result<String, String> {
    let mut command = Command::new(postern);
    quiet(command.args(["release", "package", "verify"]).arg(package).args(["--key", key]))
}

fn read_again(package: &Path, key: &str) -> Result<(), String> {
    let python = crate::setup::python().map_err(|why| format!("{why:#}"))?;
    let mut command = Command::new(python);
    command.arg("tests/clients/python/package.py").arg(package).arg(key);
    let said = quiet(command.current_dir(workspace::root()))?;
    said.trim_end().lines().for_each(|line| println!("        {line}"));
    Ok(())
}
