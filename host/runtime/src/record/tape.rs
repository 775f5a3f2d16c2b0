//! What one worker records: the order of its events, its frozen clock, its randomness.
//!
//! Invariant: between two events nothing of what a module can see changes, whatever the
//! system's clock does.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::rc::Rc;

use super::Recorder;
use super::event::{Bytes, Fields, In, Line, Out, What, fields};
use super::standin::Standins;
use crate::lab::random::Random;
use crate::proxy::chain::Output;
use crate::proxy::exchange::{Exchange, Facts};
use crate::view::{CallAnswer, CallOut, Level, Pairs, Status};

/// One worker's.
pub(crate) struct Tape {
    recorder: Recorder,
    /// Nanoseconds since the start.
    at: Cell<u64>,
    n: Cell<u64>,
    random: RefCell<Random>,
    current: Cell<Option<u64>>,
    /// By token: stream and number of the call-out there.
    calls: RefCell<HashMap<u32, (Option<u64>, u64)>>,
    counts: RefCell<BTreeMap<Option<u64>, u64>>,
    standins: RefCell<Standins>,
}

impl Tape {
    pub fn new(recorder: Recorder) -> Self {
        let random = RefCell::new(Random::new(&recorder.inner.seed));
        let start = recorder.inner.script.as_ref().map(|script| script.start);
        let tape = Self {
            recorder,
            at: Cell::default(),
            n: Cell::default(),
            random,
            current: Cell::default(),
            calls: RefCell::default(),
            counts: RefCell::default(),
            standins: RefCell::default(),
        };
        if let Some((n, at)) = start {
            tape.pretend(n, at);
        }
        tape.given(In::Start);
        tape
    }

    /// The event that comes is this one, at this time.
    pub fn pretend(&self, n: u64, at: u64) {
        self.n.set(n);
        self.at.set(at);
        self.random.borrow_mut().begin(n);
    }

    /// An event begins: time moves, and randomness is its own.
    pub fn begin(&self) {
        if self.recorder.inner.script.is_none() {
            let at =
                u64::try_from(self.recorder.inner.began.elapsed().as_nanos()).unwrap_or(u64::MAX);
            self.pretend(self.n.get() + 1, at);
        }
    }

    /// Nanoseconds since the start.
    pub fn at(&self) -> u64 {
        self.at.get()
    }

    /// Nanoseconds since 1970.
    pub fn wall(&self) -> u64 {
        self.recorder.inner.header.started.saturating_add(self.at.get())
    }

    /// What modules are told, so that they log the same again.
    pub fn level(&self) -> Level {
        self.recorder.inner.header.level()
    }

    pub fn fill(&self, bytes: &mut [u8]) {
        self.random.borrow_mut().fill(bytes);
    }

    /// The token of a call-out, by its number.
    pub fn token(&self, stream: Option<u64>, call: u64) -> Option<u32> {
        let calls = self.calls.borrow();
        calls.iter().find(|(_, known)| **known == (stream, call)).map(|(token, _)| *token)
    }

    /// What the next call-out of the callback that runs is called.
    pub fn next_call(&self) -> (Option<u64>, u64) {
        let stream = self.current.get();
        (stream, self.counts.borrow().get(&stream).copied().unwrap_or_default() + 1)
    }

    /// With which status a script has the next call-out refused.
    pub fn refused(&self) -> Option<Status> {
        self.recorder.inner.script.as_ref()?.refused.get(&self.next_call()).copied()
    }

