//! A gateway without sockets, in virtual time: plugins under test in `cargo test`.
//!
//! A [`Lab`] runs any Proxy-Wasm plugin, alone or in the `envoy.yaml` that it is shipped
//! with, as `postern gateway` would: the same reader of the file, the same machines, filters,
//! routes, timers and failures. What is different is the outside. Requests are values, an
//! upstream answers when the test says so, call-outs wait until they are answered or their
//! time is over, and time passes when the test lets it pass.
//!
//! ```
//! use postern_runtime::lab::{Plugin, Request, Response, Setup};
//!
//! # let module = wat::parse_str(r#"(module (memory (export "memory") 1)
//! #   (func (export "proxy_abi_version_0_2_1")) (func (export "_initialize"))
//! #   (func (export "malloc") (param i32) (result i32) i32.const 1024))"#).unwrap();
//! // In a test of yours: Plugin::file("target/wasm32-wasip1/release/my_plugin.wasm").
//! let lab = Setup::default().filter(Plugin::wasm(module)).start().unwrap();
//!
//! let stream = lab.send(Request::get("/hello").field("x-team", "blue"));
//! let forwarded = stream.upstream().expect("the plugin lets it pass");
//! assert_eq!(forwarded.field("x-team").as_deref(), Some("blue"));
//!
//! stream.answer(Response::new(200).content("hi")).unwrap();
//! assert_eq!(stream.response().unwrap().text(), "hi");
//! assert!(stream.is_over());
//! ```
//!
//! What a plugin can see is the same again in each run: its clocks show virtual time, which
//! begins on 2027-01-15, `random_get` is derived from a seed, and ids count up. The one thing
//! that is measured in real time is the deadline of a callback, since an endless loop ends in
//! no other way.
//!
//! A message that leaves has passed the rules of the wire: fields that end at a hop are gone,
//! and content that is longer than its `content-length` cuts the stream. What a lab does not
//! have is the wire itself: no TLS (properties of a handshake can be given with
//! [`Request::property`]), no connection that is refused unless the test says so
//! ([`Stream::answer_failure`]), no queues of bytes, and no gRPC: such a call-out is refused
//! and closed with 14 (unavailable).
//!
//! As in Envoy, the answer to a call-out comes to the plugin's root context: a plugin that wants
//! to act on the stream that has asked makes it the effective context first. The public SDKs
//! do so by themselves.
//!
//! A lab and its handles belong to one thread; methods may be called in any order.
//!
//! Invariant: nothing here decides what a plugin sees; that is done in [`crate::proxy`], which
//! the gateway on its sockets asks as well.

pub(crate) mod bench;
mod bootstrap;
mod call;
mod course;
pub(crate) mod desk;
mod message;
pub(crate) mod plugin;
pub(crate) mod random;
mod setup;
mod side;
mod stream;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

pub use call::Call;
pub use desk::{LogLine, Reloaded};
pub use message::{Message, Request, Response};
pub use plugin::Plugin;
pub use setup::{LabError, Setup};
pub use stream::{Stream, Unasked};

use crate::engine::trace::Callback;
use crate::view::MetricKind;
use bench::Bench;
use setup::Kept;

/// A gateway under test. [`Setup`] starts one.
pub struct Lab {
    bench: Rc<Bench>,
    kept: Option<Arc<Kept>>,
}

impl Lab {
    fn start(setup: Setup) -> Result<Self, LabError> {
        let kept = setup.kept.clone();
        Ok(Self { bench: Rc::new(Bench::start(setup)?), kept })
    }

    /// Sends a request, whole.
    pub fn send(&self, request: Request) -> Stream {
        let Request { content, trailers, .. } = request.clone();
        let end = content.is_empty() && trailers.is_empty();
        let stream = Stream::new(&self.bench, self.bench.arrive(request, end));
        if !content.is_empty() {
            stream.data(content);
        }
        match (end, trailers.is_empty()) {
            (true, _) => {}
            (false, true) => stream.end(),
            (false, false) => stream.trailers(trailers),
        }
        stream
    }

