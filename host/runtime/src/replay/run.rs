//! The events of a recording, given again one after another.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, UNIX_EPOCH};

use super::{Module, Options, Recording, ReplayError};
use crate::config::Gateway;
use crate::engine::{RootId, VmSettings};
use crate::lab::bench;
use crate::lab::desk::{Counter, Desk, Note, Start, Ticket};
use crate::lab::plugin::Source;
use crate::lab::random::Random;
use crate::proxy::chain::{Chain, Output};
use crate::proxy::exchange::{Exchange, Facts, Shared};
use crate::proxy::filters::Filters;
use crate::proxy::launch::{Surroundings, Worker, plugins};
use crate::record::{Bytes, Fields, In, Line, Out, Recorder, Script, Tape, What, pairs};
use crate::view::{CallAnswer, Direction, Services, Status};

/// What came of it.
pub(super) struct Ran {
    pub modules: Vec<Module>,
    pub lines: Vec<Line>,
    pub events: usize,
    pub passed_over: usize,
}

pub(super) fn run(recording: &Recording, options: &Options) -> Result<Ran, ReplayError> {
    let gateway = recording.gateway()?;
    let sources: BTreeMap<String, Source> =
        options.modules.iter().map(|(name, it)| (name.clone(), Source::File(it.clone()))).collect();
    let modules = modules(recording, &gateway, &sources)?;
    let recorder = Recorder::scripted(recording.header.clone(), script(recording))
        .map_err(|message| ReplayError::Recording { line: 1, message })?;
    let mut stage = Stage::start(recording, options, &gateway, &sources, &recorder)?;
    let (mut events, mut passed_over) = (0, 0);
    for line in &recording.lines {
        if let What::In(event) = &line.what
            && *event != In::Start
        {
            events += 1;
            passed_over += usize::from(!stage.take(line, event));
        }
    }
    Ok(Ran { modules, lines: recorder.lines(), events, passed_over })
}

/// What the recording says of clock and clusters.
fn script(recording: &Recording) -> Script {
    let start = recording.lines.iter().find(|line| line.what == What::In(In::Start));
    let refused = recording.lines.iter().filter_map(|line| match &line.what {
        What::Out(Out::Call { call, refused: Some(status), .. }) => {
            Some(((line.stream, *call), status_of(*status)))
        }
        _ => None,
    });
    Script { start: start.map_or((1, 0), |line| (line.n, line.at)), refused: refused.collect() }
}

/// Of the two that a call-out is refused with.
fn status_of(number: u32) -> Status {
    if number == Status::BadArgument as u32 { Status::BadArgument } else { Status::InternalFailure }
}

fn modules(
    recording: &Recording,
    gateway: &Gateway,
    sources: &BTreeMap<String, Source>,
) -> Result<Vec<Module>, ReplayError> {
    let module = |name: String| {
        let bytes = bench::read(&name, sources.get(&name)).map_err(ReplayError::Launch)?;
        let recorded = recording.header.modules.get(&name).cloned();
        Ok(Module { name, recorded, now: crate::record::digest(&bytes) })
    };
    Recording::modules(gateway).into_iter().map(module).collect()
}

/// One stream.
struct Stream {
    chain: Chain,
    filters: Filters,
    exchange: Shared,
    /// Whether an upstream has the request.
    forwarding: bool,
}

/// Machines and streams.
struct Stage {
    desk: Rc<Desk>,
    worker: Worker,
    tape: Rc<Tape>,
    /// By number; the index is their place at the desk.
    streams: Vec<(u64, Option<Stream>)>,
}

