//! From the file to machines: modules once for a process, machines once for a worker.
//!
//! Invariant: plugins share a machine only if module, `vm_id`, environment and capabilities
//! are the same, as in Envoy, and what happens when it dies, which in Envoy each plugin has
//! for itself; a plugin that stands in several places has one root. When plugins or modules
//! change, what has not changed keeps its machine, and what is replaced ends after the last
//! stream that uses it. A change that fails leaves nothing behind.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};
use std::time::Duration;

use super::chain::Slot;
use super::filters::{Place, Seat, Site};
use super::machine::Machine;
use super::native::Native;
use crate::config::{FailurePolicy, Filter, FilterKind, Gateway, Output, Plugin};
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
    failure: FailurePolicy,
    backoff: Duration,
}

impl Key {
    fn of(plugin: &Plugin) -> Self {
        let capabilities = plugin.capabilities.as_ref();
        Self {
            vm_id: plugin.vm_id.clone(),
            module: plugin.module.clone(),
            environment: plugin.environment.clone(),
            capabilities: capabilities.map(|names| names.iter().cloned().collect()),
            failure: plugin.failure,
            backoff: plugin.backoff.base,
        }
    }
}

/// The modules of a gateway, compiled and linked; shared by all workers.
#[derive(Clone, Default)]
pub struct Programs(BTreeMap<Key, Version>);

/// A module as it was read at some time; the number tells two times apart.
#[derive(Clone)]
struct Version {
    program: Program,
    /// Of its bytes.
    digest: Digest,
    number: u64,
}

/// SHA-256 of a module.
pub type Digest = [u8; 32];

/// The digest of a module's bytes.
pub fn digest(bytes: &[u8]) -> Digest {
    let mut digest = Digest::default();
    let made = ring::digest::digest(&ring::digest::SHA256, bytes);
    digest.iter_mut().zip(made.as_ref()).for_each(|(to, from)| *to = *from);
    digest
}

/// Every plugin of a gateway, wherever it stands.
pub fn plugins(gateway: &Gateway) -> Vec<&Plugin> {
    let listeners = gateway.listeners.iter().flat_map(|listener| {
        let filters = listener.http.filters.iter().filter_map(Filter::plugin);
        let loggers = listener.http.access_log.iter().filter_map(|log| match &log.output {
            Output::Plugin(plugin) => Some(plugin),
            Output::Stdout(_) => None,
        });
        filters.chain(loggers)
    });
    let clusters = gateway.clusters.values().flat_map(|cluster| &cluster.filters);
    listeners.chain(clusters.filter_map(Filter::plugin)).collect()
}

impl Programs {
    /// Reads and compiles the modules; relative names count from the current folder.
    pub fn load(engine: &Engine, gateway: &Gateway) -> Result<Self, LaunchError> {
        Self::default().renewed(engine, gateway, None)
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
            let program = program(&key.module, capabilities.unwrap_or_default())?;
            programs.insert(key, Version { program, digest: Digest::default(), number: 0 });
        }
        Ok(Self(programs))
    }

    /// The modules of a changed gateway. What is here already is taken as it is, but for the
    /// module that has `changed` on disk.
    pub fn renewed(
        &self,
        engine: &Engine,
        gateway: &Gateway,
        changed: Option<&str>,
    ) -> Result<Self, LaunchError> {
        let number = self.0.values().map(|version| version.number + 1).max().unwrap_or_default();
        let mut programs = BTreeMap::new();
        for plugin in plugins(gateway) {
            let key = Key::of(plugin);
            if programs.contains_key(&key) {
                continue;
            }
            let have = self.0.get(&key).filter(|_| changed != Some(key.module.as_str()));
            let version = match have {
                Some(version) => version.clone(),
                None => {
                    let (program, digest) = compiled(engine, &key)?;
                    Version { program, digest, number }
                }
            };
            programs.insert(key, version);
        }
        Ok(Self(programs))
    }

    /// What the file of a module held when it was read.
    pub fn digest(&self, module: &str) -> Option<Digest> {
        let mut of = self.0.iter().filter(|(key, _)| key.module == module);
        of.next().map(|(_, version)| version.digest)
    }
}

