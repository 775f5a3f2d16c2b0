//! The filters of one stream as machines: what a [`Chain`](super::chain::Chain) asks.
//!
//! Owns the contexts of a stream in the machines of its worker, and the router between
//! listener and cluster. Invariant: a filter that cannot run is a failure of its stream,
//! never a filter that was left out, unless its policy is to fail open; a context is used
//! only in the machine that made it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use super::chain::{Guests, Routed, Slot, Verdict, own};
use super::exchange::{Exchange, Shared, View};
use super::failure::Failure;
use super::fields;
use super::machine::{Down, Machine};
use super::native::{Native, Running};
use super::route;
use crate::config::{FieldMatch, RouteTable};
use crate::engine::{Action, RootId, StreamId, Trapped, Vm};
use crate::record::{In, Tap, Tape};
use crate::view::{CallAnswer, Direction, LocalReply, Pairs};

/// A plugin in a chain.
#[derive(Clone)]
pub struct Place {
    /// The machine of its module.
    pub machine: Rc<RefCell<Machine>>,
    /// Which of the machine's plugins.
    pub plugin: usize,
    /// How the chain treats it.
    pub slot: Slot,
}

/// A filter in a chain, whatever it is.
#[derive(Clone)]
pub enum Seat {
    /// A plugin.
    Plugin(Place),
    /// No module.
    Native(Native, Slot),
}

/// What all streams of a listener share on a worker.
#[derive(Default)]
pub struct Site {
    /// The listener's filters.
    pub filters: Vec<Seat>,
    /// Its access loggers that are modules, with the requests that they want.
    pub loggers: Vec<(Option<FieldMatch>, Place)>,
    /// Where requests go.
    pub routes: RouteTable,
    /// Each cluster's filters.
    pub clusters: BTreeMap<String, Vec<Seat>>,
    /// Where its streams are recorded, and its number there.
    pub(crate) tape: Option<(Rc<Tape>, usize)>,
}

impl Site {
    /// Filters and loggers, without a route.
    pub fn new(filters: Vec<Seat>, loggers: Vec<(Option<FieldMatch>, Place)>) -> Self {
        Self { filters, loggers, ..Self::default() }
    }
}

/// Where a request goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Name of the cluster.
    pub cluster: String,
    /// Time for the response.
    pub timeout: Option<Duration>,
}

/// The way back to a stream, for what happens while none of its callbacks runs.
pub trait Turn {
    /// A call-out of a filter begins: its answer is for the stream.
    fn begin(&self, filter: usize);
    /// The call-out has begun, or not.
    fn end(&self);
    /// Somebody else's callback has asked for something at a filter of the stream, which
    /// [`Filters::asked`] tells.
    fn wake(&self, filter: usize);
}

/// Nobody waits.
impl Turn for () {
    fn begin(&self, _: usize) {}
    fn end(&self) {}
    fn wake(&self, _: usize) {}
}

/// A route that was found, and what it replaces.
struct Located<'a> {
    taken: route::Taken<'a>,
    authority: Option<Vec<u8>>,
    path: Option<Vec<u8>>,
}

/// The filters of one stream.
pub struct Filters {
    site: Rc<Site>,
    exchange: Shared,
    turn: Rc<dyn Turn>,
    members: Vec<Member>,
    /// Time since the worker has started, for failures of machines.
    now: Duration,
    /// The route that the router has taken.
    taken: Option<(usize, usize)>,
    /// Where the router has sent the request.
    pub target: Option<Target>,
    /// Why it has sent it nowhere.
    pub refused: Option<Failure>,
    /// The caller has left before its fields were whole.
    pub gone: bool,
}

struct Member {
    slot: Slot,
    /// Of a plugin.
    place: Option<Place>,
    native: Option<Running>,
    context: Option<Context>,
    /// Nothing more is shown to it.
    over: bool,
}

impl Member {
    fn new(seat: &Seat) -> Self {
        match seat {
            Seat::Plugin(place) => {
                let (slot, place) = (place.slot, Some(place.clone()));
                Self { slot, place, native: None, context: None, over: false }
            }
            Seat::Native(native, slot) => {
                let native = Some(Running::new(native.clone()));
                Self { slot: *slot, place: None, native, context: None, over: false }
            }
        }
    }
}

/// A context, and which life of the machine it belongs to.
#[derive(Clone, Copy)]
struct Context {
    stream: StreamId,
    life: u64,
}

impl Filters {
    /// The filters for a request whose fields stand in `exchange`.
    pub fn new(site: Rc<Site>, exchange: Shared, turn: Rc<dyn Turn>, now: Duration) -> Self {
        if let Some((tape, listener)) = &site.tape {
            let tap = Tap::open(tape, *listener, &exchange.borrow());
            exchange.borrow_mut().tap = Some(tap);
        }
        let members = site.filters.iter().map(Member::new).collect();
        let filters = Self {
            site,
            exchange,
            turn,
            members,
            now,
            taken: None,
            target: None,
            refused: None,
            gone: false,
        };
        filters.locate(&filters.site);
        filters
    }

