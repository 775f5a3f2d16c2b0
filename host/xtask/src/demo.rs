//! `cargo xtask demo`: builds what the demonstration needs and hands over to
//! `postern demo`, which is what a user of a release runs.

use std::process::Command;

use anyhow::Result;
use clap::{Args, ValueEnum};

use crate::run::shown;
use crate::{guests, setup, workspace};

#[derive(Args)]
pub struct Options {
    /// Stop after the last line; exit 1 if any line is not as it should be.
    #[arg(long)]
    once: bool,
    /// Gateway to run the modules in.
    #[arg(long, value_enum, default_value_t = Gateway::Wasmtime)]
    gateway: Gateway,
    /// Print one JSON document instead of lines.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Gateway {
    /// Our own, which needs nothing that is not built here
    Wasmtime,
    /// A real Envoy, installed if it is missing
    Envoy,
    /// Our host for applications of Spin, with the component that has all three
    Spin,
}

/// `cargo xtask demo`.
pub fn run(options: &Options) -> Result<()> {
    guests::modules()?;
    let mut command = Command::new("cargo");
    command.args(["run", "--quiet", "--package", "postern-cli", "--bin", "postern", "--", "demo"]);
    command.current_dir(workspace::root());
    match options.gateway {
        Gateway::Wasmtime => command.args(["--gateway", "wasmtime"]),
        Gateway::Spin => command.args(["--gateway", "spin"]),
        Gateway::Envoy => command.args(["--gateway", "envoy", "--envoy"]).arg(setup::envoy()?),
    };
    command.arg("--modules").arg(workspace::plugins());
    command.args(options.once.then_some("--once")).args(options.json.then_some("--json"));
    shown(&mut command)
}
