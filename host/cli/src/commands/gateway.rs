//! `postern gateway`: runs the gateway on wasmtime.
//!
//! Owns the command line and the order of things; sockets and streams are
//! `postern-runtime`'s. Invariant: stdout is the access log's from the moment it serves.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use postern_runtime::config::Gateway;
use postern_runtime::serve::{self, Options, Running, ServeError};
use serde_json::json;

use super::{gateway_set, keys};
use crate::ending::Ending;
use crate::failure::{Failure, Outcome, Sort};
use crate::gateway::{self, Facts, ObserveArgs, SpinArgs, Started, Variables};
use crate::logging::{Format, LogArgs};
use crate::output::Output;
use crate::span;

/// Largest file that is read.
const MAX_FILE: usize = 16 << 20;

/// Run the gateway.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  postern gateway --config envoy.yaml --env-file gateway/gateway.env
  set -a; . ./gateway/gateway.env; set +a; postern gateway --config envoy.yaml --workers 2
  postern gateway --config envoy.yaml --env-file gateway/gateway.env --check
  postern gateway --config envoy.yaml --log-format json 2>> gateway.log > access.log
  postern gateway --config envoy.yaml --trace=json --trace-file trace.jsonl
  postern gateway --config envoy.yaml --record requests.jsonl
  postern gateway --spin spin.toml --env-file gateway/spin.env
  postern gateway --config envoy.yaml --env-file gateway/gateway.env --watch

A field of the file that it does not understand is an error, never ignored. Relative names of
modules and certificates count from the current folder, as in Envoy.

Stdout is the access log, if the file has one. Stderr is the report of the start, then the log;
with --log-format json, or --json, the report is one line of JSON whose message is \"serving\".
Only with --check is there a result on stdout.

Modules see the variables that their host_env_keys name and no others: from --env-file
(NAME=VALUE lines, mode 0600) where they stand there, else from the environment.

A trace shows names (of fields, properties, keys, clusters) and the values of fields. It shows
[N bytes] for content, shared data, filter state, configuration, environment, log lines and what
call-outs carry; for the values of authorization, cookie, set-cookie, proxy-authorization,
x-tap-*, x-api-key and of every field whose name says key, token, secret, auth, session or the
like; for values that hold <CREDENTIAL: or begin with Bearer or Basic; for the query of a path;
and for what --trace-hide names. It is written while requests wait.

A recording has stand-ins for the same fields, unless --record-values is given, and holds all
content that passes. `postern replay` runs it again.
With --watch a module's file that is written again is tried and then serves, without a request
being dropped; one that does not start is named in the log, and the old module stays. A filter
with config_discovery is read again, always, when its file is replaced by renaming another.
Requests that run keep the filters that they began with.

With --spin it runs the HTTP components of an application for Spin, with the interfaces of Spin 4.1,
HTTP/1.1 without TLS on loopback. It is not the spin command: spin/README.md says what is otherwise.
Variables come from SPIN_VARIABLE_NAME, in --env-file or the environment.

SIGTERM and Ctrl-C, or POST /quitquitquit at the admin interface, take no more connections and
give requests that run the time of --drain; a second signal ends at once.

Exit codes: 0 ended as it was told, 1 the file or a module's configuration is bad, 2 called
wrongly, 3 a port is in use, or a module or another file is missing")]
pub struct Args {
    /// The gateway's file, in Envoy's form.
    #[arg(long, value_name = "FILE", required_unless_present = "spin")]
    config: Option<PathBuf>,
    #[command(flatten)]
    spin: SpinArgs,
    /// Worker threads. Default: one for each processor.
    #[arg(long, value_name = "N")]
    workers: Option<NonZeroUsize>,
    /// Folder of compiled modules, for this user alone. Default: postern/modules in
    /// $XDG_CACHE_HOME or ~/.cache; without a home, none.
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Compile the modules at each start.
    #[arg(long, conflicts_with = "cache")]
    no_cache: bool,
    /// Id of this gateway in its admin interface.
    #[arg(long, value_name = "ID", default_value = "postern")]
    node: String,
    /// Take the modules' variables from this file (NAME=VALUE lines, mode 0600).
    #[arg(long, value_name = "FILE")]
    env_file: Option<PathBuf>,
    /// Write the address of the admin interface to this file once it serves.
    #[arg(long, value_name = "FILE")]
    admin_address_path: Option<PathBuf>,
    #[command(flatten)]
    log: LogArgs,
    #[command(flatten)]
    observe: ObserveArgs,
    /// Time for requests that run when the end is asked for.
    #[arg(long, value_name = "SPAN", default_value = "5s", value_parser = span::parse)]
    drain: Duration,
    /// Load modules again whose files are written while the gateway runs.
    #[arg(long)]
    watch: bool,
    /// Do everything but serve, and say whether it would.
    #[arg(long)]
    check: bool,
    /// Stop when stdin ends, so that whoever started this cannot leave it behind.
    #[arg(long, hide = true)]
    while_stdin: bool,
}

impl Args {
    fn format(&self, out: Output) -> Format {
        if out.json { Format::Json } else { self.log.format }
    }

    fn options(&self, variables: &Variables) -> Options {
        let processors = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let cache = self.cache.clone().or_else(usual_cache);
        Options {
            workers: self.workers.map_or_else(processors, NonZeroUsize::get),
            cache: cache.filter(|_| !self.no_cache),
            node: self.node.clone(),
            environment: variables.environment(),
            watch: self.watch,
            ..Options::default()
        }
    }
}

