//! The lines of a recording.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;

use crate::view::{CallAnswer, Direction, Level, LocalReply, Pairs};

/// Of the format.
pub const VERSION: u32 = 1;

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// [`VERSION`].
    pub postern_recording: u32,
    /// Nanoseconds since 1970.
    pub started: u64,
    /// What randomness is derived from, in hexadecimal digits.
    pub seed: String,
    /// Id of the gateway (`xds.node.id`).
    pub node: String,
    /// Least level of lines that modules log, as in the ABI.
    pub log_level: u8,
    /// Whether values that look like credentials are there.
    pub values: bool,
    /// The gateway's file.
    pub bootstrap: String,
    /// SHA-256 of each module by its name in that file, in hexadecimal digits.
    pub modules: BTreeMap<String, String>,
}

impl Header {
    /// Least level of lines.
    pub(crate) fn level(&self) -> Level {
        match self.log_level {
            0 => Level::Trace,
            1 => Level::Debug,
            2 => Level::Info,
            3 => Level::Warn,
            4 => Level::Error,
            _ => Level::Critical,
        }
    }

    pub(super) fn seed_bytes(&self) -> Option<Vec<u8>> {
        let digits = self.seed.as_bytes().chunks(2);
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
        digits.map(byte).collect()
    }
}

/// Bytes: a string where they are UTF-8, else `{"base64": "…"}`.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Bytes(pub Vec<u8>);

impl std::fmt::Debug for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(&self.0) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => {
                Written::Raw { base64: BASE64_STANDARD.encode(&self.0) }.serialize(serializer)
            }
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    Text(String),
    Raw { base64: String },
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Written::deserialize(deserializer)? {
            Written::Text(text) => Ok(Self(text.into_bytes())),
            Written::Raw { base64 } => {
                BASE64_STANDARD.decode(base64).map(Self).map_err(serde::de::Error::custom)
            }
        }
    }
}

/// Names and values in their order.
pub type Fields = Vec<(Bytes, Bytes)>;

/// Pairs as they are written.
pub fn fields<'a>(pairs: impl IntoIterator<Item = (&'a Vec<u8>, &'a Vec<u8>)>) -> Fields {
    pairs.into_iter().map(|(name, value)| (Bytes(name.clone()), Bytes(value.clone()))).collect()
}

/// And back.
pub(crate) fn pairs(fields: &Fields) -> Pairs {
    fields.iter().map(|(name, value)| (name.0.clone(), value.0.clone())).collect()
}

/// Of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// To the upstream.
    Request,
    /// To the caller.
    Response,
}

impl From<Direction> for Way {
    fn from(direction: Direction) -> Self {
        match direction {
            Direction::Request => Self::Request,
            Direction::Response => Self::Response,
        }
    }
}

/// A reply of the proxy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// Status code.
    pub status: u32,
    /// What `%RESPONSE_CODE_DETAILS%` shows.
    pub details: Bytes,
    /// Content.
    pub body: Bytes,
    /// Fields beside those that the proxy sets.
    pub headers: Fields,
}

impl Reply {
    pub(crate) fn of(reply: &LocalReply) -> Self {
        Self {
            status: reply.status,
            details: Bytes(reply.details.clone()),
            body: Bytes(reply.body.clone()),
            headers: fields(reply.headers.iter().map(|(name, value)| (name, value))),
        }
    }

    pub(crate) fn reply(&self) -> LocalReply {
        LocalReply {
            status: self.status,
            details: self.details.0.clone(),
            body: self.body.0.clone(),
            headers: pairs(&self.headers),
            grpc_status: -1,
        }
    }
}

/// What was given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the fields are named for what they hold")]
pub enum In {
    /// The machines start and are configured.
    Start,
    /// A stream begins at the listener of this number.
    Open { listener: usize, head: Fields, connection: Fields },
    /// Its filters see the fields of the request.
    RequestHeaders { end: bool },
    /// Content of the request.
    RequestBody { bytes: Bytes, end: bool },
    /// Trailers of the request.
    RequestTrailers { fields: Fields },
    /// Fields of the upstream's answer, and the milliseconds that it took.
    ResponseHeaders {
        fields: Fields,
        end: bool,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        took: Option<u64>,
    },
    /// Its content.
    ResponseBody { bytes: Bytes, end: bool },
    /// Its trailers.
    ResponseTrailers { fields: Fields },
    /// The router has no answer.
    Fail(Reply),
    /// A timer has run out, or the request is refused.
    Expire(Reply),
    /// The caller has gone.
    Abandon,
    /// A call-out is answered.
    Called { call: u64, headers: Fields, body: Bytes, trailers: Fields },
    /// A root ticks.
    Tick { machine: usize, root: u32 },
    /// The stream has ended.
    Finish,
    /// A machine ends.
    Close { machine: usize },
}

impl In {
    pub(crate) fn called(call: u64, answer: &CallAnswer) -> Self {
        let both = |pairs: &Pairs| fields(pairs.iter().map(|(name, value)| (name, value)));
        Self::Called {
            call,
            headers: both(&answer.headers),
            body: Bytes(answer.body.clone()),
            trailers: both(&answer.trailers),
        }
    }
}

/// What left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the fields are named for what they hold")]
pub enum Out {
    /// Fields.
    Headers { way: Way, fields: Fields, end: bool },
    /// Content.
    Body { way: Way, bytes: Bytes, end: bool },
    /// Trailers.
    Trailers { way: Way, fields: Fields },
    /// The upstream is not needed any more.
    Cancel,
    /// Both sides are cut.
    Reset,
    /// A call-out, the first of its stream being 1.
    Call {
        call: u64,
        cluster: Bytes,
        headers: Fields,
        body: Bytes,
        trailers: Fields,
        timeout_ms: u64,
        /// Number of the status with which it was refused.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        refused: Option<u32>,
    },
    /// A line of the log.
    Log { level: u8, text: String },
    /// Filter state.
    State { entries: Fields },
}

/// One or the other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// What was given.
    In(In),
    /// What left.
    Out(Out),
}

/// Any line but the first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Number of the event; what leaves because of it has the same.
    pub n: u64,
    /// Nanoseconds since the start.
    pub at: u64,
    /// Number of the stream; none for a root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<u64>,
    /// Properties of the stream, where they have changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub facts: Option<Fields>,
    /// `response.code_details`, where it has changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Bytes>,
    /// What happened.
    #[serde(flatten)]
    pub what: What,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_reads_back_as_it_was_and_bytes_that_are_no_text_too() {
        let both = vec![(Bytes(b"x".to_vec()), Bytes(b"\xff\x00".to_vec()))];
        let call = Out::Call {
            call: 1,
            cluster: Bytes(b"auth".to_vec()),
            headers: both.clone(),
            body: Bytes::default(),
            trailers: Vec::new(),
            timeout_ms: 5,
            refused: Some(10),
        };
        let open = In::Open { listener: 0, head: both.clone(), connection: Vec::new() };
        for what in [
            What::In(open),
            What::In(In::Abandon),
            What::In(In::RequestBody { bytes: Bytes(b"a".to_vec()), end: true }),
            What::Out(call),
            What::Out(Out::Reset),
        ] {
            let facts = Some(both.clone());
            let line = Line { n: u64::MAX, at: 1, stream: Some(2), facts, details: None, what };
            let text = serde_json::to_string(&line).unwrap();
            assert_eq!(serde_json::from_str::<Line>(&text).unwrap(), line, "{text}");
        }
    }
}
