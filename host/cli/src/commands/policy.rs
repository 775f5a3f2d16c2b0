//! `postern policy`.

use std::path::PathBuf;
use std::time::Instant;

use postern_core::config::gate::{DEFAULT_INSTRUCTIONS, DEFAULT_QUERY};
use postern_rego::{Fault, Finding, Machine, Program, Rules, Value as Rego, program};
use serde_json::{Value, json};

use crate::failure::{Failure, Outcome, Sort};
use crate::output::{Output, table};

mod bench;
mod build;
mod coverage;
mod diff;
mod files;
mod signer;

use coverage::Lines;
use files::{Files, Modules, document};

/// Policies in Rego: check, test and evaluate them as a gate does.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Say what keeps a gate from loading these modules.
    Check(CheckArgs),
    /// Run every rule whose name starts with `test_`, and check the other modules.
    Test(TestArgs),
    /// Evaluate one rule, by bytecode and by the interpreter.
    Eval(EvalArgs),
    /// Measure what one decision costs.
    Bench(bench::BenchArgs),
    /// Make a bundle of modules and data, signed where a key is given.
    Build(build::BuildArgs),
    /// Say which decisions another version of a policy changes.
    Diff(diff::DiffArgs),
}

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  postern policy check policies/
  postern policy check --query data.envoy.authz.result policy.rego
  postern policy check --keys keys.json policy.tar.gz

Exit codes: 0 a gate can load them, 1 it cannot, 2 called wrongly, 3 a file cannot be read")]
pub struct CheckArgs {
    #[command(flatten)]
    files: Files,
    /// The rule that decides; without it every rule that makes a value is compiled.
    #[arg(long, value_name = "RULE")]
    query: Option<String>,
}

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  postern policy test policies/
  postern policy test --only data.scopes --json policies/
  postern policy test --coverage --threshold 95 policies/

Exit codes: 0 all passed, 1 one did not or fewer lines were evaluated than asked for, 2 called wrongly, 3 a file cannot be read")]
pub struct TestArgs {
    #[command(flatten)]
    files: Files,
    /// Only tests whose path starts so.
    #[arg(long, value_name = "START")]
    only: Option<String>,
    /// Say which lines of the policies no test evaluates.
    #[arg(long, conflicts_with = "only")]
    coverage: bool,
    /// Fail when tests evaluate a smaller part of the lines.
    #[arg(long, value_name = "PERCENT", default_value_t = 0, requires = "coverage",
          value_parser = clap::value_parser!(u8).range(0..=100))]
    threshold: u8,
}

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  postern policy eval --input request.json policy.rego
  postern policy eval --query data.team.result --data data.json --explain policy.rego

Exit codes: 0 it has a value, 1 it has none or cannot be loaded, 2 called wrongly, 3 a file \
cannot be read, 4 bytecode and interpreter differ")]
pub struct EvalArgs {
    #[command(flatten)]
    files: Files,
    /// The rule.
    #[arg(long, value_name = "RULE", default_value = DEFAULT_QUERY)]
    query: String,
    /// The document `input`, as JSON. Default `{}`.
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Most instructions.
    #[arg(long, value_name = "N", default_value_t = DEFAULT_INSTRUCTIONS)]
    instructions: u32,
    /// Say which parts of the input the modules read.
    #[arg(long)]
    explain: bool,
}

/// Runs the command.
pub fn run(command: Command, out: Output) -> Outcome {
    match command {
        Command::Check(args) => check(&args, out),
        Command::Test(args) => test(&args, out),
        Command::Eval(args) => eval(&args, out),
        Command::Bench(args) => bench::bench(&args, out),
        Command::Build(args) => build::build(&args, out),
        Command::Diff(args) => diff::diff(&args, out),
    }
}

/// Modules of tests: OPA's convention is a name that ends in `_test`.
fn is_test(name: &str) -> bool {
    name.ends_with("_test.rego")
}

fn shown(findings: &[Finding]) -> Vec<Value> {
    let one = |finding: &Finding| {
        json!({
            "file": finding.file,
            "line": finding.line,
            "column": finding.column,
            "message": finding.message,
        })
    };
    findings.iter().map(one).collect()
}

