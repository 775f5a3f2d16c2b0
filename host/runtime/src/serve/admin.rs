//! The admin interface: whether it is ready, where it listens, what it counts, what it runs.
//!
//! Runs on a thread of its own, so that it answers while every worker is busy. Invariant:
//! it shows of the configuration what [`crate::config`] lets be shown, and nothing of a
//! request; it listens on loopback, and no page of a browser ends the gateway.

use std::net::TcpListener as Socket;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::header::{CONTENT_TYPE, ORIGIN};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::time::sleep;

use super::process::{self, Process};
use super::{Bound, clusters, stats};
use crate::config::Pattern;

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
        .route("/ready", get(ready))
        .route("/server_info", get(server_info))
        .route("/clusters", get(clusters))
        .route("/config_dump", get(config_dump))
        .route("/listeners", get(listeners))
        .route("/stats", get(all_stats))
        .route("/stats/prometheus", get(prometheus))
        .route("/quitquitquit", post(quit))
        .with_state(shared)
}

const PAGES: &str = "\
/ready             LIVE once it serves, until it ends
/server_info       state, uptime, node, version
/config_dump       the file as it was read, without what could be a secret
/clusters          limits, hosts and counts; ?format=json
/listeners         names and addresses; ?format=json
/stats             counters and gauges; ?filter=regex, ?usedonly, ?format=json
/stats/prometheus  the same for Prometheus
/quitquitquit      POST: end after the requests that run
";

async fn ready(State(shared): State<Shared>) -> impl IntoResponse {
    let state = shared.process.state();
    let live = state == process::State::Live;
    let status = if live { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, format!("{}\n", state.name()))
}

async fn server_info(State(shared): State<Shared>) -> impl IntoResponse {
    let uptime = format!("{}s", shared.process.began.elapsed().as_secs());
    let document = json!({
        "version": format!("postern/{}", env!("CARGO_PKG_VERSION")),
        "state": shared.process.state().name(),
        "uptime_current_epoch": uptime,
        "uptime_all_epochs": uptime,
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

/// The file, as the one configuration that there is.
async fn config_dump(State(shared): State<Shared>) -> impl IntoResponse {
    let bootstrap = json!({
        "@type": "type.googleapis.com/envoy.admin.v3.BootstrapConfigDump",
        "bootstrap": shared.process.gateway.shown,
    });
    as_json(&json!({"configs": [bootstrap]}))
}

async fn clusters(State(shared): State<Shared>, query: Query<Format>) -> impl IntoResponse {
    if query.format.as_deref() != Some("json") {
        return clusters::text(&shared.process).into_response();
    }
    as_json(&clusters::json(&shared.process)).into_response()
}

#[derive(serde::Deserialize)]
struct Wanted {
    filter: Option<String>,
    usedonly: Option<String>,
    format: Option<String>,
}

async fn all_stats(State(shared): State<Shared>, query: Query<Wanted>) -> Response {
    let filter = query.filter.as_deref().map(Pattern::anywhere).transpose();
    let filter = match filter {
        Ok(filter) => filter,
        Err(problem) => return (StatusCode::BAD_REQUEST, problem + "\n").into_response(),
    };
    let fits = |stat: &stats::Stat| {
        let named = filter.as_ref().is_none_or(|filter| filter.fits(stat.name.as_bytes()));
        named && (stat.used || query.usedonly.is_none())
    };
    let stats = stats::all(&shared.process).into_iter().filter(fits);
    match query.format.as_deref() {
        None | Some("text") => stats
            .map(|it| format!("{}: {}\n", it.name, it.value))
            .collect::<String>()
            .into_response(),
        Some("json") => {
            let stats: Vec<Value> =
                stats.map(|it| json!({"name": it.name, "value": it.value})).collect();
            as_json(&json!({"stats": stats})).into_response()
        }
        Some("prometheus") => prometheus(State(shared)).await.into_response(),
        Some(_) => (StatusCode::BAD_REQUEST, "expected text, json or prometheus\n").into_response(),
    }
}

async fn prometheus(State(shared): State<Shared>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], stats::prometheus(&shared.process))
}

/// Whatever page somebody looks at on this machine could ask as well, and would say whose it is.
async fn quit(State(shared): State<Shared>, fields: HeaderMap) -> impl IntoResponse {
    if fields.contains_key(ORIGIN) {
        return (StatusCode::FORBIDDEN, "expected no origin\n");
    }
    shared.process.end.notify_one();
    (StatusCode::OK, "OK\n")
}

fn as_json(document: &Value) -> impl IntoResponse + use<> {
    ([(CONTENT_TYPE, "application/json")], format!("{document:#}\n"))
}
