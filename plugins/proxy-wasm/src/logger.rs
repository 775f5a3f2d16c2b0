//! The access logger: the adapter of the audit module.
//!
//! Owns the root contexts of a VM, by id; Envoy calls an access logger's `on_log` on its
//! root context and makes no stream contexts. The module speaks the ABI through
//! [`access_logger!`](crate::access_logger) and [`abi`] alone, since the SDK would import
//! 31 hostcalls: what is not imported cannot be called, and no header map or content of a
//! request is among the few that are. Of WASI there remain the clock, randomness, the
//! environment, and `fd_write` and `proc_exit` of the standard library's panic. (Tried in Envoy 1.40: a module of these exports and
//! no SDK runs as access logger, calls from `on_tick` and `on_log` are answered on the root
//! context, filter state written in a filter's `on_log` is seen here.)
//!
//! Invariant: without a configuration that was accepted nothing is recorded and nothing
//! receipted, so the gate refuses from its second request on.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use postern_core::config::ConfigError;
use postern_core::config::key_service::KeyService;
use postern_core::key_service::{Call, CallAnswer, CallFailure, CallId, CallResult, MAX_ANSWER};
use postern_core::ledger::{Ledger, Logged, Output};
use postern_core::record::ResponseFacts;
use postern_core::time::{Moment, UnixMillis};

use crate::abi::{self, Buffer};
use crate::host::{self, Counters, Shared};

/// Most calls that one callback may lead to (each one that was not sent counts).
const MOST_OUTPUTS: usize = 64;
const LONGEST_TICK: Duration = Duration::from_secs(1);

/// Turns a configuration document into a logger.
pub type Configure = fn(&[u8]) -> Result<Logger, ConfigError>;

/// One configured root context.
pub struct Logger {
    ledger: Ledger,
    key_service: KeyService,
    tick: Duration,
    counters: Counters,
    calls: BTreeMap<u32, CallId>,
}

thread_local! {
    static ROOTS: RefCell<BTreeMap<u32, Logger>> = const { RefCell::new(BTreeMap::new()) };
}

impl Logger {
    /// A logger that sends to `key_service` what waits longer than `every`.
    pub fn new(ledger: Ledger, key_service: KeyService, every: Duration) -> Self {
        let tick = every.min(LONGEST_TICK);
        Self { ledger, key_service, tick, counters: Counters::default(), calls: BTreeMap::new() }
    }

    fn log(&mut self) {
        let draft = filter_state("wasm.postern.record");
        let seq = filter_state("wasm.postern.seq");
        let logged =
            Logged { draft: draft.as_deref(), seq: seq.as_deref(), facts: response_facts() };
        let now = host::now();
        self.ledger.log(logged, &mut Shared, now);
        self.deliver(now);
    }

    fn deliver(&mut self, now: UnixMillis) {
        if self.ledger.due(now)
            && let Some(at) = moment(now)
        {
            self.ledger.submit(&mut Shared, at);
        }
        self.perform();
    }

    fn flush(&mut self) {
        if let Some(at) = moment(host::now()) {
            self.ledger.flush(at);
        }
        self.perform();
    }

    fn heard(&mut self, token: u32, size: usize) {
        let Some(id) = self.calls.remove(&token) else { return };
        // Without randomness the call counts as lost, and the batch is sent again.
        let now = host::now();
        let Some(at) = moment(now) else { return };
        self.ledger.heard(id, answer(size), at);
        self.ledger.tell(&mut Shared, now);
        // More may wait: a full buffer empties as fast as the collector answers.
        self.deliver(now);
    }

    fn perform(&mut self) {
        for _ in 0..MOST_OUTPUTS {
            match self.ledger.poll() {
                None => return,
                Some(Output::Count(metric)) => self.counters.count(metric),
                Some(Output::Call(call)) => self.call(&call),
            }
        }
    }

