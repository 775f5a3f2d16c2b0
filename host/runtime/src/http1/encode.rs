//! Writing one message (RFC 9112).
//!
//! Owns the framing fields: whatever the given fields say about length and coding is left
//! out, and what is written is what the content will be held to. Invariant: bytes that would
//! end a line, a head or a message early are never written, and a call that fails has
//! written nothing.

use bytes::{BufMut, BytesMut};

use super::decode::NEVER_LATE;
use super::framing::{Framing, content_length, has_no_content, says_close};
use super::octet::{is_target, is_text, is_token};
use crate::view::Pairs;

/// A message, or a part of one, that cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unsendable {
    /// Not a token (RFC 9110, 9.1).
    #[error("the method is not a token")]
    Method,
    /// Empty, or not visible ASCII only.
    #[error("the target has bytes that end it")]
    Target,
    /// Not of three digits.
    #[error("the status is not between 100 and 999")]
    Status,
    /// Not a token (RFC 9110, 5.1).
    #[error("a field name is not a token")]
    Name,
    /// A control byte, which may end the line (RFC 9110, 5.5).
    #[error("a field value has a control byte")]
    Value,
    /// A trailer that would change what the head said (RFC 9110, 6.5.1).
    #[error("a trailer is not one that may come late")]
    Trailer,
    /// A request until the connection closes, a tunnel without a switch, content for a status that has none, or a
    /// content length that stays and is not one number.
    #[error("the message cannot be delimited like this")]
    Framing,
    /// More or less content than was declared.
    #[error("the content is not as long as was declared")]
    Length,
    /// The message has ended before.
    #[error("the message has ended")]
    Ended,
}

/// What is still to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    Length(u64),
    Chunks,
    Anything,
    Nothing,
}

/// One outgoing message, after its head.
#[derive(Debug)]
pub struct Encoder {
    left: Left,
}

impl Encoder {
    /// Writes the head of a request, with names in lower case.
    ///
    /// The fields come without pseudo fields. With [`Framing::None`] a given content length
    /// is left out as well.
    pub fn request(
        out: &mut BytesMut,
        method: &[u8],
        target: &[u8],
        fields: &Pairs,
        framing: Framing,
    ) -> Result<Self, Unsendable> {
        if method.is_empty() || !method.iter().all(|byte| is_token(*byte)) {
            return Err(Unsendable::Method);
        }
        if target.is_empty() || !target.iter().all(|byte| is_target(*byte)) {
            return Err(Unsendable::Target);
        }
        if framing == Framing::UntilClose {
            return Err(Unsendable::Framing);
        }
        refuse_splitting(fields)?;
        for part in [method, b" ", target, b" HTTP/1.1\r\n"] {
            out.put_slice(part);
        }
        Ok(Self::after_head(out, fields, (framing, false), said(framing)))
    }

    /// Writes the head of a response, with names in lower case.
    ///
    /// With [`Framing::None`] a given content length stays, since it says how long the
    /// content would have been (RFC 9110, 8.6): this is for responses to HEAD and for 304,
    /// and the caller knows which request this answers. Statuses without content take no
    /// other framing than that and [`Framing::Length`] of 0, which means the same here.
    pub fn response(
        out: &mut BytesMut,
        status: u16,
        fields: &Pairs,
        framing: Framing,
    ) -> Result<Self, Unsendable> {
        Self::answer(out, status, fields, framing, said(framing))
    }

    /// A response to `HEAD`, which has no content and says how that would be framed: with
    /// the length in its fields, else in chunks, as Envoy does.
    pub fn response_to_head(
        out: &mut BytesMut,
        status: u16,
        fields: &Pairs,
    ) -> Result<Self, Unsendable> {
        let has_length =
            fields.iter().any(|(name, _)| name.eq_ignore_ascii_case(b"content-length"));
        let chunked = !has_length && !has_no_content(status);
        let says = chunked.then(|| ("transfer-encoding", "chunked".to_owned()));
        Self::answer(out, status, fields, Framing::None, says)
    }

