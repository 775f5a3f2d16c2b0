//! A recording is run again, and what leaves is compared with what left.
//!
//! Each event of a [`Recording`] is given to the filters of its stream, at its time and with
//! its randomness, in a gateway of the recorded file whose modules may be other builds. What
//! leaves is recorded by the same code as at first; [`Outcome`] tells where the two differ.
//!
//! Events that a build has made impossible are passed over and counted: the answer of an
//! upstream that was not asked, the answer to a call-out that was not made, a tick that was
//! not asked for.
//!
//! Invariant: a replay opens no socket and writes no file, and the same recording with the same
//! modules has the same outcome.

mod compare;
mod run;

use std::collections::BTreeMap;
use std::path::PathBuf;

pub use compare::{Change, Difference};

use crate::config::{Gateway, Problems};
use crate::engine::VmSettings;
use crate::proxy::launch::{LaunchError, plugins};
use crate::record::{Header, Line, VERSION};
use crate::serve::Environment;

/// Why there is no replay.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The first line, or a later one.
    #[error("line {line}: {message}")]
    Recording {
        /// Its number.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// The recorded file is one that this gateway does not take.
    #[error("the recorded file: {0}")]
    Config(Problems),
    /// A module, or a plugin that refuses its configuration.
    #[error("{0}")]
    Launch(LaunchError),
    /// The engine.
    #[error("wasmtime: {0}")]
    Engine(String),
}

/// A recording, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recording {
    /// The first line.
    pub header: Header,
    /// The others.
    pub lines: Vec<Line>,
}

impl Recording {
    /// Reads a file's text. A last line that is not whole, as after a crash, is left out.
    pub fn read(text: &str) -> Result<Self, ReplayError> {
        let bad = |line: usize, message: String| ReplayError::Recording { line, message };
        let mut lines = text.split_inclusive('\n').enumerate();
        let first = lines.next().map(|(_, text)| text).unwrap_or_default();
        let header: Header = serde_json::from_str(first)
            .map_err(|error| bad(1, format!("expected a recording: {error}")))?;
        if header.postern_recording != VERSION {
            let found = header.postern_recording;
            return Err(bad(1, format!("expected version {VERSION} of the format, not {found}")));
        }
        let whole = lines.filter(|(_, text)| text.ends_with('\n') && text.trim() != "");
        let lines = whole.map(|(number, text)| {
            serde_json::from_str(text).map_err(|error| bad(number + 1, error.to_string()))
        });
        Ok(Self { header, lines: lines.collect::<Result<_, _>>()? })
    }

    /// The gateway of the recorded file.
    pub fn gateway(&self) -> Result<Gateway, ReplayError> {
        Gateway::parse(&self.header.bootstrap).map_err(ReplayError::Config)
    }

    /// Names of a gateway's modules, each once.
    pub fn modules(gateway: &Gateway) -> Vec<String> {
        let mut names: Vec<String> =
            plugins(gateway).into_iter().map(|plugin| plugin.module.clone()).collect();
        names.sort();
        names.dedup();
        names
    }
}

/// What a recording does not say.
#[derive(Clone)]
pub struct Options {
    /// Other builds of modules, by the names in the recorded file.
    pub modules: BTreeMap<String, PathBuf>,
    /// Where `host_env_keys` are looked up.
    pub environment: Environment,
    /// Times and memory of the machines.
    pub vm: VmSettings,
}

/// A module of a replay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// Its name in the recorded file.
    pub name: String,
    /// Digest when it was recorded; none if the recording does not say.
    pub recorded: Option<String>,
    /// Digest now.
    pub now: String,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Every module once.
    pub modules: Vec<Module>,
    /// Streams of the recording.
    pub streams: usize,
    /// Events that were given.
    pub events: usize,
    /// Events that this build has made impossible.
    pub passed_over: usize,
    /// In the order of the streams, roots first.
    pub differences: Vec<Difference>,
}

/// Runs a recording again.
pub fn replay(recording: &Recording, options: &Options) -> Result<Outcome, ReplayError> {
    let ran = run::run(recording, options)?;
    let differences = compare::differences(&recording.lines, &ran.lines);
    let streams = compare::streams(&recording.lines);
    let run::Ran { modules, events, passed_over, .. } = ran;
    Ok(Outcome { modules, streams, events, passed_over, differences })
}