    fn call(&mut self, call: &Call) {
        let fields = [
            (":method", call.method),
            (":path", &*call.path),
            (":authority", self.key_service.authority.as_str()),
            ("content-type", call.content_type),
        ];
        // A `GET` has no content, so no type of it.
        let fields = if call.body.is_empty() { fields.get(..3) } else { fields.get(..) };
        let fields = fields.unwrap_or_default();
        let timeout = call.timeout.max(Duration::from_millis(1));
        match abi::http_call(&self.key_service.cluster, fields, &call.body, timeout) {
            Ok(token) => {
                self.calls.insert(token, call.id);
            }
            Err(_) => {
                if let Some(at) = moment(host::now()) {
                    self.ledger.heard(call.id, Err(CallFailure::NotSent), at);
                }
            }
        }
    }
}

fn moment(now: UnixMillis) -> Option<Moment> {
    host::entropy().map(|entropy| Moment { now, entropy })
}

fn filter_state(key: &str) -> Option<Vec<u8>> {
    abi::property(&["filter_state", key]).ok().flatten()
}

/// Numbers are 64 bits, little endian; a duration is in nanoseconds.
fn number(path: &[&str]) -> Option<u64> {
    let bytes = abi::property(path).ok().flatten()?;
    bytes.try_into().ok().map(u64::from_le_bytes)
}

fn response_facts() -> ResponseFacts {
    ResponseFacts {
        status: number(&["response", "code"]).and_then(|code| u16::try_from(code).ok()),
        flags: number(&["response", "flags"]).unwrap_or_default(),
        duration: number(&["request", "duration"]).map(Duration::from_nanos),
    }
}

/// The reply at hand, its status unknown: only what opens and verifies counts.
fn answer(size: usize) -> CallResult {
    match size {
        0 => Ok(CallAnswer::unseen(Vec::new())),
        1..=MAX_ANSWER => abi::buffer(Buffer::CallBody, 0, size)
            .map(CallAnswer::unseen)
            .map_err(|_| CallFailure::Unreadable),
        _ => Err(CallFailure::TooLarge),
    }
}

/// `proxy_on_configure`: whether the document was accepted.
pub fn on_configure(root: u32, size: usize, name: &str, configure: Configure) -> bool {
    let logger = host::configuration(size).and_then(|document| configure(&document));
    let logger = logger.and_then(|logger| {
        let ticks = abi::set_tick_period(logger.tick);
        let refused = |status| ConfigError::one("", format!("the host does not tick: {status}"));
        ticks.map(|()| logger).map_err(refused)
    });
    match logger {
        Ok(logger) => keep(root, logger),
        Err(error) => {
            host::report(name, &error);
            false
        }
    }
}

/// `proxy_on_log`.
pub fn on_log(root: u32) {
    with(root, Logger::log);
}

/// `proxy_on_tick`.
pub fn on_tick(root: u32) {
    with(root, |logger| {
        let now = host::now();
        logger.ledger.keep(&mut Shared, now);
        logger.deliver(now);
    });
}

/// `proxy_on_http_call_response`.
pub fn on_http_call_response(root: u32, token: u32, size: usize) {
    with(root, |logger| logger.heard(token, size));
}

/// `proxy_on_done`: what waits is sent, if the host still sends.
pub fn on_done(root: u32) {
    with(root, Logger::flush);
}

/// `proxy_on_delete`.
pub fn on_delete(root: u32) {
    let _ = ROOTS.try_with(|roots| roots.try_borrow_mut().map(|mut roots| roots.remove(&root)));
}

fn keep(root: u32, logger: Logger) -> bool {
    let kept = ROOTS.try_with(|roots| {
        roots.try_borrow_mut().map(|mut roots| roots.insert(root, logger)).is_ok()
    });
    kept.unwrap_or(false)
}

fn with(root: u32, act: impl FnOnce(&mut Logger)) {
    let _ = ROOTS.try_with(|roots| {
        let Ok(mut roots) = roots.try_borrow_mut() else { return };
        if let Some(logger) = roots.get_mut(&root) {
            act(logger);
        }
    });
}
