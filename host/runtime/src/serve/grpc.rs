//! One gRPC call-out of a module on one request, with Envoy's reading of how it ends.
//!
//! Owns the framing of messages (five bytes in front of each) and what status a response
//! has. Invariant: exactly one [`GrpcEvent::Closed`] ends what a module is told of a stream,
//! exactly one event of any kind is told of a unary call, and no message is larger than
//! [`LARGEST`].

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::{AbortHandle, yield_now};
use tokio::time::timeout;

use super::forward::{Forward, FromUpstream};
use super::upstream::Admitted;
use crate::http1::{Piece, Unsendable};
use crate::proxy::failure::Failure;
use crate::proxy::{fields, local};
use crate::view::{GrpcCall, GrpcEvent, Pairs, Status};

/// Bytes of a message, and of all that wait to be sent. Envoy has no such limits, and a
/// module's memory would be the next one.
pub(super) const LARGEST: usize = 64 << 20;
/// Bytes on their way out before more is taken from the module.
const HIGH: usize = 256 * 1024;
/// Bytes in front of each message: a flag and a length.
const PREFIX: usize = 5;
/// `INTERNAL`.
const INTERNAL: i32 = 13;
/// `UNAVAILABLE`.
const UNAVAILABLE: i32 = 14;
/// `UNKNOWN`.
const UNKNOWN: i32 = 2;
/// What Envoy says of a response that says nothing of itself.
const VIA_UPSTREAM: &str = "via_upstream";

/// A call-out that runs, for who sends on it.
pub(super) struct Running {
    commands: UnboundedSender<Command>,
    /// Bytes that nobody has taken yet.
    waiting: Rc<Cell<usize>>,
    task: Option<AbortHandle>,
}

/// What the module sends on a stream.
struct Command {
    message: Option<Vec<u8>>,
    end: bool,
}

/// Where it comes out.
pub(super) struct Commands {
    commands: UnboundedReceiver<Command>,
    waiting: Rc<Cell<usize>>,
}

impl Running {
    pub fn new() -> (Self, Commands) {
        let (sender, commands) = unbounded_channel();
        let waiting = Rc::new(Cell::new(0));
        let running = Self { commands: sender, waiting: Rc::clone(&waiting), task: None };
        (running, Commands { commands, waiting })
    }

    /// Run by this task.
    pub fn by(self, task: AbortHandle) -> Self {
        Self { task: Some(task), ..self }
    }

    /// Too much waits already: `InternalFailure`.
    pub fn send(&self, message: Option<Vec<u8>>, end: bool) -> Result<(), Status> {
        let waiting = self.waiting.get() + message.as_ref().map_or(0, Vec::len);
        if waiting > LARGEST {
            return Err(Status::InternalFailure);
        }
        self.waiting.set(waiting);
        // It may have ended just now.
        let _ = self.commands.send(Command { message, end });
        Ok(())
    }

    pub fn cancel(self) {
        if let Some(task) = self.task {
            task.abort();
        }
    }
}

impl Commands {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Command>> {
        let polled = self.commands.poll_recv(cx);
        if let Poll::Ready(Some(Command { message: Some(message), .. })) = &polled {
            self.waiting.set(self.waiting.get().saturating_sub(message.len()));
        }
        polled
    }
}

/// Whether a call can start.
pub(super) enum Start {
    Admitted(Admitted),
    /// The circuit breaker does not let it.
    Refused(Failure),
    /// There is no such cluster.
    NoCluster,
}

/// Envoy's text: what the peer says, and in braces what the proxy knows.
fn closed(status: i32, text: &str, details: &str) -> GrpcEvent {
    let message = if text.is_empty() { details.to_owned() } else { format!("{text}{{{details}}}") };
    GrpcEvent::Closed { status, message: message.into_bytes() }
}

/// Runs a call to its end.
pub(super) async fn run(
    start: Start,
    call: GrpcCall,
    commands: Commands,
    tell: impl Fn(GrpcEvent),
) {
    let tell = Teller { tell, unary: call.message.is_some() };
    let ended = match start {
        Start::NoCluster => return (tell.tell)(closed(UNAVAILABLE, "", "Cluster not available")),
        Start::Refused(failure) => Err(failure),
        Start::Admitted(admitted) => within(admitted, &call, commands, &tell).await,
    };
    match ended {
        Ok(ended) => tell.ended(ended),
        Err(failure) => {
            tell.stream(GrpcEvent::Initial(Pairs::new()));
            tell.ended(Ended::failed(failure));
        }
    }
}

