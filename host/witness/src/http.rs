//! `POST /add-checkpoint` on a socket (C2SP tlog-witness).
//!
//! Owns the clock and the socket, and decides nothing. Plain HTTP: a server in front of it has
//! the certificate. Invariant: a request is bounded in size and time, and so is a
//! connection that asks nothing.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum_server::Handle;
use hyper_util::rt::TokioTimer;
use postern_tlog::proof::LENGTH;
use postern_tlog::witness::Refused;
use tokio::task::JoinHandle;

use crate::{NotSigned, Witness};

/// Longest wait for a request's head, and for its content.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long open requests may take to finish once the end was asked for.
const GRACE: Duration = Duration::from_secs(2);

/// A running server.
pub struct Running {
    address: SocketAddr,
    handle: Handle<SocketAddr>,
    server: JoinHandle<io::Result<()>>,
}

/// Serves until [`Running::stop`].
///
/// # Errors
/// When the socket cannot be used.
pub fn serve(witness: Witness, listener: TcpListener) -> io::Result<Running> {
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let handle = Handle::new();
    let mut server = axum_server::from_tcp(listener)?.handle(handle.clone());
    let mut http = server.http_builder().http1();
    http.timer(TokioTimer::new()).header_read_timeout(PATIENCE);
    let app = Router::new().route("/add-checkpoint", post(add)).with_state(Arc::new(witness));
    let server = tokio::spawn(async move { server.serve(app.into_make_service()).await });
    Ok(Running { address, handle, server })
}

impl Running {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no new requests and lets the open ones finish.
    ///
    /// # Errors
    /// When the server had ended badly.
    pub async fn stop(self) -> io::Result<()> {
        self.handle.graceful_shutdown(Some(GRACE));
        self.server.await.map_err(io::Error::other)?
    }
}

async fn add(State(witness): State<Arc<Witness>>, body: Body) -> Response {
    let Ok(body) = tokio::time::timeout(PATIENCE, to_bytes(body, LENGTH)).await else {
        return StatusCode::REQUEST_TIMEOUT.into_response();
    };
    let Ok(body) = body.map_err(drop).and_then(|body| text(&body)) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let answer = tokio::task::spawn_blocking(move || witness.add(&body, now())).await;
    match answer {
        Ok(Ok(line)) => line.into_response(),
        Ok(Err(NotSigned::Refused(why))) => refused(why),
        Ok(Err(NotSigned::Fault(_))) | Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

fn text(body: &[u8]) -> Result<String, ()> {
    str::from_utf8(body).map(str::to_owned).map_err(drop)
}

fn refused(why: Refused) -> Response {
    let status = StatusCode::from_u16(why.status()).unwrap_or(StatusCode::BAD_REQUEST);
    match why {
        Refused::Conflict(size) => {
            (status, [(header::CONTENT_TYPE, "text/x.tlog.size")], format!("{size}\n"))
                .into_response()
        }
        _ => (status, format!("{why}\n")).into_response(),
    }
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
