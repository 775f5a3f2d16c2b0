//! What the commands on policies read: modules, data and bundles.

use std::path::{Path, PathBuf};

use postern_jose::KeySet;
use postern_rego::bundle;
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::failure::{Failure, Outcome, Sort};

/// Largest file that is read.
const MAX_FILE: usize = 16 << 20;

/// Name and text of each.
pub(super) type Modules = Vec<(String, String)>;

/// What all of them read.
#[derive(clap::Args)]
pub struct Files {
    /// Modules (`.rego`), folders of them, or bundles (`.tar.gz`).
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// The document `data`, as JSON. Besides, every `data.json` in a folder is merged into it.
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    /// A JSON Web Key Set: each bundle has to be signed by one of its keys. Without it no
    /// signature is looked at.
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
}

/// What was read.
#[derive(Default)]
pub(super) struct Read {
    pub(super) modules: Modules,
    pub(super) data: Value,
    pub(super) bundles: Vec<Bundle>,
}

/// A bundle that was read.
#[derive(Serialize)]
pub(super) struct Bundle {
    file: String,
    revision: String,
    sha256: String,
    verified: bool,
}

/// One line for each bundle.
pub(super) fn lines(bundles: &[Bundle]) -> String {
    let line = |bundle: &Bundle| {
        let verified =
            if bundle.verified { "signature verified" } else { "signature not looked at" };
        let Bundle { file, revision, sha256, .. } = bundle;
        format!("{file}: revision {revision:?}, SHA-256 {sha256}, {verified}\n")
    };
    bundles.iter().map(line).collect()
}

impl Files {
    /// One path alone.
    pub(super) fn of(path: &Path, keys: Option<&Path>) -> Self {
        let keys = keys.filter(|_| is_bundle(path)).map(Path::to_path_buf);
        Self { paths: vec![path.to_path_buf()], data: None, keys }
    }

    pub(super) fn read(&self) -> Outcome<Read> {
        let mut read = Read { data: json!({}), ..Read::default() };
        if let Some(path) = &self.data {
            read.data = document(path)?;
        }
        let keys = self.keys.as_deref().map(key_set).transpose()?;
        for path in &self.paths {
            if is_bundle(path) {
                read.bundle(path, keys.as_ref())?;
            } else {
                read.collect(path)?;
            }
        }
        if read.modules.is_empty() {
            return Err(Failure::found("no module (a file whose name ends in .rego)"));
        }
        if self.keys.is_some() && read.bundles.is_empty() {
            return Err(Failure::usage("--keys is for bundles, and there is none"));
        }
        Ok(read)
    }
}

pub(super) fn is_bundle(path: &Path) -> bool {
    path.to_string_lossy().ends_with(".tar.gz")
}

fn key_set(path: &Path) -> Outcome<KeySet> {
    let bytes = postern_files::read_bounded(path, MAX_FILE).or_environment("cannot read")?;
    let keys = KeySet::parse(&bytes).or_found(path.display())?;
    if keys.keys().is_empty() {
        return Err(Failure::found(format!("{}: no key that verifies", path.display())));
    }
    Ok(keys)
}

pub(super) fn document(path: &Path) -> Outcome<Value> {
    let bytes = postern_files::read_bounded(path, MAX_FILE).or_environment("cannot read")?;
    serde_json::from_slice(&bytes).or_found(path.display())
}

/// Inputs of decisions: a list, or one on each line. An object with `input` stands for that.
pub(super) fn inputs(path: &Path) -> Outcome<Vec<Value>> {
    let bytes = postern_files::read_bounded(path, MAX_FILE).or_environment("cannot read")?;
    let inputs = match serde_json::from_slice(&bytes) {
        Ok(Value::Array(inputs)) => inputs,
        Ok(one) => vec![one],
        Err(_) => {
            let lines = serde_json::Deserializer::from_slice(&bytes).into_iter::<Value>();
            lines.collect::<Result<_, _>>().or_found(path.display())?
        }
    };
    let input = |mut entry: Value| match entry.get_mut("input") {
        Some(input) => input.take(),
        None => entry,
    };
    Ok(inputs.into_iter().map(input).collect())
}

impl Read {
    /// A file, or everything in a folder.
    fn collect(&mut self, path: &Path) -> Outcome {
        if path.is_dir() {
            let entries = std::fs::read_dir(path).or_environment("cannot read")?;
            let entries: Result<Vec<_>, _> =
                entries.map(|entry| entry.map(|one| one.path())).collect();
            let mut entries = entries.or_environment("cannot read")?;
            entries.sort();
            return entries.iter().try_for_each(|entry| {
                let rego = entry.extension().is_some_and(|kind| kind == "rego");
                let wanted = entry.is_dir() || rego || entry.ends_with("data.json");
                if wanted { self.collect(entry) } else { Ok(()) }
            });
        }
        if path.ends_with("data.json") {
            merge(&mut self.data, document(path)?);
            return Ok(());
        }
        let bytes = postern_files::read_bounded(path, MAX_FILE).or_environment("cannot read")?;
        let text = String::from_utf8(bytes).or_found(path.display())?;
        self.modules.push((path.display().to_string(), text));
        Ok(())
    }

    fn bundle(&mut self, path: &Path, keys: Option<&KeySet>) -> Outcome {
        let bytes = postern_files::read_bounded(path, MAX_FILE).or_environment("cannot read")?;
        let bundle = bundle::read(&bytes, keys).or_found(path.display())?;
        let named = |(name, text)| (format!("{}:{name}", path.display()), text);
        self.modules.extend(bundle.modules.into_iter().map(named));
        merge(&mut self.data, bundle.data);
        self.bundles.push(Bundle {
            file: path.display().to_string(),
            revision: bundle.revision,
            sha256: Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect(),
            verified: keys.is_some(),
        });
        Ok(())
    }
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}