fn compiled(engine: &Engine, key: &Key) -> Result<(Program, Digest), LaunchError> {
    let file = || key.module.clone();
    let bytes =
        std::fs::read(&key.module).map_err(|error| LaunchError::Read { file: file(), error })?;
    let capabilities = key.capabilities.clone().map(Capabilities::only);
    let program = Program::new(engine, &bytes, capabilities.unwrap_or_default())
        .map_err(|error| LaunchError::Program { file: file(), error })?;
    Ok((program, digest(&bytes)))
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

/// What one worker runs.
pub struct Worker {
    /// One for each listener, in their order.
    pub sites: Vec<Rc<Site>>,
    machines: Machines,
}

/// What a change has replaced: it ends when no stream uses it any more.
#[derive(Default)]
pub struct Retired {
    sites: Vec<Weak<Site>>,
    plugins: Vec<(Shared, usize)>,
    /// Machines with their numbers.
    machines: Vec<(usize, Shared)>,
}

/// A machine as streams hold it.
type Shared = Rc<RefCell<Machine>>;

impl Worker {
    /// Starts the machines of one worker, on its thread.
    pub fn start(
        gateway: &Gateway,
        programs: &Programs,
        around: &Surroundings<'_>,
    ) -> Result<Self, LaunchError> {
        let recorder = around.settings.record.clone();
        let tape = recorder.map(|recorder| Rc::new(Tape::new(recorder)));
        let machines = Machines { tape, ..Machines::default() };
        let mut worker = Self { sites: Vec::new(), machines };
        worker.change(gateway, programs, around)?;
        Ok(worker)
    }

    /// Its machines in the order of their numbers, each with its own.
    pub fn machines(&self) -> Vec<(usize, Rc<RefCell<Machine>>)> {
        let running = self.machines.running.values();
        let mut machines: Vec<_> = running.map(|it| (it.number, Rc::clone(&it.machine))).collect();
        machines.sort_by_key(|(number, _)| *number);
        machines
    }

    /// What is recorded of it.
    pub(crate) fn tape(&self) -> Option<Rc<Tape>> {
        self.machines.tape.clone()
    }

    /// Goes over to a changed gateway, whole or not at all.
    pub fn change(
        &mut self,
        gateway: &Gateway,
        programs: &Programs,
        around: &Surroundings<'_>,
    ) -> Result<Retired, LaunchError> {
        let (machines, retired) = self.machines.changed(gateway, programs, around)?;
        self.machines = machines;
        let sites = (0..gateway.listeners.len()).map(|at| Rc::new(self.machines.site(gateway, at)));
        let before = std::mem::replace(&mut self.sites, sites.collect());
        Ok(Retired { sites: before.iter().map(Rc::downgrade).collect(), ..retired })
    }
}

impl Retired {
    /// Whether a stream still runs that began before the change.
    pub fn is_used(&self) -> bool {
        self.sites.iter().any(|site| site.strong_count() > 0)
    }

    /// Ends what was replaced; gives the numbers of machines that are no more.
    pub fn end(self) -> Vec<usize> {
        self.plugins.iter().for_each(|(machine, plugin)| machine.borrow_mut().retire(*plugin));
        let end = |(number, machine): (usize, Shared)| {
            let count = machine.borrow().plugins();
            (0..count).for_each(|plugin| machine.borrow_mut().retire(plugin));
            number
        };
        self.machines.into_iter().map(end).collect()
    }
}

/// Whether two entries are one plugin.
fn same(one: &Plugin, other: &Plugin) -> bool {
    let parts = |plugin: &Plugin| (plugin.name.clone(), plugin.root_id.clone());
    parts(one) == parts(other) && one.configuration == other.configuration
}

/// The machines of a worker.
#[derive(Clone, Default)]
struct Machines {
    running: BTreeMap<Key, Running>,
    /// Numbers that were given out, those of changes that have failed too.
    count: Rc<Cell<usize>>,
    tape: Option<Rc<Tape>>,
}

/// A machine with its plugins in the order of their roots; none where one was retired.
#[derive(Clone)]
struct Running {
    number: usize,
    version: u64,
    machine: Shared,
    plugins: Vec<Option<Plugin>>,
}

impl Machines {
    /// The machines of a changed gateway, and what they replace.
    fn changed(
        &self,
        gateway: &Gateway,
        programs: &Programs,
        around: &Surroundings<'_>,
    ) -> Result<(Self, Retired), LaunchError> {
        let tape = self.tape.clone();
        let mut fresh = Self { running: BTreeMap::new(), count: Rc::clone(&self.count), tape };
        let mut added = Vec::new();
        for (key, version) in &programs.0 {
            let own = own(gateway, key);
            let have = self.running.get(key).filter(|it| it.version == version.number);
            let running = match have {
                Some(running) => running.with(&own, &mut added),
                None => fresh.start(key, version, &own, around),
            };
            match running {
                Ok(running) => drop(fresh.running.insert(key.clone(), running)),
                Err(error) => {
                    let mut undone = self.started_for(&fresh);
                    undone.plugins.append(&mut added);
                    undone.end();
                    return Err(error);
                }
            }
        }
        let retired = self.replaced_by(&mut fresh, gateway);
        Ok((fresh, retired))
    }

    /// Machines that were started for a change that has failed.
    fn started_for(&self, fresh: &Self) -> Retired {
        let mut undone = Retired::default();
        for (key, started) in &fresh.running {
            let kept = self.running.get(key).is_some_and(|it| it.number == started.number);
            if !kept {
                undone.machines.push((started.number, Rc::clone(&started.machine)));
            }
        }
        undone
    }

    /// What of these machines the next ones do without.
    fn replaced_by(&self, next: &mut Self, gateway: &Gateway) -> Retired {
        let mut retired = Retired::default();
        for (key, before) in &self.running {
            let kept = next.running.get_mut(key).filter(|it| it.number == before.number);
            let Some(kept) = kept else {
                retired.machines.push((before.number, Rc::clone(&before.machine)));
                continue;
            };
            let own = own(gateway, key);
            for (index, place) in kept.plugins.iter_mut().enumerate() {
                let goes = |plugin: &&Plugin| !own.iter().any(|wanted| same(wanted, plugin));
                if place.as_ref().filter(goes).is_some() {
                    *place = None;
                    retired.plugins.push((Rc::clone(&before.machine), index));
                }
            }
        }
        retired
    }

    fn start(
        &mut self,
        key: &Key,
        version: &Version,
        plugins: &[&Plugin],
        around: &Surroundings<'_>,
    ) -> Result<Running, LaunchError> {
        let variable = |name: &String| Some((name.clone(), (around.variable)(name)?));
        let settings = VmSettings {
            vm_id: key.vm_id.clone(),
            environment: key.environment.iter().filter_map(variable).collect(),
            ..around.settings.clone()
        };
        let policy = policy(key);
        let number = self.count.replace(self.count.get() + 1);
        let mut services = (around.services)(number, &key.vm_id);
        if let Some(tape) = &self.tape {
            let tape = Rc::clone(tape);
            services = Rc::new(Recorded { inner: services, tape, machine: number });
        }
        let program = version.program.clone();
        let configured = plugins.iter().map(|plugin| configured(plugin)).collect();
        let machine =
            Machine::start(program, settings, services, configured, Recovery::new(policy))
                .map_err(|error| LaunchError::Start { file: key.module.clone(), error })?;
        let plugins = plugins.iter().map(|plugin| Some((*plugin).clone())).collect();
        let machine = Rc::new(RefCell::new(machine));
        Ok(Running { number, version: version.number, machine, plugins })
    }

    fn place(&self, plugin: &Plugin, limit: usize) -> Option<Place> {
        let Running { machine, plugins, .. } = self.running.get(&Key::of(plugin))?;
        let is_it = |have: &Option<Plugin>| have.as_ref().is_some_and(|have| same(have, plugin));
        let index = plugins.iter().position(is_it)?;
        let slot = Slot { body_while_headers_paused: plugin.body_while_headers_paused, limit };
        Some(Place { machine: Rc::clone(machine), plugin: index, slot })
    }

    fn seat(&self, filter: &Filter, limit: usize) -> Option<Seat> {
        let slot = Slot { body_while_headers_paused: false, limit };
        match (&filter.kind, filter.plugin()) {
            (_, Some(plugin)) => self.place(plugin, limit).map(Seat::Plugin),
            (FilterKind::Decompressor(config), None) => {
                Some(Seat::Native(Native::Decompressor(Rc::new(config.clone())), slot))
            }
            (FilterKind::Plugin(_) | FilterKind::Discovered(_), None) => {
                Some(Seat::Native(Native::Missing, slot))
            }
        }
    }

    fn site(&self, gateway: &Gateway, number: usize) -> Site {
        let listener = &gateway.listeners[number];
        let seats = |filters: &[Filter], limit: usize| -> Vec<Seat> {
            filters.iter().filter_map(|filter| self.seat(filter, limit)).collect()
        };
        let loggers = listener.http.access_log.iter().filter_map(|log| match &log.output {
            Output::Plugin(plugin) => Some((log.filter.clone(), self.place(plugin, 0)?)),
            Output::Stdout(_) => None,
        });
        let clusters = gateway.clusters.values();
        let clusters = clusters.map(|it| (it.name.clone(), seats(&it.filters, it.buffer)));
        Site {
            filters: seats(&listener.http.filters, listener.buffer),
            loggers: loggers.collect(),
            routes: listener.http.routes.clone(),
            clusters: clusters.collect(),
            tape: self.tape.clone().map(|tape| (tape, number)),
        }
    }
}

impl Running {
    /// The same machine with the plugins that it does not have yet; they are noted in `added`.
    fn with(
        &self,
        plugins: &[&Plugin],
        added: &mut Vec<(Shared, usize)>,
    ) -> Result<Self, LaunchError> {
        let mut running = self.clone();
        for plugin in plugins {
            if running.plugins.iter().flatten().any(|have| same(have, plugin)) {
                continue;
            }
            let index = running.machine.borrow_mut().add(configured(plugin));
            let file = plugin.module.clone();
            let index = index.map_err(|error| LaunchError::Start { file, error })?;
            added.push((Rc::clone(&running.machine), index));
            // Roots of changes that have failed keep their places.
            running.plugins.resize(index, None);
            running.plugins.push(Some((*plugin).clone()));
        }
        Ok(running)
    }
}

/// The plugins of a machine, each once.
fn own<'a>(gateway: &'a Gateway, key: &Key) -> Vec<&'a Plugin> {
    let mut own: Vec<&Plugin> = Vec::new();
    for plugin in plugins(gateway).into_iter().filter(|plugin| Key::of(plugin) == *key) {
        if !own.iter().any(|have| same(have, plugin)) {
            own.push(plugin);
        }
    }
    own
}

fn configured(plugin: &Plugin) -> engine::Plugin {
    engine::Plugin {
        name: plugin.name.clone(),
        root_id: plugin.root_id.clone(),
        configuration: plugin.configuration.clone().into(),
    }
}

fn policy(key: &Key) -> engine::FailurePolicy {
    match key.failure {
        FailurePolicy::FailClosed => engine::FailurePolicy::FailClosed,
        FailurePolicy::FailOpen => engine::FailurePolicy::FailOpen,
        FailurePolicy::FailReload => engine::FailurePolicy::FailReload { backoff: key.backoff },
    }
}
