//! What a machine's store holds beside the guest: contexts, call-outs, what is lent for
//! the callback that runs.
//!
//! Invariant: a view of a stream lives here from `Vm::stream` to `Vm::delete`, and nothing
//! that is lent for one callback is seen in the next.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Instant;

use wasmtime::{Memory, StoreLimits, TypedFunc};

use crate::view::{CallAnswer, Declared, Services, Status, StreamView};

use super::deadline::Deadline;
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
    /// The context that hostcalls act on.
    pub effective: u32,
    pub contexts: HashMap<u32, Context>,
    pub roots: HashMap<u32, Root>,
    /// Contexts that wait for call-outs, by token.
    pub calls: HashMap<u32, u32>,
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
}

/// One configured plugin in the machine.
pub(super) struct Root {
    pub plugin: Plugin,
    /// Filter-state keys that it declared.
    pub declared: HashMap<Vec<u8>, Declared>,
}

/// Bytes that exist only during one callback.
pub(super) enum Lent {
    Nothing,
    VmConfiguration,
    PluginConfiguration,
    Answer(CallAnswer),
}

impl Host {
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

    /// The same, to change.
    pub fn root_mut(&mut self) -> Option<&mut Root> {
        self.roots.get_mut(&self.contexts.get(&self.effective)?.root)
    }

    /// A token that no call-out waits under, here or in another machine.
    pub fn next_token(&mut self) -> u32 {
        loop {
            let token = TOKENS.fetch_add(1, Relaxed);
            if token != 0 && !self.calls.contains_key(&token) {
                return token;
            }
        }
    }
}
