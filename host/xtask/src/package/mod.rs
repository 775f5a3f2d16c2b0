//! `cargo xtask package`: the modules as they are given to others: images in the layouts that
//! gateways fetch, lists of what is inside, where they come from, sums and a signature.
//!
//! Owns the content of the folder; `PACKAGE.md` of this crate describes it. Invariant: the same
//! commit, modules and key give the same bytes; what is read of the machine is its compiler's
//! version.

mod agent;
pub mod check;
mod folder;
mod image;
mod provenance;
mod registry;
mod reproduce;
mod sbom;
mod server;
mod source;

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use self::folder::Signer;
use self::registry::Registry;
use self::source::About;
use crate::run::Failure;
use crate::{guests, tidy, workspace};

/// Files by their names in a folder.
pub type Files = BTreeMap<String, Vec<u8>>;

#[derive(Args)]
#[command(after_help = "\
Examples:
  cargo xtask package
  cargo xtask package --out release --sign package.key --signer packages.example
  cargo xtask package --push 127.0.0.1:5000/postern
  cargo xtask package --verify release --json

The key file (mode 0600) holds an Ed25519 seed, 32 bytes in base64url. `postern release package
verify` holds a folder to its signature. --verify builds all modules again elsewhere, from
nothing: minutes.

Exit codes: 0 done, 1 a module differs or an image came back changed, 2 usage, 3 environment.")]
pub struct Options {
    /// Folder that is written: a new or empty one, or an earlier package. [default: target/package]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Sign the list of files with this key.
    #[arg(long, value_name = "KEY")]
    sign: Option<PathBuf>,
    /// Name of the key in the signature.
    #[arg(long, value_name = "NAME", default_value = "postern.package", requires = "sign")]
    signer: String,
    /// Push the images to a registry on this machine, pull them back and compare.
    #[arg(long, value_name = "HOST:PORT/PATH")]
    push: Option<String>,
    /// Build the modules again in another folder and compare them with these.
    #[arg(long, value_name = "SHA256SUMS|DIR", conflicts_with_all = ["out", "sign", "push"])]
    verify: Option<PathBuf>,
    /// Print one JSON document instead of lines.
    #[arg(long)]
    json: bool,
}

/// A module that is packaged.
pub struct Module {
    /// `gate`, `credential`, `audit` or `spin-gateway`.
    pub name: &'static str,
    /// Its file.
    pub bytes: Vec<u8>,
    /// Licence of its own package; those of its dependencies are in the list of them.
    pub licence: String,
}

impl Module {
    fn is_component(&self) -> bool {
        !guests::MODULES.contains(&self.name)
    }

    /// What a component imports and exports; of a module, or of what is none, nothing.
    fn interfaces(&self) -> (Vec<String>, Vec<String>) {
        let lines = tidy::imports::component_surface(&self.bytes).unwrap_or_default();
        let of = |kind: &str| {
            lines.iter().filter_map(|line| line.strip_prefix(kind)).map(str::to_owned).collect()
        };
        (of("import "), of("export "))
    }
}

/// `cargo xtask package`.
pub fn run(options: &Options) -> Result<()> {
    if let Some(known) = &options.verify {
        return reproduce::run(known, options.json);
    }
    let about = About::of(&workspace::root())?;
    let signer = options.sign.as_deref().map(|key| Signer::read(key, &options.signer));
    let signer = signer.transpose()?;
    if signer.is_some() && about.changed {
        let text = "the checkout has changes that the commit does not have: nothing is signed";
        return Err(Failure::found(text));
    }
    let registry = options.push.as_deref().map(Registry::parse).transpose()?;
    guests::modules()?;
    let modules = modules()?;
    let mut files = files(&modules, &about)?;
    folder::seal(&mut files, &about, signer.as_ref())?;
    let out = options.out.clone().unwrap_or_else(|| workspace::root().join("target/package"));
    folder::write(&out, &files)?;
    let mut pushed = Vec::new();
    for module in registry.iter().flat_map(|_| &modules) {
        let registry = registry.as_ref().context("a registry")?;
        pushed.extend(registry.round_trip(module, &folder::below(&files, module.name))?);
    }
    let said = Said { modules: &modules, files: &files, pushed };
    if options.json {
        println!("{:#}", said.document(&out, &about, signer.as_ref()));
    } else {
        said.print(&out, signer.as_ref());
    }
    Ok(())
}

/// Those that were built.
fn modules() -> Result<Vec<Module>> {
    let (_, packages) = guests::shipped()?;
    let licences = sbom::licences()?;
    let module = |(name, package): &(&'static str, String)| {
        let path = workspace::plugins().join(format!("{name}.wasm"));
        let bytes = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()));
        let licence = licences.get(package).with_context(|| format!("no package {package}"))?;
        Ok(Module { name, bytes: bytes?, licence: licence.clone() })
    };
    packages.iter().map(module).collect()
}