    /// Sends the head of a request; [`Stream::data`], [`Stream::end`] and
    /// [`Stream::trailers`] send the rest.
    pub fn open(&self, request: Request) -> Stream {
        Stream::new(&self.bench, self.bench.arrive(request, false))
    }

    /// Lets time pass. Ticks, call-outs whose time is over and timers of streams happen in
    /// their order, each at its time.
    pub fn advance(&self, span: Duration) {
        self.bench.advance(span);
    }

    /// Time since the start.
    pub fn now(&self) -> Duration {
        self.bench.desk.now()
    }

    /// Call-outs that wait for an answer, of streams and roots, in the order in which they
    /// were made.
    pub fn calls(&self) -> Vec<Call> {
        Call::waiting(&self.bench, |_| true)
    }

    /// Refuses what is sent to a cluster from now on, as an open circuit breaker does: a
    /// call-out fails at once, a request is answered with 503.
    pub fn refuse(&self, cluster: &str) {
        self.bench.desk.refusing.borrow_mut().insert(cluster.to_owned());
    }

    /// Ends what [`Lab::refuse`] began.
    pub fn admit(&self, cluster: &str) {
        self.bench.desk.refusing.borrow_mut().remove(cluster);
    }

    /// What modules have logged so far.
    pub fn log(&self) -> Vec<LogLine> {
        self.bench.desk.lines.borrow().clone()
    }

    /// The same as text, a line each: for the message of an assertion.
    pub fn log_text(&self) -> String {
        let lines = self.bench.desk.lines.borrow();
        lines.iter().map(|line| format!("{:?} {}\n", line.level, line.text)).collect()
    }

    /// Lines of access loggers that are no modules.
    pub fn access_log(&self) -> Vec<String> {
        self.bench.access_log()
    }

    /// Callbacks so far with their hostcalls; nothing without [`Setup::traced`].
    pub fn trace(&self) -> Vec<Callback> {
        self.kept.as_ref().map(|kept| kept.all()).unwrap_or_default()
    }

    /// Machines that were needed after one had died.
    pub fn reloads(&self) -> Vec<Reloaded> {
        self.bench.desk.reloads.borrow().clone()
    }

    /// Value of a counter or gauge; `None` if no module has defined it.
    pub fn metric(&self, name: &str) -> Option<u64> {
        let values = self.bench.desk.metrics.values();
        values.into_iter().find(|(have, _)| have == name).map(|(_, value)| value)
    }

    /// All metrics in Prometheus' text format, histograms as well.
    pub fn prometheus(&self) -> String {
        self.bench.desk.metrics.prometheus(&[])
    }

    /// Adds to a counter or gauge as another plugin would.
    pub fn increment(&self, kind: MetricKind, name: &str, by: i64) {
        let metrics = &self.bench.desk.metrics;
        let _ = metrics.define(kind, name.as_bytes()).and_then(|id| metrics.increment(id, by));
    }

    /// A value of the shared data of a `vm_id`.
    pub fn shared_data(&self, vm_id: &str, key: impl AsRef<[u8]>) -> Option<Vec<u8>> {
        let shared = self.bench.desk.shared.get(vm_id)?;
        shared.read(key.as_ref()).ok().map(|(value, _)| value)
    }

    /// Writes shared data as another worker would.
    pub fn set_shared_data(&self, vm_id: &str, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        if let Some(shared) = self.bench.desk.shared.get(vm_id) {
            let _ = shared.write(key.as_ref(), value.as_ref(), 0);
        }
    }

    /// Ends the gateway: no more ticks, then `proxy_on_done` of every root. What the modules
    /// send then is among [`Lab::calls`].
    pub fn close(&self) {
        self.bench.close();
    }
}
