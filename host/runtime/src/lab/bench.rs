//! Everything of a lab behind its handles: machines, listeners, streams, and what is due.
//!
//! Owns the order of events. Invariant: whatever happens, notes that it leaves behind are
//! delivered before the next thing happens, and time stands still meanwhile.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use super::course::{Arrived, Course, Listening};
use super::desk::{Counter, Desk, Note, Start};
use super::message::{Request, add_length};
use super::plugin::Source;
use super::random::Random;
use super::setup::{LabError, Setup};
use crate::config::Gateway;
use crate::engine::{Capabilities, Engine, EngineSettings, Program, RootId};
use crate::proxy::failure::Failure;
use crate::proxy::fields::{self, Arrival, Scheme};
use crate::proxy::launch::{LaunchError, Programs, Surroundings, Worker, plugins};
use crate::proxy::machine::Machine;
use crate::serve::facts::{self, Connected};
use crate::view::{CallAnswer, GrpcEvent, Services};

/// Who connects, from where (RFC 5737).
const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const PEER_PORT: u16 = 40_000;

/// A lab's own.
pub(super) struct Bench {
    pub desk: Rc<Desk>,
    machines: Vec<Rc<RefCell<Machine>>>,
    listeners: Vec<Rc<Listening>>,
    pub courses: RefCell<Vec<Rc<RefCell<Course>>>>,
}

/// What is due at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Tick(usize, u32),
    Call(u32),
    Timer(usize),
}

impl Bench {
    pub fn start(mut setup: Setup) -> Result<Self, LabError> {
        let gateway = setup.gateway()?;
        let engine = engine().map_err(LabError::Engine)?;
        let launch = |error| LabError::Launch { error, logged: Vec::new() };
        let programs = programs(engine, &gateway, &setup.modules).map_err(launch)?;
        let desk = Rc::new(Desk::new(Start {
            epoch: setup.epoch,
            clusters: gateway.clusters.keys().cloned().collect(),
            vm_ids: plugins(&gateway).into_iter().map(|plugin| plugin.vm_id.clone()).collect(),
            random: Random::new(&setup.seed),
            level: setup.level,
            node: setup.node.clone(),
        }));
        let services = |machine: usize, vm_id: &str| -> Rc<dyn Services> {
            let shared = desk.shared.get(vm_id).cloned().unwrap_or_default();
            let (desk, vm_id) = (Rc::clone(&desk), vm_id.to_owned());
            Rc::new(Counter { desk, machine, vm_id, shared })
        };
        let around = Surroundings {
            variable: &|name| setup.variables.get(name).cloned(),
            services: &services,
            settings: setup.vm.clone(),
        };
        let worker = Worker::start(&gateway, &programs, &around).map_err(|error| {
            let logged = desk.lines.borrow().iter().map(|line| line.text.clone()).collect();
            LabError::Launch { error, logged }
        })?;
        let sites = worker.sites.iter().zip(&gateway.listeners);
        let listeners = sites.map(|(site, listener)| {
            Rc::new(Listening {
                name: listener.name.clone(),
                site: Rc::clone(site),
                http: listener.http.clone(),
                chain: listener.chain.clone(),
                scheme: if listener.tls.is_some() { Scheme::Https } else { Scheme::Http },
                lines: RefCell::default(),
            })
        });
        let listeners = listeners.collect();
        let machines = worker.machines().into_iter().map(|(_, machine)| machine).collect();
        let bench = Self { desk, machines, listeners, courses: RefCell::default() };
        bench.deliver();
        Ok(bench)
    }

    /// A request comes; the number of its stream.
    pub fn arrive(&self, request: Request, end: bool) -> usize {
        let number = self.courses.borrow().len();
        let listening = self.listening(request.listener.as_deref());
        let arrived = arrived(&listening, request, number, end);
        let course = Course::begin(&self.desk, &listening, number, arrived);
        self.courses.borrow_mut().push(Rc::new(RefCell::new(course)));
        self.deliver();
        number
    }

