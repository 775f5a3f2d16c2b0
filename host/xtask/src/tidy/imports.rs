//! Compares what each built module imports and exports with its checked-in list.
//!
//! WASI imports of the standard library differ between the two toolchains by a few
//! calls that are never made; a list names the union and may not be exceeded. Host
//! calls and exported callbacks must be equal.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result};
use wasmparser::{ExternalKind, Parser, Payload};

use super::Tree;
use crate::guests::MODULES;
use crate::workspace;

const WASI: &str = "wasi_snapshot_preview1";

pub fn listed(_: &Tree) -> Result<Vec<String>> {
    let mut found = differences(&workspace::plugins())?;
    found.extend(component()?);
    Ok(found)
}

/// What the component for Spin imports and exports, against its list: both ways, but for what
/// standard libraries need of WASI 0.2.
fn component() -> Result<Vec<String>> {
    let listed = lines_of(&workspace::root().join("spin/imports.txt"))?;
    let path = workspace::plugins().join("spin-gateway.wasm");
    let bytes = std::fs::read(&path).with_context(|| path.display().to_string())?;
    let built = component_surface(&bytes)?;
    let extra = built.difference(&listed).map(|line| format!("spin-gateway: not listed: {line}"));
    let absent = listed.difference(&built).filter(|line| !line.contains("@0.2."));
    let absent = absent.map(|line| format!("spin-gateway: listed but absent: {line}"));
    Ok(extra.chain(absent).collect())
}

/// Interfaces of the outermost component; those of the parts inside are between them.
pub fn component_surface(bytes: &[u8]) -> Result<BTreeSet<String>> {
    let (mut lines, mut depth) = (BTreeSet::new(), 0_usize);
    for payload in Parser::new(0).parse_all(bytes) {
        match payload? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(reader) if depth == 0 => {
                for import in reader {
                    lines.insert(format!("import {}", import?.name.name));
                }
            }
            Payload::ComponentExportSection(reader) if depth == 0 => {
                for export in reader {
                    lines.insert(format!("export {}", export?.name.name));
                }
            }
            _ => {}
        }
    }
    Ok(lines)
}

/// What the modules in a folder import or export against their lists.
pub fn differences(folder: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for module in MODULES {
        let listed = list(module)?;
        let built = surface(&folder.join(format!("{module}.wasm")))?;
        let extra = built.difference(&listed).map(|line| format!("{module}: not listed: {line}"));
        found.extend(extra);
        let unused = listed.difference(&built).filter(|line| !line.contains(WASI));
        found.extend(unused.map(|line| format!("{module}: listed but absent: {line}")));
    }
    Ok(found)
}

/// Lines such as `import env.proxy_log` of `envoy/imports/<module>.txt`.
fn list(module: &str) -> Result<BTreeSet<String>> {
    lines_of(&workspace::root().join("envoy/imports").join(format!("{module}.txt")))
}

fn lines_of(path: &Path) -> Result<BTreeSet<String>> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let lines = text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#'));
    Ok(lines.map(str::to_owned).collect())
}

fn surface(path: &Path) -> Result<BTreeSet<String>> {
    let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
    let mut lines = BTreeSet::new();
    for payload in Parser::new(0).parse_all(&bytes) {
        match payload? {
            Payload::ImportSection(reader) => {
                for import in reader.into_imports() {
                    let import = import?;
                    lines.insert(format!("import {}.{}", import.module, import.name));
                }
            }
            Payload::ExportSection(reader) => {
                for export in reader {
                    let export = export?;
                    if export.kind == ExternalKind::Func {
                        lines.insert(format!("export {}", export.name));
                    }
                }
            }
            _ => {}
        }
    }
    Ok(lines)
}
