//! A module that does what a script in its own memory says.
//!
//! It imports every function that there is and is compiled once; the script comes as the
//! plugin's configuration. Each callback runs the script on: a byte names a function, the
//! next ones its arguments, which are numbers, wild pointers, or places and lengths of words
//! that lie in its memory. So does its allocator, so that hostcalls come back in the middle of
//! others.

use std::fmt::Write;

/// Functions by module, name and parameters: `i` for 32 bits, `I` for 64.
#[rustfmt::skip]
pub const FUNCTIONS: &[(&str, &str, &str)] = &[
    ("env", "proxy_get_header_map_pairs", "iii"), ("env", "proxy_get_header_map_size", "ii"),
    ("env", "proxy_set_header_map_pairs", "iii"), ("env", "proxy_get_header_map_value", "iiiii"),
    ("env", "proxy_add_header_map_value", "iiiii"), ("env", "proxy_replace_header_map_value", "iiiii"),
    ("env", "proxy_remove_header_map_value", "iii"), ("env", "proxy_get_buffer_bytes", "iiiii"),
    ("env", "proxy_set_buffer_bytes", "iiiii"), ("env", "proxy_get_buffer_status", "iii"),
    ("env", "proxy_get_property", "iiii"), ("env", "proxy_set_property", "iiii"),
    ("env", "proxy_continue_stream", "i"), ("env", "proxy_close_stream", "i"),
    ("env", "proxy_set_effective_context", "i"), ("env", "proxy_send_local_response", "iiiiiiii"),
    ("env", "proxy_log", "iii"), ("env", "proxy_get_log_level", "i"),
    ("env", "proxy_get_current_time_nanoseconds", "i"), ("env", "proxy_set_tick_period_milliseconds", "i"),
    ("env", "proxy_get_shared_data", "iiiii"), ("env", "proxy_set_shared_data", "iiiii"),
    ("env", "proxy_define_metric", "iiii"), ("env", "proxy_increment_metric", "iI"),
    ("env", "proxy_record_metric", "iI"), ("env", "proxy_get_metric", "ii"),
    ("env", "proxy_call_foreign_function", "iiiiii"), ("env", "proxy_http_call", "iiiiiiiiii"),
    ("env", "proxy_done", ""), ("env", "proxy_get_status", "iii"),
    ("env", "proxy_register_shared_queue", "iii"), ("env", "proxy_resolve_shared_queue", "iiiii"),
    ("env", "proxy_dequeue_shared_queue", "iii"), ("env", "proxy_enqueue_shared_queue", "iii"),
    ("env", "proxy_grpc_cancel", "i"), ("env", "proxy_grpc_close", "i"), ("env", "proxy_grpc_send", "iiii"),
    ("env", "proxy_grpc_stream", "iiiiiiiii"), ("env", "proxy_grpc_call", "iiiiiiiiiiii"),
    ("wasi_snapshot_preview1", "clock_time_get", "iIi"), ("wasi_snapshot_preview1", "random_get", "ii"),
    ("wasi_snapshot_preview1", "environ_sizes_get", "ii"), ("wasi_snapshot_preview1", "environ_get", "ii"),
    ("wasi_snapshot_preview1", "args_sizes_get", "ii"), ("wasi_snapshot_preview1", "args_get", "ii"),
    ("wasi_snapshot_preview1", "fd_write", "iiii"), ("wasi_snapshot_preview1", "fd_read", "iiii"),
    ("wasi_snapshot_preview1", "fd_close", "i"), ("wasi_snapshot_preview1", "sched_yield", ""),
];

/// Callbacks by name, number of parameters and whether there is an answer.
pub const CALLBACKS: &[(&str, usize, bool)] = &[
    ("on_context_create", 2, false),
    ("on_tick", 1, false),
    ("on_request_headers", 3, true),
    ("on_request_body", 3, true),
    ("on_request_trailers", 2, true),
    ("on_response_headers", 3, true),
    ("on_response_body", 3, true),
    ("on_response_trailers", 2, true),
    ("on_http_call_response", 5, false),
    ("on_done", 1, true),
    ("on_log", 1, false),
    ("on_delete", 1, false),
];

