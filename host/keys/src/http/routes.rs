//! Paths, and the limits that every request passes first.

use std::net::IpAddr;
use std::sync::Arc;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Extension, Router};
use axum_server::tls::TlsInfo;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64;
use postern_crp::envelope::MAX_BODY;
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::door::Activity;
use super::{now, stream};
use crate::admin::{Answered, EXPORT_TYPE};
use crate::config::Limits;
use crate::memory;
use crate::operator_auth::{self, Fields};
use crate::pages;
use crate::service::{HttpAnswer, Service};

/// Most contents that are read at a time: 128 MiB of them. Beyond it 503.
const READERS: usize = 2048;
/// Answers that read the whole chain, and how many of them are given at a time.
const CHAIN: [&str; 3] = ["/audit/export", "/audit/integrity", "/api/v1/audit"];
const CHAINS: usize = 2;
/// Challenges that may wait for their report. They take no place of other requests.
const CHALLENGES: usize = postern_crp::evidence::challenge::MOST;
const EVIDENCE: &str = "/crp/v1/evidence";
/// Shortest and longest nonce of an evidence challenge.
const CHALLENGE: std::ops::RangeInclusive<usize> = 16..=64;

#[derive(Clone)]
struct Shell {
    service: Service,
    limits: Limits,
    /// Client certificates are demanded.
    clients: bool,
    readers: Arc<Semaphore>,
    slots: Arc<Semaphore>,
    chains: Arc<Semaphore>,
    challenges: Arc<Semaphore>,
}

/// A request whose content was read within its limits.
struct Read {
    method: Method,
    uri: axum::http::Uri,
    headers: HeaderMap,
    body: Bytes,
}

pub(super) fn router(service: Service, limits: Limits, clients: bool) -> Router {
    let slots = Arc::new(Semaphore::new(limits.in_flight));
    let readers = Arc::new(Semaphore::new(READERS));
    let chains = Arc::new(Semaphore::new(CHAINS));
    let challenges = Arc::new(Semaphore::new(CHALLENGES));
    let shell = Shell { service, limits, clients, readers, slots, chains, challenges };
    Router::new()
        .route("/health", get(serve))
        .route("/ready", get(serve))
        .route(EVIDENCE, get(serve).post(serve))
        .route("/crp/v1/message", post(serve))
        .route("/crp/v1/revocations", get(serve))
        .route("/audit/signing-key", get(serve))
        .fallback(serve)
        .with_state(shell)
}

/// Every answer says what the evidence is worth.
async fn serve(
    State(shell): State<Shell>,
    activity: Extension<Activity>,
    tls: Extension<Arc<TlsInfo>>,
    request: Request,
) -> Response {
    let attestation = shouted(&shell.service);
    // Before anything of the request is read.
    let refused = shell.demands_certificate(&request) && tls.peer_certificates.is_empty();
    let mut response = match refused {
        true => status(403),
        false => served(shell, activity, request).await,
    };
    let headers = response.headers_mut();
    headers.insert("x-crp-attestation", HeaderValue::from_static(attestation));
    response
}

/// The label of the evidence, in capitals where it proves nothing.
fn shouted(service: &Service) -> &'static str {
    match service.attestation() {
        ("sim", _) => "SIMULATED",
        (_, label) => label,
    }
}

/// The content, a place, the answer: all of it within the time of one request, but for an
/// answer that reads the whole chain, which has a time of its own.
async fn served(
    shell: Shell,
    Extension(activity): Extension<Activity>,
    request: Request,
) -> Response {
    let (busy, start) = (activity.begin(), Instant::now());
    let end = start + shell.limits.request;
    let Ok(taken) = timeout_at(end, shell.take(request)).await else { return status(503) };
    let (read, reading) = match taken {
        Ok(taken) => taken,
        Err(refusal) => return status(refusal),
    };
    let reads_chain = CHAIN.contains(&read.uri.path());
    let end = if reads_chain { start + shell.limits.audit } else { end };
    let chain = if reads_chain { timeout_at(end, shell.chain_turn()).await.ok() } else { None };
    let Ok(slot) = shell.places(&read).try_acquire_owned() else { return status(503) };
    drop(reading);
    if read.uri.path().starts_with(pages::ROOT) {
        let page = timeout_at(end, page(&shell.service, &read, activity.peer())).await;
        return page.map_or_else(|_| status(503), rendered);
    }
    match timeout_at(end, answer(&shell.service, &read)).await {
        Ok(Answered::Whole(answer)) => respond(answer),
        Ok(Answered::Export(export)) => {
            let held = (busy, slot, chain);
            let body = stream::content(shell.service.clone(), export, end, held);
            finish(200, EXPORT_TYPE, body)
        }
        Err(_) => status(503),
    }
}

