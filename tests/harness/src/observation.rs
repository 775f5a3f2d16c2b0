//! What one step did, in the form in which boundaries are compared.
//!
//! Left out are what only a proxy adds (`date`, `server`, `x-request-id`, `x-envoy-*`,
//! `x-forwarded-*`), framing (content is compared by its bytes), times and random ids.

use postern_attack::is_proxy_made;
use std::collections::BTreeMap;
use std::time::Duration;

use postern_rig::message::{Line, Message};
use serde_json::Value;

/// One step as seen from outside.
#[derive(Clone, Debug)]
pub struct Observation {
    /// The client's side.
    pub answer: Answer,
    /// The request as the upstream got it.
    pub upstream: Option<Seen>,
    /// The canaries as the upstreams got them, oldest first.
    pub canaries: Vec<Seen>,
    /// The audit record.
    pub audit: Option<Value>,
    /// How often the introspection endpoint was asked; not compared, since answers are
    /// remembered for as long as the clock of a boundary says.
    pub asked: usize,
    /// How long the client waited; not compared between boundaries.
    pub took: Duration,
}

/// An answer as the client got it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Status.
    pub status: u16,
    /// Problem code, when the content is a problem document of ours.
    pub code: Option<String>,
    /// Fields, lower-case names, sorted.
    pub fields: BTreeMap<String, Vec<String>>,
    /// Content; the decision id of a problem document is zeros.
    pub body: String,
    /// Trailers.
    pub trailers: BTreeMap<String, Vec<String>>,
    /// The connection ended before the answer did.
    pub cut: bool,
}

/// A request as the upstream got it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Method.
    pub method: String,
    /// Path with query.
    pub path: String,
    /// `Host`.
    pub authority: String,
    /// Fields, lower-case names, sorted.
    pub fields: BTreeMap<String, Vec<String>>,
    /// Content.
    pub body: String,
    /// Trailers.
    pub trailers: BTreeMap<String, Vec<String>>,
}

/// Text of any bytes: those that are not ASCII text become `\xNN`.
pub fn text(bytes: &[u8]) -> String {
    let mut out = String::new();
    for byte in bytes {
        match byte {
            b'\n' => out.push('\n'),
            0x20..=0x7e => out.push(char::from(*byte)),
            other => out.push_str(&format!("\\x{other:02x}")),
        }
    }
    out
}

/// Fields worth comparing, by lower-case name.
pub fn fields(lines: &[Line]) -> BTreeMap<String, Vec<String>> {
    let mut sorted: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in lines {
        let name = text(name).to_ascii_lowercase();
        if !is_proxy_made(&name) {
            sorted.entry(name).or_default().push(text(value));
        }
    }
    sorted
}

impl Answer {
    /// From what came over the wire.
    pub fn of(message: &Message) -> Self {
        let parts = (message.content.as_slice(), message.trailers.as_slice());
        Self::new(message.status(), &message.fields, parts, !message.complete)
    }

    /// From its parts.
    pub fn new(
        status: u16,
        lines: &[Line],
        (content, trailers): (&[u8], &[Line]),
        cut: bool,
    ) -> Self {
        let mut body = text(content);
        let mut code = None;
        if let Ok(problem) = serde_json::from_slice::<Value>(content)
            && let Some(decision) = problem["decision"].as_str()
        {
            body = body.replace(decision, &"0".repeat(decision.len()));
            code = problem["code"].as_str().map(str::to_owned);
        }
        Self { status, code, fields: fields(lines), body, trailers: fields(trailers), cut }
    }
}

impl Seen {
    /// From what came over the wire.
    pub fn of(message: &Message) -> Self {
        Self {
            method: message.word(0),
            path: message.word(1),
            authority: message.text("host").unwrap_or_default(),
            fields: fields(&message.fields),
            body: text(&message.content),
            trailers: fields(&message.trailers),
        }
    }
}

/// An audit record without times, ids and what only a proxy knows.
pub fn comparable(record: &[u8]) -> Option<Value> {
    const LEFT_OUT: [&str; 9] = [
        "time",
        "received",
        "duration_us",
        "decide_ms",
        "release_ms",
        "decision_id",
        "gateway",
        "seq",
        "flags",
    ];
    let mut record: Value = serde_json::from_slice(record).ok()?;
    let object = record.as_object_mut()?;
    object.retain(|name, _| !LEFT_OUT.contains(&name.as_str()));
    // The digest of the document has the run's ports in it.
    let named = object.get("policy").and_then(Value::as_str).and_then(|it| it.split_once(' '));
    match named.map(|(_, revision)| Value::from(revision)) {
        Some(revision) => drop(object.insert("policy".to_owned(), revision)),
        None => drop(object.remove("policy")),
    }
    if let Some(release) = object.get_mut("release").and_then(Value::as_object_mut) {
        release.remove("audit_seq");
    }
    Some(record)
}
