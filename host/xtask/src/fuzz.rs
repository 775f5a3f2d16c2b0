//! `cargo xtask fuzz`: libFuzzer round the targets of all crates, one after another, and generated
//! policies against OPA.
//!
//! Builds `tests/fuzz` with our crates instrumented and nothing else: the compiler of the
//! workspace's packages is the script `tests/fuzz/rustc`, all other packages stay as they were
//! built. Invariant: a target that finds something is a failure, and its input stays in
//! `target/fuzz`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Args;
use serde_json::{Value, json};

use crate::run::{Failure, line};
use crate::{built, guests, setup, workspace};

/// The target that libFuzzer does not run.
const POLICIES: &str = "policies";

#[derive(Args)]
pub struct Options {
    /// Minutes for each target.
    #[arg(long, default_value_t = 1.0)]
    minutes: f64,
    /// Run only this target; may be given several times. They are the folders of
    /// tests/fuzz/corpus, and `policies`: 5 000 expressions and 5 000 policies, whatever the
    /// minutes.
    #[arg(long, value_name = "NAME")]
    target: Vec<String>,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
}

/// `cargo xtask fuzz`.
pub fn run(options: &Options) -> Result<()> {
    let targets = select(&options.target)?;
    let mut found = Vec::new();
    if targets.iter().any(|name| name == POLICIES) && !policies()? {
        found.push(POLICIES.to_owned());
    }
    let targets: Vec<String> = targets.into_iter().filter(|name| name != POLICIES).collect();
    let engine = if targets.is_empty() { PathBuf::new() } else { engine()? };
    for target in targets {
        eprintln!("{target}: {} minutes", options.minutes);
        let outcome = Outcome::of(&engine, &target, options.minutes)?;
        if options.json {
            println!("{}", outcome.json())
        } else {
            println!("{}", outcome.text())
        }
        if let Some(finding) = &outcome.finding {
            eprintln!("{finding}");
            found.push(target);
        }
    }
    if found.is_empty() {
        return Ok(());
    }
    Err(Failure::found(format!("inputs that break an invariant: {}", found.join(" "))))
}

/// Generated policies, with a seed that is printed; whether all answer as OPA does.
fn policies() -> Result<bool> {
    guests::modules()?;
    let mut harness = Command::new(built::host()?.program("postern-harness")?);
    harness.env("POSTERN_OPA", setup::opa()?).current_dir(workspace::root());
    harness.args(["--policy", "--pairs", "5000", "--policies", "5000", "--only", "generated/"]);
    Ok(harness.stdout(std::io::stderr()).status()?.success())
}

/// The names of all targets: each of libFuzzer's has a folder in the corpus, which a test holds.
fn select(only: &[String]) -> Result<Vec<String>> {
    let folder = corpus();
    let entries = std::fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
    let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let mut names = names.collect::<std::io::Result<Vec<String>>>()?;
    names.push(POLICIES.to_owned());
    names.sort();
    if let Some(unknown) = only.iter().find(|name| !names.contains(name)) {
        return Err(Failure::usage(format!("no target {unknown}; there are: {}", names.join(" "))));
    }
    names.retain(|name| only.is_empty() || only.contains(name));
    Ok(names)
}

fn corpus() -> PathBuf {
    workspace::root().join("tests/fuzz/corpus")
}

