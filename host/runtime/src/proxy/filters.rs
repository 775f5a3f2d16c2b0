//! The filters of one stream as machines: what a [`Chain`](super::chain::Chain) asks.
//!
//! Owns the contexts of a stream in the machines of its worker, and the router between
//! listener and cluster. Invariant: a filter that cannot run is a failure of its stream,
//! never a filter that was left out; a context is used only in the machine that made it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use super::chain::{Guests, Routed, Slot, Verdict};
use super::exchange::{Shared, View};
use super::failure::Failure;
use super::fields;
use super::machine::Machine;
use super::route;
use crate::config::{FieldMatch, RouteTable};
use crate::engine::{Action, RootId, StreamId, Trapped, Vm};
use crate::view::{CallAnswer, Direction};

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

/// What all streams of a listener share on a worker.
pub struct Site {
    /// The listener's filters.
    pub filters: Vec<Place>,
    /// Its access loggers that are modules, with the requests that they want.
    pub loggers: Vec<(Option<FieldMatch>, Place)>,
    /// Where requests go.
    pub routes: RouteTable,
    /// Each cluster's filters.
    pub clusters: BTreeMap<String, Vec<Place>>,
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
struct Located {
    target: Target,
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
    /// Where the router has sent the request.
    pub target: Option<Target>,
    /// Why it has sent it nowhere.
    pub refused: Option<Failure>,
    /// Time from the end of the request to the upstream's answer, until the router has told it.
    pub took: Option<Duration>,
    /// The caller has left before its fields were whole.
    pub gone: bool,
}

struct Member {
    place: Place,
    context: Option<Context>,
    /// Nothing more is shown to it.
    over: bool,
}

impl Member {
    fn new(place: &Place) -> Self {
        Self { place: place.clone(), context: None, over: false }
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
        let members = site.filters.iter().map(Member::new).collect();
        let filters = Self {
            site,
            exchange,
            turn,
            members,
            now,
            target: None,
            refused: None,
            took: None,
            gone: false,
        };
        filters.locate();
        filters
    }

    /// The slots of the listener's filters.
    pub fn slots(&self) -> Vec<Slot> {
        self.members.iter().map(|member| member.place.slot).collect()
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
        let now = self.now;
        let machine = Rc::clone(&member.place.machine);
        let mut machine = machine.borrow_mut();
        let context = match member.context {
            Some(context) if machine.lives(context.life) => Ok(context),
            Some(_) => return failure(),
            None => {
                let view = View::filter(self.exchange.clone(), filter, Rc::clone(&self.turn));
                let made = machine.stream(member.place.plugin, Rc::new(view), now);
                made.map(|(stream, life)| Context { stream, life })
            }
        };
        let Ok(context) = context else { return failure() };
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
        let lives = member
            .and_then(|member| Some(member.place.machine.borrow().lives(member.context?.life)));
        if lives == Some(true) { asked } else { failure() }
    }

    /// `on_log` of the listener's filters, then the loggers, then the end of every context.
    ///
    /// A filter that has not seen the request gets a context now, as in Envoy: it learns of
    /// requests that were refused before it; not of one whose fields never came whole.
    pub fn finish(&mut self) {
        self.exchange.borrow_mut().log();
        let listener = if self.gone { 0 } else { self.site.filters.len() };
        for filter in 0..listener {
            self.run(filter, |vm, stream| vm.log(stream).map(|()| Action::Continue));
        }
        self.log();
        self.exchange.borrow_mut().logged();
        (0..self.members.len()).for_each(|filter| self.close(filter));
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
        let Some((place, Some(context))) = member.map(|it| (&it.place, it.context)) else { return };
        let mut machine = place.machine.borrow_mut();
        if machine.lives(context.life) {
            let _ = machine.call(|vm| callback(vm, context.stream));
        }
    }

    fn refuse(&mut self, failure: Failure) -> Routed {
        self.refused = Some(failure);
        Routed::Refused(failure.reply())
    }

    /// Finds the route and writes what modules can read of it.
    fn locate(&self) -> Option<Located> {
        let mut exchange = self.exchange.borrow_mut();
        let field = |name: &str| exchange.request_field(name.as_bytes());
        let (authority, path) = (field(":authority")?, field(":path")?);
        let taken = route::find(&self.site.routes, &authority, &path, field);
        let facts = taken.map(|taken| {
            [
                ("cluster_name", &taken.route.cluster),
                ("route_name", &taken.route.name),
                ("virtual_host_name", &taken.host.name),
            ]
        });
        for key in ["cluster_name", "route_name", "virtual_host_name"] {
            exchange.facts.remove(&fact(key));
        }
        for (key, value) in facts.into_iter().flatten() {
            exchange.facts.insert(fact(key), value.clone().into_bytes());
        }
        let taken = taken?;
        let target = Target { cluster: taken.route.cluster.clone(), timeout: taken.route.timeout };
        Some(Located { target, authority: taken.authority(), path: taken.path(&path) })
    }
}

fn fact(key: &str) -> Vec<u8> {
    [b"xds\0", key.as_bytes()].concat()
}

fn failure() -> Verdict {
    Verdict { failed: true, ..Verdict::default() }
}

impl Guests for Filters {
    fn headers(&mut self, filter: usize, direction: Direction, end: bool) -> Verdict {
        let count = self.exchange.borrow().headers(direction).len();
        self.run(filter, |vm, stream| match direction {
            Direction::Request => vm.request_headers(stream, count, end),
            Direction::Response => vm.response_headers(stream, count, end),
        })
    }

    fn body(&mut self, filter: usize, direction: Direction, end: bool) -> Verdict {
        let size = self.exchange.borrow().held(direction);
        self.run(filter, |vm, stream| match direction {
            Direction::Request => vm.request_body(stream, size, end),
            Direction::Response => vm.response_body(stream, size, end),
        })
    }

    fn trailers(&mut self, filter: usize, direction: Direction) -> Verdict {
        let count = self.exchange.borrow().trailers(direction).len();
        self.run(filter, |vm, stream| match direction {
            Direction::Request => vm.request_trailers(stream, count),
            Direction::Response => vm.response_trailers(stream, count),
        })
    }

    fn answered(&mut self) {
        if let Some(took) = self.took.take() {
            let mut exchange = self.exchange.borrow_mut();
            let mut pairs = exchange.headers(Direction::Response);
            fields::took(&mut pairs, took);
            exchange.set_headers(Direction::Response, pairs);
        }
    }

    fn cluster_over(&mut self) {
        for filter in self.site.filters.len()..self.members.len() {
            self.close(filter);
            self.members[filter].over = true;
        }
    }

    fn route(&mut self) -> Routed {
        let Some(Located { target, authority, path }) = self.locate() else {
            return self.refuse(Failure::NoRoute);
        };
        let Some(places) = self.site.clusters.get(&target.cluster) else {
            return self.refuse(Failure::NoCluster);
        };
        self.exchange.borrow_mut().route(authority.as_deref(), path.as_deref(), target.timeout);
        self.members.extend(places.iter().map(Member::new));
        let slots = places.iter().map(|place| place.slot).collect();
        self.target = Some(target);
        Routed::To(slots)
    }
}