    /// A module calls out.
    pub fn call(&self, token: u32, call: &CallOut, refused: Option<Status>) {
        let (stream, number) = self.next_call();
        self.counts.borrow_mut().insert(stream, number);
        if refused.is_none() {
            self.calls.borrow_mut().insert(token, (stream, number));
        }
        let CallOut { cluster, headers, body, trailers, timeout } = call;
        self.out(
            stream,
            Out::Call {
                call: number,
                cluster: Bytes(cluster.clone()),
                headers: self.pairs(headers),
                body: self.bytes(body),
                trailers: self.pairs(trailers),
                timeout_ms: u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX),
                refused: refused.map(|status| status as u32),
            },
        );
    }

    /// A call-out is answered, and a callback follows.
    pub fn called(&self, token: u32, answer: &CallAnswer) {
        let Some((stream, number)) = self.calls.borrow_mut().remove(&token) else { return };
        self.begin();
        let answer = CallAnswer {
            headers: self.redacted(&answer.headers),
            body: self.text(&answer.body),
            trailers: self.redacted(&answer.trailers),
        };
        self.put(stream, None, None, What::In(In::called(number, &answer)));
    }

    /// A root or machine is given something.
    pub fn given(&self, event: In) {
        self.begin();
        self.put(None, None, None, What::In(event));
    }

    pub fn log(&self, level: Level, text: &str) {
        let text = String::from_utf8_lossy(&self.text(text.as_bytes())).into_owned();
        self.out(self.current.get(), Out::Log { level: level as u8, text });
    }

    fn out(&self, stream: Option<u64>, out: Out) {
        self.put(stream, None, None, What::Out(out));
    }

    fn put(&self, stream: Option<u64>, facts: Option<Fields>, details: Option<Bytes>, what: What) {
        let (n, at) = (self.n.get(), self.at.get());
        self.recorder.put(Line { n, at, stream, facts, details, what });
    }

    fn keeps_values(&self) -> bool {
        self.recorder.inner.header.values || self.recorder.inner.script.is_some()
    }

    fn redacted(&self, pairs: &Pairs) -> Pairs {
        if self.keeps_values() {
            return pairs.clone();
        }
        let mut standins = self.standins.borrow_mut();
        let rules = &self.recorder.inner.rules;
        pairs.iter().map(|(name, it)| (name.clone(), standins.field(rules, name, it))).collect()
    }

    fn pairs(&self, pairs: &Pairs) -> Fields {
        fields(self.redacted(pairs).iter().map(|(name, value)| (name, value)))
    }

    fn text(&self, bytes: &[u8]) -> Vec<u8> {
        if self.keeps_values() { bytes.to_vec() } else { self.standins.borrow().text(bytes) }
    }

    fn bytes(&self, bytes: &[u8]) -> Bytes {
        Bytes(self.text(bytes))
    }
}

/// A stream's place on the tape.
pub(crate) struct Tap {
    tape: Rc<Tape>,
    stream: u64,
    facts: RefCell<Facts>,
    details: RefCell<Vec<u8>>,
}

impl fmt::Debug for Tap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tap({})", self.stream)
    }
}

impl Tap {
    /// A stream begins at a listener.
    pub fn open(tape: &Rc<Tape>, listener: usize, exchange: &Exchange) -> Rc<Self> {
        let tap = Self {
            tape: Rc::clone(tape),
            stream: exchange.number,
            facts: RefCell::default(),
            details: RefCell::default(),
        };
        let head = tape.pairs(&exchange.headers(crate::view::Direction::Request));
        let connection = tap.facts(&exchange.connection);
        tap.told(exchange, In::Open { listener, head, connection });
        Rc::new(tap)
    }

    fn facts(&self, facts: &Facts) -> Fields {
        let both = facts.iter().map(|(path, value)| (path.clone(), self.tape.text(value)));
        both.map(|(path, value)| (Bytes(path), Bytes(value))).collect()
    }

    /// The stream is given something.
    pub fn told(&self, exchange: &Exchange, event: In) {
        self.tape.begin();
        let facts = (*self.facts.borrow() != exchange.facts).then(|| self.facts(&exchange.facts));
        let details = *self.details.borrow() != exchange.details;
        let details = details.then(|| self.tape.bytes(&exchange.details));
        self.facts.borrow_mut().clone_from(&exchange.facts);
        self.details.borrow_mut().clone_from(&exchange.details);
        self.tape.put(Some(self.stream), facts, details, What::In(event));
    }

    /// Pairs of a message that is given.
    pub fn pairs(&self, pairs: &Pairs) -> Fields {
        self.tape.pairs(pairs)
    }

    /// Content that is given.
    pub fn bytes(&self, bytes: &[u8]) -> Bytes {
        self.tape.bytes(bytes)
    }

    /// Something leaves.
    pub fn left(&self, output: &Output) {
        let out = match output {
            Output::Headers(way, pairs, end) => {
                Out::Headers { way: (*way).into(), fields: self.pairs(pairs), end: *end }
            }
            Output::Body(way, bytes, end) => {
                Out::Body { way: (*way).into(), bytes: self.bytes(bytes), end: *end }
            }
            Output::Trailers(way, pairs) => {
                Out::Trailers { way: (*way).into(), fields: self.pairs(pairs) }
            }
            Output::CancelUpstream => Out::Cancel,
            Output::Reset => Out::Reset,
        };
        self.tape.out(Some(self.stream), out);
    }

    /// The filter state at the end.
    pub fn state(&self, exchange: &Exchange) {
        let both = |(key, value): (&[u8], &[u8])| (Bytes(key.to_vec()), self.bytes(value));
        let entries = exchange.states().map(both).collect();
        self.tape.out(Some(self.stream), Out::State { entries });
        // No callback of the stream comes any more.
        self.tape.counts.borrow_mut().remove(&Some(self.stream));
    }

    /// A callback of the stream runs.
    pub fn enter(&self) {
        self.tape.current.set(Some(self.stream));
    }

    /// It has ended.
    pub fn leave(&self) {
        self.tape.current.set(None);
    }
}
