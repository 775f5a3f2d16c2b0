//! The hostile upstream: it finds a case by the id in what it got, records the request byte
//! for byte and answers as the case says.
//!
//! Invariant: every request is recorded before it is answered, also those that no case has
//! asked for; these are strays, and a run with strays has not passed.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use memchr::memmem;
use postern_rig::client::{chunk, last_chunk, lines};
use postern_rig::message::{Direction, Line, Message, Reader};

use crate::case::{Answer, FieldList, Framing};
use crate::template::{Error, Scope};

/// What every id begins with.
pub const MARK: &str = "atk-";
/// Digits behind it.
pub const DIGITS: usize = 10;
/// Between two pieces of an answer, so that they are read one by one.
const PACE: Duration = Duration::from_millis(2);
/// An endless answer ends here all the same.
const ENDLESS: usize = 64 << 20;

/// An answer in bytes.
#[derive(Clone, Debug)]
pub struct Script {
    interim: Vec<(u16, Vec<Line>)>,
    start: Vec<u8>,
    fields: Vec<Line>,
    pieces: Vec<Vec<u8>>,
    trailers: Vec<Line>,
    framing: Framing,
    raw: Option<Vec<u8>>,
    endless: Option<Vec<u8>>,
}

type Make = Box<dyn Fn(&Message) -> Result<Script, Error> + Send + Sync>;

/// The running upstream.
pub struct Upstream {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    closing: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    scripts: BTreeMap<String, Arc<Make>>,
    requests: BTreeMap<String, Vec<Message>>,
    strays: Vec<Message>,
    open: Vec<TcpStream>,
    last: Option<Instant>,
}

