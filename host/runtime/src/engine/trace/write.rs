//! A trace as lines, for people or for programs.

use std::fmt::Write as _;
use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::{Callback, Hostcall, Shown, Sink};

/// How it looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A line for a callback and one, indented, for each of its hostcalls.
    Text,
    /// One JSON object for a callback.
    Json,
}

/// Writes lines; a callback's stand together.
pub struct Lines {
    out: Mutex<Box<dyn Write + Send>>,
    format: Format,
}

impl Lines {
    /// Lines to `out`.
    pub fn new(out: Box<dyn Write + Send>, format: Format) -> Self {
        Self { out: Mutex::new(out), format }
    }
}

impl Sink for Lines {
    fn take(&self, callback: &Callback) {
        let text = match self.format {
            Format::Text => callback.text(),
            Format::Json => format!("{}\n", callback.json()),
        };
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever closes it loses the trace, and nothing else.
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }
}

impl Callback {
    /// Lines for people.
    pub fn text(&self) -> String {
        let stream = self.stream.map_or("root".to_owned(), |number| format!("stream {number}"));
        let arguments: Vec<String> =
            self.arguments.iter().map(|(name, value)| format!("{name} {value}")).collect();
        let outcome = match (&self.outcome, self.name) {
            (Err(reason), _) => format!("trapped: {reason}"),
            (Ok(None), _) => "done".to_owned(),
            (Ok(Some(0)), name) if pauses(name) => "continue".to_owned(),
            (Ok(Some(_)), name) if pauses(name) => "pause".to_owned(),
            (Ok(Some(value)), _) => value.to_string(),
        };
        let mut text = format!(
            "{stream} {} #{} {}({}) = {outcome} {}{}\n",
            named(&self.plugin),
            self.context,
            self.name,
            arguments.join(", "),
            micros(self.took),
            self.fuel.map(|fuel| format!(", fuel {fuel}")).unwrap_or_default(),
        );
        self.hostcalls.iter().for_each(|call| text += &call.text());
        text
    }

    /// One object for programs.
    pub fn json(&self) -> Value {
        let arguments: Map<String, Value> =
            self.arguments.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        json!({
            "stream": self.stream,
            "plugin": self.plugin,
            "vm_id": self.vm_id,
            "context": self.context,
            "callback": self.name,
            "arguments": arguments,
            "returned": self.outcome.as_ref().ok().copied().flatten(),
            "trapped": self.outcome.as_ref().err(),
            "took_us": in_micros(self.took),
            "fuel": self.fuel,
            "hostcalls": self.hostcalls.iter().map(Hostcall::json).collect::<Vec<_>>(),
        })
    }
}

/// Whether what a callback returns is an action.
fn pauses(name: &str) -> bool {
    ["headers", "body", "trailers"].iter().any(|end| name.ends_with(end))
}

fn named(plugin: &str) -> &str {
    if plugin.is_empty() { "-" } else { plugin }
}

impl Hostcall {
    fn text(&self) -> String {
        let arguments = self.arguments.iter().map(|(name, value)| match (*name, value) {
            ("" | "map" | "buffer" | "name" | "path" | "key" | "cluster" | "level", value) => {
                value.text()
            }
            (name, value) => format!("{name} {}", value.text()),
        });
        let arguments: Vec<String> = arguments.collect();
        let mut text = format!("    {}({}) = {}", self.name, arguments.join(", "), self.status);
        if let Some(answer) = &self.answer {
            let _ = write!(text, " {}", answer.text());
        }
        let _ = writeln!(text, " {}", micros(self.took));
        text
    }

    fn json(&self) -> Value {
        let arguments = self.arguments.iter().enumerate().map(|(index, (name, value))| {
            let name = if name.is_empty() { index.to_string() } else { (*name).to_owned() };
            (name, value.json())
        });
        json!({
            "name": self.name,
            "arguments": arguments.collect::<Map<_, _>>(),
            "status": self.status,
            "answer": self.answer.as_ref().map(Shown::json),
            "size": self.size,
            "took_us": in_micros(self.took),
        })
    }
}

impl Shown {
    fn text(&self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Text(text) => format!("{text:?}"),
            Self::Bytes(size) => format!("[{size} bytes]"),
            Self::Fields(fields) => {
                let line = |(name, value): &(String, Self)| format!("{name}: {}", value.text());
                format!("{{{}}}", fields.iter().map(line).collect::<Vec<_>>().join(", "))
            }
        }
    }

    fn json(&self) -> Value {
        match self {
            Self::Number(number) => json!(number),
            Self::Text(text) => json!(text),
            Self::Bytes(size) => json!({ "bytes": size }),
            Self::Fields(fields) => {
                fields.iter().map(|(name, value)| json!([name, value.json()])).collect()
            }
        }
    }
}

fn micros(took: Duration) -> String {
    format!("{:.1} µs", in_micros(took))
}

/// In tenths.
fn in_micros(took: Duration) -> f64 {
    (took.as_nanos() as f64 / 100.0).round() / 10.0
}
