//! Two machines behind the real filters: one does what its script says, the other watches.
//!
//! The ABI's boundary as operations: every hostcall, with any numbers, in any callback, while
//! the chain makes the callbacks that a request makes. The first machine may end; the process
//! and the other machine never notice.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use postern_runtime::engine::{
    Capabilities, Engine, EngineSettings, FailurePolicy, Metrics, Plugin, Program, Recovery,
    SharedData, VmSettings,
};
use postern_runtime::proxy::chain::{Chain, Output, Slot};
use postern_runtime::proxy::exchange::{Exchange, Shared};
use postern_runtime::proxy::filters::{Filters, Place, Seat, Site};
use postern_runtime::proxy::machine::Machine;
use postern_runtime::view::{
    CallAnswer, CallOut, Direction, Level, MetricId, MetricKind, Pairs, Services, Status,
};

use crate::module;
use crate::source::Source;

/// Far more than any callback here needs.
const DEADLINE: Duration = Duration::from_secs(2);

/// A module that ends when its memory is not as it left it, and counts requests there.
const WATCHER: &str = r#"(module
    (memory (export "memory") 2)
    (global $seen (mut i32) (i32.const 0))
    (func (export "proxy_abi_version_0_2_1"))
    (func (export "proxy_on_memory_allocate") (param i32) (result i32) (i32.const 4096))
    (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (if (i32.ne (i32.load (i32.const 131068)) (global.get $seen)) (then unreachable))
        (if (i32.ne (i32.load (i32.const 512)) (global.get $seen)) (then unreachable))
        (global.set $seen (i32.add (global.get $seen) (i32.const 1)))
        (i32.store (i32.const 131068) (global.get $seen))
        (i32.store (i32.const 512) (global.get $seen))
        (i32.const 0)))"#;

/// Compiled once.
pub struct Compiled {
    /// One engine, and so one clock.
    pub engine: Engine,
    scripted: Program,
    watcher: Program,
}

/// The engine and the two programs.
pub static COMPILED: LazyLock<Compiled> = LazyLock::new(|| {
    let engine = Engine::new(&EngineSettings::default()).expect("an engine");
    let program = |text: &str| {
        let wasm = wat::parse_str(text).expect("a module");
        Program::new(&engine, &wasm, Capabilities::default()).expect("a program")
    };
    let (scripted, watcher) = (program(&module::text()), program(WATCHER));
    Compiled { engine, scripted, watcher }
});

/// Services of the process: real ones where there is state, and calls that are noted.
#[derive(Default)]
pub struct Process {
    shared: SharedData,
    metrics: Metrics,
    calls: RefCell<Vec<u32>>,
    refuses: Cell<bool>,
}

impl Services for Process {
    fn http_call(&self, token: u32, _: CallOut) -> Result<(), Status> {
        self.refuses.set(!self.refuses.get());
        if self.refuses.get() {
            self.calls.borrow_mut().push(token);
            return Ok(());
        }
        Err(Status::InternalFailure)
    }
    fn shared_data(&self, key: &[u8]) -> Result<(Vec<u8>, u32), Status> {
        self.shared.read(key)
    }
    fn set_shared_data(&self, key: &[u8], value: &[u8], cas: u32) -> Result<(), Status> {
        self.shared.write(key, value, cas)
    }
    fn define_metric(&self, kind: MetricKind, name: &[u8]) -> Result<MetricId, Status> {
        self.metrics.define(kind, name)
    }
    fn increment_metric(&self, id: MetricId, by: i64) -> Result<(), Status> {
        self.metrics.increment(id, by)
    }
    fn record_metric(&self, id: MetricId, value: u64) -> Result<(), Status> {
        self.metrics.record(id, value)
    }
    fn metric(&self, id: MetricId) -> Result<u64, Status> {
        self.metrics.value(id)
    }
    fn set_tick_period(&self, _: u32, _: Duration) {}
    fn log_level(&self) -> Level {
        Level::Trace
    }
    fn log(&self, _: Level, text: &str) {
        assert!(text.len() <= 64 * 1024, "a line of {} bytes", text.len());
    }
    fn now_nanos(&self) -> u64 {
        1_800_000_000_000_000_000
    }
    fn property(&self, _: &[&[u8]]) -> Result<Vec<u8>, Status> {
        Err(Status::NotFound)
    }
}

