//! A trace: each callback with the hostcalls that it makes, their arguments, answers, sizes
//! and times.
//!
//! Owns what is noted while a callback runs, and hands it to a [`Sink`] when the callback has
//! returned, so that the lines of two workers never mix. What may be shown is decided in
//! [`Rules`] alone; [`shape`] says what each argument is.
//!
//! Invariant: bytes of a guest or for a guest reach a trace as names, as values that the
//! rules show, or as their number; without a trace the hook costs one comparison a call.

mod rules;
mod shape;
#[cfg(test)]
mod tests;
mod write;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use rules::Rules;
pub use write::{Format, Lines};

use super::fault::Trapped;
use super::guest::{Answer, Guest, Stop};
use super::host::Host;
use shape::Noted;

/// Where a trace goes: called by workers, once for each callback that has ended.
pub trait Sink: Send + Sync {
    /// A callback has ended.
    fn take(&self, callback: &Callback);
}

/// A trace that is on.
#[derive(Clone)]
pub struct Trace {
    sink: Arc<dyn Sink>,
    rules: Arc<Rules>,
}

impl Trace {
    /// A trace under these rules.
    pub fn new(sink: Arc<dyn Sink>, rules: Rules) -> Self {
        Self { sink, rules: Arc::new(rules) }
    }
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Trace")
    }
}

/// An argument or an answer, as it may be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    /// A number.
    Number(i64),
    /// A name, or a value that may be shown.
    Text(String),
    /// So many bytes that are not shown.
    Bytes(usize),
    /// Fields in their order.
    Fields(Vec<(String, Shown)>),
}

/// A hostcall, with what it answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hostcall {
    /// Its name.
    pub name: &'static str,
    /// What the module gave, by names.
    pub arguments: Vec<(&'static str, Shown)>,
    /// `ok`, a status of the ABI, or the number of an error of WASI.
    pub status: String,
    /// What it answered beside the status.
    pub answer: Option<Shown>,
    /// Bytes of that.
    pub size: Option<usize>,
    /// How long it took.
    pub took: Duration,
}

/// A callback, with its hostcalls in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Callback {
    /// Its stream, the same for all plugins; none for a root.
    pub stream: Option<u64>,
    /// Name of the plugin; empty before there is one.
    pub plugin: String,
    /// `vm_id` of its machine.
    pub vm_id: String,
    /// Number of the context in the machine.
    pub context: u32,
    /// Its name.
    pub name: &'static str,
    /// Its arguments by names, numbers only.
    pub arguments: Vec<(&'static str, i64)>,
    /// What it returned, or how it trapped.
    pub outcome: Result<Option<i64>, String>,
    /// What it called.
    pub hostcalls: Vec<Hostcall>,
    /// How long it took, hostcalls included.
    pub took: Duration,
    /// What the module computed, in units of fuel: about one an instruction, the same on every
    /// machine. `None` where it is not counted.
    pub fuel: Option<u64>,
}

/// The callback that runs, while it is traced.
pub(super) struct Running {
    callback: Callback,
    began: Instant,
    rules: Arc<Rules>,
}

/// A callback begins.
pub(super) fn enter(
    host: &mut Host,
    name: &'static str,
    context: u32,
    arguments: impl Fn() -> String,
) {
    let Some(trace) = &host.settings.trace else { return };
    let own = host.contexts.get(&context);
    let plugin = own.and_then(|own| host.roots.get(&own.root));
    let callback = Callback {
        stream: own.and_then(|own| own.view.as_ref()).map(|view| view.number()),
        plugin: plugin.map(|root| root.plugin.name.clone()).unwrap_or_default(),
        vm_id: host.settings.vm_id.clone(),
        context,
        name,
        arguments: shape::callback(name, &numbers(&arguments())),
        outcome: Ok(None),
        hostcalls: Vec::new(),
        took: Duration::ZERO,
        fuel: None,
    };
    let rules = Arc::clone(&trace.rules);
    host.tracing = Some(Box::new(Running { callback, began: Instant::now(), rules }));
}

/// It has ended.
pub(super) fn leave<'a>(
    host: &mut Host,
    fuel: Option<u64>,
    outcome: impl FnOnce() -> Result<String, &'a Trapped>,
) {
    let Some(mut running) = host.tracing.take() else { return };
    running.callback.took = running.began.elapsed();
    running.callback.fuel = fuel;
    running.callback.outcome = match outcome() {
        Ok(answer) => Ok(numbers(&answer).first().copied()),
        Err(trapped) => Err(trapped.reason.to_string()),
    };
    if let Some(trace) = &host.settings.trace {
        trace.sink.take(&running.callback);
    }
}

/// The numbers of a tuple as `Debug` writes it.
fn numbers(text: &str) -> Vec<i64> {
    let parts = text.split(|c: char| !c.is_ascii_digit() && c != '-');
    parts.filter_map(|part| part.parse().ok()).collect()
}

/// An argument, whatever its type: 64 bits that the guest has given.
pub(super) fn number(argument: impl Into<Argument>) -> i64 {
    argument.into().0
}

/// See [`number`].
pub(super) struct Argument(i64);

impl From<u32> for Argument {
    fn from(number: u32) -> Self {
        Self(i64::from(number))
    }
}

impl From<i32> for Argument {
    fn from(number: i32) -> Self {
        Self(i64::from(number))
    }
}

impl From<u64> for Argument {
    fn from(number: u64) -> Self {
        Self(number.cast_signed())
    }
}

impl From<i64> for Argument {
    fn from(number: i64) -> Self {
        Self(number)
    }
}

/// A hostcall that has begun.
pub(super) struct Begun {
    noted: Noted,
    at: Instant,
}

/// A hostcall begins: what it was given is noted before it can change.
#[inline]
pub(super) fn begin(guest: &Guest, name: &'static str, arguments: &[i64]) -> Option<Box<Begun>> {
    let running = guest.host().tracing.as_ref()?;
    let noted = Noted::before(guest, &running.rules, name, arguments);
    Some(Box::new(Begun { noted, at: Instant::now() }))
}

/// It has answered.
#[inline]
pub(super) fn end<T: Numbered>(guest: &mut Guest, begun: Option<Box<Begun>>, answer: &Answer<T>) {
    if let Some(begun) = begun {
        note(guest, *begun, status(answer));
    }
}

fn note(guest: &mut Guest, begun: Begun, status: Result<String, String>) {
    let took = begun.at.elapsed();
    let Some(running) = &guest.host().tracing else { return };
    let (good, status) = match status {
        Ok(status) => (true, status),
        Err(status) => (false, status),
    };
    let (answer, size) = if good { begun.noted.after(guest, &running.rules) } else { (None, None) };
    let Noted { name, arguments, .. } = begun.noted;
    let call = Hostcall { name, arguments, status, answer, size, took };
    if let Some(running) = &mut guest.host_mut().tracing {
        running.callback.hostcalls.push(call);
    }
}

/// What a function answers when nothing stops it.
pub(super) trait Numbered {
    /// An error of WASI, 0 for none.
    fn errno(&self) -> u32;
}

impl Numbered for () {
    fn errno(&self) -> u32 {
        0
    }
}

impl Numbered for u32 {
    fn errno(&self) -> u32 {
        *self
    }
}

fn status<T: Numbered>(answer: &Answer<T>) -> Result<String, String> {
    match answer {
        Ok(value) if value.errno() == 0 => Ok("ok".to_owned()),
        Ok(value) => Err(format!("errno {}", value.errno())),
        Err(Stop::Answer(status)) => Err(format!("{status:?}")),
        Err(Stop::Trap(_)) => Err("trap".to_owned()),
    }
}
