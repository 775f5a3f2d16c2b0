//! Keeps what this process holds in memory out of core dumps, debuggers and swap, where the
//! operating system lets it.
//!
//! Invariant: what is said of it was read back from the system, not assumed; a refusal is said
//! and does not keep the service from starting.

use std::sync::OnceLock;

use rustix::io::Errno;
use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, dumpable_behavior, getrlimit, set_dumpable_behavior,
    setrlimit,
};

/// What holds of this process since [`guard`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Guarded {
    /// Neither a core dump nor another process of the user shows its memory.
    pub undumpable: bool,
    /// Its pages are not written to swap.
    pub locked: bool,
    /// What the system refused, and why.
    pub refused: Vec<String>,
}

static GUARDED: OnceLock<Guarded> = OnceLock::new();

/// Asks the system for all of it, once for the process.
pub fn guard() -> &'static Guarded {
    GUARDED.get_or_init(|| {
        let mut refused = Vec::new();
        let mut note = |what: &str, outcome: Result<(), String>| match outcome {
            Ok(()) => true,
            Err(why) => {
                refused.push(format!("{what}: {why}"));
                false
            }
        };
        let undumpable = note("core dumps", without_dumps());
        let locked = note("locked memory", without_swap());
        Guarded { undumpable, locked, refused }
    })
}

/// What [`guard`] found, if it was called in this process.
pub fn guarded() -> Option<&'static Guarded> {
    GUARDED.get()
}

fn without_dumps() -> Result<(), String> {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    setrlimit(Resource::Core, none).map_err(text)?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(text)?;
    let kept = getrlimit(Resource::Core) == none
        && dumpable_behavior() == Ok(DumpableBehavior::NotDumpable);
    kept.then_some(()).ok_or_else(|| "not kept".to_owned())
}

/// Everything from now on, each page when it is first used. Only without a limit: at a limit the
/// next allocation would fail and end the service.
fn without_swap() -> Result<(), String> {
    let limit = getrlimit(Resource::Memlock);
    if let Some(bytes) = limit.current {
        let unlimited = Rlimit { current: None, maximum: None };
        setrlimit(Resource::Memlock, unlimited)
            .map_err(|_| format!("RLIMIT_MEMLOCK is {bytes} bytes, expected unlimited"))?;
    }
    let all = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE;
    match mlockall(all | MlockAllFlags::ONFAULT) {
        // Before Linux 4.4.
        Err(Errno::INVAL) => mlockall(all).map_err(text),
        outcome => outcome.map_err(text),
    }
}

fn text(error: Errno) -> String {
    error.to_string()
}
