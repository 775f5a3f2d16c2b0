//! The gateway with its sockets: what `postern gateway` runs.
//!
//! Owns threads, sockets and timers. Each worker is one thread with its own machines,
//! connections to upstreams and streams; all decisions about a stream are made in
//! [`crate::proxy`], which is told what happened and says what to do.
//!
//! Invariant: on the way of a request a worker waits for no other but at the locks of shared
//! data and where lines of the access log are handed over, and whatever goes wrong on one
//! connection ends that connection.

mod admin;
mod begin;
mod call;
mod caller;
mod certificate;
mod clusters;
mod conn;
mod connection;
mod desk;
pub(crate) mod facts;
mod files;
mod filtered;
pub(crate) mod forward;
mod going;
mod grpc;
mod hosts;
mod http2;
mod log;
mod process;
mod reload;
mod sockets;
mod stats;
mod stream;
mod timers;
mod tls;
mod upstream;

mod worker;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::watch;

pub use begin::{check, start};

use crate::engine::VmSettings;
use crate::proxy::launch::LaunchError;
use desk::Phase;
use process::{Process, State};

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
    /// Whether a module that is built again is loaded while the gateway runs.
    pub watch: bool,
    /// Whether traces tell what callbacks compute.
    pub fuel: bool,
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
            watch: false,
            fuel: false,
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
    reloader: Option<reload::Reloader>,
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
        self.process.enter(State::Draining);
        if let Some(reloader) = self.reloader.take() {
            reloader.stop();
        }
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
