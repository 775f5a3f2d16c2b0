//! `postern-bench-audit`: how long a million events take to verify, and whether every change of
//! a byte of a thousand is found.
//!
//! A program of its own, so that measuring the verifier needs no gateway built. Exit 0 when it
//! could be measured, met or not; 3 when not.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use postern_bench_line::{Line, Op, Pair};
use postern_core::secret::Secret;
use postern_keys::audit::changes::{every_byte, write_export};
use postern_keys::audit::{AuditLog, verify_export};

/// Events of the long export.
const MANY: u64 = 1_000_000;
/// Seconds that they may take.
const GOAL: f64 = 10.0;
/// Events of the export that is changed.
const FEW: u64 = 1000;

#[derive(Parser)]
#[command(about = "Measures the verifier of the audit log")]
struct Options {
    /// One JSON object a line instead of text.
    #[arg(long)]
    json: bool,
    /// Turns of the long export.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Every other value of every byte, which takes long; else three of them.
    #[arg(long)]
    every_value: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let lines = [many(options.runs.max(1)), bytes(options.every_value)];
    let mut code = ExitCode::SUCCESS;
    for (line, id) in lines.into_iter().zip(["E3.million", "E3.bytes"]) {
        let line = line.unwrap_or_else(|error| {
            code = ExitCode::from(3);
            Line::missing(id, &format!("{error:#}"))
        });
        line.print(options.json);
    }
    code
}

fn log() -> Result<AuditLog> {
    Ok(AuditLog::new(&Secret::new(vec![7; 32]), "maa")?)
}

/// A million events, from a file, as `postern audit verify` reads them.
fn many(runs: usize) -> Result<Line> {
    let (log, file) = (log()?, tempfile::NamedTempFile::new()?);
    let mut out = BufWriter::new(File::create(file.path())?);
    write_export(&mut out, &log, MANY)?;
    out.flush()?;
    let mut seconds = Vec::new();
    for _ in 0..runs {
        let reader = BufReader::new(File::open(file.path())?);
        let start = Instant::now();
        let report = verify_export(reader, &log.public_key(), None);
        seconds.push(start.elapsed().as_secs_f64());
        ensure!(report.broken.is_none() && report.good == MANY, "{report:?}");
    }
    let pair = Pair { ours: &seconds, other: &vec![GOAL; runs] };
    let mut line = Line::new("E3.million", &pair, (Op::AtMost, 1.0), "s");
    let size = std::fs::metadata(file.path())?.len() / MANY;
    line.note = format!("10^6 events of {size} bytes a line: seconds, beside the 10 they may take");
    Ok(line)
}

/// Every byte of a thousand events.
fn bytes(every_value: bool) -> Result<Line> {
    let (log, mut export) = (log()?, Vec::new());
    write_export(&mut export, &log, FEW)?;
    let others = |at: usize, written: u8| -> Vec<u8> {
        let some = [written ^ 1, written ^ (2 << (at % 7)), b'\n'];
        let others: Vec<u8> = if every_value { (0..=255).collect() } else { some.to_vec() };
        others.into_iter().filter(|other| *other != written).collect()
    };
    let tried = every_byte(&export, &log.public_key(), others).context("the export is not good")?;
    let (unseen, changes) = (tried.unseen.len() as f64, tried.changes as f64);
    let pair = Pair { ours: &[unseen], other: &[changes] };
    let mut line = Line::new("E3.bytes", &pair, (Op::AtMost, 0.0), "changes");
    let values = if every_value { "every other value" } else { "three values" };
    line.note = format!("{values} of each of {} bytes: changes not found, of all", export.len());
    Ok(line)
}
