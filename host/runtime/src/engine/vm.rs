//! One machine: an instance of a module, the plugins configured in it and its end.
//!
//! Invariant: a machine that has trapped is never entered again; every later call answers
//! with the same [`Trapped`].

use std::collections::{HashMap, HashSet};
use std::fmt::Debug;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use wasmtime::{Store, StoreLimitsBuilder, TypedFunc, WasmParams, WasmResults};

use crate::record::Recorder;
use crate::view::{QueueToken, Services};

use super::callbacks::{Callback, Callbacks, Finder};
use super::deadline::Deadline;
use super::fault::{StartError, Trapped};
use super::host::{Context, Host, Lent, Root};
use super::hostcalls::metrics::Defined;
use super::trace::{self, Trace};
use super::{Program, deadline};

/// Settings of one machine (`vm_config`, and limits that Envoy does not have).
#[derive(Debug, Clone)]
pub struct VmSettings {
    /// `vm_id`.
    pub vm_id: String,
    /// `configuration` of the VM, as bytes.
    pub configuration: Vec<u8>,
    /// Environment variables, whole: nothing is taken from the process.
    pub environment: Vec<(String, String)>,
    /// Most bytes of linear memory.
    pub memory: usize,
    /// Longest time of a callback; time spent waiting for a processor counts for half of it
    /// at most.
    pub deadline: Duration,
    /// Longest time of starting and configuring.
    pub start_deadline: Duration,
    /// Where callbacks and hostcalls are told.
    pub trace: Option<Trace>,
    /// Where streams are recorded.
    pub record: Option<Recorder>,
}

impl Default for VmSettings {
    fn default() -> Self {
        Self {
            vm_id: String::new(),
            configuration: Vec::new(),
            environment: Vec::new(),
            memory: 1 << 30,
            deadline: Duration::from_millis(100),
            start_deadline: Duration::from_secs(10),
            trace: None,
            record: None,
        }
    }
}

/// One plugin configuration; it gets a root context of its own.
#[derive(Debug, Clone, Default)]
pub struct Plugin {
    /// `name`.
    pub name: String,
    /// `root_id`.
    pub root_id: String,
    /// `configuration`, as bytes.
    pub configuration: Arc<[u8]>,
}

/// A root context.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RootId(pub(super) u32);

impl RootId {
    /// The context of a number that [`Services::set_tick_period`] named.
    pub fn of(context: u32) -> Self {
        Self(context)
    }

    /// The number that [`Services::set_tick_period`] gets.
    pub fn context(self) -> u32 {
        self.0
    }
}

/// A stream context.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StreamId(pub(super) u32);

/// One machine, on one thread.
pub struct Vm {
    pub(super) store: Store<Host>,
    pub(super) callbacks: Callbacks,
    pub(super) last_context: u32,
    deadline: Duration,
    start_deadline: Duration,
    dead: Option<Trapped>,
}

impl Vm {
    /// Makes an instance and runs its start function. Plugins are added with [`Vm::root`].
    pub fn start(
        program: &Program,
        settings: VmSettings,
        services: Rc<dyn Services>,
    ) -> Result<Self, StartError> {
        let (usual, start) = (settings.deadline, settings.start_deadline);
        let mut store = store(program, settings, services);
        if program.engine.fuel() {
            fill(&mut store);
        }
        store.limiter(|host| &mut host.limits);
        deadline::install(&mut store);
        deadline::set(&mut store, start);
        let callbacks =
            instance(program, &mut store).map_err(|e| StartError::Instance(format!("{e:#}")))?;
        let mut vm = Self {
            store,
            callbacks,
            last_context: 0,
            deadline: usual,
            start_deadline: start,
            dead: None,
        };
        match vm.callbacks.initialize.clone() {
            Some(initialize) => vm.begin("_initialize", 0, &Some(initialize), ())?,
            None => vm.begin("_start", 0, &vm.callbacks.start.clone(), ())?,
        };
        Ok(vm)
    }

