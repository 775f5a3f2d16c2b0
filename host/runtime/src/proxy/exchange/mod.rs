//! What a filter may see and change of one stream, and what it has asked for.
//!
//! Owns the fields, trailers and filter state of a stream; [`View`] is what a filter gets of
//! it, `property` reads what has a path. Invariant: a map or buffer is there for a filter
//! only while the message is at that filter, as in Envoy; what has gone on cannot be
//! changed, and whoever tries is told so.

mod property;
#[cfg(test)]
mod tests;
mod view;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

pub use view::View;

use super::chain::Verdict;
use super::fields::{self, Rewritten};
use super::local;
use crate::record::Tap;
use crate::view::{BodyKind, Declared, Direction, LocalReply, MapKind, Pairs, Status};

/// The exchange of one stream, shared by its chain and its views.
pub type Shared = Rc<RefCell<Exchange>>;

/// Properties that are no part of the message, by path with segments joined by NUL.
pub type Facts = BTreeMap<Vec<u8>, Vec<u8>>;

/// Numbers streams, over all workers.
static NUMBERS: AtomicU64 = AtomicU64::new(1);

/// One stream.
#[derive(Debug, Default)]
pub struct Exchange {
    /// What a trace and a recording call it.
    pub number: u64,
    /// Where it is recorded.
    pub(crate) tap: Option<Rc<Tap>>,
    request: Half,
    response: Half,
    state: BTreeMap<Vec<u8>, (Vec<u8>, Declared)>,
    /// `source.…`, `destination.…`, `connection.…`: alike for all streams of a connection.
    pub connection: Rc<Facts>,
    /// `xds.…`, `request.duration` and so on.
    pub facts: Facts,
    /// What `%RESPONSE_CODE_DETAILS%` shows.
    pub details: Vec<u8>,
    /// Whether a local reply has said so, be it with nothing.
    explained: bool,
    /// How long the upstream has taken, until the router has told the listener's filters.
    pub took: Option<Duration>,
    /// Bytes of content that have come from the caller.
    pub received: u64,
    /// Bytes of content that have left for the caller.
    pub sent: u64,
    /// The filter whose callback runs, and what it asks for.
    running: Option<usize>,
    asked: Verdict,
    /// What other callbacks ask for this stream, by filter.
    late: BTreeMap<usize, Verdict>,
    /// What waits at each filter while no callback of it runs.
    parked: Vec<Parked>,
    /// Whether the stream is logged: fields are there again, for reading.
    logging: bool,
}

/// Envoy's own objects of filter state that a module may write: texts, which only readers
/// of filter state see. Those that would choose an upstream do nothing here, so they are
/// not found.
const OBJECTS: &[&[u8]] = &[b"envoy.string", b"envoy.hashable_string"];

/// Which maps of a message a filter can see.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sight {
    /// Its fields.
    pub headers: bool,
    /// Its trailers.
    pub trailers: bool,
}

/// Content that waits at a filter, where callbacks of others reach it too.
pub(super) type Held = Rc<RefCell<Vec<u8>>>;

/// What waits at a filter, of the request and of the response.
pub(super) type Parked = [Waiting; 2];

/// What waits at a filter of a message.
#[derive(Debug, Default, Clone)]
pub(super) struct Waiting {
    /// Its maps.
    pub sight: Sight,
    /// Its content, if a callback has kept some.
    pub held: Option<Held>,
}

/// One message.
#[derive(Debug, Default)]
struct Half {
    headers: Pairs,
    trailers: Pairs,
    sight: Sight,
    body: Option<Vec<u8>>,
    made: Making,
}

/// Trailers that a filter makes of a message that has none, at the end of its content.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Making {
    /// This is not the end.
    #[default]
    Closed,
    /// It may.
    Open,
    /// It has.
    Done,
}

impl Half {
    /// As in Envoy, trailers that could be changed exist from the moment on in which somebody
    /// tries to.
    fn make_trailers(&mut self) {
        if self.made == Making::Open && !self.sight.trailers {
            self.trailers.clear();
            (self.made, self.sight.trailers) = (Making::Done, true);
        }
    }
}

impl Exchange {
    /// A stream whose request has these fields, pseudo fields first.
    pub fn new(request: Pairs) -> Self {
        let request = Half { headers: request, ..Half::default() };
        let number = NUMBERS.fetch_add(1, Relaxed);
        Self { number, request, ..Self::default() }
    }

    /// The fields of a message.
    pub fn headers(&self, direction: Direction) -> Pairs {
        self.half(direction).headers.clone()
    }

    /// Sets the fields of a message, when it has come.
    pub fn set_headers(&mut self, direction: Direction, pairs: Pairs) {
        self.half_mut(direction).headers = pairs;
    }

    /// The trailers of a message.
    pub fn trailers(&self, direction: Direction) -> Pairs {
        self.half(direction).trailers.clone()
    }

