//! One attack: what is sent, what the upstream answers, and what must be seen.
//!
//! Owns the meaning of a case's keys, as `tests/conformance/attacks/README.md` describes them.
//! Unknown keys are errors.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

/// Field lines in order: a list of one-entry maps.
pub type FieldList = Vec<BTreeMap<String, String>>;

/// A case after its file's parts are put together.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// Row of the table of attacks.
    pub row: String,
    /// `ROW/name…`, the same in every run.
    pub name: String,
    /// What it tries.
    pub note: String,
    /// Features that the profile must name.
    #[serde(default)]
    pub needs: Vec<String>,
    /// Why it does not hold yet; it is run and counted apart.
    pub pending: Option<String>,
    /// The version that it is sent over.
    #[serde(default)]
    pub over: Over,
    /// What the caller sends.
    #[serde(default)]
    pub send: Send,
    /// What the upstream answers.
    #[serde(default)]
    pub answer: Answer,
    /// What must be seen.
    #[serde(default)]
    pub want: Want,
}

/// How a request is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Over {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2.
    Http2,
}

/// How a credential is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// By the field that names it.
    #[default]
    Header,
    /// Not by the runner: the case says it itself, or not at all.
    None,
}

/// A request.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Send {
    /// Whether the caller says who it is.
    pub caller: bool,
    /// Role of the credential that it uses.
    pub credential: String,
    /// How it is asked for.
    pub by: By,
    /// Method; by default the profile's for requests with or without content.
    pub method: Option<String>,
    /// `Host`.
    pub authority: String,
    /// Target.
    pub path: String,
    /// Media type of the content.
    pub r#type: Option<String>,
    /// Further field lines.
    pub fields: FieldList,
    /// Content with a length.
    pub body: Option<String>,
    /// Content in chunks or DATA frames.
    pub chunks: Option<Vec<String>>,
    /// `body` goes in pieces of this many bytes.
    #[serde(deserialize_with = "maybe_number")]
    pub split: Option<usize>,
    /// Trailer section.
    pub trailers: FieldList,
    /// Instead of all that: the bytes of an HTTP/1.1 connection, one write each.
    pub raw: Vec<String>,
    /// Instead of all that: frames of an HTTP/2 connection.
    pub frames: Vec<Frame>,
    /// Answers that may come to `raw`.
    pub answers: usize,
    /// Roles of credentials that good requests of the same caller use first.
    pub after: Vec<String>,
    /// The caller goes away after this many bytes of content.
    pub stop_after: Option<usize>,
}

impl Default for Send {
    fn default() -> Self {
        Self {
            caller: true,
            credential: "main".into(),
            by: By::default(),
            method: None,
            authority: "${authority}".into(),
            path: "${path}".into(),
            r#type: None,
            fields: Vec::new(),
            body: None,
            chunks: None,
            split: None,
            trailers: Vec::new(),
            raw: Vec::new(),
            frames: Vec::new(),
            answers: 1,
            after: Vec::new(),
            stop_after: None,
        }
    }
}

impl Send {
    /// Whether content or trailers follow the head.
    pub fn has_content(&self) -> bool {
        self.body.is_some() || self.chunks.is_some() || !self.trailers.is_empty()
    }
}

/// One frame of HTTP/2, or bytes as they stand.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Frame {
    /// HEADERS with `END_HEADERS`: fields in order, pseudo-fields among them.
    Headers(FieldList),
    /// HEADERS with `END_STREAM` as well.
    Last(FieldList),
    /// DATA.
    Data(String),
    /// DATA with `END_STREAM`.
    End(String),
}

