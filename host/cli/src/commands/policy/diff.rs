//! `postern policy diff`: which decisions another version of a policy changes.

use std::path::{Path, PathBuf};

use postern_core::config::gate::{DEFAULT_INSTRUCTIONS, DEFAULT_QUERY};
use postern_rego::{Fault, Machine, Program, Value as Rego, program};
use serde_json::{Value, json};

use super::files::{Files, inputs, is_bundle};
use super::{is_test, lines, now};
use crate::failure::{Failure, Outcome, Sort};
use crate::output::Output;

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  postern policy diff --inputs decisions.jsonl policies/ changed/
  postern policy diff --query data.team.result --inputs inputs.json --json old.tar.gz new.tar.gz

INPUTS is a list of input documents, or one on each line; an object with the key `input`, such as \
an entry of OPA's decision log, stands for that input.

Exit codes: 0 every decision is the same, 1 one is not or a policy cannot be loaded, 2 called \
wrongly, 3 a file cannot be read")]
pub struct DiffArgs {
    /// The policy as it is: a module, a folder of them, or a bundle.
    #[arg(value_name = "OLD")]
    old: PathBuf,
    /// The policy as it is to be.
    #[arg(value_name = "NEW")]
    new: PathBuf,
    /// Inputs that both decide about, as JSON or JSON lines.
    #[arg(long, value_name = "FILE", required = true)]
    inputs: Vec<PathBuf>,
    /// The rule.
    #[arg(long, value_name = "RULE", default_value = DEFAULT_QUERY)]
    query: String,
    /// A JSON Web Key Set: bundles have to be signed by one of its keys.
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
    /// Most instructions.
    #[arg(long, value_name = "N", default_value_t = DEFAULT_INSTRUCTIONS)]
    instructions: u32,
}

pub fn diff(args: &DiffArgs, out: Output) -> Outcome {
    if args.keys.is_some() && ![&args.old, &args.new].into_iter().any(|path| is_bundle(path)) {
        return Err(Failure::usage("--keys is for bundles, and there is none"));
    }
    let (old, new) = (load(args, &args.old)?, load(args, &args.new)?);
    let mut old = machine(&old, args)?;
    let mut new = machine(&new, args)?;
    let (mut compared, mut changes) = (0_u64, Vec::new());
    let progress = out.progress("comparing decisions");
    for path in &args.inputs {
        for (number, input) in inputs(path)?.into_iter().enumerate() {
            let (input, now) = (Rego::from(input), now());
            let before = decision(&old.run(input.clone(), now))?;
            let after = decision(&new.run(input, now))?;
            compared += 1;
            if before != after {
                let file = path.display().to_string();
                changes.push(Change { file, number: number + 1, before, after });
            }
        }
    }
    drop(progress);
    if compared == 0 {
        return Err(Failure::found("no input in these files"));
    }
    let rows: Vec<Value> = changes.iter().map(Change::document).collect();
    let document = json!({"compared": compared, "changed": rows.len(), "changes": rows});
    let mut text: String = changes.iter().map(|change| format!("{}\n", change.line())).collect();
    text.push_str(&format!("{compared} decisions compared, {} changed", changes.len()));
    out.result(&document, &text)?;
    if changes.is_empty() { Ok(()) } else { Err(Failure::reported()) }
}

/// A decision that is another one now.
struct Change {
    file: String,
    /// Of the input in its file, counted from 1.
    number: usize,
    before: Value,
    after: Value,
}

impl Change {
    fn document(&self) -> Value {
        let Self { file, number, before, after } = self;
        json!({"file": file, "input": number, "before": before, "after": after})
    }

    fn line(&self) -> String {
        let Self { file, number, before, after } = self;
        format!("{file}: input {number}: {before} becomes {after}")
    }
}

fn load(args: &DiffArgs, path: &Path) -> Outcome<Program> {
    let mut read = Files::of(path, args.keys.as_deref()).read()?;
    read.modules.retain(|(name, _)| !is_test(name));
    program::load(&read.modules, &read.data, &args.query)
        .map_err(|found| Failure::found(lines(&found)))
}

fn machine(program: &Program, args: &DiffArgs) -> Outcome<Machine> {
    Machine::new(program, args.instructions).map_err(|found| Failure::found(lines(&found)))
}

/// What a gate makes of it: a value, or why there is none.
fn decision(result: &Result<Rego, Fault>) -> Outcome<Value> {
    let none = |why: &str| Ok(json!({"no_value": why}));
    match result {
        Ok(Rego::Undefined) => none("undefined"),
        Ok(value) => serde_json::to_value(value).or_bug("value"),
        Err(Fault::Conflict) => none("conflict"),
        Err(Fault::Limit) => none("limit"),
        Err(Fault::Failed) => none("error"),
    }
}
