//! The whole front on sockets: requests in any pieces from a caller, answers of any kind from
//! an upstream, and the gateway between them.
//!
//! An input is a row of exchanges on one connection, good and bad. Each good request says in
//! its target what the upstream is to do. What is checked: every request has one answer, in
//! order, and it is its own; an upstream sees exactly the requests that were good, whole and
//! in the plainest form; behind a refused request nothing is read.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use postern_runtime::config::Gateway;
use postern_runtime::serve::{Options, start};

use crate::source::Source;
use crate::wire::{self, Kind, Message};

/// Longer than a busy machine needs for anything here.
const PATIENCE: Duration = Duration::from_secs(15);

/// Held for one input.
static TURN: Mutex<()> = Mutex::new(());
/// What an upstream saw since it was last asked, in order, or what was wrong with it.
static SEEN: Mutex<Vec<Result<Message, String>>> = Mutex::new(Vec::new());

/// Where the gateway listens, which serves until the process ends.
static FRONT: LazyLock<SocketAddr> = LazyLock::new(|| {
    let upstream = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = upstream.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for stream in upstream.incoming().flatten() {
            std::thread::spawn(move || serve(stream));
        }
    });
    let gateway = Gateway::parse(&TEXT.replace("UPSTREAM", &port.to_string())).expect("a file");
    let running = start(gateway, Options::default()).expect("a gateway");
    let address = running.report().listeners[0].address;
    std::mem::forget(running);
    address
});

const TEXT: &str = r#"
static_resources:
  listeners:
  - name: in
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: in
          stream_idle_timeout: 60s
          http_filters:
          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
          route_config:
            name: in
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {prefix: /}
                route: {cluster: up, timeout: 60s}
  clusters:
  - name: up
    type: STATIC
    connect_timeout: 10s
    load_assignment:
      cluster_name: up
      endpoints:
      - lb_endpoints:
        - endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: UPSTREAM}}}
"#;

/// Serves one connection of the gateway's pool: notes each request, and does as its target
/// says.
fn serve(mut stream: TcpStream) {
    let (mut bytes, mut part) = (Vec::new(), [0; 4096]);
    while let Ok(count @ 1..) = some(&mut stream, &mut part) {
        bytes.extend_from_slice(&part[..count]);
        let read = wire::read(&bytes, Kind::Request);
        let seen = match read {
            Ok(None) => continue,
            // One request at a time: the next one comes after the answer.
            Ok(Some((_, length))) if length < bytes.len() => {
                Err(format!("{} bytes behind a request", bytes.len() - length))
            }
            Ok(Some((message, _))) => Ok(message),
            Err(error) => Err(format!("{error} in {}", bytes.escape_ascii())),
        };
        bytes.clear();
        let answer = seen.as_ref().ok().map(|message| {
            let does = message.word(1).rsplit('/').next().and_then(|text| text.parse().ok());
            Does::of(does.unwrap_or(0)).bytes(message)
        });
        // The caller gets no answer then, which would be all that is seen of it.
        if let Err(error) = &seen {
            eprintln!("an upstream saw {error}");
        }
        SEEN.lock().unwrap_or_else(PoisonError::into_inner).push(seen);
        let Some((answer, stays)) = answer else { return };
        if stream.write_all(&answer).is_err() || !stays {
            return;
        }
    }
}

/// What an upstream does with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Does {
    Length,
    Chunks,
    Trailers,
    UntilClose,
    Empty,
    NoContent,
    Interim,
    /// A whole answer, and one that nobody asked for.
    Twice,
    Closes,
    Short,
    Garbage,
    TwoLengths,
}

impl Does {
    fn of(number: usize) -> Self {
        use Does::*;
        let all = [
            Length, Chunks, Trailers, UntilClose, Empty, NoContent, Interim, Twice, Closes, Short,
            Garbage, TwoLengths,
        ];
        all[number % all.len()]
    }

