//! One request and its answer: gate, credential, upstream and back.
//!
//! The order is that of Envoy's filters. A request leaves when both parts let its head go;
//! with `body: hold` its content was read before that, otherwise it is read as it passes. The
//! permit goes from one to the other in memory. A record is made when the answer has ended
//! here, and the task of the request stays until the collector has it, or for some seconds.
//!
//! Invariant: nothing reaches the upstream or the caller but what a part has let go, and
//! what was cut never looks complete.

mod canary;
mod download;
mod upload;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use postern_core::effect::{Flow, Publication, Reply};
use postern_core::event::{Event, Surroundings};
use postern_core::fields::Fields;
use postern_core::key_service::{CallId, CallResult};
use postern_core::ledger::Logged;
use postern_core::record::ResponseFacts;
use postern_core::time::UnixMillis;
use postern_spin::side::{Ask, Direction, End, Side, set};
use spin_sdk::wasip3::http::types::{ErrorCode, Request, Response};
use spin_sdk::wasip3::wit_bindgen::spawn;

use crate::content::Incoming;
use crate::gateway::{Gateway, Which};
use crate::{answer, head, host};
use upload::Upload;

/// Most events that one event may lead to: replies of calls, one after the other.
const MOST_EVENTS: usize = 32;
/// Longest wait for the head of an answer.
const FIRST_BYTE: Duration = Duration::from_secs(60);

/// Handles one request.
pub async fn run(gateway: Rc<Gateway>, request: Request) -> Result<Response, ErrorCode> {
    gateway.fresh().await;
    let fields = head::of_request(&request);
    let exchange = Rc::new(Exchange::new(gateway));
    match Rc::clone(&exchange).request(fields, Incoming::of_request(request)).await {
        Ok(response) => Ok(response),
        Err(stop) => exchange.stopped(stop),
    }
}

/// Why a request does not come to the upstream's answer.
enum Stop {
    /// It is answered here.
    Reply(Reply),
    /// It is cut.
    Cut,
    /// Nobody is behind that authority.
    NoRoute,
    /// The upstream gave no answer.
    NoAnswer,
    /// The upstream gave none in time.
    TooLate,
}

/// One request.
struct Exchange {
    gateway: Rc<Gateway>,
    gate: RefCell<Side>,
    credential: RefCell<Side>,
    published: RefCell<Option<Publication>>,
    record: RefCell<Option<Vec<u8>>>,
    began: UnixMillis,
    to_head: Cell<bool>,
    over: Cell<bool>,
}

impl Exchange {
    fn new(gateway: Rc<Gateway>) -> Self {
        let side = |which| RefCell::new(Side::new(gateway.stream(which)));
        let (gate, credential) = (side(Which::Gate), side(Which::Credential));
        Self {
            gate,
            credential,
            gateway,
            published: RefCell::default(),
            record: RefCell::default(),
            began: host::now(),
            to_head: Cell::new(false),
            over: Cell::new(false),
        }
    }

    /// The request's head through the gate and the credential part.
    async fn request(
        self: Rc<Self>,
        fields: Fields,
        mut incoming: Incoming,
    ) -> Result<Response, Stop> {
        self.to_head.set(fields.only(":method") == Some(b"HEAD"));
        let end = is_empty(&fields, &mut incoming).await;
        let authority = fields.only(":authority").map(<[u8]>::to_vec).unwrap_or_default();
        let cluster = self.gateway.hosts().route(&authority).map(|(name, _)| name.into());
        let audit = self.gateway.audit();
        let around = Surroundings { cluster, audit, ..Surroundings::default() };
        let mut upload = Upload::new(incoming, end);
        let mut flow = self.begin(Which::Gate, fields, end, around).await;
        while flow == Flow::Pause {
            self.open(Which::Gate)?;
            flow = match upload.ended || !self.gateway.holds() {
                true => self.tick(Which::Gate).await,
                false => upload.read_or_tick(&self).await?,
            };
        }
        self.let_held_go(&mut upload)?;
        let (fields, end) = self.routed(&upload)?;
        let around = self.handed_on(&fields);
        let mut flow = self.begin(Which::Credential, fields, end, around).await;
        let mut ended = end;
        while flow == Flow::Pause {
            self.open(Which::Credential)?;
            flow = match ended || !self.gateway.holds() {
                true => self.tick(Which::Credential).await,
                false => upload.pass(&self, &mut ended).await?,
            };
        }
        self.send(upload, ended).await
    }

    /// The head as the gate left it, with the authority of its cluster if it has one; and whether
    /// all of the request is in it. Without a cluster a permit with credentials fits nothing.
    fn routed(&self, upload: &Upload) -> Result<(Fields, bool), Stop> {
        let gate = self.gate.try_borrow().map_err(|_| Stop::Cut)?;
        let mut fields = gate.request.head.clone();
        let authority = fields.only(":authority").unwrap_or_default();
        if let Some((_, authority)) = self.gateway.hosts().route(authority) {
            set(&mut fields, ":authority", authority.to_string().as_bytes());
        }
        Ok((fields, upload.is_nothing()))
    }

    /// What the gate gives to the credential part.
    fn handed_on(&self, fields: &Fields) -> Surroundings {
        let authority = fields.only(":authority").unwrap_or_default();
        let cluster = self.gateway.hosts().route(authority).map(|(name, _)| name.into());
        let published = self.published.try_borrow_mut().ok().and_then(|mut it| it.take());
        let (permit, form) = published.map(|it| (it.permit, it.form)).unwrap_or_default();
        let record = self.record.try_borrow().ok().and_then(|record| record.clone());
        let form = form.filter(|_| fields.announce_form());
        let audit = self.gateway.audit();
        Surroundings { cluster, permit, record, form, certificate: None, audit }
    }

