//! The gateway with its sockets: what `postern gateway` runs.
//!
//! Owns threads, sockets and timers. Each worker is one thread with its own machines,
//! connections to upstreams and streams; all decisions about a stream are made in
//! [`crate::proxy`], which is told what happened and says what to do.
//!
//! Invariant: no lock is taken on the way of a request but those of shared data, and
//! whatever goes wrong on one connection ends that connection.

mod admin;
mod call;
mod caller;
mod conn;
mod connection;
mod desk;
mod facts;
mod forward;
mod log;
mod process;
mod stats;
mod stream;
mod timers;
mod tls;
mod upstream;
mod worker;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::config::{Address, Gateway};
use crate::engine::{Engine, EngineSettings, VmSettings};
use crate::proxy::launch::{LaunchError, Programs, plugins};
use desk::Phase;
use process::Process;
use worker::Plan;

/// A variable of the environment, by name.
pub type Environment = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// What the file does not say.
#[derive(Clone)]
pub struct Options {
    /// Worker threads, at least one.
    pub workers: usize,
    /// Folder of compiled modules; `None` compiles at each start.
    pub cache: Option<PathBuf>,
    /// Id in `/server_info`.
    pub node: String,
    /// Where `host_env_keys` are looked up.
    pub environment: Environment,
    /// Times and memory of the machines.
    pub vm: VmSettings,
}

impl Default for Options {
    /// One worker, no cache, this process's environment.
    fn default() -> Self {
        Self {
            workers: 1,
            cache: None,
            node: String::new(),
            environment: Arc::new(|name| std::env::var(name).ok()),
            vm: VmSettings::default(),
        }
    }
}

/// Why the gateway does not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The engine, which every module needs.
    #[error("wasmtime: {0}")]
    Engine(String),
    /// A module, or what is configured in it.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// A socket.
    #[error("{what}: {source}")]
    Bind {
        /// Listener and address.
        what: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// Certificates and keys.
    #[error("{what}: {problem}")]
    Tls {
        /// Listener or cluster.
        what: String,
        /// What is wrong.
        problem: String,
    },
    /// Plain HTTP where others could listen in.
    #[error("{0}: expected TLS, or a loopback address: plain HTTP stays on this machine")]
    Plain(String),
    /// A thread.
    #[error("cannot start a worker: {0}")]
    Thread(std::io::Error),
}

/// A listener that is bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound {
    /// Its name in the file.
    pub name: String,
    /// Its address, with the port that the system chose.
    pub address: SocketAddr,
    /// Whether it speaks TLS.
    pub tls: bool,
}

/// What is running, for the start-up report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Listeners in the order of the file.
    pub listeners: Vec<Bound>,
    /// The admin interface.
    pub admin: Option<SocketAddr>,
    /// Threads.
    pub workers: usize,
    /// Files of the modules, each once.
    pub modules: Vec<String>,
    /// From the call of [`start`] until it served.
    pub took: Duration,
}

/// A gateway that runs; dropping it ends it without waiting for requests.
pub struct Running {
    report: Report,
    process: Arc<Process>,
    phase: watch::Sender<Phase>,
    workers: Vec<JoinHandle<()>>,
    admin: Option<JoinHandle<()>>,
    log: Option<log::Writer>,
}

impl Running {
    /// What runs.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// Waits until somebody has asked for the end at the admin interface
    /// (`POST /quitquitquit`).
    pub async fn asked_to_end(&self) {
        self.process.end.notified().await;
    }

    /// Takes no more connections, gives requests that run at most `grace`, lets the modules
    /// send what they hold (`proxy_on_done`), and ends the workers.
    pub fn stop(mut self, grace: Duration) {
        self.end(grace);
    }

