//! What the engine asks of the proxy: one trait for a stream, one for the process.
//!
//! The proxy implements both, the engine calls them from hostcalls. Both are shared
//! handles (`Rc`) used on one worker thread, so methods take `&self` and the proxy keeps
//! its state behind cells. No borrow of such a cell may be held while a callback of the
//! module runs: the callback comes back through these methods.
//!
//! Invariant: every answer that a module can see is a value or a [`Status`] chosen here or
//! by the proxy; guest memory and pointers never get past the engine.

use ring::rand::{SecureRandom, SystemRandom};

/// What a hostcall answers, with the numbers of the Proxy-Wasm ABI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// No such thing: property, field, buffer, metric, key.
    NotFound = 1,
    /// Wrong argument, or a map that is not there in this phase.
    BadArgument = 2,
    /// A value that cannot be given as bytes.
    SerializationFailure = 3,
    /// Bytes that do not parse.
    ParseFailure = 4,
    /// A pointer or length outside of the module's memory.
    InvalidMemoryAccess = 6,
    /// A queue without entries.
    Empty = 7,
    /// Somebody else wrote the key in between.
    CasMismatch = 8,
    /// The proxy could not, or the module may not.
    InternalFailure = 10,
    /// This proxy has no such function.
    Unimplemented = 12,
}

/// A map of fields of a stream; numbers as in the ABI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MapKind {
    /// Fields of the request.
    RequestHeaders,
    /// Trailers of the request.
    RequestTrailers,
    /// Fields of the response.
    ResponseHeaders,
    /// Trailers of the response.
    ResponseTrailers,
}

/// Content that the proxy holds for a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyKind {
    /// Content of the request.
    Request,
    /// Content of the response.
    Response,
}

/// One of the two halves of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the caller to the upstream.
    Request,
    /// From the upstream to the caller.
    Response,
}

/// Field names and values in order, as raw bytes; names in lower case.
pub type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// How a module declared a key of filter state (`declare_property`); undeclared is the
/// default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Declared {
    /// A second write is refused.
    pub readonly: bool,
    /// Declared as a string instead of bytes; only native readers care.
    pub string: bool,
}

/// A response made by a module (`proxy_send_local_response`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalReply {
    /// Status code as the module gave it, not checked.
    pub status: u32,
    /// What `%RESPONSE_CODE_DETAILS%` shows.
    pub details: Vec<u8>,
    /// Content.
    pub body: Vec<u8>,
    /// Fields beside those that the proxy sets.
    pub headers: Pairs,
    /// gRPC status, or -1.
    pub grpc_status: i32,
}

/// One filter's view of one stream, as it is during the callback that runs.
///
/// `continue_stream`, `close_stream` and `local_reply` only record: the proxy acts when
/// the callback has returned, as Envoy does. A map or buffer that is not there in the
/// phase is the error named at the method, as in Envoy.
pub trait StreamView {
    /// All fields of a map. Not there: `BadArgument`.
    fn pairs(&self, map: MapKind) -> Result<Pairs, Status>;
    /// Bytes of all names and values of a map that could be changed now. Not there, or
    /// closed for changes: `BadArgument`.
    fn size(&self, map: MapKind) -> Result<usize, Status> {
        let sum = |(name, value): &(Vec<u8>, Vec<u8>)| name.len().saturating_add(value.len());
        Ok(self.pairs(map)?.iter().map(sum).sum())
    }
    /// Whether the stream is over and only told of: maps that are not there are then read as
    /// empty ones.
    fn logs(&self) -> bool {
        false
    }
    /// Replaces all fields of a map. Not there: `BadArgument`.
    fn set_pairs(&self, map: MapKind, pairs: Pairs) -> Result<(), Status>;
    /// The lines of one field joined with `,`; `None` if it has none. Not there:
    /// `BadArgument`, or `None` while it logs.
    fn value(&self, map: MapKind, name: &[u8]) -> Result<Option<Vec<u8>>, Status>;
    /// Adds a line. Not there, or closed for changes: `BadArgument`.
    fn add(&self, map: MapKind, name: &[u8], value: &[u8]) -> Result<(), Status>;
    /// Replaces all lines of a field with one. Not there, or closed: `BadArgument`.
    fn replace(&self, map: MapKind, name: &[u8], value: &[u8]) -> Result<(), Status>;
    /// Removes all lines of a field. Not there, or closed: `BadArgument`.
    fn remove(&self, map: MapKind, name: &[u8]) -> Result<(), Status>;

    /// At most `length` bytes from `start` of what is held. Past the end: empty. No such
    /// buffer in this phase: `NotFound`.
    fn body(&self, body: BodyKind, start: usize, length: usize) -> Result<Vec<u8>, Status>;
    /// Envoy's rules: `start` 0 puts `bytes` in place of the first `length` bytes, `start` at
    /// or past the end appends, anything else is `BadArgument`. No such buffer: `NotFound`.
    fn set_body(
        &self,
        body: BodyKind,
        start: usize,
        length: usize,
        bytes: &[u8],
    ) -> Result<(), Status>;

