//! The hostile caller: a connection of its own for each case, and what comes back on it.
//!
//! Owns sockets towards the gateway. Invariant: everything ends by a deadline, and an answer
//! that does not come is an observation, not an error.

mod frames;
mod http1;
mod http2;
mod target;

use std::time::Duration;

use postern_rig::client::Content;
use postern_rig::message::{Line, Message};

pub use target::{Target, TargetError};

use crate::case::{Case, Frame, Over};
use crate::template::{Error, Scope};
use crate::upstream::field_lines;

/// How long an answer may take.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// A case in bytes, ready to be sent.
#[derive(Clone, Debug)]
pub enum Order {
    /// A request over HTTP/1.1.
    Http1(Request),
    /// The same over HTTP/2.
    Http2(Request),
    /// Bytes of a connection, and how many answers may come.
    Raw(Vec<Vec<u8>>, usize),
    /// Frames of a connection.
    Frames(Vec<RawFrame>),
}

/// One request.
#[derive(Clone, Debug)]
pub struct Request {
    /// Method.
    pub method: String,
    /// `Host` or `:authority`.
    pub authority: Vec<u8>,
    /// Target.
    pub target: Vec<u8>,
    /// Fields in order.
    pub fields: Vec<Line>,
    /// Content.
    pub content: Content,
    /// The caller goes away after this much of the answer's content.
    pub stop_after: Option<usize>,
}

/// A frame whose values are put in.
#[derive(Clone, Debug)]
pub enum RawFrame {
    /// HEADERS, and whether the stream ends with it.
    Headers(Vec<Line>, bool),
    /// DATA, and the same.
    Data(Vec<u8>, bool),
}

/// What came back.
#[derive(Clone, Debug, Default)]
pub struct Came {
    /// Statuses of interim answers.
    pub interim: Vec<u16>,
    /// Final answers; none when the connection or the stream ended instead.
    pub answers: Vec<Message>,
    /// What went wrong on the way.
    pub trouble: Option<String>,
}

impl Order {
    /// Puts the values into a case.
    pub fn of(case: &Case, scope: Scope<'_>) -> Result<Self, Error> {
        let send = &case.send;
        if !send.raw.is_empty() {
            let raw = send.raw.iter().map(|text| scope.expand(text)).collect::<Result<_, _>>()?;
            return Ok(Self::Raw(raw, send.answers));
        }
        if !send.frames.is_empty() {
            let frames = send.frames.iter().map(|frame| RawFrame::of(frame, scope));
            return Ok(Self::Frames(frames.collect::<Result<_, _>>()?));
        }
        let request = Request::of(case, scope)?;
        Ok(match case.over {
            Over::Http1 => Self::Http1(request),
            Over::Http2 => Self::Http2(request),
        })
    }

    /// Sends it and waits for what comes.
    pub fn send(&self, target: &Target, h2: &tokio::runtime::Runtime) -> Came {
        let came = match self {
            Self::Http1(request) => http1::ask(target, request),
            Self::Http2(request) => h2.block_on(http2::ask(target, request)),
            Self::Raw(pieces, answers) => http1::raw(target, pieces, *answers),
            Self::Frames(list) => frames::exchange(target, list),
        };
        came.unwrap_or_else(|error| Came { trouble: Some(error.to_string()), ..Came::default() })
    }
}

impl RawFrame {
    fn of(frame: &Frame, scope: Scope<'_>) -> Result<Self, Error> {
        Ok(match frame {
            Frame::Headers(fields) => Self::Headers(field_lines(fields, scope)?, false),
            Frame::Last(fields) => Self::Headers(field_lines(fields, scope)?, true),
            Frame::Data(text) => Self::Data(scope.expand(text)?, false),
            Frame::End(text) => Self::Data(scope.expand(text)?, true),
        })
    }
}

impl Request {
    fn of(case: &Case, scope: Scope<'_>) -> Result<Self, Error> {
        let (send, profile) = (&case.send, scope.profile);
        let mut fields = Vec::new();
        let mut line = |name: &str, value: &str| {
            fields.push((name.as_bytes().to_vec(), value.as_bytes().to_vec()));
        };
        if send.caller {
            let (name, value) = profile.caller_field()?;
            line(&name, &value);
        }
        if send.by == crate::case::By::Header {
            let header = profile.credential_header.as_ref();
            let header = header.ok_or_else(|| Error::Absent("credential_header".into()))?;
            line(header, &scope.credential("")?.name);
        }
        if let Some(kind) = &send.r#type {
            line("content-type", kind);
        }
        fields.extend(field_lines(&send.fields, scope)?);
        let by_content = if send.has_content() { &profile.write } else { &profile.read };
        Ok(Self {
            method: send.method.clone().unwrap_or_else(|| by_content.clone()),
            authority: scope.expand(&send.authority)?,
            target: scope.expand(&send.path)?,
            fields,
            content: content(case, scope)?,
            stop_after: send.stop_after,
        })
    }
}

fn content(case: &Case, scope: Scope<'_>) -> Result<Content, Error> {
    let send = &case.send;
    let trailers = field_lines(&send.trailers, scope)?;
    let whole = send.body.as_ref().map(|body| scope.expand(body)).transpose()?;
    let chunks = match (&send.chunks, whole, send.split) {
        (Some(chunks), ..) => {
            chunks.iter().map(|text| scope.expand(text)).collect::<Result<_, _>>()?
        }
        (None, Some(body), Some(size)) => body.chunks(size.max(1)).map(<[u8]>::to_vec).collect(),
        (None, Some(body), None) if trailers.is_empty() => return Ok(Content::Sized(body)),
        (None, Some(body), None) => vec![body],
        (None, None, _) if trailers.is_empty() => return Ok(Content::None),
        (None, None, _) => Vec::new(),
    };
    Ok(Content::Chunked(chunks, trailers))
}
