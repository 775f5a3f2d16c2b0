//! What a script can ask for.
//!
//! Most operations are a hostcall with their arguments in order: a row of [`CALLS`] says which,
//! and how each argument becomes words. `raw` makes any hostcall with any words. Each writes its
//! line: what was asked, the status, and what the host gave.

use crate::abi::{self, Place};
use crate::report::{line, shown};
use crate::script::Op;
use crate::state::with;

/// What an argument of an operation is to its hostcall.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// A number; `last` is what the last call of this kind gave.
    Number(&'static str),
    /// Bytes: pointer and size.
    Bytes,
    /// A property's path, segments parted by `.`; a dot inside is written `%2e`.
    Path,
    /// Field lines `a=b,c=d` as the ABI serialises them.
    Pairs,
    /// The host writes a block: two places.
    Block,
    /// The host writes a number of this kind, which is shown.
    Out(&'static str),
    /// The host writes a number of this kind, which differs from run to run.
    Hidden(&'static str),
}

use Kind::{Block, Bytes, Hidden, Number, Out, Pairs, Path};

const N: Kind = Number("");

/// Operation, hostcall, arguments.
#[rustfmt::skip]
const CALLS: &[(&str, &str, &[Kind])] = &[
    ("h", "proxy_get_header_map_value", &[N, Bytes, Block]),
    ("set", "proxy_replace_header_map_value", &[N, Bytes, Bytes]),
    ("add", "proxy_add_header_map_value", &[N, Bytes, Bytes]),
    ("del", "proxy_remove_header_map_value", &[N, Bytes]),
    ("pairs", "proxy_set_header_map_pairs", &[N, Pairs]),
    ("b", "proxy_get_buffer_bytes", &[N, N, N, Block]),
    ("bs", "proxy_get_buffer_status", &[N, Out("size"), Out("flags")]),
    ("wb", "proxy_set_buffer_bytes", &[N, N, N, Bytes]),
    ("p", "proxy_get_property", &[Path, Block]),
    ("sp", "proxy_set_property", &[Path, Bytes]),
    ("reply", "proxy_send_local_response", &[N, Bytes, Bytes, Pairs, N]),
    ("go", "proxy_continue_stream", &[N]),
    ("close", "proxy_close_stream", &[N]),
    ("log", "proxy_log", &[N, Bytes]),
    ("level", "proxy_get_log_level", &[Out("level")]),
    ("now", "proxy_get_current_time_nanoseconds", &[Hidden("time")]),
    ("tick", "proxy_set_tick_period_milliseconds", &[N]),
    ("sd", "proxy_get_shared_data", &[Bytes, Block, Hidden("cas")]),
    ("ssd", "proxy_set_shared_data", &[Bytes, Bytes, Number("cas")]),
    ("rq", "proxy_register_shared_queue", &[Bytes, Hidden("queue")]),
    ("resq", "proxy_resolve_shared_queue", &[Bytes, Bytes, Hidden("queue")]),
    ("deq", "proxy_dequeue_shared_queue", &[Number("queue"), Block]),
    ("enq", "proxy_enqueue_shared_queue", &[Number("queue"), Bytes]),
    ("dm", "proxy_define_metric", &[N, Bytes, Hidden("metric")]),
    ("im", "proxy_increment_metric", &[Number("metric"), N]),
    ("rm", "proxy_record_metric", &[Number("metric"), N]),
    ("gm", "proxy_get_metric", &[Number("metric"), Out("value")]),
    ("call", "proxy_http_call", &[Bytes, Pairs, Bytes, Pairs, N, Hidden("call")]),
    ("gcall", "proxy_grpc_call", &[Bytes, Bytes, Bytes, Pairs, Bytes, N, Hidden("call")]),
    ("gstream", "proxy_grpc_stream", &[Bytes, Bytes, Bytes, Pairs, Hidden("call")]),
    ("gsend", "proxy_grpc_send", &[Number("call"), Bytes, N]),
    ("gcancel", "proxy_grpc_cancel", &[Number("call")]),
    ("gclose", "proxy_grpc_close", &[Number("call")]),
    ("gstatus", "proxy_get_status", &[Out("status"), Block]),
    ("ff", "proxy_call_foreign_function", &[Bytes, Bytes, Block]),
    ("done", "proxy_done", &[]),
];

/// Runs one operation; what the callback is to return, where it says so.
pub fn run(context: u32, op: &Op, quiet: bool) -> Option<u32> {
    let (name, arguments) = op.split_first()?;
    let name = String::from_utf8_lossy(name).into_owned();
    let loud = name.strip_prefix('!');
    let said = match loud.unwrap_or(&name) {
        "quiet" => return None,
        "ret" => return number(context, arguments.first(), ""),
        "trap" => trap(),
        "eff" => effective(context, arguments),
        "hs" => fields(arguments),
        "pn" | "pl" => property(&name, arguments),
        "env" => variable(arguments),
        "say" => joined(arguments),
        "raw" => raw(context, arguments),
        name => called(context, name, arguments),
    };
    if !quiet || loud.is_some() {
        let plugin = with(context, |it| it.name.clone());
        line(&plugin, &format!(". {}: {said}", joined(op)));
    }
    None
}

fn joined(op: &[Vec<u8>]) -> String {
    let words: Vec<String> = op.iter().map(|word| shown(word)).collect();
    words.join(" ")
}

/// What a trap in a callback is to the host: `unreachable`.
fn trap() -> String {
    std::process::abort()
}

fn number(context: u32, word: Option<&Vec<u8>>, kind: &'static str) -> Option<u32> {
    Some(wide(context, word, kind) as u32)
}

fn wide(context: u32, word: Option<&Vec<u8>>, kind: &'static str) -> u64 {
    let text = String::from_utf8_lossy(word.map_or(&[][..], Vec::as_slice)).into_owned();
    match text.as_str() {
        "" => 0,
        "last" => with(context, |it| it.last.get(kind).copied().unwrap_or(0)),
        text => match text.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16).unwrap_or(0),
            None => text.parse::<i64>().unwrap_or(0) as u64,
        },
    }
}

