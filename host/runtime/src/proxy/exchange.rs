//! What a filter may see and change of one stream, and what it has asked for.
//!
//! Owns the fields, trailers and filter state of a stream. Invariant: a map or buffer is
//! there for a filter only while the message is at that filter, as in Envoy; what has gone
//! on cannot be changed, and whoever tries is told so.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use super::chain::Verdict;
use super::fields::{self, Rewritten};
use super::filters::Turn;
use crate::view::{BodyKind, Declared, Direction, LocalReply, MapKind, Pairs, Status, StreamView};

/// The exchange of one stream, shared by its chain and its views.
pub type Shared = Rc<RefCell<Exchange>>;

/// Properties that are no part of the message, by path with segments joined by NUL.
pub type Facts = BTreeMap<Vec<u8>, Vec<u8>>;

/// One stream.
#[derive(Debug, Default)]
pub struct Exchange {
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
    /// The filter whose callback runs, and what it asks for.
    running: Option<usize>,
    asked: Verdict,
    /// What other callbacks ask for this stream, by filter.
    late: BTreeMap<usize, Verdict>,
    /// What waits at each filter while no callback of it runs.
    parked: Vec<Parked>,
    /// Whether access loggers run: fields are there again, for reading.
    logging: bool,
    /// Bytes of content that have come from the caller.
    pub received: u64,
    /// Bytes of content that have left for the caller.
    pub sent: u64,
}

/// Which maps of a message a filter can see.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sight {
    /// Its fields.
    pub headers: bool,
    /// Its trailers.
    pub trailers: bool,
}

/// Of the request and of the response.
pub(super) type Parked = [Sight; 2];

/// One message.
#[derive(Debug, Default)]
struct Half {
    headers: Pairs,
    trailers: Pairs,
    sight: Sight,
    body: Option<Vec<u8>>,
}

