//! Filters in files of their own, and modules that are built again, while the gateway runs.
//!
//! Owns a thread that is told of files, tries what they say on a machine of its own, and
//! hands it to the workers, which go over to it each on its own thread. Invariant: what does
//! not start there reaches no worker, so the old configuration serves until a good one comes;
//! what not every worker has gone over to is a failure, and is tried again when it comes again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;

use super::begin::{Trial, try_out};
use super::files::{How, Watch};
use super::process::Process;
use super::{Options, ServeError};
use crate::config::{self, Discovered, Filter, FilterKind, Gateway, Plugin};
use crate::engine::Engine;
use crate::proxy::launch::{Digest, LaunchError, Programs, digest, plugins};

/// Largest file of a filter.
const LARGEST: usize = 16 << 20;
/// How long a module's file is left alone before it is read: builds write in pieces.
const SETTLE: Duration = Duration::from_millis(200);
/// While nothing is left alone.
const FAR: Duration = Duration::from_secs(3600);
/// Time for the workers to go over.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a worker goes over to.
pub(super) struct Change {
    pub gateway: Arc<Gateway>,
    pub programs: Programs,
    /// Told whether it has.
    pub done: Sender<bool>,
}

enum Told {
    Changed(String, How),
    End,
}

/// The thread.
pub(super) struct Reloader {
    tell: Sender<Told>,
    thread: JoinHandle<()>,
}

/// What the thread works with.
pub(super) struct Reload {
    pub engine: Engine,
    pub options: Options,
    pub process: Arc<Process>,
    pub gateway: Gateway,
    pub programs: Programs,
    pub workers: Vec<UnboundedSender<Change>>,
}

impl Reloader {
    /// Reads the filters' files once, and then whenever one is replaced; `None` if nothing
    /// is to be watched.
    pub fn start(mut reload: Reload) -> Result<Option<Self>, ServeError> {
        let files = discovered(&reload.gateway);
        if files.is_empty() && !reload.options.watch {
            return Ok(None);
        }
        let (tell, told) = channel();
        let sender = tell.clone();
        let watch = Watch::start(move |file, how| {
            drop(sender.send(Told::Changed(file.to_owned(), how)));
        });
        let mut watch = watch.map_err(|error| unwatched("files", &error))?;
        for file in &files {
            // As in Envoy, a file that is not there at the start is a mistake.
            let found = std::fs::metadata(file);
            found.map_err(|error| LaunchError::Read { file: file.clone(), error })?;
            watch.add(file).map_err(|error| unwatched(file, &error))?;
            reload.filters(file);
        }
        let run = move || reload.run(&told, &mut watch);
        let thread = std::thread::Builder::new().name("postern-reload".to_owned());
        let thread = thread.spawn(run).map_err(ServeError::Thread)?;
        Ok(Some(Self { tell, thread }))
    }

    /// Ends it.
    pub fn stop(self) {
        drop(self.tell.send(Told::End));
        let _ = self.thread.join();
    }
}

fn unwatched(file: &str, error: &notify::Error) -> LaunchError {
    let error = std::io::Error::other(format!("cannot be watched: {error}"));
    LaunchError::Read { file: file.to_owned(), error }
}

