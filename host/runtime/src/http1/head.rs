//! Heads of requests and responses: the first line and the fields.
//!
//! The grammar of lines is that of `httparse`; around it stands what a gateway needs and the
//! parser leaves open: strict line ends, control bytes, limits, known methods.
//!
//! Invariant: the answer depends on the bytes only, not on how they were cut into reads.
//! A head is refused at the first byte that no request or response starts with, and else
//! when its empty line has come.

use bytes::{Buf, BytesMut};

use super::octet::is_target;
use super::section::{Section, pairs, refuse_controls, room};
use super::{Limits, Malformed};
use crate::view::Pairs;

/// The methods that Envoy 1.40 knows; it refuses all others, and so do we.
const METHODS: &str = "ACL BIND CHECKOUT CONNECT COPY DELETE GET HEAD LINK LOCK MERGE MKACTIVITY \
    MKCALENDAR MKCOL MOVE MSEARCH NOTIFY OPTIONS PATCH POST PROPFIND PROPPATCH PURGE PUT QUERY \
    REBIND REPORT SEARCH SOURCE SUBSCRIBE TRACE UNBIND UNLINK UNLOCK UNSUBSCRIBE";

/// A version of HTTP that has this grammar (RFC 9112, 2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0: no chunks, and one request a connection unless asked.
    Http10,
    /// HTTP/1.1.
    Http11,
}

/// A request without its content (RFC 9112, 3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHead {
    /// As sent; one that Envoy knows.
    pub method: Vec<u8>,
    /// As sent, visible ASCII; [`super::request_target`] reads it.
    pub target: Vec<u8>,
    /// The server answers [`Malformed::Version`] if it does not take HTTP/1.0.
    pub version: Version,
    /// In order, without white space around the values.
    pub fields: Pairs,
}

/// A response without its content (RFC 9112, 4); the reason phrase says nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseHead {
    /// 100 to 999 (RFC 9110, 15).
    pub status: u16,
    /// What the upstream speaks.
    pub version: Version,
    /// In order, without white space around the values.
    pub fields: Pairs,
}

/// Takes a whole head of a request off the buffer; `None`: more bytes are needed.
///
/// Empty lines before it are dropped as they come (RFC 9112, 2.2), in any number, as Envoy
/// does: they hold no memory, and the timers of the connection run on. A call costs one look
/// at the bytes that are there, which the limit bounds.
pub fn request_head(
    buffer: &mut BytesMut,
    limits: &Limits,
) -> Result<Option<RequestHead>, Malformed> {
    while buffer.starts_with(b"\r\n") {
        buffer.advance(2);
    }
    if buffer.is_empty() || **buffer == *b"\r" {
        return Ok(None);
    }
    if matches!(buffer.first(), Some(b'\r' | b'\n')) {
        return Err(Malformed::LineEnd);
    }
    if !starts_with_method(buffer) {
        return Err(Malformed::Syntax);
    }
    let mut section = Section::default();
    let Some(end) = section.end(buffer, limits.max_head)? else { return Ok(None) };
    parse_request(&buffer.split_to(end), section.lines(), limits).map(Some)
}

/// Takes a whole head of a response off the buffer; `None`: more bytes are needed.
///
/// Nothing may stand before it: a response that starts with an empty line was delimited
/// wrongly by somebody.
pub fn response_head(
    buffer: &mut BytesMut,
    limits: &Limits,
) -> Result<Option<ResponseHead>, Malformed> {
    const START: &[u8] = b"HTTP/1.";
    let known = buffer.len().min(START.len());
    if buffer[..known] != START[..known] {
        return Err(Malformed::Syntax);
    }
    let mut section = Section::default();
    let Some(end) = section.end(buffer, limits.max_head)? else { return Ok(None) };
    parse_response(&buffer.split_to(end), section.lines(), limits).map(Some)
}

/// Refuses names with `_` (`headers_with_underscores_action: REJECT_REQUEST`); a server that
/// is told to asks this of a request's fields and of its trailers.
pub fn refuse_underscores(fields: &Pairs) -> Result<(), Malformed> {
    let clean = !fields.iter().any(|(name, _)| name.contains(&b'_'));
    if clean { Ok(()) } else { Err(Malformed::Underscore) }
}

/// Whether the bytes so far are the start of a request.
fn starts_with_method(bytes: &[u8]) -> bool {
    let mut words = bytes.splitn(2, |byte| *byte == b' ');
    let word = words.next().unwrap_or_default();
    let whole = words.next().is_some();
    METHODS
        .split(' ')
        .map(str::as_bytes)
        .any(|method| if whole { method == word } else { method.starts_with(word) })
}

fn parse_request(head: &[u8], lines: usize, limits: &Limits) -> Result<RequestHead, Malformed> {
    refuse_controls(head)?;
    refuse_version(head)?;
    let mut room = room(lines - 1, limits)?;
    let mut request = httparse::Request::new(&mut room);
    if request.parse(head) != Ok(httparse::Status::Complete(head.len())) {
        return Err(Malformed::Syntax);
    }
    let method = request.method.unwrap_or_default().as_bytes().to_vec();
    let target = request.path.unwrap_or_default().as_bytes().to_vec();
    if !target.iter().all(|byte| is_target(*byte)) {
        return Err(Malformed::Syntax);
    }
    let head = RequestHead {
        method,
        target,
        version: version(request.version),
        fields: pairs(request.headers),
    };
    let hosts = head.fields.iter().filter(|(name, _)| name == b"host").count();
    if hosts > 1 { Err(Malformed::Host) } else { Ok(head) }
}

fn parse_response(head: &[u8], lines: usize, limits: &Limits) -> Result<ResponseHead, Malformed> {
    refuse_controls(head)?;
    let mut room = room(lines - 1, limits)?;
    let mut response = httparse::Response::new(&mut room);
    if response.parse(head) != Ok(httparse::Status::Complete(head.len())) {
        return Err(Malformed::Syntax);
    }
    let status = response.code.filter(|status| *status >= 100).ok_or(Malformed::Syntax)?;
    let version = version(response.version);
    Ok(ResponseHead { status, version, fields: pairs(response.headers) })
}

fn version(minor: Option<u8>) -> Version {
    if minor == Some(0) { Version::Http10 } else { Version::Http11 }
}

/// Tells another version from garbage: `HTTP/` and two digits, or none at all (HTTP/0.9).
fn refuse_version(head: &[u8]) -> Result<(), Malformed> {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    match words[..] {
        [_, [b'/', ..]] => Err(Malformed::Version),
        [_, _, [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]]
            if major.is_ascii_digit()
                && minor.is_ascii_digit()
                && (*major != b'1' || *minor > b'1') =>
        {
            Err(Malformed::Version)
        }
        _ => Ok(()),
    }
}
