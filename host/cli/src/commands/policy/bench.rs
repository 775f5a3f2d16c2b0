//! `postern policy bench`: what one decision costs on this machine.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use postern_core::config::gate::{DEFAULT_INSTRUCTIONS, DEFAULT_QUERY};
use postern_rego::{Machine, Value as Rego, program};
use serde_json::json;

use super::files::{Files, document};
use super::{is_test, lines, now};
use crate::failure::{Failure, Outcome};
use crate::output::Output;

/// Decisions before anything is measured, and in one sample.
const WARM: u32 = 100;
const SAMPLE: u32 = 20;

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  postern policy bench --input request.json policy.rego
  postern policy bench --query data.team.result --seconds 5 --json policy.tar.gz

Bytecode on this machine, from an input that is there to a value; building the input and the \
gateway's own work are not in it.

Exit codes: 0 measured, 1 the policy cannot be loaded or has no value for this input, 2 called \
wrongly, 3 a file cannot be read")]
pub struct BenchArgs {
    #[command(flatten)]
    files: Files,
    /// The rule.
    #[arg(long, value_name = "RULE", default_value = DEFAULT_QUERY)]
    query: String,
    /// The document `input`, as JSON. Default `{}`.
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// How long to measure.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
}

pub fn bench(args: &BenchArgs, out: Output) -> Outcome {
    let mut read = args.files.read()?;
    read.modules.retain(|(name, _)| !is_test(name));
    let input = args.input.as_deref().map_or_else(|| Ok(json!({})), document)?;
    let refused = |found: Vec<postern_rego::Finding>| Failure::found(lines(&found));
    let program = program::load(&read.modules, &read.data, &args.query).map_err(refused)?;
    let mut machine = Machine::new(&program, DEFAULT_INSTRUCTIONS).map_err(refused)?;
    let input = Rego::from(input);
    let mut decide = |times: u32| {
        let start = Instant::now();
        for _ in 0..times {
            match machine.run(input.clone(), now()) {
                Ok(Rego::Undefined) => return Err(Failure::found("undefined for this input")),
                Ok(_) => {}
                Err(fault) => return Err(Failure::found(format!("no value: {fault:?}"))),
            }
        }
        Ok(start.elapsed().as_secs_f64() * 1e6 / f64::from(times))
    };
    decide(WARM)?;
    let end = Instant::now() + Duration::from_secs(args.seconds);
    let mut samples = vec![decide(SAMPLE)?];
    while Instant::now() < end {
        samples.push(decide(SAMPLE)?);
    }
    samples.sort_by(f64::total_cmp);
    let at = |part: usize| samples.get((samples.len() - 1) * part / 100).copied().unwrap_or(0.0);
    let (least, median, most) = (at(0), at(50), at(99));
    let decisions = samples.len() as u64 * u64::from(SAMPLE);
    let document = json!({
        "decisions": decisions, "us": {"least": least, "median": median, "p99": most},
    });
    let text = format!(
        "{decisions} decisions: {median:.2} us each (median of means of {SAMPLE}; least \
         {least:.2}, 99 of 100 below {most:.2})"
    );
    out.result(&document, &text)
}