impl Upstream {
    /// Listens.
    pub fn start(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        let accept = Arc::clone(&shared);
        let accepting = std::thread::spawn(move || accept_all(&listener, &accept));
        Ok(Self { address, shared, accepting: Some(accepting) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers requests with this id by `make`.
    pub fn script(
        &self,
        id: &str,
        make: impl Fn(&Message) -> Result<Script, Error> + Send + Sync + 'static,
    ) {
        self.shared.lock().scripts.insert(id.to_owned(), Arc::new(Box::new(make)));
    }

    /// Everything that came with this id, oldest first.
    pub fn requests(&self, id: &str) -> Vec<Message> {
        self.shared.lock().requests.get(id).cloned().unwrap_or_default()
    }

    /// Everything that came without one.
    pub fn strays(&self) -> Vec<Message> {
        self.shared.lock().strays.clone()
    }

    /// Forgets everything that came.
    pub fn forget(&self) {
        let mut state = self.shared.lock();
        state.requests.clear();
        state.strays.clear();
    }

    /// How long nothing has come.
    pub fn quiet(&self) -> Duration {
        self.shared.lock().last.map_or(Duration::MAX, |last| last.elapsed())
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.shared.closing.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
        if let Some(thread) = self.accepting.take() {
            let _ = thread.join();
        }
        for stream in self.shared.lock().open.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records a request; what answers it.
    fn record(&self, request: &Message) -> Option<Arc<Make>> {
        let mut state = self.lock();
        state.last = Some(Instant::now());
        let id = ids(&request.raw).into_iter().find(|id| state.scripts.contains_key(id));
        let Some(id) = id else {
            state.strays.push(request.clone());
            return None;
        };
        state.requests.entry(id.clone()).or_default().push(request.clone());
        state.scripts.get(&id).cloned()
    }
}

/// Every id in a text.
fn ids(bytes: &[u8]) -> Vec<String> {
    let at = memmem::find_iter(bytes, MARK);
    let end = MARK.len() + DIGITS;
    let id = |at: usize| bytes.get(at..at + end);
    at.filter_map(id).map(|id| String::from_utf8_lossy(id).into_owned()).collect()
}

fn accept_all(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.closing.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = stream else { continue };
        let _ = stream.set_nodelay(true);
        let _ = stream.set_write_timeout(Some(Duration::from_secs(10)));
        if let Ok(copy) = stream.try_clone() {
            shared.lock().open.push(copy);
        }
        let shared = Arc::clone(shared);
        std::thread::spawn(move || {
            let closer = stream.try_clone();
            // Errors end the connection, and the gateway sees that.
            let _ = serve(stream, &shared);
            if let Ok(stream) = closer {
                let _ = stream.shutdown(Shutdown::Both);
            }
        });
    }
}

fn serve(stream: TcpStream, shared: &Shared) -> io::Result<()> {
    let mut reader = Reader::new(stream);
    while let Some(request) = reader.next(Direction::Request)? {
        let make = shared.record(&request);
        let to = reader.connection();
        let keep = match make.map(|make| make(&request)) {
            Some(Ok(script)) => script.write(to, request.word(0) == "HEAD")?,
            // A text that only now turns out to be wrong: the case does not pass.
            Some(Err(error)) => {
                let text =
                    format!("HTTP/1.1 599 Script\r\ncontent-length: 0\r\nx-error: {error}\r\n\r\n");
                to.write_all(text.as_bytes())?;
                true
            }
            None => {
                to.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")?;
                true
            }
        };
        to.flush()?;
        if !keep {
            return Ok(());
        }
    }
    Ok(())
}

impl Script {
    /// Puts the values into an answer.
    pub fn of(answer: &Answer, scope: Scope<'_>) -> Result<Self, Error> {
        let expand = |text: &String| scope.expand(text);
        let pieces: Vec<Vec<u8>> = match (&answer.chunks, &answer.body) {
            (Some(chunks), _) => chunks.iter().map(expand).collect::<Result<_, _>>()?,
            (None, Some(body)) => match answer.split {
                Some(size) => expand(body)?.chunks(size.max(1)).map(<[u8]>::to_vec).collect(),
                None => vec![expand(body)?],
            },
            (None, None) => vec![b"ok".to_vec()],
        };
        let chunked = answer.chunks.is_some()
            || answer.split.is_some()
            || answer.endless.is_some()
            || !answer.trailers.is_empty();
        let by_itself = match answer.status {
            204 | 304 => Framing::None,
            _ if chunked => Framing::Chunked,
            _ => Framing::Length,
        };
        let status = answer.status.to_string();
        let reason = expand(&answer.reason)?;
        let start = [b"HTTP/1.1 ".as_slice(), status.as_bytes(), b" ", &reason].concat();
        let interim = answer.interim.iter();
        let interim = interim.map(|one| Ok((one.status, field_lines(&one.fields, scope)?)));
        Ok(Self {
            interim: interim.collect::<Result<_, Error>>()?,
            start,
            fields: field_lines(&answer.fields, scope)?,
            pieces,
            trailers: field_lines(&answer.trailers, scope)?,
            framing: answer.framing.unwrap_or(by_itself),
            raw: answer.raw.as_ref().map(expand).transpose()?,
            endless: answer.endless.as_ref().map(expand).transpose()?,
        })
    }

    /// Writes it piece by piece; whether the connection goes on.
    fn write(&self, to: &mut TcpStream, head_only: bool) -> io::Result<bool> {
        for (status, fields) in &self.interim {
            let mut bytes = format!("HTTP/1.1 {status} Interim\r\n").into_bytes();
            lines(&mut bytes, fields);
            bytes.extend_from_slice(b"\r\n");
            piece(to, &bytes)?;
        }
        if let Some(raw) = &self.raw {
            to.write_all(raw)?;
            return Ok(false);
        }
        to.write_all(&self.head())?;
        if head_only || self.framing == Framing::None {
            return Ok(true);
        }
        let chunked = self.framing == Framing::Chunked;
        for content in self.pieces.iter().filter(|content| !content.is_empty()) {
            piece(to, &if chunked { chunk(content) } else { content.clone() })?;
        }
        if let Some(text) = &self.endless {
            let block = chunk(&text.repeat((16 << 10) / text.len().max(1) + 1));
            let mut written = 0;
            while written < ENDLESS {
                to.write_all(&block)?;
                written += block.len();
            }
        }
        if chunked {
            piece(to, &last_chunk(&self.trailers))?;
        }
        Ok(self.framing != Framing::Close)
    }

    fn head(&self) -> Vec<u8> {
        let mut bytes = [self.start.as_slice(), b"\r\n"].concat();
        lines(&mut bytes, &self.fields);
        let length: usize = self.pieces.iter().map(Vec::len).sum();
        match self.framing {
            Framing::Length => {
                bytes.extend_from_slice(format!("content-length: {length}\r\n").as_bytes());
            }
            Framing::Chunked => bytes.extend_from_slice(b"transfer-encoding: chunked\r\n"),
            Framing::Close => bytes.extend_from_slice(b"connection: close\r\n"),
            Framing::None => {}
        }
        bytes.extend_from_slice(b"\r\n");
        bytes
    }
}

/// One write that is read by itself.
fn piece(to: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
    std::thread::park_timeout(PACE);
    to.write_all(bytes)?;
    to.flush()
}

/// Field lines with their values put in.
pub fn field_lines(list: &FieldList, scope: Scope<'_>) -> Result<Vec<Line>, Error> {
    let lines = list.iter().flatten();
    lines.map(|(name, value)| Ok((scope.expand(name)?, scope.expand(value)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_found_wherever_they_stand() {
        let text = b"GET /a/atk-0123456789?x=atk-abcdefghij HTTP/1.1\r\nx: atk-short";
        assert_eq!(ids(text), ["atk-0123456789", "atk-abcdefghij"]);
    }
}
