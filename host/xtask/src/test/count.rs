//! What the steps came to, read from what their commands print.
//!
//! Invariant: what failed is named again at the end, where a reader of a long log looks.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use anyhow::Result;

use crate::run::line;

/// Most lines that are kept of one command: a reader wants the first failures, not all.
const KEPT: usize = 200;

/// How many tests passed, and what the others said.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    pub passed: usize,
    pub failed: usize,
    /// Cannot run on this machine; the reason was printed.
    pub skipped: usize,
    /// What failed, in the words of its command.
    pub failures: Vec<String>,
}

impl Count {
    /// So many that passed, and one failure for each complaint.
    pub(super) fn of(passed: usize, failures: Vec<String>) -> Self {
        Self { passed, failed: failures.len(), skipped: 0, failures }
    }

    pub(super) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
        self.failures.extend(other.failures);
    }
}

/// Runs a test command, shows what it prints as it comes and adds up its closing lines.
pub(super) fn counted(command: &mut Command) -> Result<Count> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let (mut count, mut failures) = (Count::default(), Failures::default());
    for line in child.stdout.take().into_iter().flat_map(|out| BufReader::new(out).lines()) {
        let line = line?;
        println!("{line}");
        failures.read(&line);
        let (passed, failed) = closing_line(&line).unwrap_or_default();
        count.passed += passed;
        count.failed += failed;
    }
    let status = child.wait()?;
    if !status.success() && count.failed == 0 {
        count.failed = 1;
    }
    if count.failed > 0 {
        count.failures.push(format!("{} ended with {status}", line(command)));
        count.failures.append(&mut failures.lines);
    }
    Ok(count)
}

/// The lines that belong to a failure, of the test programs of Rust and of our own runners.
#[derive(Default)]
struct Failures {
    lines: Vec<String>,
    inside: Option<Runner>,
}

enum Runner {
    /// From `failures:` to `test result:`.
    Rust,
    /// `FAILED  name` and what is indented behind it.
    Ours,
}

impl Failures {
    fn read(&mut self, line: &str) {
        if line.starts_with("FAILED") {
            self.inside = Some(Runner::Ours);
        } else if line == "failures:" {
            self.inside = Some(Runner::Rust);
        } else if match self.inside {
            Some(Runner::Rust) => line.starts_with("test result:"),
            Some(Runner::Ours) => !line.starts_with("    "),
            None => false,
        } {
            self.inside = None;
        }
        if self.inside.is_some() && self.lines.len() < KEPT {
            self.lines.push(line.to_owned());
        }
    }
}

/// `test result: ok. 12 passed; 0 failed; …` or `scenarios on core: 12 passed, 1 failed`.
fn closing_line(line: &str) -> Option<(usize, usize)> {
    let start = line.starts_with("test result:") || line.contains(": ") && line.contains(" passed");
    let number_before = |word: &str| {
        let words: Vec<&str> = line.split([' ', ';', ',']).filter(|w| !w.is_empty()).collect();
        let at = words.iter().position(|w| *w == word)?;
        words.get(at.checked_sub(1)?)?.parse().ok()
    };
    if !start {
        return None;
    }
    let (passed, failed) = (number_before("passed")?, number_before("failed").unwrap_or(0));
    Some((passed, failed))
}

#[cfg(test)]
mod tests {
    use super::{Failures, closing_line};

    #[test]
    fn closing_lines_of_both_runners_are_counted() {
        let cargo = "test result: FAILED. 12 passed; 3 failed; 0 ignored; 0 measured";
        assert_eq!(closing_line(cargo), Some((12, 3)));
        assert_eq!(closing_line("scenarios on envoy: 41 passed"), Some((41, 0)));
        assert_eq!(closing_line("scenarios on envoy: 40 passed, 1 failed"), Some((40, 1)));
        assert_eq!(closing_line("scenario: passed"), None);
    }

    #[test]
    fn what_failed_is_kept_with_its_reasons() {
        let text = "running 2 tests\n.F\nfailures:\n\n---- a stdout ----\nleft: 1\n\nfailures:\n    a\n\n\
                    test result: FAILED. 1 passed; 1 failed\nok      b\nFAILED  c\n        step 1\nok      d";
        let mut failures = Failures::default();
        text.lines().for_each(|line| failures.read(line));
        let kept: Vec<&str> = failures.lines.iter().map(String::as_str).collect();
        let rust = ["failures:", "", "---- a stdout ----", "left: 1", "", "failures:", "    a", ""];
        assert_eq!(kept, [&rust[..], &["FAILED  c", "        step 1"]].concat());
    }
}
