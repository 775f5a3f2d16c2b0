//! From the file to machines: modules once for a process, machines once for a worker.
//!
//! Invariant: plugins share a machine only if module, `vm_id`, environment and capabilities
//! are the same, as in Envoy, and a plugin that stands in several places has one root.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::chain::Slot;
use super::filters::{Place, Site};
use super::machine::Machine;
use crate::config::{FailurePolicy, Gateway, Output, Plugin};
use crate::engine::{
    self, Capabilities, Engine, Program, ProgramError, Recovery, StartError, VmSettings,
};
use crate::record::{Recorded, Tape};
use crate::view::Services;

/// Why a gateway does not start.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The module's file.
    #[error("{file}: {error}")]
    Read {
        /// Its name.
        file: String,
        /// What is wrong with it.
        error: std::io::Error,
    },
    /// The module.
    #[error("{file}: {error}")]
    Program {
        /// Its name.
        file: String,
        /// What is wrong with it.
        error: ProgramError,
    },
    /// A plugin's configuration, or its start.
    #[error("{file}: {error}")]
    Start {
        /// Name of the module's file.
        file: String,
        /// What is wrong.
        error: StartError,
    },
}

/// What makes two plugins share a machine.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    vm_id: String,
    module: String,
    environment: Vec<String>,
    capabilities: Option<Vec<String>>,
}

impl Key {
    fn of(plugin: &Plugin) -> Self {
        let capabilities = plugin.capabilities.as_ref();
        Self {
            vm_id: plugin.vm_id.clone(),
            module: plugin.module.clone(),
            environment: plugin.environment.clone(),
            capabilities: capabilities.map(|names| names.iter().cloned().collect()),
        }
    }
}

/// The modules of a gateway, compiled and linked; shared by all workers.
#[derive(Clone)]
pub struct Programs(BTreeMap<Key, Program>);

/// Every plugin of a gateway, wherever it stands.
pub fn plugins(gateway: &Gateway) -> Vec<&Plugin> {
    let listeners = gateway.listeners.iter().flat_map(|listener| {
        let filters = listener.http.filters.iter().map(|filter| &filter.plugin);
        let loggers = listener.http.access_log.iter().filter_map(|log| match &log.output {
            Output::Plugin(plugin) => Some(plugin),
            Output::Stdout(_) => None,
        });
        filters.chain(loggers)
    });
    let clusters = gateway.clusters.values().flat_map(|cluster| &cluster.filters);
    listeners.chain(clusters.map(|filter| &filter.plugin)).collect()
}

impl Programs {
    /// Reads and compiles the modules; relative names count from the current folder.
    pub fn load(engine: &Engine, gateway: &Gateway) -> Result<Self, LaunchError> {
        Self::each(gateway, |file, capabilities| {
            let named = || file.to_owned();
            let bytes =
                std::fs::read(file).map_err(|error| LaunchError::Read { file: named(), error })?;
            Program::new(engine, &bytes, capabilities)
                .map_err(|error| LaunchError::Program { file: named(), error })
        })
    }

    /// Modules from wherever `program` takes them, by the name in the file.
    pub fn each(
        gateway: &Gateway,
        mut program: impl FnMut(&str, Capabilities) -> Result<Program, LaunchError>,
    ) -> Result<Self, LaunchError> {
        let mut programs = BTreeMap::new();
        for plugin in plugins(gateway) {
            let key = Key::of(plugin);
            if programs.contains_key(&key) {
                continue;
            }
            let capabilities = key.capabilities.clone().map(Capabilities::only);
            let made = program(&key.module, capabilities.unwrap_or_default())?;
            programs.insert(key, made);
        }
        Ok(Self(programs))
    }
}

/// What one worker runs.
pub struct Worker {
    /// One for each listener, in their order.
    pub sites: Vec<Rc<Site>>,
    /// In the order of their numbers.
    pub machines: Vec<Rc<RefCell<Machine>>>,
    /// What is recorded of it.
    pub(crate) tape: Option<Rc<Tape>>,
}

/// What a machine gets from its process.
pub struct Surroundings<'a> {
    /// A variable of the environment, by name.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
    /// Services for the machine of this number (they count up from 0) with this `vm_id`.
    pub services: &'a dyn Fn(usize, &str) -> Rc<dyn Services>,
    /// Times and memory; `vm_id` and environment are the file's.
    pub settings: VmSettings,
}

