//! Reading content, piece by piece (RFC 9112, 6 and 7).
//!
//! Owns where content ends; says nothing about what is in it. Invariant: the bytes behind the
//! end stay in the buffer, the work grows with the bytes only, however they arrived, and after
//! a refusal no more pieces come.

use bytes::{Buf, Bytes, BytesMut};

use super::octet::is_text;
use super::section::{self, Section};
use super::{Framing, Limits, Malformed};
use crate::view::Pairs;

/// The longest line of a chunk's size with its extensions and CR LF. Envoy has no bound.
const MAX_SIZE_LINE: usize = 1024;

/// The most digits of a chunk's size: those of 64 bits. Envoy takes leading zeros in any
/// number.
const MAX_DIGITS: usize = 16;

/// Fields that decide about a message before its content comes, and never after it
/// (RFC 9110, 6.5.1). Envoy passes them on.
pub(super) const NEVER_LATE: &[&[u8]] = &[b"content-length", b"host", b"transfer-encoding"];

/// A part of the content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Bytes, never none.
    Data(Bytes),
    /// The content ends with these fields, never none.
    Trailers(Pairs),
    /// The content ends without fields.
    End,
}

/// What the next byte is part of.
#[derive(Debug)]
enum State {
    Length(u64),
    UntilClose,
    Size(Section),
    Chunk(u64),
    ChunkEnd,
    Trailers(Section),
    Done,
    Broken(Malformed),
}

/// What one step came to.
enum Step {
    Again,
    Starved,
    Piece(Piece),
}

/// The content of one message.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    limits: Limits,
}

impl Decoder {
    /// A decoder for content that is delimited like this; the limits are for trailers.
    pub fn new(framing: Framing, limits: &Limits) -> Self {
        let state = match framing {
            Framing::None => State::Done,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::Size(Section::default()),
            Framing::UntilClose | Framing::Tunnel => State::UntilClose,
        };
        Self { state, limits: *limits }
    }

    /// Whether the end has come; what is in the buffer now belongs to the next message.
    pub fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// Takes the next piece off the buffer; `None`: more bytes are needed, or the end has
    /// come. `eof`: no bytes will follow those in the buffer.
    ///
    /// Chunks that are there together are one piece, as in Envoy: each piece costs a callback
    /// of every filter, and a sender that makes chunks of one byte must not decide how many.
    pub fn decode(&mut self, buffer: &mut BytesMut, eof: bool) -> Result<Option<Piece>, Malformed> {
        match self.piece(buffer, eof)? {
            Some(Piece::Data(first)) => Ok(Some(Piece::Data(self.with_next(first, buffer)))),
            other => Ok(other),
        }
    }

    /// This data and that of the chunks behind it, as far as they are here. Whatever is wrong
    /// with the rest is told by the next call, and so is the end.
    fn with_next(&mut self, first: Bytes, buffer: &mut BytesMut) -> Bytes {
        let mut all = BytesMut::new();
        while matches!(self.state, State::Chunk(_) | State::ChunkEnd | State::Size(_)) {
            match self.step(buffer) {
                Ok(Step::Again) => {}
                Ok(Step::Piece(Piece::Data(next))) => {
                    if all.is_empty() {
                        all.extend_from_slice(&first);
                    }
                    all.extend_from_slice(&next);
                }
                Ok(_) => break,
                Err(malformed) => {
                    self.refuse(malformed);
                }
            }
        }
        if all.is_empty() { first } else { all.freeze() }
    }

    fn piece(&mut self, buffer: &mut BytesMut, eof: bool) -> Result<Option<Piece>, Malformed> {
        while !self.is_done() {
            match self.step(buffer) {
                Ok(Step::Again) => {}
                Ok(Step::Piece(piece)) => return Ok(Some(piece)),
                Ok(Step::Starved) if !eof => return Ok(None),
                Ok(Step::Starved) if matches!(self.state, State::UntilClose) => {
                    self.state = State::Done;
                    return Ok(Some(Piece::End));
                }
                Ok(Step::Starved) => return Err(self.refuse(Malformed::Truncated)),
                Err(malformed) => return Err(self.refuse(malformed)),
            }
        }
        Ok(None)
    }