/// Why something new does not serve.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error(transparent)]
    Launch(#[from] LaunchError),
    #[error(transparent)]
    Serve(#[from] ServeError),
    #[error("{0} of {1} workers have gone over to it")]
    Half(usize, usize),
}

/// What modules' files held when they were read last.
type Seen = BTreeMap<String, Option<Digest>>;

impl Reload {
    fn run(&mut self, told: &Receiver<Told>, watch: &mut Watch) {
        let (mut seen, mut waiting) = (Seen::new(), BTreeSet::<String>::new());
        loop {
            waiting.extend(self.see(&mut seen, watch));
            let settled = if waiting.is_empty() { FAR } else { SETTLE };
            match told.recv_timeout(settled) {
                Err(RecvTimeoutError::Timeout) => {
                    let settled = std::mem::take(&mut waiting);
                    settled.iter().for_each(|file| self.module(file, &mut seen));
                }
                Err(RecvTimeoutError::Disconnected) | Ok(Told::End) => return,
                Ok(Told::Changed(file, how)) => {
                    if how == How::Replaced && discovered(&self.gateway).contains(&file) {
                        self.filters(&file);
                    }
                    if seen.contains_key(&file) {
                        waiting.insert(file);
                    }
                }
            }
        }
    }

    /// Begins to watch the modules that have come into use; they are looked at once, since
    /// they may have changed already.
    fn see(&self, seen: &mut Seen, watch: &mut Watch) -> Vec<String> {
        let mut fresh = Vec::new();
        if !self.options.watch {
            return fresh;
        }
        for plugin in plugins(&self.gateway) {
            let file = &plugin.module;
            if seen.contains_key(file) {
                continue;
            }
            if let Err(error) = watch.add(file) {
                tracing::error!(module = file, %error, "cannot be watched");
            }
            seen.insert(file.clone(), self.programs.digest(file));
            fresh.push(file.clone());
        }
        fresh
    }

    /// The file of one or more filters has been replaced.
    fn filters(&mut self, file: &str) {
        let names = filters(&self.gateway).filter(|(_, it)| it.path == file);
        let names: BTreeSet<String> = names.map(|(name, _)| name.to_owned()).collect();
        for name in names {
            let taken = self.filter(file, &name);
            match &taken {
                Ok(false) => continue,
                Ok(true) => tracing::info!(filter = name, file, "a new configuration serves"),
                Err(problem) => {
                    tracing::error!(
                        filter = name,
                        file,
                        "rejected, what was there stays: {problem}"
                    );
                }
            }
            let counts = &self.process.discovered;
            let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
            let (reloaded, failed) = counts.entry(name).or_default();
            if taken.is_ok() { *reloaded += 1 } else { *failed += 1 }
        }
    }

    /// Whether there was anything new.
    fn filter(&mut self, file: &str, name: &str) -> Result<bool, String> {
        let bytes = postern_files::read_bounded(file, LARGEST).map_err(|it| it.to_string())?;
        let text = String::from_utf8(bytes).map_err(|it| it.to_string())?;
        let plugin = config::discovered(&text, name).map_err(|it| it.to_string())?;
        let mut gateway = self.gateway.clone();
        let mut changed = false;
        for (have, filter) in filters_mut(&mut gateway) {
            if have == name && filter.current.as_ref() != Some(&plugin) {
                filter.current = Some(plugin.clone());
                changed = true;
            }
        }
        if changed {
            self.go_over(gateway, None, vec![plugin]).map_err(|it| it.to_string())?;
        }
        Ok(changed)
    }

    /// A module's file has been written.
    fn module(&mut self, file: &str, seen: &mut Seen) {
        let held = std::fs::read(file).ok().map(|bytes| digest(&bytes));
        if seen.insert(file.to_owned(), held) == Some(held) {
            return;
        }
        let using = plugins(&self.gateway).into_iter().filter(|plugin| plugin.module == file);
        let using: Vec<Plugin> = using.cloned().collect();
        match self.go_over(self.gateway.clone(), Some(file), using) {
            Ok(()) => tracing::info!(module = file, "the new module serves"),
            Err(error) => tracing::error!(module = file, "rejected, the old module stays: {error}"),
        }
    }

    /// Tries plugins of a changed gateway, and has every worker go over to it.
    fn go_over(
        &mut self,
        gateway: Gateway,
        changed: Option<&str>,
        tried: Vec<Plugin>,
    ) -> Result<(), Refused> {
        let programs = self.programs.renewed(&self.engine, &gateway, changed)?;
        let trial = with_only(&gateway, tried);
        let own = programs.renewed(&self.engine, &trial, None)?;
        try_out(trial, Trial { programs: own, options: &self.options, clients: BTreeMap::new() })?;
        let gateway_shared = Arc::new(gateway.clone());
        let (done, answers) = channel();
        for worker in &self.workers {
            let (gateway, programs) = (Arc::clone(&gateway_shared), programs.clone());
            // A worker that has ended needs nothing.
            drop(worker.send(Change { gateway, programs, done: done.clone() }));
        }
        drop(done);
        // Their numbers tell versions apart, also where some worker has one of them already.
        self.programs = programs;
        let all = self.workers.len();
        let over = self.workers.iter().filter(|_| answers.recv_timeout(PATIENCE) == Ok(true));
        let over = over.count();
        if over < all {
            return Err(Refused::Half(over, all));
        }
        self.gateway = gateway;
        Ok(())
    }
}

/// A gateway of which only these plugins are left.
fn with_only(gateway: &Gateway, tried: Vec<Plugin>) -> Gateway {
    let mut gateway = gateway.clone();
    let filters = tried.into_iter().map(|plugin| {
        let (name, kind) = (plugin.name.clone(), FilterKind::Plugin(plugin));
        Filter { name, kind }
    });
    gateway.listeners.truncate(1);
    for listener in &mut gateway.listeners {
        listener.http.access_log.clear();
    }
    if let Some(listener) = gateway.listeners.first_mut() {
        listener.http.filters = filters.collect();
    }
    for cluster in gateway.clusters.values_mut() {
        cluster.filters.clear();
    }
    gateway
}

/// Filters in files of their own, with their names.
fn filters(gateway: &Gateway) -> impl Iterator<Item = (&str, &Discovered)> {
    let listeners = gateway.listeners.iter().flat_map(|it| &it.http.filters);
    let all = listeners.chain(gateway.clusters.values().flat_map(|it| &it.filters));
    all.filter_map(|filter| match &filter.kind {
        FilterKind::Discovered(discovered) => Some((filter.name.as_str(), discovered.as_ref())),
        FilterKind::Plugin(_) | FilterKind::Decompressor(_) => None,
    })
}

fn filters_mut(gateway: &mut Gateway) -> impl Iterator<Item = (&str, &mut Discovered)> {
    let listeners = gateway.listeners.iter_mut().flat_map(|it| &mut it.http.filters);
    let all = listeners.chain(gateway.clusters.values_mut().flat_map(|it| &mut it.filters));
    all.filter_map(|filter| match &mut filter.kind {
        FilterKind::Discovered(discovered) => Some((filter.name.as_str(), discovered.as_mut())),
        FilterKind::Plugin(_) | FilterKind::Decompressor(_) => None,
    })
}

fn discovered(gateway: &Gateway) -> BTreeSet<String> {
    filters(gateway).map(|(_, it)| it.path.clone()).collect()
}
