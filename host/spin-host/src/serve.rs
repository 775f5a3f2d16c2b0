//! The front: connections, routes and the fields that Spin adds.
//!
//! HTTP/1.1 without TLS, so it listens on loopback only. Invariant: a request that cannot be
//! given to a component as it stands is answered here, and an instance that fails is a 500.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::Sleep;
use wasmtime_wasi_http::handler::ProxyHandler;
use wasmtime_wasi_http::{Error as HttpError, WasiBody};

use crate::client::Client;
use crate::instance::{self, Given, Instances, Reuse};
use crate::manifest::{Application, Component, Route};
use crate::outbound::Rule;
use crate::variables::Values;
use crate::{Error, variables};

/// Longest time for a request's head.
const HEAD: Duration = Duration::from_secs(10);
/// From content that breaks off to the end of its connection.
const FLUSH: Duration = Duration::from_millis(20);
/// Requests at a time; more wait.
const MOST_REQUESTS: usize = 4096;

/// How an application is run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to listen; loopback.
    pub listen: SocketAddr,
    /// More authorities of certificates, PEM.
    pub trust: Vec<u8>,
    /// Hosts and ports for which another address is connected to.
    pub elsewhere: BTreeMap<(String, u16), SocketAddr>,
    /// How long instances live.
    pub reuse: Reuse,
    /// Folder of compiled components, for this user alone; `None` compiles each time.
    pub cache: Option<PathBuf>,
}

/// Every component by its id.
type Components = BTreeMap<String, ProxyHandler<Instances>>;

/// An application that serves.
pub struct Running {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

impl Running {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no more connections, and gives requests that run this long.
    pub async fn stop(self, grace: Duration) {
        let _ = self.stop.send(true);
        let _ = tokio::time::timeout(grace, self.task).await;
    }
}

/// Compiles the components of an application: everything but serving. `given` has the values
/// of variables, by their names in the environment.
pub fn prepare(
    application: &Application,
    options: &Options,
    given: impl Fn(&str) -> Option<String>,
) -> Result<Prepared, Error> {
    if !options.listen.ip().is_loopback() {
        let problem = "without TLS it listens on loopback only, such as 127.0.0.1:3000";
        return Err(Error::Manifest(format!("{}: {problem}", options.listen)));
    }
    let values = Values::new(&application.variables, |name| given(&variables::environment(name)))?;
    let client = Client::new(&options.trust, options.elsewhere.clone());
    let client = client.map_err(|problem| Error::Manifest(format!("trust: {problem}")))?;
    let engine = instance::engine(options.cache.as_deref()).map_err(Error::Environment)?;
    let mut components = Components::new();
    for (name, component) in &application.components {
        let bad = |problem| Error::Component { name: name.clone(), problem };
        let given = given_to(component, &values, client.clone()).map_err(bad)?;
        let wasm = std::fs::read(&component.source).map_err(|error| {
            Error::Environment(format!("{}: {error}", component.source.display()))
        })?;
        let instances = Instances::new(&engine, &wasm, given, options.reuse).map_err(bad)?;
        components.insert(name.clone(), ProxyHandler::new(instances));
    }
    let application = Arc::new(application.clone());
    Ok(Prepared { application, components: Arc::new(components), listen: options.listen })
}

/// An application whose components are compiled.
pub struct Prepared {
    application: Arc<Application>,
    components: Arc<Components>,
    listen: SocketAddr,
}

fn given_to(component: &Component, values: &Values, client: Client) -> Result<Given, String> {
    let variables = component.variables.iter().map(|(name, text)| {
        let value = text.resolve(values).map_err(|problem| format!("variables.{name}: {problem}"));
        Ok::<_, String>((name.clone(), value?))
    });
    let allowed = component.allowed_outbound_hosts.iter();
    let allowed = allowed.map(|text| Rule::parse(&text.resolve(values)?));
    Ok(Given {
        variables: Arc::new(variables.collect::<Result<_, _>>()?),
        environment: Arc::new(component.environment.clone().into_iter().collect()),
        allowed: allowed.collect::<Result<Vec<_>, _>>()?.into(),
        client,
    })
}

/// Serves until it is stopped.
pub async fn start(prepared: Prepared) -> Result<Running, Error> {
    let named = |error| Error::Environment(format!("{}: {error}", prepared.listen));
    let listener = TcpListener::bind(prepared.listen).await.map_err(named)?;
    let address = listener.local_addr().map_err(named)?;
    let front = Front {
        application: prepared.application,
        components: prepared.components,
        at_once: Arc::new(Semaphore::new(MOST_REQUESTS)),
    };
    let (stop, stopped) = watch::channel(false);
    let task = tokio::spawn(accept(listener, front, stopped));
    Ok(Running { address, stop, task })
}

async fn accept(listener: TcpListener, front: Front, mut stopped: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    connections.spawn(connection(stream, peer, front.clone(), stopped.clone()));
                }
                Err(error) => {
                    // Out of descriptors, most likely: not a reason to spin.
                    tracing::warn!(%error, "a connection was not accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
            Some(_) = connections.join_next() => {}
            _ = stopped.changed() => break,
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    front: Front,
    mut stopped: watch::Receiver<bool>,
) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let front = front.clone();
        async move { Ok::<_, Infallible>(front.answer(request, peer).await) }
    });
    let mut builder = http1::Builder::new();
    // A caller that has sent its request and closes its side still waits for the answer.
    builder.half_close(true).timer(TokioTimer::new()).header_read_timeout(HEAD);
    let serving = builder.serve_connection(TokioIo::new(stream), service);
    let mut serving = std::pin::pin!(serving);
    loop {
        tokio::select! {
            ended = serving.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection of a caller ended");
                }
                return;
            }
            _ = stopped.changed() => serving.as_mut().graceful_shutdown(),
        }
    }
}