/// An operation of [`CALLS`].
fn called(context: u32, name: &str, arguments: &[Vec<u8>]) -> String {
    let Some((_, hostcall, kinds)) = CALLS.iter().find(|(op, ..)| *op == name) else {
        return "unknown operation".to_owned();
    };
    let (mut words, mut kept, mut place) = (Vec::new(), Vec::new(), Place::default());
    let (mut given, mut next) = (arguments.iter(), first_number(kinds));
    for kind in *kinds {
        match kind {
            Number(kind) => words.push(wide(context, given.next(), kind)),
            Bytes | Path | Pairs => {
                let bytes = serialised(*kind, given.next().map_or(&[][..], Vec::as_slice));
                words.extend([abi::address(bytes.as_ptr()), bytes.len() as u64]);
                kept.push(bytes);
            }
            Block => {
                words.extend([place.at(0), place.at(1)]);
            }
            Out(_) | Hidden(_) => {
                words.push(place.at(next));
                next += 1;
            }
        }
    }
    let status = abi::call(hostcall, &words).unwrap_or(u32::MAX);
    drop(kept);
    if status == 0 { given_back(context, kinds, &place) } else { format!("status {status}") }
}

/// The word of the first number that the host writes: a block takes the first two.
fn first_number(kinds: &[Kind]) -> usize {
    if kinds.contains(&Block) { 2 } else { 0 }
}

/// What the host wrote, in the order of the arguments.
fn given_back(context: u32, kinds: &[Kind], place: &Place) -> String {
    let mut said = vec!["ok".to_owned()];
    let mut next = first_number(kinds);
    for kind in kinds {
        match *kind {
            Block => said.push(shown(&place.block())),
            Out(name) | Hidden(name) => {
                let word = place.word(next);
                next += 1;
                with(context, |it| {
                    it.last.insert(name, word);
                    if name == "call" {
                        it.calls.push(word as u32);
                    }
                });
                if matches!(kind, Out(_)) {
                    said.push(format!("{name} {word}"));
                }
            }
            _ => {}
        }
    }
    said.join(" ")
}

fn serialised(kind: Kind, bytes: &[u8]) -> Vec<u8> {
    match kind {
        Path => bytes.split(|byte| *byte == b'.').map(<[u8]>::to_vec).collect::<Vec<_>>().join(&0),
        Pairs => pairs(bytes),
        // `*1000x` is a thousand times `x`: scripts have to fit into a field.
        _ => match bytes.strip_prefix(b"*").and_then(|rest| rest.split_last()) {
            Some((byte, digits)) => {
                let count = std::str::from_utf8(digits).ok().and_then(|text| text.parse().ok());
                vec![*byte; count.unwrap_or(0)]
            }
            None => bytes.to_vec(),
        },
    }
}