/// Builds the engine. Naming no package keeps the features of all dependencies, and naming a
/// test those of what only tests need, so that none of them is built again.
fn engine() -> Result<PathBuf> {
    let mut command = Command::new("cargo");
    command.args(["build", "--quiet", "--test", "engine", "--features", "postern-fuzz/engine"]);
    command.arg("--message-format=json-render-diagnostics");
    command.env("RUSTC_WORKSPACE_WRAPPER", workspace::root().join("tests/fuzz/rustc"));
    command.current_dir(workspace::root()).stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = command.output().with_context(|| format!("cannot start {}", line(&command)))?;
    if !output.status.success() {
        return Err(Failure::found(format!("{} ended with {}", line(&command), output.status)));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let messages = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut engines = messages.filter(|message| message["target"]["name"] == "engine");
    let engine = engines.find_map(|message| Some(PathBuf::from(message["executable"].as_str()?)));
    engine.context("cargo has built no engine")
}

/// What a run of one target came to.
#[derive(Debug, Default, PartialEq)]
struct Outcome {
    target: String,
    seconds: f64,
    executions: u64,
    /// Edges of the program that inputs have reached.
    edges: u64,
    /// Edges with how often, and comparisons.
    features: u64,
    /// Inputs in `target/fuzz` that each reach something of their own.
    inputs: u64,
    /// What was said when an invariant broke, and the file of the input.
    finding: Option<String>,
}

impl Outcome {
    fn of(engine: &Path, target: &str, minutes: f64) -> Result<Self> {
        let folder = workspace::root().join("target/fuzz").join(target);
        std::fs::create_dir_all(&folder)?;
        let artifacts = folder.with_file_name(format!("{target}-found-"));
        let mut command = Command::new(engine);
        command.env("POSTERN_FUZZ_TARGET", target);
        command.arg(format!("-max_total_time={}", (minutes * 60.0).ceil()));
        command.args(["-print_final_stats=1", "-timeout=20", "-rss_limit_mb=2048"]);
        command.args(["-max_len=4096", "-verbosity=1"]);
        command.arg(format!("-artifact_prefix={}", artifacts.display()));
        command.arg(&folder).arg(corpus().join(target));
        let start = Instant::now();
        let output = command.stdin(Stdio::null()).output();
        let output = output.with_context(|| format!("cannot start {}", line(&command)))?;
        let mut outcome = Self::read(target, &String::from_utf8_lossy(&output.stderr));
        outcome.seconds = start.elapsed().as_secs_f64();
        if !output.status.success() && outcome.finding.is_none() {
            outcome.finding = Some(format!("{target}: ended with {}", output.status));
        }
        Ok(outcome)
    }

    /// Reads what libFuzzer has printed: lines of progress, which start with `#`, and
    /// whatever was said at the end.
    fn read(target: &str, log: &str) -> Self {
        let mut outcome = Self { target: target.to_owned(), ..Self::default() };
        for line in log.lines().filter_map(|line| line.strip_prefix('#')) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let number = |word: Option<&&str>| {
                word.and_then(|word| word.split('/').next()?.parse::<u64>().ok())
            };
            let after = |name| {
                let at = words.iter().position(|word| *word == name)?;
                number(words.get(at + 1))
            };
            outcome.executions = number(words.first()).unwrap_or(outcome.executions);
            outcome.edges = after("cov:").unwrap_or(outcome.edges);
            outcome.features = after("ft:").unwrap_or(outcome.features);
            outcome.inputs = after("corp:").unwrap_or(outcome.inputs);
        }
        let told = ["panicked at", "ERROR: libFuzzer", "Test unit written to"];
        let lines: Vec<&str> = log.lines().collect();
        let finding =
            lines.iter().enumerate().filter(|(_, line)| told.iter().any(|t| line.contains(t)));
        let finding: Vec<String> = finding
            .map(|(at, line)| {
                let message = if line.contains("panicked at") { lines.get(at + 1) } else { None };
                format!("{line} {}", message.unwrap_or(&"")).trim_end().to_owned()
            })
            .collect();
        outcome.finding = (!finding.is_empty()).then(|| finding.join("\n"));
        outcome
    }

    fn text(&self) -> String {
        let Self { target, seconds, executions, edges, features, inputs, finding } = self;
        let end = if finding.is_some() { "FOUND" } else { "nothing found" };
        format!(
            "{target:<14} {executions:>10} executions in {seconds:>5.0} s, {edges:>5} edges, \
             {features:>6} features, {inputs:>5} inputs: {end}"
        )
    }

    fn json(&self) -> Value {
        json!({
            "target": self.target, "seconds": self.seconds, "executions": self.executions,
            "edges": self.edges, "features": self.features, "inputs": self.inputs,
            "finding": self.finding,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "INFO: Seed: 1\n#2\tINITED cov: 3 ft: 4 corp: 1/1b exec/s: 0 rss: 30Mb\n\
        #768611\tDONE   cov: 1034 ft: 5012 corp: 812/90Kb lim: 4096 exec/s: 69873 rss: 33Mb\n";

    #[test]
    fn the_last_line_of_progress_counts() {
        let outcome = Outcome::read("http1", LOG);
        let numbers = (outcome.executions, outcome.edges, outcome.features, outcome.inputs);
        assert_eq!(numbers, (768_611, 1034, 5012, 812));
        assert_eq!(outcome.finding, None);
    }

    #[test]
    fn a_panic_is_a_finding_with_its_message_and_file() {
        let log = format!(
            "{LOG}thread '<unnamed>' panicked at a.rs:1:1:\nnot so\nTest unit written to x\n"
        );
        let finding = Outcome::read("http1", &log).finding.unwrap();
        assert!(finding.contains("not so") && finding.contains("written to x"), "{finding}");
    }

    #[test]
    fn an_unknown_target_is_a_usage_error() {
        assert!(select(&["nothing".to_owned()]).is_err());
        assert!(!select(&[]).unwrap().is_empty());
    }
}
