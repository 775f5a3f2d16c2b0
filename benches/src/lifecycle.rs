//! A trivial plugin's request on the engine: context, fields, log, done, delete.

use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use postern_runtime::engine::{
    Capabilities, Engine, EngineSettings, Plugin, Program, Vm, VmSettings,
};
use postern_runtime::proxy::exchange::{Exchange, View};
use postern_runtime::view::{CallOut, Level, MetricId, MetricKind, Services, Status};

use postern_bench_line::{Line, Op, Pair};

const REQUESTS: u32 = 100_000;

/// Reads one field, as the least that a filter does.
const MODULE: &str = r#"(module
  (import "env" "proxy_get_header_map_value" (func $value (param i32 i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 2)
  (data (i32.const 64) ":path")
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "_initialize"))
  (func (export "proxy_on_memory_allocate") (param i32) (result i32) i32.const 4096)
  (func (export "proxy_on_context_create") (param i32 i32))
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
    (drop (call $value (i32.const 0) (i32.const 64) (i32.const 5) (i32.const 128) (i32.const 132)))
    i32.const 0)
  (func (export "proxy_on_done") (param i32) (result i32) i32.const 1)
  (func (export "proxy_on_log") (param i32))
  (func (export "proxy_on_delete") (param i32)))"#;

/// Microseconds of a lifecycle; the other side is the goal, 5 microseconds.
pub fn measure(runs: usize) -> Result<Vec<Line>> {
    let engine = Engine::new(&EngineSettings::default()).map_err(anyhow::Error::msg)?;
    let wasm = wat::parse_str(MODULE)?;
    let program = Program::new(&engine, &wasm, Capabilities::default())?;
    let mut vm = Vm::start(&program, VmSettings::default(), Rc::new(Nothing))?;
    let root = vm.root(Plugin::default())?;
    let fields = [(":method", "GET"), (":path", "/a"), (":authority", "a"), (":scheme", "http")];
    let fields = fields.map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()));
    let mut ours = Vec::new();
    for _ in 0..runs {
        let start = Instant::now();
        for _ in 0..REQUESTS {
            let exchange = Rc::new(std::cell::RefCell::new(Exchange::new(fields.to_vec())));
            let stream = vm.stream(root, Rc::new(View::filter(exchange, 0, Rc::new(()))))?;
            vm.request_headers(stream, 4, true)?;
            vm.log(stream)?;
            vm.done(stream)?;
            vm.delete(stream)?;
        }
        ours.push(start.elapsed().as_secs_f64() * 1e6 / f64::from(REQUESTS));
    }
    ours.first().context("no run")?;
    let goal = vec![5.0; ours.len()];
    let line =
        Line::new("host.lifecycle", &Pair { ours: &ours, other: &goal }, (Op::AtMost, 1.0), "us");
    Ok(vec![line.noted("goal is an absolute 5 us; request fields are made anew each time")])
}

/// A process that has nothing.
struct Nothing;

impl Services for Nothing {
    fn http_call(&self, _: u32, _: CallOut) -> Result<(), Status> {
        Err(Status::BadArgument)
    }
    fn shared_data(&self, _: &[u8]) -> Result<(Vec<u8>, u32), Status> {
        Err(Status::NotFound)
    }
    fn set_shared_data(&self, _: &[u8], _: &[u8], _: u32) -> Result<(), Status> {
        Ok(())
    }
    fn define_metric(&self, _: MetricKind, _: &[u8]) -> Result<MetricId, Status> {
        Ok(1)
    }
    fn increment_metric(&self, _: MetricId, _: i64) -> Result<(), Status> {
        Ok(())
    }
    fn record_metric(&self, _: MetricId, _: u64) -> Result<(), Status> {
        Ok(())
    }
    fn metric(&self, _: MetricId) -> Result<u64, Status> {
        Ok(0)
    }
    fn set_tick_period(&self, _: u32, _: Duration) {}
    fn log_level(&self) -> Level {
        Level::Error
    }
    fn log(&self, _: Level, _: &str) {}
    fn now_nanos(&self) -> u64 {
        0
    }
    fn property(&self, _: &[&[u8]]) -> Result<Vec<u8>, Status> {
        Err(Status::NotFound)
    }
}
