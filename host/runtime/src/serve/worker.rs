//! One worker: a thread with its machines, its connections and its pools.
//!
//! Invariant: everything of a request happens on the thread that has accepted it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::{Notify, watch};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{interval, sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::conn::{Conn, Transport};
use super::connection::{self, Listening, Peer};
use super::desk::{Counter, Desk, Phase};
use super::facts::{self, Connected};
use super::filtered::Passage;
use super::going::Going;
use super::log::Lines;
use super::process::{Counted, Process};
use super::reload::Change;
use super::sockets::Entry;
use super::upstream::{Cluster, SWEEP};
use super::{Environment, ServeError, tls};
use crate::engine::VmSettings;
use crate::proxy::exchange::Facts;
use crate::proxy::fields::Scheme;
use crate::proxy::launch::{Programs, Surroundings, Worker};
use crate::view::Services;

/// Time for a handshake of TLS.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Time for the modules' last call-outs when the gateway ends.
const LAST_CALLS: Duration = Duration::from_secs(2);
/// After the system has refused a connection (no more descriptors, as a rule).
const REFUSED: Duration = Duration::from_millis(100);

/// What a worker starts from.
pub(super) struct Plan {
    pub process: Arc<Process>,
    pub programs: Programs,
    /// One for each listener.
    pub sockets: Vec<Entry>,
    /// By name of the cluster.
    pub clients: BTreeMap<String, tls::Client>,
    pub environment: Environment,
    pub vm: VmSettings,
    pub lines: Lines,
    pub phase: watch::Receiver<Phase>,
    /// What it goes over to while it runs.
    pub changes: UnboundedReceiver<Change>,
    /// Nothing goes out: the file is only checked.
    pub silent: bool,
}

/// Runs a worker on this thread; `ready` is told once, when its machines are up or not.
pub(super) fn run(plan: Plan, ready: impl FnOnce(Result<(), ServeError>)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime {
        Ok(runtime) => {
            LocalSet::new().block_on(&runtime, serve(plan, ready));
            // A look-up of a name that hangs would hold the thread.
            runtime.shutdown_background();
        }
        Err(error) => ready(Err(ServeError::Thread(error))),
    }
}

async fn serve(plan: Plan, ready: impl FnOnce(Result<(), ServeError>)) {
    let desk = Rc::new(desk(&plan));
    let mut sockets = plan.sockets;
    let worker = match machines(&desk, &plan.programs, &plan.environment, &plan.vm) {
        Ok(worker) => worker,
        Err(error) => return ready(Err(error)),
    };
    let site = worker.sites.first().cloned();
    desk.passage.replace(site.map(|site| Passage::new(site, plan.lines.clone())));
    let live = Rc::new(Live::default());
    let (mut accepting, mut everywhere) = (Vec::new(), Vec::new());
    for (index, (socket, tls)) in sockets.drain(..).enumerate() {
        let listening = Rc::new(listening(&desk.process, index, &worker, &plan.lines));
        everywhere.push(Rc::clone(&listening));
        let listener = match TcpListener::from_std(socket) {
            Ok(listener) => listener,
            Err(error) => return ready(Err(ServeError::Thread(error))),
        };
        let tls = tls.map(TlsAcceptor::from);
        let door = Door { desk: Rc::clone(&desk), index, listening, tls, live: Rc::clone(&live) };
        accepting.push(spawn_local(door.accept(listener)));
    }
    let sweeping = spawn_local(sweep(Rc::clone(&desk)));
    let (environment, vm) = (plan.environment, plan.vm);
    let going = Going { desk: Rc::clone(&desk), worker, listening: everywhere, environment, vm };
    let changing = spawn_local(going.over(plan.changes));
    ready(Ok(()));
    let grace = desk.drains().await;
    accepting.iter().for_each(tokio::task::JoinHandle::abort);
    if timeout(grace, live.none_left()).await.is_err() {
        desk.cut.notify_waiters();
        let _ = timeout(LAST_CALLS, live.none_left()).await;
        // Those of HTTP/2 are cut in tasks of their own, and modules are told of each.
        let _ = timeout(LAST_CALLS, desk.no_streams()).await;
    }
    sweeping.abort();
    changing.abort();
    close(&desk).await;
}

/// Lets the modules send what they hold.
async fn close(desk: &Desk) {
    desk.stop_ticks();
    let machines = desk.machines.borrow().clone();
    machines.values().for_each(|machine| machine.borrow_mut().close());
    let answered = async {
        while desk.calls() > 0 {
            desk.calls_done.notified().await;
        }
    };
    let _ = timeout(LAST_CALLS, answered).await;
    // Machines hold the desk, and the desk holds machines.
    drop((desk.machines.take(), desk.passage.take()));
}

fn desk(plan: &Plan) -> Desk {
    let process = &plan.process;
    let cluster = |(name, config): (&String, &crate::config::Cluster)| {
        let counts = process.clusters.get(name).cloned().unwrap_or_default();
        let tls = plan.clients.get(name).cloned();
        (name.clone(), Rc::new(Cluster::new(config.clone(), counts, tls)))
    };
    let clusters = process.gateway.clusters.iter().map(cluster).collect();
    Desk::new(Arc::clone(process), clusters, plan.phase.clone(), plan.silent)
}

