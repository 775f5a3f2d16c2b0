//! The HTTP shell: TLS, limits, and one line from each path to the service.
//!
//! Owns the clock and the sockets of this crate and decides nothing. Plain HTTP is not
//! served. Invariant: connections are bounded in number and in idle time, a request is bounded in size and time before the service sees it,
//! and every answer says when its evidence is simulated.

mod door;
mod routes;
mod stream;

use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum_server::Handle;
use axum_server::tls_rustls::RustlsConfig;
use postern_core::redacted::Redacted;
use postern_core::time::UnixMillis;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use crate::config::Config;
use crate::fault::Fault;
use crate::service::Service;
use crate::tls;

/// How long open requests may take to finish once the end was asked for.
const GRACE: Duration = Duration::from_secs(5);

/// A running server.
pub struct Running {
    address: SocketAddr,
    service: Service,
    handle: Handle<SocketAddr>,
    server: JoinHandle<std::io::Result<()>>,
    upkeep: [JoinHandle<()>; 4],
}

/// Binds, then serves until [`Running::stop`].
///
/// # Errors
/// When the address is taken or the TLS files are no good.
pub async fn start(service: Service, config: &Config) -> Result<Running, Fault> {
    let tls = RustlsConfig::from_config(tls::server_config(config)?);
    let listener = TcpListener::bind(config.listen).map_err(|e| listen_fault(config, &e))?;
    listener.set_nonblocking(true).map_err(|e| listen_fault(config, &e))?;
    let address = listener.local_addr().map_err(|e| listen_fault(config, &e))?;
    let handle = Handle::new();
    let limits = config.limits;
    let door = door::Door::new(limits.connections, limits.idle);
    let mut server = axum_server::from_tcp_rustls(listener, tls)
        .map_err(|e| listen_fault(config, &e))?
        .map(|acceptor| acceptor.acceptor(door))
        .handle(handle.clone());
    server.http_builder().http2().max_concurrent_streams(64);
    let app = routes::router(service.clone(), limits, config.clients.is_some()).into_make_service();
    let server = tokio::spawn(async move { server.serve(app).await });
    let upkeep = [
        tokio::spawn(upkeep(service.clone())),
        tokio::spawn(renewal(service.clone())),
        tokio::spawn(telling(service.clone())),
        tokio::spawn(witnessing(service.clone())),
    ];
    Ok(Running { address, service, handle, server, upkeep })
}

impl Running {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no new requests, lets the open ones finish, signs a last checkpoint.
    pub async fn stop(self) {
        self.handle.graceful_shutdown(Some(GRACE));
        if let Ok(Err(error)) = self.server.await {
            tracing::error!(error = %Redacted::new(&error.to_string()), "server ended badly");
        }
        self.upkeep.iter().for_each(JoinHandle::abort);
        self.service.close(now()).await;
    }
}

/// Each second what is due; each minute a reminder of what this evidence is worth.
async fn upkeep(service: Service) {
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    let mut count: u64 = 0;
    loop {
        seconds.tick().await;
        if count.is_multiple_of(60) && service.attestation().0 == "sim" {
            tracing::warn!(
                "SIMULATED attestation: evidence is signed by a development key and proves nothing \
                 about this machine; do not store real credentials"
            );
        }
        count = count.wrapping_add(1);
        if let Err(fault) = service.maintain(now()).await {
            tracing::error!(%fault, "upkeep failed");
        }
    }
}

/// Each second a look whether evidence will soon be old, beside everything else: making it
/// may wait for the attestation service. What fails was logged there.
async fn renewal(service: Service) {
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        seconds.tick().await;
        let _ = service.renew_evidence(now()).await;
    }
}

/// Each second a look whether people are to be told of something.
async fn telling(service: Service) {
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        seconds.tick().await;
        if let Err(fault) = service.notify(now()).await {
            tracing::error!(%fault, "notifications failed");
        }
    }
}

/// Each second a look whether a witness is to be asked.
async fn witnessing(service: Service) {
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        seconds.tick().await;
        if let Err(fault) = service.ask_witnesses(now()).await {
            tracing::error!(%fault, "asking witnesses failed");
        }
    }
}

/// The clock of the shell; the service takes time as an argument.
pub fn now() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

fn listen_fault(config: &Config, error: &std::io::Error) -> Fault {
    Fault::File { path: config.listen.to_string(), why: Redacted::new(&error.to_string()) }
}