    /// A property by its path. Unknown: `NotFound`.
    fn property(&self, path: &[&[u8]]) -> Result<Vec<u8>, Status>;
    /// Writes filter state `wasm.` + `path`; the raw path, segments still joined with NUL.
    /// A key written before under a read-only declaration: `BadArgument`. No stream to
    /// write to (access logger): `NotFound`.
    fn set_property(&self, path: &[u8], value: &[u8], declared: Declared) -> Result<(), Status>;

    /// Writes filter state under its full key (`set_envoy_filter_state`). No stream to
    /// write to, or a key that nothing here reads: `NotFound`.
    fn set_filter_state(&self, key: &[u8], value: &[u8]) -> Result<(), Status> {
        let _ = (key, value);
        Err(Status::NotFound)
    }

    /// Continues a paused direction after the callback.
    fn continue_stream(&self, direction: Direction) -> Result<(), Status>;
    /// Resets the stream after the callback.
    fn close_stream(&self, direction: Direction) -> Result<(), Status>;
    /// Answers the caller after the callback, instead of an upstream.
    fn local_reply(&self, reply: LocalReply) -> Result<(), Status>;

    /// The call-out that is asked of [`Services::http_call`] until [`StreamView::end_call`]
    /// is this stream's; one without a stream is the root's.
    fn begin_call(&self) {}
    /// It is out, or refused.
    fn end_call(&self) {}

    /// A number of the stream, alike for all of its filters: a trace shows it.
    fn number(&self) -> u64 {
        0
    }
}

/// An HTTP call-out that a module asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallOut {
    /// Cluster by name.
    pub cluster: Vec<u8>,
    /// Fields, with `:method`, `:path` and `:authority` (checked by the engine).
    pub headers: Pairs,
    /// Content; empty for none.
    pub body: Vec<u8>,
    /// Trailers; empty for none.
    pub trailers: Pairs,
    /// Time until the answer is Envoy's 504.
    pub timeout: std::time::Duration,
}

impl CallOut {
    /// Longest time of a call-out, and that of one without a time of its own.
    const LONGEST: std::time::Duration = std::time::Duration::from_secs(300);

    /// How long its answer is waited for.
    pub fn patience(&self) -> std::time::Duration {
        if self.timeout.is_zero() { Self::LONGEST } else { self.timeout.min(Self::LONGEST) }
    }
}

/// What came back, a failure in Envoy's shape included (`:status` 503 or 504 and a text).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CallAnswer {
    /// Fields, `:status` first.
    pub headers: Pairs,
    /// Content, whole.
    pub body: Vec<u8>,
    /// Trailers.
    pub trailers: Pairs,
}

/// A gRPC call-out that a module asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrpcCall {
    /// Cluster by name.
    pub cluster: Vec<u8>,
    /// Service and method.
    pub method: [Vec<u8>; 2],
    /// Fields beside those of gRPC.
    pub metadata: Pairs,
    /// The only message of a unary call; `None` for a stream.
    pub message: Option<Vec<u8>>,
    /// Time until it fails; `None` for a stream, and zero is no limit.
    pub timeout: Option<std::time::Duration>,
}

/// What happens on a gRPC call-out, in the order in which a stream sees it. A unary call
/// gets one event: the message, or that it has failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GrpcEvent {
    /// Fields of the response.
    Initial(Pairs),
    /// One message.
    Message(Vec<u8>),
    /// Trailers of the response, or what stands in their place.
    Trailing(Pairs),
    /// It is over.
    Closed {
        /// Status of gRPC; -1 for one that is no number.
        status: i32,
        /// What the peer or the proxy says.
        message: Vec<u8>,
    },
}

/// How much a line of the log matters; numbers as in the ABI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// Everything.
    Trace,
    /// For who writes a module.
    Debug,
    /// For who runs the gateway.
    Info,
    /// Worth a look.
    Warn,
    /// Something failed.
    Error,
    /// A panic of a module, as a rule.
    Critical,
}

/// How a metric counts; numbers as in the ABI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// Only goes up.
    Counter,
    /// Goes up and down.
    Gauge,
    /// A distribution of recorded values.
    Histogram,
}

/// A key handed out by `define_metric`.
pub type MetricId = u32;

/// A queue, as `proxy_register_shared_queue` hands it out.
pub type QueueToken = u32;

/// How it went when a machine was needed after one had died.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reload {
    /// A fresh machine is up.
    Success,
    /// The backoff still runs.
    Backoff,
    /// A fresh machine did not get ready.
    Failure,
}

