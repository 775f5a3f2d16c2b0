//! Contexts with their scripts, and the entry of every callback.

use std::cell::RefCell;
use std::collections::BTreeMap;

use crate::abi::{self, Place};
use crate::ops;
use crate::report::line;
use crate::script::{Op, Script};

/// What one context knows.
#[derive(Clone, Default)]
pub struct Context {
    /// Its root; itself for a root.
    pub root: u32,
    /// Name of the plugin.
    pub name: String,
    /// From the request.
    script: Script,
    /// Of a root: from the configuration, for all its streams as well.
    usual: Script,
    /// Calls by callback.
    counts: BTreeMap<String, u32>,
    /// Tokens of call-outs in the order in which they were made.
    pub calls: Vec<u32>,
    /// What the last hostcall of a kind gave: `cas`, `queue`, `metric`, `call`.
    pub last: BTreeMap<&'static str, u64>,
}

thread_local! {
    static CONTEXTS: RefCell<BTreeMap<u32, Context>> = RefCell::default();
}

/// Works on a context for a moment; hostcalls are not allowed inside.
pub fn with<T>(context: u32, work: impl FnOnce(&mut Context) -> T) -> T {
    CONTEXTS.with_borrow_mut(|contexts| work(contexts.entry(context).or_default()))
}

/// A context begins.
pub fn create(context: u32, parent: u32) {
    let root = if parent == 0 { context } else { parent };
    let name = if parent == 0 { plugin_name() } else { with(parent, |root| root.name.clone()) };
    line(&name, if parent == 0 { "create root" } else { "create" });
    with(context, |it| *it = Context { root, name, ..Context::default() });
}

/// A callback begins: its line, what the script wants, and what is returned.
///
/// Answers to call-outs may be told to the root: they are for the context that has called.
pub fn enter(told: u32, phase: &str, arguments: &[u32]) -> u32 {
    let answers = phase.starts_with("http_call") || phase.starts_with("grpc");
    let context = if answers { owner(told, arguments) } else { told };
    load(context, phase);
    let end =
        matches!((phase, arguments), (p, [_, 1]) if p.starts_with("req") || p.starts_with("res"));
    let count = with(context, |it| {
        let count = it.counts.entry(phase.to_owned()).or_default();
        *count += 1;
        *count
    });
    let (root, name) = with(context, |it| (it.root, it.name.clone()));
    let own = with(context, |it| it.script.find(phase, count, end).map(<[Op]>::to_vec));
    let usual = || with(root, |it| it.usual.find(phase, count, end).map(<[Op]>::to_vec));
    let found = own.or_else(usual);
    let steps = found.unwrap_or_default();
    let quiet = steps.first().is_some_and(|op| op == &[b"quiet".to_vec()]);
    if !quiet {
        let by = if told == context { "" } else { " by the root" };
        line(&name, &format!("{phase}{}{by}", called(context, phase, arguments)));
    }
    if told != context {
        abi::call("proxy_set_effective_context", &[u64::from(context)]);
    }
    let result = steps.iter().fold(None, |result, op| ops::run(context, op, quiet).or(result));
    if phase == "delete" {
        CONTEXTS.with_borrow_mut(|contexts| contexts.remove(&context));
    }
    result.unwrap_or_else(|| u32::from(matches!(phase, "vm_start" | "configure" | "done")))
}

/// The context that made a call, else the one that is told of it.
fn owner(told: u32, arguments: &[u32]) -> u32 {
    let token = arguments.first().copied().unwrap_or_default();
    CONTEXTS.with_borrow(|contexts| {
        let root = contexts.get(&told).map_or(told, |it| it.root);
        let made = |(_, it): &(&u32, &Context)| it.root == root && it.calls.contains(&token);
        contexts.iter().find(made).map_or(told, |(context, _)| *context)
    })
}

/// Tokens differ from run to run: the number of the call in its context stands for them.
fn called(context: u32, phase: &str, arguments: &[u32]) -> String {
    let mut words: Vec<String> = arguments.iter().map(u32::to_string).collect();
    if phase.starts_with("http_call") || phase.starts_with("grpc") {
        let token = arguments.first().copied().unwrap_or_default();
        let index = with(context, |it| it.calls.iter().position(|call| *call == token));
        let named = index.map_or("unknown call".to_owned(), |index| format!("call {}", index + 1));
        if let Some(first) = words.first_mut() {
            *first = named;
        }
    }
    if phase == "queue" {
        words.clear();
    }
    format!("({})", words.join(", "))
}

/// A stream's script comes with its request, a root's with its configuration; an access logger
/// is a root that is shown requests.
fn load(context: u32, phase: &str) {
    let is_root = with(context, |it| it.root == context);
    match phase {
        "configure" => {
            let usual = block("proxy_get_buffer_bytes", &[7, 0, 0xffff]).unwrap_or_default();
            with(context, |it| it.usual = Script::parse(&usual));
        }
        "request_headers" => {
            let script = field(context);
            with(context, |it| it.script = script);
        }
        "log" if is_root => {
            let script = field(context);
            with(context, |it| it.script = script);
        }
        _ => {}
    }
}

fn field(context: u32) -> Script {
    let name = with(context, |it| format!("x-probe-{}", it.name));
    let words = [0, abi::address(name.as_ptr()), name.len() as u64];
    let text = block("proxy_get_header_map_value", &words).unwrap_or_default();
    Script::parse(&text)
}

fn plugin_name() -> String {
    let path = "plugin_name";
    let name = block("proxy_get_property", &[abi::address(path.as_ptr()), path.len() as u64]);
    name.map_or("?".to_owned(), |name| String::from_utf8_lossy(&name).into_owned())
}

/// A hostcall that gives a block, when it gave one.
fn block(name: &str, words: &[u64]) -> Option<Vec<u8>> {
    let mut place = Place::default();
    let mut words = words.to_vec();
    words.extend([place.at(0), place.at(1)]);
    (abi::call(name, &words) == Some(0)).then(|| place.block())
}