fn machine(program: &Program, process: &Rc<Process>, script: &[u8]) -> Rc<RefCell<Machine>> {
    let configuration: Arc<[u8]> = script.get(..module::LONGEST).unwrap_or(script).into();
    let plugin = Plugin { name: "me".into(), root_id: "root".into(), configuration };
    let settings = VmSettings { deadline: DEADLINE, memory: 1 << 20, ..VmSettings::default() };
    let services: Rc<dyn Services> = Rc::<Process>::clone(process);
    let recovery = Recovery::new(FailurePolicy::FailClosed);
    let machine = Machine::start(program.clone(), settings, services, vec![plugin], recovery);
    Rc::new(RefCell::new(machine.expect("a module that takes its script")))
}

/// Takes any bytes and may only return.
pub fn fuzz_machine(bytes: &[u8]) {
    let mut source = Source::new(bytes);
    let script = source.block();
    if script.is_empty() {
        return;
    }
    let process = Rc::new(Process::default());
    let scripted = machine(&COMPILED.scripted, &process, script);
    let watcher = machine(&COMPILED.watcher, &process, &[]);
    let slot = Slot { body_while_headers_paused: script.len().is_multiple_of(2), limit: 64 };
    let place =
        |machine: &Rc<RefCell<Machine>>| Place { machine: machine.clone(), plugin: 0, slot };
    let filters = [&scripted, &watcher].map(|machine| Seat::Plugin(place(machine)));
    let site = Rc::new(Site::new(filters.into(), vec![(None, place(&scripted))]));
    for _ in 0..2 {
        stream(&site, &process, &mut source);
    }
    let alive = watcher.borrow_mut().root(0, Duration::ZERO, |vm, root| vm.tick(root)).is_ok();
    assert!(alive, "one machine has ended another");
}

/// One request through both, with events as the input says.
fn stream(site: &Rc<Site>, process: &Rc<Process>, source: &mut Source<'_>) {
    let exchange: Shared = Rc::new(RefCell::new(Exchange::new(request())));
    let mut filters = Filters::new(site.clone(), exchange.clone(), Rc::new(()), Duration::ZERO);
    let mut chain = Chain::new(exchange.clone(), &filters.slots());
    let end = source.byte() & 1 == 0;
    chain.request_headers(&mut filters, end);
    let mut order = Order::default();
    order.look(&mut chain);
    let mut ended = end;
    while !source.is_empty() && !chain.is_over() {
        let event = source.byte();
        match event & 7 {
            0 | 1 if !ended => {
                ended = event & 8 != 0;
                chain.request_body(&mut filters, &[b'x'; 40][..usize::from(event >> 4)], ended);
            }
            2 if !ended => {
                ended = true;
                let trailers = vec![(b"a".to_vec(), b"b".to_vec())];
                exchange.borrow_mut().set_trailers(Direction::Request, trailers);
                chain.request_trailers(&mut filters);
            }
            3 | 4 => answer(&mut chain, &mut filters, process, event),
            5 => {
                let Seat::Plugin(place) = &site.filters[0] else { return };
                let _ =
                    place.machine.borrow_mut().root(0, Duration::ZERO, |vm, root| vm.tick(root));
                chain.meanwhile(&mut filters, 0, |filters| filters.asked(0));
            }
            6 => break,
            _ => {}
        }
        chain.park();
        order.look(&mut chain);
    }
    filters.finish();
}

/// The answer to a call-out that some callback has made.
fn answer(chain: &mut Chain, filters: &mut Filters, process: &Process, event: u8) {
    let token = process.calls.borrow_mut().pop();
    let token = token.unwrap_or(u32::from(event));
    let answer = CallAnswer {
        headers: vec![(b":status".to_vec(), b"200".to_vec())],
        body: vec![b'y'; usize::from(event >> 3)],
        trailers: Pairs::new(),
    };
    chain.meanwhile(filters, 0, |filters| filters.answer(0, token, answer));
}

fn request() -> Pairs {
    let lines = [(":method", "POST"), (":path", "/a?b"), (":authority", "a.test"), ("x-a", "1")];
    lines.map(|(name, value)| (name.into(), value.into())).into()
}

/// The order of HTTP in what leaves; nothing here has a route, so nothing goes upstream.
#[derive(Default)]
struct Order {
    headed: bool,
    over: bool,
}

impl Order {
    fn look(&mut self, chain: &mut Chain) {
        while let Some(output) = chain.poll() {
            assert!(!self.over, "{output:?} after the end");
            match output {
                Output::Headers(Direction::Response, _, end) => {
                    assert!(!self.headed, "a second head");
                    (self.headed, self.over) = (true, end);
                }
                Output::Body(Direction::Response, _, end) => {
                    assert!(self.headed, "content without a head");
                    self.over = end;
                }
                Output::Reset => self.over = true,
                other => panic!("{other:?} without a route"),
            }
        }
    }
}
