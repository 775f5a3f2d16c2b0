//! Bundles as OPA has them: a `.tar.gz` of modules, data and a manifest, signed or not.
//!
//! Owns the way from bytes to modules and data. It takes less than OPA does: every file is
//! one that has a meaning here, every name and every key stands once, and everything is
//! within the manifest's roots. Invariant: where keys are given, nothing of a bundle is
//! parsed as policy or data before a signature by one of them covers every file.

use std::collections::{BTreeMap, BTreeSet};

use postern_jose::KeySet;
use serde_json::{Map, Value};

use crate::input::Strict;
use crate::names::Chain;
use crate::source;

pub mod signature;
mod tar;

pub use tar::{LARGEST_PACKED, pack, unpack};

/// Name of the manifest.
pub const MANIFEST: &str = ".manifest";
/// Name of the file of signatures.
pub const SIGNATURES: &str = ".signatures.json";
/// Name of documents that are merged into `data`, each where its folder says.
pub const DATA: &str = "data.json";
/// Longest revision, in bytes.
const REVISION: usize = 63;

/// Why bytes are no bundle that may be used: one sentence.
pub type Wrong = String;

/// Names and contents, in the order of names.
pub type Files = BTreeMap<String, Vec<u8>>;

/// A bundle whose signature, where one was asked for, holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Bundle {
    /// Modules: name and text.
    pub modules: Vec<(String, String)>,
    /// The document `data`.
    pub data: Value,
    /// What the manifest calls this state of the policy; may be empty.
    pub revision: String,
    /// The manifest's `metadata.serial`: a bundle with a greater one is newer.
    pub serial: Option<u64>,
    /// Prefixes of `data` that the bundle owns, such as `envoy/authz`; the empty one owns all.
    pub roots: Vec<String>,
}

/// Reads a bundle. With keys its signature has to be by one of them; without, none is looked
/// at.
pub fn read(bytes: &[u8], keys: Option<&KeySet>) -> Result<Bundle, Wrong> {
    let files = unpack(bytes)?;
    if let Some(keys) = keys {
        signature::verify(&files, keys)?;
    }
    of_files(&files)
}

/// The bundle that these files make.
pub fn of_files(files: &Files) -> Result<Bundle, Wrong> {
    let Manifest { revision, serial, roots } = manifest(files.get(MANIFEST))?;
    let (modules, data) = (Vec::new(), Value::Object(Map::new()));
    let mut bundle = Bundle { modules, data, revision, serial, roots };
    for (name, content) in files {
        let (folder, file) = name.rsplit_once('/').unwrap_or(("", name));
        if file.ends_with(".rego") {
            let text = String::from_utf8(content.clone());
            let text = text.map_err(|_| format!("{name}: not UTF-8"))?;
            bundle.modules.push((name.clone(), text));
        } else if file == DATA {
            let document = json(name, content)?;
            merge(&mut bundle.data, folder, document).map_err(|why| format!("{name}: {why}"))?;
        } else if ![MANIFEST, SIGNATURES].contains(&name.as_str()) {
            return Err(format!("{name}: expected modules (.rego), data.json and {MANIFEST} only"));
        }
    }
    within_roots(&bundle)?;
    Ok(bundle)
}

/// JSON in which no object has a key twice.
fn json(name: &str, content: &[u8]) -> Result<Value, Wrong> {
    let Strict(value) =
        serde_json::from_slice(content).map_err(|error| format!("{name}: {error}"))?;
    serde_json::to_value(&value).map_err(|error| format!("{name}: {error}"))
}

struct Manifest {
    revision: String,
    serial: Option<u64>,
    roots: Vec<String>,
}