/// The exchange, in its time.
async fn within(
    admitted: Admitted,
    call: &GrpcCall,
    commands: Commands,
    tell: &Teller<impl Fn(GrpcEvent)>,
) -> Result<Ended, Failure> {
    let counts = admitted.cluster().counts.clone();
    let exchange = exchange(admitted, call, commands, tell);
    let Some(time) = call.timeout.filter(|time| !time.is_zero()) else { return exchange.await };
    timeout(time, exchange).await.unwrap_or_else(|_| {
        counts.rq_timeout.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Err(Failure::Timeout)
    })
}

/// Tells the module, in the form that its kind of call has.
struct Teller<T> {
    tell: T,
    unary: bool,
}

impl<T: Fn(GrpcEvent)> Teller<T> {
    fn stream(&self, event: GrpcEvent) {
        if !self.unary {
            (self.tell)(event);
        }
    }

    /// The response has ended, or is given up.
    fn ended(&self, ended: Ended) {
        let Ended { trailers, closed, last } = ended;
        self.stream(GrpcEvent::Trailing(trailers));
        let good = matches!(closed, GrpcEvent::Closed { status: 0, .. });
        match (self.unary && good, last) {
            (true, Some(message)) => (self.tell)(GrpcEvent::Message(message)),
            (true, None) => {
                (self.tell)(GrpcEvent::Closed { status: INTERNAL, message: Vec::new() });
            }
            (false, _) => (self.tell)(closed),
        }
    }
}

/// How a response has ended.
struct Ended {
    trailers: Pairs,
    closed: GrpcEvent,
    /// The last message.
    last: Option<Vec<u8>>,
}

impl Ended {
    /// Without trailers.
    fn with(status: i32, details: &str) -> Self {
        let (trailers, closed) = (Pairs::new(), closed(status, "", details));
        Self { trailers, closed, last: None }
    }

    /// There was none: the proxy's own stands in its place, all of it fields.
    fn failed(failure: Failure) -> Self {
        let reply = failure.reply();
        let text = String::from_utf8_lossy(&reply.body).into_owned();
        let details = String::from_utf8_lossy(&reply.details).into_owned();
        let status = local::grpc_status(reply.status).cast_signed();
        let (trailers, _) = local::response(reply, true);
        Self { trailers, closed: closed(status, &text, &details), last: None }
    }

    /// By what its trailers say, or its only fields.
    fn by(trailers: Pairs, last: Option<Vec<u8>>) -> Self {
        let text = field(&trailers, b"grpc-message").unwrap_or_default();
        let text = String::from_utf8_lossy(text).into_owned();
        let status = status(&trailers).unwrap_or(UNKNOWN);
        Self { closed: closed(status, &text, VIA_UPSTREAM), trailers, last }
    }
}

/// What has happened next.
enum Step {
    Command(Option<Command>),
    Upstream(FromUpstream),
}

async fn exchange(
    admitted: Admitted,
    call: &GrpcCall,
    mut commands: Commands,
    tell: &Teller<impl Fn(GrpcEvent)>,
) -> Result<Ended, Failure> {
    let unsendable = |_: Unsendable| Failure::Protocol;
    let mut forward = start(admitted, call)?;
    let mut sending = !tell.unary;
    let mut response = Response { asked: Some(Instant::now()), ..Response::default() };
    loop {
        let step = poll_fn(|cx| poll(cx, &mut forward, &mut commands, sending)).await;
        match step {
            // The machine has died: nobody sends any more.
            Step::Command(None) => sending = false,
            Step::Command(Some(Command { message, end })) => {
                sending = !end;
                let framed = message.map(|message| framed(&message)).unwrap_or_default();
                forward.content(&framed, end).map_err(unsendable)?;
            }
            Step::Upstream(FromUpstream::Failed(failure)) if response.began => {
                return Ok(Ended::with(INTERNAL, &failure.cut()));
            }
            Step::Upstream(FromUpstream::Failed(failure)) => return Err(failure),
            Step::Upstream(came) => {
                if let Some(ended) = response.take(came, tell) {
                    forward.settle();
                    return Ok(ended);
                }
                // A service that always has more to say would keep the worker: of what lies
                // here already, tokio counts nothing.
                yield_now().await;
            }
        }
    }
}

/// What the module sends goes first, as long as it leaves.
fn poll(
    cx: &mut Context<'_>,
    forward: &mut Forward,
    commands: &mut Commands,
    sending: bool,
) -> Poll<Step> {
    if sending
        && forward.backlog() < HIGH
        && let Poll::Ready(command) = commands.poll(cx)
    {
        return Poll::Ready(Step::Command(command));
    }
    forward.poll(cx, true).map(Step::Upstream)
}

fn start(admitted: Admitted, call: &GrpcCall) -> Result<Forward, Failure> {
    let unsendable = |_: Unsendable| Failure::Protocol;
    let head = fields::request_leaves(&head(call), false).map_err(|_| Failure::Protocol)?;
    let mut forward = Forward::start(admitted, &head, false).map_err(unsendable)?;
    if let Some(message) = &call.message {
        forward.content(&framed(message), true).map_err(unsendable)?;
    }
    Ok(forward)
}