    fn answer(
        out: &mut BytesMut,
        status: u16,
        fields: &Pairs,
        framing: Framing,
        says: Option<Says>,
    ) -> Result<Self, Unsendable> {
        if !(100..=999).contains(&status) {
            return Err(Unsendable::Status);
        }
        let framing = match framing {
            Framing::Tunnel if status == 101 => Framing::Tunnel,
            Framing::None | Framing::Length(0) if has_no_content(status) => Framing::None,
            Framing::Tunnel => return Err(Unsendable::Framing),
            _ if has_no_content(status) => return Err(Unsendable::Framing),
            other => other,
        };
        // No length at all in 1xx and 204 (RFC 9110, 8.6).
        let keep = framing == Framing::None && !matches!(status, 100..=199 | 204);
        if keep && content_length(fields).is_err() {
            return Err(Unsendable::Framing);
        }
        refuse_splitting(fields)?;
        let reason = reason(status);
        out.put_slice(format!("HTTP/1.1 {status} {reason}\r\n").as_bytes());
        let says = says.filter(|_| !has_no_content(status));
        Ok(Self::after_head(out, fields, (framing, keep), says))
    }

    /// What frames the content stands where the fields have it, else behind them. `keep` is
    /// for a length that stands in the fields.
    fn after_head(
        out: &mut BytesMut,
        fields: &Pairs,
        (framing, keep): (Framing, bool),
        mut says: Option<Says>,
    ) -> Self {
        for (name, value) in fields {
            let length = name.eq_ignore_ascii_case(b"content-length") && !keep;
            if !length && !name.eq_ignore_ascii_case(b"transfer-encoding") {
                put_field(out, name, value);
                continue;
            }
            let here = says.take_if(|(says, _)| name.eq_ignore_ascii_case(says.as_bytes()));
            here.iter().for_each(|(name, value)| put_field(out, name.as_bytes(), value.as_bytes()));
        }
        says.iter().for_each(|(name, value)| put_field(out, name.as_bytes(), value.as_bytes()));
        let left = match framing {
            Framing::None => Left::Length(0),
            Framing::Length(length) => Left::Length(length),
            Framing::Chunked => Left::Chunks,
            Framing::Tunnel => Left::Anything,
            Framing::UntilClose => {
                if !says_close(fields) {
                    put_field(out, b"connection", b"close");
                }
                Left::Anything
            }
        };
        out.put_slice(b"\r\n");
        Self { left }
    }

    /// Writes content; none is no error and no chunk.
    pub fn data(&mut self, out: &mut BytesMut, bytes: &[u8]) -> Result<(), Unsendable> {
        match &mut self.left {
            Left::Nothing => return Err(Unsendable::Ended),
            _ if bytes.is_empty() => {}
            Left::Length(left) => {
                *left = left.checked_sub(bytes.len() as u64).ok_or(Unsendable::Length)?;
                out.put_slice(bytes);
            }
            Left::Chunks => {
                out.put_slice(format!("{:x}\r\n", bytes.len()).as_bytes());
                out.put_slice(bytes);
                out.put_slice(b"\r\n");
            }
            Left::Anything => out.put_slice(bytes),
        }
        Ok(())
    }

    /// Ends the message with trailers; only chunked content has a place for them, and other
    /// content ends without.
    pub fn trailers(&mut self, out: &mut BytesMut, fields: &Pairs) -> Result<(), Unsendable> {
        match self.left {
            Left::Nothing => return Err(Unsendable::Ended),
            Left::Length(1..) => return Err(Unsendable::Length),
            Left::Length(0) | Left::Anything => {}
            Left::Chunks => {
                refuse_splitting(fields)?;
                refuse_late(fields)?;
                out.put_slice(b"0\r\n");
                fields.iter().for_each(|(name, value)| put_field(out, name, value));
                out.put_slice(b"\r\n");
            }
        }
        self.left = Left::Nothing;
        Ok(())
    }

    /// Ends the message; every message is ended once, with or without content.
    pub fn end(&mut self, out: &mut BytesMut) -> Result<(), Unsendable> {
        self.trailers(out, &Pairs::new())
    }

    /// Whether the message has ended.
    pub fn is_done(&self) -> bool {
        self.left == Left::Nothing
    }
}

/// The field that frames content.
type Says = (&'static str, String);

fn said(framing: Framing) -> Option<Says> {
    match framing {
        Framing::Length(length) => Some(("content-length", length.to_string())),
        Framing::Chunked => Some(("transfer-encoding", "chunked".to_owned())),
        Framing::None | Framing::UntilClose | Framing::Tunnel => None,
    }
}

/// Envoy's words for a status.
fn reason(status: u16) -> &'static str {
    let known = http::StatusCode::from_u16(status).ok().and_then(|it| it.canonical_reason());
    match status {
        203 => "Non-Authoritative Information",
        418 | 451 => "Unknown",
        599 => "Last Unassigned Server Error Code",
        _ => known.unwrap_or("Unknown"),
    }
}

