//! A proxy in memory: what the engine's tests use in place of the real one.
#![allow(dead_code, reason = "each test binary uses its part")]

pub mod bootstrap;
pub mod gateway;

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use postern_runtime::engine::{
    Capabilities, Engine, EngineSettings, Program, SharedData, Vm, VmSettings,
};
use postern_runtime::view::*;

/// One engine, and so one clock, for a test binary.
pub fn engine() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(|| Engine::new(&EngineSettings::default()).unwrap())
}

/// A Proxy-Wasm module that does nothing, with `body` added to it.
pub fn wat(body: &str) -> Vec<u8> {
    let text = format!(
        r#"(module {body}
            (memory (export "memory") 2)
            (func (export "proxy_abi_version_0_2_1"))
            (func (export "_initialize"))
            (func (export "proxy_on_memory_allocate") (param i32) (result i32) i32.const 4096))"#
    );
    wat::parse_str(text).unwrap()
}

pub fn program(body: &str) -> Program {
    Program::new(engine(), &wat(body), Capabilities::default()).unwrap()
}

/// A machine with short deadlines.
pub fn vm(body: &str, services: &Rc<Process>) -> Vm {
    Vm::start(&program(body), settings(), services.clone()).unwrap()
}

pub fn settings() -> VmSettings {
    VmSettings {
        deadline: Duration::from_millis(50),
        vm_id: "postern".to_owned(),
        ..VmSettings::default()
    }
}

/// Where `cargo xtask build` puts the modules.
pub fn module(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/plugins").join(name);
    std::fs::read(&path)
        .unwrap_or_else(|e| panic!("{}: {e}: run `cargo xtask build`", path.display()))
}

/// A map as a module passes it.
pub fn pairs(lines: &[(&str, &str)]) -> Vec<u8> {
    let number = |number: usize| u32::try_from(number).unwrap().to_le_bytes();
    let mut out = number(lines.len()).to_vec();
    for (name, value) in lines {
        out.extend([number(name.len()), number(value.len())].concat());
    }
    for (name, value) in lines {
        out.extend(format!("{name}\0{value}\0").into_bytes());
    }
    out
}

/// Services that only record.
#[derive(Default)]
pub struct Process {
    pub shared: Arc<SharedData>,
    pub calls: RefCell<Vec<(u32, CallOut)>>,
    pub lines: RefCell<Vec<(Level, String)>>,
    pub ticks: RefCell<Vec<(u32, Duration)>>,
    pub metrics: RefCell<Vec<(MetricKind, Vec<u8>, i64)>>,
}

impl Process {
    pub fn log_text(&self) -> String {
        self.lines.borrow().iter().map(|(level, text)| format!("{level:?} {text}\n")).collect()
    }
}

impl Services for Process {
    fn http_call(&self, token: u32, call: CallOut) -> Result<(), Status> {
        if call.cluster == b"unknown" {
            return Err(Status::BadArgument);
        }
        self.calls.borrow_mut().push((token, call));
        Ok(())
    }
    fn shared_data(&self, key: &[u8]) -> Result<(Vec<u8>, u32), Status> {
        self.shared.read(key)
    }
    fn set_shared_data(&self, key: &[u8], value: &[u8], cas: u32) -> Result<(), Status> {
        self.shared.write(key, value, cas)
    }
    fn define_metric(&self, kind: MetricKind, name: &[u8]) -> Result<MetricId, Status> {
        self.metrics.borrow_mut().push((kind, name.to_vec(), 0));
        Ok(self.metrics.borrow().len() as u32)
    }
    fn increment_metric(&self, id: MetricId, by: i64) -> Result<(), Status> {
        let mut metrics = self.metrics.borrow_mut();
        let index = (id as usize).checked_sub(1).ok_or(Status::NotFound)?;
        metrics.get_mut(index).ok_or(Status::NotFound)?.2 += by;
        Ok(())
    }
    fn record_metric(&self, _: MetricId, _: u64) -> Result<(), Status> {
        Ok(())
    }
    fn metric(&self, _: MetricId) -> Result<u64, Status> {
        Err(Status::NotFound)
    }
    fn set_tick_period(&self, root: u32, period: Duration) {
        self.ticks.borrow_mut().push((root, period));
    }
    fn log_level(&self) -> Level {
        Level::Trace
    }
    fn log(&self, level: Level, text: &str) {
        self.lines.borrow_mut().push((level, text.to_owned()));
    }
    fn now_nanos(&self) -> u64 {
        1_800_000_000_000_000_000
    }
    fn property(&self, _: &[&[u8]]) -> Result<Vec<u8>, Status> {
        Err(Status::NotFound)
    }
}