impl Worker {
    /// Starts the machines of one worker, on its thread.
    pub fn start(
        gateway: &Gateway,
        programs: &Programs,
        around: &Surroundings<'_>,
    ) -> Result<Self, LaunchError> {
        let recorder = around.settings.record.clone();
        let tape = recorder.map(|recorder| Rc::new(Tape::new(recorder)));
        let mut machines = Machines { tape, ..Machines::default() };
        let all = plugins(gateway);
        for (key, program) in &programs.0 {
            let mut own: Vec<&Plugin> = Vec::new();
            for plugin in all.iter().filter(|plugin| Key::of(plugin) == *key) {
                if !own.iter().any(|have| same(have, plugin)) {
                    own.push(plugin);
                }
            }
            machines.start(key, program, &own, around)?;
        }
        let sites =
            (0..gateway.listeners.len()).map(|index| Rc::new(machines.site(gateway, index)));
        let sites = sites.collect();
        let tape = machines.tape.take();
        let machines = machines.all.into_values().map(|(machine, _)| machine).collect();
        Ok(Self { sites, machines, tape })
    }
}

/// Whether two entries are one plugin.
fn same(one: &Plugin, other: &Plugin) -> bool {
    let parts = |plugin: &Plugin| (plugin.name.clone(), plugin.root_id.clone());
    parts(one) == parts(other) && one.configuration == other.configuration
}

/// The machines of a worker, each with its plugins in the order of their roots.
#[derive(Default)]
struct Machines {
    all: BTreeMap<Key, (Rc<RefCell<Machine>>, Vec<Plugin>)>,
    tape: Option<Rc<Tape>>,
}

impl Machines {
    fn start(
        &mut self,
        key: &Key,
        program: &Program,
        plugins: &[&Plugin],
        around: &Surroundings<'_>,
    ) -> Result<(), LaunchError> {
        let variable = |name: &String| Some((name.clone(), (around.variable)(name)?));
        let settings = VmSettings {
            vm_id: key.vm_id.clone(),
            environment: key.environment.iter().filter_map(variable).collect(),
            ..around.settings.clone()
        };
        let policy = plugins.first().map_or(engine::FailurePolicy::FailClosed, |it| policy(it));
        let configured = plugins.iter().map(|plugin| engine::Plugin {
            name: plugin.name.clone(),
            root_id: plugin.root_id.clone(),
            configuration: plugin.configuration.clone().into(),
        });
        let machine = self.all.len();
        let mut services = (around.services)(machine, &key.vm_id);
        if let Some(tape) = &self.tape {
            services = Rc::new(Recorded { inner: services, tape: Rc::clone(tape), machine });
        }
        let configured = configured.collect();
        let machine =
            Machine::start(program.clone(), settings, services, configured, Recovery::new(policy))
                .map_err(|error| LaunchError::Start { file: key.module.clone(), error })?;
        let plugins = plugins.iter().map(|plugin| (*plugin).clone()).collect();
        self.all.insert(key.clone(), (Rc::new(RefCell::new(machine)), plugins));
        Ok(())
    }

    fn place(&self, plugin: &Plugin, limit: usize) -> Option<Place> {
        let (machine, plugins) = self.all.get(&Key::of(plugin))?;
        let index = plugins.iter().position(|have| same(have, plugin))?;
        let slot = Slot { body_while_headers_paused: plugin.body_while_headers_paused, limit };
        Some(Place { machine: Rc::clone(machine), plugin: index, slot })
    }

    fn site(&self, gateway: &Gateway, number: usize) -> Site {
        let listener = &gateway.listeners[number];
        let filters = listener.http.filters.iter();
        let filters =
            filters.filter_map(|filter| self.place(&filter.plugin, listener.buffer)).collect();
        let loggers = listener.http.access_log.iter().filter_map(|log| match &log.output {
            Output::Plugin(plugin) => Some((log.filter.clone(), self.place(plugin, 0)?)),
            Output::Stdout(_) => None,
        });
        let clusters = gateway.clusters.values().map(|cluster| {
            let places = cluster.filters.iter();
            let places = places.filter_map(|filter| self.place(&filter.plugin, cluster.buffer));
            (cluster.name.clone(), places.collect())
        });
        Site {
            filters,
            loggers: loggers.collect(),
            routes: listener.http.routes.clone(),
            clusters: clusters.collect(),
            tape: self.tape.clone().map(|tape| (tape, number)),
        }
    }
}

fn policy(plugin: &Plugin) -> engine::FailurePolicy {
    match plugin.failure {
        FailurePolicy::FailClosed => engine::FailurePolicy::FailClosed,
        FailurePolicy::FailOpen => engine::FailurePolicy::FailOpen,
        FailurePolicy::FailReload => {
            engine::FailurePolicy::FailReload { backoff: plugin.backoff.base }
        }
    }
}
