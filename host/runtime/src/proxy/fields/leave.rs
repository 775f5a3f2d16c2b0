//! From what the filters have left to the wire's fields, each way.

use super::connection::keep_trailers;
use super::{HOP, HOP_OF_UPGRADE, Scheme, is, line, remove, set, value};
use crate::http1::is_authority;
use crate::proxy::chain::own;
use crate::view::{Direction, LocalReply, Pairs};

/// What `server` says, in place of `envoy`.
pub const SERVER: &str = "postern";

/// Methods whose requests have no content unless they say so (RFC 9110, 8.6).
const WITHOUT_CONTENT: &[&str] = &["GET", "HEAD", "DELETE", "CONNECT", "TRACE"];

/// How the content of a message is framed; its fields say the same (RFC 9112, 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// There is none.
    None,
    /// So many octets, neither more nor less.
    Length(u64),
    /// In chunks.
    Chunked,
    /// Another protocol follows, to the end of the connection.
    Tunnel,
}

/// A request for the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHead {
    /// Method.
    pub method: Vec<u8>,
    /// Target in origin form.
    pub target: Vec<u8>,
    /// Field lines, `host` first.
    pub fields: Pairs,
    /// Framing.
    pub content: Content,
    /// `:scheme`, which HTTP/2 says (RFC 9113, 8.3.1).
    pub scheme: Scheme,
    /// Whether the length is one that filters have left, and not one that only HTTP/1.1 needs.
    pub told_length: bool,
}

/// A response for the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseHead {
    /// Status code.
    pub status: u16,
    /// Field lines.
    pub fields: Pairs,
    /// Framing.
    pub content: Content,
}

/// What of a response the filters do not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leaving<'a> {
    /// `date`, unless the upstream has told one.
    pub date: &'a str,
    /// The connection ends after this response.
    pub close: bool,
    /// Neither content nor trailers follow.
    pub end: bool,
    /// The request's method is `HEAD`.
    pub head: bool,
    /// The caller speaks HTTP/2, whose frames say where content ends.
    pub http2: bool,
    /// The caller has asked for another protocol.
    pub upgrade: bool,
}

/// Filters have left what cannot be sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// A pseudo field is not there, or more than once.
    #[error("missing required header: {0}")]
    Missing(&'static str),
    /// Not a field name (RFC 9110, 5.1).
    #[error("invalid header name: {}", .0.escape_default())]
    Name(String),
    /// A value that would end its line, or not one of this field.
    #[error("invalid header value for: {0}")]
    Value(String),
}

impl Unfit {
    /// What the caller gets instead. A request's flag is `DPE`, a response has none.
    pub fn reply(&self, direction: Direction) -> LocalReply {
        let (status, what) = match direction {
            Direction::Request => (503, "request"),
            Direction::Response => (502, "response"),
        };
        let reason = self.to_string();
        let details = format!(
            "filter_removed_required_{what}_headers{{{}}}",
            reason.replace(char::is_whitespace, "_")
        );
        own(status, &details, &reason)
    }
}

/// The request as it leaves for the upstream; `end` if neither content nor trailers follow.
pub fn request_leaves(pairs: &Pairs, end: bool) -> Result<RequestHead, Unfit> {
    leaves(pairs, end, HOP)
}

/// The same for a request after which another protocol follows.
pub fn upgrade_leaves(pairs: &Pairs) -> Result<RequestHead, Unfit> {
    let mut head = leaves(pairs, false, HOP_OF_UPGRADE)?;
    remove(&mut head.fields, &["content-length", "transfer-encoding"]);
    head.content = Content::Tunnel;
    Ok(head)
}

fn leaves(pairs: &Pairs, end: bool, hop: &[&str]) -> Result<RequestHead, Unfit> {
    let method = only(pairs, ":method", |method| !method.is_empty() && is_token(method))?;
    let target = only(pairs, ":path", is_target)?;
    let authority = only(pairs, ":authority", is_authority)?;
    let mut fields = checked(pairs)?;
    remove(&mut fields, hop);
    remove(&mut fields, &["host"]);
    keep_trailers(&mut fields);
    // What waits for an answer was answered when the request came.
    fields.retain(|(name, value)| !(is(name, "expect") && is(value, "100-continue")));
    fields.insert(0, line("host", authority));
    let silent = WITHOUT_CONTENT.iter().any(|name| name.as_bytes() == method);
    let (content, told_length) = framed(&mut fields, end, silent);
    let (method, target) = (method.to_vec(), target.to_vec());
    let scheme = value(pairs, ":scheme").and_then(Scheme::parse).unwrap_or(Scheme::Http);
    Ok(RequestHead { method, target, fields, content, scheme, told_length })
}