/// Refuses what would end a line early: response splitting and its kin.
fn refuse_splitting(fields: &Pairs) -> Result<(), Unsendable> {
    for (name, value) in fields {
        if name.is_empty() || !name.iter().all(|byte| is_token(*byte)) {
            return Err(Unsendable::Name);
        }
        if !value.iter().all(|byte| is_text(*byte)) {
            return Err(Unsendable::Value);
        }
    }
    Ok(())
}

fn refuse_late(fields: &Pairs) -> Result<(), Unsendable> {
    let late = |name: &[u8]| NEVER_LATE.iter().any(|never| name.eq_ignore_ascii_case(never));
    let clean = !fields.iter().any(|(name, _)| late(name));
    if clean { Ok(()) } else { Err(Unsendable::Trailer) }
}

fn put_field(out: &mut BytesMut, name: &[u8], value: &[u8]) {
    out.put_slice(&name.to_ascii_lowercase());
    out.put_slice(b": ");
    out.put_slice(value);
    out.put_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::tests::fields;

    const TE: (&str, &str) = ("Transfer-Encoding", "gzip");
    const CL: (&str, &str) = ("Content-Length", "9");

    fn text(out: &BytesMut) -> String {
        String::from_utf8_lossy(out).into_owned()
    }

    #[test]
    fn requests_carry_the_framing_that_is_meant() {
        let rows = [
            (Framing::None, "\r\n"),
            (Framing::Length(0), "content-length: 0\r\n\r\n"),
            (Framing::Length(2), "content-length: 2\r\n\r\n"),
            (Framing::Chunked, "transfer-encoding: chunked\r\n\r\n"),
        ];
        for (framing, want) in rows {
            let mut out = BytesMut::new();
            let given = fields(&[("Host", "a"), TE, CL]);
            Encoder::request(&mut out, b"PUT", b"/a?<b>", &given, framing).unwrap();
            assert_eq!(text(&out), format!("PUT /a?<b> HTTP/1.1\r\nhost: a\r\n{want}"));
        }
    }

    #[test]
    fn responses_carry_the_framing_that_is_meant() {
        let rows = [
            (200, Framing::None, "200 OK\r\ncontent-length: 9\r\n\r\n"),
            (200, Framing::Length(2), "200 OK\r\ncontent-length: 2\r\n\r\n"),
            (200, Framing::Chunked, "200 OK\r\ntransfer-encoding: chunked\r\n\r\n"),
            (200, Framing::UntilClose, "200 OK\r\nconnection: close\r\n\r\n"),
            (304, Framing::None, "304 Not Modified\r\ncontent-length: 9\r\n\r\n"),
            (204, Framing::None, "204 No Content\r\n\r\n"),
            (204, Framing::Length(0), "204 No Content\r\n\r\n"),
            (100, Framing::None, "100 Continue\r\n\r\n"),
            (
                599,
                Framing::Length(0),
                "599 Last Unassigned Server Error Code\r\ncontent-length: 0\r\n\r\n",
            ),
        ];
        for (status, framing, want) in rows {
            let mut out = BytesMut::new();
            Encoder::response(&mut out, status, &fields(&[CL, TE]), framing).unwrap();
            assert_eq!(text(&out), format!("HTTP/1.1 {want}"));
        }
    }

    #[test]
    fn what_follows_a_switch_is_written_as_it_stands() {
        let given = fields(&[("upgrade", "x"), CL]);
        let mut out = BytesMut::new();
        Encoder::request(&mut out, b"GET", b"/", &given, Framing::Tunnel).unwrap();
        assert_eq!(text(&out), "GET / HTTP/1.1\r\nupgrade: x\r\n\r\n");
        out.clear();
        let mut encoder = Encoder::response(&mut out, 101, &given, Framing::Tunnel).unwrap();
        assert_eq!(encoder.data(&mut out, b"raw"), Ok(()));
        let head = "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n";
        assert_eq!(text(&out), format!("{head}raw"));
        for status in [200, 204, 100] {
            let refused = Encoder::response(&mut out, status, &given, Framing::Tunnel).err();
            assert_eq!(refused, Some(Unsendable::Framing));
        }
    }

    #[test]
    fn closing_is_said_once() {
        let mut out = BytesMut::new();
        let given = fields(&[("connection", "Close")]);
        Encoder::response(&mut out, 200, &given, Framing::UntilClose).unwrap();
        assert_eq!(text(&out), "HTTP/1.1 200 OK\r\nconnection: Close\r\n\r\n");
    }

    #[test]
    fn what_would_split_a_message_is_not_written() {
        use Unsendable::{Framing as Frame, Method, Name, Status, Target, Value};
        let none = fields(&[]);
        let mut out = BytesMut::new();
        let mut request = |method: &str, target: &str, given: &Pairs, framing| {
            Encoder::request(&mut out, method.as_bytes(), target.as_bytes(), given, framing).err()
        };
        assert_eq!(request("", "/", &none, Framing::None), Some(Method));
        assert_eq!(request("GET /", "/", &none, Framing::None), Some(Method));
        assert_eq!(request("GET\r", "/", &none, Framing::None), Some(Method));
        assert_eq!(request("GET", "", &none, Framing::None), Some(Target));
        assert_eq!(request("GET", "/ HTTP/1.1", &none, Framing::None), Some(Target));
        assert_eq!(request("GET", "/\n", &none, Framing::None), Some(Target));
        assert_eq!(request("GET", "/\u{e9}", &none, Framing::None), Some(Target));
        assert_eq!(request("GET", "/", &none, Framing::UntilClose), Some(Frame));
        let mut response = |status, given: &[(&str, &str)], framing| {
            Encoder::response(&mut out, status, &fields(given), framing).err()
        };
        assert_eq!(response(99, &[], Framing::None), Some(Status));
        assert_eq!(response(1000, &[], Framing::None), Some(Status));
        for name in ["", ":status", "a b", "a:", "a\r\nb", "\u{e9}", "a\0"] {
            assert_eq!(response(200, &[(name, "")], Framing::None), Some(Name), "{name:?}");
        }
        for value in ["a\r\nb: c", "a\rb", "a\nb", "a\0", "\u{7f}", "\u{1}"] {
            assert_eq!(response(200, &[("a", value)], Framing::None), Some(Value), "{value:?}");
        }
        for framing in [Framing::Length(1), Framing::Chunked, Framing::UntilClose] {
            assert_eq!(response(204, &[], framing), Some(Frame));
            assert_eq!(response(304, &[], framing), Some(Frame));
        }
        assert_eq!(response(200, &[CL, CL], Framing::None), Some(Frame));
        assert!(out.is_empty());
    }

    #[test]
    fn content_is_as_long_as_declared() {
        let mut out = BytesMut::new();
        let none = Pairs::new();
        let mut encoder = Encoder::response(&mut out, 200, &none, Framing::Length(3)).unwrap();
        out.clear();
        assert_eq!(encoder.data(&mut out, b"abcd"), Err(Unsendable::Length));
        assert_eq!(encoder.data(&mut out, b"ab"), Ok(()));
        assert_eq!(encoder.data(&mut out, b"cd"), Err(Unsendable::Length));
        assert_eq!(encoder.end(&mut out), Err(Unsendable::Length));
        assert!(!encoder.is_done());
        assert_eq!(encoder.data(&mut out, b"c"), Ok(()));
        assert_eq!(encoder.trailers(&mut out, &fields(&[("x", "y")])), Ok(()));
        assert!(encoder.is_done());
        assert_eq!(encoder.data(&mut out, b""), Err(Unsendable::Ended));
        assert_eq!(encoder.end(&mut out), Err(Unsendable::Ended));
        assert_eq!(text(&out), "abc");
    }

    #[test]
    fn a_message_without_content_takes_none() {
        let mut out = BytesMut::new();
        let none = Pairs::new();
        let mut encoder = Encoder::request(&mut out, b"GET", b"/", &none, Framing::None).unwrap();
        assert_eq!(encoder.data(&mut out, b"a"), Err(Unsendable::Length));
        assert_eq!(encoder.end(&mut out), Ok(()));
        assert_eq!(text(&out), "GET / HTTP/1.1\r\n\r\n");
    }

    #[test]
    fn chunks_end_with_trailers_and_never_early() {
        let mut out = BytesMut::new();
        let none = Pairs::new();
        let mut encoder = Encoder::response(&mut out, 200, &none, Framing::Chunked).unwrap();
        out.clear();
        assert_eq!(encoder.data(&mut out, b"0123456789"), Ok(()));
        assert_eq!(encoder.data(&mut out, b""), Ok(()));
        let late = fields(&[("Content-Length", "1")]);
        assert_eq!(encoder.trailers(&mut out, &late), Err(Unsendable::Trailer));
        let split = fields(&[("x", "\r\n\r\n")]);
        assert_eq!(encoder.trailers(&mut out, &split), Err(Unsendable::Value));
        assert_eq!(encoder.trailers(&mut out, &fields(&[("X", "y")])), Ok(()));
        assert_eq!(text(&out), "a\r\n0123456789\r\n0\r\nx: y\r\n\r\n");
    }
}