fn manifest(content: Option<&Vec<u8>>) -> Result<Manifest, Wrong> {
    let (mut revision, mut serial, mut roots) = (String::new(), None, vec![String::new()]);
    let Some(content) = content else { return Ok(Manifest { revision, serial, roots }) };
    let wrong = |what: &str| Err(format!("{MANIFEST}: {what}"));
    let Value::Object(manifest) = json(MANIFEST, content)? else {
        return wrong("expected an object");
    };
    for (name, value) in manifest {
        match (name.as_str(), value) {
            ("revision", Value::String(text)) if is_revision(&text) => revision = text,
            ("revision", _) => return wrong("revision: expected at most 63 visible characters"),
            ("roots", Value::Array(list)) => {
                let text =
                    |root: Value| root.as_str().map(|root| root.trim_matches('/').to_owned());
                match list.into_iter().map(text).collect::<Option<Vec<_>>>() {
                    Some(list) if !overlap(&list) => roots = list,
                    _ => return wrong("roots: expected paths of which none is in another"),
                }
            }
            ("rego_version", Value::Number(one)) if one.as_u64() == Some(1) => {}
            ("rego_version", _) => return wrong("rego_version: expected 1"),
            ("metadata", Value::Object(members)) => match members.get("serial") {
                None => {}
                Some(number) if number.as_u64().is_some() => serial = number.as_u64(),
                Some(_) => return wrong("metadata.serial: expected a number, 0 to 2^64 - 1"),
            },
            _ => return wrong(&format!("{name}: not supported")),
        }
    }
    Ok(Manifest { revision, serial, roots })
}

/// Whether this may be a revision: it goes into records.
pub fn is_revision(text: &str) -> bool {
    text.len() <= REVISION && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Whether one root is in another, or there twice.
fn overlap(roots: &[String]) -> bool {
    let inside = |(at, one): (usize, &String)| {
        let others = roots.iter().enumerate().filter(move |(other, _)| *other != at);
        others.map(|(_, other)| other).any(|other| is_within(one, other))
    };
    roots.iter().enumerate().any(inside)
}

/// Whether a path is at a root or below it.
fn is_within(path: &str, root: &str) -> bool {
    let rest = path.strip_prefix(root);
    root.is_empty() || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Puts a document where its folder says; nothing that is there is replaced.
fn merge(data: &mut Value, folder: &str, document: Value) -> Result<(), Wrong> {
    let Value::Object(_) = document else { return Err("expected an object".to_owned()) };
    let parts = folder.split('/').filter(|part| !part.is_empty()).rev();
    let document = parts.fold(document, |inner, part| {
        Value::Object(std::iter::once((part.to_owned(), inner)).collect())
    });
    add(data, document)
}

fn add(into: &mut Value, from: Value) -> Result<(), Wrong> {
    let (Value::Object(into), Value::Object(from)) = (into, from) else {
        return Err("a value stands where another file has one".to_owned());
    };
    for (key, value) in from {
        match into.get_mut(&key) {
            Some(known) => add(known, value)?,
            None => drop(into.insert(key, value)),
        }
    }
    Ok(())
}

/// Every module's package and every value of the data is at a root or below one.
fn within_roots(bundle: &Bundle) -> Result<(), Wrong> {
    let roots = &bundle.roots;
    let parsed = source::parse(&bundle.modules);
    let parsed =
        parsed.map_err(|found| found.first().map(ToString::to_string).unwrap_or_default())?;
    for module in &parsed {
        let chain = Chain::of(&module.package.refr);
        let rest = chain.whole().unwrap_or_default();
        let path: Vec<String> = chain.name().map(str::to_owned).into_iter().chain(rest).collect();
        if !roots.iter().any(|root| is_within(&path.join("/"), root)) {
            let file = module.package.span.source.file();
            return Err(format!(
                "{file}: package {} is not in the manifest's roots",
                path.join(".")
            ));
        }
    }
    let roots: BTreeSet<&str> = roots.iter().map(String::as_str).collect();
    outside(&bundle.data, "", &roots)
        .map_or(Ok(()), |path| Err(format!("data at {path} is not in the manifest's roots")))
}

/// Where data is outside of every root.
fn outside(value: &Value, path: &str, roots: &BTreeSet<&str>) -> Option<String> {
    if roots.iter().any(|root| is_within(path, root)) {
        return None;
    }
    match value {
        Value::Object(members)
            if path.is_empty() || roots.iter().any(|root| is_within(root, path)) =>
        {
            members.iter().find_map(|(key, value)| {
                let path = if path.is_empty() { key.clone() } else { format!("{path}/{key}") };
                outside(value, &path, roots)
            })
        }
        _ => Some(path.to_owned()),
    }
}

#[cfg(test)]
mod tests;