impl Stage {
    fn start(
        recording: &Recording,
        options: &Options,
        gateway: &Gateway,
        sources: &BTreeMap<String, Source>,
        recorder: &Recorder,
    ) -> Result<Self, ReplayError> {
        let engine = bench::engine().map_err(ReplayError::Engine)?;
        let programs = bench::programs(engine, gateway, sources).map_err(ReplayError::Launch)?;
        let desk = Rc::new(Desk::new(Start {
            epoch: UNIX_EPOCH + Duration::from_nanos(recording.header.started),
            clusters: gateway.clusters.keys().cloned().collect(),
            vm_ids: plugins(gateway).into_iter().map(|plugin| plugin.vm_id.clone()).collect(),
            random: Random::new(&[]),
            level: recording.header.level(),
            node: recording.header.node.clone(),
        }));
        let services = |machine: usize, vm_id: &str| -> Rc<dyn Services> {
            let shared = desk.shared.get(vm_id).cloned().unwrap_or_default();
            let (desk, vm_id) = (Rc::clone(&desk), vm_id.to_owned());
            Rc::new(Counter { desk, machine, vm_id, shared })
        };
        let around = Surroundings {
            variable: &|name| (options.environment)(name),
            services: &services,
            settings: VmSettings { record: Some(recorder.clone()), ..options.vm.clone() },
        };
        let worker = Worker::start(gateway, &programs, &around).map_err(ReplayError::Launch)?;
        let tape = worker.tape().unwrap_or_else(|| Rc::new(Tape::new(recorder.clone())));
        Ok(Self { desk, worker, tape, streams: Vec::new() })
    }

    /// Whether an event could be given.
    fn take(&mut self, line: &Line, event: &In) -> bool {
        self.tape.pretend(line.n, line.at);
        self.desk.set_now(Duration::from_nanos(line.at));
        let taken = match (line.stream, event) {
            (None, event) => self.take_for_roots(event),
            (Some(number), In::Open { listener, head, connection }) => {
                self.open(number, *listener, head, connection, line)
            }
            (Some(number), event) => self.take_for_stream(number, line, event),
        };
        self.deliver();
        taken
    }

    fn take_for_roots(&self, event: &In) -> bool {
        match event {
            In::Tick { machine, root } if self.desk.ticks(*machine, *root) => {
                self.machine(*machine, |it| drop(it.call(|vm| vm.tick(RootId::of(*root)))))
            }
            In::Close { machine } => self.machine(*machine, |it| it.close()),
            In::Called { call, headers, body, trailers } => {
                let Some(token) = self.tape.token(None, *call) else { return false };
                let Some(waiting) = self.desk.take_call(token) else { return false };
                let answer = answer(headers, body, trailers);
                self.machine(waiting.machine, |it| {
                    drop(it.call(|vm| vm.http_call_response(token, answer)));
                })
            }
            _ => false,
        }
    }

    fn machine(
        &self,
        number: usize,
        what: impl FnOnce(&mut crate::proxy::machine::Machine),
    ) -> bool {
        let machines = self.worker.machines();
        let machine = machines.iter().find(|(have, _)| *have == number);
        machine.map(|(_, machine)| what(&mut machine.borrow_mut())).is_some()
    }

    fn open(
        &mut self,
        number: u64,
        listener: usize,
        head: &Fields,
        connection: &Fields,
        line: &Line,
    ) -> bool {
        let Some(site) = self.worker.sites.get(listener).cloned() else { return false };
        let mut exchange = Exchange::new(pairs(head));
        exchange.number = number;
        exchange.connection = Rc::new(facts(connection));
        tell(&mut exchange, line);
        let exchange = Rc::new(RefCell::new(exchange));
        let turn = Rc::new(Ticket { desk: Rc::clone(&self.desk), stream: self.streams.len() });
        let filters = Filters::new(site, Rc::clone(&exchange), turn, self.desk.now());
        let chain = Chain::new(Rc::clone(&exchange), &filters.slots());
        self.streams.push((number, Some(Stream { chain, filters, exchange, forwarding: false })));
        true
    }

