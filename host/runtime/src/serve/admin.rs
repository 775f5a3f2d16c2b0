//! The admin interface: whether it is ready, where it listens, what it counts.
//!
//! Runs on a thread of its own, so that it answers while every worker is busy. Invariant:
//! it never shows configuration, fields or values of a request; it listens on loopback.

use std::net::TcpListener as Socket;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::time::sleep;

use super::process::Process;
use super::{Bound, stats};

/// Time for answers that are on their way when the gateway ends; a client that is silent in
/// the middle of its request does not hold it up.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// What the handlers share.
#[derive(Clone)]
struct Shared {
    process: Arc<Process>,
    listeners: Arc<Vec<Bound>>,
}

/// Serves until the process ends.
pub(super) fn run(socket: Socket, process: Arc<Process>, listeners: Vec<Bound>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let Ok(runtime) = runtime else { return };
    let ends = Arc::clone(&process);
    let router = router(Shared { process, listeners: Arc::new(listeners) });
    runtime.block_on(async move {
        let Ok(listener) = TcpListener::from_std(socket) else { return };
        let (sender, over) = oneshot::channel::<()>();
        let served = axum::serve(listener, router);
        let served = served.with_graceful_shutdown(async move { drop(over.await) });
        tokio::select! {
            _ = served => {}
            () = async {
                ends.over.notified().await;
                drop(sender);
                sleep(LAST_ANSWERS).await;
            } => {}
        }
    });
    runtime.shutdown_background();
}

fn router(shared: Shared) -> Router {
    Router::new()
        .route("/", get(|| async { PAGES }))
        .route("/ready", get(|| async { "LIVE\n" }))
        .route("/server_info", get(server_info))
        .route("/listeners", get(listeners))
        .route("/stats", get(all_stats))
        .route("/stats/prometheus", get(prometheus))
        .route("/quitquitquit", post(quit))
        .with_state(shared)
}

const PAGES: &str = "\
/ready             LIVE once it serves
/server_info       node, version
/listeners         names and addresses; ?format=json
/stats             counters and gauges; ?filter=text
/stats/prometheus  the same for Prometheus
/quitquitquit      POST: end after the requests that run
";

async fn server_info(State(shared): State<Shared>) -> impl IntoResponse {
    let document = json!({
        "version": format!("postern/{}", env!("CARGO_PKG_VERSION")),
        "state": "LIVE",
        "node": {"id": shared.process.node},
    });
    as_json(&document)
}

#[derive(serde::Deserialize)]
struct Format {
    format: Option<String>,
}

async fn listeners(State(shared): State<Shared>, query: Query<Format>) -> impl IntoResponse {
    if query.format.as_deref() != Some("json") {
        let lines = shared.listeners.iter().map(|it| format!("{}::{}\n", it.name, it.address));
        return lines.collect::<String>().into_response();
    }
    let status = |bound: &Bound| {
        let socket = json!({
            "address": bound.address.ip().to_string(),
            "port_value": bound.address.port(),
        });
        json!({"name": bound.name, "local_address": {"socket_address": socket}})
    };
    let statuses: Vec<Value> = shared.listeners.iter().map(status).collect();
    as_json(&json!({"listener_statuses": statuses})).into_response()
}

#[derive(serde::Deserialize)]
struct Filter {
    filter: Option<String>,
}

async fn all_stats(State(shared): State<Shared>, query: Query<Filter>) -> String {
    let wanted = query.filter.as_deref().unwrap_or_default();
    let lines = stats::all(&shared.process).into_iter();
    let lines = lines.filter(|(name, _)| name.contains(wanted));
    lines.map(|(name, value)| format!("{name}: {value}\n")).collect()
}

async fn prometheus(State(shared): State<Shared>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], stats::prometheus(&shared.process))
}

async fn quit(State(shared): State<Shared>) -> &'static str {
    shared.process.end.notify_one();
    "OK\n"
}

fn as_json(document: &Value) -> impl IntoResponse + use<> {
    ([(CONTENT_TYPE, "application/json")], format!("{document:#}\n"))
}
