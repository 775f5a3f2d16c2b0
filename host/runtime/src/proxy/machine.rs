//! One module on one worker: its machine, its plugins, and a fresh machine after a death.
//!
//! Invariant: between two machines at least the backoff passes, and while there is none
//! every callback is refused, or passed by if the policy is to fail open. A machine that was
//! left in the middle of a callback, by a trap or by a panic of ours, is never entered again.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::rc::Rc;
use std::time::Duration;

use crate::engine::{
    Plugin, Program, Recovery, RootId, StartError, StreamId, Trapped, Verdict, Vm, VmSettings,
};
use crate::view::{Reload, Services, StreamView};

/// The plugin cannot run now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the module does not run")]
pub enum Down {
    /// What needs it is refused.
    Refused,
    /// What needs it passes by (`FAIL_OPEN`).
    Bypassed,
}

/// A module with the plugins that it serves.
pub struct Machine {
    program: Program,
    settings: VmSettings,
    services: Rc<dyn Services>,
    /// None where one has been retired.
    plugins: Vec<Option<Plugin>>,
    recovery: Recovery,
    /// Counts the machines that there were.
    life: u64,
    running: Running,
    /// Since a callback began: one that a panic of ours has left in the middle stays so.
    inside: bool,
}

/// A machine and the roots of its plugins, in their order.
struct Running {
    vm: Vm,
    roots: Vec<Option<RootId>>,
}

impl Running {
    fn start(
        program: &Program,
        settings: &VmSettings,
        services: &Rc<dyn Services>,
        plugins: &[Option<Plugin>],
    ) -> Result<Self, StartError> {
        let mut vm = Vm::start(program, settings.clone(), Rc::clone(services))?;
        let mut roots = Vec::with_capacity(plugins.len());
        for plugin in plugins {
            match plugin.clone().map(|it| vm.root(it)).transpose() {
                Ok(root) => roots.push(root),
                Err(error) => {
                    Self::stop_ticks(&roots, services);
                    return Err(error);
                }
            }
        }
        Ok(Self { vm, roots })
    }

    /// Roots whose machine is no more tick no more.
    fn stop_ticks(roots: &[Option<RootId>], services: &Rc<dyn Services>) {
        for root in roots.iter().flatten() {
            services.set_tick_period(root.context(), Duration::ZERO);
        }
    }
}

impl Machine {
    /// Starts a machine and configures its plugins.
    pub fn start(
        program: Program,
        settings: VmSettings,
        services: Rc<dyn Services>,
        plugins: Vec<Plugin>,
        recovery: Recovery,
    ) -> Result<Self, StartError> {
        let plugins: Vec<Option<Plugin>> = plugins.into_iter().map(Some).collect();
        let running = Running::start(&program, &settings, &services, &plugins)?;
        Ok(Self { program, settings, services, plugins, recovery, life: 0, running, inside: false })
    }

    /// Whether the machine that had this number still runs.
    pub fn lives(&self, life: u64) -> bool {
        self.life == life && !self.inside && self.running.vm.trapped().is_none()
    }

    /// A context for a stream, with the number of the machine; a fresh machine if need be.
    pub fn stream(
        &mut self,
        plugin: usize,
        view: Rc<dyn StreamView>,
        now: Duration,
    ) -> Result<(StreamId, u64), Down> {
        let root = self.ready(plugin, now)?;
        let stream = self.call(|vm| vm.stream(root, view)).map_err(|_| Down::Refused)?;
        Ok((stream, self.life))
    }

    /// A callback of a plugin's root; a fresh machine if need be.
    pub fn root<T>(
        &mut self,
        plugin: usize,
        now: Duration,
        callback: impl FnOnce(&mut Vm, RootId) -> Result<T, Trapped>,
    ) -> Result<T, Down> {
        let root = self.ready(plugin, now)?;
        self.call(|vm| callback(vm, root)).map_err(|_| Down::Refused)
    }

    /// Any callback; a trap is noted.
    pub fn call<T>(
        &mut self,
        callback: impl FnOnce(&mut Vm) -> Result<T, Trapped>,
    ) -> Result<T, Trapped> {
        self.inside = true;
        let answer = callback(&mut self.running.vm);
        self.inside = false;
        if answer.is_err() {
            self.recovery.trapped();
        }
        answer
    }

    fn ready(&mut self, plugin: usize, now: Duration) -> Result<RootId, Down> {
        if self.inside {
            self.recovery.trapped();
        }
        match self.recovery.verdict(now, chance()) {
            Verdict::Run => {}
            Verdict::Reload => self.reload()?,
            Verdict::Bypass => return Err(Down::Bypassed),
            Verdict::Refuse => {
                self.tell(Reload::Backoff);
                return Err(Down::Refused);
            }
        }
        self.running.roots.get(plugin).copied().flatten().ok_or(Down::Refused)
    }

    fn reload(&mut self) -> Result<(), Down> {
        Running::stop_ticks(&self.running.roots, &self.services);
        let fresh = Running::start(&self.program, &self.settings, &self.services, &self.plugins);
        let Ok(fresh) = fresh else {
            self.recovery.trapped();
            self.tell(Reload::Failure);
            return Err(Down::Refused);
        };
        self.running = fresh;
        self.life += 1;
        self.inside = false;
        self.recovery.reloaded();
        self.tell(Reload::Success);
        Ok(())
    }

    /// `proxy_on_done` and `proxy_on_delete` of every root, when the gateway ends; one that
    /// is not done is not waited for, as in Envoy.
    pub fn close(&mut self) {
        self.services.closing();
        for root in std::mem::take(&mut self.running.roots).into_iter().flatten() {
            let _ = self.call(|vm| vm.close_root(root));
        }
    }

    /// One more plugin, configured beside those that run; its place among them.
    pub fn add(&mut self, plugin: Plugin) -> Result<usize, StartError> {
        let root = match self.running.vm.trapped() {
            None => Some(self.running.vm.root(plugin.clone())),
            // The next machine will start with it.
            Some(_) => None,
        };
        if self.running.vm.trapped().is_some() {
            self.recovery.trapped();
        }
        self.running.roots.push(root.transpose()?);
        self.plugins.push(Some(plugin));
        Ok(self.plugins.len() - 1)
    }

    /// Ends a plugin (`proxy_on_done`, `proxy_on_delete`) that no stream uses any more.
    pub fn retire(&mut self, plugin: usize) {
        self.plugins.get_mut(plugin).map(Option::take);
        let root = self.running.roots.get_mut(plugin).and_then(Option::take);
        if let Some(root) = root {
            self.services.set_tick_period(root.context(), Duration::ZERO);
            let _ = self.call(|vm| vm.retire_root(root));
        }
    }

    /// How many plugins there have been.
    pub fn plugins(&self) -> usize {
        self.plugins.len()
    }

    fn tell(&self, how: Reload) {
        let names: Vec<&str> =
            self.plugins.iter().flatten().map(|plugin| plugin.name.as_str()).collect();
        self.services.reloaded(&names, how);
    }
}

/// Any number: the standard library seeds its hashers by chance.
fn chance() -> u32 {
    (RandomState::new().build_hasher().finish() >> 32) as u32
}
