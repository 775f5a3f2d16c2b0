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
    /// From the request, or for a root from the configuration.
    script: Script,
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
pub fn enter(context: u32, phase: &str, arguments: &[u32]) -> u32 {
    load(context, phase);
    let end =
        matches!((phase, arguments), (p, [_, 1]) if p.starts_with("req") || p.starts_with("res"));
    let count = with(context, |it| {
        let count = it.counts.entry(phase.to_owned()).or_default();
        *count += 1;
        *count
    });
    let script = |it: &mut Context| it.script.find(phase, count, end).map(<[Op]>::to_vec);
    let (root, name) = with(context, |it| (it.root, it.name.clone()));
    let found = with(context, script).or_else(|| with(root, script));
    let steps = found.unwrap_or_default();
    let quiet = steps.first().is_some_and(|op| op == &[b"quiet".to_vec()]);
    if !quiet {
        line(&name, &format!("{phase}{}", called(context, phase, arguments)));
    }
    let result = steps.iter().fold(None, |result, op| ops::run(context, op, quiet).or(result));
    if phase == "delete" {
        CONTEXTS.with_borrow_mut(|contexts| contexts.remove(&context));
    }
    result.unwrap_or_else(|| u32::from(matches!(phase, "vm_start" | "configure" | "done")))
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
    let script = match phase {
        "configure" => block("proxy_get_buffer_bytes", &[7, 0, 0xffff]),
        "request_headers" => field(context),
        "log" if is_root => field(context),
        _ => return,
    };
    let Some(script) = script.map(|text| Script::parse(&text)) else { return };
    with(context, |it| it.script = script);
}

fn field(context: u32) -> Option<Vec<u8>> {
    let name = with(context, |it| format!("x-probe-{}", it.name));
    block("proxy_get_header_map_value", &[0, abi::address(name.as_ptr()), name.len() as u64])
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
