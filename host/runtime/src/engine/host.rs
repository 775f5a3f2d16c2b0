//! What a machine's store holds beside the guest: contexts, call-outs, what is lent for
//! the callback that runs.
//!
//! Invariant: a view of a stream lives here from `Vm::stream` to `Vm::delete`, and nothing
//! that is lent for one callback is seen in the next.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Instant;

use wasmtime::{Memory, StoreLimits, TypedFunc};

use crate::view::{CallAnswer, Declared, Pairs, Services, Status, StreamView};

use super::deadline::Deadline;
use super::hostcalls::metrics::Defined;
use super::trace;
use super::vm::{Plugin, VmSettings};

/// One sequence for the process, so that a late answer to a machine that died is never taken
/// for one to its successor.
static TOKENS: AtomicU32 = AtomicU32::new(1);

/// Data of one machine's store.
pub(super) struct Host {
    pub services: Rc<dyn Services>,
    pub settings: Arc<VmSettings>,
    pub limits: StoreLimits,
    /// Known once the instance exists.
    pub memory: Option<Memory>,
    /// The guest's allocator, likewise.
    pub allocate: Option<TypedFunc<u32, u32>>,
    /// The context whose callback runs.
    pub current: u32,
    /// The context that hostcalls act on.
    pub effective: u32,
    pub contexts: HashMap<u32, Context>,
    pub roots: HashMap<u32, Root>,
    /// Roots that are asked for no more streams and end with their last one.
    pub retiring: HashSet<u32>,
    /// Roots whose `proxy_on_done` has said no, until they call `proxy_done`.
    pub unfinished: HashSet<u32>,
    /// Roots that have called it in the callback that runs.
    pub finished: Vec<u32>,
    /// Contexts that wait for call-outs, by token.
    pub calls: HashMap<u32, u32>,
    /// gRPC call-outs that are not over.
    pub grpc: HashMap<u32, Grpc>,
    pub metrics: Defined,
    pub lent: Lent,
    /// Start of the monotonic clock.
    pub started: Instant,
    pub deadline: Deadline,
    /// The callback that runs, if it is traced.
    pub tracing: Option<Box<trace::Running>>,
}

/// A root or a stream.
pub(super) struct Context {
    /// Itself for a root.
    pub root: u32,
    /// The stream; for a root only while it logs one.
    pub view: Option<Rc<dyn StreamView>>,
    /// Filter-state keys that it declared.
    pub declared: HashMap<Vec<u8>, Declared>,
}

impl Context {
    pub fn new(root: u32, view: Option<Rc<dyn StreamView>>) -> Self {
        Self { root, view, declared: HashMap::new() }
    }
}

/// One configured plugin in the machine.
pub(super) struct Root {
    pub plugin: Plugin,
    /// How its last gRPC call-out was closed.
    pub closed: (i32, Vec<u8>),
}

/// A gRPC call-out. It is its root's, whichever context has asked, as in Envoy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Grpc {
    pub root: u32,
    /// It is over, and its root is being told.
    pub closed: bool,
}

/// Kinds of call-outs, with the numbers that their tokens end in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Callout {
    Http = 0,
    GrpcCall = 1,
    GrpcStream = 2,
}

impl Callout {
    /// Bits of a token that tell its kind.
    pub const BITS: u32 = 2;

    pub fn of(token: u32) -> Option<Self> {
        match token & ((1 << Self::BITS) - 1) {
            0 => Some(Self::Http),
            1 => Some(Self::GrpcCall),
            2 => Some(Self::GrpcStream),
            _ => None,
        }
    }
}

/// Bytes that exist only during one callback.
pub(super) enum Lent {
    Nothing,
    VmConfiguration,
    PluginConfiguration,
    Answer(CallAnswer),
    GrpcInitial(Pairs),
    GrpcMessage(Vec<u8>),
    GrpcTrailing(Pairs),
}

/// A machine that is given up, alive or not, waits for nobody.
impl Drop for Host {
    fn drop(&mut self) {
        self.cancel_grpc();
    }
}

impl Host {
    /// Ends all gRPC call-outs that run: a stream would go on for as long as its peer likes.
    pub fn cancel_grpc(&mut self) {
        for (token, _) in self.grpc.drain() {
            self.services.grpc_cancel(token);
        }
    }

    /// The stream of the effective context.
    pub fn view(&self) -> Result<Rc<dyn StreamView>, Status> {
        self.optional_view().ok_or(Status::BadArgument)
    }

    /// The same, where having none is no error.
    pub fn optional_view(&self) -> Option<Rc<dyn StreamView>> {
        self.contexts.get(&self.effective)?.view.clone()
    }

    /// The plugin of the effective context.
    pub fn root(&self) -> Option<&Root> {
        self.roots.get(&self.contexts.get(&self.effective)?.root)
    }

    /// How the root of the effective context has declared a key; what a stream declares
    /// counts for nothing, as in Envoy.
    pub fn declared(&self, key: &[u8]) -> Declared {
        let root = self.contexts.get(&self.effective).and_then(|it| self.contexts.get(&it.root));
        root.and_then(|root| root.declared.get(key)).copied().unwrap_or_default()
    }

    /// A token that no call-out waits under, here or in another machine.
    pub fn next_token(&mut self, kind: Callout) -> u32 {
        loop {
            let number = TOKENS.fetch_add(1, Relaxed) << Callout::BITS;
            let token = number | kind as u32;
            let waits = self.calls.contains_key(&token) || self.grpc.contains_key(&token);
            if number != 0 && !waits {
                return token;
            }
        }
    }
}