    /// Sets the trailers of a message, when they have come.
    pub fn set_trailers(&mut self, direction: Direction, pairs: Pairs) {
        self.half_mut(direction).trailers = pairs;
    }

    /// Whether the request's method is `HEAD`.
    pub fn is_head(&self) -> bool {
        value(&self.request.headers, b":method").as_deref() == Some(b"HEAD")
    }

    /// The lines of a field of the request joined with `,`.
    pub fn request_field(&self, name: &[u8]) -> Option<Vec<u8>> {
        value(&self.request.headers, name)
    }

    /// What the router writes: authority and path as they leave where the route replaces
    /// them, and what tells the filters of the cluster about the route.
    pub fn route(
        &mut self,
        authority: Option<&[u8]>,
        path: Option<&[u8]>,
        timeout: Option<Duration>,
    ) {
        let pairs = &mut self.request.headers;
        let old_authority = authority.and_then(|_| value(pairs, b":authority"));
        let old_path = path.and_then(|_| value(pairs, b":path"));
        for (name, new) in [(b":authority".as_slice(), authority), (b":path", path)] {
            if let Some(new) = new {
                replace(pairs, name, new);
            }
        }
        let rewritten =
            Rewritten { authority: old_authority.as_deref(), path: old_path.as_deref() };
        fields::routed(pairs, timeout, rewritten);
    }

    /// All of the filter state, by full keys.
    pub fn states(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.state.iter().map(|(key, (value, _))| (key.as_slice(), value.as_slice()))
    }

    /// A value of the filter state by its full key (`wasm.…`).
    pub fn filter_state(&self, key: &[u8]) -> Option<&[u8]> {
        self.state.get(key).map(|(value, _)| value.as_slice())
    }

    /// Bytes of content that the filter at hand can see.
    pub fn held(&self, direction: Direction) -> usize {
        self.half(direction).body.as_ref().map_or(0, Vec::len)
    }

    /// The content that the filter at hand can see, to be replaced.
    pub(super) fn content(&mut self, direction: Direction) -> Option<&mut Vec<u8>> {
        self.half_mut(direction).body.as_mut()
    }

    /// Status of the response, if there is one.
    pub fn status(&self) -> Option<u16> {
        let status = value(&self.response.headers, b":status")?;
        std::str::from_utf8(&status).ok()?.parse().ok()
    }

    /// The version of HTTP that the caller speaks, if it has said so.
    pub fn protocol(&self) -> Option<&[u8]> {
        self.facts.get(b"request\0protocol".as_slice()).map(Vec::as_slice)
    }

    /// The cluster that the route names, whether the request got there or not.
    pub fn cluster(&self) -> Option<&str> {
        std::str::from_utf8(self.facts.get(b"xds\0cluster_name".as_slice())?).ok()
    }

    /// Turns to logging, or away from it.
    pub fn log(&mut self, logging: bool) {
        self.logging = logging;
    }

    /// A callback of a filter begins.
    pub fn enter(&mut self, filter: usize) {
        self.tap.iter().for_each(|tap| tap.enter());
        self.running = Some(filter);
    }

    /// It has ended; what it asked for.
    pub fn leave(&mut self) -> Verdict {
        self.tap.iter().for_each(|tap| tap.leave());
        self.running = None;
        std::mem::take(&mut self.asked)
    }

    /// What others have asked for a filter of this stream since the last time.
    pub fn take_late(&mut self, filter: usize) -> Verdict {
        self.late.remove(&filter).unwrap_or_default()
    }

    /// Tells what waits at each filter, for callbacks that are not this stream's.
    pub(super) fn park(&mut self, parked: impl Iterator<Item = Parked>) {
        self.parked.clear();
        self.parked.extend(parked);
    }

    /// Puts a local reply in place of the response's fields; gives its content.
    pub(crate) fn answer_locally(&mut self, reply: LocalReply) -> Vec<u8> {
        let content_type = value(&self.request.headers, b"content-type");
        self.explain(&reply.details);
        let (pairs, body) = local::response(reply, content_type.is_some_and(local::is_grpc));
        self.response.headers = pairs;
        self.response.trailers.clear();
        body
    }

    /// Says why the stream ends as it does; log formats have no room for spaces.
    pub(super) fn explain(&mut self, details: &[u8]) {
        let visible = |byte: &u8| if byte.is_ascii_whitespace() { b'_' } else { *byte };
        self.details = details.iter().map(visible).collect();
        self.explained = true;
    }

    pub(super) fn show(
        &mut self,
        direction: Direction,
        headers: bool,
        body: Option<Vec<u8>>,
        trailers: bool,
    ) {
        let half = self.half_mut(direction);
        (half.sight, half.body) = (Sight { headers, trailers }, body);
    }

    /// The filter that runs sees the end of the content, and may make trailers.
    pub(super) fn ends(&mut self, direction: Direction) {
        self.half_mut(direction).made = Making::Open;
    }

