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

/// How the names begin that the rewrite makes up.
const MADE: &str = "__postern";

fn module(name: &str, text: &str) -> Result<Module, Finding> {
    if let Some((line, at)) =
        text.lines().zip(1..).find_map(|(line, n)| Some((n, line.find(MADE)?)))
    {
        let column = u32::try_from(at).unwrap_or(u32::MAX).saturating_add(1);
        let message = format!("names that begin with {MADE} are made by the load gate");
        return Err(Finding { file: name.to_owned(), line, column, message });
    }
    let wrong = |error: &dyn std::fmt::Display| Finding::of(&error.to_string(), name);
    let source = Source::from_contents(name.to_owned(), text.to_owned());
    let source = source.map_err(|error| wrong(&error))?;
    let mut parser = Parser::new(&source).map_err(|error| wrong(&error))?;
    parser.set_max_col(LONGEST_LINE);
    parser.enable_rego_v1().map_err(|error| wrong(&error))?;
    parser.parse().map_err(|error| wrong(&error))
}
