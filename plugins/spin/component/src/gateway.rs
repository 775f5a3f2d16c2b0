//! What the requests of one instance share.
//!
//! There is no tick on Spin, so revocation heads and key sets are refreshed by the requests:
//! the first one in a second asks, and where nothing was asked for [`LATE`] it waits for the
//! answer. Requests that wait for something are told the time every second, and soon when
//! another one has found what they may wait for.
//!
//! Invariant: keys between the parts are made when the instance starts and never leave it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use postern_core::config::key_service::KeyService;
use postern_core::event::AuditState;
use postern_core::fields::Fields;
use postern_core::key_service::{Background, Call, CallFailure, CallId, CallResult, Destination};
use postern_core::ledger::{FAILED, Ledger, Logged, Output};
use postern_core::revocation::Feed;
use postern_core::stream::Stream;
use postern_core::time::UnixMillis;
use postern_core::{credential, gate};
use postern_spin::bell::{Bell, LOOK, LOOKS};
use postern_spin::hosts::Hosts;
use postern_spin::memory::Memory;
use spin_sdk::wasip3::wit_bindgen::spawn;

use crate::call::{self, Outbound};
use crate::host;

/// How often the time is told.
const TICK: Duration = Duration::from_secs(1);
/// From here on what is known of revocations is asked for before a request is looked at.
const LATE: Duration = Duration::from_secs(2);
/// How often a request looks whether what another has asked for is here.
const ANSWER_LOOKS: u32 = 20;
/// Attempts to deliver records before that is left to a later request.
const ATTEMPTS: usize = 5;

/// A part that decides about requests, and where its calls go.
pub struct Part<P> {
    /// Its pipeline.
    pub pipeline: Rc<P>,
    /// What it knows of revocations.
    pub feed: Rc<dyn Feed>,
    /// Its key service.
    pub key_service: KeyService,
}

/// The parts of a gateway whose documents were accepted.
pub struct Parts {
    /// Who calls, and may they.
    pub gate: Part<gate::Pipeline>,
    /// Values in, nothing out.
    pub credential: Part<credential::Pipeline>,
    /// What the gate asks for without a request.
    pub background: Vec<Rc<dyn Background>>,
    /// Where records go.
    pub collector: KeyService,
    /// Where requests go.
    pub hosts: Hosts,
    /// Content is read before the decision (`body: hold`).
    pub holds: bool,
}

/// A gateway of one instance.
pub struct Gateway {
    parts: Parts,
    ledger: RefCell<Ledger>,
    memory: RefCell<Memory>,
    bell: Bell,
    ticked: Cell<UnixMillis>,
    /// When the last questions about revocations were over.
    answered: Cell<UnixMillis>,
}

/// Which of the two parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// The gate.
    Gate,
    /// The credential part.
    Credential,
}

impl Gateway {
    /// A gateway that has seen no request.
    pub fn new(parts: Parts, ledger: Ledger) -> Self {
        let (ledger, memory) = (RefCell::new(ledger), RefCell::default());
        let (bell, never) = (Bell::default(), UnixMillis(0));
        let (ticked, answered) = (Cell::new(never), Cell::new(never));
        Self { parts, ledger, memory, bell, ticked, answered }
    }

    pub(crate) fn hosts(&self) -> &Hosts {
        &self.parts.hosts
    }

    pub(crate) fn holds(&self) -> bool {
        self.parts.holds
    }

    pub(crate) fn stream(&self, which: Which) -> Box<dyn Stream> {
        match which {
            Which::Gate => Box::new(self.parts.gate.pipeline.stream()),
            Which::Credential => Box::new(self.parts.credential.pipeline.stream()),
        }
    }

    /// Makes a call for a part.
    pub(crate) async fn call(&self, which: Which, call: Call) -> CallResult {
        let own = match which {
            Which::Gate => &self.parts.gate.key_service,
            Which::Credential => &self.parts.credential.key_service,
        };
        self.send(own, call).await
    }

    async fn send(&self, own: &KeyService, call: Call) -> CallResult {
        let authority = match &call.to {
            Destination::KeyService => &own.authority,
            Destination::Named { authority, .. } => authority,
        };
        let mut fields: Vec<(&str, &str)> =
            vec![(":method", call.method), (":path", &call.path), (":authority", authority)];
        if !call.body.is_empty() {
            fields.push(("content-type", call.content_type));
        }
        fields.extend(call.unless.as_deref().map(|tag| ("if-none-match", tag)));
        let fields: Option<Fields> = match &call.authorization {
            None => Some(fields.into_iter().collect()),
            Some(authorization) => authorization
                .perform(|value| fields.into_iter().chain([("authorization", value)]).collect()),
        };
        let Some(fields) = fields else { return Err(CallFailure::NotSent) };
        let plain = self.hosts().is_plain(authority);
        let Call { body, most, timeout, .. } = call;
        call::send(Outbound { fields, body, plain, most, timeout }).await
    }

    /// Tells the requests that wait.
    pub(crate) fn wake(&self) {
        self.bell.ring();
    }

    /// Waits until another request has done something, at most a second.
    pub(crate) async fn pause(self: &Rc<Self>) {
        self.refresh();
        let before = self.bell.rung();
        for _ in 0..LOOKS {
            host::sleep(LOOK).await;
            if self.bell.rung() != before {
                return;
            }
        }
    }