    fn take_for_stream(&mut self, number: u64, line: &Line, event: &In) -> bool {
        let known = self.streams.iter_mut().rev().find(|(known, _)| *known == number);
        let Some((_, place)) = known else { return false };
        let Some(stream) = place else { return false };
        tell(&mut stream.exchange.borrow_mut(), line);
        stream.filters.at(self.desk.now());
        if *event == In::Finish {
            stream.filters.finish();
            *place = None;
            return true;
        }
        let taken = match event {
            In::Called { call, headers, body, trailers } => {
                let token = self.tape.token(Some(number), *call);
                let waiting = token.and_then(|token| self.desk.take_call(token));
                let Some((waiting, (_, filter))) =
                    waiting.and_then(|waiting| Some((waiting.token, waiting.asking?)))
                else {
                    return false;
                };
                stream.called(filter, waiting, answer(headers, body, trailers))
            }
            event => stream.take(event),
        };
        stream.settle();
        taken
    }

    /// What other contexts have asked of streams. Call-outs that cannot be sent are answered
    /// by the recording.
    fn deliver(&mut self) {
        loop {
            let Some(note) = self.desk.notes.borrow_mut().pop_front() else { return };
            if let Note::Asked { stream, filter } = note
                && let Some((_, Some(stream))) = self.streams.get_mut(stream)
            {
                stream.chain.meanwhile(&mut stream.filters, filter, |it| it.asked(filter));
                stream.settle();
            }
        }
    }
}

impl Stream {
    fn called(&mut self, filter: usize, token: u32, answer: CallAnswer) -> bool {
        self.chain.meanwhile(&mut self.filters, filter, |it| it.answer(filter, token, answer));
        true
    }

    /// Whether an event of a direction could be given.
    fn take(&mut self, event: &In) -> bool {
        let of_upstream = matches!(
            event,
            In::ResponseHeaders { .. }
                | In::ResponseBody { .. }
                | In::ResponseTrailers { .. }
                | In::Fail(_)
        );
        if of_upstream && !self.forwarding {
            return false;
        }
        let set = |direction, fields: &Fields, trailers: bool| {
            let mut exchange = self.exchange.borrow_mut();
            match trailers {
                false => exchange.set_headers(direction, pairs(fields)),
                true => exchange.set_trailers(direction, pairs(fields)),
            }
        };
        let (chain, filters) = (&mut self.chain, &mut self.filters);
        match event {
            In::RequestHeaders { end } => chain.request_headers(filters, *end),
            In::RequestBody { bytes, end } => chain.request_body(filters, &bytes.0, *end),
            In::RequestTrailers { fields } => {
                set(Direction::Request, fields, true);
                chain.request_trailers(filters);
            }
            In::ResponseHeaders { fields, end, took } => {
                set(Direction::Response, fields, false);
                self.exchange.borrow_mut().took = took.map(Duration::from_millis);
                chain.response_headers(filters, *end);
            }
            In::ResponseBody { bytes, end } => chain.response_body(filters, &bytes.0, *end),
            In::ResponseTrailers { fields } => {
                set(Direction::Response, fields, true);
                chain.response_trailers(filters);
            }
            In::Fail(reply) => chain.fail(filters, reply.reply()),
            In::Expire(reply) => chain.expire(filters, reply.reply()),
            In::Abandon => chain.abandon(),
            _ => return false,
        }
        true
    }

    /// Takes what leaves, which the tape has noted.
    fn settle(&mut self) {
        self.chain.park();
        while let Some(output) = self.chain.poll() {
            match output {
                Output::Headers(Direction::Request, ..) => self.forwarding = true,
                Output::CancelUpstream | Output::Reset => self.forwarding = false,
                _ => {}
            }
        }
    }
}

fn tell(exchange: &mut Exchange, line: &Line) {
    if let Some(told) = &line.facts {
        exchange.facts = facts(told);
    }
    if let Some(Bytes(details)) = &line.details {
        exchange.details.clone_from(details);
    }
}

fn facts(fields: &Fields) -> Facts {
    fields.iter().map(|(path, value)| (path.0.clone(), value.0.clone())).collect()
}

fn answer(headers: &Fields, body: &Bytes, trailers: &Fields) -> CallAnswer {
    CallAnswer { headers: pairs(headers), body: body.0.clone(), trailers: pairs(trailers) }
}