    /// Bytes of an answer with the request's target as content, and whether the connection
    /// stays.
    fn bytes(self, request: &Message) -> (Vec<u8>, bool) {
        let target = request.word(1);
        let head = request.word(0) == "HEAD";
        let (length, content) = (target.len(), if head { "" } else { target });
        let sized = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{content}");
        let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        // Said, or the next request may be on its way already.
        let close = "connection: close\r\n";
        let half = target.len() / 2;
        let (front, back) = target.split_at(half);
        let in_chunks = |end: &str| match head {
            true => chunked.to_owned(),
            false => format!(
                "{chunked}{:x}\r\n{front}\r\n{:x};a=b\r\n{back}\r\n0\r\n{end}\r\n",
                front.len(),
                back.len()
            ),
        };
        match self {
            Self::Length => (sized.into(), true),
            Self::Chunks => (in_chunks("").into(), true),
            Self::Trailers => (in_chunks("t: u\r\n").into(), true),
            Self::UntilClose => (format!("HTTP/1.1 200 OK\r\n{close}\r\n{content}").into(), false),
            Self::Empty => (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_vec(), true),
            Self::NoContent => (b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(), true),
            Self::Interim => {
                (format!("HTTP/1.1 103 Early Hints\r\na: b\r\n\r\n{sized}").into(), true)
            }
            Self::Twice => {
                (format!("{sized}HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil").into(), true)
            }
            Self::Closes => (Vec::new(), false),
            Self::Short => (
                format!("HTTP/1.1 200 OK\r\n{close}content-length: 99\r\n\r\n{content}").into(),
                false,
            ),
            Self::Garbage => (format!("HTTP/1.1 2x0 OK\r\n\r\n{content}").into(), false),
            Self::TwoLengths => {
                let lengths = format!("content-length: {length}\r\ncontent-length: 0\r\n");
                (format!("HTTP/1.1 200 OK\r\n{lengths}\r\n{content}").into(), false)
            }
        }
    }

    /// Status and content that the caller gets; `None`: the answer breaks off.
    fn answer(self, target: &str, head: bool) -> Option<(u16, &str)> {
        match self {
            Self::Empty => Some((200, "")),
            Self::NoContent => Some((204, "")),
            Self::Closes => Some((503, "")),
            Self::Garbage | Self::TwoLengths => Some((502, "")),
            Self::Short if !head => None,
            _ => Some((200, target)),
        }
    }
}