#[derive(Clone)]
struct Front {
    application: Arc<Application>,
    components: Arc<Components>,
    at_once: Arc<Semaphore>,
}

impl Front {
    async fn answer(&self, request: Request<Incoming>, peer: SocketAddr) -> Response<WasiBody> {
        let Ok(_turn) = self.at_once.acquire().await else {
            return bare(StatusCode::SERVICE_UNAVAILABLE);
        };
        let Some(route) = self.application.route(request.uri().path()) else {
            return bare(StatusCode::NOT_FOUND);
        };
        let Some(component) = self.components.get(&route.component) else {
            return bare(StatusCode::INTERNAL_SERVER_ERROR);
        };
        let Some(request) = for_component(request, route, peer) else {
            return bare(StatusCode::BAD_REQUEST);
        };
        match component.handle((), request).await {
            Ok(response) => response.map(|body| Ending::new(body).boxed_unsync()),
            Err(error) => {
                tracing::error!(component = route.component, "no answer: {error:#}");
                bare(StatusCode::INTERNAL_SERVER_ERROR)
            }
        }
    }
}

/// The request with its authority and what Spin tells a component; `None` for one without a
/// host, or with several.
fn for_component(
    request: Request<Incoming>,
    route: &Route,
    peer: SocketAddr,
) -> Option<Request<WasiBody>> {
    let (mut parts, body) = request.into_parts();
    let mut hosts = parts.headers.get_all(HOST).iter();
    let host = hosts.next()?.to_str().ok()?.to_owned();
    if hosts.next().is_some() {
        return None;
    }
    // A target in absolute form says where it is for, whatever the field says (RFC 9112, 3.2.2).
    let host = parts.uri.authority().map_or(host, |target| target.as_str().to_owned());
    let path = parts.uri.path_and_query()?.clone();
    parts.uri = Uri::builder().scheme("http").authority(host).path_and_query(path).build().ok()?;
    tell(&mut parts.headers, &parts.uri, route, peer)?;
    Some(Request::from_parts(parts, body.map_err(HttpError::from).boxed_unsync()))
}

/// Fields that are Spin's; what a caller has sent under such a name is gone.
fn tell(headers: &mut HeaderMap, uri: &Uri, route: &Route, peer: SocketAddr) -> Option<()> {
    let base = route.text.trim_end_matches("/...");
    let rest = uri.path().strip_prefix(base).unwrap_or_default();
    let told = [
        ("spin-full-url", uri.to_string()),
        ("spin-path-info", rest.to_owned()),
        ("spin-matched-route", route.text.clone()),
        ("spin-component-route", base.to_owned()),
        ("spin-raw-component-route", route.text.clone()),
        ("spin-base-path", "/".to_owned()),
        ("spin-client-addr", peer.to_string()),
    ];
    for (name, value) in told {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_str(&value).ok()?);
    }
    Some(())
}

/// Content whose breaking off waits a moment: hyper would drop what it has not written yet, the
/// head of the answer among it.
struct Ending {
    body: WasiBody,
    broken: Option<(HttpError, Pin<Box<Sleep>>)>,
}

impl Ending {
    fn new(body: WasiBody) -> Self {
        Self { body, broken: None }
    }
}

impl Body for Ending {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        if self.broken.is_none() {
            match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Err(error)) => {
                    self.broken = Some((error, Box::pin(tokio::time::sleep(FLUSH))));
                }
                other => return Poll::Ready(other),
            }
        }
        if let Some((_, moment)) = &mut self.broken {
            ready!(moment.as_mut().poll(context));
        }
        Poll::Ready(self.broken.take().map(|(error, _)| Err(error)))
    }

    fn is_end_stream(&self) -> bool {
        self.broken.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn bare(status: StatusCode) -> Response<WasiBody> {
    let body = Empty::<Bytes>::new().map_err(HttpError::from).boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}
