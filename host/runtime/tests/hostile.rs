//! Modules that misbehave: each ends at most its own machine, and says why.

mod support;

use std::rc::Rc;
use std::time::{Duration, Instant};

use postern_runtime::engine::{
    Action, Capabilities, Plugin, Program, ProgramError, Reason, StartError, Trapped, Vm,
    VmSettings,
};
use support::{Process, engine, program, settings, stream, vm, wat};

/// What `proxy_on_request_headers` with this body ends in.
fn headers(declarations: &str, body: &str) -> Result<Action, Trapped> {
    let process = Rc::new(Process::default());
    let module = format!(
        r#"{declarations} (func $callback (export "proxy_on_request_headers")
            (param i32 i32 i32) (result i32) {body})"#
    );
    let mut vm = vm(&module, &process);
    let root = vm.root(Plugin::default()).unwrap();
    let id = vm.stream(root, stream(&[("x-a", "1")]))?;
    let first = vm.request_headers(id, 1, true);
    if let Err(trapped) = &first {
        // Dead for good, and forgetting its streams is still possible.
        assert_eq!(vm.request_headers(id, 1, true), Err(trapped.clone()));
        assert_eq!(vm.delete(id), Err(trapped.clone()));
        assert_eq!(vm.trapped(), Some(trapped));
    }
    first
}

fn reason(declarations: &str, body: &str) -> Reason {
    headers(declarations, body).unwrap_err().reason
}

#[test]
fn a_trap_names_the_callback_and_kills_the_machine() {
    let trapped = headers("", "unreachable").unwrap_err();
    assert_eq!(trapped.callback, "proxy_on_request_headers");
    assert!(matches!(trapped.reason, Reason::Other(_)), "{trapped}");
}

#[test]
fn an_endless_loop_ends_at_the_deadline() {
    let start = Instant::now();
    assert_eq!(reason("", "(loop br 0) unreachable"), Reason::Deadline);
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[test]
fn endless_recursion_is_a_stack_overflow() {
    let body = "(call $callback (local.get 0) (local.get 1) (local.get 2))";
    assert_eq!(reason("", body), Reason::StackOverflow);
}

#[test]
fn a_load_outside_of_memory_is_out_of_bounds() {
    assert_eq!(reason("", "(i32.load (i32.const -8))"), Reason::OutOfBounds);
}

#[test]
fn exit_is_the_end_of_the_machine_only() {
    let exit = r#"(import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))"#;
    assert_eq!(reason(exit, "(call $exit (i32.const 3)) i32.const 0"), Reason::Exit(3));
}

#[test]
fn four_gibibytes_are_refused_without_ending_the_machine() {
    // Growth answers -1, so the callback pauses.
    let action = headers("", "(memory.grow (i32.const 65534))").unwrap();
    assert_eq!(action, Action::Pause);
}

#[test]
fn a_module_that_starts_with_too_much_memory_does_not_start() {
    let little = VmSettings { memory: 65_536, ..settings() };
    let started = Vm::start(&program(""), little, Rc::new(Process::default()));
    assert!(matches!(started.err(), Some(StartError::Instance(_))));
}

#[test]
fn wild_pointers_and_lengths_are_answered_with_invalid_memory_access() {
    let log = r#"(import "env" "proxy_log" (func $call (param i32 i32 i32) (result i32)))"#;
    for (at, size) in [(-1, 1), (0, -1), (131_072, 1), (131_071, 2), (-1, -1)] {
        let body = format!(
            "(call $call (i32.const 2) (i32.const {at}) (i32.const {size}))
             (if (i32.ne (i32.const 6)) (then unreachable)) i32.const 0"
        );
        assert!(headers(log, &body).is_ok(), "{at} {size}");
    }
}

#[test]
fn wild_pointers_for_answers_are_refused_before_anything_is_allocated() {
    let pairs = r#"(import "env" "proxy_get_header_map_pairs" (func $call (param i32 i32 i32) (result i32)))"#;
    for (data, size) in [("-1", "0"), ("0", "-3"), ("131070", "0")] {
        let body = format!(
            "(call $call (i32.const 0) (i32.const {data}) (i32.const {size}))
             (if (i32.ne (i32.const 6)) (then unreachable)) i32.const 0"
        );
        assert!(headers(pairs, &body).is_ok(), "{data} {size}");
    }
}

#[test]
fn a_start_function_that_loops_ends_at_the_start_deadline() {
    let text = r#"(module (memory (export "memory") 1) (func (export "proxy_abi_version_0_2_1"))
        (func (export "_initialize") (loop br 0))
        (func (export "malloc") (param i32) (result i32) i32.const 0))"#;
    let program =
        Program::new(engine(), &wat::parse_str(text).unwrap(), Capabilities::default()).unwrap();
    let settings = VmSettings { start_deadline: Duration::from_millis(20), ..settings() };
    let error = Vm::start(&program, settings, Rc::new(Process::default())).err();
    let trapped = Trapped { callback: "_initialize", reason: Reason::Deadline };
    assert_eq!(error, Some(StartError::Trapped(trapped)));
}

