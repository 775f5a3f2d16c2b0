//! `cargo xtask`: sets up, builds, tests and demonstrates Postern.
//!
//! Owns the way from a fresh clone to a running gateway. Every command calls
//! [`setup`] for what it needs, so a user never has to.
#![forbid(unsafe_code)]

mod bench;
mod built;
mod demo;
mod fuzz;
mod guests;
mod mutants;
mod package;
mod postgres;
mod run;
mod setup;
mod test;
mod tidy;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Set up, build, test and demonstrate Postern.
#[derive(Parser)]
#[command(
    name = "cargo xtask",
    after_help = "Examples:\n  cargo xtask demo --once\n  cargo xtask test --only core --only tidy\n  cargo xtask bench --only host --json\n  cargo xtask setup --way 3 --yes\n\nExit codes: 0 done, 1 found bad, 2 usage, 3 environment, 4 our bug."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install what building and testing need: the wasm target and Envoy.
    Setup(setup::Options),
    /// Build the three modules into target/plugins, with sizes and SHA256SUMS.
    Build(guests::Options),
    /// Package the modules: images, lists of what is inside, where they come from, signed sums.
    Package(package::Options),
    /// Run every test, real Envoy included.
    Test(test::Options),
    /// Check what the style of this project asks and a program can see.
    Tidy,
    /// Measure on this machine: ratios in one run, one line for each goal.
    Bench(bench::Options),
    /// Send many requests through a gateway and look for growth, wrong answers and lost records.
    Soak(bench::SoakOptions),
    /// Look for inputs that break an invariant, guided by coverage.
    Fuzz(fuzz::Options),
    /// Take guards away, one at a time, and see whether a test notices.
    Mutants(mutants::Options),
    /// Show the main job: no secret at the caller, the right one at the upstream.
    Demo(demo::Options),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Setup(options) => setup::everything(&options),
        Command::Build(options) => guests::build(&options),
        Command::Package(options) => package::run(&options),
        Command::Test(options) => test::run(&options),
        Command::Tidy => tidy::run(),
        Command::Bench(options) => bench::run(&options),
        Command::Soak(options) => bench::soak(&options),
        Command::Fuzz(options) => fuzz::run(&options),
        Command::Mutants(options) => mutants::run(&options),
        Command::Demo(options) => demo::run(&options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(run::exit_code(&error))
        }
    }
}