    /// The listener of a name, else the first; every file has one.
    fn listening(&self, name: Option<&str>) -> Rc<Listening> {
        let named = self.listeners.iter().find(|listener| Some(listener.name.as_str()) == name);
        Rc::clone(named.unwrap_or(&self.listeners[0]))
    }

    pub fn course(&self, number: usize) -> Rc<RefCell<Course>> {
        Rc::clone(&self.courses.borrow()[number])
    }

    /// Something happens to a stream, and then what comes of it elsewhere.
    pub fn happen(&self, number: usize, what: impl FnOnce(&mut Course)) {
        what(&mut self.course(number).borrow_mut());
        self.deliver();
    }

    /// Delivers notes until there are none.
    fn deliver(&self) {
        loop {
            if let Some((machine, root, queue)) = self.desk.next_entry() {
                if let Some(machine) = self.machines.get(machine) {
                    let root = RootId::of(root);
                    let _ = machine.borrow_mut().call(|vm| vm.queue_ready(root, queue));
                }
                continue;
            }
            let Some(note) = self.desk.notes.borrow_mut().pop_front() else { return };
            match note {
                Note::Asked { stream, filter } => {
                    let course = self.courses.borrow().get(stream).cloned();
                    if let Some(course) = course {
                        course.borrow_mut().asked(filter);
                    }
                }
                Note::Called { token, answer } => self.hand_over(token, answer),
                Note::Unavailable { machine, token } => {
                    let event = GrpcEvent::Closed { status: 14, message: b"no gRPC here".to_vec() };
                    if let Some(machine) = self.machines.get(machine) {
                        let _ = machine.borrow_mut().call(|vm| vm.grpc_event(token, event));
                    }
                }
            }
        }
    }

    /// Answers a call-out that still waits.
    pub fn answer_call(&self, token: u32, answer: CallAnswer) {
        self.hand_over(token, answer);
        self.deliver();
    }

    fn hand_over(&self, token: u32, answer: CallAnswer) {
        let Some(waiting) = self.desk.take_call(token) else { return };
        match waiting.asking {
            Some((stream, filter)) => {
                let course = self.courses.borrow().get(stream).cloned();
                let course = course.filter(|course| !course.borrow().is_over());
                match course {
                    Some(course) => course.borrow_mut().called(filter, token, answer),
                    // Its root is told all the same.
                    None => self.tell_root(waiting.machine, token, answer),
                }
            }
            None => self.tell_root(waiting.machine, token, answer),
        }
    }

    fn tell_root(&self, machine: usize, token: u32, answer: CallAnswer) {
        if let Some(machine) = self.machines.get(machine) {
            let _ = machine.borrow_mut().call(|vm| vm.http_call_response(token, answer));
        }
    }

    pub fn advance(&self, span: Duration) {
        let until = self.desk.now() + span;
        while let Some((due, what)) = self.next().filter(|(due, _)| *due <= until) {
            self.desk.set_now(due);
            self.fire(what);
            self.deliver();
        }
        self.desk.set_now(until);
    }

    /// What is due first.
    fn next(&self) -> Option<(Duration, Due)> {
        let tick =
            self.desk.next_tick().map(|(due, machine, root)| (due, Due::Tick(machine, root)));
        let call = self.desk.next_call().map(|(due, token)| (due, Due::Call(token)));
        let courses = self.courses.borrow();
        let timers = courses.iter().enumerate().filter_map(|(number, course)| {
            Some((course.borrow().next_timer()?, Due::Timer(number)))
        });
        timers.chain(tick).chain(call).min()
    }

    fn fire(&self, what: Due) {
        match what {
            Due::Tick(machine, root) => {
                self.desk.ticked(machine, root);
                if let Some(machine) = self.machines.get(machine) {
                    let _ = machine.borrow_mut().call(|vm| vm.tick(RootId::of(root)));
                }
            }
            Due::Call(token) => self.hand_over(token, Failure::Timeout.answer()),
            Due::Timer(number) => self.course(number).borrow_mut().expire(),
        }
    }