/// A write of filter state.
pub type Write = (Vec<u8>, Vec<u8>, Declared);

/// A stream in its request phase, whose response is a local reply or nothing.
#[derive(Default)]
pub struct Stream {
    pub request: RefCell<Pairs>,
    pub state: RefCell<Vec<Write>>,
    pub reply: RefCell<Option<LocalReply>>,
    pub continued: Cell<u32>,
}

pub fn stream(lines: &[(&str, &str)]) -> Rc<Stream> {
    let lines = lines.iter().map(|(n, v)| (n.as_bytes().to_vec(), v.as_bytes().to_vec()));
    Rc::new(Stream { request: RefCell::new(lines.collect()), ..Stream::default() })
}

impl Stream {
    fn map(&self, map: MapKind) -> Result<&RefCell<Pairs>, Status> {
        if map == MapKind::RequestHeaders { Ok(&self.request) } else { Err(Status::BadArgument) }
    }
}

impl StreamView for Stream {
    fn pairs(&self, map: MapKind) -> Result<Pairs, Status> {
        Ok(self.map(map)?.borrow().clone())
    }
    fn set_pairs(&self, map: MapKind, pairs: Pairs) -> Result<(), Status> {
        *self.map(map)?.borrow_mut() = pairs;
        Ok(())
    }
    fn value(&self, map: MapKind, name: &[u8]) -> Result<Option<Vec<u8>>, Status> {
        let map = self.map(map)?.borrow();
        let values: Vec<_> =
            map.iter().filter(|(line, _)| line == name).map(|(_, v)| v.clone()).collect();
        Ok((!values.is_empty()).then(|| values.join(&b',')))
    }
    fn add(&self, map: MapKind, name: &[u8], value: &[u8]) -> Result<(), Status> {
        self.map(map)?.borrow_mut().push((name.to_vec(), value.to_vec()));
        Ok(())
    }
    fn replace(&self, map: MapKind, name: &[u8], value: &[u8]) -> Result<(), Status> {
        self.remove(map, name)?;
        self.add(map, name, value)
    }
    fn remove(&self, map: MapKind, name: &[u8]) -> Result<(), Status> {
        self.map(map)?.borrow_mut().retain(|(line, _)| line != name);
        Ok(())
    }
    fn body(&self, _: BodyKind, _: usize, _: usize) -> Result<Vec<u8>, Status> {
        Ok(Vec::new())
    }
    fn set_body(&self, _: BodyKind, _: usize, _: usize, _: &[u8]) -> Result<(), Status> {
        Err(Status::BadArgument)
    }
    fn property(&self, path: &[&[u8]]) -> Result<Vec<u8>, Status> {
        match path {
            [b"request", b"path"] => Ok(b"/".to_vec()),
            _ => Err(Status::NotFound),
        }
    }
    fn set_property(&self, path: &[u8], value: &[u8], declared: Declared) -> Result<(), Status> {
        self.state.borrow_mut().push((path.to_vec(), value.to_vec(), declared));
        Ok(())
    }
    fn set_filter_state(&self, key: &[u8], value: &[u8]) -> Result<(), Status> {
        self.state.borrow_mut().push((key.to_vec(), value.to_vec(), Declared::default()));
        Ok(())
    }
    fn continue_stream(&self, _: Direction) -> Result<(), Status> {
        self.continued.set(self.continued.get() + 1);
        Ok(())
    }
    fn close_stream(&self, _: Direction) -> Result<(), Status> {
        Ok(())
    }
    fn local_reply(&self, reply: LocalReply) -> Result<(), Status> {
        *self.reply.borrow_mut() = Some(reply);
        Ok(())
    }
}
