//! From a file, or from plugins named in code, to a lab.
//!
//! Plugins in code become an `envoy.yaml` ([`Setup::bootstrap`] shows it), so that both ways
//! pass the same reader. Invariant: a lab that starts has configured every plugin.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Lab;
use super::bootstrap::Listing;
use super::plugin::{Plugin, Source};
use crate::config::{Gateway, Problems};
use crate::engine::VmSettings;
use crate::engine::trace::{Callback, Rules, Sink, Trace};
use crate::proxy::launch::LaunchError;
use crate::view::Level;

/// 2027-01-15, where virtual time begins unless it is said otherwise.
const EPOCH: Duration = Duration::from_secs(1_800_000_000);

/// Why a lab does not start.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// The gateway's file, or the one that was made for plugins.
    #[error("{0}")]
    Config(Problems),
    /// A module, or a plugin that refuses its configuration; what modules have logged by then.
    #[error("{error}{}", lines(.logged))]
    Launch {
        /// What is wrong.
        error: LaunchError,
        /// Lines of the log.
        logged: Vec<String>,
    },
    /// The engine.
    #[error("wasmtime: {0}")]
    Engine(String),
    /// The gateway's file cannot be read.
    #[error("{file}: {error}")]
    Read {
        /// Its name.
        file: String,
        /// What the system said.
        error: std::io::Error,
    },
    /// A file says itself which plugins and clusters there are.
    #[error("expected a file or plugins, not both")]
    Both,
}

fn lines(logged: &[String]) -> String {
    logged.iter().map(|line| format!("\n  {line}")).collect()
}

/// Callbacks that have ended.
#[derive(Debug, Default)]
pub(super) struct Kept(Mutex<Vec<Callback>>);

impl Kept {
    pub fn all(&self) -> Vec<Callback> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Sink for Kept {
    fn take(&self, callback: &Callback) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(callback.clone());
    }
}

/// What a lab starts from.
#[derive(Debug, Clone)]
pub struct Setup {
    file: Option<FileSource>,
    listing: Listing,
    pub(super) modules: BTreeMap<String, Source>,
    pub(super) variables: BTreeMap<String, String>,
    pub(super) vm: VmSettings,
    pub(super) seed: Vec<u8>,
    pub(super) epoch: SystemTime,
    pub(super) level: Level,
    pub(super) node: String,
    pub(super) kept: Option<Arc<Kept>>,
}

#[derive(Debug, Clone)]
enum FileSource {
    Text(String),
    Path(PathBuf),
}

impl Default for Setup {
    fn default() -> Self {
        // A test machine may be busy; what a plugin gets in production is said with `deadline`.
        let vm = VmSettings { deadline: Duration::from_secs(5), ..VmSettings::default() };
        Self {
            file: None,
            listing: Listing::default(),
            modules: BTreeMap::new(),
            variables: BTreeMap::new(),
            vm,
            seed: b"lab".to_vec(),
            epoch: UNIX_EPOCH + EPOCH,
            level: Level::Trace,
            node: "lab".to_owned(),
            kept: None,
        }
    }
}

impl Setup {
    /// A gateway as this text of an `envoy.yaml` says.
    pub fn yaml(text: impl Into<String>) -> Self {
        Self { file: Some(FileSource::Text(text.into())), ..Self::default() }
    }

    /// A gateway as this `envoy.yaml` says.
    pub fn file(path: impl AsRef<Path>) -> Self {
        let path = path.as_ref().to_owned();
        Self { file: Some(FileSource::Path(path)), ..Self::default() }
    }

    /// Adds a filter behind those there are, in front of a route that sends every request to
    /// the cluster `upstream`.
    pub fn filter(mut self, plugin: Plugin) -> Self {
        self.listing.filters.push(plugin);
        self
    }

    /// Adds a filter of the cluster `upstream`, behind the router.
    pub fn upstream_filter(mut self, plugin: Plugin) -> Self {
        self.listing.upstream.push(plugin);
        self
    }