/// What the process gives one machine. One value per machine, so that an answer to a
/// call-out finds its way back; what is shared between machines is shared behind it.
pub trait Services {
    /// Starts a call-out. The answer goes to `Vm::http_call_response` of the machine that
    /// asked, under `token` (one of a kind in the process), never from inside this method.
    /// Unknown cluster: `BadArgument`; no host or over the circuit breaker:
    /// `InternalFailure`.
    fn http_call(&self, token: u32, call: CallOut) -> Result<(), Status>;

    /// Whether there is a cluster of a name.
    fn has_cluster(&self, name: &[u8]) -> bool {
        let _ = name;
        false
    }
    /// Starts a gRPC call-out. What happens on it goes to `Vm::grpc_event` of the machine
    /// that asked, never from inside this method. Unknown cluster, no host:
    /// `InternalFailure`, and `Closed` comes all the same.
    fn grpc_start(&self, token: u32, call: GrpcCall) -> Result<(), Status> {
        let _ = (token, call);
        Err(Status::InternalFailure)
    }
    /// Sends a message on a stream and says whether it is the last; `None` only says so. Too
    /// much waits to leave: `InternalFailure`.
    fn grpc_send(&self, token: u32, message: Option<Vec<u8>>, end: bool) -> Result<(), Status> {
        let _ = (token, message, end);
        Ok(())
    }
    /// Nobody waits for a call any more.
    fn grpc_cancel(&self, token: u32) {
        let _ = token;
    }

    /// Value and CAS of a key of this `vm_id`. Unknown: `NotFound`.
    fn shared_data(&self, key: &[u8]) -> Result<(Vec<u8>, u32), Status>;
    /// Writes a key; a `cas` that is not 0 must be the key's, else `CasMismatch`.
    fn set_shared_data(&self, key: &[u8], value: &[u8], cas: u32) -> Result<(), Status>;

    /// The id of a metric, the same for the same kind and name.
    fn define_metric(&self, kind: MetricKind, name: &[u8]) -> Result<MetricId, Status>;
    /// Adds to a counter or gauge. Unknown id: `NotFound`; wrong kind: `BadArgument`.
    fn increment_metric(&self, id: MetricId, by: i64) -> Result<(), Status>;
    /// Sets a gauge or records into a histogram.
    fn record_metric(&self, id: MetricId, value: u64) -> Result<(), Status>;
    /// Value of a counter or gauge.
    fn metric(&self, id: MetricId) -> Result<u64, Status>;

    /// The queue of a name under this machine's `vm_id`; its entries are told to
    /// `Vm::queue_ready` of `root` from now on, never from inside a callback. One queue too
    /// many: `InternalFailure`.
    fn register_queue(&self, root: u32, name: &[u8]) -> Result<QueueToken, Status> {
        let _ = (root, name);
        Err(Status::InternalFailure)
    }
    /// The queue of a name under any `vm_id`. Never registered: `NotFound`.
    fn resolve_queue(&self, vm_id: &[u8], name: &[u8]) -> Result<QueueToken, Status> {
        let _ = (vm_id, name);
        Err(Status::NotFound)
    }
    /// Appends an entry. Unknown: `NotFound`; full: `InternalFailure`.
    fn enqueue(&self, queue: QueueToken, entry: &[u8]) -> Result<(), Status> {
        let _ = (queue, entry);
        Err(Status::NotFound)
    }
    /// Takes the oldest entry. None: `Empty`; unknown: `NotFound`.
    fn dequeue(&self, queue: QueueToken) -> Result<Vec<u8>, Status> {
        let _ = queue;
        Err(Status::NotFound)
    }

    /// Ticks of a root every `period`; zero stops them. Delivered by `Vm::tick(root)`.
    fn set_tick_period(&self, root: u32, period: std::time::Duration);
    /// A machine was needed after one had died; the names are those of its plugins.
    fn reloaded(&self, plugins: &[&str], how: Reload) {
        let _ = (plugins, how);
    }
    /// The least level that is kept.
    fn log_level(&self) -> Level;
    /// One line, already bounded in length.
    fn log(&self, level: Level, text: &str);
    /// Nanoseconds since 1970.
    fn now_nanos(&self) -> u64;
    /// Nanoseconds of a clock that only goes on; `None` takes the system's.
    fn monotonic_nanos(&self) -> Option<u64> {
        None
    }
    /// Fills `bytes` with randomness; the system's, where time is not virtual.
    fn random(&self, bytes: &mut [u8]) -> Result<(), Status> {
        SystemRandom::new().fill(bytes).map_err(|_| Status::InternalFailure)
    }
    /// A property outside of a stream (`xds.node.id` …). Unknown: `NotFound`.
    fn property(&self, path: &[&[u8]]) -> Result<Vec<u8>, Status>;

    /// The answer to a call-out is about to be told: a recording notes it.
    fn answered(&self, token: u32, answer: &CallAnswer) {
        let _ = (token, answer);
    }
    /// A root is about to tick.
    fn ticked(&self, root: u32) {
        let _ = root;
    }
    /// The machine's roots are about to be told that the gateway ends.
    fn closing(&self) {}
}