fn head(call: &GrpcCall) -> Pairs {
    let line = |name: &str, value: &[u8]| (name.as_bytes().to_vec(), value.to_vec());
    let [service, method] = &call.method;
    let path = [b"/", service.as_slice(), b"/", method].concat();
    let mut pairs = vec![
        line(":method", b"POST"),
        line(":path", &path),
        line(":authority", &call.cluster),
        line(":scheme", b"http"),
        line("te", b"trailers"),
    ];
    pairs.extend(call.timeout.map(|time| line("grpc-timeout", grpc_timeout(time).as_bytes())));
    pairs.push(line("content-type", b"application/grpc"));
    pairs.push(line("x-envoy-internal", b"true"));
    pairs.extend(call.timeout.map(|time| {
        line("x-envoy-expected-rq-timeout-ms", time.as_millis().to_string().as_bytes())
    }));
    let own = |name: &[u8]| pairs.iter().any(|(have, _)| have == name);
    let metadata = call.metadata.iter().filter(|(name, _)| !name.starts_with(b":") && !own(name));
    let metadata: Pairs = metadata.cloned().collect();
    pairs.extend(metadata);
    pairs
}

/// At most eight digits: milliseconds, or seconds where they do not do.
fn grpc_timeout(time: Duration) -> String {
    match time.as_millis() {
        milliseconds @ 0..=99_999_999 => format!("{milliseconds}m"),
        _ => format!("{}S", time.as_secs()),
    }
}

fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    [&[0], length.to_be_bytes().as_slice(), message].concat()
}

/// A response, as far as it has come.
#[derive(Default)]
struct Response {
    asked: Option<Instant>,
    began: bool,
    bytes: BytesMut,
    last: Option<Vec<u8>>,
}

impl Response {
    /// How it ends, if it does with this.
    fn take(&mut self, came: FromUpstream, tell: &Teller<impl Fn(GrpcEvent)>) -> Option<Ended> {
        match came {
            FromUpstream::Progress | FromUpstream::Failed(_) => None,
            FromUpstream::Head(head, end) => {
                self.began = true;
                let mut pairs = fields::answered(head.status, head.fields);
                if let Some(asked) = self.asked {
                    fields::took(&mut pairs, asked.elapsed());
                }
                self.head(pairs, head.status, end, tell)
            }
            FromUpstream::Piece(Piece::Data(bytes)) => {
                self.bytes.extend_from_slice(&bytes);
                self.messages(tell)
            }
            FromUpstream::Piece(Piece::Trailers(trailers)) => {
                Some(Ended::by(trailers, self.last.take()))
            }
            FromUpstream::Piece(Piece::End) => Some(Ended::with(UNKNOWN, VIA_UPSTREAM)),
        }
    }

    fn head(
        &self,
        pairs: Pairs,
        http: u16,
        end: bool,
        tell: &Teller<impl Fn(GrpcEvent)>,
    ) -> Option<Ended> {
        let good = http == 200;
        if good && !end {
            tell.stream(GrpcEvent::Initial(pairs));
            return None;
        }
        tell.stream(GrpcEvent::Initial(Pairs::new()));
        if end && (good || status(&pairs).is_some()) {
            return Some(Ended::by(pairs, None));
        }
        Some(Ended::with(local::grpc_status(http.into()).cast_signed(), VIA_UPSTREAM))
    }

    /// Tells of every message that is whole. Compressed ones are an error, as in Envoy.
    fn messages(&mut self, tell: &Teller<impl Fn(GrpcEvent)>) -> Option<Ended> {
        while let Some(prefix) = self.bytes.first_chunk::<PREFIX>() {
            let [flag, length @ ..] = *prefix;
            let length = u32::from_be_bytes(length) as usize;
            if flag != 0 || length > LARGEST {
                return Some(Ended::with(INTERNAL, VIA_UPSTREAM));
            }
            if self.bytes.len() - PREFIX < length {
                return None;
            }
            self.bytes.advance(PREFIX);
            let message = self.bytes.split_to(length).to_vec();
            if tell.unary {
                self.last = Some(message);
            } else {
                tell.stream(GrpcEvent::Message(message));
            }
        }
        None
    }
}

fn field<'a>(pairs: &'a Pairs, name: &[u8]) -> Option<&'a [u8]> {
    pairs.iter().find(|(have, _)| have == name).map(|(_, value)| value.as_slice())
}

/// -1 is a status that is no number.
fn status(pairs: &Pairs) -> Option<i32> {
    let text = field(pairs, b"grpc-status")?;
    let number = std::str::from_utf8(text).ok().and_then(|text| text.parse::<u32>().ok());
    Some(number.and_then(|number| i32::try_from(number).ok()).unwrap_or(-1))
}