    /// The slots of the listener's filters.
    pub fn slots(&self) -> Vec<Slot> {
        self.members.iter().map(|member| member.slot).collect()
    }

    /// The time of what comes next.
    pub fn at(&mut self, now: Duration) {
        self.now = now;
    }

    /// Runs another callback of a filter, such as the answer to a call-out.
    pub fn run(
        &mut self,
        filter: usize,
        callback: impl FnOnce(&mut Vm, StreamId) -> Result<Action, Trapped>,
    ) -> Verdict {
        let Some(member) = self.members.get_mut(filter) else { return failure() };
        if member.over {
            return Verdict::default();
        }
        // What is no module has no other callbacks.
        let Some(place) = &member.place else { return Verdict::default() };
        let now = self.now;
        let machine = Rc::clone(&place.machine);
        let mut machine = machine.borrow_mut();
        let context = match member.context {
            Some(context) if machine.lives(context.life) => Ok(context),
            Some(_) => return failure(),
            None => {
                let view = View::filter(self.exchange.clone(), filter, Rc::clone(&self.turn));
                let made = machine.stream(place.plugin, Rc::new(view), now);
                made.map(|(stream, life)| Context { stream, life })
            }
        };
        let context = match context {
            Ok(context) => context,
            // Envoy makes a chain without the filter when its machine is dead; a stream that
            // had its context before fails.
            Err(Down::Bypassed) => return Verdict::default(),
            Err(Down::Refused) => return failure(),
        };
        member.context = Some(context);
        self.exchange.borrow_mut().enter(filter);
        let action = machine.call(|vm| callback(vm, context.stream));
        let asked = self.exchange.borrow_mut().leave();
        match action {
            Ok(action) => Verdict { pause: action == Action::Pause, ..asked },
            Err(_) => failure(),
        }
    }

    /// The answer to a call-out of a filter, with [`Chain::meanwhile`](super::chain::Chain::meanwhile).
    pub fn answer(&mut self, filter: usize, token: u32, answer: CallAnswer) -> Verdict {
        self.run(filter, |vm, _| vm.http_call_response(token, answer).map(|_| Action::Continue))
    }

    /// What callbacks of other contexts have asked for, after [`Turn::wake`], with
    /// [`Chain::meanwhile`](super::chain::Chain::meanwhile).
    pub fn asked(&mut self, filter: usize) -> Verdict {
        let asked = self.exchange.borrow_mut().take_late(filter);
        let member = self.members.get(filter);
        let lives =
            member.and_then(|it| Some(it.place.as_ref()?.machine.borrow().lives(it.context?.life)));
        if lives == Some(true) { asked } else { failure() }
    }

    /// `on_log` of the listener's filters, then the loggers, then the end of every context.
    ///
    /// A filter that has not seen the request gets a context now, as in Envoy: it learns of
    /// requests that were refused before it; not of one whose fields never came whole.
    pub fn finish(&mut self) {
        let tap = self.exchange.borrow().tap.clone();
        tap.iter().for_each(|tap| tap.told(&self.exchange.borrow(), In::Finish));
        self.exchange.borrow_mut().log(true);
        let listener = if self.gone { 0 } else { self.site.filters.len() };
        for filter in 0..listener {
            self.run(filter, |vm, stream| vm.log(stream).map(|()| Action::Continue));
        }
        self.log();
        self.exchange.borrow_mut().log(false);
        (0..self.members.len()).for_each(|filter| self.close(filter));
        tap.iter().for_each(|tap| tap.state(&self.exchange.borrow()));
    }

    /// Ends a filter's context.
    fn close(&mut self, filter: usize) {
        self.each(filter, |vm, stream| vm.done(stream).map(drop));
        self.each(filter, Vm::delete);
    }

    fn log(&self) {
        let view = Rc::new(View::logger(self.exchange.clone()));
        for (wanted, place) in &self.site.loggers {
            let field = |name: &str| self.exchange.borrow().request_field(name.as_bytes());
            if wanted.as_ref().is_some_and(|wanted| !route::holds(wanted, field)) {
                continue;
            }
            let mut machine = place.machine.borrow_mut();
            // A logger that does not run is found out by the gate, which misses its receipt.
            let log = |vm: &mut Vm, root: RootId| vm.log_root(root, view.clone());
            let _ = machine.root(place.plugin, self.now, log);
        }
    }

    /// A callback whose failure concerns later streams only.
    fn each(
        &mut self,
        filter: usize,
        callback: impl FnOnce(&mut Vm, StreamId) -> Result<(), Trapped>,
    ) {
        let member = self.members.get(filter).filter(|member| !member.over);
        let both = member.and_then(|it| Some((it.place.as_ref()?, it.context?)));
        let Some((place, context)) = both else { return };
        let mut machine = place.machine.borrow_mut();
        if machine.lives(context.life) {
            let _ = machine.call(|vm| callback(vm, context.stream));
        }
    }