    fn side(&self, which: Which) -> &RefCell<Side> {
        match which {
            Which::Gate => &self.gate,
            Which::Credential => &self.credential,
        }
    }

    /// Whether a part still lets anything pass.
    fn open(&self, which: Which) -> Result<(), Stop> {
        let side = self.side(which).try_borrow().map_err(|_| Stop::Cut)?;
        match side.end() {
            End::Open => Ok(()),
            End::Replied(reply) => Err(Stop::Reply(reply.clone())),
            End::Cut => Err(Stop::Cut),
        }
    }

    async fn begin(&self, which: Which, fields: Fields, end: bool, around: Surroundings) -> Flow {
        let event = match host::entropy() {
            Some(entropy) => Event::RequestHeaders { fields, end, around, entropy },
            None => Event::EffectFailed,
        };
        self.drive(which, event).await
    }

    async fn tick(&self, which: Which) -> Flow {
        self.gateway.pause().await;
        self.drive(which, Event::Tick).await
    }

    /// What the gate held while it waited goes on with its head.
    fn let_held_go(&self, upload: &mut Upload) -> Result<(), Stop> {
        let mut gate = self.gate.try_borrow_mut().map_err(|_| Stop::Cut)?;
        gate.settle(Direction::Request);
        upload.add(gate.request.take_passed());
        Ok(())
    }

    /// An event of content or trailers, after which content goes on or stays.
    async fn pass(&self, which: Which, direction: Direction, event: Event) -> Flow {
        let flow = self.drive(which, event).await;
        if let Ok(mut side) = self.side(which).try_borrow_mut() {
            side.settle(direction);
        }
        flow
    }

    /// One event and everything that it leads to.
    async fn drive(&self, which: Which, event: Event) -> Flow {
        let mut events = VecDeque::from([event]);
        for _ in 0..MOST_EVENTS {
            let Some(event) = events.pop_front() else { break };
            // Never borrowed twice, since nothing is awaited meanwhile.
            let asks = match self.side(which).try_borrow_mut() {
                Ok(mut side) => side.handle(event, host::now()),
                Err(_) => return Flow::Pause,
            };
            for ask in asks {
                events.extend(self.perform(which, ask).await);
            }
        }
        match self.side(which).try_borrow_mut() {
            Ok(mut side) => {
                if !events.is_empty() {
                    side.cut();
                }
                side.flow()
            }
            Err(_) => Flow::Pause,
        }
    }

    async fn perform(&self, which: Which, ask: Ask) -> Option<Event> {
        match ask {
            Ask::Call(call) => {
                let id = call.id;
                return Some(reply(id, self.gateway.call(which, call).await));
            }
            Ask::CallUpstream(call) => {
                let id = call.id;
                let result = Box::pin(canary::send(Rc::clone(&self.gateway), call)).await;
                return Some(reply(id, result));
            }
            Ask::Publish(publication) => keep(&self.published, publication),
            Ask::Record(record) => keep(&self.record, record),
            Ask::Amend(amendment) => {
                let current = self.record.try_borrow().ok().and_then(|record| record.clone());
                keep(&self.record, amendment.into_record(current.as_deref()));
            }
            Ask::Wake => self.gateway.wake(),
        }
        None
    }

    /// Answers for what does not come to the upstream's answer.
    fn stopped(self: Rc<Self>, stop: Stop) -> Result<Response, ErrorCode> {
        let (status, response) = match stop {
            Stop::Reply(reply) => (Some(reply.status), answer::local(reply)),
            Stop::Cut => (None, Err(ErrorCode::ConnectionTerminated)),
            Stop::NoRoute => (Some(404), answer::bare(404)),
            Stop::NoAnswer => (Some(503), answer::bare(503)),
            Stop::TooLate => (Some(504), answer::bare(504)),
        };
        spawn(async move { self.finish(status).await });
        response
    }

    /// The answer has ended here: its record goes to the collector.
    async fn finish(&self, status: Option<u16>) {
        if self.over.replace(true) {
            return;
        }
        self.drive(Which::Credential, Event::Done).await;
        self.drive(Which::Gate, Event::Done).await;
        let duration = Some(host::now().since(self.began));
        let draft = self.record.try_borrow_mut().ok().and_then(|mut record| record.take());
        let facts = ResponseFacts { status, flags: 0, duration };
        self.gateway.record(Logged { draft: draft.as_deref(), seq: None, facts });
        self.gateway.deliver().await;
    }
}

fn keep<T>(cell: &RefCell<Option<T>>, value: T) {
    if let Ok(mut kept) = cell.try_borrow_mut() {
        *kept = Some(value);
    }
}

/// A reply as an event; without randomness there is nothing to go on with.
fn reply(id: CallId, result: CallResult) -> Event {
    let entropy = host::entropy();
    entropy.map_or(Event::EffectFailed, |entropy| Event::CallReply { id, result, entropy })
}

/// Whether a request is all in its head. WASI does not say, so where no length does either the
/// first piece of content is waited for.
async fn is_empty(fields: &Fields, incoming: &mut Incoming) -> bool {
    match fields.only("content-length") {
        Some(length) => length.iter().all(|digit| *digit == b'0') && incoming.is_empty().await,
        None => incoming.is_empty().await,
    }
}
