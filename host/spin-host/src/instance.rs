//! Instances of a component: what they are linked with, and how long they live.
//!
//! Instances are used again as Spin 4.1 does it: for 128 requests unless told otherwise, 16 of
//! them at a time, until nothing happened for a second. Invariant: an instance that loops or waits too long ends, and
//! whatever one does ends only itself.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::Request;
use postern_runtime::engine::private_cache;
use tokio::time::Sleep;
use wasmtime::component::{Component, GuestTaskId, HasData, Linker, ResourceTable};
use wasmtime::{Config, Engine, Store, StoreContextMut, StoreLimits, StoreLimitsBuilder};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::handler::{
    HandlerState, Instance, ProxyPre, ShouldAccept, WorkerExpiration, WorkerState, WorkerStatus,
};
use wasmtime_wasi_http::p3::bindings::ServicePre;
use wasmtime_wasi_http::{
    Error, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks, WasiHttpView,
};

use crate::bindings::variables;
use crate::client::Client;
use crate::outbound::Rule;

/// Requests of one instance at a time.
const MOST_AT_ONCE: usize = 16;
/// A request without the head of an answer ends after this, and its instance with it.
const HEAD: Duration = Duration::from_secs(90);
/// An answer that has begun ends after this.
const ANSWER: Duration = Duration::from_secs(3600);
/// Memory of one instance.
const MEMORY: usize = 256 << 20;
/// How often a component is interrupted so that others run.
const TICK: Duration = Duration::from_millis(10);

/// How long instances live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reuse {
    /// An instance without a request ends after this.
    pub idle: Duration,
    /// Requests of one instance.
    pub requests: usize,
}

impl Default for Reuse {
    /// As Spin 4.1 has it.
    fn default() -> Self {
        Self { idle: Duration::from_secs(1), requests: 128 }
    }
}

/// An engine that compiles components, keeps what it has compiled in `cache`, and interrupts them.
pub fn engine(cache: Option<&Path>) -> Result<Engine, String> {
    let mut config = Config::new();
    config.wasm_component_model_async(true).epoch_interruption(true);
    if let Some(folder) = cache {
        config.cache(Some(private_cache(folder)?));
    }
    let engine = Engine::new(&config).map_err(|error| format!("{error:#}"))?;
    let weak = engine.weak();
    let beat = move || {
        while let Some(engine) = weak.upgrade() {
            engine.increment_epoch();
            drop(engine);
            std::thread::sleep(TICK);
        }
    };
    let started = std::thread::Builder::new().name("postern-spin-epoch".to_owned()).spawn(beat);
    started.map(drop).map_err(|error| error.to_string())?;
    Ok(engine)
}

/// What every instance of a component gets.
#[derive(Clone)]
pub struct Given {
    /// Its variables.
    pub variables: Arc<BTreeMap<String, String>>,
    /// Its environment.
    pub environment: Arc<Vec<(String, String)>>,
    /// Whom it may speak to.
    pub allowed: Arc<[Rule]>,
    /// How it speaks.
    pub client: Client,
}

/// A compiled component that makes instances.
pub struct Instances {
    pre: ProxyPre<Data>,
    engine: Engine,
    given: Given,
    reuse: Reuse,
}

impl Instances {
    /// Compiles and links a component.
    pub fn new(engine: &Engine, wasm: &[u8], given: Given, reuse: Reuse) -> Result<Self, String> {
        let text = |error: wasmtime::Error| format!("{error:#}");
        let component = Component::new(engine, wasm).map_err(text)?;
        let linker = linker(engine).map_err(text)?;
        let pre = linker.instantiate_pre(&component).and_then(ServicePre::new).map_err(text)?;
        Ok(Self { pre: ProxyPre::P3(pre), engine: engine.clone(), given, reuse })
    }

    fn store(&self) -> Store<Data> {
        let mut context = WasiCtxBuilder::new();
        context.inherit_stderr().inherit_stdout().envs(&self.given.environment);
        let (given, allowed) = (self.given.clone(), Arc::clone(&self.given.allowed));
        let hooks = Hooks { client: given.client, allowed };
        let limits = StoreLimitsBuilder::new().memory_size(MEMORY).build();
        let data = Data {
            context: context.build(),
            http: WasiHttpCtx::new(),
            table: ResourceTable::new(),
            variables: given.variables,
            hooks,
            limits,
        };
        let mut store = Store::new(&self.engine, data);
        store.limiter(|data| &mut data.limits);
        store.epoch_deadline_async_yield_and_update(1);
        store
    }
}

