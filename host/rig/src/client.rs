//! A client that sends exactly the bytes it is given.

use std::io::{self, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use crate::message::{Direction, Message, Reader};

/// One plain connection to a port on 127.0.0.1.
pub struct Client {
    reader: Reader<TcpStream>,
}

impl Client {
    /// Connects; reads give up after `patience`.
    pub fn connect(port: u16, patience: Duration) -> io::Result<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(patience))?;
        Ok(Self { reader: Reader::new(stream) })
    }

    /// A client on a connection that stands already.
    pub fn over(stream: TcpStream) -> Self {
        Self { reader: Reader::new(stream) }
    }

    /// Writes bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.reader.connection().write_all(bytes)?;
        self.reader.connection().flush()
    }

    /// Waits for the next bytes of the peer; whether it has sent any before it closed.
    pub fn wait(&mut self) -> io::Result<bool> {
        self.reader.more()
    }

    /// The next answer, an interim one (1xx) too; `None` when the peer closed.
    pub fn next_answer(&mut self) -> io::Result<Option<Message>> {
        self.reader.next(Direction::Answer { to_head: false })
    }

    /// The next final answer (1xx are passed over); `None` when the peer closed.
    pub fn answer(&mut self, to_head: bool) -> io::Result<Option<Message>> {
        loop {
            match self.reader.next(Direction::Answer { to_head })? {
                Some(message) if (100..200).contains(&message.status()) => {}
                other => return Ok(other),
            }
        }
    }
}

/// One request on a connection of its own, and its answer.
pub fn exchange(port: u16, request: &Request, patience: Duration) -> io::Result<Option<Message>> {
    let mut client = Client::connect(port, patience)?;
    let pieces = request.pieces();
    for piece in &pieces {
        // An early answer may close the connection under our feet; it is still readable.
        if client.send(piece).is_err() {
            break;
        }
    }
    client.answer(request.method.eq_ignore_ascii_case("HEAD"))
}

/// How content is framed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// None, and no framing fields.
    None,
    /// `content-length`.
    Sized(Vec<u8>),
    /// Chunks as given, then this trailer section.
    Chunked(Vec<Vec<u8>>, Vec<(Vec<u8>, Vec<u8>)>),
}

/// A request, written without any check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Method.
    pub method: String,
    /// Request target.
    pub target: Vec<u8>,
    /// Field lines in order, `host` included.
    pub fields: Vec<(Vec<u8>, Vec<u8>)>,
    /// Content.
    pub content: Content,
}

impl Request {
    /// A request for `target` at `host` without content.
    pub fn new(method: &str, host: &str, target: &str) -> Self {
        let fields = vec![(b"host".to_vec(), host.as_bytes().to_vec())];
        let (method, target) = (method.to_owned(), target.as_bytes().to_vec());
        Self { method, target, fields, content: Content::None }
    }

    /// The same with one more field line.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.fields.push((name.as_bytes().to_vec(), value.as_ref().to_vec()));
        self
    }

    /// The same with content of known length.
    #[must_use]
    pub fn sized(mut self, content: impl AsRef<[u8]>) -> Self {
        self.content = Content::Sized(content.as_ref().to_vec());
        self
    }

    /// The bytes, in the pieces in which they are written.
    pub fn pieces(&self) -> Vec<Vec<u8>> {
        let mut head = format!("{} ", self.method).into_bytes();
        head.extend_from_slice(&self.target);
        head.extend_from_slice(b" HTTP/1.1\r\n");
        lines(&mut head, &self.fields);
        match &self.content {
            Content::None => head.extend_from_slice(b"\r\n"),
            Content::Sized(content) => {
                head.extend_from_slice(
                    format!("content-length: {}\r\n\r\n", content.len()).as_bytes(),
                );
                head.extend_from_slice(content);
            }
            Content::Chunked(chunks, trailers) => {
                head.extend_from_slice(b"transfer-encoding: chunked\r\n\r\n");
                return std::iter::once(head)
                    .chain(chunks.iter().map(|c| chunk(c)))
                    .chain([last_chunk(trailers)])
                    .collect();
            }
        }
        vec![head]
    }
}

/// One chunk with its framing.
pub fn chunk(content: &[u8]) -> Vec<u8> {
    let mut bytes = format!("{:x}\r\n", content.len()).into_bytes();
    bytes.extend_from_slice(content);
    bytes.extend_from_slice(b"\r\n");
    bytes
}

/// The last chunk with its trailer section.
pub fn last_chunk(trailers: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = b"0\r\n".to_vec();
    lines(&mut bytes, trailers);
    bytes.extend_from_slice(b"\r\n");
    bytes
}

/// Field lines, each with its end.
pub fn lines(bytes: &mut Vec<u8>, fields: &[(Vec<u8>, Vec<u8>)]) {
    for (name, value) in fields {
        bytes.extend_from_slice(name);
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value);
        bytes.extend_from_slice(b"\r\n");
    }
}
