//! `postern doctor`: looks at a running system and says what to do.
//!
//! Owns the arguments and who is asked; what is good is `crate::doctor`'s.

use std::time::Duration;

use ureq::Agent;

use crate::doctor::counters::{BETWEEN, Counters, compare};
use crate::doctor::{Finding, State, document, key_service, text, worst};
use crate::failure::{Failure, Outcome};
use crate::operator::{Operator, OperatorArgs};
use crate::output::Output;
use crate::span;

/// Longest wait for a gateway's answer, and the largest.
const PATIENCE: Duration = Duration::from_secs(5);
const ANSWER: u64 = 32 << 20;

/// Look at a running system, and say what to do.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  postern doctor
  postern doctor --gateway http://127.0.0.1:9901
  postern doctor --operator gateway/operator.json --gateway http://127.0.0.1:9901 --strict --json

Asks the key service as an operator: whether it answers and is ready, clocks, evidence for a
fresh challenge, the age of the revocation head, identities that end soon, the audit log
and its checkpoints. With --gateway, reads the counters of its modules twice.
Nothing is changed.

Exit codes: 0 nothing is bad, 1 something is (with --strict: or a warning), 3 the operator's file
cannot be read")]
pub struct Args {
    #[command(flatten)]
    operator: OperatorArgs,
    /// Admin address of a gateway; may be given again.
    #[arg(long = "gateway", value_name = "URL")]
    gateways: Vec<String>,
    /// Seconds between the two looks at a gateway's counters.
    #[arg(long, value_name = "SECONDS", default_value_t = BETWEEN.as_secs(),
          value_parser = clap::value_parser!(u64).range(1..=600))]
    between: u64,
    /// Warnings are bad too.
    #[arg(long)]
    strict: bool,
}

/// Runs it.
pub fn run(args: &Args, out: Output) -> Outcome {
    let operator = Operator::load(&args.operator)?;
    let progress = out.progress("looking");
    let mut findings = key_service::look(&operator, span::now());
    for url in &args.gateways {
        findings.extend(gateway(url, Duration::from_secs(args.between)));
    }
    drop(progress);
    out.result(&document(&findings), &text(&findings))?;
    let limit = if args.strict { State::Warning } else { State::Bad };
    if worst(&findings) >= limit { Err(Failure::reported()) } else { Ok(()) }
}

fn gateway(url: &str, between: Duration) -> Vec<Finding> {
    let advice = "is it running, and is this its admin address?";
    let bad = |why: String| vec![Finding::bad("gateway", format!("{url}: {why}"), advice)];
    let before = match scraped(url) {
        Ok(before) => before,
        Err(why) => return bad(why),
    };
    std::thread::sleep(between);
    match scraped(url) {
        Ok(after) => compare(url, &before, &after),
        Err(why) => bad(why),
    }
}

fn scraped(url: &str) -> Result<Counters, String> {
    let agent: Agent = Agent::config_builder()
        .proxy(None)
        .max_redirects(0)
        .timeout_global(Some(PATIENCE))
        .build()
        .into();
    let url = format!("{}/stats/prometheus", url.trim_end_matches('/'));
    let mut answer = agent.get(&url).call().map_err(|error| error.to_string())?;
    let text = answer.body_mut().with_config().limit(ANSWER).read_to_string();
    text.map(|text| Counters::read(&text)).map_err(|error| error.to_string())
}