/// An answer.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Answer {
    /// Status.
    #[serde(deserialize_with = "number")]
    pub status: u16,
    /// Reason phrase.
    pub reason: String,
    /// Field lines.
    pub fields: FieldList,
    /// Content with a length.
    pub body: Option<String>,
    /// Content in chunks, written one by one.
    pub chunks: Option<Vec<String>>,
    /// `body` goes in chunks of this many bytes.
    #[serde(deserialize_with = "maybe_number")]
    pub split: Option<usize>,
    /// Trailer section.
    pub trailers: FieldList,
    /// Interim answers in front of it.
    pub interim: Vec<Interim>,
    /// How the content ends.
    pub framing: Option<Framing>,
    /// Instead of all that: bytes, after which the connection closes.
    pub raw: Option<String>,
    /// Behind the content, this text again and again until the gateway closes.
    pub endless: Option<String>,
}

impl Default for Answer {
    fn default() -> Self {
        Self {
            status: 200,
            reason: "OK".into(),
            fields: Vec::new(),
            body: None,
            chunks: None,
            split: None,
            trailers: Vec::new(),
            interim: Vec::new(),
            framing: None,
            raw: None,
            endless: None,
        }
    }
}

/// An interim answer (1xx).
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Interim {
    /// Status.
    pub status: u16,
    /// Field lines.
    #[serde(default)]
    pub fields: FieldList,
}

/// How content of an answer is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Framing {
    /// `content-length`.
    Length,
    /// Chunks.
    Chunked,
    /// Until the connection closes.
    Close,
    /// No content.
    None,
}

/// What must be seen.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Want {
    /// Refused, with nothing at the upstream, in the way of this class of the profile.
    pub refused: Option<String>,
    /// With `refused`: the head may have left before content is seen, without the content.
    pub head_may_leave: bool,
    /// Reaches the upstream exactly once, like this; the default, with nothing to be said.
    pub reaches: Reaches,
    /// Settled by the gateway's codec: refused, or these requests and no other reach the
    /// upstream, each `METHOD target content`.
    pub codec: Option<Vec<String>>,
    /// The answer is withheld: a 502 of the gateway, or cut where its head has left.
    pub withheld: bool,
    /// The request may be refused as well, when it does not arrive as wanted.
    pub may_refuse: bool,
    /// Whether the upstream gets the credential; by default when the runner asks for it.
    pub injected: Option<bool>,
    /// Status of the answer.
    #[serde(deserialize_with = "maybe_number")]
    pub status: Option<u16>,
    /// Fields of the answer; null means absent.
    pub fields: BTreeMap<String, Option<String>>,
    /// Whole content of the answer.
    pub body: Option<String>,
    /// What the content begins with, when it has no end.
    pub begins: Option<String>,
    /// Trailers of the answer; null means absent.
    pub trailers: BTreeMap<String, Option<String>>,
    /// Statuses of interim answers that reach the caller.
    pub interim: Option<Vec<u16>>,
    /// Texts that the answer must not have.
    pub lacks: Vec<String>,
    /// The answer is cut.
    pub cut: bool,
}

/// A request as the upstream must get it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Reaches {
    /// Method.
    pub method: Option<String>,
    /// Target.
    pub path: Option<String>,
    /// `Host`.
    pub authority: Option<String>,
    /// Fields; null means absent.
    pub fields: BTreeMap<String, Option<String>>,
    /// Content.
    pub body: Option<String>,
    /// Trailers; null means absent.
    pub trailers: BTreeMap<String, Option<String>>,
    /// Texts that the request must not have.
    pub lacks: Vec<String>,
}

/// A number, or the text of one, which a variable has put in.
#[derive(Deserialize)]
#[serde(untagged)]
enum Number<T> {
    Number(T),
    Text(String),
}

fn number<'de, D: Deserializer<'de>, T>(from: D) -> Result<T, D::Error>
where
    T: Deserialize<'de> + std::str::FromStr,
{
    match Number::deserialize(from)? {
        Number::Number(number) => Ok(number),
        Number::Text(text) => {
            text.parse().map_err(|_| serde::de::Error::custom(format!("{text:?} is no number")))
        }
    }
}

fn maybe_number<'de, D: Deserializer<'de>, T>(from: D) -> Result<Option<T>, D::Error>
where
    T: Deserialize<'de> + std::str::FromStr,
{
    number(from).map(Some)
}
