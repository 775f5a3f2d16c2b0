//! How a module fails: at start, or later by a trap.
//!
//! Owns the sorting of wasmtime's errors into reasons that an operator understands.

use wasmtime::Trap;

/// A callback that did not return. The machine is dead: every later call answers the same.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the module trapped in {callback}: {reason}")]
pub struct Trapped {
    /// The function that the engine had called.
    pub callback: &'static str,
    /// Why.
    pub reason: Reason,
}

/// Why a callback did not return.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// It ran longer than a callback may.
    #[error("ran longer than a callback may")]
    Deadline,
    /// Too many nested calls.
    #[error("stack overflow")]
    StackOverflow,
    /// It reached outside of its memory.
    #[error("memory access out of bounds")]
    OutOfBounds,
    /// It called `proc_exit`.
    #[error("exit with status {0}")]
    Exit(u32),
    /// `unreachable`, which is how a panic ends, and all else.
    #[error("{0}")]
    Other(String),
}

/// Why a machine did not get ready.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// No instance could be made: too much memory asked for, an export of a wrong type.
    #[error("the module does not start: {0}")]
    Instance(String),
    /// It trapped while starting.
    #[error(transparent)]
    Trapped(#[from] Trapped),
    /// `proxy_on_vm_start` answered false.
    #[error("plugin {0:?} refuses its VM configuration")]
    VmConfiguration(String),
    /// `proxy_on_configure` answered false; what it logged says why.
    #[error("plugin {0:?} refuses its configuration")]
    Configuration(String),
}

/// `proc_exit`, on its way out of the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("exit with status {0}")]
pub(super) struct Exit(pub u32);

impl Trapped {
    pub(super) fn new(callback: &'static str, error: &wasmtime::Error) -> Self {
        Self { callback, reason: Reason::of(error) }
    }
}

impl Reason {
    fn of(error: &wasmtime::Error) -> Self {
        if let Some(Exit(code)) = error.downcast_ref() {
            return Self::Exit(*code);
        }
        match error.downcast_ref::<Trap>() {
            Some(Trap::Interrupt) => Self::Deadline,
            Some(Trap::StackOverflow) => Self::StackOverflow,
            Some(Trap::MemoryOutOfBounds) => Self::OutOfBounds,
            Some(trap) => Self::Other(trap.to_string()),
            None => Self::Other(error.to_string()),
        }
    }
}
