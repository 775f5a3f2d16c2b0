//! Scenario files: what is asked, what the plugins are told, how the upstream answers.
//!
//! A file is a list of rows; the name of a scenario is the file's and the row's. Texts are
//! bytes: characters up to U+00FF stand for the byte of that number, and `*5000x` is a byte
//! many times.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use postern_rig::client::{Content, Request};
use postern_rig::message::Line;
use postern_rig::upstream::{Answer, Framing, Instead};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::scenario::duration;

/// One scenario.
#[derive(Debug)]
pub struct Scenario {
    /// `file/row`.
    pub name: String,
    /// Values of the admin interface whose growth is compared.
    pub stats: Vec<String>,
    /// A stream stays open: its end is not waited for.
    pub open: bool,
    /// Time to let pass before the end, for what comes late.
    pub wait: Duration,
    base: String,
    steps: Vec<Step>,
}

/// Keys of a row beside those of its first step.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    name: String,
    /// What it is about, where the name does not say it; for people.
    #[serde(default, rename = "note")]
    _note: String,
    /// The listener that is asked; a step can name another.
    #[serde(default = "plain")]
    base: String,
    /// Further steps.
    #[serde(default)]
    then: Vec<Step>,
    #[serde(default)]
    stats: Vec<String>,
    #[serde(default)]
    wait: Option<String>,
    #[serde(default)]
    open: bool,
}

const HEAD: [&str; 7] = ["name", "note", "base", "then", "stats", "wait", "open"];

/// One request, or bytes that are none.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Another listener than the scenario's.
    #[serde(default)]
    pub at: Option<String>,
    /// The request.
    #[serde(default)]
    pub request: RequestSpec,
    /// Bytes instead of a request, written piece by piece.
    #[serde(default)]
    pub bytes: Vec<String>,
    /// Script by plugin.
    #[serde(default)]
    pub probes: BTreeMap<String, String>,
    /// What the upstream answers.
    #[serde(default)]
    pub upstream: AnswerSpec,
    /// The caller goes away so long after it has sent everything.
    #[serde(default)]
    pub leaves: Option<String>,
    /// The answer is read at the end of the scenario.
    #[serde(default)]
    pub hold: bool,
    /// How long the caller waits for an answer.
    #[serde(default)]
    patience: Option<String>,
    /// Time to let pass before it.
    #[serde(default)]
    after: Option<String>,
    /// How many answers come on the connection.
    #[serde(default = "one")]
    pub answers: usize,
}

/// A request.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RequestSpec {
    method: String,
    path: String,
    host: String,
    fields: Vec<(String, String)>,
    body: Option<String>,
    chunks: Option<Vec<String>>,
    trailers: Vec<(String, String)>,
}

impl Default for RequestSpec {
    fn default() -> Self {
        let text = str::to_owned;
        Self {
            method: text("GET"),
            path: text("/"),
            host: text("a.test"),
            fields: Vec::new(),
            body: None,
            chunks: None,
            trailers: Vec::new(),
        }
    }
}

/// An answer of an upstream.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AnswerSpec {
    status: u16,
    fields: Vec<(String, String)>,
    body: String,
    chunks: Option<Vec<String>>,
    trailers: Vec<(String, String)>,
    framing: Option<FramingSpec>,
    /// Bytes instead of an answer, then a close.
    raw: Option<String>,
    /// After `raw`, or instead of everything: nothing.
    stalls: bool,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum FramingSpec {
    Length,
    Chunked,
    UntilClose,
    None,
}

impl Default for AnswerSpec {
    fn default() -> Self {
        Self {
            status: 200,
            fields: vec![("content-type".to_owned(), "text/plain".to_owned())],
            body: "hello".to_owned(),
            chunks: None,
            trailers: Vec::new(),
            framing: None,
            raw: None,
            stalls: false,
        }
    }
}

fn plain() -> String {
    "plain".to_owned()
}

fn one() -> usize {
    1
}

/// Between two pieces of a message, so that a gateway reads them one by one.
pub const PACE: Duration = Duration::from_millis(12);
const PATIENCE: Duration = Duration::from_secs(4);

/// Every scenario below `folder`, in the order of the files' names.
pub fn load(folder: &Path) -> Result<Vec<Scenario>> {
    let entries = std::fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let mut files: Vec<_> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    files.sort();
    let mut all: Vec<Scenario> = Vec::new();
    for file in files {
        let topic = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&file).with_context(|| topic.clone())?;
        let rows: Vec<Map<String, Value>> =
            serde_saphyr::from_str(&text).with_context(|| topic.clone())?;
        for row in rows {
            let name = row.get("name").map(Value::to_string).unwrap_or_default();
            let row = Scenario::read(&topic, row).with_context(|| format!("{topic}: {name}"))?;
            ensure!(all.iter().all(|one| one.name != row.name), "{}: twice", row.name);
            all.push(row);
        }
    }
    Ok(all)
}

