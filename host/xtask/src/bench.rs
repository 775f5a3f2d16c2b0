//! `cargo xtask bench` and `cargo xtask soak`: builds what is measured as it ships, and hands
//! over to `postern-bench`.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;
use clap::{Args, ValueEnum};

use crate::run::{Failure, shown};
use crate::{built, guests, postgres, setup, workspace};

/// What can be measured today.
const NAMES: [&str; 8] = ["audit", "chain", "guard", "host", "identity", "keys", "policy", "scrub"];
/// Those that are a program of their own and need no gateway.
const ALONE: [&str; 3] = ["audit", "guard", "policy"];
/// Names that are promised to exist one day.
const PLANNED: [&str; 2] = ["spin", "growth"];

#[derive(Args)]
pub struct Options {
    /// Measure only this; may be given several times.
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
    /// Seconds of load for each turn of each gateway.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Turns of each gateway.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// With audit: every other value of every byte of an export. Takes long.
    #[arg(long)]
    every_value: bool,
    /// With guard: record what is counted, for `cargo xtask test` to hold later counts against.
    #[arg(long)]
    record: bool,
}

#[derive(Args)]
pub struct SoakOptions {
    /// Only this part.
    #[arg(long, value_enum)]
    only: Option<Part>,
    /// Requests.
    #[arg(long, default_value_t = 100_000)]
    requests: usize,
    /// Copies of messages to the key service, on each store.
    #[arg(long, default_value_t = 1_000_000)]
    copies: u64,
    /// Through which gateway.
    #[arg(long, value_enum, default_value_t = Gateway::Wasmtime)]
    gateway: Gateway,
    /// One JSON document.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Many requests through a gateway.
    Gateway,
    /// Every message to the key service many times at once.
    Copies,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Gateway {
    /// Our own
    Wasmtime,
    /// A real Envoy, installed if it is missing
    Envoy,
}

/// `cargo xtask bench`.
pub fn run(options: &Options) -> Result<()> {
    for name in &options.only {
        if PLANNED.contains(&name.as_str()) {
            let known = NAMES.join(" ");
            return Err(Failure::usage(format!("{name} has no bench yet; there are: {known}")));
        }
        if !NAMES.contains(&name.as_str()) {
            return Err(Failure::usage(format!("no bench {name}; there are: {}", NAMES.join(" "))));
        }
    }
    let wanted =
        |name: &&&str| options.only.is_empty() || options.only.iter().any(|only| only == **name);
    if wanted(&&"audit") {
        audit(options)?;
    }
    if wanted(&&"policy") {
        policy(options)?;
    }
    if wanted(&&"keys") {
        release(options)?;
    }
    if wanted(&&"guard") {
        let mut guard = guard()?;
        guard.args(options.record.then_some("--record")).args(options.json.then_some("--json"));
        shown(&mut guard)?;
    }
    let wanted = |name: &&&str| !ALONE.contains(*name) && wanted(name);
    if !NAMES.iter().any(|name| wanted(&name)) {
        return Ok(());
    }
    setup::envoy()?;
    let program = program()?;
    for name in NAMES.iter().filter(wanted) {
        if !["chain", "host", "keys"].contains(name) {
            guests::bench(name)?;
        }
        let mut bench = Command::new(&program);
        bench.args([name, "--seconds", &options.seconds.to_string()]);
        bench.args(["--runs", &options.runs.to_string()]).args(options.json.then_some("--json"));
        shown(bench.current_dir(workspace::root()))?;
    }
    Ok(())
}

/// What the shipped modules compute for a request. Counts are the same of a development build.
pub fn guard() -> Result<Command> {
    guests::modules()?;
    let mut guard = Command::new(built::host()?.program("postern-bench")?);
    guard.args(["guard", "--compiler", &guests::compiler()?]);
    guard.current_dir(workspace::root());
    Ok(guard)
}

/// The verifier of the audit log.
fn audit(options: &Options) -> Result<()> {
    let mut bench = alone("postern-bench-audit", options)?;
    shown(bench.args(options.every_value.then_some("--every-value")))
}

/// Decisions of policies, beside OPA's.
fn policy(options: &Options) -> Result<()> {
    let opa = setup::opa()?;
    let mut bench = alone("postern-bench-policy", options)?;
    bench.args(["--seconds", &options.seconds.to_string()]).arg("--opa").arg(opa);
    shown(&mut bench)
}

/// Releases of the key service, on both stores.
fn release(options: &Options) -> Result<()> {
    let mut bench = alone("postern-bench-release", options)?;
    bench.args(["--seconds", &options.seconds.to_string()]);
    shown(bench.arg("--postgres").arg(postgres::programs()?))
}

/// A program of its own, optimised.
fn alone(package: &str, options: &Options) -> Result<Command> {
    let mut bench = built(package)?;
    bench.args(["--runs", &options.runs.to_string()]);
    bench.args(options.json.then_some("--json"));
    Ok(bench)
}

fn built(package: &str) -> Result<Command> {
    let mut build = Command::new("cargo");
    build.args(["build", "--quiet", "--release", "-p", package]);
    shown(build.current_dir(workspace::root()))?;
    let mut program = Command::new(workspace::root().join("target/release").join(package));
    program.current_dir(workspace::root());
    Ok(program)
}

/// `cargo xtask soak`.
pub fn soak(options: &SoakOptions) -> Result<()> {
    if options.only != Some(Part::Copies) {
        requests(options)?;
    }
    if options.only != Some(Part::Gateway) {
        copies(options)?;
    }
    Ok(())
}

/// Every message many times at once, on both stores.
fn copies(options: &SoakOptions) -> Result<()> {
    let mut soak = built("postern-bench-release")?;
    soak.arg("copies").args(["--count", &options.copies.to_string()]);
    soak.arg("--postgres").arg(postgres::programs()?);
    shown(soak.args(options.json.then_some("--json")))
}

/// Many requests through one gateway.
fn requests(options: &SoakOptions) -> Result<()> {
    let gateway = match options.gateway {
        Gateway::Wasmtime => "wasmtime",
        Gateway::Envoy => {
            setup::envoy()?;
            "envoy"
        }
    };
    let mut bench = Command::new(program()?);
    bench.args(["soak", "--gateway", gateway, "--requests", &options.requests.to_string()]);
    shown(bench.args(options.json.then_some("--json")).current_dir(workspace::root()))
}

/// Modules, gateway and bench, optimised.
fn program() -> Result<PathBuf> {
    guests::modules()?;
    let mut command = Command::new("cargo");
    command.args(["build", "--quiet", "--release", "-p", "postern-bench", "-p", "postern-cli"]);
    shown(command.current_dir(workspace::root()))?;
    Ok(workspace::root().join("target/release/postern-bench"))
}
