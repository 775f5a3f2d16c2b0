//! The list of known differences: a document for people that is also checked.
//!
//! A difference is a section: `## topic/name`, why it is so, and a `diff` block with exactly the
//! lines in which the observations differ.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// Differences by scenario.
#[derive(Debug, Default)]
pub struct Listed {
    /// Its name, for messages.
    file: String,
    /// What stands before the first section.
    preamble: String,
    sections: BTreeMap<String, Difference>,
}

#[derive(Debug, Default)]
struct Difference {
    reason: String,
    lines: Vec<String>,
}

impl Listed {
    /// Reads the document.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Self { file, ..Self::parse(&text) })
    }

    fn parse(text: &str) -> Self {
        let mut parts = text.split("\n## ");
        let preamble = parts.next().unwrap_or_default().to_owned();
        let sections = parts;
        let sections = sections.map(|section| {
            let (name, rest) = section.split_once('\n').unwrap_or((section, ""));
            let (reason, block) = rest.split_once("```diff\n").unwrap_or((rest, ""));
            let block = block.split("```").next().unwrap_or_default();
            let lines = block.lines().map(str::to_owned).collect();
            (name.trim().to_owned(), Difference { reason: reason.trim().to_owned(), lines })
        });
        Self { file: String::new(), preamble, sections: sections.collect() }
    }

    /// Takes over what was found in some scenarios. Reasons stay; a new difference has none,
    /// and somebody has to write it before the list counts again.
    pub fn record(&mut self, found: BTreeMap<String, Vec<String>>, path: &Path) -> Result<()> {
        for (name, lines) in found {
            if lines.is_empty() {
                self.sections.remove(&name);
            } else {
                self.sections.entry(name).or_default().lines = lines;
            }
        }
        Ok(postern_files::write_atomic(path, self.render().as_bytes())?)
    }

    fn render(&self) -> String {
        let section = |(name, it): (&String, &Difference)| {
            let lines = it.lines.join("\n");
            format!("\n## {name}\n\n{}\n\n```diff\n{lines}\n```\n", it.reason)
        };
        let sections: String = self.sections.iter().map(section).collect();
        format!("{}\n{sections}", self.preamble.trim_end())
    }

    /// Every section is about a scenario that exists, says why, and shows the lines.
    pub fn check(&self, exists: impl Fn(&str) -> bool) -> Result<()> {
        let file = &self.file;
        for (name, difference) in &self.sections {
            ensure!(exists(name), "{file}: no scenario {name}");
            ensure!(!difference.reason.is_empty(), "{file}: {name}: no reason");
            ensure!(!difference.lines.is_empty(), "{file}: {name}: no lines");
        }
        Ok(())
    }

    /// What is wrong with the differences found in a scenario.
    pub fn judge(&self, name: &str, found: Vec<String>) -> Vec<String> {
        match self.sections.get(name) {
            None => found,
            Some(listed) if listed.lines == found => Vec::new(),
            Some(_) if found.is_empty() => {
                vec![format!("there is no difference: take it out of {}", self.file)]
            }
            Some(_) => {
                let head = format!("other lines differ than {} says:", self.file);
                std::iter::once(head).chain(found).collect()
            }
        }
    }
}

/// A list and what a run has found; or neither, where nothing may differ.
#[derive(Debug, Default)]
pub struct Checked(Option<Run>);

#[derive(Debug)]
struct Run {
    listed: Listed,
    found: BTreeMap<String, Vec<String>>,
    file: PathBuf,
}

impl Checked {
    /// The list in `file`, whose sections are about what `exists`.
    pub fn open(file: PathBuf, exists: impl Fn(&str) -> bool) -> Result<Self> {
        let listed = Listed::read(&file)?;
        listed.check(exists)?;
        Ok(Self(Some(Run { listed, found: BTreeMap::new(), file })))
    }

    /// Whether anything may differ.
    pub fn has_list(&self) -> bool {
        self.0.is_some()
    }

    /// What is wrong with what something came to.
    pub fn judge(&mut self, name: &str, lines: Vec<String>) -> Vec<String> {
        let Some(run) = &mut self.0 else { return lines };
        // A line of the list is a line of a file.
        let lines: Vec<String> =
            lines.iter().flat_map(|line| line.lines().map(str::to_owned)).collect();
        run.found.insert(name.to_owned(), lines.clone());
        run.listed.judge(name, lines)
    }

    /// The end of a run: with `record` the list says what was found.
    pub fn close(self, record: bool) -> Result<()> {
        match self.0 {
            Some(mut run) if record => run.listed.record(run.found, &run.file),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# Title\n\nText.\n\n## a/b\n\nBecause.\n\n```diff\n-x\n+y\n```\n\n## c/d\n";

    #[test]
    fn a_listed_difference_has_to_be_as_listed() {
        let listed = Listed::parse(TEXT);
        let lines = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert!(listed.judge("a/b", lines("-x +y")).is_empty());
        assert_eq!(listed.judge("a/b", lines("-x +z")).len(), 3);
        assert_eq!(listed.judge("a/b", Vec::new()).len(), 1);
        assert_eq!(listed.judge("e/f", lines("-x")), ["-x"]);
        assert!(listed.judge("e/f", Vec::new()).is_empty());
    }

    #[test]
    fn recording_keeps_reasons_and_takes_out_what_has_gone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("list.md");
        let mut listed = Listed::parse(TEXT);
        let found = [("a/b".to_owned(), vec!["-z".to_owned()]), ("c/d".to_owned(), vec![])].into();
        listed.record(found, &path).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, "# Title\n\nText.\n\n## a/b\n\nBecause.\n\n```diff\n-z\n```\n");
        assert_eq!(Listed::parse(&text).render(), text);
    }

    #[test]
    fn a_section_needs_a_scenario_a_reason_and_lines() {
        assert!(Listed::parse(TEXT).check(|_| false).is_err());
        assert!(Listed::parse(TEXT).check(|_| true).is_err(), "c/d has no lines");
        assert!(Listed::parse("# Title\n").check(|_| false).is_ok());
    }
}
