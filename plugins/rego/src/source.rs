//! Modules from text to syntax tree.

use std::num::NonZeroU32;

use regorus::unstable::{Module, Parser, Source};

use crate::finding::Finding;

/// Keys and certificates stand on one line.
pub(crate) const LONGEST_LINE: NonZeroU32 = NonZeroU32::MIN.saturating_add(65_535);
/// Largest sum of modules, in bytes.
const LARGEST: usize = 1024 * 1024;

/// Parses every module; all syntax errors at once, one a module.
pub(crate) fn parse(modules: &[(String, String)]) -> Result<Vec<Module>, Vec<Finding>> {
    let total: usize = modules.iter().map(|(_, text)| text.len()).sum();
    if total > LARGEST {
        return Err(vec![Finding::whole("expected at most 1 MiB of modules")]);
    }
    let mut findings = Vec::new();
    let mut parsed = Vec::new();
    for (name, text) in modules {
        match module(name, text) {
            Ok(module) => parsed.push(module),
            Err(finding) => findings.push(finding),
        }
    }
    if findings.is_empty() { Ok(parsed) } else { Err(findings) }
}

fn module(name: &str, text: &str) -> Result<Module, Finding> {
    let wrong = |error: &dyn std::fmt::Display| Finding::of(&error.to_string(), name);
    let source = Source::from_contents(name.to_owned(), text.to_owned());
    let source = source.map_err(|error| wrong(&error))?;
    let mut parser = Parser::new(&source).map_err(|error| wrong(&error))?;
    parser.set_max_col(LONGEST_LINE);
    parser.enable_rego_v1().map_err(|error| wrong(&error))?;
    parser.parse().map_err(|error| wrong(&error))
}
