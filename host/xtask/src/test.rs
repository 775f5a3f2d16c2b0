//! `cargo xtask test`: every test there is, in groups.
//!
//! Invariant: a group that finds nothing to run fails, and so does a name that
//! selects nothing. Each group prints `NAME: N passed`; the sum comes last.

use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::Result;
use clap::Args;

use crate::run::{Failure, line};
use crate::{guests, setup, tidy, workspace};

#[derive(Args)]
pub struct Options {
    /// Run only this group; may be given several times.
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
}

/// One thing a group runs.
enum Step {
    /// `cargo test` of these packages.
    Packages(&'static [&'static str]),
    /// The scenario harness on one boundary.
    Scenarios(&'static str),
    /// The checks of the tidy command, each counted.
    Tidy,
    /// A command that has to end well; one test.
    Ends(&'static [&'static str]),
}

struct Group {
    name: &'static str,
    steps: &'static [Step],
}

/// The shipped envoy.yaml is for development: simulated evidence, one plain loopback cluster.
const CHECK_EXAMPLE: &[&str] = &[
    "run",
    "--quiet",
    "--package=postern-cli",
    "--",
    "check",
    "--allow-simulated",
    "--allow-plain-upstream",
    "envoy/envoy.yaml",
];
const DEMO: &[&str] = &["xtask", "demo", "--once"];

const GROUPS: &[Group] = &[
    Group {
        name: "core",
        steps: &[
            Step::Packages(&["postern-core", "postern-crp", "postern-scrub", "postern-proxy-wasm"]),
            Step::Scenarios("core"),
        ],
    },
    Group { name: "keys", steps: &[Step::Packages(&["postern-files", "postern-keys"])] },
    Group {
        name: "operators",
        steps: &[Step::Packages(&["postern-cli", "postern-rig", "postern-harness", "xtask"])],
    },
    Group { name: "envoy", steps: &[Step::Scenarios("envoy")] },
    Group { name: "examples", steps: &[Step::Ends(CHECK_EXAMPLE), Step::Ends(DEMO)] },
    Group { name: "tidy", steps: &[Step::Tidy] },
];

/// Names that are promised to exist one day; asking for one now selects nothing.
const PLANNED: [&str; 7] = ["host", "attacks", "identity", "policy", "audit", "spin", "people"];

/// `cargo xtask test`.
pub fn run(options: &Options) -> Result<()> {
    let groups = select(&options.only)?;
    setup::envoy()?;
    guests::modules()?;
    let (mut passed, mut failed) = (0, 0);
    for group in groups {
        let start = Instant::now();
        let count = group.run()?;
        println!("{}: {} passed", group.name, count.passed);
        eprintln!("{}: {:.0} s", group.name, start.elapsed().as_secs_f32());
        passed += count.passed;
        failed += count.failed + usize::from(count.passed == 0);
    }
    println!("total: {passed} passed, {failed} failed, 0 skipped");
    if failed == 0 { Ok(()) } else { Err(Failure::found("tests failed")) }
}

fn select(only: &[String]) -> Result<Vec<&'static Group>> {
    let known = || GROUPS.iter().map(|group| group.name).collect::<Vec<_>>().join(" ");
    for name in only {
        if PLANNED.contains(&name.as_str()) {
            return Err(Failure::usage(format!("{name} has no tests yet; there are: {}", known())));
        }
        if !GROUPS.iter().any(|group| group.name == name) {
            return Err(Failure::usage(format!("no group {name}; there are: {}", known())));
        }
    }
    let wanted = |group: &&Group| only.is_empty() || only.iter().any(|name| name == group.name);
    Ok(GROUPS.iter().filter(wanted).collect())
}

#[derive(Default)]
struct Count {
    passed: usize,
    failed: usize,
}

impl Group {
    fn run(&self) -> Result<Count> {
        let mut sum = Count::default();
        for step in self.steps {
            let count = step.run()?;
            sum.passed += count.passed;
            sum.failed += count.failed;
        }
        Ok(sum)
    }
}

impl Step {
    fn run(&self) -> Result<Count> {
        match self {
            Self::Packages(names) => {
                let packages = names.iter().flat_map(|name| ["-p", name]);
                counted(cargo(&["test", "--quiet", "--no-fail-fast"]).args(packages))
            }
            Self::Scenarios(boundary) => {
                let words = ["run", "--quiet", "-p", "postern-harness", "--", "--boundary"];
                counted(cargo(&words).arg(boundary))
            }
            Self::Tidy => {
                let report = tidy::examine()?;
                report.print();
                Ok(Count { passed: report.held(), failed: report.broken() })
            }
            Self::Ends(words) => {
                let mut command = cargo(words);
                let good = command.status().is_ok_and(|status| status.success());
                if !good {
                    eprintln!("failed: {}", line(&command));
                }
                Ok(Count { passed: usize::from(good), failed: usize::from(!good) })
            }
        }
    }
}

fn cargo(words: &[&str]) -> Command {
    let mut command = Command::new("cargo");
    command.args(words).current_dir(workspace::root());
    command
}

/// Runs a test command, shows what it prints and adds up its closing lines.
fn counted(command: &mut Command) -> Result<Count> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    print!("{text}");
    let mut count = text.lines().filter_map(closing_line).fold(Count::default(), |sum, line| {
        Count { passed: sum.passed + line.passed, failed: sum.failed + line.failed }
    });
    if !output.status.success() && count.failed == 0 {
        eprintln!("failed: {} ended with {}", line(command), output.status);
        count.failed = 1;
    }
    Ok(count)
}

/// `test result: ok. 12 passed; 0 failed; …` or `core: 12 passed, 0 failed`.
fn closing_line(line: &str) -> Option<Count> {
    let start = line.starts_with("test result:") || line.contains(": ") && line.contains(" passed");
    let number_before = |word: &str| {
        let words: Vec<&str> = line.split([' ', ';', ',']).filter(|w| !w.is_empty()).collect();
        let at = words.iter().position(|w| *w == word)?;
        words.get(at.checked_sub(1)?)?.parse().ok()
    };
    if !start {
        return None;
    }
    Some(Count { passed: number_before("passed")?, failed: number_before("failed").unwrap_or(0) })
}

#[cfg(test)]
mod tests {
    use super::closing_line;

    fn counts(line: &str) -> Option<(usize, usize)> {
        closing_line(line).map(|count| (count.passed, count.failed))
    }

    #[test]
    fn closing_lines_of_both_runners_are_counted() {
        let cargo = "test result: FAILED. 12 passed; 3 failed; 0 ignored; 0 measured";
        assert_eq!(counts(cargo), Some((12, 3)));
        assert_eq!(counts("envoy: 41 passed"), Some((41, 0)));
        assert_eq!(counts("envoy: 40 passed, 1 failed"), Some((40, 1)));
        assert_eq!(counts("scenario: passed"), None);
    }
}