impl Exchange {
    /// A stream whose request has these fields, pseudo fields first.
    pub fn new(request: Pairs) -> Self {
        let request = Half { headers: request, ..Half::default() };
        Self { request, ..Self::default() }
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

    /// Whether the caller speaks gRPC.
    fn is_grpc(&self) -> bool {
        let kind = value(&self.request.headers, b"content-type").unwrap_or_default();
        kind.strip_prefix(b"application/grpc").is_some_and(|rest| matches!(rest, [] | [b'+', ..]))
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
                fields::set(pairs, std::str::from_utf8(name).unwrap_or_default(), new);
            }
        }
        let rewritten =
            Rewritten { authority: old_authority.as_deref(), path: old_path.as_deref() };
        fields::routed(pairs, timeout, rewritten);
    }

    /// A value of the filter state by its full key (`wasm.…`).
    pub fn filter_state(&self, key: &[u8]) -> Option<&[u8]> {
        self.state.get(key).map(|(value, _)| value.as_slice())
    }

    /// Bytes of content that the filter at hand can see.
    pub fn held(&self, direction: Direction) -> usize {
        self.half(direction).body.as_ref().map_or(0, Vec::len)
    }

    /// Status of the response, if there is one.
    pub fn status(&self) -> Option<u16> {
        let status = value(&self.response.headers, b":status")?;
        std::str::from_utf8(&status).ok()?.parse().ok()
    }

    /// The cluster that the route names, whether the request got there or not.
    pub fn cluster(&self) -> Option<&str> {
        std::str::from_utf8(self.facts.get(b"xds\0cluster_name".as_slice())?).ok()
    }

    /// Turns to access logging.
    pub fn log(&mut self) {
        self.logging = true;
    }

    /// Logging is over: what comes now sees no fields.
    pub fn logged(&mut self) {
        self.logging = false;
    }

    /// The status of gRPC that the response says or, without one, that its status means.
    fn grpc_status(&self) -> Option<u64> {
        let status = u32::from(self.status()?);
        let said = value(&self.response.headers, b"grpc-status");
        let said = said.and_then(|text| std::str::from_utf8(&text).ok()?.parse().ok());
        said.or_else(|| u64::try_from(fields::grpc_of_http(status)).ok())
    }

    /// A callback of a filter begins.
    pub fn enter(&mut self, filter: usize) {
        self.running = Some(filter);
    }

    /// It has ended; what it asked for.
    pub fn leave(&mut self) -> Verdict {
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
    pub(super) fn answer_locally(&mut self, mut reply: LocalReply) -> Vec<u8> {
        if self.is_grpc() {
            fields::to_grpc(&mut reply);
        }
        let mut pairs = vec![(b":status".to_vec(), reply.status.to_string().into_bytes())];
        pairs.extend(reply.headers.into_iter().filter(|(name, _)| !name.starts_with(b":")));
        if reply.body.is_empty() {
            pairs.retain(|(name, _)| name.as_slice() != b"content-length");
        } else {
            fields::set(&mut pairs, "content-length", reply.body.len().to_string());
            if !pairs.iter().any(|(name, _)| name.as_slice() == b"content-type") {
                pairs.push((b"content-type".to_vec(), b"text/plain".to_vec()));
            }
        }
        self.explain(&reply.details);
        self.response.headers = pairs;
        self.response.trailers.clear();
        reply.body
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

    /// What a filter sees of a message now.
    fn sight(&self, direction: Direction, filter: Option<usize>) -> Sight {
        match filter {
            Some(filter) if self.running != Some(filter) => {
                let parked = self.parked.get(filter).copied().unwrap_or_default();
                parked[direction as usize]
            }
            _ => self.half(direction).sight,
        }
    }

    /// A map for reading.
    fn map(&self, kind: MapKind, filter: Option<usize>) -> Result<&Pairs, Status> {
        let (direction, is_trailers) = place(kind)?;
        let (half, sight) = (self.half(direction), self.sight(direction, filter));
        match is_trailers {
            false if sight.headers || self.logging => Ok(&half.headers),
            true if sight.trailers => Ok(&half.trailers),
            // Those of the request are gone by then.
            true if self.logging && direction == Direction::Request => Err(Status::NotFound),
            true if self.logging => Ok(&half.trailers),
            _ => Err(Status::BadArgument),
        }
    }

    /// A map for changing.
    fn map_mut(&mut self, kind: MapKind, filter: Option<usize>) -> Result<&mut Pairs, Status> {
        let (direction, is_trailers) = place(kind)?;
        let sight = self.sight(direction, filter);
        let half = self.half_mut(direction);
        match is_trailers {
            false if sight.headers => Ok(&mut half.headers),
            true if sight.trailers => Ok(&mut half.trailers),
            _ => Err(Status::BadArgument),
        }
    }

    fn buffer(&mut self, kind: BodyKind) -> Result<&mut Vec<u8>, Status> {
        let direction = match kind {
            BodyKind::Request => Direction::Request,
            BodyKind::Response => Direction::Response,
        };
        self.half_mut(direction).body.as_mut().ok_or(Status::BadArgument)
    }

    /// Whether a filter can see the fields of a message now; loggers see them all.
    fn shows(&self, direction: Direction, filter: Option<usize>) -> bool {
        self.logging || self.sight(direction, filter).headers
    }

    fn property(&self, path: &[&[u8]], filter: Option<usize>) -> Option<Vec<u8>> {
        let shows = |direction| self.shows(direction, filter);
        let request = |name: &[u8]| {
            let name = stored(MapKind::RequestHeaders, name);
            shows(Direction::Request).then(|| value(&self.request.headers, &name)).flatten()
        };
        let number = |number: u64| Some(number.to_le_bytes().to_vec());
        match path {
            [b"filter_state", key] => self.filter_state(key).map(<[u8]>::to_vec),
            [b"request", b"path"] => request(b":path"),
            [b"request", b"method"] => request(b":method"),
            [b"request", b"host"] => request(b":authority"),
            [b"request", b"scheme"] => request(b":scheme"),
            [b"request", b"headers", name] => request(name),
            [b"request", b"url_path"] => request(b":path").map(|path| without_query(&path)),
            [b"request", b"query"] => request(b":path").map(|path| query(&path)),
            [b"request", b"useragent"] => request(b"user-agent"),
            [b"request", b"referer"] => request(b"referer"),
            [b"request", b"id"] => request(b"x-request-id"),
            [b"request", b"size"] => number(self.received),
            [b"request", b"total_size"] => {
                let fields = shows(Direction::Request).then(|| octets(&self.request.headers));
                number(self.received + fields.unwrap_or(0))
            }
            [b"response", b"size"] => number(self.sent),
            [b"response", b"total_size"] => {
                let fields = shows(Direction::Response).then(|| octets(&self.response.headers));
                number(self.sent + fields.unwrap_or(0))
            }
            [b"response", b"flags"] => {
                self.facts.get(b"response\0flags".as_slice()).cloned().or_else(|| number(0))
            }
            [b"response", b"headers", name] => {
                let fields = shows(Direction::Response).then_some(&self.response.headers)?;
                value(fields, name)
            }
            [b"response", b"grpc_status"] => number(self.grpc_status()?),
            [b"response", b"code_details"] => {
                Some(self.details.clone()).filter(|details| self.explained || !details.is_empty())
            }
            [b"response", b"code"] => Some(u64::from(self.status()?).to_le_bytes().to_vec()),
            [key] if !self.facts.contains_key(*key) => {
                self.filter_state(&[b"wasm.", *key].concat()).map(<[u8]>::to_vec)
            }
            _ => {
                let path = path.join(&0);
                self.facts.get(&path).or_else(|| self.connection.get(&path)).cloned()
            }
        }
    }
}

/// Size of fields as Envoy counts it.
fn octets(pairs: &Pairs) -> u64 {
    pairs.iter().map(|(name, value)| (name.len() + value.len()) as u64).sum()
}

fn without_query(path: &[u8]) -> Vec<u8> {
    path.split(|byte| *byte == b'?').next().unwrap_or(path).to_vec()
}

fn query(path: &[u8]) -> Vec<u8> {
    let start = path.iter().position(|byte| *byte == b'?');
    start.and_then(|at| path.get(at + 1..)).unwrap_or_default().to_vec()
}

/// Direction of a map, and whether it is one of trailers.
fn place(kind: MapKind) -> Result<(Direction, bool), Status> {
    match kind {
        MapKind::RequestHeaders => Ok((Direction::Request, false)),
        MapKind::RequestTrailers => Ok((Direction::Request, true)),
        MapKind::ResponseHeaders => Ok((Direction::Response, false)),
        MapKind::ResponseTrailers => Ok((Direction::Response, true)),
        MapKind::CallHeaders | MapKind::CallTrailers => Err(Status::BadArgument),
    }
}

fn value(pairs: &Pairs, name: &[u8]) -> Option<Vec<u8>> {
    let name = name.to_ascii_lowercase();
    let lines = pairs.iter().filter(|(have, _)| *have == name).map(|(_, value)| value.as_slice());
    let lines: Vec<&[u8]> = lines.collect();
    (!lines.is_empty()).then(|| lines.join(&b','))
}

/// The name under which a field stands in a map: `host` is `:authority` in a request.
fn stored(map: MapKind, name: &[u8]) -> Vec<u8> {
    let name = name.to_ascii_lowercase();
    match (map, name.as_slice()) {
        (MapKind::RequestHeaders, b"host") => b":authority".to_vec(),
        _ => name,
    }
}

/// Puts one line in place of all of that name, behind the others.
fn replace(pairs: &mut Pairs, name: &[u8], text: &[u8]) {
    pairs.retain(|(have, _)| have != name);
    append(pairs, name, text);
}

/// Adds a line; pseudo fields stay in front.
fn append(pairs: &mut Pairs, name: &[u8], text: &[u8]) {
    let fields = || pairs.iter().position(|(have, _)| !have.starts_with(b":"));
    let at = if name.starts_with(b":") { fields() } else { None };
    pairs.insert(at.unwrap_or(pairs.len()), (name.to_vec(), text.to_vec()));
}

/// Paths of what has parts and no value of its own.
const WHOLE: &[&[&[u8]]] = &[
    &[b""],
    &[b"connection"],
    &[b"destination"],
    &[b"filter_state"],
    &[b"request"],
    &[b"response"],
    &[b"source"],
    &[b"upstream"],
    &[b"xds"],
];

/// A filter's view of an exchange, or an access logger's.
///
/// A callback of another context may act on it too (`proxy_set_effective_context`): it sees
/// the fields that wait at the filter, but no content, and what it asks for is done once the
/// stream has been woken.
#[derive(Clone)]
pub struct View {
    exchange: Shared,
    seat: Option<(usize, Rc<dyn Turn>)>,
}

impl View {
    /// The view of an access logger, which reads and writes nothing.
    pub fn logger(exchange: Shared) -> Self {
        Self { exchange, seat: None }
    }

    /// The view of a filter.
    pub fn filter(exchange: Shared, filter: usize, turn: Rc<dyn Turn>) -> Self {
        Self { exchange, seat: Some((filter, turn)) }
    }

    fn place(&self) -> Option<usize> {
        self.seat.as_ref().map(|(filter, _)| *filter)
    }

    /// Notes what a callback asks for.
    fn ask(&self, note: impl FnOnce(&mut Verdict)) {
        let mut exchange = self.exchange.borrow_mut();
        match &self.seat {
            Some((filter, turn)) if exchange.running != Some(*filter) => {
                let told = exchange.late.contains_key(filter);
                note(exchange.late.entry(*filter).or_default());
                drop(exchange);
                if !told {
                    turn.wake(*filter);
                }
            }
            _ => note(&mut exchange.asked),
        }
    }
}

impl StreamView for View {
    fn pairs(&self, map: MapKind) -> Result<Pairs, Status> {
        self.exchange.borrow().map(map, self.place()).cloned()
    }

    fn set_pairs(&self, map: MapKind, pairs: Pairs) -> Result<(), Status> {
        *self.exchange.borrow_mut().map_mut(map, self.place())? = pairs;
        Ok(())
    }

    fn value(&self, map: MapKind, name: &[u8]) -> Result<Option<Vec<u8>>, Status> {
        let exchange = self.exchange.borrow();
        let name = stored(map, name);
        // Of several lines Envoy gives the first.
        let mut lines = exchange.map(map, self.place())?.iter();
        Ok(lines.find(|(have, _)| *have == name).map(|(_, value)| value.clone()))
    }

    fn add(&self, map: MapKind, name: &[u8], value: &[u8]) -> Result<(), Status> {
        let mut exchange = self.exchange.borrow_mut();
        append(exchange.map_mut(map, self.place())?, &stored(map, name), value);
        Ok(())
    }

    fn replace(&self, map: MapKind, name: &[u8], value: &[u8]) -> Result<(), Status> {
        let mut exchange = self.exchange.borrow_mut();
        replace(exchange.map_mut(map, self.place())?, &stored(map, name), value);
        Ok(())
    }

    fn remove(&self, map: MapKind, name: &[u8]) -> Result<(), Status> {
        let name = stored(map, name);
        self.exchange.borrow_mut().map_mut(map, self.place())?.retain(|(have, _)| *have != name);
        Ok(())
    }

    fn body(&self, body: BodyKind, start: usize, length: usize) -> Result<Vec<u8>, Status> {
        let mut exchange = self.exchange.borrow_mut();
        let Ok(buffer) = exchange.buffer(body) else { return Ok(Vec::new()) };
        let start = start.min(buffer.len());
        let end = start.saturating_add(length).min(buffer.len());
        Ok(buffer[start..end].to_vec())
    }

    fn set_body(
        &self,
        body: BodyKind,
        start: usize,
        length: usize,
        bytes: &[u8],
    ) -> Result<(), Status> {
        let mut exchange = self.exchange.borrow_mut();
        let buffer = exchange.buffer(body)?;
        match (start, length) {
            (0, 0) => drop(buffer.splice(..0, bytes.iter().copied())),
            (0, length) if length >= buffer.len() => *buffer = bytes.to_vec(),
            (0, length) => drop(buffer.splice(..length, bytes.iter().copied())),
            (start, _) if start >= buffer.len() => buffer.extend_from_slice(bytes),
            _ => return Err(Status::BadArgument),
        }
        Ok(())
    }

    fn property(&self, path: &[&[u8]]) -> Result<Vec<u8>, Status> {
        if WHOLE.contains(&path) {
            return Err(Status::SerializationFailure);
        }
        self.exchange.borrow().property(path, self.place()).ok_or(Status::NotFound)
    }

    fn set_property(&self, path: &[u8], value: &[u8], declared: Declared) -> Result<(), Status> {
        if self.seat.is_none() {
            return Err(Status::NotFound);
        }
        let key = [b"wasm.", path].concat();
        let mut exchange = self.exchange.borrow_mut();
        if exchange.state.get(&key).is_some_and(|(_, declared)| declared.readonly) {
            return Err(Status::BadArgument);
        }
        exchange.state.insert(key, (value.to_vec(), declared));
        Ok(())
    }

    fn continue_stream(&self, direction: Direction) -> Result<(), Status> {
        self.ask(|asked| match direction {
            Direction::Request => asked.continue_request = true,
            Direction::Response => asked.continue_response = true,
        });
        Ok(())
    }

    fn close_stream(&self, _: Direction) -> Result<(), Status> {
        self.ask(|asked| asked.close = true);
        Ok(())
    }

    fn local_reply(&self, reply: LocalReply) -> Result<(), Status> {
        // The first stands, as in Envoy.
        self.ask(|asked| {
            asked.reply.get_or_insert(reply);
        });
        Ok(())
    }

    fn begin_call(&self) {
        if let Some((filter, turn)) = &self.seat {
            turn.begin(*filter);
        }
    }

    fn end_call(&self) {
        if let Some((_, turn)) = &self.seat {
            turn.end();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[derive(Default)]
    struct Woken(Cell<u32>);

    impl Turn for Woken {
        fn begin(&self, _: usize) {}
        fn end(&self) {}
        fn wake(&self, filter: usize) {
            assert_eq!(filter, 1);
            self.0.set(self.0.get() + 1);
        }
    }

    fn exchange() -> Shared {
        Rc::new(RefCell::new(Exchange::new(vec![(b"x".to_vec(), b"1".to_vec())])))
    }

    #[test]
    fn what_another_callback_asks_waits_for_the_filter_and_wakes_it_once() {
        let (exchange, woken) = (exchange(), Rc::new(Woken::default()));
        let view = View::filter(Rc::clone(&exchange), 1, woken.clone());
        for running in [None, Some(0)] {
            exchange.borrow_mut().running = running;
            view.continue_stream(Direction::Request).unwrap();
            view.close_stream(Direction::Request).unwrap();
        }
        assert_eq!(woken.0.get(), 1);
        assert_eq!(exchange.borrow_mut().leave(), Verdict::default());
        let late = exchange.borrow_mut().take_late(1);
        assert_eq!(late, Verdict { continue_request: true, close: true, ..Verdict::default() });
        assert_eq!(exchange.borrow_mut().take_late(1), Verdict::default());

        exchange.borrow_mut().enter(1);
        view.continue_stream(Direction::Response).unwrap();
        let asked = exchange.borrow_mut().leave();
        assert_eq!(asked, Verdict { continue_response: true, ..Verdict::default() });
        assert_eq!(woken.0.get(), 1);
    }

    #[test]
    fn another_callback_sees_the_fields_that_wait_at_the_filter() {
        let exchange = exchange();
        let view = View::filter(Rc::clone(&exchange), 1, Rc::new(()));
        let read = || view.value(MapKind::RequestHeaders, b"x");
        assert_eq!(read(), Err(Status::BadArgument));
        let waits = [Sight { headers: true, trailers: false }, Sight::default()];
        exchange.borrow_mut().park([Parked::default(), waits].into_iter());
        assert_eq!(read(), Ok(Some(b"1".to_vec())));
        assert_eq!(view.replace(MapKind::RequestHeaders, b"x", b"2"), Ok(()));
        assert_eq!(read(), Ok(Some(b"2".to_vec())));
        assert_eq!(view.pairs(MapKind::RequestTrailers), Err(Status::BadArgument));
        assert_eq!(view.pairs(MapKind::ResponseHeaders), Err(Status::BadArgument));
    }

    #[test]
    fn an_access_logger_reads_fields_and_filter_state_and_writes_neither() {
        let exchange = exchange();
        let filter = View::filter(Rc::clone(&exchange), 0, Rc::new(()));
        filter.set_property(b"k", b"v", Declared::default()).unwrap();
        exchange.borrow_mut().log();
        let logger = View::logger(exchange);
        assert_eq!(logger.property(&[b"k"]), Ok(b"v".to_vec()));
        assert_eq!(logger.value(MapKind::RequestHeaders, b"x"), Ok(Some(b"1".to_vec())));
        let write = logger.set_property(b"k", b"w", Declared::default());
        assert_eq!(write, Err(Status::NotFound));
        let add = logger.add(MapKind::RequestHeaders, b"y", b"1");
        assert_eq!(add, Err(Status::BadArgument));
    }
}