    /// Adds an access logger.
    pub fn logger(mut self, plugin: Plugin) -> Self {
        self.listing.loggers.push(plugin);
        self
    }

    /// Adds a cluster that plugins may call out to.
    pub fn cluster(mut self, name: &str) -> Self {
        self.listing.clusters.insert(name.to_owned());
        self
    }

    /// Time for an upstream's answer; 15 s unless it is said, zero for no end.
    pub fn route_timeout(mut self, time: Duration) -> Self {
        self.listing.route_timeout = time;
        self
    }

    /// `stream_idle_timeout`; 300 s unless it is said, zero for no end.
    pub fn idle_timeout(mut self, time: Duration) -> Self {
        self.listing.idle_timeout = time;
        self
    }

    /// `request_timeout`; none unless it is said.
    pub fn request_timeout(mut self, time: Duration) -> Self {
        self.listing.request_timeout = time;
        self
    }

    /// `per_connection_buffer_limit_bytes`: what a filter that pauses may hold; 1 MiB unless
    /// it is said.
    pub fn buffer(mut self, bytes: usize) -> Self {
        self.listing.buffer = bytes;
        self
    }

    /// Takes the module that a file calls `name` from somewhere else.
    pub fn module(mut self, name: &str, path: impl AsRef<Path>) -> Self {
        self.modules.insert(name.to_owned(), Source::File(path.as_ref().to_owned()));
        self
    }

    /// The same from memory.
    pub fn module_bytes(mut self, name: &str, wasm: impl Into<Vec<u8>>) -> Self {
        self.modules.insert(name.to_owned(), Source::Bytes(wasm.into()));
        self
    }

    /// A variable for the modules whose `host_env_keys` name it. Those of the process are
    /// never seen.
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Longest time of a callback, in real time: a loop is the one thing that virtual time
    /// cannot end. Five seconds unless it is said.
    pub fn deadline(mut self, time: Duration) -> Self {
        self.vm.deadline = time;
        self
    }

    /// Most bytes of a machine's memory.
    pub fn memory(mut self, bytes: usize) -> Self {
        self.vm.memory = bytes;
        self
    }

    /// What `random_get` is derived from: another seed, other randomness.
    pub fn seed(mut self, seed: impl Into<Vec<u8>>) -> Self {
        self.seed = seed.into();
        self
    }

    /// What the calendar says at the start.
    pub fn starts_at(mut self, time: SystemTime) -> Self {
        self.epoch = time;
        self
    }

    /// Keeps each callback with its hostcalls for [`Lab::trace`].
    pub fn traced(mut self, rules: Rules) -> Self {
        let kept = Arc::new(Kept::default());
        self.vm.trace = Some(Trace::new(kept.clone(), rules));
        self.kept = Some(kept);
        self
    }

    /// Least level of lines that are kept; all unless it is said.
    pub fn log_level(mut self, level: Level) -> Self {
        self.level = level;
        self
    }

    /// Compiles the modules and configures every plugin.
    pub fn start(self) -> Result<Lab, LabError> {
        Lab::start(self)
    }

    /// The file that is run: the one that was given, or the one that is made of the plugins.
    pub fn bootstrap(&self) -> Result<String, LabError> {
        match &self.file {
            Some(_) if self.listing != Listing::default() => Err(LabError::Both),
            Some(FileSource::Text(text)) => Ok(text.clone()),
            Some(FileSource::Path(path)) => std::fs::read_to_string(path)
                .map_err(|error| LabError::Read { file: path.display().to_string(), error }),
            None => Ok(format!("{:#}", self.listing.document())),
        }
    }

    /// The gateway, with what plugins in code bring along put in its place.
    pub(super) fn gateway(&mut self) -> Result<Gateway, LabError> {
        let text = self.bootstrap()?;
        for plugin in self.listing.plugins() {
            self.modules.entry(plugin.file_name()).or_insert_with(|| plugin.source.clone());
            self.variables.extend(plugin.variables.iter().cloned());
        }
        Gateway::parse(&text).map_err(LabError::Config)
    }
}
