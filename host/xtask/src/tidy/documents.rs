//! Checks on what the project says: paths exist, and no word is out of place.

use std::path::Path;

use anyhow::Result;

use super::Tree;
use crate::workspace;

/// First segments of paths inside the project.
const FOLDERS: [&str; 8] =
    ["plugins/", "host/", "envoy/", "deploy/", "tests/", "policies/", "benches/", ".ci/"];
/// Words of workshops, not of products; split so that this list does not name itself.
const WORDS: [&str; 6] = [
    concat!("shared", "/"),
    concat!("DEVEL", "OPERS.md"),
    concat!("sub", "agent"),
    concat!("/wo", "rk/"),
    concat!("before", "-stop"),
    concat!("this se", "ssion"),
];

/// Every path in backticks or a link of a Markdown file exists.
pub fn paths(tree: &Tree) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for document in tree.with_extension("md") {
        let text = Tree::text(document)?;
        let words = text.split(['`', '(', ')', ' ', '\n', '"']).map(trimmed);
        let named = words.filter(|word| FOLDERS.iter().any(|folder| word.starts_with(folder)));
        let missing = named.filter(|word| !exists(word, document));
        found.extend(missing.map(|word| format!("{}: {word}", document.display())));
    }
    Ok(found)
}

fn trimmed(word: &str) -> &str {
    word.trim_end_matches([',', '.', ';', ':', '/'])
}

/// A pattern or a placeholder is not a path.
fn exists(word: &str, document: &Path) -> bool {
    if word.contains(['*', '<', '{', '…']) {
        return true;
    }
    let beside = document.parent().unwrap_or(Path::new("")).join(word);
    [Path::new(word), &beside].iter().any(|path| workspace::root().join(path).exists())
}

/// No file mentions the place where it was written.
pub fn words(tree: &Tree) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for path in tree.files.iter().filter(|path| !path.starts_with(".ci")) {
        let Ok(text) = Tree::text(path) else { continue };
        for (number, line) in text.lines().enumerate() {
            let stray = WORDS.iter().find(|word| line.contains(**word));
            found.extend(stray.map(|word| format!("{}:{}: {word}", path.display(), number + 1)));
        }
    }
    Ok(found)
}