/// Of the user who runs this (XDG Base Directory Specification, 3).
fn usual_cache() -> Option<PathBuf> {
    let folder = |name| std::env::var_os(name).map(PathBuf::from).filter(|it| it.is_absolute());
    let caches = folder("XDG_CACHE_HOME").or_else(|| Some(folder("HOME")?.join(".cache")));
    Some(caches?.join("postern/modules"))
}

/// Runs the gateway until it is told to stop.
pub fn run(args: &Args, out: Output) -> Outcome {
    let Some(config) = &args.config else { return run_spin(args, out) };
    args.observe.check(args.workers)?;
    let gateway = gateway::read(config, out)?;
    refuse_drift(config)?;
    if args.admin_address_path.is_some() && gateway.admin.is_none() {
        return Err(Failure::usage("--admin-address-path: the file has no admin interface"));
    }
    let variables = args.env_file.as_deref().map(Variables::read).transpose()?.unwrap_or_default();
    let facts = Facts::of(&gateway, &variables);
    let mut options = args.options(&variables);
    args.log.start(args.format(out), None);
    let file = config.display().to_string();
    if args.check {
        serve::check(gateway, options).map_err(|error| gateway::refused(&error, &facts))?;
        return out.result(&json!({"good": true, "file": file}), &format!("{file}: good"));
    }
    args.observe.start(&mut options, config, &gateway, out)?;
    let running = start(gateway, options, args.format(out), out)
        .map_err(|error| gateway::refused(&error, &facts))?;
    keys::runtime()?.block_on(async {
        // Before anyone learns that it serves, who may end it at once.
        let ending = Ending::watch(args.while_stdin)?;
        Started { file, report: running.report(), facts: &facts }.say(args.format(out), out);
        if let Some(file) = &args.admin_address_path {
            write_admin_address(&running, file)?;
        }
        until_asked(running, ending, args.drain).await;
        Ok(())
    })
}

/// Here the files are known: what the configuration says of them has to be so.
fn refuse_drift(config: &Path) -> Outcome {
    let text = postern_files::read_bounded(config, MAX_FILE).or_environment(config.display())?;
    let drift = gateway_set::drift(config, &String::from_utf8_lossy(&text));
    let refused = |what: &String| Err(Failure::found(format_args!("{}: {what}", config.display())));
    drift.first().map_or(Ok(()), refused)
}

/// The same for an application of Spin.
fn run_spin(args: &Args, out: Output) -> Outcome {
    let variables = args.env_file.as_deref().map(Variables::read).transpose()?.unwrap_or_default();
    args.log.start(args.format(out), None);
    refuse_drift(args.spin.file())?;
    let cache = args.options(&variables).cache;
    let prepared = args.spin.prepare(&variables, cache)?;
    if args.check {
        return args.spin.good(out);
    }
    let workers = args.options(&variables).workers;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().build();
    let runtime = runtime.or_environment("cannot start threads")?;
    runtime.block_on(async {
        let mut ending = Ending::watch(args.while_stdin)?;
        let running = args.spin.start(prepared, out).await?;
        ending.asked().await;
        tracing::info!("stopping");
        tokio::select! {
            () = running.stop(args.drain) => {}
            () = ending.asked() => {}
        }
        Ok(())
    })
}

fn start(
    gateway: Gateway,
    options: Options,
    format: Format,
    out: Output,
) -> Result<Running, ServeError> {
    // A line of progress is no line of JSON.
    let _progress = (format == Format::Human).then(|| out.progress("starting the gateway"));
    serve::start(gateway, options)
}

fn write_admin_address(running: &Running, file: &Path) -> Outcome {
    let address = running.report().admin.map(|address| address.to_string()).unwrap_or_default();
    postern_files::write_atomic(file, address.as_bytes()).or_environment("cannot write")
}

/// Serves until the end is asked for, then drains; asked again, ends at once.
async fn until_asked(running: Running, mut ending: Ending, grace: Duration) {
    tokio::select! {
        () = ending.asked() => {}
        () = running.asked_to_end() => {}
    }
    tracing::info!("stopping");
    let (stopped, wait) = tokio::sync::oneshot::channel();
    // On a thread that nobody joins: a second signal must not wait for it.
    std::thread::spawn(move || {
        running.stop(grace);
        let _ = stopped.send(());
    });
    tokio::select! {
        _ = wait => tracing::info!("stopped"),
        () = ending.asked() => tracing::warn!("ended before the requests that ran"),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn options(line: &str) -> Options {
        let words = format!("gateway --config envoy.yaml {line}");
        let args = Line::try_parse_from(words.split_whitespace()).unwrap().args;
        args.options(&Variables::default())
    }

    #[test]
    fn there_is_a_worker_for_each_processor_unless_said_otherwise() {
        assert!(options("").workers >= 1);
        assert_eq!(options("--workers 3").workers, 3);
    }

    #[test]
    fn the_cache_can_be_moved_and_switched_off() {
        assert_eq!(options("--cache /tmp/c").cache.as_deref(), Some(Path::new("/tmp/c")));
        assert_eq!(options("--no-cache").cache, None);
    }
}
