//! `postern-bench chain|guard|host|identity|keys|scrub|soak`: measures a gateway that runs, and prints one line for each goal.
//!
//! Owns load, counting and the form of the lines; starts the parts with the rig and the
//! harness, like the tests do. Invariant: a figure is a ratio of two things measured in
//! this run, and what could not be measured is a line that says so.
//!
//! Exit 0 when everything could be measured, met or not; `soak` exits 1 when it found
//! growth or a wrong answer; 3 when a part does not start.
#![forbid(unsafe_code)]

mod beside;
mod chain;
mod guard;
mod identity;
mod keys;
mod lifecycle;
mod load;
mod machine;
mod memory;
mod natives;
mod scrub;
mod soak;
mod start;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand, ValueEnum};

use postern_bench_line::Line;

#[derive(Parser)]
#[command(about = "Measures Postern on this machine")]
struct Options {
    /// One JSON object a line instead of text.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// The gateway on wasmtime: a trivial plugin, its start, the whole chain beside Envoy.
    Host {
        /// Seconds of load for each turn of each gateway.
        #[arg(long, default_value_t = 3.0)]
        seconds: f64,
        /// Turns of each gateway.
        #[arg(long, default_value_t = 5)]
        runs: usize,
    },
    /// Scrubbing: natively, in V8, and a large answer through Envoy.
    Scrub {
        /// Fifths of it are the length of each turn of each side.
        #[arg(long, default_value_t = 3.0)]
        seconds: f64,
        /// Turns of each side.
        #[arg(long, default_value_t = 5)]
        runs: usize,
    },
    /// Capability tokens beside one plain verification, natively and in V8.
    Identity {
        /// Fifths of it are the length of each turn.
        #[arg(long, default_value_t = 3.0)]
        seconds: f64,
        /// Turns of each side.
        #[arg(long, default_value_t = 5)]
        runs: usize,
    },
    /// One API key among a hundred thousand.
    Keys {
        /// Takes no time of its own; for the sake of the others.
        #[arg(long, default_value_t = 3.0)]
        seconds: f64,
        /// Turns of each side.
        #[arg(long, default_value_t = 5)]
        runs: usize,
    },
    /// What the whole chain adds to a request in Envoy, beside Envoy's own filters.
    Chain {
        /// Seconds of load for each turn of each side.
        #[arg(long, default_value_t = 3.0)]
        seconds: f64,
        /// Turns of each side.
        #[arg(long, default_value_t = 5)]
        runs: usize,
    },
    /// What the shipped modules compute for requests of some kinds, held against what is recorded.
    Guard {
        /// Write what was counted as what is recorded.
        #[arg(long)]
        record: bool,
        /// The compiler that built the modules, as it calls itself.
        #[arg(long, default_value = "")]
        compiler: String,
    },
    /// Many requests through one gateway: every answer right, every request recorded, no growth.
    Soak {
        /// How many.
        #[arg(long, default_value_t = 100_000)]
        requests: usize,
        /// Through which gateway.
        #[arg(long, value_enum, default_value_t = Where::Wasmtime)]
        gateway: Where,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Where {
    Wasmtime,
    Envoy,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let outcome = match options.command {
        Command::Host { seconds, runs } => host(options.json, seconds, runs.max(1)),
        Command::Scrub { seconds, runs } => scrub(options.json, seconds, runs.max(1)),
        Command::Identity { seconds, runs } => identity(options.json, seconds, runs.max(1)),
        Command::Keys { runs, .. } => keys(options.json, runs.max(1)),
        Command::Chain { seconds, runs } => chain(options.json, seconds, runs.max(1)),
        Command::Guard { record, compiler } => guard::run(record, &compiler, options.json),
        Command::Soak { requests, gateway } => soak::run(requests, gateway, options.json),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("{error:#}");
        ExitCode::from(3)
    })
}

fn scrub(json: bool, seconds: f64, runs: usize) -> Result<ExitCode> {
    eprintln!("{}", machine::description());
    scrub::measure(seconds, runs)?.iter().for_each(|line| line.print(json));
    Ok(ExitCode::SUCCESS)
}

fn identity(json: bool, seconds: f64, runs: usize) -> Result<ExitCode> {
    eprintln!("{}", machine::description());
    identity::measure(seconds, runs)?.iter().for_each(|line| line.print(json));
    Ok(ExitCode::SUCCESS)
}

fn keys(json: bool, runs: usize) -> Result<ExitCode> {
    eprintln!("{}", machine::description());
    keys::measure(runs)?.iter().for_each(|line| line.print(json));
    Ok(ExitCode::SUCCESS)
}

fn chain(json: bool, seconds: f64, runs: usize) -> Result<ExitCode> {
    eprintln!("{}", machine::description());
    beside::measure(seconds, runs)?.iter().for_each(|line| line.print(json));
    Ok(ExitCode::SUCCESS)
}

fn host(json: bool, seconds: f64, runs: usize) -> Result<ExitCode> {
    eprintln!("{}", machine::description());
    let mut whole = true;
    let mut show = |lines: Result<Vec<Line>>, id: &str| {
        let lines = lines.unwrap_or_else(|error| vec![Line::missing(id, &format!("{error:#}"))]);
        whole &= lines.iter().all(|line| line.ours.is_some());
        lines.iter().for_each(|line| line.print(json));
    };
    show(lifecycle::measure(runs), "host.lifecycle");
    show(start::measure(runs), "host.start");
    show(memory::measure(runs), "P6.memory");
    show(chain::measure(seconds, runs), "P7");
    Ok(if whole { ExitCode::SUCCESS } else { ExitCode::from(3) })
}