    fn refuse(&mut self, malformed: Malformed) -> Malformed {
        self.state = State::Broken(malformed);
        malformed
    }

    fn step(&mut self, buffer: &mut BytesMut) -> Result<Step, Malformed> {
        match &mut self.state {
            State::Length(0) => Ok(self.end_with(Piece::End)),
            State::Chunk(0) => Ok(self.go_on(State::ChunkEnd)),
            State::Length(left) | State::Chunk(left) => Ok(content(buffer, left)),
            State::UntilClose => Ok(content(buffer, &mut { u64::MAX })),
            State::Size(section) => {
                let Some(end) = size_line_end(section, buffer)? else { return Ok(Step::Starved) };
                let next = match chunk_size(&buffer.split_to(end))? {
                    0 => State::Trailers(Section::default()),
                    size => State::Chunk(size),
                };
                Ok(self.go_on(next))
            }
            State::ChunkEnd => match &buffer[..buffer.len().min(2)] {
                b"\r\n" => {
                    buffer.advance(2);
                    Ok(self.go_on(State::Size(Section::default())))
                }
                b"" | b"\r" => Ok(Step::Starved),
                // Envoy skips to the line end, whatever stands before it.
                _ => Err(Malformed::Chunk),
            },
            State::Trailers(section) => {
                let end = section.end(buffer, self.limits.max_head)?;
                let Some(end) = end else { return Ok(Step::Starved) };
                let piece = trailers(&buffer.split_to(end), section.lines(), &self.limits)?;
                Ok(self.end_with(piece))
            }
            State::Done => Ok(Step::Starved),
            State::Broken(malformed) => Err(*malformed),
        }
    }

    fn go_on(&mut self, state: State) -> Step {
        self.state = state;
        Step::Again
    }

    fn end_with(&mut self, piece: Piece) -> Step {
        self.state = State::Done;
        Step::Piece(piece)
    }
}

/// What is there of the bytes that are left.
fn content(buffer: &mut BytesMut, left: &mut u64) -> Step {
    if buffer.is_empty() {
        return Step::Starved;
    }
    let length = usize::try_from(*left).unwrap_or(usize::MAX).min(buffer.len());
    *left -= length as u64;
    Step::Piece(Piece::Data(buffer.split_to(length).freeze()))
}

fn size_line_end(section: &mut Section, bytes: &[u8]) -> Result<Option<usize>, Malformed> {
    section.line_end(bytes, MAX_SIZE_LINE).map_err(|malformed| match malformed {
        Malformed::HeadTooLarge => Malformed::Chunk,
        other => other,
    })
}

/// The size of a chunk (RFC 9112, 7.1); extensions are ignored, but must look like some.
fn chunk_size(line: &[u8]) -> Result<u64, Malformed> {
    let line = line.strip_suffix(b"\r\n").unwrap_or(line);
    let end = line.iter().position(|byte| !byte.is_ascii_hexdigit()).unwrap_or(line.len());
    let (digits, extensions) = line.split_at(end);
    let ignored = match extensions.trim_ascii_start() {
        [] => extensions.is_empty(),
        [first, ..] => *first == b';' && extensions.iter().all(|byte| is_text(*byte)),
    };
    let digits = std::str::from_utf8(digits).unwrap_or_default();
    if !ignored || digits.len() > MAX_DIGITS {
        return Err(Malformed::Chunk);
    }
    u64::from_str_radix(digits, 16).map_err(|_| Malformed::Chunk)
}

