//! HTTP/1.1 messages as bytes (RFC 9112), kept exactly as they came.
//!
//! Lenient on purpose: tests send and receive what no library would. Names keep their
//! case, values are any bytes, chunk boundaries are remembered.

use std::io::{self, Read};

/// One field line, name as written.
pub type Line = (Vec<u8>, Vec<u8>);

/// A request or an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// Request line or status line, without the line end.
    pub start: Vec<u8>,
    /// Header section in order.
    pub fields: Vec<Line>,
    /// Content, without framing.
    pub content: Vec<u8>,
    /// Sizes of the chunks it came in, when chunked.
    pub chunks: Vec<usize>,
    /// Trailer section.
    pub trailers: Vec<Line>,
    /// Everything as it stood on the wire.
    pub raw: Vec<u8>,
    /// False when the connection ended inside the message.
    pub complete: bool,
}

impl Message {
    /// Every value of a field, in order.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        values(&self.fields, name)
    }

    /// The first value of a field as text.
    pub fn text(&self, name: &str) -> Option<String> {
        self.all(name).next().map(|value| String::from_utf8_lossy(value).into_owned())
    }

    /// The word of the start line at `index`: method and target, or the status.
    pub fn word(&self, index: usize) -> String {
        let start = String::from_utf8_lossy(&self.start).into_owned();
        start.split(' ').nth(index).unwrap_or_default().to_owned()
    }

    /// The status of an answer; 0 when there was none.
    pub fn status(&self) -> u16 {
        self.word(1).parse().unwrap_or(0)
    }
}

/// Every value of `name` among `lines`.
pub fn values<'a>(lines: &'a [Line], name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    lines
        .iter()
        .filter(move |(have, _)| have.eq_ignore_ascii_case(name.as_bytes()))
        .map(|(_, value)| value.as_slice())
}

/// Which way a message goes; decides how its content ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// A request: no framing fields means no content.
    Request,
    /// An answer to this kind of request: no framing fields means until the close.
    Answer {
        /// The request was a `HEAD`.
        to_head: bool,
    },
}

/// Reads messages from one connection.
pub struct Reader<R> {
    from: R,
    buffer: Vec<u8>,
    used: usize,
}

impl<R: Read> Reader<R> {
    /// Reads from `from`.
    pub fn new(from: R) -> Self {
        Self { from, buffer: Vec::new(), used: 0 }
    }

    /// The connection, to write to.
    pub fn connection(&mut self) -> &mut R {
        &mut self.from
    }

    /// Waits for more bytes; false when the connection has ended.
    pub fn more(&mut self) -> io::Result<bool> {
        Ok(self.fill()? > 0)
    }

    /// The next message, or `None` when the connection ended before its first byte.
    pub fn next(&mut self, direction: Direction) -> io::Result<Option<Message>> {
        self.buffer.drain(..self.used);
        self.used = 0;
        let Some(start) = self.line()? else { return Ok(None) };
        let mut message = Message { start, ..Message::default() };
        let ended = self.rest(&mut message, direction)?;
        message.complete = ended.is_some();
        message.raw = self.buffer.get(..self.used).unwrap_or_default().to_vec();
        Ok(Some(message))
    }

    /// `None` when the connection ended too early; what came is in `message`.
    fn rest(&mut self, message: &mut Message, direction: Direction) -> io::Result<Option<()>> {
        let Some(fields) = self.section()? else { return Ok(None) };
        message.fields = fields;
        let status = message.status();
        if let Direction::Answer { to_head } = direction
            && (to_head || status < 200 || matches!(status, 204 | 304))
        {
            return Ok(Some(()));
        }
        let chunked = message.all("transfer-encoding").any(|v| v.ends_with(b"chunked"));
        let length = message.text("content-length").and_then(|text| text.trim().parse().ok());
        match (chunked, length, direction) {
            (true, ..) => self.chunked(message),
            (false, Some(length), _) => {
                let (bytes, whole) = self.exactly(length)?;
                message.content = bytes;
                Ok(whole.then_some(()))
            }
            (false, None, Direction::Request) => Ok(Some(())),
            (false, None, Direction::Answer { .. }) => {
                message.content = self.exactly(usize::MAX)?.0;
                Ok(Some(()))
            }
        }
    }

