//! Checks on Rust sources: documentation, sizes, guards, makers of proofs.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use syn::visit::Visit;

use super::Tree;

/// Lints that a crate which ships as wasm has to deny.
const DENIED: [&str; 5] = [
    "clippy::unwrap_used",
    "clippy::expect_used",
    "clippy::panic",
    "clippy::indexing_slicing",
    "clippy::arithmetic_side_effects",
];

/// The files that speak to a Proxy-Wasm host, and so the only ones with unsafe code.
const ABI: [&str; 2] =
    ["plugins/proxy-wasm/src/abi.rs", "tests/conformance/plugins/probe/src/abi.rs"];

pub fn documented(tree: &Tree) -> Result<Vec<String>> {
    findings(tree, |path, text| {
        let first = text.lines().find(|line| !line.starts_with("#![")).unwrap_or_default();
        if first.starts_with("//!") { vec![] } else { vec![path.display().to_string()] }
    })
}

pub fn sized(tree: &Tree) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for path in tree.with_extension("rs") {
        let text = Tree::text(path)?;
        let lines = code_lines(&text);
        if lines > tree.limits.file_lines {
            found.push(format!("{}: {lines} lines without tests", path.display()));
        }
        let file = syn::parse_file(&text).with_context(|| path.display().to_string())?;
        let mut long = LongFunctions { limit: tree.limits.function_lines, found: vec![] };
        long.visit_file(&file);
        found.extend(long.found.iter().map(|what| format!("{}: {what}", path.display())));
        if is_module(path) && lines > tree.limits.module_lines {
            found.push(format!("{}: a module crate of {lines} lines", path.display()));
        }
    }
    Ok(found)
}

fn is_module(path: &Path) -> bool {
    crate::guests::MODULES.iter().any(|name| path.starts_with(format!("plugins/{name}")))
}

/// Files that only a test build contains: `tests.rs` and whatever
/// lies in a folder `tests`.
fn is_test(path: &Path) -> bool {
    let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    stem == "tests" || path.components().any(|part| part.as_os_str() == "tests")
}

/// Lines before the first unit-test module.
fn code_lines(text: &str) -> usize {
    text.lines().take_while(|line| line.trim() != "#[cfg(test)]").count()
}

struct LongFunctions {
    limit: usize,
    found: Vec<String>,
}

impl LongFunctions {
    fn measure(&mut self, name: &syn::Ident, block: &syn::Block) {
        let braces = block.brace_token.span;
        let (first, last) = (braces.open().start().line, braces.close().end().line);
        let lines = last.saturating_sub(first);
        if lines > self.limit {
            self.found.push(format!("fn {name} has {lines} lines"));
        }
    }
}

impl<'ast> Visit<'ast> for LongFunctions {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.measure(&item.sig.ident, &item.block);
        syn::visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.measure(&item.sig.ident, &item.block);
        syn::visit::visit_impl_item_fn(self, item);
    }
}

pub fn guarded(tree: &Tree) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for path in tree.with_extension("rs").filter(|path| path.ends_with("src/lib.rs")) {
        let (text, name) = (Tree::text(path)?, path.display());
        if path.starts_with("plugins") {
            let missing = DENIED.iter().filter(|lint| !text.contains(**lint));
            found.extend(missing.map(|lint| format!("{name}: does not deny {lint}")));
        }
        // The workspace lint still denies it in all other files of these crates.
        if !speaks_abi(&path.with_file_name("abi.rs")) && !text.contains("#![forbid(unsafe_code)]")
        {
            found.push(format!("{name}: does not forbid unsafe code"));
        }
    }
    let allowing = tree.with_extension("rs").filter(|path| {
        Tree::text(path).is_ok_and(|text| text.contains(concat!("allow(", "unsafe_code)")))
    });
    let others = allowing.filter(|path| !speaks_abi(path));
    found.extend(others.map(|path| format!("{}: allows unsafe code", path.display())));
    Ok(found)
}

fn speaks_abi(path: &Path) -> bool {
    ABI.iter().any(|file| path == Path::new(file))
}

pub fn makers(tree: &Tree) -> Result<Vec<String>> {
    findings(tree, |path, text| {
        let name = path.display().to_string();
        let tests = text.find("#[cfg(test)]").unwrap_or(text.len());
        let code = text.get(..tests).unwrap_or(text);
        let exempt = is_test(path) || name.contains("/tidy");
        let stray = tree
            .limits
            .makers
            .iter()
            .filter(|(maker, homes)| !exempt && makes(code, maker) && !homes.contains(&name));
        stray.map(|(maker, _)| format!("{name}: `{maker}`")).collect()
    })
}

/// Whether code builds the value; `-> Permit {` only names the type.
fn makes(code: &str, maker: &str) -> bool {
    let named = ["-> ", "struct ", "impl ", "for "].map(|before| format!("{before}{maker}"));
    let code = named.iter().fold(code.to_owned(), |code, named| code.replace(named, ""));
    code.contains(maker)
}

pub fn exposures(tree: &Tree) -> Result<Vec<String>> {
    let mut counted = BTreeMap::new();
    for path in tree.with_extension("rs").filter(|path| !path.starts_with("host/xtask")) {
        let text = Tree::text(path)?;
        let code: Vec<&str> = text.lines().take_while(|l| l.trim() != "#[cfg(test)]").collect();
        let uses = code.join("\n").matches(".expose()").count();
        if uses > 0 && !is_test(path) {
            counted.insert(path.display().to_string(), uses);
        }
    }
    let all: std::collections::BTreeSet<_> =
        counted.keys().chain(tree.limits.expose.keys()).collect();
    let differs = all.into_iter().filter_map(|path| {
        let (now, listed) = (counted.get(path), tree.limits.expose.get(path));
        let count = |uses: Option<&usize>| uses.copied().unwrap_or_default();
        (now != listed)
            .then(|| format!("{path}: {} uses, tidy.toml says {}", count(now), count(listed)))
    });
    Ok(differs.collect())
}

pub fn whole_writes(tree: &Tree) -> Result<Vec<String>> {
    findings(tree, |path, text| {
        let call = concat!("fs::", "write(");
        let bad = text.contains(call) && !path.starts_with("host/xtask/src/tidy");
        if bad { vec![format!("{}: {call}…)", path.display())] } else { vec![] }
    })
}

fn findings(tree: &Tree, check: impl Fn(&Path, &str) -> Vec<String>) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for path in tree.with_extension("rs") {
        found.extend(check(path, &Tree::text(path)?));
    }
    Ok(found)
}