/// A request that is refused: its rest behind `POST /refused HTTP/1.1\r\nhost: a\r\n`, and the
/// status.
const REFUSED: &[(&str, u16)] = &[
    ("content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ("transfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n0\r\n\r\n", 400),
    ("content-length: 1\r\ncontent-length: 1\r\n\r\na", 400),
    ("content-length: 1, 1\r\n\r\na", 400),
    ("content-length: +1\r\n\r\na", 400),
    ("transfer-encoding: xchunked\r\n\r\n0\r\n\r\n", 501),
    ("transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n", 501),
    ("host: b\r\n\r\n", 400),
    ("x: a\nb: c\r\n\r\n", 400),
    ("x: a\rb: c\r\n\r\n", 400),
    ("x: a\r\n b\r\n\r\n", 400),
    ("x: \0\r\n\r\n", 400),
    ("x : a\r\n\r\n", 400),
    ("x\r\n\r\n", 400),
];

/// One request as it is sent, and what is expected of it.
struct Exchange {
    bytes: Vec<u8>,
    method: &'static str,
    target: String,
    content: Vec<u8>,
    trailers: usize,
    does: Does,
    /// The status of its refusal.
    refused: Option<u16>,
}

impl Exchange {
    /// Reads one from the input.
    fn of(source: &mut Source<'_>, number: usize, last: bool) -> Self {
        let kind = source.byte();
        let does = Does::of(source.below(256));
        let target = format!("/{number}/{}", does as usize);
        let mut it = Self {
            bytes: Vec::new(),
            method: "POST",
            target,
            content: Vec::new(),
            trailers: 0,
            does,
            refused: None,
        };
        if kind >= 224 {
            let (rest, status) = REFUSED[usize::from(kind) % REFUSED.len()];
            it.bytes = format!("POST /refused HTTP/1.1\r\nhost: a\r\n{rest}").into();
            it.refused = Some(status);
            return it;
        }
        it.method = ["GET", "HEAD", "POST", "PUT"][usize::from(kind & 3)];
        let mut head = format!("{} {} HTTP/1.1\r\nHost: a\r\n", it.method, it.target).into_bytes();
        // Any byte that a value may have (RFC 9110, 5.5).
        let fits = |byte: &u8| if *byte < 32 || *byte == 127 { b'\t' } else { *byte };
        let noise: Vec<u8> = source.block().iter().map(fits).collect();
        head.extend_from_slice(b"X-Noise: ");
        head.extend_from_slice(&noise);
        head.extend_from_slice(if last { b"\r\nConnection: close\r\n" } else { b"\r\n" });
        if kind & 4 != 0 {
            head.extend_from_slice(b"Expect: 100-continue\r\n");
        }
        match (kind >> 3) % 3 {
            0 => head.extend_from_slice(b"\r\n"),
            1 => {
                it.content = source.block().to_vec();
                head.extend(format!("Content-Length: {}\r\n\r\n", it.content.len()).into_bytes());
                head.extend_from_slice(&it.content);
            }
            _ => {
                head.extend_from_slice(b"Transfer-Encoding: Chunked\r\n\r\n");
                it.chunks(source, &mut head);
            }
        }
        it.bytes = head;
        it
    }

    fn chunks(&mut self, source: &mut Source<'_>, out: &mut Vec<u8>) {
        for _ in 0..source.below(5) {
            let chunk = source.block();
            if chunk.is_empty() {
                continue;
            }
            let extension = ["", ";a", " ;a=\"b\"", ";GET / HTTP/1.1"][source.below(4)];
            out.extend(format!("{:X}{extension}\r\n", chunk.len()).into_bytes());
            out.extend_from_slice(chunk);
            out.extend_from_slice(b"\r\n");
            self.content.extend_from_slice(chunk);
        }
        self.trailers = source.below(3);
        out.extend_from_slice(b"000\r\n");
        out.extend(b"T: u\r\n".repeat(self.trailers));
        out.extend_from_slice(b"\r\n");
    }
}

/// Takes any bytes and may only return.
pub fn fuzz_front(bytes: &[u8]) {
    let mut source = Source::new(bytes);
    let (count, waits) = (source.below(6) + 1, source.byte() & 1 != 0);
    let cuts = source.block();
    let exchanges: Vec<Exchange> =
        (0..count).map(|number| Exchange::of(&mut source, number, number + 1 == count)).collect();
    // What an upstream saw is of one input: tests may run at once.
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    SEEN.lock().unwrap_or_else(PoisonError::into_inner).clear();
    let mut stream = TcpStream::connect(*FRONT).expect("the gateway listens");
    let _ = stream.set_nodelay(true);
    let _ = stream.set_read_timeout(Some(PATIENCE));
    let mut reader = Reader { stream: stream.try_clone().expect("a handle"), bytes: Vec::new() };
    let mut cuts = cuts.iter().cycle();
    if !waits {
        let all: Vec<u8> = exchanges.iter().flat_map(|it| it.bytes.clone()).collect();
        send(&mut stream, &all, &mut cuts);
    }
    let (mut served, mut open) = (Vec::new(), true);
    for exchange in &exchanges {
        if waits {
            send(&mut stream, &exchange.bytes, &mut cuts);
        }
        if exchange.refused.is_none() {
            served.push(exchange);
        }
        open = reader.take(exchange);
        if !open {
            break;
        }
    }
    assert!(!open, "the connection stays after its last request");
    reader.ends();
    let seen = std::mem::take(&mut *SEEN.lock().unwrap_or_else(PoisonError::into_inner));
    assert_eq!(seen.len(), served.len(), "requests that an upstream saw: {seen:?}");
    for (seen, sent) in seen.iter().zip(served) {
        let seen = seen.as_ref().unwrap_or_else(|error| panic!("an upstream saw {error}"));
        let what = (seen.word(0), seen.word(1), &seen.content, seen.trailers.len());
        assert_eq!(what, (sent.method, sent.target.as_str(), &sent.content, sent.trailers));
    }
}

/// The next bytes. The engine's clock interrupts reads.
fn some(stream: &mut TcpStream, part: &mut [u8]) -> std::io::Result<usize> {
    loop {
        match stream.read(part) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// Sends in pieces; the peer may have closed already.
fn send<'c>(stream: &mut TcpStream, bytes: &[u8], cuts: &mut impl Iterator<Item = &'c u8>) {
    let mut rest = bytes;
    while !rest.is_empty() {
        let size = cuts.next().map_or(rest.len(), |cut| usize::from(*cut) + 1);
        let (piece, after) = rest.split_at(size.min(rest.len()));
        rest = after;
        if stream.write_all(piece).is_err() {
            return;
        }
    }
}

/// The caller's side of the connection.
struct Reader {
    stream: TcpStream,
    bytes: Vec<u8>,
}

impl Reader {
    /// Takes the answer to a request; whether the connection goes on.
    fn take(&mut self, exchange: &Exchange) -> bool {
        let head = exchange.method == "HEAD";
        let want = match exchange.refused {
            Some(status) => Some((status, None)),
            None => {
                let answer = exchange.does.answer(&exchange.target, head);
                answer.map(|(status, content)| (status, Some(content)))
            }
        };
        let answer = self.answer(head);
        let Some((status, content)) = want else {
            assert!(answer.is_none(), "an answer that was not whole: {answer:?}");
            return false;
        };
        let answer = answer.unwrap_or_else(|| panic!("no answer to {}", exchange.target));
        assert_eq!(answer.word(1), status.to_string(), "{} {:?}", exchange.target, exchange.does);
        if let Some(content) = content.filter(|_| status < 300 && !head) {
            assert_eq!(String::from_utf8_lossy(&answer.content), content, "somebody else's answer");
        }
        let closes = answer.field("connection") == Some(b"close");
        assert!(closes || exchange.refused.is_none(), "a refusal that does not close");
        !closes
    }

    /// The next final answer; `None` if the gateway closes before it is whole.
    fn answer(&mut self, head: bool) -> Option<Message> {
        loop {
            let content = !head && !self.is_empty_answer();
            let read = wire::read(&self.bytes, Kind::Answer { content });
            match read.unwrap_or_else(|error| panic!("{error}: {}", self.bytes.escape_ascii())) {
                Some((message, length)) => {
                    assert!(!message.until_close, "an answer without framing");
                    self.bytes.drain(..length);
                    if !message.word(1).starts_with('1') {
                        return Some(message);
                    }
                }
                None if self.more() => {}
                None => return None,
            }
        }
    }

    /// Whether what comes is an interim answer or one without content.
    fn is_empty_answer(&self) -> bool {
        let status = self.bytes.get(9..12).unwrap_or_default();
        status.starts_with(b"1") || status == b"204" || status == b"304"
    }

    fn more(&mut self) -> bool {
        let mut part = [0; 4096];
        match some(&mut self.stream, &mut part) {
            Ok(count) => {
                self.bytes.extend_from_slice(&part[..count]);
                count > 0
            }
            Err(error) => {
                let late = matches!(error.kind(), std::io::ErrorKind::WouldBlock);
                assert!(!late, "nothing comes any more");
                false
            }
        }
    }

    /// Nothing follows but the end.
    fn ends(&mut self) {
        let before = self.bytes.len();
        while self.more() {}
        let rest = &self.bytes[before.min(self.bytes.len())..];
        assert!(rest.is_empty(), "bytes behind the last answer: {}", rest.escape_ascii());
    }
}
