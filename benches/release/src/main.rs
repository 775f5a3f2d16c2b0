//! `postern-bench-release`: what a release costs at the key service, and whether a message that
//! is sent many times at once is ever accepted twice.
//!
//! Messages are sealed before they are sent and answers opened after: a gateway's cryptography
//! is not the service's cost. What is measured is a whole exchange over TLS on this machine, with
//! the service in a process of its own and the load beside it on the same processors. Exit 0
//! when it could be measured, met or not; 1 when a message was accepted twice; 3 when a part
//! does not start.
#![forbid(unsafe_code)]

mod client;
mod copies;
mod load;
mod postgres;
mod server;
mod world;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use postern_bench_line::{Line, Op, Pair};

use crate::load::{Stand, Turn};
use crate::world::Store;

/// Milliseconds that a release may take.
const LATENCY: f64 = 2.0;
/// Releases a second.
const RATE: f64 = 1500.0;

#[derive(Parser)]
#[command(about = "Measures releases of the key service")]
struct Options {
    /// One JSON object a line instead of text.
    #[arg(long, global = true)]
    json: bool,
    /// Seconds of load for each turn.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Turns.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// The folder of PostgreSQL's programs.
    #[arg(long, global = true, default_value = "/usr/lib/postgresql/15/bin")]
    postgres: PathBuf,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Sends every message many times at once, to both stores.
    Copies {
        /// Copies in all, on each store.
        #[arg(long, default_value_t = 1_000_000)]
        count: u64,
    },
    /// Serves a configuration until its input ends.
    #[command(hide = true)]
    Serve { file: PathBuf },
}

fn main() -> ExitCode {
    let options = Options::parse();
    let outcome = match &options.command {
        None => Ok(measured(&options)),
        Some(Command::Copies { count }) => copies::run(*count, &options.postgres, options.json),
        Some(Command::Serve { file }) => server::serve(file).map(|()| ExitCode::SUCCESS),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("{error:#}");
        ExitCode::from(3)
    })
}

fn measured(options: &Options) -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    for store in [Store::Sqlite, Store::Postgres] {
        let lines = lines(store, options).unwrap_or_else(|error| {
            code = ExitCode::from(3);
            vec![Line::missing(&format!("D5.release.{}", store.name()), &format!("{error:#}"))]
        });
        lines.iter().for_each(|line| line.print(options.json));
    }
    code
}

/// One caller for the time of a release, many for the rate.
fn lines(store: Store, options: &Options) -> Result<Vec<Line>> {
    let stand = Stand::start(store, &options.postgres)?;
    let runs = options.runs.max(1);
    let mut turns = Vec::new();
    for _ in 0..runs {
        turns.push(Turn { alone: stand.alone()?, many: stand.many(options.seconds)? });
    }
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    stand.end()?;
    let many = |of: fn(&Turn) -> f64| median(turns.iter().map(of));
    let figures: Vec<f64> = turns.iter().map(|turn| turn.alone.p50).collect();
    let pair = Pair { ours: &figures, other: &vec![LATENCY; runs] };
    let p50 = Line::new(&id(store, "p50"), &pair, (Op::AtMost, 1.0), "ms");
    let p50 = p50.noted(format!(
        "one caller, an exchange over TLS on this machine, p99 {:.1}; {}; load {}",
        median(turns.iter().map(|turn| turn.alone.p99)),
        store.durability(),
        load.trim(),
    ));
    let figures: Vec<f64> = turns.iter().map(|turn| turn.many.rate).collect();
    let pair = Pair { ours: &figures, other: &vec![RATE; runs] };
    let rate = Line::new(&id(store, "rate"), &pair, (Op::AtLeast, 1.0), "releases/s");
    let rate = rate.noted(format!(
        "{} callers beside it; p50 {:.1} and p99 {:.1} ms, {:.0} us of processor time of the \
         service a release; {}; load {}",
        load::CALLERS,
        many(|turn| turn.many.p50),
        many(|turn| turn.many.p99),
        many(|turn| turn.many.processor),
        store.durability(),
        load.trim(),
    ));
    Ok(vec![p50, rate])
}

fn id(store: Store, what: &str) -> String {
    format!("D5.release.{what}.{}", store.name())
}

fn median(figures: impl Iterator<Item = f64>) -> f64 {
    postern_bench_line::median(&figures.collect::<Vec<_>>()).unwrap_or(f64::NAN)
}
