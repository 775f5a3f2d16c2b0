//! From a file to a gateway that runs: everything is read, bound and compiled before the
//! first connection is taken.

use std::collections::BTreeMap;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::unbounded_channel;
use tokio::sync::watch;

use super::desk::Phase;
use super::process::{Process, State};
use super::reload::{Reload, Reloader};
use super::sockets::{bind, bind_all, refuse_plain, shared};
use super::tls::{Certificates, Client};
use super::worker::{self, Plan};
use super::{Options, Report, Running, ServeError, admin, log};
use crate::config::Gateway;
use crate::engine::{Engine, EngineSettings, VmSettings};
use crate::proxy::launch::{LaunchError, Programs, plugins};

/// Does everything of [`start`] but serving: compiles the modules, configures them, loads
/// certificates. Sockets are not bound.
pub fn check(gateway: Gateway, options: Options) -> Result<(), ServeError> {
    let gateway = fetched(gateway)?;
    refuse_plain(&gateway)?;
    let certificates = Certificates::load(&gateway)?;
    let engine = engine(&options)?;
    let programs = Programs::load(&engine, &gateway)?;
    try_out(gateway, Trial { programs, options: &options, clients: certificates.clients })
}

/// What a trial needs beside the gateway.
pub(super) struct Trial<'a> {
    /// Compiled.
    pub programs: Programs,
    pub options: &'a Options,
    /// By name of the cluster.
    pub clients: BTreeMap<String, Client>,
}

/// Starts the modules of a gateway on a worker that serves nothing and sends nothing.
pub(super) fn try_out(gateway: Gateway, trial: Trial<'_>) -> Result<(), ServeError> {
    let Trial { programs, options, clients } = trial;
    let process = Arc::new(Process::new(options.node.clone(), gateway, Vec::new()));
    let (lines, log) = log::start(&process).map_err(ServeError::Thread)?;
    let (sender, phase) = watch::channel(Phase::Drain(Duration::ZERO));
    let (_, changes) = unbounded_channel();
    let plan = Plan {
        process,
        programs,
        sockets: Vec::new(),
        clients,
        environment: Arc::clone(&options.environment),
        // A trial is nothing that has happened.
        vm: VmSettings { trace: None, record: None, ..options.vm.clone() },
        lines,
        phase,
        changes,
        silent: true,
    };
    let started = spawn(plan, 0).and_then(|(worker, ready)| {
        let answer = ready.recv().unwrap_or_else(|_| Err(ended()));
        let _ = worker.join();
        answer
    });
    drop(sender);
    log.join();
    started
}

/// Compiles the modules, starts the workers and listens.
pub fn start(gateway: Gateway, options: Options) -> Result<Running, ServeError> {
    let began = Instant::now();
    let gateway = fetched(gateway)?;
    refuse_plain(&gateway)?;
    let certificates = Certificates::load(&gateway)?;
    let (sockets, listeners) = bind_all(&gateway)?;
    let admin_socket = gateway.admin.as_ref().map(|address| bind("admin", address)).transpose()?;
    let admin_address = admin_socket.as_ref().map(|(_, address)| *address);
    let mut modules: Vec<String> =
        plugins(&gateway).into_iter().map(|plugin| plugin.module.clone()).collect();
    modules.sort();
    modules.dedup();
    let workers = options.workers.max(1);
    let process = Arc::new(Process::new(options.node.clone(), gateway, certificates.own));
    let (lines, log) = log::start(&process).map_err(ServeError::Thread)?;
    let (sender, phase) = watch::channel(Phase::Wait);
    let report = Report { listeners, admin: admin_address, workers, modules, took: Duration::ZERO };
    let mut running = Running {
        report,
        process: Arc::clone(&process),
        phase: sender,
        workers: Vec::new(),
        admin: None,
        reloader: None,
        log: Some(log),
    };
    // Before what takes time, so that it can be asked whether it is ready.
    if let Some((socket, _)) = admin_socket {
        let (process, listeners) = (Arc::clone(&process), running.report.listeners.clone());
        let thread = std::thread::Builder::new().name("postern-admin".to_owned());
        let thread = thread.spawn(move || admin::run(socket, process, listeners));
        running.admin = Some(thread.map_err(ServeError::Thread)?);
    }
    let engine = engine(&options)?;
    let programs = Programs::load(&engine, &process.gateway)?;
    let (mut all_ready, mut tell) = (Vec::new(), Vec::new());
    for number in 0..workers {
        let (sender, changes) = unbounded_channel();
        tell.push(sender);
        let plan = Plan {
            process: Arc::clone(&process),
            programs: programs.clone(),
            sockets: shared(&sockets, &certificates.servers)?,
            clients: certificates.clients.clone(),
            environment: Arc::clone(&options.environment),
            vm: options.vm.clone(),
            lines: lines.clone(),
            phase: phase.clone(),
            changes,
            silent: false,
        };
        let (worker, ready) = spawn(plan, number)?;
        running.workers.push(worker);
        all_ready.push(ready);
    }
    drop(lines);
    for ready in all_ready {
        ready.recv().unwrap_or_else(|_| Err(ended()))?;
    }
    let gateway = process.gateway.clone();
    let process_shared = Arc::clone(&process);
    let reload =
        Reload { engine, options, process: process_shared, gateway, programs, workers: tell };
    running.reloader = Reloader::start(reload)?;
    // Nobody is served by less than what the filters' files say.
    running.phase.send_replace(Phase::Serve);
    process.enter(State::Live);
    running.report.took = began.elapsed();
    Ok(running)
}

/// The same with the files that routes answer with.
fn fetched(mut gateway: Gateway) -> Result<Gateway, ServeError> {
    for listener in &mut gateway.listeners {
        let read = |file: &str, most: usize| {
            let named = |error| LaunchError::Read { file: file.to_owned(), error };
            postern_files::read_bounded(file, most).map_err(named)
        };
        listener.http.routes.fetch(read)?;
    }
    Ok(gateway)
}

/// What comes of a worker's start, once.
type Ready = mpsc::Receiver<Result<(), ServeError>>;

fn spawn(plan: Plan, number: usize) -> Result<(JoinHandle<()>, Ready), ServeError> {
    let (sender, ready) = mpsc::channel();
    let thread = std::thread::Builder::new().name(format!("postern-{number}"));
    let run = move || worker::run(plan, |answer| drop(sender.send(answer)));
    Ok((thread.spawn(run).map_err(ServeError::Thread)?, ready))
}

fn ended() -> ServeError {
    ServeError::Thread(std::io::Error::other("it ended while it started"))
}

fn engine(options: &Options) -> Result<Engine, ServeError> {
    let settings = EngineSettings { cache: options.cache.clone(), fuel: options.fuel };
    Engine::new(&settings).map_err(ServeError::Engine)
}