#[test]
fn what_is_not_proxy_wasm_is_refused_with_its_reason() {
    let refused = |bytes: &[u8]| Program::new(engine(), bytes, Capabilities::default()).err();
    let text = |text: &str| refused(&wat::parse_str(text).unwrap());
    assert!(matches!(refused(b"\x7fELF"), Some(ProgramError::NotWasm(_))));
    assert_eq!(text("(module)"), Some(ProgramError::NotProxyWasm));
    let old = r#"(module (func (export "proxy_abi_version_0_1_0")))"#;
    assert_eq!(text(old), Some(ProgramError::Version("proxy_abi_version_0_1_0".to_owned())));
    let bare = r#"(module (func (export "proxy_abi_version_0_2_1")))"#;
    assert_eq!(text(bare), Some(ProgramError::MissingExport("memory")));
    let unknown = refused(&wat(r#"(import "env" "proxy_launch" (func))"#)).unwrap();
    assert!(unknown.to_string().contains("proxy_launch"), "{unknown}");
    let wrong = refused(&wat(r#"(import "env" "proxy_log" (func))"#)).unwrap();
    assert!(wrong.to_string().contains("proxy_log"), "{wrong}");
}

#[test]
fn what_is_not_allowed_fails_in_env_and_refuses_the_start_in_wasi() {
    let env = r#"(import "env" "proxy_set_tick_period_milliseconds" (func $tick (param i32) (result i32)))
        (func (export "proxy_on_configure") (param i32 i32) (result i32)
            (i32.eq (call $tick (i32.const 1)) (i32.const 10)))"#;
    let only = |names: &[&str]| Capabilities::only(names.iter().copied());
    let program = Program::new(engine(), &wat(env), only(&["proxy_on_configure"])).unwrap();
    let process = Rc::new(Process::default());
    let mut vm = Vm::start(&program, settings(), process.clone()).unwrap();
    assert!(vm.root(Plugin::default()).is_ok());
    assert!(process.ticks.borrow().is_empty());
    assert!(process.log_text().contains("restricted"), "{}", process.log_text());

    let wasi = r#"(import "wasi_snapshot_preview1" "sched_yield" (func (result i32)))"#;
    assert!(matches!(
        Program::new(engine(), &wat(wasi), only(&[])).err(),
        Some(ProgramError::Import(_))
    ));
}

#[test]
fn a_stream_on_another_machine_is_not_touched_by_a_trap() {
    let process = Rc::new(Process::default());
    let dying = r#"(func (export "proxy_on_tick") (param i32) unreachable)"#;
    let (mut dead, mut alive) = (vm(dying, &process), vm("", &process));
    let (root, other) =
        (dead.root(Plugin::default()).unwrap(), alive.root(Plugin::default()).unwrap());
    assert!(dead.tick(root).is_err());
    assert!(alive.tick(other).is_ok());
}

#[test]
fn a_dead_machine_keeps_nothing_of_its_streams() {
    let process = Rc::new(Process::default());
    let dying = r#"(func (export "proxy_on_tick") (param i32) unreachable)"#;
    let mut vm = vm(dying, &process);
    let root = vm.root(Plugin::default()).unwrap();
    let views = [stream(&[]), stream(&[])];
    for view in &views {
        vm.stream(root, view.clone()).unwrap();
    }
    assert!(vm.tick(root).is_err());
    assert!(vm.stream(root, views[0].clone()).is_err());
    assert_eq!(views.map(|view| Rc::strong_count(&view)), [1, 1]);
}

/// Every function there is but `proc_exit`, with its parameters (`i` 32 bits, `l` 64).
const FUNCTIONS: &[(&str, &str, &str)] = &[
    ("env", "proxy_log", "iii"),
    ("env", "proxy_get_log_level", "i"),
    ("env", "proxy_get_current_time_nanoseconds", "i"),
    ("env", "proxy_set_tick_period_milliseconds", "i"),
    ("env", "proxy_get_buffer_bytes", "iiiii"),
    ("env", "proxy_get_buffer_status", "iii"),
    ("env", "proxy_set_buffer_bytes", "iiiii"),
    ("env", "proxy_get_header_map_pairs", "iii"),
    ("env", "proxy_get_header_map_size", "ii"),
    ("env", "proxy_set_header_map_pairs", "iii"),
    ("env", "proxy_get_header_map_value", "iiiii"),
    ("env", "proxy_add_header_map_value", "iiiii"),
    ("env", "proxy_replace_header_map_value", "iiiii"),
    ("env", "proxy_remove_header_map_value", "iii"),
    ("env", "proxy_get_property", "iiii"),
    ("env", "proxy_set_property", "iiii"),
    ("env", "proxy_get_shared_data", "iiiii"),
    ("env", "proxy_set_shared_data", "iiiii"),
    ("env", "proxy_define_metric", "iiii"),
    ("env", "proxy_increment_metric", "il"),
    ("env", "proxy_record_metric", "il"),
    ("env", "proxy_get_metric", "ii"),
    ("env", "proxy_call_foreign_function", "iiiiii"),
    ("env", "proxy_http_call", "iiiiiiiiii"),
    ("env", "proxy_continue_stream", "i"),
    ("env", "proxy_close_stream", "i"),
    ("env", "proxy_set_effective_context", "i"),
    ("env", "proxy_send_local_response", "iiiiiiii"),
    ("env", "proxy_done", ""),
    ("env", "proxy_get_status", "iii"),
    ("env", "proxy_register_shared_queue", "iii"),
    ("env", "proxy_resolve_shared_queue", "iiiii"),
    ("env", "proxy_dequeue_shared_queue", "iii"),
    ("env", "proxy_enqueue_shared_queue", "iii"),
    ("env", "proxy_grpc_cancel", "i"),
    ("env", "proxy_grpc_close", "i"),
    ("env", "proxy_grpc_send", "iiii"),
    ("env", "proxy_grpc_stream", "iiiiiiiii"),
    ("env", "proxy_grpc_call", "iiiiiiiiiiii"),
    ("wasi_snapshot_preview1", "clock_time_get", "ili"),
    ("wasi_snapshot_preview1", "random_get", "ii"),
    ("wasi_snapshot_preview1", "environ_sizes_get", "ii"),
    ("wasi_snapshot_preview1", "environ_get", "ii"),
    ("wasi_snapshot_preview1", "args_sizes_get", "ii"),
    ("wasi_snapshot_preview1", "args_get", "ii"),
    ("wasi_snapshot_preview1", "fd_write", "iiii"),
    ("wasi_snapshot_preview1", "fd_read", "iiii"),
    ("wasi_snapshot_preview1", "fd_seek", "ilii"),
    ("wasi_snapshot_preview1", "fd_close", "i"),
    ("wasi_snapshot_preview1", "fd_fdstat_get", "ii"),
    ("wasi_snapshot_preview1", "fd_prestat_get", "ii"),
    ("wasi_snapshot_preview1", "fd_prestat_dir_name", "iii"),
    ("wasi_snapshot_preview1", "sched_yield", ""),
];

/// A module that calls every function once, arguments taken in turn from `values`.
fn calls_everything(values: &[i32], turn: usize) -> String {
    let kind = |letter| if letter == 'i' { "i32" } else { "i64" };
    let (mut imports, mut calls) = (String::new(), String::new());
    for (module, name, parameters) in FUNCTIONS {
        let types: Vec<&str> = parameters.chars().map(kind).collect();
        let types = types.join(" ");
        imports +=
            &format!(r#"(import "{module}" "{name}" (func ${name} (param {types}) (result i32)))"#);
        let value = |index: usize| values[(index * turn + turn) % values.len()];
        let arguments = parameters.chars().enumerate();
        let arguments =
            arguments.map(|(i, letter)| format!("({}.const {})", kind(letter), value(i)));
        calls += &format!("(drop (call ${name} {}))", arguments.collect::<String>());
    }
    format!(
        r#"{imports} (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        {calls} i32.const 0)"#
    )
}

#[test]
fn no_argument_of_any_function_reaches_outside_of_the_machine() {
    let values = [-1, 0, 1, i32::MIN, 131_072, 131_070, 65_536, 7, i32::MAX, 4, 6];
    for turn in 0..values.len() {
        let process = Rc::new(Process::default());
        let mut vm = vm(&calls_everything(&values, turn), &process);
        let root = vm.root(Plugin::default()).unwrap();
        let id = vm.stream(root, stream(&[("x-a", "1")])).unwrap();
        vm.request_headers(id, 1, true).unwrap_or_else(|e| panic!("turn {turn}: {e}"));
    }
}
