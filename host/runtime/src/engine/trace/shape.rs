//! What the arguments of each function are, so that they can be shown by their meaning.
//!
//! A function that is not on the list is shown with its bare numbers.

use super::Shown;
use super::rules::{Rules, readable};
use crate::engine::guest::{Guest, Span};
use crate::engine::pairs;

/// One argument, of one or two numbers.
#[derive(Clone, Copy)]
enum Part {
    /// A number.
    Number(&'static str),
    /// One of these words, by number.
    Word(&'static str, &'static [&'static str]),
    /// Pointer and length of a name: of a field, a key, a cluster.
    Name(&'static str),
    /// The same of a property's path.
    Path,
    /// Value of the field that was named before.
    Value,
    /// Bytes that are not shown.
    Hidden(&'static str),
    /// A map.
    Fields(&'static str),
    /// Where the answer's pointer and length are written.
    Out(Answered),
    /// Where a number is written.
    Put(usize),
}

/// What is answered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Answered {
    Value,
    Property,
    Fields,
    Hidden,
}

use Answered::{
    Fields as OutFields, Hidden as OutHidden, Property as OutProperty, Value as OutValue,
};
use Part::{Fields, Hidden, Name, Number, Out, Path, Put, Value, Word};

const MAP: Part = Word(
    "map",
    &[
        "request headers",
        "request trailers",
        "response headers",
        "response trailers",
        "gRPC initial metadata",
        "gRPC trailing metadata",
        "call headers",
        "call trailers",
    ],
);
const BUFFER: Part = Word(
    "buffer",
    &[
        "request body",
        "response body",
        "downstream data",
        "upstream data",
        "call body",
        "gRPC message",
        "VM configuration",
        "plugin configuration",
        "call data",
    ],
);
const DIRECTION: Part = Word("direction", &["request", "response", "downstream", "upstream"]);
const LEVEL: Part = Word("level", &["trace", "debug", "info", "warn", "error", "critical"]);
const METRIC: Part = Word("kind", &["counter", "gauge", "histogram"]);

#[rustfmt::skip]
const HOSTCALLS: &[(&str, &[Part])] = &[
    ("proxy_get_header_map_pairs", &[MAP, Out(OutFields)]),
    ("proxy_get_header_map_size", &[MAP, Put(4)]),
    ("proxy_set_header_map_pairs", &[MAP, Fields("fields")]),
    ("proxy_get_header_map_value", &[MAP, Name("name"), Out(OutValue)]),
    ("proxy_add_header_map_value", &[MAP, Name("name"), Value]),
    ("proxy_replace_header_map_value", &[MAP, Name("name"), Value]),
    ("proxy_remove_header_map_value", &[MAP, Name("name")]),
    ("proxy_get_buffer_bytes", &[BUFFER, Number("start"), Number("length"), Out(OutHidden)]),
    ("proxy_set_buffer_bytes", &[BUFFER, Number("start"), Number("length"), Hidden("bytes")]),
    ("proxy_get_buffer_status", &[BUFFER, Put(4)]),
    ("proxy_get_property", &[Path, Out(OutProperty)]),
    ("proxy_set_property", &[Path, Hidden("value")]),
    ("proxy_continue_stream", &[DIRECTION]),
    ("proxy_close_stream", &[DIRECTION]),
    ("proxy_set_effective_context", &[Number("context")]),
    ("proxy_send_local_response", &[Number("status"), Hidden("details"), Hidden("body"), Fields("headers"), Number("grpc_status")]),
    ("proxy_log", &[LEVEL, Hidden("text")]),
    ("proxy_get_log_level", &[Put(4)]),
    ("proxy_get_current_time_nanoseconds", &[Put(8)]),
    ("proxy_set_tick_period_milliseconds", &[Number("milliseconds")]),
    ("proxy_get_shared_data", &[Name("key"), Out(OutHidden), Put(4)]),
    ("proxy_set_shared_data", &[Name("key"), Hidden("value"), Number("cas")]),
    ("proxy_define_metric", &[METRIC, Name("name"), Put(4)]),
    ("proxy_increment_metric", &[Number("metric"), Number("by")]),
    ("proxy_record_metric", &[Number("metric"), Number("value")]),
    ("proxy_get_metric", &[Number("metric"), Put(8)]),
    ("proxy_call_foreign_function", &[Name("function"), Hidden("arguments"), Out(OutHidden)]),
    ("proxy_http_call", &[Name("cluster"), Fields("headers"), Hidden("body"), Fields("trailers"), Number("timeout_ms"), Put(4)]),
    ("proxy_done", &[]),
    ("proxy_get_status", &[Put(4), Out(OutHidden)]),
    ("proxy_register_shared_queue", &[Name("name"), Put(4)]),
    ("proxy_resolve_shared_queue", &[Name("vm_id"), Name("name"), Put(4)]),
    ("proxy_dequeue_shared_queue", &[Number("queue"), Out(OutHidden)]),
    ("proxy_enqueue_shared_queue", &[Number("queue"), Hidden("value")]),
    ("proxy_grpc_cancel", &[Number("call")]),
    ("proxy_grpc_close", &[Number("call")]),
    ("proxy_grpc_send", &[Number("call"), Hidden("message"), Number("end")]),
    ("proxy_grpc_call", &[Hidden("service"), Name("name"), Name("method"), Hidden("metadata"), Hidden("message"), Number("timeout_ms"), Put(4)]),
    ("proxy_grpc_stream", &[Hidden("service"), Name("name"), Name("method"), Hidden("metadata"), Put(4)]),
    ("clock_time_get", &[Word("clock", &["realtime", "monotonic"]), Number("precision"), Put(8)]),
    ("random_get", &[Hidden("bytes")]),
    ("environ_sizes_get", &[Put(4), Put(4)]),
    ("environ_get", &[]),
    ("fd_write", &[Number("file")]),
];

/// Names of the arguments of callbacks, after the context.
const CALLBACKS: &[(&str, &[&str])] = &[
    ("proxy_on_context_create", &["parent"]),
    ("proxy_on_vm_start", &["size"]),
    ("proxy_on_configure", &["size"]),
    ("proxy_on_request_headers", &["fields", "end"]),
    ("proxy_on_request_body", &["size", "end"]),
    ("proxy_on_request_trailers", &["fields"]),
    ("proxy_on_response_headers", &["fields", "end"]),
    ("proxy_on_response_body", &["size", "end"]),
    ("proxy_on_response_trailers", &["fields"]),
    ("proxy_on_http_call_response", &["token", "fields", "size", "trailers"]),
    ("proxy_on_queue_ready", &["queue"]),
    ("proxy_on_grpc_receive_initial_metadata", &["call", "fields"]),
    ("proxy_on_grpc_receive", &["call", "size"]),
    ("proxy_on_grpc_receive_trailing_metadata", &["call", "fields"]),
    ("proxy_on_grpc_close", &["call", "status"]),
];

/// The arguments of a callback by their names.
pub(super) fn callback(name: &str, numbers: &[i64]) -> Vec<(&'static str, i64)> {
    let names = CALLBACKS.iter().find(|(known, _)| *known == name).map_or(&[][..], |(_, it)| it);
    names.iter().copied().zip(numbers.iter().skip(1).copied()).collect()
}

/// A hostcall as it was called.
pub(super) struct Noted {
    pub name: &'static str,
    pub arguments: Vec<(&'static str, Shown)>,
    /// What was named, for the value that is answered.
    named: Vec<u8>,
    out: Option<(Answered, u32, u32)>,
    put: Option<(u32, usize)>,
}

impl Noted {
    /// Notes what is given.
    pub fn before(guest: &Guest, rules: &Rules, name: &'static str, numbers: &[i64]) -> Self {
        let mut noted =
            Self { name, arguments: Vec::new(), named: Vec::new(), out: None, put: None };
        let Some((_, parts)) = HOSTCALLS.iter().find(|(known, _)| *known == name) else {
            noted.arguments = numbers.iter().map(|it| ("", Shown::Number(*it))).collect();
            return noted;
        };
        let mut numbers = numbers.iter().copied();
        let mut next = || numbers.next().unwrap_or_default();
        for part in *parts {
            noted.note(guest, rules, *part, &mut next);
        }
        noted
    }

    fn note(&mut self, guest: &Guest, rules: &Rules, part: Part, next: &mut impl FnMut() -> i64) {
        let first = next();
        let argument = match part {
            Number(label) => (label, Shown::Number(first)),
            Word(label, words) => {
                let word = usize::try_from(first).ok().and_then(|index| words.get(index));
                (label, word.map_or(Shown::Number(first), |word| Shown::Text((*word).to_owned())))
            }
            Put(size) => {
                self.put.get_or_insert((low(first), size));
                return;
            }
            Out(answered) => {
                self.out = Some((answered, low(first), low(next())));
                return;
            }
            Name(label) => {
                self.named = bytes(guest, first, next());
                (label, Shown::Text(readable(&self.named)))
            }
            Path => {
                self.named = bytes(guest, first, next());
                ("path", Shown::Text(readable(&self.named).replace("\\x00", ".")))
            }
            Value => ("value", rules.field(&self.named, &bytes(guest, first, next()))),
            Hidden(label) => (label, Shown::Bytes(low(next()) as usize)),
            Fields(label) => {
                let bytes = bytes(guest, first, next());
                (
                    label,
                    pairs::decode(&bytes).map_or(Shown::Bytes(bytes.len()), |it| rules.fields(&it)),
                )
            }
        };
        self.arguments.push(argument);
    }

    /// What was answered, and its size.
    pub fn after(&self, guest: &Guest, rules: &Rules) -> (Option<Shown>, Option<usize>) {
        if let Some((answered, data_at, size_at)) = self.out {
            let number = |at| guest.bytes(Span(at, 4)).ok().map(little);
            let (Some(at), Some(size)) = (number(data_at), number(size_at)) else {
                return (None, None);
            };
            let bytes = bytes(guest, at, size);
            let shown = match answered {
                Answered::Value => rules.field(&self.named, &bytes),
                Answered::Property => rules.property(&self.named, &bytes),
                Answered::Fields => match pairs::decode(&bytes) {
                    Some(pairs) => rules.fields(&pairs),
                    None => Shown::Bytes(bytes.len()),
                },
                Answered::Hidden => Shown::Bytes(bytes.len()),
            };
            return (Some(shown), usize::try_from(size).ok());
        }
        let put = self.put.and_then(|(at, size)| {
            let size = u32::try_from(size).ok()?;
            guest.bytes(Span(at, size)).ok().map(little)
        });
        (put.map(Shown::Number), None)
    }
}

fn little(bytes: &[u8]) -> i64 {
    let shifted = bytes.iter().rev();
    shifted.fold(0u64, |sum, byte| sum << 8 | u64::from(*byte)).cast_signed()
}

/// The number as the guest has written it: 32 bits.
fn low(number: i64) -> u32 {
    (number.cast_unsigned() & 0xffff_ffff) as u32
}

fn bytes(guest: &Guest, at: i64, size: i64) -> Vec<u8> {
    guest.bytes(Span(low(at), low(size))).map(<[u8]>::to_vec).unwrap_or_default()
}