    /// Whether it has.
    pub(super) fn made_trailers(&mut self, direction: Direction) -> bool {
        std::mem::take(&mut self.half_mut(direction).made) == Making::Done
    }

    pub(super) fn hide(&mut self, direction: Direction) -> Option<Vec<u8>> {
        let half = self.half_mut(direction);
        half.sight = Sight::default();
        half.body.take()
    }

    fn half(&self, direction: Direction) -> &Half {
        match direction {
            Direction::Request => &self.request,
            Direction::Response => &self.response,
        }
    }

    fn half_mut(&mut self, direction: Direction) -> &mut Half {
        match direction {
            Direction::Request => &mut self.request,
            Direction::Response => &mut self.response,
        }
    }

    /// What waits at a filter whose callback does not run.
    fn waiting(&self, direction: Direction, filter: Option<usize>) -> Option<&Waiting> {
        let filter = filter.filter(|filter| self.running != Some(*filter))?;
        self.parked.get(filter)?.get(direction as usize)
    }

    /// What a filter sees of a message now.
    fn sight(&self, direction: Direction, filter: Option<usize>) -> Sight {
        match filter {
            Some(filter) if self.running != Some(filter) => {
                let waiting = self.waiting(direction, Some(filter));
                waiting.map(|waiting| waiting.sight).unwrap_or_default()
            }
            _ => self.half(direction).sight,
        }
    }

    /// A map that could be changed.
    fn open(&self, kind: MapKind, filter: Option<usize>) -> Result<&Pairs, Status> {
        let (direction, is_trailers) = place(kind);
        let (half, sight) = (self.half(direction), self.sight(direction, filter));
        match is_trailers {
            false if sight.headers => Ok(&half.headers),
            true if sight.trailers => Ok(&half.trailers),
            _ => Err(Status::BadArgument),
        }
    }

    /// A map for reading. Envoy shows the logs no trailers of requests.
    fn map(&self, kind: MapKind, filter: Option<usize>) -> Result<&Pairs, Status> {
        match kind {
            MapKind::RequestHeaders if self.logging => Ok(&self.request.headers),
            MapKind::ResponseHeaders if self.logging => Ok(&self.response.headers),
            MapKind::ResponseTrailers if self.logging => Ok(&self.response.trailers),
            _ => self.open(kind, filter),
        }
    }

    /// A map for changing.
    fn map_mut(&mut self, kind: MapKind, filter: Option<usize>) -> Result<&mut Pairs, Status> {
        let (direction, is_trailers) = place(kind);
        if is_trailers && filter == self.running {
            self.half_mut(direction).make_trailers();
        }
        self.open(kind, filter)?;
        let half = self.half_mut(direction);
        Ok(if is_trailers { &mut half.trailers } else { &mut half.headers })
    }

    /// Runs `act` on the content of a message that a filter holds.
    fn with_body<T>(
        &mut self,
        kind: BodyKind,
        filter: Option<usize>,
        act: impl FnOnce(&mut Vec<u8>) -> Result<T, Status>,
    ) -> Result<T, Status> {
        let direction = match kind {
            BodyKind::Request => Direction::Request,
            BodyKind::Response => Direction::Response,
        };
        if filter.is_some() && filter != self.running {
            let waiting = self.waiting(direction, filter);
            let held = waiting.and_then(|waiting| waiting.held.clone()).ok_or(Status::NotFound)?;
            return act(&mut held.borrow_mut());
        }
        act(self.half_mut(direction).body.as_mut().ok_or(Status::NotFound)?)
    }
}

/// Direction of a map, and whether it is one of trailers.
fn place(kind: MapKind) -> (Direction, bool) {
    match kind {
        MapKind::RequestHeaders => (Direction::Request, false),
        MapKind::RequestTrailers => (Direction::Request, true),
        MapKind::ResponseHeaders => (Direction::Response, false),
        MapKind::ResponseTrailers => (Direction::Response, true),
    }
}

fn value(pairs: &Pairs, name: &[u8]) -> Option<Vec<u8>> {
    let name = name.to_ascii_lowercase();
    let lines = pairs.iter().filter(|(have, _)| *have == name).map(|(_, value)| value.as_slice());
    let lines: Vec<&[u8]> = lines.collect();
    (!lines.is_empty()).then(|| lines.join(&b','))
}

fn replace(pairs: &mut Pairs, name: &[u8], text: &[u8]) {
    let name = name.to_ascii_lowercase();
    match pairs.iter().position(|(have, _)| *have == name) {
        None => pairs.push((name, text.to_vec())),
        Some(first) => {
            pairs[first].1 = text.to_vec();
            let mut index = 0;
            pairs.retain(|(have, _)| {
                index += 1;
                index <= first + 1 || *have != name
            });
        }
    }
}
