//! `postern demo`.

use std::path::{Path, PathBuf};

use postern_rig::gateway::{Kind, Launch};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use super::keys;
use crate::demo::{self, Line, Parts, Stage};
use crate::failure::{Failure, Outcome, Sort};
use crate::output::Output;

/// See it work: a key service, a gateway with the three modules, an upstream that needs a
/// secret, and requests by an agent that has only an API key.
///
/// Everything runs on 127.0.0.1 on free ports and in a temporary folder. Each line says
/// what the caller saw and what the upstream got, and is checked.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  postern demo --once
  postern demo --once --json > demo.json
  postern demo --gateway envoy --envoy /usr/bin/envoy
  postern demo --gateway spin --once

Without --once it stays up and prints a curl to try.
Exit codes: 0 every line is as it should be, 1 one is not, 3 a part cannot be started")]
pub struct Args {
    /// Stop after the last line.
    #[arg(long)]
    once: bool,
    /// Gateway to run the modules in.
    #[arg(long, value_enum, default_value = "wasmtime")]
    gateway: Gateway,
    /// Folder with gate.wasm, credential.wasm and audit.wasm.
    #[arg(long, value_name = "DIR", default_value = "target/plugins")]
    modules: PathBuf,
    /// The Envoy to run with --gateway envoy.
    #[arg(
        long,
        value_name = "FILE",
        env = "POSTERN_ENVOY",
        default_value = "target/tools/envoy/bin/envoy"
    )]
    envoy: PathBuf,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Gateway {
    /// This program's own, `postern gateway`
    Wasmtime,
    /// A real Envoy
    Envoy,
    /// `postern gateway --spin`, with spin-gateway.wasm
    Spin,
}

impl Args {
    fn kind(&self) -> Outcome<Kind> {
        match self.gateway {
            Gateway::Envoy => {
                expect_file(&self.envoy, "cargo xtask setup installs it")?;
                Ok(Kind::Envoy { binary: self.envoy.clone() })
            }
            Gateway::Spin => {
                let component = self.modules.join("spin-gateway.wasm");
                expect_file(&component, "cargo xtask build makes it")?;
                let postern = std::env::current_exe().or_environment("cannot find this program")?;
                let component = component.canonicalize().or_environment(component.display())?;
                Ok(Kind::Spin { postern, component, cache: None })
            }
            Gateway::Wasmtime => {
                let postern = std::env::current_exe().or_environment("cannot find this program")?;
                // It starts once, and nothing stays behind.
                Ok(Kind::Wasmtime { postern, cache: None })
            }
        }
    }
}

/// Runs every line; then stays up unless asked for one run.
pub fn run(args: &Args, out: Output) -> Outcome {
    for name in ["gate.wasm", "credential.wasm", "audit.wasm"] {
        expect_file(&args.modules.join(name), "cargo xtask build makes it")?;
    }
    let launch = Launch::new(args.kind()?);
    let modules = args.modules.canonicalize().or_environment(args.modules.display())?;
    let mut stage = Stage::new(Parts { modules, launch })?;
    let mut lines = Vec::new();
    for step in demo::STEPS {
        let line = step.run(&mut stage, out)?;
        if !out.json {
            out.result(&json!(null), &line.text())?;
        }
        lines.push(line);
    }
    let good = lines.iter().all(Line::is_good);
    if out.json {
        out.result(&json!({"good": good, "lines": lines}), "")?;
    }
    if !good {
        out.note(&format!("\nthe end of the parts' logs:\n{}", stage.logs()));
    }
    if !args.once {
        stay_up(&mut stage, out)?;
    }
    if good { Ok(()) } else { Err(Failure::reported()) }
}

fn expect_file(path: &Path, hint: &str) -> Outcome {
    if path.is_file() {
        return Ok(());
    }
    Err(Failure::environment(format_args!("expected {} ({hint})", path.display())))
}

fn stay_up(stage: &mut Stage, out: Output) -> Outcome {
    out.note(&format!("\n{}\n\nCtrl-C ends it.", stage.invitation()?));
    keys::runtime()?.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).or_environment("signals")?;
        tokio::select! {
            asked = tokio::signal::ctrl_c() => asked.or_environment("signals"),
            _ = terminate.recv() => Ok(()),
        }
    })
}
