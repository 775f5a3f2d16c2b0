//! `postern-harness --boundary core|host|envoy|spin [--only NAME] [--parts N]`: runs the scenarios of a
//! boundary, in so many processes at once;
//! `postern-harness --conformance [--only NAME]` compares our gateway with Envoy;
//! `postern-harness --policy [--seed N]` compares policies with OPA;
//! `postern-harness --attacks [--boundary host|envoy|spin] [--only ROW]` attacks one, or the first two and
//! compares.
//!
//! One line a scenario, then `scenarios on BOUNDARY: N passed`. Exit 0 when all passed, 1 when one did
//! not, 2 when the selection is empty.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use postern_harness::run::{Part, Selection, boundary};
use postern_harness::scenario::Boundary;
use postern_harness::{attacks, conformance, parts, policy};

#[derive(Parser)]
#[command(about = "Runs the scenario files of tests/scenarios on one boundary")]
struct Options {
    /// Where to run them.
    #[arg(long, value_enum, required_unless_present_any = ["conformance", "attacks", "policy"])]
    boundary: Option<Boundary>,
    /// Run those of tests/conformance instead, on both gateways, and compare.
    #[arg(long, conflicts_with = "boundary")]
    conformance: bool,
    /// Run the cases of tests/conformance/attacks instead, on both gateways unless one is named.
    #[arg(long, conflicts_with = "conformance")]
    attacks: bool,
    /// Run the pairs of policy and input of tests/policy instead, and compare with OPA.
    #[arg(long, conflicts_with_all = ["boundary", "conformance", "attacks"])]
    policy: bool,
    /// With --policy: seed of the generated pairs, instead of one from the clock.
    #[arg(long, requires = "policy")]
    seed: Option<u64>,
    /// With --policy: how many pairs are generated.
    #[arg(long, requires = "policy")]
    pairs: Option<usize>,
    /// With --policy: how many whole policies are generated besides.
    #[arg(long, requires = "policy")]
    policies: Option<usize>,
    /// With --attacks: count known failures as failures.
    #[arg(long, requires = "attacks")]
    strict: bool,
    /// With --conformance or --boundary spin: write the differences that are found to the list of
    /// known ones.
    #[arg(long)]
    record: bool,
    /// With --boundary: share the work among so many processes. Most of it is waiting.
    #[arg(long, value_name = "N", default_value_t = 1, conflicts_with_all = ["record", "part"])]
    #[arg(value_parser = clap::value_parser!(u8).range(1..=16))]
    parts: u8,
    /// With --boundary: run one part, such as 0/2.
    #[arg(long, value_name = "I/N", value_parser = parts::part, hide = true)]
    part: Option<Part>,
    /// Only scenarios and checks whose name starts so, such as `scrub/`.
    #[arg(long)]
    only: Option<String>,
    /// Print what was observed, passed or not.
    #[arg(long)]
    show: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let record = options.record;
    let part = options.part.unwrap_or_default();
    let selection = Selection { only: options.only, show: options.show, record, part };
    let usual = policy::Options::default();
    let pairs = policy::Options {
        seed: options.seed.unwrap_or(usual.seed),
        pairs: options.pairs.unwrap_or(usual.pairs),
        policies: options.policies.unwrap_or(usual.policies),
    };
    let result = match options.boundary {
        None if options.policy => policy::run(&selection, pairs),
        place if options.attacks => attacks::run(place, &selection, options.strict),
        Some(place) if options.parts > 1 => parts::run(place, &selection, options.parts),
        Some(place) => boundary(place, &selection),
        None => conformance::run(&selection, options.record),
    };
    match result {
        Ok(count) if count.passed + count.failed == 0 => {
            eprintln!("nothing selected");
            ExitCode::from(2)
        }
        Ok(count) => ExitCode::from(u8::from(count.failed > 0)),
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::from(3)
        }
    }
}
