//! How a running gateway is observed: `--trace` and `--record`.
//!
//! Invariant: a trace shows no value that its rules hide, and a recording is readable by its
//! owner alone.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use postern_runtime::config::Gateway;
use postern_runtime::engine::trace::{self, Lines, Rules, Trace};
use postern_runtime::proxy::launch::plugins;
use postern_runtime::record::{Header, Recorder, VERSION, digest};
use postern_runtime::serve::Options;

use crate::failure::{Failure, Outcome, Sort};
use crate::output::Output;
use crate::random;

/// Largest module whose digest a recording holds.
const MAX_MODULE: usize = 256 << 20;

/// How a trace looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// A line a callback, with its hostcalls under it.
    Text,
    /// One JSON object a callback.
    Json,
}

/// What is observed.
#[derive(clap::Args)]
#[command(next_help_heading = "Watching plugins")]
pub struct ObserveArgs {
    /// Tell each callback of a plugin with its hostcalls: arguments, status, size, time.
    #[arg(
        long,
        value_name = "FORMAT",
        value_enum,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "text"
    )]
    trace: Option<Format>,
    /// Write the trace to this file (mode 0600, appended) instead of stderr.
    #[arg(long, value_name = "FILE", requires = "trace")]
    trace_file: Option<PathBuf>,
    /// Tell what each callback computes, in units of fuel: about one an instruction, the same on
    /// every machine. Modules are compiled anew for it, and run slower.
    #[arg(long, requires = "trace")]
    trace_fuel: bool,
    /// Hide the values of this field or property too, in traces and recordings; x-mine-* is
    /// every name that begins so. May be given several times.
    #[arg(long, value_name = "NAME")]
    trace_hide: Vec<String>,
    /// Record what streams are given and what leaves to this new file (mode 0600), for
    /// `postern replay`. Takes one worker.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Record values that look like credentials as they are.
    #[arg(long, requires = "record")]
    record_values: bool,
}

impl ObserveArgs {
    /// Refuses what does not go together.
    pub fn check(&self, workers: Option<NonZeroUsize>) -> Outcome {
        if self.record.is_some() && workers.is_some_and(|workers| workers.get() > 1) {
            return Err(Failure::usage(
                "--record: expected one worker, since events have an order",
            ));
        }
        Ok(())
    }

    /// Begins to watch what will run with these options.
    pub fn start(
        &self,
        options: &mut Options,
        file: &Path,
        gateway: &Gateway,
        out: Output,
    ) -> Outcome {
        let rules = || Rules::hiding(&self.trace_hide);
        if let Some(format) = self.trace {
            let format = match format {
                Format::Text => trace::Format::Text,
                Format::Json => trace::Format::Json,
            };
            let lines = Lines::new(self.trace_out()?, format);
            options.fuel = self.trace_fuel;
            options.vm.trace = Some(Trace::new(Arc::new(lines), rules()));
        }
        if let Some(path) = &self.record {
            let header = header(options, file, gateway, self.record_values)?;
            let recorder = Recorder::create(path, header, rules())
                .or_environment(format_args!("--record {}", path.display()))?;
            out.note(&self.warning(path));
            options.workers = 1;
            options.vm.record = Some(recorder);
        }
        Ok(())
    }

    fn trace_out(&self) -> Outcome<Box<dyn Write + Send>> {
        let Some(path) = &self.trace_file else { return Ok(Box::new(io::stderr())) };
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path);
        Ok(Box::new(file.or_environment(path.display())?))
    }

    fn warning(&self, path: &Path) -> String {
        let values = match self.record_values {
            true => "credentials and content as they pass",
            false => "content as it passes, and stand-ins for fields that look like credentials",
        };
        format!("warning: {} will hold {values}: keep it as safe as they are", path.display())
    }
}

fn header(options: &Options, file: &Path, gateway: &Gateway, values: bool) -> Outcome<Header> {
    let bootstrap = std::fs::read_to_string(file).or_environment(file.display())?;
    let mut modules = std::collections::BTreeMap::new();
    for plugin in plugins(gateway) {
        let bytes = postern_files::read_bounded(Path::new(&plugin.module), MAX_MODULE);
        modules.insert(plugin.module.clone(), digest(&bytes.or_environment("cannot read")?));
    }
    let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let seed: [u8; 32] = random::bytes()?;
    Ok(Header {
        postern_recording: VERSION,
        started: u64::try_from(started).map_err(|_| Failure::bug("the year is past 2554"))?,
        seed: seed.iter().map(|byte| format!("{byte:02x}")).collect(),
        node: options.node.clone(),
        log_level: level(),
        values,
        bootstrap,
        modules,
    })
}

/// What modules are told, as in the ABI.
fn level() -> u8 {
    use tracing::level_filters::LevelFilter;
    match LevelFilter::current() {
        LevelFilter::TRACE => 0,
        LevelFilter::DEBUG => 1,
        LevelFilter::INFO => 2,
        LevelFilter::WARN => 3,
        LevelFilter::ERROR => 4,
        _ => 5,
    }
}