/// The content of the folder but for the list and its signature.
fn files(modules: &[Module], about: &About) -> Result<Files> {
    let mut files = Files::new();
    let boms = sbom::of_all(modules, about)?;
    for (module, bom) in modules.iter().zip(boms) {
        for (name, bytes) in image::layout(module, about)? {
            files.insert(format!("{}/{name}", module.name), bytes);
        }
        files.insert(format!("{}.cdx.json", module.name), document(&bom));
        files.insert(format!("{}.wasm", module.name), module.bytes.clone());
    }
    let statement = provenance::statement(modules, &files, about)?;
    files.insert(provenance::FILE.into(), document(&statement));
    Ok(files)
}

/// What is told of a package.
struct Said<'a> {
    modules: &'a [Module],
    files: &'a Files,
    pushed: Vec<String>,
}

impl Said<'_> {
    fn document(&self, out: &std::path::Path, about: &About, signer: Option<&Signer>) -> Value {
        let module = |module: &Module| {
            let images: BTreeMap<_, _> = images(self.files, module.name).into_iter().collect();
            let bytes = module.bytes.len();
            let (name, sum) = (module.name, sum(&module.bytes));
            json!({"module": name, "bytes": bytes, "sha256": sum, "images": images})
        };
        json!({
            "folder": out, "version": about.version, "revision": about.revision(),
            "modules": self.modules.iter().map(module).collect::<Vec<_>>(),
            "key": signer.map(Signer::vkey), "pushed": self.pushed,
        })
    }

    fn print(&self, out: &std::path::Path, signer: Option<&Signer>) {
        for module in self.modules {
            println!("{:<12} {}", module.name, sum(&module.bytes));
            for (tag, digest) in images(self.files, module.name) {
                println!("  {tag:<10} {digest}");
            }
        }
        self.pushed.iter().for_each(|image| println!("pushed {image}"));
        println!("{} files in {}", self.files.len(), out.display());
        if let Some(signer) = signer {
            println!("verified by {}", signer.vkey());
        }
    }
}

/// Tags and digests of a module's images.
fn images(files: &Files, module: &str) -> Vec<(String, String)> {
    let index = files.get(&format!("{module}/index.json")).map(Vec::as_slice).unwrap_or_default();
    let index: Value = serde_json::from_slice(index).unwrap_or_default();
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let manifests = index["manifests"].as_array().cloned().unwrap_or_default();
    let image = |it: &Value| Some((text(&it["annotations"][image::TAG])?, text(&it["digest"])?));
    manifests.iter().filter_map(image).collect()
}

/// A document with its members in order: which order a map has depends on what else is built.
fn document(value: &Value) -> Vec<u8> {
    format!("{:#}\n", sorted(value)).into_bytes()
}

fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut members: Vec<_> = map.iter().collect();
            members.sort_by_key(|(name, _)| *name);
            let members = members.into_iter().map(|(name, value)| (name.clone(), sorted(value)));
            Value::Object(members.collect())
        }
        Value::Array(values) => Value::Array(values.iter().map(sorted).collect()),
        other => other.clone(),
    }
}

/// `sha256:` and the hex of it.
fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", sum(bytes))
}

fn sum(bytes: &[u8]) -> String {
    postern_core::hex::lower(&Sha256::digest(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    pub fn about() -> About {
        let created = "2026-01-02T03:04:05Z".to_owned();
        About { version: "1.2.3", commit: "ab".repeat(20), changed: false, created }
    }

    pub fn module(name: &'static str, bytes: &[u8]) -> Module {
        Module { name, bytes: bytes.to_vec(), licence: "Apache-2.0".into() }
    }

    #[test]
    fn members_of_documents_are_in_order() {
        let value = json!({"b": [{"d": 1, "c": 2}], "a": null});
        let text = String::from_utf8(document(&value)).unwrap();
        let at = |name: &str| text.find(&format!("\"{name}\"")).unwrap();
        assert!(at("a") < at("b") && at("c") < at("d") && text.ends_with("}\n"), "{text}");
    }

    #[test]
    fn a_layout_names_its_blobs_by_their_digests_and_its_images_by_tags() {
        let layout = image::layout(&module("gate", b"\0asm"), &about()).unwrap();
        for (name, bytes) in &layout {
            if let Some(hex) = name.strip_prefix("blobs/sha256/") {
                assert_eq!(hex, sum(bytes));
            }
        }
        let files = layout.iter().map(|(name, bytes)| (format!("gate/{name}"), bytes.clone()));
        let files: Files = files.collect();
        assert_eq!(folder::below(&files, "gate"), layout);
        for (tag, digest) in images(&files, "gate") {
            let manifest = &layout[&image::blob_file(&digest)];
            let manifest: Value = serde_json::from_slice(manifest).unwrap();
            let said = &manifest["annotations"];
            assert_eq!(said["org.opencontainers.image.version"], "1.2.3", "{tag}");
            assert_eq!(said["org.opencontainers.image.revision"], "ab".repeat(20), "{tag}");
            assert_eq!(said["org.opencontainers.image.created"], "2026-01-02T03:04:05Z", "{tag}");
        }
    }
}