fn lines(findings: &[Finding]) -> String {
    findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

fn check(args: &CheckArgs, out: Output) -> Outcome {
    let read = args.files.read()?;
    let (mut modules, data) = (read.modules, read.data);
    modules.retain(|(name, _)| !is_test(name));
    let checked = match &args.query {
        Some(query) => program::load(&modules, &data, query).map(drop),
        None => program::check(&modules, &data),
    };
    let findings = checked.err().unwrap_or_default();
    let text = match findings.as_slice() {
        [] => format!("{}{} modules: good", files::lines(&read.bundles), modules.len()),
        findings => lines(findings),
    };
    let mut document = json!({"good": findings.is_empty(), "findings": shown(&findings)});
    if !read.bundles.is_empty() {
        document["bundles"] = json!(read.bundles);
    }
    out.result(&document, &text)?;
    if findings.is_empty() { Ok(()) } else { Err(Failure::reported()) }
}

/// How one test ended.
struct Ended {
    test: String,
    good: bool,
    what: &'static str,
    micros: u128,
}

fn test(args: &TestArgs, out: Output) -> Outcome {
    let (modules, data) = args.files.read().map(|read| (read.modules, read.data))?;
    let refused = |found: Vec<Finding>| Failure::found(lines(&found));
    let mut rules = Rules::new(&modules, &data).map_err(refused)?;
    let tests: Vec<String> = rules.tests().cloned().collect();
    if args.coverage {
        rules.watch();
    }
    let wanted = |test: &&String| args.only.as_ref().is_none_or(|only| test.starts_with(only));
    let tests: Vec<Ended> =
        tests.iter().filter(wanted).map(|test| ended(&mut rules, test)).collect();
    if tests.is_empty() {
        return Err(Failure::found("no rule whose name starts with test_"));
    }
    let policies: Modules = modules.into_iter().filter(|(name, _)| !is_test(name)).collect();
    let findings = program::check(&policies, &data).err().unwrap_or_default();
    let failed = tests.iter().filter(|test| !test.good).count();
    let lines = args.coverage.then(|| Lines::of(&rules, args.threshold)).transpose()?;
    let enough = lines.as_ref().is_none_or(Lines::enough);
    let good = failed == 0 && findings.is_empty() && enough;
    let rows = tests.iter().map(
        |one| json!({"test": one.test, "passed": one.good, "result": one.what, "us": one.micros}),
    );
    let rows: Vec<Value> = rows.collect();
    let mut document = json!({
        "good": good, "passed": tests.len() - failed, "failed": failed,
        "tests": rows, "findings": shown(&findings),
    });
    let mut text = summary(&tests, failed, &findings);
    if let Some(lines) = lines {
        document["coverage"] = lines.document();
        text.push_str(&lines.text());
    }
    out.result(&document, &text)?;
    if good { Ok(()) } else { Err(Failure::reported()) }
}

fn ended(rules: &mut Rules, test: &str) -> Ended {
    let start = Instant::now();
    let result = rules.value(test, Rego::from(json!({})), now());
    let micros = start.elapsed().as_micros();
    let good = result == Ok(Rego::from(true));
    let what = match result {
        Ok(_) if good => "pass",
        Ok(Rego::Undefined) => "undefined",
        Ok(_) => "not true",
        Err(Fault::Conflict) => "conflict",
        Err(_) => "error",
    };
    Ended { test: test.to_owned(), good, what, micros }
}

fn summary(tests: &[Ended], failed: usize, findings: &[Finding]) -> String {
    let header = ["test", "result", "us"].map(str::to_owned).to_vec();
    let row = |one: &Ended| vec![one.test.clone(), one.what.to_owned(), one.micros.to_string()];
    let rows: Vec<Vec<String>> = std::iter::once(header).chain(tests.iter().map(row)).collect();
    let mut text = table(&rows);
    if !findings.is_empty() {
        text.push_str(&format!("\n\nA gate would refuse:\n{}", lines(findings)));
    }
    let passed = tests.len().saturating_sub(failed);
    let closing = if failed == 0 { String::new() } else { format!(", {failed} failed") };
    format!("{text}\n\npolicies: {passed} passed{closing}")
}

fn eval(args: &EvalArgs, out: Output) -> Outcome {
    let (mut modules, data) = args.files.read().map(|read| (read.modules, read.data))?;
    modules.retain(|(name, _)| !is_test(name));
    let input = args.input.as_deref().map_or_else(|| Ok(json!({})), document)?;
    let refused = |found: Vec<Finding>| Failure::found(lines(&found));
    let program = program::load(&modules, &data, &args.query).map_err(refused)?;
    let value = compiled(&program, args.instructions, &input).map_err(refused)?;
    let mut rules = Rules::new(&modules, &data).map_err(refused)?;
    let other = rules.value(&args.query, Rego::from(input), now());
    if value != Err(Fault::Limit) && value != other {
        return Err(Failure::bug("bytecode and interpreter differ"));
    }
    let (result, text) = match &value {
        Ok(Rego::Undefined) => ("undefined", "undefined".to_owned()),
        Ok(value) => ("value", serde_json::to_string_pretty(value).or_bug("value")?),
        Err(Fault::Conflict) => ("conflict", "conflict: two values for one rule".to_owned()),
        Err(Fault::Limit) => ("limit", "more instructions than allowed".to_owned()),
        Err(Fault::Failed) => ("error", "it cannot be evaluated".to_owned()),
    };
    let mut document = json!({"result": result});
    if let (Ok(value), "value") = (&value, result) {
        document["value"] = serde_json::to_value(value).or_bug("value")?;
    }
    let mut text = text;
    if args.explain {
        let reads = program.reads.paths();
        text.push_str(&format!("\n\nReads:\n  {}", reads.join("\n  ")));
        document["reads"] = json!(reads);
    }
    out.result(&document, &text)?;
    if result == "value" { Ok(()) } else { Err(Failure::reported()) }
}

fn compiled(
    program: &Program,
    instructions: u32,
    input: &Value,
) -> Result<Result<Rego, Fault>, Vec<Finding>> {
    let mut machine = Machine::new(program, instructions)?;
    Ok(machine.run(Rego::from(input.clone()), now()))
}

fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.ok().and_then(|since| u64::try_from(since.as_millis()).ok()).unwrap_or(0)
}