    /// Makes a root for `plugin` and configures it. Refused: the machine lives, and the root
    /// never was.
    pub fn root(&mut self, plugin: Plugin) -> Result<RootId, StartError> {
        let id = self.next_context();
        let host = self.store.data_mut();
        host.contexts.insert(id, Context::new(id, None));
        let configured = self.configure(id, plugin);
        if configured.is_err() {
            self.forget_root(id);
        }
        configured.map(|()| RootId(id))
    }

    pub(super) fn forget_root(&mut self, id: u32) {
        let host = self.store.data_mut();
        host.contexts.remove(&id);
        host.roots.remove(&id);
        host.retiring.remove(&id);
        host.calls.retain(|_, context| *context != id);
        let mine: Vec<u32> =
            host.grpc.iter().filter(|(_, call)| call.root == id).map(|(token, _)| *token).collect();
        for token in mine {
            host.grpc.remove(&token);
            host.services.grpc_cancel(token);
        }
        host.services.set_tick_period(id, Duration::ZERO);
    }

    fn configure(&mut self, id: u32, plugin: Plugin) -> Result<(), StartError> {
        let (name, size) = (plugin.name.clone(), length(plugin.configuration.len()));
        self.store.data_mut().roots.insert(id, Root { plugin, closed: (0, Vec::new()) });
        self.begin("proxy_on_context_create", id, &self.callbacks.context_create.clone(), (id, 0))?;
        let vm_size = length(self.store.data().settings.configuration.len());
        let vm_start = self.callbacks.vm_start.clone();
        if !self.accepts("proxy_on_vm_start", id, &vm_start, vm_size, Lent::VmConfiguration)? {
            return Err(StartError::VmConfiguration(name));
        }
        let configure = self.callbacks.configure.clone();
        if !self.accepts("proxy_on_configure", id, &configure, size, Lent::PluginConfiguration)? {
            return Err(StartError::Configuration(name));
        }
        Ok(())
    }

    /// `proxy_on_tick` of a root.
    pub fn tick(&mut self, root: RootId) -> Result<(), Trapped> {
        self.store.data().services.ticked(root.0);
        self.call("proxy_on_tick", root.0, |callbacks| &callbacks.tick, root.0).map(drop)
    }

    /// `proxy_on_queue_ready` of a root; nothing if it is gone.
    pub fn queue_ready(&mut self, root: RootId, queue: QueueToken) -> Result<(), Trapped> {
        if !self.store.data().roots.contains_key(&root.0) {
            return Ok(());
        }
        let arguments = (root.0, queue);
        self.call("proxy_on_queue_ready", root.0, |it| &it.queue_ready, arguments).map(drop)
    }

    /// Whether and how the machine has died.
    pub fn trapped(&self) -> Option<&Trapped> {
        self.dead.as_ref()
    }

    /// Bytes of linear memory in use.
    pub fn memory(&self) -> usize {
        self.store.data().memory.map_or(0, |memory| memory.data_size(&self.store))
    }

    /// Call-outs whose answers are still waited for.
    pub fn waiting(&self) -> usize {
        self.store.data().calls.len()
    }

    pub(super) fn next_context(&mut self) -> u32 {
        loop {
            self.last_context = self.last_context.wrapping_add(1);
            let taken = self.store.data().contexts.contains_key(&self.last_context);
            if self.last_context != 0 && !taken {
                return self.last_context;
            }
        }
    }

    /// Calls a callback under its deadline; `None` if the module has none.
    pub(super) fn call<P: WasmParams + Debug, R: WasmResults + Debug>(
        &mut self,
        name: &'static str,
        context: u32,
        which: fn(&Callbacks) -> &Callback<P, R>,
        arguments: P,
    ) -> Result<Option<R>, Trapped> {
        let Some(function) = which(&self.callbacks).clone() else {
            return self.dead.clone().map_or(Ok(None), Err);
        };
        let answer = self.enter_usual(name, context, &function, arguments)?;
        self.bury()?;
        Ok(Some(answer))
    }

    /// One that is there, under the usual deadline.
    pub(super) fn enter_usual<P: WasmParams + Debug, R: WasmResults + Debug>(
        &mut self,
        name: &'static str,
        context: u32,
        function: &TypedFunc<P, R>,
        arguments: P,
    ) -> Result<R, Trapped> {
        self.enter(name, context, function, arguments, self.deadline)
    }

