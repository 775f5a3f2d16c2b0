//! A call-out to a cluster that has filters: it passes them, as in Envoy, as a stream whose
//! caller is a module.
//!
//! Envoy runs the filters of such a call-out inside the hostcall that starts it. So does this
//! gateway, unless one of them is in a machine that is inside a callback: that one is entered
//! when the callback has returned, where Envoy enters it again (and the public SDK traps).
//! gRPC call-outs go straight to the upstream.
//!
//! Invariant: an answer always comes, within the time of [`CallOut::patience`]; no filter of
//! the cluster is left out.

use std::cell::RefCell;
use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Waker};
use std::time::Duration;

use tokio::time::timeout;

use super::caller::{Asked, Caller};
use super::connection::Listening;
use super::desk::Desk;
use super::log::Lines;
use super::process::ListenerCounts;
use super::stream::{Arrived, Begins, Left, Stream};
use super::upstream::Cluster;
use crate::config::{Http, HttpLimits, RouteTable, Timers};
use crate::proxy::exchange::Facts;
use crate::proxy::failure::{Failure, Flags};
use crate::proxy::fields::Scheme;
use crate::proxy::filters::{Seat, Site};
use crate::view::{CallAnswer, CallOut, Pairs};

/// An answer that comes.
pub(super) type Answer = Pin<Box<dyn Future<Output = CallAnswer>>>;

/// What `request.protocol` says.
const PROTOCOL: &str = "HTTP/1.1";

/// The clusters' filters as they are now, and what streams of call-outs have in common.
pub(super) struct Passage {
    site: RefCell<Rc<Site>>,
    counts: Arc<ListenerCounts>,
    lines: Lines,
}

impl Passage {
    /// With the clusters' filters of `site`, which are the same for all listeners.
    pub fn new(site: Rc<Site>, lines: Lines) -> Self {
        Self { site: RefCell::new(site), counts: Arc::default(), lines }
    }

    /// For streams that begin from now on.
    pub fn change(&self, site: Rc<Site>) {
        self.site.replace(site);
    }

    /// The way through the filters of a cluster, if it has any.
    pub fn through(&self, cluster: &str) -> Option<Way> {
        let site = Rc::clone(&self.site.borrow());
        let seats = site.clusters.get(cluster).filter(|seats| !seats.is_empty())?.clone();
        Some(Way {
            _site: site,
            seats,
            counts: Arc::clone(&self.counts),
            lines: self.lines.clone(),
        })
    }
}

/// The filters of one cluster, kept alive for one call-out.
pub(super) struct Way {
    /// What is replaced ends when nobody holds this any more.
    _site: Rc<Site>,
    seats: Vec<Seat>,
    counts: Arc<ListenerCounts>,
    lines: Lines,
}

impl Way {
    /// Whether no machine of the filters is inside a callback.
    fn is_free(&self) -> bool {
        self.seats.iter().all(|seat| match seat {
            Seat::Plugin(place) => place.machine.try_borrow_mut().is_ok(),
            Seat::Native(..) => true,
        })
    }

    /// A listener that sends everything to the cluster, and has no timers but the call's.
    fn listening(&self, cluster: &str, time: Duration) -> Listening {
        let time = Some(time).filter(|time| !time.is_zero());
        let site = Site {
            routes: RouteTable::all_to(cluster, time),
            clusters: [(cluster.to_owned(), self.seats.clone())].into(),
            ..Site::default()
        };
        Listening {
            site: RefCell::new(Rc::new(site)),
            http: http(),
            chain: String::new(),
            scheme: Scheme::Http,
            counts: Arc::clone(&self.counts),
            lines: self.lines.clone(),
        }
    }
}

fn http() -> Http {
    let timers = Timers {
        idle: None,
        stream_idle: None,
        request: None,
        request_headers: None,
        stream: None,
    };
    let limits = HttpLimits {
        max_fields: usize::MAX,
        max_field_bytes: usize::MAX,
        reject_underscores: false,
    };
    Http::bare(timers, limits)
}

/// Starts a call-out through the filters of its cluster, as far as it gets inside the
/// hostcall. `None` if it ends there already: then it has not been sent, as Envoy says too.
pub(super) fn begin(
    desk: &Rc<Desk>,
    cluster: &Rc<Cluster>,
    way: Way,
    call: CallOut,
) -> Option<Answer> {
    let free = way.is_free();
    let (desk, cluster) = (Rc::clone(desk), Rc::clone(cluster));
    let mut answer: Answer = Box::pin(async move { ask(&desk, &cluster, &way, call).await });
    // Whoever awaits it registers a waker of its own.
    let mut first = Context::from_waker(Waker::noop());
    let over = free && answer.as_mut().poll(&mut first).is_ready();
    (!over).then_some(answer)
}

async fn ask(desk: &Rc<Desk>, cluster: &Cluster, way: &Way, call: CallOut) -> CallAnswer {
    let time = call.patience();
    let listening = Rc::new(way.listening(&cluster.config.name, call.timeout));
    let answer = Rc::new(RefCell::new(CallAnswer::default()));
    let asking = pin!(stream(desk, &listening, call, &answer));
    match timeout(time, asking).await {
        Ok(Left::Ready | Left::Last) => answer.take(),
        // An answer that breaks off is none, without fields.
        Ok(Left::Cut) => CallAnswer::default(),
        // A filter has kept the request.
        Err(_) if answer.borrow().headers.is_empty() => {
            cluster.counts.rq_timeout.fetch_add(1, Relaxed);
            Failure::Timeout.answer()
        }
        Err(_) => CallAnswer::default(),
    }
}

async fn stream(
    desk: &Rc<Desk>,
    listening: &Rc<Listening>,
    call: CallOut,
    answer: &Rc<RefCell<CallAnswer>>,
) -> Left {
    let to_head = call.headers.iter().any(|(name, value)| name == b":method" && value == b"HEAD");
    let mut arrived = Arrived {
        request: request(&call),
        begins: Begins::Serve,
        flags: Flags::NONE,
        has_content: !call.body.is_empty(),
        upgrade: false,
        expects: false,
        keep: true,
        protocol: PROTOCOL,
        connection: Rc::new(Facts::new()),
    };
    let asked = Asked::new(call.body, Rc::clone(answer));
    let caller = Caller::module(asked, to_head);
    let stream = Stream::new(desk, listening, caller, &mut arrived);
    stream.run(&mut arrived).await
}

/// With what Envoy adds.
fn request(call: &CallOut) -> Pairs {
    let mut pairs = call.headers.clone();
    let mut set = |name: &str, value: String| {
        pairs.retain(|(have, _)| have != name.as_bytes());
        pairs.push((name.as_bytes().to_vec(), value.into_bytes()));
    };
    if !call.body.is_empty() {
        set("content-length", call.body.len().to_string());
    }
    set("x-envoy-internal", "true".to_owned());
    let scheme = pairs.iter().any(|(name, _)| name == b":scheme");
    if !scheme {
        pairs.insert(0, (b":scheme".to_vec(), b"http".to_vec()));
    }
    pairs
}
