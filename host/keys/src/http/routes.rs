//! Paths, and the limits that every request passes first.

use std::sync::Arc;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64;
use postern_crp::envelope::MAX_BODY;
use serde::Deserialize;
use tokio::sync::Semaphore;

use super::door::Activity;
use super::now;
use crate::config::Limits;
use crate::operator_auth::{self, Fields};
use crate::service::{HttpAnswer, Service};

/// Most contents that are read at a time: 128 MiB of them. Beyond it 503.
const READERS: usize = 2048;
/// Shortest and longest nonce of an evidence challenge.
const CHALLENGE: std::ops::RangeInclusive<usize> = 16..=64;

#[derive(Clone)]
struct Shell {
    service: Service,
    limits: Limits,
    readers: Arc<Semaphore>,
    slots: Arc<Semaphore>,
}

/// A request whose content was read within its limits.
struct Read {
    method: Method,
    uri: axum::http::Uri,
    headers: HeaderMap,
    body: Bytes,
}

pub(super) fn router(service: Service, limits: Limits) -> Router {
    let slots = Arc::new(Semaphore::new(limits.in_flight));
    let readers = Arc::new(Semaphore::new(READERS));
    let shell = Shell { service, limits, readers, slots };
    Router::new()
        .route("/health", get(serve))
        .route("/ready", get(serve))
        .route("/crp/v1/evidence", get(serve).post(serve))
        .route("/crp/v1/message", post(serve))
        .route("/audit/signing-key", get(serve))
        .fallback(serve)
        .with_state(shell)
}

/// The content, a place, the answer: all of it within the time of one request.
async fn serve(
    State(shell): State<Shell>,
    Extension(activity): Extension<Activity>,
    request: Request,
) -> Response {
    let _busy = activity.begin();
    let answer = tokio::time::timeout(shell.limits.request, shell.work(request)).await;
    respond(answer.unwrap_or_else(|_| HttpAnswer::empty(503)))
}

impl Shell {
    /// A request takes one of the few places only when it is here whole: whoever sends
    /// slowly keeps nobody out.
    async fn work(&self, request: Request) -> HttpAnswer {
        let Ok(reading) = self.readers.try_acquire() else { return HttpAnswer::empty(503) };
        let (head, body) = request.into_parts();
        let Ok(body) = content(body).await else { return HttpAnswer::empty(413) };
        let Ok(_slot) = self.slots.try_acquire() else { return HttpAnswer::empty(503) };
        drop(reading);
        let read = Read { method: head.method, uri: head.uri, headers: head.headers, body };
        answer(&self.service, &read).await
    }
}

async fn content(body: Body) -> Result<Bytes, axum::Error> {
    to_bytes(body, MAX_BODY).await
}

async fn answer(service: &Service, read: &Read) -> HttpAnswer {
    match read.uri.path() {
        "/health" => health(service, true).await,
        "/ready" => health(service, false).await,
        "/crp/v1/evidence" => evidence(service, read).await,
        "/crp/v1/message" => message(service, read).await,
        "/audit/signing-key" => HttpAnswer::json(&serde_json::json!({
            "alg": "Ed25519", "key": B64.encode(service.audit_key().as_bytes()),
        })),
        _ => operator(service, read).await,
    }
}

/// `/health` answers 200 while the process lives and says whether it is ready; `/ready`
/// is 503 until it is.
async fn health(service: &Service, alive_is_enough: bool) -> HttpAnswer {
    let ready = service.ready(now()).await;
    let mut answer = HttpAnswer::json(&serde_json::json!({
        "ready": ready, "evidence": "sim", "attestation": "SIMULATED",
        "version": env!("CARGO_PKG_VERSION"),
    }));
    if !ready && !alive_is_enough {
        answer.status = 503;
    }
    answer
}

async fn evidence(service: &Service, read: &Read) -> HttpAnswer {
    if read.method == Method::GET {
        return service.evidence(None, now()).await;
    }
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Challenge {
        nonce: String,
    }
    let challenge = serde_json::from_slice::<Challenge>(&read.body).ok();
    let nonce = challenge.and_then(|challenge| B64.decode(challenge.nonce).ok());
    match nonce.filter(|nonce| CHALLENGE.contains(&nonce.len())) {
        Some(nonce) => service.evidence(Some(&nonce), now()).await,
        None => {
            HttpAnswer::problem(400, "bad_request", "Expected nonce: 16 to 64 bytes, base64url")
        }
    }
}

async fn message(service: &Service, read: &Read) -> HttpAnswer {
    let kind = read.headers.get(header::CONTENT_TYPE);
    if kind.is_none_or(|kind| kind.as_bytes() != b"application/crp") {
        return HttpAnswer::empty(400);
    }
    service.message(&read.body, now()).await
}

async fn operator(service: &Service, read: &Read) -> HttpAnswer {
    let host = read.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let authority = read.uri.authority().map(|authority| authority.as_str()).or(host);
    let request = operator_auth::Request {
        method: read.method.as_str(),
        authority: authority.unwrap_or_default(),
        path: read.uri.path(),
        query: read.uri.query().unwrap_or_default(),
        body: &read.body,
    };
    service.operator_request(&request, fields(&read.headers).as_ref(), now()).await
}

/// The three signature fields, each exactly once.
fn fields(headers: &HeaderMap) -> Option<Fields> {
    let one = |name: &str| {
        let mut values = headers.get_all(name).iter();
        let first = values.next()?.to_str().ok()?.to_owned();
        values.next().is_none().then_some(first)
    };
    Some(Fields {
        content_digest: one("content-digest")?,
        signature_input: one("signature-input")?,
        signature: one("signature")?,
    })
}

fn respond(answer: HttpAnswer) -> Response {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, answer.body).into_response();
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_TYPE);
    if !answer.content_type.is_empty() {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(answer.content_type));
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("x-crp-attestation", HeaderValue::from_static("SIMULATED"));
    response
}