impl Shell {
    /// Whether only a client with a certificate may ask this. Where every connection needs one,
    /// there is no connection without.
    fn demands_certificate(&self, request: &Request) -> bool {
        self.clients && request.uri().path().starts_with("/crp/")
    }

    /// A request takes one of the few places only when it is here whole: whoever sends
    /// slowly keeps nobody out. Until then it is one of [`READERS`].
    async fn take(&self, request: Request) -> Result<(Read, OwnedSemaphorePermit), u16> {
        let reading = Arc::clone(&self.readers).try_acquire_owned().map_err(|_| 503_u16)?;
        let (head, body) = request.into_parts();
        let body = content(body).await.map_err(|_| 413_u16)?;
        Ok((Read { method: head.method, uri: head.uri, headers: head.headers, body }, reading))
    }

    /// Where a request takes its place: a flood of challenges keeps nobody else out.
    fn places(&self, read: &Read) -> Arc<Semaphore> {
        let challenge = read.uri.path() == EVIDENCE && read.method != Method::GET;
        Arc::clone(if challenge { &self.challenges } else { &self.slots })
    }

    /// Few read the chain at a time; the others wait for them.
    async fn chain_turn(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.chains).acquire_owned().await.ok()
    }
}

async fn content(body: Body) -> Result<Bytes, axum::Error> {
    to_bytes(body, MAX_BODY).await
}

async fn answer(service: &Service, read: &Read) -> Answered {
    Answered::Whole(match read.uri.path() {
        "/health" => health(service, true).await,
        "/ready" => health(service, false).await,
        EVIDENCE => evidence(service, read).await,
        "/crp/v1/message" => message(service, read).await,
        "/crp/v1/revocations" => revocations(service, read).await,
        "/audit/signing-key" => HttpAnswer::json(&serde_json::json!({
            "alg": "Ed25519", "key": B64.encode(service.audit_key().as_bytes()),
        })),
        _ => return operator(service, read).await,
    })
}

/// `/health` answers 200 while the process lives and says whether it is ready; `/ready`
/// is 503 until it is.
async fn health(service: &Service, alive_is_enough: bool) -> HttpAnswer {
    let ready = service.ready(now()).await;
    let memory = memory::guarded().cloned().unwrap_or_default();
    let mut answer = HttpAnswer::json(&serde_json::json!({
        "memory": {"locked": memory.locked, "undumpable": memory.undumpable},
        "ready": ready, "evidence": service.attestation().0, "attestation": shouted(service),
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

async fn revocations(service: &Service, read: &Read) -> HttpAnswer {
    let since = match read.uri.query().map(|query| query.strip_prefix("since=")) {
        None => None,
        Some(since) => match since.and_then(|since| since.parse().ok()) {
            Some(since) => Some(since),
            None => return HttpAnswer::empty(400),
        },
    };
    service.revocations(since, now()).await
}

/// What the pages need to know of a request. Nothing of it is derived from `Host`.
async fn page(service: &Service, read: &Read, peer: Option<IpAddr>) -> pages::Page {
    let cookies = read.headers.get_all(header::COOKIE).iter();
    let request = pages::Request {
        method: read.method.as_str(),
        path: read.uri.path(),
        query: read.uri.query().unwrap_or_default(),
        cookies: cookies.filter_map(|cookie| cookie.to_str().ok()).collect(),
        origin: only(&read.headers, "origin"),
        site: only(&read.headers, "sec-fetch-site"),
        body: &read.body,
        peer,
    };
    service.page(&request, now()).await
}

fn rendered(page: pages::Page) -> Response {
    let mut response = finish(page.status, "", page.body);
    for (name, value) in page.fields {
        // None of them holds what a field cannot.
        if let Ok(value) = HeaderValue::try_from(value) {
            response.headers_mut().append(name, value);
        }
    }
    response
}

async fn operator(service: &Service, read: &Read) -> Answered {
    let host = read.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let authority = read.uri.authority().map(|authority| authority.as_str()).or(host);
    let request = operator_auth::Request {
        method: read.method.as_str(),
        authority: authority.unwrap_or_default(),
        path: read.uri.path(),
        query: read.uri.query().unwrap_or_default(),
        body: &read.body,
    };
    service.operator_answer(&request, fields(&read.headers).as_ref(), now()).await
}

/// The three signature fields, each exactly once.
fn fields(headers: &HeaderMap) -> Option<Fields> {
    let one = |name: &str| only(headers, name).map(str::to_owned);
    Some(Fields {
        content_digest: one("content-digest")?,
        signature_input: one("signature-input")?,
        signature: one("signature")?,
    })
}

/// A field that is there exactly once.
fn only<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(first)
}

fn status(status: u16) -> Response {
    respond(HttpAnswer::empty(status))
}

fn respond(answer: HttpAnswer) -> Response {
    finish(answer.status, answer.content_type, answer.body)
}

fn finish(status: u16, content_type: &'static str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    if !content_type.is_empty() {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
