//! What came of a scenario on one gateway, as lines of text that can be compared.
//!
//! Invariant: only what differs between two runs of one gateway is left out: dates, ids, times
//! and the scripts themselves.

use postern_rig::message::Message;

/// Everything that was seen.
#[derive(Clone, Debug, Default)]
pub struct Observation {
    /// Answers, in the order of the steps.
    pub caller: Vec<String>,
    /// What plugins logged, in order.
    pub probes: Vec<String>,
    /// What the upstream got.
    pub upstream: Vec<String>,
    /// What call-outs asked; several at once come in any order.
    pub calls: Vec<Vec<String>>,
    /// Values of the admin interface.
    pub stats: Vec<String>,
    /// Whether streams may stay open at the end.
    pub open: bool,
}

/// What an upstream gets that differs from run to run. Of a caller on loopback Envoy says the
/// machine's own address in `x-forwarded-for`, whatever that is.
pub const HIDDEN: [&str; 2] = ["x-forwarded-for", "x-request-id"];

impl Observation {
    /// All lines.
    pub fn lines(&self) -> Vec<String> {
        let mut calls = self.calls.clone();
        calls.sort();
        let parts = [&self.caller, &self.probes, &self.upstream, &calls.concat(), &self.stats];
        parts.into_iter().flatten().cloned().collect()
    }

    /// Whether any plugin has said anything.
    pub fn has_probe(&self) -> bool {
        !self.probes.is_empty()
    }

    /// Whether every stream that a plugin saw begin has ended.
    pub fn is_over(&self) -> bool {
        let count = |end: &str| self.probes.iter().filter(|line| line.ends_with(end)).count();
        self.open || count(" create") == count(" delete()")
    }
}

/// A message as lines, without the fields in `hidden`.
pub fn message_lines(message: &Message, hidden: &[&str]) -> Vec<String> {
    let mut lines = vec![escaped(&message.start)];
    for (name, value) in &message.fields {
        let name = escaped(name).to_ascii_lowercase();
        if !name.starts_with("x-probe-") && !hidden.contains(&name.as_str()) {
            lines.push(format!("  {name}: {}", escaped(value)));
        }
    }
    if !message.content.is_empty() {
        lines.push(format!("  content {}", shortened(&message.content)));
    }
    for (name, value) in &message.trailers {
        lines.push(format!("  trailer {}: {}", escaped(name), escaped(value)));
    }
    if !message.complete {
        lines.push("  cut".to_owned());
    }
    lines
}

/// Long content by its size and its first and last bytes.
fn shortened(content: &[u8]) -> String {
    if content.len() <= 400 {
        return escaped(content);
    }
    let start = content.get(..20).unwrap_or_default();
    let end = content.get(content.len().saturating_sub(20)..).unwrap_or_default();
    format!("{} … {}, {} bytes", escaped(start), escaped(end), content.len())
}

fn escaped(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

/// The lines that plugins wrote in a stretch of a gateway's log. Each stands between two
/// marks, whatever the gateway writes before and after it.
pub fn probe_lines(log: &str) -> Vec<String> {
    let found = log.split("<<").skip(1).filter_map(|rest| rest.split_once(">>"));
    found.map(|(line, _)| line.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_found_between_their_marks() {
        let log =
            "[info] wasm log one: <<one create>>\nnoise\nINFO x: <<one . h 0 a: ok b>> y=1\n<<cut";
        assert_eq!(probe_lines(log), ["one create", "one . h 0 a: ok b"]);
    }

    #[test]
    fn a_stream_is_over_when_its_context_is_deleted() {
        let mut seen = Observation { probes: vec!["one create".into()], ..Default::default() };
        assert!(!seen.is_over());
        seen.probes.push("one delete()".into());
        assert!(seen.is_over());
    }
}
