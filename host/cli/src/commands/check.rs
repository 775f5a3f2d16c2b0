//! `postern check`.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::gateway_set;
use crate::check::{self, Allowed, Module, Report, Severity};
use crate::failure::{Failure, Outcome, Sort};
use crate::output::Output;

/// Largest file that is read.
const MAX_FILE: usize = 16 << 20;

/// Look for mistakes in an envoy.yaml, a spin.toml, a keys.yaml or a module's configuration.
///
/// Runs the modules' own parsers over every embedded configuration, then the rules that
/// keep a credential from leaving by another way. Reports every problem at once.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  postern check envoy/envoy.yaml
  postern check --allow-simulated --allow-plain-upstream envoy/envoy.yaml
  postern check --module gate gate.yaml --json
  postern check --allow-simulated spin/spin.toml
  postern check keys.yaml
  postern check --allow-simulated deploy/istio/waypoint.yaml

Exit codes: 0 nothing wrong, 1 problems found, 2 called wrongly, 3 a file cannot be read")]
pub struct Args {
    /// Envoy bootstraps, manifests of Spin (*.toml), configurations of one module, or resources of
    /// Istio and Envoy Gateway (all of an installation in one file), or a ConfigMap that holds one.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The files are bare configurations of this module.
    #[arg(long)]
    module: Option<Module>,
    /// Accept simulated evidence (development only).
    #[arg(long)]
    allow_simulated: bool,
    /// Accept credentialed clusters without TLS whose endpoints are all on loopback.
    #[arg(long)]
    allow_plain_upstream: bool,
}

/// Checks every file.
pub fn run(args: &Args, out: Output) -> Outcome {
    let allowed =
        Allowed { simulated: args.allow_simulated, plain_upstream: args.allow_plain_upstream };
    let mut reports = Vec::new();
    for path in &args.files {
        let bytes = postern_files::read_bounded(path, MAX_FILE).or_environment("cannot read")?;
        let text = String::from_utf8(bytes).or_found(path.display())?;
        let mut report = match path.extension().is_some_and(|end| end == "toml") {
            true => check::check_spin(&text, allowed),
            false => check::check(&text, args.module, allowed),
        };
        for untrue in gateway_set::drift(path, &text) {
            report.at_path("", untrue);
        }
        reports.push((path.as_path(), report));
    }
    let bad = reports.iter().any(|(_, report)| report.is_bad());
    let files: Vec<Value> = reports.iter().map(|(path, report)| document(path, report)).collect();
    let text: Vec<String> = reports.iter().map(|(path, report)| listing(path, report)).collect();
    out.result(&json!({"good": !bad, "files": files}), &text.join("\n"))?;
    if bad { Err(Failure::reported()) } else { Ok(()) }
}

fn document(path: &Path, report: &Report) -> Value {
    json!({
        "file": path.display().to_string(),
        "good": !report.is_bad(),
        "findings": report.findings,
    })
}

fn listing(path: &Path, report: &Report) -> String {
    let file = path.display();
    let mut lines: Vec<String> = Vec::new();
    for finding in &report.findings {
        let severity = match finding.severity {
            Severity::Error => "error",
            Severity::Note => "note",
        };
        let place = if finding.path.is_empty() { "" } else { ": " };
        let (line, path) = (finding.line, &finding.path);
        lines.push(format!("{file}:{line}: {severity}{place}{path}: {}", finding.message));
    }
    let errors = report.findings.iter().filter(|f| f.severity == Severity::Error).count();
    lines.push(match errors {
        0 => format!("{file}: good"),
        1 => format!("{file}: 1 problem"),
        n => format!("{file}: {n} problems"),
    });
    lines.join("\n")
}