/// Count, sizes, then names and values, each with a NUL behind it.
fn pairs(text: &[u8]) -> Vec<u8> {
    let lines = text.split(|byte| *byte == b',').filter(|line| !line.is_empty());
    let lines: Vec<(&[u8], &[u8])> = lines
        .map(|line| {
            let at = line.iter().position(|byte| *byte == b'=').unwrap_or(line.len());
            (line.get(..at).unwrap_or_default(), line.get(at + 1..).unwrap_or_default())
        })
        .collect();
    let mut bytes = (lines.len() as u32).to_le_bytes().to_vec();
    for (name, value) in &lines {
        bytes.extend((name.len() as u32).to_le_bytes());
        bytes.extend((value.len() as u32).to_le_bytes());
    }
    for (name, value) in lines {
        bytes.extend([name, b"\0", value, b"\0"].concat());
    }
    bytes
}

/// Hostcalls of this context act on another: `root`, `self` or a number.
fn effective(context: u32, arguments: &[Vec<u8>]) -> String {
    let target = match arguments.first().map(Vec::as_slice) {
        Some(b"root") => u64::from(with(context, |it| it.root)),
        Some(b"self") => u64::from(context),
        _ => wide(context, arguments.first(), ""),
    };
    status(abi::call("proxy_set_effective_context", &[target]))
}

fn status(status: Option<u32>) -> String {
    match status {
        Some(0) => "ok".to_owned(),
        Some(status) => format!("status {status}"),
        None => "unknown operation".to_owned(),
    }
}

/// A whole map, but for scripts and what differs from run to run.
fn fields(arguments: &[Vec<u8>]) -> String {
    let map = wide(0, arguments.first(), "");
    let mut place = Place::default();
    let words = [map, place.at(0), place.at(1)];
    match abi::call("proxy_get_header_map_pairs", &words) {
        Some(0) => format!("ok {}", listed(&place.block()).unwrap_or("malformed".to_owned())),
        other => status(other),
    }
}

fn listed(bytes: &[u8]) -> Option<String> {
    const HIDDEN: [&[u8]; 6] = [
        b"x-probe-",
        b"x-forwarded-for",
        b"x-request-id",
        b"date",
        b"server",
        b"x-envoy-upstream-service-time",
    ];
    let word = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let count = if bytes.is_empty() { 0 } else { word(0)? as usize };
    let mut at = 4 + 8 * count;
    let mut said = Vec::new();
    for index in 0..count {
        let (name_size, size) = (word(4 + 8 * index)?, word(8 + 8 * index)?);
        let name = bytes.get(at..at + name_size as usize)?;
        at += name_size as usize + 1;
        let value = bytes.get(at..at + size as usize)?;
        at += size as usize + 1;
        if !HIDDEN.iter().any(|hidden| name.starts_with(hidden)) {
            said.push(format!("{}={}", shown(name), shown(value)));
        }
    }
    Some(format!("[{}]", said.join(", ")))
}

/// A property as a number, or by its size alone where the value differs from run to run.
fn property(op: &str, arguments: &[Vec<u8>]) -> String {
    let path = serialised(Path, arguments.first().map_or(&[][..], Vec::as_slice));
    let mut place = Place::default();
    let words = [abi::address(path.as_ptr()), path.len() as u64, place.at(0), place.at(1)];
    match abi::call("proxy_get_property", &words) {
        Some(0) => {
            let value = place.block();
            let number = <[u8; 8]>::try_from(value.as_slice()).map(i64::from_le_bytes);
            match number {
                Ok(number) if op.ends_with("pn") => format!("ok {number}"),
                // Addresses and times are longer or shorter by a digit.
                _ if value.is_empty() => "ok empty".to_owned(),
                _ => "ok something".to_owned(),
            }
        }
        other => status(other),
    }
}

fn variable(arguments: &[Vec<u8>]) -> String {
    let name = String::from_utf8_lossy(arguments.first().map_or(&[][..], Vec::as_slice));
    std::env::var(name.as_ref()).unwrap_or_else(|_| "absent".to_owned())
}

/// Any hostcall with any words: numbers, `@bytes` for pointer and size, `&` for a place.
fn raw(context: u32, arguments: &[Vec<u8>]) -> String {
    let Some((name, arguments)) = arguments.split_first() else { return String::new() };
    let (mut words, mut kept, mut places) = (Vec::new(), Vec::new(), Vec::new());
    for argument in arguments {
        match argument.split_first() {
            Some((b'@', bytes)) => {
                let bytes = bytes.to_vec();
                words.extend([abi::address(bytes.as_ptr()), bytes.len() as u64]);
                kept.push(bytes);
            }
            Some((b'&', _)) => {
                let mut place = Place::default();
                words.push(place.at(0));
                places.push(place);
            }
            _ => words.push(wide(context, Some(argument), "")),
        }
    }
    let result = status(abi::call(&format!("proxy_{}", String::from_utf8_lossy(name)), &words));
    drop((kept, places));
    result
}