/// The response as it leaves for the caller.
pub fn response_leaves(pairs: &Pairs, leaving: &Leaving<'_>) -> Result<ResponseHead, Unfit> {
    let status = only(pairs, ":status", |_| true)?;
    let status = std::str::from_utf8(status).ok().and_then(|status| status.parse().ok());
    let status: u16 = status.ok_or(Unfit::Missing(":status"))?;
    let switches = leaving.upgrade && status == 101;
    if !switches && !(200..=999).contains(&status) {
        return Err(Unfit::Value(":status".to_owned()));
    }
    let mut fields = checked(pairs)?;
    remove(&mut fields, if switches { HOP_OF_UPGRADE } else { HOP });
    if value(&fields, "date").is_none() {
        fields.push(line("date", leaving.date));
    }
    set(&mut fields, "server", SERVER);
    if leaving.close && !leaving.http2 && !switches {
        fields.push(line("connection", "close"));
    }
    let (content, told_length) = match status {
        101 => {
            remove(&mut fields, &["content-length"]);
            (Content::Tunnel, false)
        }
        204 => {
            remove(&mut fields, &["content-length"]);
            (Content::None, false)
        }
        304 => (Content::None, true),
        _ if leaving.head => {
            // What GET would say; Envoy takes an unknown length for chunks.
            let (_, told_length) = framed(&mut fields, false, false);
            (Content::None, told_length)
        }
        _ => framed(&mut fields, leaving.end, false),
    };
    if leaving.http2 {
        unframe(&mut fields, told_length);
    }
    Ok(ResponseHead { status, fields, content })
}

/// Trailers as they leave, either way: without what frames or routes a message
/// (RFC 9110, 6.5.1), and without lines that cannot be sent.
pub fn trailers_leave(pairs: &Pairs) -> Pairs {
    let forbidden = ["content-length", "host", "te", "trailer", "expect"];
    let mut trailers = pairs.clone();
    remove(&mut trailers, HOP);
    remove(&mut trailers, &forbidden);
    trailers.retain(|(name, value)| is_token(name) && is_value(value));
    trailers
}

/// Makes the fields say how the content is framed, and tells whether they had told its
/// length. `silent` if the end needs no word.
fn framed(fields: &mut Pairs, end: bool, silent: bool) -> (Content, bool) {
    match (length(fields), end) {
        (Some(length), false) => return (Content::Length(length), true),
        (Some(0), true) => return (Content::None, true),
        _ => remove(fields, &["content-length"]),
    }
    let content = match (end, silent) {
        (true, true) => Content::None,
        (true, false) => {
            fields.push(line("content-length", "0"));
            Content::None
        }
        (false, _) => {
            fields.push(line("transfer-encoding", "chunked"));
            Content::Chunked
        }
    };
    (content, false)
}

/// Takes back what only HTTP/1.1 needs to say (RFC 9113, 8.2.2).
fn unframe(fields: &mut Pairs, told_length: bool) {
    remove(fields, &["transfer-encoding"]);
    if !told_length {
        remove(fields, &["content-length"]);
    }
}

/// The one length that the fields tell.
fn length(fields: &Pairs) -> Option<u64> {
    let mut lines = fields.iter().filter(|(name, _)| is(name, "content-length"));
    let (Some((_, length)), None) = (lines.next(), lines.next()) else { return None };
    let digits = length.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(length).ok().filter(|_| digits)?.parse().ok()
}

/// The value of a pseudo field that stands there once.
fn only<'a>(
    pairs: &'a Pairs,
    name: &'static str,
    fits: impl Fn(&[u8]) -> bool,
) -> Result<&'a [u8], Unfit> {
    let mut lines = pairs.iter().filter(|(have, _)| is(have, name));
    let (_, value) = lines.next().ok_or(Unfit::Missing(name))?;
    if lines.next().is_some() || !fits(value) {
        return Err(Unfit::Value(name.to_owned()));
    }
    Ok(value)
}

/// All fields but the pseudo ones, each of them fit for a line.
fn checked(pairs: &Pairs) -> Result<Pairs, Unfit> {
    let fields = pairs.iter().filter(|(name, _)| !name.starts_with(b":"));
    let text = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
    let check = |(name, value): &(Vec<u8>, Vec<u8>)| {
        if !is_token(name) {
            return Err(Unfit::Name(text(name)));
        }
        if !is_value(value) {
            return Err(Unfit::Value(text(name)));
        }
        Ok((name.clone(), value.clone()))
    };
    fields.map(check).collect()
}

/// RFC 9110, 5.6.2.
fn is_token(name: &[u8]) -> bool {
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !name.is_empty() && name.iter().all(allowed)
}

/// RFC 9110, 5.5.
fn is_value(value: &[u8]) -> bool {
    value.iter().all(|byte| *byte == b'\t' || !byte.is_ascii_control())
}

fn is_target(target: &[u8]) -> bool {
    target.first() == Some(&b'/') && target.iter().all(u8::is_ascii_graphic)
}