fn linker(engine: &Engine) -> wasmtime::Result<Linker<Data>> {
    let mut linker = Linker::new(engine);
    // A component's standard library speaks 0.2, its HTTP 0.3.
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi::p3::add_to_linker(&mut linker)?;
    wasmtime_wasi_http::p3::add_to_linker(&mut linker)?;
    variables::add_to_linker::<Data, Variables>(&mut linker, |data| data)?;
    Ok(linker)
}

/// What one instance's imports work on.
pub struct Data {
    context: WasiCtx,
    http: WasiHttpCtx,
    table: ResourceTable,
    variables: Arc<BTreeMap<String, String>>,
    hooks: Hooks,
    limits: StoreLimits,
}

impl WasiView for Data {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.context, table: &mut self.table }
    }
}

impl WasiHttpView for Data {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        let (hooks, table, ctx) = (&mut self.hooks, &mut self.table, &mut self.http);
        WasiHttpCtxView { hooks, table, ctx }
    }
}

struct Variables;

impl HasData for Variables {
    type Data<'a> = &'a mut Data;
}

impl variables::Host for &mut Data {}

impl<T: Send> variables::HostWithStore<T> for Variables {
    async fn get(
        accessor: &wasmtime::component::Accessor<T, Self>,
        name: String,
    ) -> wasmtime::Result<Result<String, variables::Error>> {
        if !crate::variables::is_name(&name) {
            return Ok(Err(variables::Error::InvalidName(name)));
        }
        let value = accessor.with(|mut access| access.get().variables.get(&name).cloned());
        Ok(value.ok_or(variables::Error::Undefined(name)))
    }
}

struct Hooks {
    client: Client,
    allowed: Arc<[Rule]>,
}

type Sent =
    Result<(http::Response<WasiBody>, Box<dyn Future<Output = Result<(), Error>> + Send>), Error>;

impl WasiHttpHooks for Hooks {
    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Sent> + Send> {
        let (client, allowed) = (self.client.clone(), Arc::clone(&self.allowed));
        Box::new(async move {
            let response = client.send(allowed, request, options.unwrap_or_default()).await?;
            let done: Box<dyn Future<Output = Result<(), Error>> + Send> =
                Box::new(async { Ok(()) });
            Ok((response, done))
        })
    }
}

impl HandlerState for Instances {
    type StoreData = Data;
    type WorkerExpiration = Expiration;
    type WorkerState = Worker;

    async fn instantiate(&self) -> wasmtime::Result<Instance<Data, Expiration, Worker>> {
        let mut store = self.store();
        let proxy = self.pre.instantiate_async(&mut store).await?;
        let Reuse { idle, requests } = self.reuse;
        let expiration = Expiration { idle, sleep: Box::pin(tokio::time::sleep(idle)) };
        let state = Worker { requests };
        Ok(Instance { store, proxy, view: Data::http, expiration, state })
    }
}

/// When an instance ends.
pub struct Expiration {
    idle: Duration,
    sleep: Pin<Box<Sleep>>,
}

impl WorkerExpiration for Expiration {
    fn poll(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        status: WorkerStatus,
        since: Instant,
    ) -> Poll<()> {
        let longest = match status {
            WorkerStatus::Idle => self.idle,
            WorkerStatus::Requests => HEAD,
            WorkerStatus::PostReturn => ANSWER,
        };
        let deadline = tokio::time::Instant::from_std(since + longest);
        let sleep = &mut self.get_mut().sleep;
        if sleep.deadline() != deadline {
            sleep.as_mut().reset(deadline);
        }
        sleep.as_mut().poll(context)
    }
}

/// How many requests an instance takes.
pub struct Worker {
    requests: usize,
}

impl WorkerState for Worker {
    type StoreData = Data;
    type RequestData = ();

    fn should_accept_request(&self, at_once: usize, total: usize) -> ShouldAccept {
        match at_once {
            _ if total >= self.requests => ShouldAccept::Never,
            MOST_AT_ONCE.. => ShouldAccept::No,
            _ => ShouldAccept::Yes,
        }
    }

    fn on_request_start(
        &self,
        _: StoreContextMut<'_, Data>,
        (): (),
        _: GuestTaskId,
    ) -> Pin<Box<dyn Future<Output = ()> + 'static + Send + Sync>> {
        Box::pin(tokio::time::sleep(HEAD))
    }

    fn drop(&self, _: Store<Data>, result: Result<(), wasmtime::Error>) {
        if let Err(error) = result {
            tracing::error!("an instance ended: {error:#}");
        }
    }
}