    fn chunked(&mut self, message: &mut Message) -> io::Result<Option<()>> {
        loop {
            let Some(line) = self.line()? else { return Ok(None) };
            let text = String::from_utf8_lossy(&line).into_owned();
            let size = text.split(';').next().unwrap_or_default().trim();
            let Ok(size) = usize::from_str_radix(size, 16) else { return Ok(None) };
            if size == 0 {
                let Some(trailers) = self.section()? else { return Ok(None) };
                message.trailers = trailers;
                return Ok(Some(()));
            }
            let (bytes, whole) = self.exactly(size)?;
            message.chunks.push(bytes.len());
            message.content.extend(bytes);
            if !whole || self.line()?.is_none() {
                return Ok(None);
            }
        }
    }

    fn section(&mut self) -> io::Result<Option<Vec<Line>>> {
        let mut lines = Vec::new();
        loop {
            let Some(line) = self.line()? else { return Ok(None) };
            if line.is_empty() {
                return Ok(Some(lines));
            }
            let colon = line.iter().position(|b| *b == b':').unwrap_or(line.len());
            let (name, value) = line.split_at(colon);
            let value = value.strip_prefix(b":").unwrap_or_default().trim_ascii();
            lines.push((name.to_vec(), value.to_vec()));
        }
    }

    fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            let rest = self.buffer.get(self.used..).unwrap_or_default();
            if let Some(end) = rest.iter().position(|b| *b == b'\n') {
                let (line, _) = rest.split_at(end);
                let line = line.strip_suffix(b"\r").unwrap_or(line).to_vec();
                self.used = self.used.saturating_add(end).saturating_add(1);
                return Ok(Some(line));
            }
            if self.fill()? == 0 {
                return Ok(None);
            }
        }
    }

    /// Up to `size` bytes; false when the connection ended first.
    fn exactly(&mut self, size: usize) -> io::Result<(Vec<u8>, bool)> {
        while self.buffer.len().saturating_sub(self.used) < size {
            if self.fill()? == 0 {
                break;
            }
        }
        let rest = self.buffer.get(self.used..).unwrap_or_default();
        let bytes = rest.get(..size).unwrap_or(rest).to_vec();
        self.used = self.used.saturating_add(bytes.len());
        let whole = bytes.len() == size;
        Ok((bytes, whole))
    }

    /// A reset counts as the end: the peer has said all it will.
    fn fill(&mut self) -> io::Result<usize> {
        let mut space = [0; 16 * 1024];
        let size = match self.from.read(&mut space) {
            Ok(size) => size,
            Err(error) if is_end(&error) => 0,
            Err(error) => return Err(error),
        };
        self.buffer.extend_from_slice(space.get(..size).unwrap_or_default());
        Ok(size)
    }
}

fn is_end(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunked_message_keeps_boundaries_and_trailers() {
        let wire: &[u8] = b"POST /a HTTP/1.1\r\nX: \xff\xfe\r\nTransfer-Encoding: chunked\r\n\r\n\
            2\r\nab\r\n1\r\nc\r\n0\r\nT: v\r\n\r\nGET /b HTTP/1.1\r\n\r\n";
        let mut reader = Reader::new(wire);
        let first = reader.next(Direction::Request).unwrap().unwrap();
        assert_eq!(first.content, b"abc");
        assert_eq!(first.chunks, [2, 1]);
        assert_eq!(first.trailers, [(b"T".to_vec(), b"v".to_vec())]);
        assert_eq!(first.all("x").next(), Some(&b"\xff\xfe"[..]));
        assert!(first.complete);
        let second = reader.next(Direction::Request).unwrap().unwrap();
        assert_eq!((second.word(1).as_str(), second.complete), ("/b", true));
        assert_eq!(reader.next(Direction::Request).unwrap(), None);
    }

    #[test]
    fn a_cut_answer_is_incomplete_and_keeps_what_came() {
        let wire: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nabc";
        let answer = Reader::new(wire).next(Direction::Answer { to_head: false });
        let answer = answer.unwrap().unwrap();
        assert_eq!((answer.status(), answer.complete), (200, false));
        assert_eq!(answer.content, b"abc");
    }
}