    pub fn access_log(&self) -> Vec<String> {
        self.listeners.iter().flat_map(|listener| listener.lines.borrow().clone()).collect()
    }

    pub fn close(&self) {
        self.desk.stop_ticks();
        self.machines.iter().for_each(|machine| machine.borrow_mut().close());
        self.deliver();
    }
}

/// What the gateway makes of a head that has come over a connection.
fn arrived(listening: &Listening, request: Request, number: usize, end: bool) -> Arrived {
    let Request { method, target, mut fields, content, trailers, properties, .. } = request;
    fields.iter_mut().for_each(|(name, _)| name.make_ascii_lowercase());
    add_length(&mut fields, &content, &trailers);
    let request_id = format!("00000000-0000-4000-8000-{:012x}", number + 1);
    let arrival = Arrival { scheme: listening.scheme, peer: PEER, mutual: false, request_id };
    let connected = Connected {
        id: number as u64 + 1,
        peer: SocketAddr::new(PEER, PEER_PORT),
        local: SocketAddr::from((Ipv4Addr::LOCALHOST, 10_000)),
        tls: None,
        own: &crate::proxy::exchange::Facts::default(),
    };
    let mut connection = facts::of_connection(&connected);
    connection.extend(properties);
    let connection = Rc::new(connection);
    match fields::arrived(&method, &target, fields, &listening.http, &arrival) {
        Ok(accepted) => Arrived { pairs: accepted.pairs, refused: None, end, connection },
        Err(refusal) => {
            let refused = Some((refusal.reply, refusal.flags));
            Arrived { pairs: refusal.seen, refused, end, connection }
        }
    }
}

/// One engine for the process, and so one clock for all deadlines.
pub(crate) fn engine() -> Result<&'static Engine, String> {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    if let Some(engine) = ENGINE.get() {
        return Ok(engine);
    }
    let engine = Engine::new(&EngineSettings::default())?;
    Ok(ENGINE.get_or_init(|| engine))
}

/// Compiled modules of this process by the digest of their bytes: tests start many labs.
type Compiled = Vec<(Vec<u8>, Capabilities, Program)>;

pub(crate) fn programs(
    engine: &Engine,
    gateway: &Gateway,
    modules: &BTreeMap<String, Source>,
) -> Result<Programs, LaunchError> {
    static COMPILED: Mutex<Compiled> = Mutex::new(Vec::new());
    Programs::each(gateway, |file, capabilities| {
        let source = modules.get(file);
        let bytes = read(file, source)?;
        let digest = ring::digest::digest(&ring::digest::SHA256, &bytes).as_ref().to_vec();
        let mut compiled = COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
        let known =
            compiled.iter().find(|(have, only, _)| *have == digest && *only == capabilities);
        if let Some((.., program)) = known {
            return Ok(program.clone());
        }
        let program = Program::new(engine, &bytes, capabilities.clone())
            .map_err(|error| LaunchError::Program { file: shown(file, source), error })?;
        compiled.push((digest, capabilities, program.clone()));
        Ok(program)
    })
}

/// What the module of a file is called, wherever it comes from.
fn shown(file: &str, instead: Option<&Source>) -> String {
    match instead {
        Some(Source::File(path)) => path.display().to_string(),
        _ => file.to_owned(),
    }
}

/// A module's bytes: those of the file, or those that take their place.
pub(crate) fn read(file: &str, instead: Option<&Source>) -> Result<Vec<u8>, LaunchError> {
    let path = match instead {
        Some(Source::Bytes(bytes)) => return Ok(bytes.clone()),
        Some(Source::File(path)) => path.as_path(),
        None => file.as_ref(),
    };
    std::fs::read(path)
        .map_err(|error| LaunchError::Read { file: path.display().to_string(), error })
}
