//! What hostcalls answer, seen from modules that compare it themselves.

mod support;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use postern_runtime::engine::{FailurePolicy, Plugin, Recovery, StartError, Vm, VmSettings};
use postern_runtime::proxy::machine::Machine;
use postern_runtime::view::{CallAnswer, Declared, MetricKind};
use support::{Process, Stream, program, settings, stream, vm};

/// Imports by short names, and constants in memory: a 16-byte slot each from 1024.
const IMPORTS: &str = r#"
    (import "env" "proxy_get_header_map_value" (func $value (param i32 i32 i32 i32 i32) (result i32)))
    (import "env" "proxy_replace_header_map_value" (func $replace (param i32 i32 i32 i32 i32) (result i32)))
    (import "env" "proxy_get_buffer_bytes" (func $read (param i32 i32 i32 i32 i32) (result i32)))
    (import "env" "proxy_set_buffer_bytes" (func $write (param i32 i32 i32 i32 i32) (result i32)))
    (import "env" "proxy_get_property" (func $property (param i32 i32 i32 i32) (result i32)))
    (import "env" "proxy_set_property" (func $set_property (param i32 i32 i32 i32) (result i32)))
    (import "env" "proxy_get_shared_data" (func $shared (param i32 i32 i32 i32 i32) (result i32)))
    (import "env" "proxy_set_shared_data" (func $set_shared (param i32 i32 i32 i32 i32) (result i32)))
    (import "env" "proxy_set_effective_context" (func $act_on (param i32) (result i32)))
    (import "env" "proxy_continue_stream" (func $continue (param i32) (result i32)))
    (import "env" "proxy_define_metric" (func $metric (param i32 i32 i32 i32) (result i32)))
    (import "env" "proxy_increment_metric" (func $add (param i32 i64) (result i32)))
    (import "env" "proxy_grpc_close" (func $grpc (param i32) (result i32)))
    (import "env" "proxy_http_call"
        (func $call (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
    (import "env" "proxy_call_foreign_function" (func $foreign (param i32 i32 i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "environ_get" (func $environ (param i32 i32) (result i32)))
    (data (i32.const 1024) "x-a\00x-none")
    (data (i32.const 1040) "request\00path")
    (data (i32.const 1056) "plugin_name")
    (data (i32.const 1072) "declare_property")
    (data (i32.const 1088) "\0a\06permit\10\01\18\01")
    (data (i32.const 1104) "permit")
    (data (i32.const 1120) "cluster unknown")
    ;; :method, :path and :authority, each "x".
    (data (i32.const 1152) "\03\00\00\00\07\00\00\00\01\00\00\00\05\00\00\00\01\00\00\00\0a\00\00\00\01\00\00\00:method\00x\00:path\00x\00:authority\00x\00")
    (func $want (param $have i32) (param $want i32)
        (if (i32.ne (local.get $have) (local.get $want)) (then unreachable)))
"#;
const HEADERS_AT: &str = "(i32.const 1152) (i32.const 59)";

fn callback(name: &str, parameters: usize, result: bool, body: &str) -> String {
    let parameters = "i32 ".repeat(parameters);
    let (result, end) = if result { ("(result i32)", "(i32.const 1)") } else { ("", "") };
    format!(r#"{IMPORTS} (func (export "{name}") (param {parameters}) {result} {body} {end})"#)
}

fn request_headers(body: &str) -> (Vm, Rc<Process>, Rc<Stream>) {
    let process = Rc::new(Process::default());
    let mut vm = vm(&callback("proxy_on_request_headers", 3, true, body), &process);
    let root = vm.root(Plugin { name: "me".to_owned(), ..Plugin::default() }).unwrap();
    let view = stream(&[("x-a", "1"), ("x-a", "2")]);
    let id = vm.stream(root, view.clone()).unwrap();
    vm.request_headers(id, 2, true).unwrap_or_else(|e| panic!("{body}: {e}"));
    (vm, process, view)
}

/// Note, call, and the status that Envoy answers with.
const ANSWERS: &[(&str, &str, u32)] = &[
    (
        "a field that is not there",
        "$value (i32.const 0) (i32.const 1028) (i32.const 6) (i32.const 0) (i32.const 4)",
        1,
    ),
    (
        "a map of another phase",
        "$value (i32.const 2) (i32.const 1024) (i32.const 3) (i32.const 0) (i32.const 4)",
        2,
    ),
    (
        "a map that does not exist",
        "$value (i32.const 99) (i32.const 1024) (i32.const 3) (i32.const 0) (i32.const 4)",
        2,
    ),
    (
        "a call-out's map without a call-out",
        "$value (i32.const 6) (i32.const 1024) (i32.const 3) (i32.const 0) (i32.const 4)",
        2,
    ),
    (
        "a write to a call-out's map",
        "$replace (i32.const 6) (i32.const 1024) (i32.const 3) (i32.const 0) (i32.const 0)",
        2,
    ),
    (
        "a configuration outside of configure",
        "$read (i32.const 7) (i32.const 0) (i32.const 9) (i32.const 0) (i32.const 4)",
        1,
    ),
    (
        "a write to content that is not there",
        "$write (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)",
        2,
    ),
    (
        "an unknown property",
        "$property (i32.const 1024) (i32.const 3) (i32.const 0) (i32.const 4)",
        1,
    ),
    ("a property", "$property (i32.const 1040) (i32.const 12) (i32.const 0) (i32.const 4)", 0),
    (
        "an unknown key of shared data",
        "$shared (i32.const 1024) (i32.const 3) (i32.const 0) (i32.const 4) (i32.const 8)",
        1,
    ),
    ("a context that does not exist", "$act_on (i32.const 77)", 2),
    ("a direction that does not exist", "$continue (i32.const 4)", 2),
    (
        "a metric of no kind",
        "$metric (i32.const 9) (i32.const 1024) (i32.const 3) (i32.const 0)",
        2,
    ),
    ("a metric that is not defined", "$add (i32.const 9) (i64.const 1)", 1),
    ("a gRPC call that was never made", "$grpc (i32.const 1)", 1),
    (
        "a foreign function that does not exist",
        "$foreign (i32.const 1024) (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 4)",
        1,
    ),
    (
        "a declaration that does not parse",
        "$foreign (i32.const 1072) (i32.const 16) (i32.const 1089) (i32.const 4) (i32.const 0) (i32.const 4)",
        2,
    ),
    ("too much randomness", "$random (i32.const 0) (i32.const 65537)", 28),
    ("randomness outside of memory", "$random (i32.const -1) (i32.const 4)", 21),
];

#[test]
fn calls_answer_as_in_envoy() {
    for (note, call, want) in ANSWERS {
        let process = Rc::new(Process::default());
        let body = format!("(call $want (call {call}) (i32.const {want}))");
        let mut vm = vm(&callback("proxy_on_request_headers", 3, true, &body), &process);
        let root = vm.root(Plugin::default()).unwrap();
        let id = vm.stream(root, stream(&[("x-a", "1")])).unwrap();
        assert!(vm.request_headers(id, 1, true).is_ok(), "{note}");
    }
}

#[test]
fn lines_of_a_field_come_joined_and_are_replaced_together() {
    let body = "
        (call $want (call $value (i32.const 0) (i32.const 1024) (i32.const 3) (i32.const 0) (i32.const 4)) (i32.const 0))
        (call $want (i32.load (i32.const 4)) (i32.const 3))
        (call $want (i32.load8_u (i32.load (i32.const 0))) (i32.const 49))
        (call $want (call $replace (i32.const 0) (i32.const 1024) (i32.const 3) (i32.const 1024) (i32.const 1)) (i32.const 0))";
    let (_, _, view) = request_headers(body);
    assert_eq!(*view.request.borrow(), [(b"x-a".to_vec(), b"x".to_vec())]);
}

#[test]
fn the_plugins_own_name_is_a_property() {
    let body = "
        (call $want (call $property (i32.const 1056) (i32.const 11) (i32.const 0) (i32.const 4)) (i32.const 0))
        (call $want (i32.load16_u (i32.load (i32.const 0))) (i32.const 0x656d))";
    request_headers(body);
}

#[test]
fn a_declared_key_is_written_with_its_declaration_and_declared_once() {
    let declare = "(call $foreign (i32.const 1072) (i32.const 16) (i32.const 1088) (i32.const 12) (i32.const 0) (i32.const 4))";
    let twice =
        format!("(call $want {declare} (i32.const 0)) (call $want {declare} (i32.const 2))");
    let write = "(call $want (call $set_property (i32.const 1104) (i32.const 6) (i32.const 1024) (i32.const 1)) (i32.const 0))";
    let headers = format!(
        r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) {write} (i32.const 0))"#
    );
    let module = callback("proxy_on_configure", 2, true, &twice) + &headers;
    assert_eq!(state_of(&module), Declared { readonly: true, string: true });
    // What a stream declares is taken, and counts for nothing.
    let both = format!("{twice} {write}");
    let module = callback("proxy_on_request_headers", 3, true, &both);
    assert_eq!(state_of(&module), Declared::default());
}

/// How the one key was declared that a stream of this module writes.
fn state_of(module: &str) -> Declared {
    let mut vm = vm(module, &Rc::new(Process::default()));
    let root = vm.root(Plugin::default()).unwrap();
    let view = stream(&[]);
    let id = vm.stream(root, view.clone()).unwrap();
    vm.request_headers(id, 0, true).unwrap();
    let written = view.state.borrow();
    let [(key, value, declared)] = written.as_slice() else { panic!("{written:?}") };
    assert_eq!((key.as_slice(), value.as_slice()), (&b"permit"[..], &b"x"[..]));
    *declared
}

#[test]
fn metrics_are_defined_and_counted() {
    let body = "
        (call $want (call $metric (i32.const 0) (i32.const 1024) (i32.const 3) (i32.const 0)) (i32.const 0))
        (call $want (call $add (i32.load (i32.const 0)) (i64.const 5)) (i32.const 0))";
    let (_, process, _) = request_headers(body);
    assert_eq!(*process.metrics.borrow(), [(MetricKind::Counter, b"x-a".to_vec(), 5)]);
}

/// A call-out with this cluster (offset and length in memory) and these fields.
fn call(cluster: (u32, u32), headers: &str) -> String {
    format!(
        "(call $call (i32.const {}) (i32.const {}) {headers} (i32.const 1024) (i32.const 3)
         (i32.const 0) (i32.const 0) (i32.const 250) (i32.const 8))",
        cluster.0, cluster.1
    )
}

#[test]
fn a_call_out_goes_out_whole_and_its_answer_comes_to_the_root() {
    let ask = call((1120, 7), HEADERS_AT);
    let asks = format!("(call $want {ask} (i32.const 0))");
    let answered = r#"(func (export "proxy_on_http_call_response") (param i32 i32 i32 i32 i32)
        (call $want (local.get 3) (i32.const 4))
        (call $want (call $read (i32.const 4) (i32.const 1) (i32.const 99) (i32.const 0) (i32.const 4)) (i32.const 0))
        (call $want (i32.load (i32.const 4)) (i32.const 3))
        (call $want (call $value (i32.const 0) (i32.const 1024) (i32.const 3) (i32.const 0) (i32.const 4)) (i32.const 2)))"#;
    let module = callback("proxy_on_request_headers", 3, true, &asks) + answered;
    let process = Rc::new(Process::default());
    let mut vm = vm(&module, &process);
    let root = vm.root(Plugin::default()).unwrap();
    let (first, second) = (stream(&[]), stream(&[]));
    let ids = [&first, &second].map(|view| vm.stream(root, view.clone()).unwrap());
    for id in ids {
        vm.request_headers(id, 0, true).unwrap();
    }
    let calls = process.calls.take();
    assert_eq!(calls[0].1.cluster, b"cluster");
    assert_eq!(calls[0].1.headers[0], (b":method".to_vec(), b"x".to_vec()));
    assert_eq!(
        (calls[0].1.body.as_slice(), calls[0].1.timeout),
        (&b"x-a"[..], Duration::from_millis(250))
    );
    assert_ne!(calls[0].0, calls[1].0);

    let headers = vec![(b":status".to_vec(), b"200".to_vec())];
    let answer = CallAnswer { headers, body: b"body".to_vec(), ..CallAnswer::default() };
    assert_eq!(vm.http_call_response(calls[1].0, answer.clone()), Ok(true));
    // The first stream goes away while its call is out: its root is told all the same.
    assert_eq!(vm.waiting(), 1);
    vm.delete(ids[0]).unwrap();
    assert_eq!(vm.waiting(), 1);
    assert_eq!(vm.http_call_response(calls[0].0, answer.clone()), Ok(true));
    assert_eq!(vm.http_call_response(calls[0].0, answer), Ok(false));
}

#[test]
fn a_late_answer_to_a_dead_machine_is_not_one_to_its_successor() {
    let asks = format!("(call $want {} (i32.const 0))", call((1120, 7), HEADERS_AT));
    let [(mut one, first, _), (mut two, second, _)] =
        [request_headers(&asks), request_headers(&asks)];
    let token = |process: &Process| process.calls.borrow()[0].0;
    assert_eq!(two.http_call_response(token(&first), CallAnswer::default()), Ok(false));
    assert_eq!(one.http_call_response(token(&first), CallAnswer::default()), Ok(true));
    assert_eq!(two.http_call_response(token(&second), CallAnswer::default()), Ok(true));
}

#[test]
fn a_call_out_that_cannot_go_out_is_refused_at_once() {
    let unknown = call((1128, 7), HEADERS_AT);
    let headless = call((1120, 7), "(i32.const 0) (i32.const 0)");
    let lying = call((1120, 7), "(i32.const 1152) (i32.const 58)");
    for ask in [unknown, headless, lying] {
        let (_, process, _) = request_headers(&format!("(call $want {ask} (i32.const 2))"));
        assert!(process.calls.borrow().is_empty());
    }
}

#[test]
fn two_machines_share_data_and_a_stale_number_is_a_mismatch() {
    let tick = |body: &str| callback("proxy_on_tick", 1, false, body);
    let read = "(call $want (call $shared (i32.const 1024) (i32.const 3) (i32.const 0) (i32.const 4) (i32.const 8)) (i32.const 0))";
    let write = |cas: &str, want: u32| {
        format!(
            "(call $want (call $set_shared (i32.const 1024) (i32.const 3) (i32.const 1040) (i32.const 7) {cas}) (i32.const {want}))"
        )
    };
    let process = Rc::new(Process::default());
    let other = Rc::new(Process { shared: process.shared.clone(), ..Process::default() });
    let mut writer = vm(&tick(&write("(i32.const 0)", 0)), &process);
    // Reads the number, writes under it, and then finds that it has passed.
    let swap = "(i32.load (i32.const 8))";
    let body = format!("{read} {} {}", write(swap, 0), write(swap, 8));
    let mut swapper = vm(&tick(&body), &other);
    let (a, b) =
        (writer.root(Plugin::default()).unwrap(), swapper.root(Plugin::default()).unwrap());
    writer.tick(a).unwrap();
    swapper.tick(b).unwrap();
    assert_eq!(process.shared.read(b"x-a").unwrap().0, b"request");
}

#[test]
fn the_environment_is_what_the_settings_say_and_nothing_else() {
    let body = "(call $want (call $environ (i32.const 0) (i32.const 16)) (i32.const 0))
        (call $want (i32.load (i32.const 0)) (i32.const 16))
        (call $want (i32.load (i32.const 16)) (i32.const 0x00763d6b))
        (call $want (i32.load (i32.const 4)) (i32.const 0))";
    let program = program(&callback("proxy_on_tick", 1, false, body));
    let environment = vec![("k".to_owned(), "v".to_owned())];
    let settings = VmSettings { environment, ..settings() };
    let mut vm = Vm::start(&program, settings, Rc::new(Process::default())).unwrap();
    let root = vm.root(Plugin::default()).unwrap();
    vm.tick(root).unwrap();
}

#[test]
fn configuration_is_read_while_configuring() {
    let body = "
        (call $want (call $read (i32.const 7) (i32.const 0) (i32.const 99) (i32.const 0) (i32.const 4)) (i32.const 0))
        (call $want (i32.load (i32.const 4)) (i32.const 4))
        (call $want (call $read (i32.const 6) (i32.const 0) (i32.const 99) (i32.const 0) (i32.const 4)) (i32.const 0))
        (call $want (i32.load (i32.const 4)) (i32.const 0))";
    let mut vm = vm(&callback("proxy_on_configure", 2, true, body), &Rc::new(Process::default()));
    let plugin = Plugin { configuration: Arc::from(*b"text"), ..Plugin::default() };
    assert!(vm.root(plugin).is_ok());
}

#[test]
fn an_access_logger_sees_the_stream_only_while_it_logs() {
    let log = "(call $want (call $property (i32.const 1040) (i32.const 12) (i32.const 0) (i32.const 4)) (i32.const 0))";
    let tick = r#"(func (export "proxy_on_tick") (param i32)
        (call $want (call $property (i32.const 1040) (i32.const 12) (i32.const 0) (i32.const 4)) (i32.const 1)))"#;
    let module = callback("proxy_on_log", 1, false, log) + tick;
    let mut vm = vm(&module, &Rc::new(Process::default()));
    let root = vm.root(Plugin::default()).unwrap();
    vm.tick(root).unwrap();
    vm.log_root(root, stream(&[])).unwrap();
    vm.tick(root).unwrap();
}

/// A module whose root answers `proxy_on_done` with no, and calls `proxy_done` in each tick,
/// which has to answer `want` (kept in a global that `proxy_on_done` sets).
const DEFERS: &str = r#"
    (import "env" "proxy_done" (func $done (result i32)))
    (import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
    (global $want (mut i32) (i32.const 1))
    (func $want_done (if (i32.ne (call $done) (global.get $want)) (then unreachable)))
    (func (export "proxy_on_done") (param i32) (result i32)
        (call $want_done) (global.set $want (i32.const 0)) (i32.const 0))
    (func (export "proxy_on_tick") (param i32) (call $want_done) (global.set $want (i32.const 1)) (call $want_done))
    (func (export "proxy_on_delete") (param i32) (drop (call $log (i32.const 2) (i32.const 0) (i32.const 0))))
"#;

#[test]
fn a_root_that_is_not_done_lives_until_it_says_so() {
    let process = Rc::new(Process::default());
    let mut vm = vm(DEFERS, &process);
    let root = vm.root(Plugin::default()).unwrap();
    assert_eq!(vm.close_root(root), Ok(false));
    assert!(process.lines.borrow().is_empty());
    vm.tick(root).unwrap();
    assert_eq!(process.lines.borrow().len(), 1, "deleted once");
    assert_eq!(process.ticks.borrow().last(), Some(&(root.context(), Duration::ZERO)));
}

#[test]
fn a_root_that_is_replaced_ends_with_its_last_stream() {
    let process = Rc::new(Process::default());
    let log = r#"(import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
        (data (i32.const 0) "delete")
        (func (export "proxy_on_delete") (param i32) (drop (call $log (i32.const 2) (i32.const 0) (local.get 0))))"#;
    let mut vm = vm(log, &process);
    let [old, new] = [(); 2].map(|()| vm.root(Plugin::default()).unwrap());
    let [first, second] = [(); 2].map(|()| vm.stream(old, stream(&[])).unwrap());
    let other = vm.stream(new, stream(&[])).unwrap();
    vm.retire_root(old).unwrap();
    vm.delete(first).unwrap();
    vm.delete(other).unwrap();
    let deleted = || process.lines.borrow().iter().map(|(_, text)| text.len()).collect::<Vec<_>>();
    assert_eq!(deleted(), [3, 5]);
    vm.delete(second).unwrap();
    // The stream, and then its root.
    assert_eq!(deleted(), [3, 5, 4, 1]);
    vm.retire_root(new).unwrap();
    assert_eq!(deleted(), [3, 5, 4, 1, 2]);
}

#[test]
fn foreign_functions_of_a_stream_act_on_the_context_that_runs() {
    // `envoy.string` is `x-a`; the effective context is the root, which has no stream.
    let body = r#"
        (call $want (call $act_on (i32.const 1)) (i32.const 0))
        (call $want (call $foreign (i32.const 2048) (i32.const 22) (i32.const 2080) (i32.const 19) (i32.const 0) (i32.const 4)) (i32.const 0))
        (call $want (call $act_on (i32.const 0)) (i32.const 0))
        (call $want (call $value (i32.const 0) (i32.const 1024) (i32.const 3) (i32.const 0) (i32.const 4)) (i32.const 0))"#;
    let data = r#"(data (i32.const 2048) "set_envoy_filter_state")
        (data (i32.const 2080) "\0a\0cenvoy.string\12\03x-a")"#;
    let module = callback("proxy_on_request_headers", 3, true, body) + data;
    let mut vm = vm(&module, &Rc::new(Process::default()));
    let root = vm.root(Plugin::default()).unwrap();
    let view = stream(&[("x-a", "1")]);
    let id = vm.stream(root, view.clone()).unwrap();
    vm.request_headers(id, 1, true).unwrap();
    let written = (b"envoy.string".to_vec(), b"x-a".to_vec(), Declared::default());
    assert_eq!(*view.state.borrow(), [written]);
}

#[test]
fn a_configuration_that_is_refused_leaves_the_one_before_and_another_ends_it() {
    // Refuses to be configured with nothing, and logs the numbers of contexts that it deletes.
    let module = r#"(import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
        (func (export "proxy_on_configure") (param i32 i32) (result i32) (local.get 1))
        (func (export "proxy_on_delete") (param i32) (drop (call $log (i32.const 2) (i32.const 0) (local.get 0))))"#;
    let process = Rc::new(Process::default());
    let plugin = |text: &[u8]| Plugin { configuration: Arc::from(text), ..Plugin::default() };
    let recovery = Recovery::new(FailurePolicy::FailClosed);
    let mut machine =
        Machine::start(program(module), settings(), process.clone(), vec![plugin(b"1")], recovery)
            .unwrap();
    let deleted = || process.lines.borrow().iter().map(|(_, text)| text.len()).collect::<Vec<_>>();
    let refused = machine.add(plugin(b""));
    assert!(matches!(refused, Err(StartError::Configuration(_))), "{refused:?}");
    let (old, _) = machine.stream(0, stream(&[]), Duration::ZERO).unwrap();
    let fresh = machine.add(plugin(b"2")).unwrap();
    machine.retire(0);
    let (new, _) = machine.stream(fresh, stream(&[]), Duration::ZERO).unwrap();
    assert!(deleted().is_empty());
    machine.call(|vm| vm.delete(old)).unwrap();
    // The stream, and the first root with it.
    assert_eq!(deleted(), [3, 1]);
    machine.call(|vm| vm.delete(new)).unwrap();
    assert_eq!(deleted(), [3, 1, 5]);
}