fn trailers(bytes: &[u8], lines: usize, limits: &Limits) -> Result<Piece, Malformed> {
    if lines == 0 {
        return Ok(Piece::End);
    }
    let fields = section::trailers(bytes, lines, limits)?;
    if fields.iter().any(|(name, _)| NEVER_LATE.contains(&name.as_slice())) {
        return Err(Malformed::Trailer);
    }
    Ok(Piece::Trailers(fields))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::tests::{LIMITS, drain, fields};

    /// Data, trailers, whether the end has come, what is left.
    type Read = Result<
        (&'static str, &'static [(&'static str, &'static str)], bool, &'static str),
        Malformed,
    >;

    const TRAILER: &[(&str, &str)] = &[("x", "y")];

    fn long(length: usize) -> String {
        format!("1;{}\r\na\r\n0\r\n\r\n", "e".repeat(length - "1;\r\n".len()))
    }

    #[test]
    fn content_ends_where_its_framing_says() {
        use Framing::{Chunked, Length, None, UntilClose};
        let fits = long(MAX_SIZE_LINE - 1);
        let large = long(MAX_SIZE_LINE + 1);
        let rows: &[(Framing, &str, Read)] = &[
            (None, "next", Ok(("", &[], true, "next"))),
            (Length(0), "next", Ok(("", &[], true, "next"))),
            (Length(3), "abcnext", Ok(("abc", &[], true, "next"))),
            (Length(3), "ab", Err(Malformed::Truncated)),
            (UntilClose, "abc", Ok(("abc", &[], true, ""))),
            (UntilClose, "", Ok(("", &[], true, ""))),
            (Chunked, "0\r\n\r\nnext", Ok(("", &[], true, "next"))),
            (Chunked, "3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n", Ok(("abcd", &[], true, ""))),
            (Chunked, "A\r\n0123456789\r\n00\r\n\r\n", Ok(("0123456789", &[], true, ""))),
            (Chunked, "0000000000000001\r\na\r\n0\r\n\r\n", Ok(("a", &[], true, ""))),
            (Chunked, "00000000000000001\r\na\r\n0\r\n\r\n", Err(Malformed::Chunk)),
            (Chunked, "ffffffffffffffff\r\na", Err(Malformed::Truncated)),
            (Chunked, "1;a=b\r\na\r\n0;c\r\n\r\n", Ok(("a", &[], true, ""))),
            (Chunked, "1 \t;a=\"b;\"\r\na\r\n0\r\n\r\n", Ok(("a", &[], true, ""))),
            (Chunked, &fits, Ok(("a", &[], true, ""))),
            (Chunked, &large, Err(Malformed::Chunk)),
            (Chunked, "1;a\0\r\na\r\n0\r\n\r\n", Err(Malformed::Chunk)),
            (Chunked, "1;a\nb\r\na\r\n0\r\n\r\n", Err(Malformed::LineEnd)),
            (Chunked, "1;a\rb\r\na\r\n0\r\n\r\n", Err(Malformed::LineEnd)),
            (Chunked, "1 \r\na\r\n0\r\n\r\n", Err(Malformed::Chunk)),
            (Chunked, " 1\r\na\r\n0\r\n\r\n", Err(Malformed::Chunk)),
            (Chunked, "\r\na\r\n0\r\n\r\n", Err(Malformed::Chunk)),
            (Chunked, ";a\r\na\r\n0\r\n\r\n", Err(Malformed::Chunk)),
            (Chunked, "+1\r\na\r\n0\r\n\r\n", Err(Malformed::Chunk)),
            (Chunked, "0x1\r\na\r\n0\r\n\r\n", Err(Malformed::Chunk)),
            (Chunked, "1_0\r\na\r\n0\r\n\r\n", Err(Malformed::Chunk)),
            (Chunked, "1\na\r\n0\r\n\r\n", Err(Malformed::LineEnd)),
            (Chunked, "1\r\na\n0\r\n\r\n", Err(Malformed::Chunk)),
            (Chunked, "1\r\nab\r\n0\r\n\r\n", Err(Malformed::Chunk)),
            (Chunked, "0\r\n\n", Err(Malformed::LineEnd)),
            (Chunked, "1\r\na\r\n", Err(Malformed::Truncated)),
            (Chunked, "0\r\n", Err(Malformed::Truncated)),
            (Chunked, "0\r\nX:  y \r\n\r\nnext", Ok(("", TRAILER, true, "next"))),
            (Chunked, "0\r\nx: y", Err(Malformed::Truncated)),
            (Chunked, "0\r\nx: y\n\r\n", Err(Malformed::LineEnd)),
            (Chunked, "0\r\nx: y\r\n z\r\n\r\n", Err(Malformed::Syntax)),
            (Chunked, "0\r\nx : y\r\n\r\n", Err(Malformed::Syntax)),
            (Chunked, "0\r\nx: \0\r\n\r\n", Err(Malformed::Character)),
            (Chunked, "0\r\nContent-Length: 5\r\n\r\n", Err(Malformed::Trailer)),
            (Chunked, "0\r\nhost: b\r\n\r\n", Err(Malformed::Trailer)),
        ];
        for (framing, bytes, want) in rows {
            let mut buffer = BytesMut::from(*bytes);
            let mut decoder = Decoder::new(*framing, &LIMITS);
            let read = drain(&mut decoder, &mut buffer).map(|(data, trailers)| {
                (data, trailers, decoder.is_done(), String::from_utf8_lossy(&buffer).into_owned())
            });
            let want = want.map(|(data, trailers, done, rest)| {
                (data.as_bytes().to_vec(), fields(trailers), done, rest.to_owned())
            });
            assert_eq!(read, want, "{framing:?} {bytes:?}");
        }
    }

    #[test]
    fn trailers_are_held_to_the_limits_of_a_head() {
        let limits = Limits { max_fields: 2, max_head: 20 };
        let rows = [
            ("a: b\r\nc: d\r\n\r\n", None),
            ("a:\r\nb:\r\nc:\r\n\r\n", Some(Malformed::TooManyFields)),
            ("a: 345678901234\r\n\r\n", None),
            ("a: 3456789012345678\r\n\r\n", Some(Malformed::HeadTooLarge)),
        ];
        for (bytes, want) in rows {
            let mut buffer = BytesMut::from(format!("0\r\n{bytes}").as_str());
            let read = drain(&mut Decoder::new(Framing::Chunked, &limits), &mut buffer);
            assert_eq!(read.err(), want, "{bytes:?}");
        }
    }

    #[test]
    fn chunks_that_are_here_together_are_one_piece() {
        let chunks = "1\r\na\r\n".repeat(1000);
        for (end, then) in
            [("", Ok(None)), ("0\r\n\r\n", Ok(Some(Piece::End))), ("x\r\n", Err(Malformed::Chunk))]
        {
            let mut decoder = Decoder::new(Framing::Chunked, &LIMITS);
            let mut buffer = BytesMut::from(format!("{chunks}{end}").as_str());
            let data = Piece::Data(Bytes::from("a".repeat(1000)));
            assert_eq!(decoder.decode(&mut buffer, false), Ok(Some(data)), "{end:?}");
            assert_eq!(decoder.decode(&mut buffer, false), then, "{end:?}");
        }
    }

    #[test]
    fn nothing_comes_after_a_refusal() {
        let mut decoder = Decoder::new(Framing::Chunked, &LIMITS);
        let mut buffer = BytesMut::from("x\r\n");
        assert_eq!(decoder.decode(&mut buffer, false), Err(Malformed::Chunk));
        let mut buffer = BytesMut::from("1\r\na\r\n0\r\n\r\n");
        assert_eq!(decoder.decode(&mut buffer, false), Err(Malformed::Chunk));
        assert!(!decoder.is_done());
    }

    #[test]
    fn an_unfinished_message_waits_unless_the_peer_is_gone() {
        let mut decoder = Decoder::new(Framing::Length(2), &LIMITS);
        let mut buffer = BytesMut::from("a");
        let piece = Piece::Data(Bytes::from_static(b"a"));
        assert_eq!(decoder.decode(&mut buffer, false), Ok(Some(piece)));
        assert_eq!(decoder.decode(&mut buffer, false), Ok(None));
        assert_eq!(decoder.decode(&mut buffer, true), Err(Malformed::Truncated));
    }
}
