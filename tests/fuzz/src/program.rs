//! Modules that are nearly right: any imports, exports, memory and start.

use std::fmt::Write;
use std::rc::Rc;
use std::time::Duration;

use postern_runtime::engine::{Capabilities, Plugin, Program, Vm, VmSettings};
use postern_runtime::proxy::exchange::{Exchange, View};
use postern_runtime::view::Services;

use crate::machine::{COMPILED, Process};
use crate::module::{CALLBACKS, FUNCTIONS};
use crate::source::Source;

/// Most bytes of a machine's memory.
const MEMORY: usize = 4 << 20;

/// Takes any bytes and may only return: as a module as it stands where they start with 0,
/// and as choices of one where not.
pub fn fuzz_program(bytes: &[u8]) {
    let wasm = match bytes.split_first() {
        None => return,
        Some((0, _)) => Some(bytes.to_vec()),
        Some(_) => wat::parse_str(text(&mut Source::new(bytes))).ok(),
    };
    let wasm = wasm.unwrap_or_default();
    let Ok(program) = Program::new(&COMPILED.engine, &wasm, Capabilities::default()) else {
        return;
    };
    let short = Duration::from_millis(10);
    let settings = VmSettings {
        deadline: short,
        start_deadline: short,
        memory: MEMORY,
        ..VmSettings::default()
    };
    let process: Rc<dyn Services> = Rc::new(Process::default());
    let Ok(mut vm) = Vm::start(&program, settings, process) else { return };
    assert!(vm.memory() <= MEMORY, "more memory than it may have");
    let Ok(root) = vm.root(Plugin::default()) else { return };
    let view = View::filter(Rc::new(Exchange::default().into()), 0, Rc::new(()));
    let stream = vm.stream(root, Rc::new(view));
    let _ = stream.map(|stream| (vm.request_headers(stream, 1, false), vm.delete(stream)));
    let _ = (vm.tick(root), vm.close_root(root));
    assert!(vm.memory() <= MEMORY, "more memory than it may have");
}

/// What a function does.
const BODIES: [&str; 8] = [
    "(return)",
    "(unreachable)",
    "(loop $l (br $l))",
    "(call $self)",
    "(drop (memory.grow (i32.const 1000)))",
    "(drop (i32.load (i32.const -4)))",
    "(memory.fill (i32.const 0) (i32.const 255) (i32.const 65536))",
    "(drop (call $self2))",
];

fn text(source: &mut Source<'_>) -> String {
    let mut text = "(module ".to_owned();
    for _ in 0..source.below(6) {
        let (module, name, parameters) = FUNCTIONS[source.below(FUNCTIONS.len())];
        let types = types(parameters.len() + source.below(4) / 3, source.byte());
        let result = if source.byte() > 240 { "" } else { "(result i32)" };
        let _ = write!(text, r#"(import "{module}" "{name}" (func (param {types}) {result}))"#);
    }
    text.push_str(memory(source.byte()));
    let version = ["0_2_1", "0_2_0", "0_1_0", "9"][source.below(7) % 4];
    let _ = write!(text, r#"(func (export "proxy_abi_version_{version}"))"#);
    let _ = write!(text, "(func $self {})", BODIES[source.below(BODIES.len())]);
    text.push_str("(func $self2 (result i32) (call $self) (i32.const 1))");
    text.push_str(match source.below(9) {
        0 => r#"(global (export "malloc") i32 (i32.const 1))"#,
        1 => r#"(func (export "malloc") (param i64) (result i32) (i32.const 1))"#,
        2 => "",
        _ => r#"(func (export "malloc") (param i32) (result i32) (i32.const 4096))"#,
    });
    for (name, count, answers) in CALLBACKS {
        let byte = source.byte();
        if byte & 3 == 0 {
            continue;
        }
        let types = types(count + usize::from(byte > 250), byte);
        let result =
            if *answers && byte < 248 { ("(result i32)", "(i32.const 1)") } else { ("", "") };
        let (result, end) = result;
        let body = BODIES[1 + usize::from(byte >> 2) % 7];
        let _ =
            write!(text, r#"(func (export "proxy_{name}") (param {types}) {result} {body} {end})"#);
    }
    text.push_str(match source.below(8) {
        0 => "(start $self)",
        1 => r#"(export "_start" (func $self))"#,
        2 => r#"(export "_initialize" (func $self2))"#,
        3 => "(table 10000000 funcref)",
        4 => r#"(data (i32.const -1) "x")"#,
        5 => "(table 1 funcref) (elem (i32.const 1) $self)",
        _ => "",
    });
    text.push(')');
    text
}

fn memory(byte: u8) -> &'static str {
    match byte % 12 {
        0 => "",
        1 => r#"(memory (export "memory") 65536)"#,
        2 => r#"(memory (export "other") 1)"#,
        3 => r#"(memory (export "memory") 0)"#,
        4 => r#"(memory (export "memory") i64 1)"#,
        5 => r#"(import "env" "memory" (memory 1))"#,
        6 => r#"(memory 1) (func (export "memory"))"#,
        _ => r#"(memory (export "memory") 2)"#,
    }
}

/// Parameters, now and then with a wrong one.
fn types(count: usize, byte: u8) -> String {
    let last = if byte & 0x7f == 0x7f { "f64" } else { "i32" };
    let all = (0..count).map(|at| if at + 1 == count { last } else { "i32" });
    all.collect::<Vec<_>>().join(" ")
}