impl Scenario {
    fn read(topic: &str, row: Map<String, Value>) -> Result<Self> {
        let is_head = |(key, _): &(String, Value)| HEAD.contains(&key.as_str());
        let (head, first): (Map<_, _>, Map<_, _>) = row.into_iter().partition(is_head);
        let head: Head = serde_json::from_value(Value::Object(head))?;
        let first: Step = serde_json::from_value(Value::Object(first))?;
        let steps: Vec<Step> = std::iter::once(first).chain(head.then).collect();
        // A context that dies with its machine is never deleted.
        let dies = steps.iter().any(|step| step.probes.values().any(|it| it.contains("trap")));
        Ok(Self {
            name: format!("{topic}/{}", head.name),
            stats: head.stats,
            open: head.open || dies,
            wait: span(&head.wait, Duration::ZERO)?,
            base: head.base,
            steps,
        })
    }

    /// Its steps, each with its listener.
    pub fn steps(&self) -> impl Iterator<Item = (&str, &Step)> {
        self.steps.iter().map(|step| (step.at.as_deref().unwrap_or(&self.base), step))
    }
}

impl Step {
    /// How long the caller waits for an answer.
    pub fn patience(&self) -> Result<Duration> {
        span(&self.patience, PATIENCE)
    }

    /// Time to let pass before it.
    pub fn after(&self) -> Result<Duration> {
        span(&self.after, Duration::ZERO)
    }

    /// What is written, piece by piece, and whether it asks for a head only.
    pub fn pieces(&self) -> (Vec<Vec<u8>>, bool) {
        if !self.bytes.is_empty() {
            return (self.bytes.iter().map(|text| bytes(text)).collect(), false);
        }
        let request = self.request.build(&self.probes);
        (request.pieces(), self.request.method == "HEAD")
    }
}

impl RequestSpec {
    fn build(&self, probes: &BTreeMap<String, String>) -> Request {
        let mut request = Request::new(&self.method, &self.host, "/");
        request.target = bytes(&self.path);
        for (plugin, script) in probes {
            let script = script.split_whitespace().collect::<Vec<_>>().join(" ");
            request = request.with(&format!("x-probe-{plugin}"), script);
        }
        request.fields.extend(lines(&self.fields));
        let chunked = self.chunks.is_some() || !self.trailers.is_empty();
        let chunks = self.chunks.clone().or_else(|| self.body.clone().map(|body| vec![body]));
        let chunks: Vec<_> = chunks.into_iter().flatten().map(|text| bytes(&text)).collect();
        request.content = match (chunked, chunks.is_empty()) {
            (true, _) => Content::Chunked(chunks, lines(&self.trailers)),
            (false, false) => Content::Sized(chunks.concat()),
            (false, true) => Content::None,
        };
        request
    }
}

impl AnswerSpec {
    /// The answer as the upstream gives it.
    pub fn build(&self) -> Answer {
        let chunked = self.chunks.is_some() || !self.trailers.is_empty();
        let framing = match self.framing {
            Some(FramingSpec::Length) => Framing::Length,
            Some(FramingSpec::Chunked) => Framing::Chunked,
            Some(FramingSpec::UntilClose) => Framing::UntilClose,
            Some(FramingSpec::None) => Framing::None,
            None if chunked => Framing::Chunked,
            None => Framing::Length,
        };
        let raw = self.raw.as_deref().map(bytes);
        let instead = match (raw, self.stalls) {
            (raw, true) => Some(Instead::Stall(raw.unwrap_or_default())),
            (Some(raw), false) => Some(Instead::Close(raw)),
            (None, false) => None,
        };
        let chunks = self.chunks.clone().unwrap_or_else(|| vec![self.body.clone()]);
        let chunks: Vec<_> = chunks.iter().map(|text| bytes(text)).collect();
        // One piece needs no pause before it.
        let pace = if chunks.len() > 1 { PACE } else { Duration::ZERO };
        Answer {
            status: self.status,
            fields: lines(&self.fields),
            chunks,
            trailers: lines(&self.trailers),
            framing,
            pace,
            instead,
        }
    }
}

fn span(text: &Option<String>, usual: Duration) -> Result<Duration> {
    text.as_deref().map_or(Ok(usual), duration)
}

fn lines(fields: &[(String, String)]) -> Vec<Line> {
    fields.iter().map(|(name, value)| (bytes(name), bytes(value))).collect()
}

/// What a text stands for.
pub fn bytes(text: &str) -> Vec<u8> {
    if let Some((count, byte)) = text.strip_prefix('*').and_then(repeated) {
        return vec![byte; count];
    }
    let mut out = Vec::new();
    for char in text.chars() {
        match u8::try_from(u32::from(char)) {
            Ok(byte) => out.push(byte),
            Err(_) => out.extend(char.to_string().into_bytes()),
        }
    }
    out
}

fn repeated(text: &str) -> Option<(usize, u8)> {
    let (byte, digits) = text.as_bytes().split_last()?;
    Some((std::str::from_utf8(digits).ok()?.parse().ok()?, *byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_bytes() {
        assert_eq!(bytes("a\u{ff}"), b"a\xff");
        assert_eq!(bytes("*3x"), b"xxx");
        assert_eq!(bytes("*x"), b"*x");
    }

    #[test]
    fn every_file_is_read_and_no_name_is_there_twice() {
        let all = load(&super::super::folder().join("scenarios")).unwrap();
        assert!(all.iter().all(|scenario| scenario.steps().count() > 0));
        assert!(all.len() >= 150, "{} scenarios", all.len());
    }
}
