//! `postern replay`: a recording, run again with other builds of its plugins.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use postern_runtime::engine::VmSettings;
use postern_runtime::proxy::launch::LaunchError;
use postern_runtime::replay::{
    Change, Difference, Module, Options, Outcome as Replayed, Recording, ReplayError, replay,
};
use serde_json::{Value, json};

use crate::failure::{Failure, Kind, Outcome, Sort};
use crate::gateway::Variables;
use crate::output::Output;

/// Largest recording.
const MAX_FILE: usize = 1 << 30;

/// Run a recording of a gateway again, and show what leaves differently.
///
/// Gives every event of `postern gateway --record` to the same gateway without sockets, at its
/// time and with its randomness, and compares what leaves: to upstreams, to callers, in
/// call-outs, to the log, in filter state.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  postern replay requests.jsonl
  postern replay requests.jsonl --module gate=target/plugins/gate.wasm
  postern replay requests.jsonl --env-file gateway/gateway.env --json

The recording names its modules; what is not given with --module is read from the same place
again. It does not hold the environment: give --env-file where a plugin needs variables.
Fields that look like credentials were recorded as stand-ins, unless --record-values was given: a
plugin that looks into them does something else than it did.

Events that another build has made impossible, such as the answer of an upstream that it does not
ask any more, are passed over and counted.

Exit codes: 0 nothing leaves differently, 1 something does, or a plugin does not start, 2 called
wrongly, 3 the recording or a module cannot be read")]
pub struct Args {
    /// The recording.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Another build of a module: its name in the recorded file, or that without folder and
    /// .wasm. May be given several times.
    #[arg(long = "module", value_name = "NAME=PATH", value_parser = module)]
    modules: Vec<(String, PathBuf)>,
    /// Take the modules' variables from this file (NAME=VALUE lines, mode 0600).
    #[arg(long, value_name = "FILE")]
    env_file: Option<PathBuf>,
}

fn module(text: &str) -> Result<(String, PathBuf), String> {
    let parts = text.split_once('=').filter(|(name, path)| !name.is_empty() && !path.is_empty());
    let (name, path) = parts.ok_or("expected NAME=PATH")?;
    Ok((name.to_owned(), PathBuf::from(path)))
}

/// Replays.
pub fn run(args: &Args, out: Output) -> Outcome {
    let bytes = postern_files::read_bounded(&args.file, MAX_FILE).or_environment("cannot read")?;
    let file = args.file.display();
    let text = String::from_utf8(bytes).or_environment(&file)?;
    let recording = Recording::read(&text).or_environment(&file)?;
    let variables = args.env_file.as_deref().map(Variables::read).transpose()?.unwrap_or_default();
    let options = Options {
        modules: modules(args, &recording)?,
        environment: variables.environment(),
        vm: VmSettings::default(),
    };
    let outcome = {
        let _progress = out.progress("replaying");
        replay(&recording, &options).map_err(|error| refused(&error))?
    };
    out.result(&document(&args.file, &outcome), &report(&args.file, &outcome))?;
    if outcome.differences.is_empty() { Ok(()) } else { Err(Failure::reported()) }
}

/// Files by the names of the recording.
fn modules(args: &Args, recording: &Recording) -> Outcome<BTreeMap<String, PathBuf>> {
    let gateway = recording.gateway().map_err(|error| refused(&error))?;
    let known = Recording::modules(&gateway);
    let mut modules = BTreeMap::new();
    for (name, path) in &args.modules {
        let stem = |file: &str| Path::new(file).file_stem().map(|stem| stem.to_owned());
        let is = |file: &&String| *file == name || stem(file).is_some_and(|stem| stem == **name);
        let found: Vec<&String> = known.iter().filter(is).collect();
        let [file] = found[..] else {
            let many = if found.is_empty() { "no module" } else { "several modules" };
            let known = known.join(", ");
            return Err(Failure::usage(format_args!("{many} {name}; there are: {known}")));
        };
        modules.insert(file.clone(), path.clone());
    }
    Ok(modules)
}

/// Whose turn it is when there is no replay.
fn refused(error: &ReplayError) -> Failure {
    let kind = match error {
        ReplayError::Launch(LaunchError::Read { .. }) => Kind::Environment,
        ReplayError::Launch(_) | ReplayError::Config(_) => Kind::Found,
        ReplayError::Recording { .. } | ReplayError::Engine(_) => Kind::Environment,
    };
    Failure { kind, error: anyhow::anyhow!("{error}") }
}

fn document(file: &Path, outcome: &Replayed) -> Value {
    let modules = outcome.modules.iter().map(
        |Module { name, recorded, now }| json!({"name": name, "recorded": recorded, "now": now}),
    );
    json!({
        "same": outcome.differences.is_empty(),
        "file": file.display().to_string(),
        "modules": modules.collect::<Vec<_>>(),
        "streams": outcome.streams,
        "events": outcome.events,
        "passed_over": outcome.passed_over,
        "differences": outcome.differences.iter().map(difference).collect::<Vec<_>>(),
    })
}

fn difference(difference: &Difference) -> Value {
    let changes = difference.changes.iter().map(|change| match change {
        Change::Gone(line) => json!({"recorded": line}),
        Change::New(line) => json!({"now": line}),
    });
    json!({
        "stream": difference.stream,
        "request": difference.request,
        "place": difference.place,
        "changes": changes.collect::<Vec<_>>(),
    })
}

fn report(file: &Path, outcome: &Replayed) -> String {
    let mut text: String =
        outcome.differences.iter().map(|difference| format!("{difference}\n")).collect();
    for Module { name, recorded, now } in &outcome.modules {
        if recorded.as_ref() != Some(now) {
            text += &format!("module {name}: another build than the recorded one\n");
        }
    }
    let Replayed { streams, events, passed_over, .. } = outcome;
    let passed_over = match passed_over {
        0 => String::new(),
        count => format!(", {count} of them passed over"),
    };
    let verdict = match outcome.differences.len() {
        0 => "nothing leaves differently".to_owned(),
        1 => "1 difference".to_owned(),
        count => format!("{count} differences"),
    };
    let of = format!("{streams} streams, {events} events{passed_over}");
    text + &format!("{}: {verdict} ({of})", file.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_is_named_with_the_file_that_takes_its_place() {
        let gate = ("gate".to_owned(), PathBuf::from("a=b.wasm"));
        assert_eq!(module("gate=a=b.wasm"), Ok(gate));
        for text in ["gate", "=x", "gate="] {
            assert!(module(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_report_ends_with_one_line_that_says_it_all() {
        let module = Module { name: "m".into(), recorded: None, now: "00".into() };
        let changes = vec![Change::Gone("x: 1".into()), Change::New("x: 2".into())];
        let outcome = Replayed {
            modules: vec![module],
            streams: 2,
            events: 9,
            passed_over: 1,
            differences: vec![Difference {
                stream: Some(3),
                request: "GET /".into(),
                place: "log".into(),
                changes,
            }],
        };
        let want = "stream 3 (GET /), log:\n  - x: 1\n  + x: 2\n\n\
                    module m: another build than the recorded one\n\
                    r: 1 difference (2 streams, 9 events, 1 of them passed over)";
        assert_eq!(report(Path::new("r"), &outcome), want);
        assert_eq!(document(Path::new("r"), &outcome)["same"], false);
    }
}