    /// Before a request is looked at: what is known is fresh, or being asked for.
    pub(crate) async fn fresh(self: &Rc<Self>) {
        if host::now().since(self.answered.get()) < LATE {
            return self.refresh();
        }
        if host::now().since(self.ticked.get()) >= LATE {
            self.ticked.set(host::now());
            self.ask_needed().await;
            self.ask_background();
            self.ask_feeds().await;
            return self.redeliver();
        }
        // Another request asks already.
        for _ in 0..ANSWER_LOOKS {
            host::sleep(LOOK).await;
            if host::now().since(self.answered.get()) < LATE {
                return;
            }
        }
    }

    /// Asks for what is due, once a second, without waiting for it.
    fn refresh(self: &Rc<Self>) {
        if host::now().since(self.ticked.get()) < TICK {
            return;
        }
        self.ticked.set(host::now());
        self.ask_background();
        let gateway = Rc::clone(self);
        spawn(async move { gateway.ask_feeds().await });
        self.redeliver();
    }

    async fn ask_feeds(&self) {
        let parts = &self.parts;
        self.ask_feed(&*parts.gate.feed, &parts.gate.key_service).await;
        self.ask_feed(&*parts.credential.feed, &parts.credential.key_service).await;
        self.answered.set(host::now());
        self.wake();
    }

    async fn ask_feed(&self, feed: &dyn Feed, key_service: &KeyService) {
        let mut next =
            host::moment().and_then(|at| self.with_memory(|memory| feed.tick(memory, at)));
        while let Some(call) = next.take() {
            let id = call.id;
            let result = self.send(key_service, call).await;
            next = host::moment()
                .and_then(|at| self.with_memory(|memory| feed.heard(id, result, memory, at)));
        }
        for metric in feed.counts() {
            host::log(metric.0);
        }
    }

    fn with_memory<T>(&self, act: impl FnOnce(&mut Memory) -> Option<T>) -> Option<T> {
        self.memory.try_borrow_mut().ok().and_then(|mut memory| act(&mut memory))
    }

    /// Waits for what no request passes without: an instance is often new.
    async fn ask_needed(&self) {
        for background in self.parts.background.iter().filter(|one| one.needed()) {
            let Some(call) = background.due(host::now()) else { continue };
            let id = call.id;
            let result = self.call(Which::Gate, call).await;
            background.heard(id, result, host::now());
            tell(&**background);
        }
    }

    fn ask_background(self: &Rc<Self>) {
        for background in &self.parts.background {
            let Some(call) = background.due(host::now()) else { continue };
            let (gateway, background) = (Rc::clone(self), Rc::clone(background));
            spawn(async move {
                let id = call.id;
                let result = gateway.call(Which::Gate, call).await;
                if background.heard(id, result, host::now()) {
                    gateway.wake();
                }
                tell(&*background);
            });
        }
    }

    /// Whether requests may still be recorded.
    pub(crate) fn audit(&self) -> AuditState {
        self.ledger.try_borrow().map_or(AuditState::Behind, |ledger| ledger.state())
    }

    /// Puts a record on the chain.
    pub(crate) fn record(&self, logged: Logged<'_>) {
        let memory = self.memory.try_borrow_mut();
        if let (Ok(mut ledger), Ok(mut memory)) = (self.ledger.try_borrow_mut(), memory) {
            ledger.log(logged, &mut *memory, host::now());
        }
    }

    /// Delivers what waits, if nobody is at it; tries again for some seconds.
    pub(crate) async fn deliver(&self) {
        for _ in 0..ATTEMPTS {
            let mut next = self.batch();
            if next.is_none() {
                return;
            }
            let mut failed = false;
            while let Some(call) = next.take() {
                let id = call.id;
                let result = self.send(&self.parts.collector, call).await;
                (next, failed) = self.heard(id, result);
            }
            if failed {
                host::sleep(TICK).await;
            }
        }
    }

    /// What an earlier request could not deliver.
    fn redeliver(self: &Rc<Self>) {
        if self.waiting() > 0 {
            let gateway = Rc::clone(self);
            spawn(async move { gateway.deliver().await });
        }
    }

    fn waiting(&self) -> usize {
        self.ledger.try_borrow().map_or(0, |ledger| ledger.waiting())
    }

    /// The oldest batch as a call; none when one is out already or nothing waits.
    fn batch(&self) -> Option<Call> {
        let at = host::moment()?;
        let mut ledger = self.ledger.try_borrow_mut().ok()?;
        ledger.flush(at);
        outputs(&mut ledger).0
    }

    /// The next call of a delivery, and whether the delivery has failed.
    fn heard(&self, id: CallId, result: CallResult) -> (Option<Call>, bool) {
        // Without randomness the call counts as lost, and the batch is sent again.
        let (Some(at), Ok(mut ledger)) = (host::moment(), self.ledger.try_borrow_mut()) else {
            return (None, true);
        };
        ledger.heard(id, result, at);
        outputs(&mut ledger)
    }
}

/// Logs what happened without a request; there are no counters here.
fn tell(background: &dyn Background) {
    for told in background.told() {
        host::log(&format!("{}: {}", told.metric.0, told.text));
    }
}

fn outputs(ledger: &mut Ledger) -> (Option<Call>, bool) {
    let (mut call, mut failed) = (None, false);
    while let Some(output) = ledger.poll() {
        match output {
            Output::Call(next) => call = Some(next),
            Output::Count(metric) => failed |= metric == FAILED,
        }
    }
    (call, failed)
}