    fn end(&mut self, grace: Duration) {
        self.phase.send_replace(Phase::Drain(grace));
        let workers = self.workers.drain(..);
        workers.for_each(|worker| drop(worker.join()));
        self.process.over.notify_one();
        if let Some(admin) = self.admin.take() {
            let _ = admin.join();
        }
        if let Some(log) = self.log.take() {
            log.join();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end(Duration::ZERO);
    }
}

/// Does everything of [`start`] but serving: compiles the modules, configures them, loads
/// certificates. Sockets are not bound.
pub fn check(gateway: Gateway, options: Options) -> Result<(), ServeError> {
    refuse_plain(&gateway)?;
    let certificates = Certificates::load(&gateway)?;
    let engine = engine(&options)?;
    let programs = Programs::load(&engine, &gateway)?;
    let process = Arc::new(Process::new(options.node.clone(), gateway));
    let (lines, log) = log::start(&process).map_err(ServeError::Thread)?;
    let (sender, phase) = watch::channel(Phase::Drain(Duration::ZERO));
    let plan = Plan {
        process,
        programs,
        sockets: Vec::new(),
        clients: certificates.clients,
        environment: options.environment,
        vm: options.vm,
        lines,
        phase,
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
    refuse_plain(&gateway)?;
    let certificates = Certificates::load(&gateway)?;
    let (sockets, listeners) = bind_all(&gateway)?;
    let admin_socket = gateway.admin.as_ref().map(|address| bind("admin", address)).transpose()?;
    let admin_address = admin_socket.as_ref().map(|(_, address)| *address);
    let engine = engine(&options)?;
    let programs = Programs::load(&engine, &gateway)?;
    let mut modules: Vec<String> =
        plugins(&gateway).into_iter().map(|plugin| plugin.module.clone()).collect();
    modules.sort();
    modules.dedup();
    let workers = options.workers.max(1);
    let process = Arc::new(Process::new(options.node.clone(), gateway));
    let (lines, log) = log::start(&process).map_err(ServeError::Thread)?;
    let (sender, phase) = watch::channel(Phase::Serve);
    let report = Report { listeners, admin: admin_address, workers, modules, took: Duration::ZERO };
    let mut running = Running {
        report,
        process: Arc::clone(&process),
        phase: sender,
        workers: Vec::new(),
        admin: None,
        log: Some(log),
    };
    let mut all_ready = Vec::new();
    for number in 0..workers {
        let plan = Plan {
            process: Arc::clone(&process),
            programs: programs.clone(),
            sockets: shared(&sockets, &certificates.servers)?,
            clients: certificates.clients.clone(),
            environment: Arc::clone(&options.environment),
            vm: options.vm.clone(),
            lines: lines.clone(),
            phase: phase.clone(),
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
    if let Some((socket, _)) = admin_socket {
        let listeners = running.report.listeners.clone();
        let thread = std::thread::Builder::new().name("postern-admin".to_owned());
        let thread = thread.spawn(move || admin::run(socket, process, listeners));
        running.admin = Some(thread.map_err(ServeError::Thread)?);
    }
    running.report.took = began.elapsed();
    Ok(running)
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
    let settings = EngineSettings { cache: options.cache.clone() };
    Engine::new(&settings).map_err(ServeError::Engine)
}

/// Plain HTTP only where nobody else can listen in.
fn refuse_plain(gateway: &Gateway) -> Result<(), ServeError> {
    let plain = gateway.listeners.iter().filter(|listener| listener.tls.is_none());
    let plain = plain.map(|listener| (format!("listener {:?}", listener.name), &listener.address));
    let admin = gateway.admin.iter().map(|address| ("admin".to_owned(), address));
    for (what, address) in plain.chain(admin) {
        let is_loopback = address.host.parse().is_ok_and(|host: IpAddr| host.is_loopback());
        if !is_loopback {
            return Err(ServeError::Plain(what));
        }
    }
    Ok(())
}

/// Everything for TLS, read before anything runs.
struct Certificates {
    /// In the order of the listeners.
    servers: Vec<Option<Arc<rustls::ServerConfig>>>,
    /// By name of the cluster.
    clients: BTreeMap<String, tls::Client>,
}

impl Certificates {
    fn load(gateway: &Gateway) -> Result<Self, ServeError> {
        let named = |what: String| move |problem| ServeError::Tls { what, problem };
        let servers = gateway.listeners.iter().map(|listener| {
            let tls = listener.tls.as_ref().map(tls::server).transpose();
            tls.map_err(named(format!("listener {:?}", listener.name)))
        });
        let servers = servers.collect::<Result<_, _>>()?;
        let mut clients = BTreeMap::new();
        for (name, cluster) in &gateway.clusters {
            if let Some(settings) = &cluster.tls {
                let client = tls::client(settings).map_err(named(format!("cluster {name:?}")))?;
                clients.insert(name.clone(), client);
            }
        }
        Ok(Self { servers, clients })
    }
}

fn bind(what: &str, address: &Address) -> Result<(TcpListener, SocketAddr), ServeError> {
    let named = || format!("{what}: {}:{}", address.host, address.port);
    let bound = TcpListener::bind((address.host.as_str(), address.port)).and_then(|socket| {
        socket.set_nonblocking(true)?;
        let address = socket.local_addr()?;
        Ok((socket, address))
    });
    bound.map_err(|source| ServeError::Bind { what: named(), source })
}

fn bind_all(gateway: &Gateway) -> Result<(Vec<TcpListener>, Vec<Bound>), ServeError> {
    let mut sockets = Vec::new();
    let mut bounds = Vec::new();
    for listener in &gateway.listeners {
        let what = format!("listener {:?}", listener.name);
        let (socket, address) = bind(&what, &listener.address)?;
        sockets.push(socket);
        let tls = listener.tls.is_some();
        bounds.push(Bound { name: listener.name.clone(), address, tls });
    }
    Ok((sockets, bounds))
}

/// The same sockets for one more worker.
fn shared(
    sockets: &[TcpListener],
    servers: &[Option<Arc<rustls::ServerConfig>>],
) -> Result<Vec<(TcpListener, Option<Arc<rustls::ServerConfig>>)>, ServeError> {
    let copies = sockets.iter().zip(servers);
    let copies = copies.map(|(socket, tls)| Ok((socket.try_clone()?, tls.clone())));
    copies.collect::<std::io::Result<_>>().map_err(ServeError::Thread)
}
