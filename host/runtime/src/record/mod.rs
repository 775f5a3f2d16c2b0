//! Recordings: what a gateway's streams were given and what left them, to be run again.
//!
//! A recording is a file of JSON lines, version [`VERSION`], made by `postern gateway --record`
//! and read by `postern replay`. The first line is a [`Header`]: the gateway's file as text,
//! the digests of its modules, the seed of its randomness, when it began. Every other line is
//! a [`Line`]: its number, nanoseconds since the start, the stream (none for a root), and what
//! was given (`in`) or what left (`out`). Bytes are a string where they are UTF-8, else an
//! object `{"base64": "…"}`.
//!
//! | `in` | |
//! | --- | --- |
//! | `start` | the machines start |
//! | `open` | a stream begins: listener, fields, properties of its connection |
//! | `request_headers`, `request_body`, `request_trailers` | the caller's message |
//! | `response_headers`, `response_body`, `response_trailers` | the upstream's |
//! | `fail`, `expire`, `abandon` | no upstream, a timer or a refusal, no caller |
//! | `called` | the answer to a call-out, by its number in the stream or among the roots' |
//! | `tick`, `finish`, `close` | a root ticks, a stream ends, a machine ends |
//!
//! | `out` | |
//! | --- | --- |
//! | `headers`, `body`, `trailers`, `cancel`, `reset` | what left a stream's filters |
//! | `call` | a call-out, and the status with which it was refused, if it was |
//! | `log` | a line of a module |
//! | `state` | the filter state at the end of a stream |
//!
//! While a gateway records, it has one worker, a module's clocks stand still during an event,
//! and `random_get` is derived from the seed: so the same modules do the same again. The
//! environment is not recorded.
//!
//! Values of fields and of parameters in a query that look like credentials
//! ([`Rules`](crate::engine::trace::Rules)) are replaced by stand-ins of the same length,
//! wherever they appear later too, unless the recording is made with values. Content is
//! recorded as it passes, and so is what a call-out brings before a module puts it into a field.
//!
//! Invariant: a recording is readable by its owner alone, and ends with the last event that
//! was taken even if the gateway dies.

mod event;
mod services;
mod standin;
mod tape;

use std::collections::BTreeMap;
use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

pub(crate) use event::pairs;
pub use event::{Bytes, Fields, Header, In, Line, Out, Reply, VERSION, Way, What, fields};
pub(crate) use services::Recorded;
pub(crate) use tape::{Tap, Tape};

use crate::engine::trace::Rules;
use crate::view::Status;

/// Where lines go.
enum Sink {
    File(BufWriter<std::fs::File>),
    Memory(Vec<Line>),
}

/// What a replay follows.
pub(crate) struct Script {
    /// Number and time of the start.
    pub start: (u64, u64),
    /// Statuses of call-outs that were refused, by stream and number.
    pub refused: BTreeMap<(Option<u64>, u64), Status>,
}

/// A recording that is being made. Cloning is cheap.
#[derive(Clone)]
pub struct Recorder {
    inner: Arc<Inner>,
}

struct Inner {
    header: Header,
    seed: Vec<u8>,
    rules: Rules,
    /// What whoever replays says, instead of clock and clusters.
    script: Option<Script>,
    began: Instant,
    sink: Mutex<Sink>,
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Recorder")
    }
}

impl Recorder {
    /// A recording in a new file of mode 0600.
    pub fn create(path: &Path, header: Header, rules: Rules) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        let mut file = BufWriter::new(file);
        let line = serde_json::to_string(&header).map_err(io::Error::other)?;
        writeln!(file, "{line}").and_then(|()| file.flush())?;
        Self::new(header, rules, None, Sink::File(file)).map_err(io::Error::other)
    }

    /// A recording of a replay, in memory.
    pub(crate) fn scripted(header: Header, script: Script) -> Result<Self, String> {
        Self::new(header, Rules::default(), Some(script), Sink::Memory(Vec::new()))
    }

    fn new(
        header: Header,
        rules: Rules,
        script: Option<Script>,
        sink: Sink,
    ) -> Result<Self, String> {
        let seed = header.seed_bytes().ok_or("expected a seed in hexadecimal digits")?;
        let sink = Mutex::new(sink);
        let began = Instant::now();
        Ok(Self { inner: Arc::new(Inner { header, seed, rules, script, began, sink }) })
    }

    /// What was recorded in memory.
    pub(crate) fn lines(&self) -> Vec<Line> {
        match &*self.inner.sink.lock().unwrap_or_else(PoisonError::into_inner) {
            Sink::Memory(lines) => lines.clone(),
            Sink::File(_) => Vec::new(),
        }
    }

    fn put(&self, line: Line) {
        match &mut *self.inner.sink.lock().unwrap_or_else(PoisonError::into_inner) {
            Sink::Memory(lines) => lines.push(line),
            Sink::File(file) => {
                let Ok(text) = serde_json::to_string(&line) else { return };
                // A disk that is full ends the recording, not the gateway.
                if let Err(error) = writeln!(file, "{text}").and_then(|()| file.flush()) {
                    tracing::warn!(%error, "the recording misses an event");
                }
            }
        }
    }
}

/// SHA-256 in hexadecimal digits, as a header tells it of a module.
pub fn digest(bytes: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}