    /// The same under the deadline of starting.
    fn begin<P: WasmParams + Debug, R: WasmResults + Debug>(
        &mut self,
        name: &'static str,
        context: u32,
        function: &Callback<P, R>,
        arguments: P,
    ) -> Result<Option<R>, Trapped> {
        let Some(function) = function else { return Ok(None) };
        self.enter(name, context, function, arguments, self.start_deadline).map(Some)
    }

    /// A question at start; a module without the callback says yes.
    fn accepts(
        &mut self,
        name: &'static str,
        root: u32,
        function: &Callback<(u32, u32), u32>,
        size: u32,
        lent: Lent,
    ) -> Result<bool, Trapped> {
        self.store.data_mut().lent = lent;
        let answer = self.begin(name, root, function, (root, size));
        self.store.data_mut().lent = Lent::Nothing;
        Ok(answer?.is_none_or(|yes| yes != 0))
    }

    /// What is left of it, where it is counted and told.
    fn fuel(&self) -> Option<u64> {
        self.store.data().tracing.as_ref()?;
        self.store.get_fuel().ok()
    }

    fn enter<P: WasmParams + Debug, R: WasmResults + Debug>(
        &mut self,
        name: &'static str,
        context: u32,
        function: &TypedFunc<P, R>,
        arguments: P,
        time: Duration,
    ) -> Result<R, Trapped> {
        if let Some(trapped) = &self.dead {
            return Err(trapped.clone());
        }
        let host = self.store.data_mut();
        (host.current, host.effective) = (context, context);
        trace::enter(self.store.data_mut(), name, context, || format!("{arguments:?}"));
        let full = self.fuel();
        deadline::set(&mut self.store, time);
        let answer = function.call(&mut self.store, arguments).map_err(|error| {
            let trapped = Trapped::new(name, &error);
            self.dead = Some(trapped.clone());
            // Nobody will call for them again, and what they view is the proxy's.
            let host = self.store.data_mut();
            host.contexts.clear();
            host.calls.clear();
            host.cancel_grpc();
            trapped
        });
        let told = || answer.as_ref().map(|answer| format!("{answer:?}"));
        let used = full.map(|full| full.saturating_sub(self.fuel().unwrap_or(full)));
        trace::leave(self.store.data_mut(), used, told);
        answer
    }
}

fn store(program: &Program, settings: VmSettings, services: Rc<dyn Services>) -> Store<Host> {
    let limits = StoreLimitsBuilder::new()
        .memory_size(settings.memory)
        .table_elements(1 << 20)
        .instances(1)
        .memories(1)
        .build();
    let host = Host {
        services,
        settings: Arc::new(settings),
        limits,
        memory: None,
        allocate: None,
        current: 0,
        effective: 0,
        contexts: HashMap::new(),
        roots: HashMap::new(),
        retiring: HashSet::new(),
        unfinished: HashSet::new(),
        finished: Vec::new(),
        calls: HashMap::new(),
        grpc: HashMap::new(),
        metrics: Defined::default(),
        lent: Lent::Nothing,
        started: Instant::now(),
        deadline: Deadline::default(),
        tracing: None,
    };
    Store::new(program.engine.inner(), host)
}

/// As much as there can be: deadlines end what runs too long, and fuel only counts.
fn fill(store: &mut Store<Host>) {
    let filled = store.set_fuel(u64::MAX);
    debug_assert!(filled.is_ok(), "the engine counts fuel");
}

/// Hostcalls may be made from the module's own start section on, so a memory is looked up
/// right after it exists.
fn instance(program: &Program, store: &mut Store<Host>) -> wasmtime::Result<Callbacks> {
    let instance = program.instance.instantiate(&mut *store)?;
    let memory = instance.get_memory(&mut *store, "memory");
    let mut finder =
        Finder { store: &mut *store, instance: &instance, capabilities: &program.capabilities };
    let (allocate, callbacks) = (finder.allocator()?, finder.callbacks()?);
    let host = store.data_mut();
    (host.memory, host.allocate) = (memory, Some(allocate));
    Ok(callbacks)
}

/// Longer than 32 bits cannot be lent to a 32-bit module; reading is cut at its end.
pub(super) fn length(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
