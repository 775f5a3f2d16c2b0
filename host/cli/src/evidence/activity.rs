//! The export, read as events.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64;
use postern_core::time::UnixMillis;
use postern_keys::audit::export::Line;
use postern_keys::audit::merkle::{self, Whole};
use postern_keys::audit::proof::Inclusion;
use serde_json::{Value, json};

/// The lines of an export.
pub struct Log {
    lines: Vec<Line>,
}

impl Log {
    /// Reads what can be read: what cannot is the verifier's to name.
    pub fn read(chain: &[u8]) -> Self {
        let lines = chain.split(|byte| *byte == b'\n').skip(1);
        Self { lines: lines.filter_map(|line| serde_json::from_slice(line).ok()).collect() }
    }

    /// The events of a period that have content, each with its number and hash. A gateway's
    /// record is decoded.
    pub fn within(&self, from: UnixMillis, to: UnixMillis) -> Vec<Value> {
        let event = |line: &Line| {
            let bytes = B64.decode(line.bytes.as_ref()?).ok()?;
            let mut event: Value = serde_json::from_slice(&bytes).ok()?;
            let at = time(&event)?;
            let record = event.get("record").and_then(Value::as_str);
            let record = record.and_then(|text| serde_json::from_str::<Value>(text).ok());
            if let Some(record) = record {
                event["record"] = record;
            }
            let shown = json!({"n": line.n, "hash": line.hash, "event": event});
            (from.0..to.0).contains(&at).then_some(shown)
        };
        self.lines.iter().filter_map(event).collect()
    }

    /// A receipt for each of `events` that is no request, under the checkpoint `note`: name
    /// and text.
    pub fn proofs(&self, note: &str, events: &[Value]) -> Vec<(String, Vec<u8>)> {
        let size = covered(note);
        let hashes = self.lines.iter().map_while(|line| {
            let hash: Option<[u8; 32]> = B64.decode(&line.hash).ok()?.try_into().ok();
            hash.map(|hash| merkle::leaf(&hash))
        });
        let tree = Whole::new(hashes.collect());
        let own = events.iter().filter(|event| event["event"]["kind"] != "request");
        let proof = |event: &Value| {
            let n: u64 = event["n"].as_str()?.parse().ok()?;
            let index = n.checked_sub(1)?;
            let line = self.lines.get(usize::try_from(index).ok()?)?.clone();
            let path = merkle::inclusion(index, size)?;
            let path = path.into_iter().map(|range| tree.part(range)).collect::<Option<_>>()?;
            let text = Inclusion { line, path, note: note.to_owned() }.text();
            Some((format!("proofs/{n}.tlog-proof"), text.into_bytes()))
        };
        own.filter_map(proof).collect()
    }
}

/// How many events a checkpoint is over.
pub(super) fn covered(note: &str) -> u64 {
    note.lines().nth(1).and_then(|size| size.parse().ok()).unwrap_or(0)
}

/// When an event was, in milliseconds since 1970.
pub(super) fn time(event: &Value) -> Option<u64> {
    event.get("at")?.as_str()?.parse().ok()
}