    /// Asks a filter that is no module.
    fn native(
        &mut self,
        filter: usize,
        ask: impl FnOnce(&mut Running, &mut Exchange) -> Verdict,
    ) -> Option<Verdict> {
        let native = self.members.get_mut(filter)?.native.as_mut()?;
        let verdict = ask(native, &mut self.exchange.borrow_mut());
        if verdict.reply.is_some() {
            self.refused = Some(Failure::NoFilterConfig);
        }
        Some(verdict)
    }

    fn refuse(&mut self, failure: Failure) -> Routed {
        self.refused = Some(failure);
        Routed::Refused(failure.reply())
    }

    /// Finds the route and writes what modules can read of it.
    fn locate<'a>(&self, site: &'a Site) -> Option<Located<'a>> {
        let mut exchange = self.exchange.borrow_mut();
        let field = |name: &str| exchange.request_field(name.as_bytes());
        let (authority, path) = (field(":authority")?, field(":path")?);
        let taken = route::find(&site.routes, &authority, &path, field);
        exchange.facts.retain(|key, _| !route::is_fact(key));
        exchange.facts.extend(taken.iter().flat_map(route::Taken::facts));
        let taken = taken?;
        Some(Located { authority: taken.authority(), path: taken.path(&path), taken })
    }

    /// What a route says that sends the request nowhere.
    fn answered(&self, taken: &route::Taken<'_>) -> Option<LocalReply> {
        let exchange = self.exchange.borrow();
        let answer = taken.answer(|name| exchange.request_field(name.as_bytes()));
        let (status, headers, body) = answer?;
        let reply = own(status.into(), "direct_response", "");
        Some(LocalReply { headers, body, ..reply })
    }
}

fn failure() -> Verdict {
    Verdict { failed: true, ..Verdict::default() }
}

impl Guests for Filters {
    fn headers(&mut self, filter: usize, direction: Direction, end: bool) -> Verdict {
        let native = self.native(filter, |native, it| native.headers(it, direction, end));
        if let Some(verdict) = native {
            return verdict;
        }
        let count = self.exchange.borrow().headers(direction).len();
        self.run(filter, |vm, stream| match direction {
            Direction::Request => vm.request_headers(stream, count, end),
            Direction::Response => vm.response_headers(stream, count, end),
        })
    }

    fn body(&mut self, filter: usize, direction: Direction, end: bool) -> Verdict {
        let native = self.native(filter, |native, it| native.body(it, direction, end));
        if let Some(verdict) = native {
            return verdict;
        }
        let size = self.exchange.borrow().held(direction);
        self.run(filter, |vm, stream| match direction {
            Direction::Request => vm.request_body(stream, size, end),
            Direction::Response => vm.response_body(stream, size, end),
        })
    }

    fn trailers(&mut self, filter: usize, direction: Direction) -> Verdict {
        let native = self.native(filter, |native, it| native.trailers(it, direction));
        if let Some(verdict) = native {
            return verdict;
        }
        let count = self.exchange.borrow().trailers(direction).len();
        self.run(filter, |vm, stream| match direction {
            Direction::Request => vm.request_trailers(stream, count),
            Direction::Response => vm.response_trailers(stream, count),
        })
    }

    fn cluster_over(&mut self) {
        for filter in self.site.filters.len()..self.members.len() {
            self.close(filter);
            self.members[filter].over = true;
        }
    }

    fn route(&mut self) -> Routed {
        let site = Rc::clone(&self.site);
        let Some(Located { taken, authority, path }) = self.locate(&site) else {
            self.taken = None;
            return self.refuse(Failure::NoRoute);
        };
        self.taken = Some(taken.at);
        let Some(forward) = taken.forward() else {
            let reply = self.answered(&taken);
            return Routed::Refused(reply.unwrap_or_else(|| Failure::NoRoute.reply()));
        };
        let target = Target { cluster: forward.cluster.clone(), timeout: forward.timeout };
        let Some(seats) = site.clusters.get(&target.cluster) else {
            return self.refuse(Failure::NoCluster);
        };
        let mut exchange = self.exchange.borrow_mut();
        exchange.route(None, None, target.timeout);
        let mut pairs = exchange.headers(Direction::Request);
        taken.edit_request(&mut pairs);
        exchange.set_headers(Direction::Request, pairs);
        exchange.route(authority.as_deref(), path.as_deref(), None);
        drop(exchange);
        let first = self.members.len();
        self.members.extend(seats.iter().map(Member::new));
        let slots = self.members[first..].iter().map(|member| member.slot).collect();
        self.target = Some(target);
        Routed::To(slots)
    }

    fn leaves_router(&mut self, answer: &mut Pairs) {
        let took = self.exchange.borrow_mut().took.take();
        if let Some(took) = took {
            fields::took(answer, took);
        }
        let taken = self.taken.and_then(|at| route::Taken::again(&self.site.routes, at));
        if let Some(taken) = taken {
            taken.edit_response(answer);
        }
    }
}