fn machines(
    desk: &Rc<Desk>,
    programs: &Programs,
    environment: &Environment,
    vm: &VmSettings,
) -> Result<Worker, ServeError> {
    let worker = around(desk, environment, vm, |around| {
        Worker::start(&desk.process.gateway, programs, around)
    })?;
    desk.machines.replace(worker.machines().into_iter().collect());
    Ok(worker)
}

/// What the machines of this worker get.
pub(super) fn around<T>(
    desk: &Rc<Desk>,
    environment: &Environment,
    vm: &VmSettings,
    run: impl FnOnce(&Surroundings<'_>) -> T,
) -> T {
    let services = |machine: usize, vm_id: &str| -> Rc<dyn Services> {
        let shared = desk.process.shared(vm_id);
        Rc::new(Counter { desk: Rc::clone(desk), machine, vm_id: vm_id.to_owned(), shared })
    };
    run(&Surroundings {
        variable: &|name| environment(name),
        services: &services,
        settings: vm.clone(),
    })
}

fn listening(process: &Process, index: usize, worker: &Worker, lines: &Lines) -> Listening {
    let listener = &process.gateway.listeners[index];
    Listening {
        site: RefCell::new(Rc::clone(&worker.sites[index])),
        http: listener.http.clone(),
        chain: listener.chain.clone(),
        scheme: if listener.tls.is_some() { Scheme::Https } else { Scheme::Http },
        counts: Arc::clone(&process.listeners[index]),
        lines: lines.clone(),
    }
}

async fn sweep(desk: Rc<Desk>) {
    let mut sweeps = interval(SWEEP);
    loop {
        sweeps.tick().await;
        desk.clusters.values().for_each(|cluster| cluster.sweep());
    }
}

/// Connections that are open.
#[derive(Default)]
struct Live {
    count: Cell<usize>,
    gone: Notify,
}

impl Live {
    async fn none_left(&self) {
        while self.count.get() > 0 {
            self.gone.notified().await;
        }
    }
}

/// One of them.
struct Alive(Rc<Live>);

impl Alive {
    fn new(live: &Rc<Live>) -> Self {
        live.count.set(live.count.get() + 1);
        Self(Rc::clone(live))
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.count.set(self.0.count.get() - 1);
        self.0.gone.notify_one();
    }
}

/// A listener's way in.
struct Door {
    desk: Rc<Desk>,
    /// Which of the listeners.
    index: usize,
    listening: Rc<Listening>,
    tls: Option<TlsAcceptor>,
    live: Rc<Live>,
}

impl Door {
    async fn accept(self, listener: TcpListener) {
        self.desk.serves().await;
        loop {
            let (stream, peer) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "cannot take a connection");
                    sleep(REFUSED).await;
                    continue;
                }
            };
            let counts = &self.listening.counts;
            counts.cx_total.fetch_add(1, Relaxed);
            let process = &self.desk.process;
            let most = process.gateway.max_connections.unwrap_or(u64::MAX);
            if process.connections.load(Relaxed) >= most {
                counts.cx_overflow.fetch_add(1, Relaxed);
                continue;
            }
            let everywhere = Counted::new(process, |process| &process.connections);
            let here = Counted::new(counts, |counts| &counts.cx_active);
            let (desk, listening) = (Rc::clone(&self.desk), Rc::clone(&self.listening));
            let (alive, tls) = (Alive::new(&self.live), self.tls.clone());
            let index = self.index;
            spawn_local(async move {
                let _counted = (everywhere, here, alive);
                let cut = Rc::clone(&desk);
                let serving = async move {
                    let own = desk.process.own.get(index).cloned().unwrap_or_default();
                    if let Some((conn, peer)) = open(stream, peer, tls, &own).await {
                        connection::serve(desk, listening, conn, peer).await;
                    }
                };
                tokio::select! {
                    () = serving => {}
                    () = cut.cut.notified() => {}
                }
            });
        }
    }
}

/// Numbers connections over all workers.
static CONNECTIONS: AtomicU64 = AtomicU64::new(1);

async fn open(
    stream: TcpStream,
    address: SocketAddr,
    tls: Option<TlsAcceptor>,
    own: &Facts,
) -> Option<(Conn, Peer)> {
    stream.set_nodelay(true).ok()?;
    let local = stream.local_addr().ok()?;
    let id = CONNECTIONS.fetch_add(1, Relaxed);
    let peer = |tls: Option<&rustls::ServerConnection>| {
        let facts = facts::of_connection(&Connected { id, peer: address, local, tls, own });
        let alpn = tls.and_then(|tls| tls.alpn_protocol()).map(<[u8]>::to_vec);
        Peer { address: address.ip(), facts: Rc::new(facts), alpn }
    };
    let Some(tls) = tls else {
        return Some((Conn::new(Transport::Plain(stream)), peer(None)));
    };
    match timeout(HANDSHAKE, tls.accept(stream)).await {
        Ok(Ok(stream)) => {
            let peer = peer(Some(stream.get_ref().1));
            Some((Conn::new(Transport::Tls(Box::new(stream.into()))), peer))
        }
        Ok(Err(error)) => {
            tracing::debug!(%address, %error, "no handshake");
            None
        }
        Err(_) => None,
    }
}
