//! `postern-bench-policy`: what a decision costs here and in the Open Policy Agent, on the
//! policies of `tests/policy/envoy`.
//!
//! Both sides run natively in a process, and both get the request and not the input document
//! built: ours reads fields and content, OPA reads JSON. Invariant: a policy is measured only
//! after both sides gave the same decisions. Exit 0 when everything could be measured, met or
//! not; 3 when not.
#![forbid(unsafe_code)]

mod case;
mod opa;
mod swap;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use postern_bench_line::{Line, Op, Pair, median};

use case::Case;
use opa::Opa;

/// Ours beside OPA's.
const GOAL: f64 = 0.12;

#[derive(Parser)]
#[command(about = "Measures decisions of policies beside the Open Policy Agent")]
struct Options {
    /// One JSON object a line instead of text.
    #[arg(long)]
    json: bool,
    /// Turns of each side for each policy.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Tenths of it are the length of each turn.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// The folder of policies and inputs.
    #[arg(long, default_value = "tests/policy/envoy")]
    policies: PathBuf,
    /// The folder of OPA's library.
    #[arg(long, default_value = "target/tools/opa")]
    opa: PathBuf,
}

fn main() -> ExitCode {
    let options = Options::parse();
    match measured(&options) {
        Ok(lines) => {
            lines.iter().for_each(|line| line.print(options.json));
            ExitCode::SUCCESS
        }
        Err(error) => {
            Line::missing("P4", &format!("{error:#}")).print(options.json);
            ExitCode::from(3)
        }
    }
}

/// A line for each policy, one for the dearest of them, and one for a swap of data.
fn measured(options: &Options) -> Result<Vec<Line>> {
    let mut opa = Opa::start(&options.opa)?;
    let length = Duration::try_from_secs_f64(options.seconds / 10.0)?;
    let cases = case::all(&options.policies)?;
    let lines = cases.iter().map(|case| of(case, &mut opa, options.runs.max(1), length));
    let lines: Vec<Line> = lines.collect::<Result<_>>()?;
    let ratios: Vec<f64> = lines.iter().filter_map(|line| line.ratio).collect();
    let middle = median(&ratios).unwrap_or(f64::NAN);
    let dearest = lines.iter().max_by(|one, other| {
        one.ratio.unwrap_or(f64::NAN).total_cmp(&other.ratio.unwrap_or(f64::NAN))
    });
    let worst = dearest.map(|line| Line {
        id: "P4.worst".to_owned(),
        note: format!("{}; half of the policies at most {middle:.3}", line.id),
        ..line.clone()
    });
    let swap = swap::measured(options.runs.max(1))?;
    Ok(lines.into_iter().chain(worst).chain([swap]).collect())
}

fn of(case: &Case, opa: &mut Opa, runs: usize, length: Duration) -> Result<Line> {
    let (mut ours, mut theirs, mut call) = (Vec::new(), Vec::new(), Vec::new());
    let decided = case.decide();
    for _ in 0..runs {
        ours.push(cost(case, length)?);
        let turn = opa.turn(case, length)?;
        ensure!(turn.allowed == decided, "{}: decisions differ: {decided:?}", case.name);
        theirs.push(turn.us);
        call.push(turn.call);
    }
    let pair = Pair { ours: &ours, other: &theirs };
    let line = Line::new(&format!("P4.{}", case.name), &pair, (Op::AtMost, GOAL), "us/decision");
    let call = median(&call).unwrap_or(f64::NAN);
    Ok(line.noted(format!("native; OPA's without the {call:.0} us of a call that decides nothing")))
}

/// Microseconds of this thread's processor for each decision.
fn cost(case: &Case, length: Duration) -> Result<f64> {
    let (start, before, mut decisions) = (Instant::now(), processor()?, 0);
    while start.elapsed() < length {
        for _ in 0..50 {
            decisions += std::hint::black_box(case.decide()).len();
        }
    }
    Ok((processor()? - before) / 1e3 / decisions as f64)
}

/// What this thread has used of a processor, in nanoseconds (Linux).
fn processor() -> Result<f64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    Ok(text.split_whitespace().next().context("schedstat")?.parse()?)
}