/// Words at 1024, each in a place of 64 bytes.
const WORDS: &[&str] = &[
    ":path",
    ":status",
    "x-a",
    "content-length",
    "transfer-encoding",
    "plugin_root_id",
    "request\\00path",
    "filter_state\\00wasm.permit",
    "permit",
    "declare_property",
    "verify_signature",
    "\\0a\\06permit\\10\\01\\18\\01",
    "\\0a\\06sha256\\12\\01k\\1a\\01s",
    "up",
    "a\\0d\\0ab: c",
    // Maps: empty, one line, and what a call-out needs, in two places.
    "\\00\\00\\00\\00",
    "\\01\\00\\00\\00\\01\\00\\00\\00\\01\\00\\00\\00x\\00y\\00",
    "\\03\\00\\00\\00\\07\\00\\00\\00\\01\\00\\00\\00\\05\\00\\00\\00\\01\\00\\00\\00\\0a\\00\\00\\00\\01\\00\\00\\00:method\\00x\\00:path\\00x\\00:authority\\00x\\00",
];

/// Where the script lies.
const SCRIPT: u32 = 32 * 1024;

/// The text of the module.
pub fn text() -> String {
    let (mut imports, mut cases, mut data) = (String::new(), String::new(), String::new());
    for (number, (module, name, parameters)) in FUNCTIONS.iter().enumerate() {
        let types: String =
            parameters.chars().map(|p| if p == 'I' { "i64 " } else { "i32 " }).collect();
        let _ = writeln!(
            imports,
            r#"(import "{module}" "{name}" (func $f{number} (param {types}) (result i32)))"#
        );
        let arguments: String =
            parameters
                .chars()
                .map(|p| {
                    if p == 'I' {
                        "(i64.extend_i32_s (call $argument))"
                    } else {
                        "(call $argument)"
                    }
                })
                .collect();
        let _ = writeln!(
            cases,
            "(if (i32.eq (local.get $op) (i32.const {number})) (then (return (call $f{number} {arguments}))))"
        );
    }
    for (number, word) in WORDS.iter().enumerate() {
        let length = word.len() - 2 * word.matches('\\').count();
        let at = 1024 + 64 * number;
        let _ = writeln!(data, r#"(data (i32.const {at}) "{word}")"#);
        let _ = writeln!(data, r#"(data (i32.const {}) "\{length:02x}")"#, 256 + number);
    }
    format!(
        "(module {imports} {MEMORY} {data} {} {cases} (i32.const 0)) {} {})",
        step(),
        RUN,
        callbacks()
    )
}

fn callbacks() -> String {
    let mut text = String::new();
    for (name, parameters, answers) in CALLBACKS {
        let types = "i32 ".repeat(*parameters);
        let (result, end) = if *answers { ("(result i32)", "") } else { ("", "(drop)") };
        let _ = writeln!(
            text,
            r#"(func (export "proxy_{name}") (param {types}) {result} (call $run) {end})"#
        );
    }
    text
}

const MEMORY: &str = r#"
    (memory (export "memory") 2)
    (global $at (mut i32) (i32.const 0))
    (global $end (mut i32) (i32.const 0))
    (global $length (mut i32) (i32.const 0))
    (global $free (mut i32) (i32.const 4096))
    (global $depth (mut i32) (i32.const 0))
    (func (export "proxy_abi_version_0_2_1"))
    (func (export "_initialize"))
    (func $byte (result i32)
        (if (i32.ge_u (global.get $at) (global.get $end)) (then (return (i32.const 0))))
        (global.set $at (i32.add (global.get $at) (i32.const 1)))
        (i32.load8_u (i32.sub (global.get $at) (i32.const 1))))
    (func $word (result i32)
        (i32.or (call $byte) (i32.or (i32.shl (call $byte) (i32.const 8))
            (i32.or (i32.shl (call $byte) (i32.const 16)) (i32.shl (call $byte) (i32.const 24))))))
    ;; A number, by one byte: what kind; the next ones: which.
    (func $argument (result i32) (local $kind i32) (local $value i32)
        (local.set $kind (i32.and (call $byte) (i32.const 7)))
        (if (i32.eq (local.get $kind) (i32.const 0)) (then (return (call $byte))))
        (if (i32.eq (local.get $kind) (i32.const 1)) (then (return (i32.add (i32.const 512) (call $byte)))))
        (if (i32.eq (local.get $kind) (i32.const 2)) (then (return (call $word))))
        (if (i32.eq (local.get $kind) (i32.const 3)) (then (return (i32.sub (i32.const 0) (call $byte)))))
        (if (i32.eq (local.get $kind) (i32.const 4)) (then (return (i32.sub (i32.const 131072) (call $byte)))))
        (if (i32.eq (local.get $kind) (i32.const 5)) (then (return (i32.and (call $byte) (i32.const 3)))))
        (if (i32.eq (local.get $kind) (i32.const 6)) (then
            (local.set $value (i32.and (call $byte) (i32.const 31)))
            (global.set $length (i32.load8_u (i32.add (i32.const 256) (local.get $value))))
            (return (i32.add (i32.const 1024) (i32.shl (local.get $value) (i32.const 6))))))
        (global.get $length))
"#;

const RUN: &str = r#"
    ;; Ops until the script says an answer or ends.
    (func $run (result i32) (local $op i32)
        (loop $again
            (if (i32.ge_u (global.get $at) (global.get $end)) (then (return (i32.const 0))))
            (local.set $op (call $byte))
            (if (i32.ge_u (local.get $op) (i32.const 128)) (then (return (i32.and (local.get $op) (i32.const 1)))))
            (drop (call $step (local.get $op)))
            (br $again))
        (i32.const 0))
    (func (export "proxy_on_memory_allocate") (param $size i32) (result i32) (local $how i32)
        (local.set $how (i32.and (call $byte) (i32.const 15)))
        (if (i32.eq (local.get $how) (i32.const 15)) (then (return (call $argument))))
        (if (i32.eq (local.get $how) (i32.const 14)) (then (drop (call $step (call $byte)))))
        (if (i32.eq (local.get $how) (i32.const 13)) (then (drop (memory.grow (call $argument)))))
        (if (i32.eq (local.get $how) (i32.const 12)) (then (return (i32.const 0))))
        ;; Round and round in the middle.
        (global.set $free (i32.add (i32.const 4096)
            (i32.and (i32.add (global.get $free) (local.get $size)) (i32.const 16383))))
        (global.get $free))
    ;; The whole script comes at once; what its allocator asks before that is answered by zeros.
    (func (export "proxy_on_configure") (param $root i32) (param $size i32) (result i32)
        (drop (call $f7 (i32.const 7) (i32.const 0) (local.get $size) (i32.const 512) (i32.const 516)))
        (memory.copy (i32.const 32768) (i32.load (i32.const 512)) (local.get $size))
        (global.set $at (i32.const 32768))
        (global.set $end (i32.add (i32.const 32768) (local.get $size)))
        (i32.const 1))
"#;

fn step() -> &'static str {
    r#"
    (func $step (param $op i32) (result i32)
        (if (i32.eq (local.get $op) (i32.const 127)) (then (unreachable)))
        (if (i32.eq (local.get $op) (i32.const 126)) (then (i32.store (call $argument) (call $argument))))
        (if (i32.eq (local.get $op) (i32.const 125)) (then (drop (memory.grow (call $argument)))))
        (if (i32.eq (local.get $op) (i32.const 124)) (then (return (call $step (i32.const 124)))))
    "#
}

/// Longest script that fits.
pub const LONGEST: usize = (2 * 65536 - SCRIPT) as usize / 2;
