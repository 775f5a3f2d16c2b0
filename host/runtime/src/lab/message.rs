//! What goes into a lab and what comes out: requests, responses, and messages that left.
//!
//! Knows no machine. Invariant: bytes are kept as they are; whatever shows them as text says
//! that it may lose some.

use crate::view::Pairs;

/// A caller's request, to be sent with [`Lab::send`](super::Lab::send) or begun with
/// [`Lab::open`](super::Lab::open). Its host is `lab.test` unless it says otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub(super) method: Vec<u8>,
    pub(super) target: Vec<u8>,
    pub(super) fields: Pairs,
    pub(super) content: Vec<u8>,
    pub(super) trailers: Pairs,
    pub(super) listener: Option<String>,
    pub(super) properties: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Request {
    /// A request of this method for this target, such as `/a?b=c`.
    pub fn new(method: &str, target: &str) -> Self {
        Self {
            method: method.into(),
            target: target.into(),
            fields: vec![(b"host".to_vec(), b"lab.test".to_vec())],
            content: Vec::new(),
            trailers: Vec::new(),
            listener: None,
            properties: Vec::new(),
        }
    }

    /// `GET`.
    pub fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    /// `POST` with this content.
    pub fn post(target: &str, content: impl Into<Vec<u8>>) -> Self {
        Self::new("POST", target).content(content)
    }

    /// Replaces the host.
    pub fn host(mut self, host: &str) -> Self {
        self.fields.retain(|(name, _)| name != b"host");
        self.field("host", host)
    }

    /// Adds a field line.
    pub fn field(mut self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        self.fields.push((name.as_bytes().to_vec(), value.into()));
        self
    }

    /// Sets the content.
    pub fn content(mut self, content: impl Into<Vec<u8>>) -> Self {
        self.content = content.into();
        self
    }

    /// Adds a trailer.
    pub fn trailer(mut self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        self.trailers.push((name.as_bytes().to_vec(), value.into()));
        self
    }

    /// Sends it to the listener of this name instead of the first.
    pub fn listener(mut self, name: &str) -> Self {
        self.listener = Some(name.to_owned());
        self
    }

    /// A property of its connection, such as `["connection", "subject_peer_certificate"]`:
    /// a lab has no handshake that would tell. Numbers are eight bytes, little endian.
    pub fn property(mut self, path: &[&str], value: impl Into<Vec<u8>>) -> Self {
        self.properties.push((path.join("\0").into_bytes(), value.into()));
        self
    }
}

/// An upstream's answer, or one to a call-out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    pub(super) status: u16,
    pub(super) fields: Pairs,
    pub(super) content: Vec<u8>,
    pub(super) trailers: Pairs,
}

impl Response {
    /// A response of this status.
    pub fn new(status: u16) -> Self {
        Self { status, fields: Vec::new(), content: Vec::new(), trailers: Vec::new() }
    }

    /// Adds a field line.
    pub fn field(mut self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        self.fields.push((name.as_bytes().to_vec(), value.into()));
        self
    }

    /// Sets the content; its length is told unless trailers follow or the fields tell one.
    pub fn content(mut self, content: impl Into<Vec<u8>>) -> Self {
        self.content = content.into();
        self
    }

    /// Adds a trailer.
    pub fn trailer(mut self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        self.trailers.push((name.as_bytes().to_vec(), value.into()));
        self
    }

    /// Its fields as they come over the wire.
    pub(super) fn head(&self) -> Pairs {
        let mut fields: Pairs = self
            .fields
            .iter()
            .map(|(name, value)| (name.to_ascii_lowercase(), value.clone()))
            .collect();
        add_length(&mut fields, &self.content, &self.trailers);
        fields
    }
}

/// Says the length of content that is known as a whole.
pub(super) fn add_length(fields: &mut Pairs, content: &[u8], trailers: &Pairs) {
    let told = fields.iter().any(|(name, _)| name.eq_ignore_ascii_case(b"content-length"));
    if !told && !content.is_empty() && trailers.is_empty() {
        fields.push((b"content-length".to_vec(), content.len().to_string().into_bytes()));
    }
}

/// A message as it left, to an upstream or to the caller.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message {
    /// `:method` and `:path`, or `:status`; then the fields in their order.
    pub head: Pairs,
    /// Content, in the pieces in which it left.
    pub chunks: Vec<Vec<u8>>,
    /// Trailers.
    pub trailers: Pairs,
    /// Whether it has left to its end.
    pub whole: bool,
}

impl Message {
    /// The lines of a field joined with `,`.
    pub fn field(&self, name: &str) -> Option<String> {
        joined(&self.head, name)
    }

    /// The same for a trailer.
    pub fn trailer(&self, name: &str) -> Option<String> {
        joined(&self.trailers, name)
    }

    /// Status of a response, 0 for a request.
    pub fn status(&self) -> u16 {
        self.field(":status").and_then(|status| status.parse().ok()).unwrap_or_default()
    }

    /// Target of a request.
    pub fn path(&self) -> Option<String> {
        self.field(":path")
    }

    /// All content that has left.
    pub fn content(&self) -> Vec<u8> {
        self.chunks.concat()
    }

    /// The same as text; what is not UTF-8 is shown as U+FFFD.
    pub fn text(&self) -> String {
        lossy(&self.content())
    }
}

fn joined(pairs: &Pairs, name: &str) -> Option<String> {
    let lines = pairs.iter().filter(|(have, _)| have.eq_ignore_ascii_case(name.as_bytes()));
    let values: Vec<String> = lines.map(|(_, value)| lossy(value)).collect();
    (!values.is_empty()).then(|| values.join(","))
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
