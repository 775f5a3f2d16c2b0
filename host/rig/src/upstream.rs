//! An upstream that records every request byte for byte and answers as it was told.
//!
//! It can echo what it got in plain, base64 and percent form, which is how a hostile or
//! careless API would hand a secret back.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::RigError;
use crate::client::{chunk, last_chunk, lines};
use crate::message::{Line, Message};
use crate::server::{After, Handler, Server};

/// How the content of an answer is framed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Framing {
    /// `content-length` over all chunks together.
    Length,
    /// Chunked, boundaries as given.
    #[default]
    Chunked,
    /// No framing; the connection closes.
    UntilClose,
    /// No content (`204`, `304`, an answer to `HEAD`).
    None,
}

/// What is no answer, or not a whole one: bytes as they stand, and what follows them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Instead {
    /// The connection closes.
    Close(Vec<u8>),
    /// Nothing, until the peer closes.
    Stall(Vec<u8>),
}

/// One scripted answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Status.
    pub status: u16,
    /// Field lines, framing fields excluded.
    pub fields: Vec<Line>,
    /// Content, each piece written and flushed by itself.
    pub chunks: Vec<Vec<u8>>,
    /// Trailer section; only with [`Framing::Chunked`].
    pub trailers: Vec<Line>,
    /// Framing.
    pub framing: Framing,
    /// Pause between pieces, so that the proxy reads them one by one.
    pub pace: Duration,
    /// What comes instead of all that.
    pub instead: Option<Instead>,
}

impl Default for Answer {
    fn default() -> Self {
        Self {
            status: 200,
            fields: vec![(b"content-type".to_vec(), b"text/plain".to_vec())],
            chunks: vec![b"ok\n".to_vec()],
            trailers: Vec::new(),
            framing: Framing::Length,
            pace: Duration::ZERO,
            instead: None,
        }
    }
}

type Script = Box<dyn Fn(&Message) -> Answer + Send + Sync>;

/// The running upstream.
pub struct Upstream {
    server: Server,
    record: Arc<Record>,
}

#[derive(Default)]
struct Record {
    state: Mutex<State>,
    came: Condvar,
}

#[derive(Default)]
struct State {
    requests: Vec<Message>,
    script: Option<Script>,
}

impl Upstream {
    /// Starts it, plain or with TLS; it answers [`Answer::default`] until told otherwise.
    pub fn start(tls: Option<Arc<rustls::ServerConfig>>) -> Result<Self, RigError> {
        let record = Arc::new(Record::default());
        let handler: Arc<dyn Handler> = Arc::clone(&record) as _;
        Ok(Self { server: Server::start(handler, tls)?, record })
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.server.port()
    }

    /// Answers every following request by `script`.
    pub fn script(&self, script: impl Fn(&Message) -> Answer + Send + Sync + 'static) {
        self.record.lock().script = Some(Box::new(script));
    }

    /// Answers every following request with `answer`.
    pub fn answer(&self, answer: Answer) {
        self.script(move |_| answer.clone());
    }

    /// What came since the last call, oldest first.
    pub fn take(&self) -> Vec<Message> {
        std::mem::take(&mut self.record.lock().requests)
    }

    /// Waits until `count` requests are there, or `limit` has passed; takes them.
    pub fn wait_for(&self, count: usize, limit: Duration) -> Vec<Message> {
        let end = Instant::now() + limit;
        let mut state = self.record.lock();
        while state.requests.len() < count {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.record.came.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        std::mem::take(&mut state.requests)
    }
}

impl Record {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Handler for Record {
    fn handle(&self, request: Message, to: &mut dyn Write) -> io::Result<After> {
        let head = request.word(0) == "HEAD";
        let answer = {
            let mut state = self.lock();
            let answer = state.script.as_ref().map_or_else(Answer::default, |s| s(&request));
            state.requests.push(request);
            answer
        };
        self.came.notify_all();
        match &answer.instead {
            Some(Instead::Close(bytes)) => to.write_all(bytes).map(|()| After::Close),
            Some(Instead::Stall(bytes)) => to.write_all(bytes).map(|()| After::Keep),
            None => answer.write(to, head),
        }
    }
}

impl Answer {
    /// Writes the answer piece by piece.
    pub fn write(&self, to: &mut dyn Write, head_only: bool) -> io::Result<After> {
        to.write_all(&self.head())?;
        to.flush()?;
        if head_only || self.framing == Framing::None {
            return Ok(After::Keep);
        }
        for content in self.chunks.iter().filter(|content| !content.is_empty()) {
            if !self.pace.is_zero() {
                std::thread::park_timeout(self.pace);
            }
            let chunked = self.framing == Framing::Chunked;
            to.write_all(&if chunked { chunk(content) } else { content.clone() })?;
            to.flush()?;
        }
        if self.framing == Framing::Chunked {
            to.write_all(&last_chunk(&self.trailers))?;
        }
        Ok(if self.framing == Framing::UntilClose { After::Close } else { After::Keep })
    }

    fn head(&self) -> Vec<u8> {
        let mut bytes = format!("HTTP/1.1 {} Answer\r\n", self.status).into_bytes();
        lines(&mut bytes, &self.fields);
        let length: usize = self.chunks.iter().map(Vec::len).sum();
        match self.framing {
            Framing::Length => {
                bytes.extend_from_slice(format!("content-length: {length}\r\n").as_bytes());
            }
            Framing::Chunked => bytes.extend_from_slice(b"transfer-encoding: chunked\r\n"),
            Framing::UntilClose => bytes.extend_from_slice(b"connection: close\r\n"),
            Framing::None => {}
        }
        bytes.extend_from_slice(b"\r\n");
        bytes
    }
}
