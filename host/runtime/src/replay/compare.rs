//! What left, twice, as lines; and where the lines differ.

use std::collections::BTreeMap;
use std::fmt;

use crate::record::{Bytes, Fields, In, Line, Out, Way, What};

/// Longer than that, two lists are compared as wholes.
const MOST: usize = 2000;
/// Bytes of content that is no text, on a line.
const ROW: usize = 32;

/// Where something left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Lane {
    Upstream,
    Caller,
    Calls,
    Log,
    State,
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Upstream => "to the upstream",
            Self::Caller => "to the caller",
            Self::Calls => "call-outs",
            Self::Log => "log",
            Self::State => "filter state",
        })
    }
}

/// One line of a difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Left when it was recorded, and does not now.
    Gone(String),
    /// Leaves now, and did not.
    New(String),
}

/// A stream, or the roots, where two runs differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Number of the stream; none for roots.
    pub stream: Option<u64>,
    /// Method and path of its request.
    pub request: String,
    /// `to the upstream`, `to the caller`, `call-outs`, `log` or `filter state`.
    pub place: String,
    /// What differs, in order.
    pub changes: Vec<Change>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.stream {
            Some(number) => write!(f, "stream {number} ({})", self.request)?,
            None => write!(f, "roots")?,
        }
        writeln!(f, ", {}:", self.place)?;
        for change in &self.changes {
            match change {
                Change::Gone(line) => writeln!(f, "  - {line}")?,
                Change::New(line) => writeln!(f, "  + {line}")?,
            }
        }
        Ok(())
    }
}

type Story = BTreeMap<(Option<u64>, Lane), Vec<String>>;

/// Where what left differs.
pub(super) fn differences(recorded: &[Line], now: &[Line]) -> Vec<Difference> {
    let (before, after) = (story(recorded), story(now));
    let mut places: Vec<_> = before.keys().chain(after.keys()).copied().collect();
    places.sort_unstable();
    places.dedup();
    let none = Vec::new();
    let of = |story: &'_ Story, place| story.get(place).cloned().unwrap_or_else(|| none.clone());
    let differ = places.iter().filter_map(|place| {
        let changes = changes(&of(&before, place), &of(&after, place));
        let (stream, lane) = *place;
        (!changes.is_empty()).then(|| Difference {
            stream,
            request: request(recorded, stream),
            place: lane.to_string(),
            changes,
        })
    });
    differ.collect()
}

/// How many streams there are.
pub(super) fn streams(lines: &[Line]) -> usize {
    lines.iter().filter(|line| matches!(line.what, What::In(In::Open { .. }))).count()
}

fn request(lines: &[Line], stream: Option<u64>) -> String {
    let head = lines.iter().find_map(|line| match &line.what {
        What::In(In::Open { head, .. }) if line.stream == stream => Some(head),
        _ => None,
    });
    let field = |name: &[u8]| {
        let found = head.into_iter().flatten().find(|(have, _)| have.0 == name);
        found.map_or(String::new(), |(_, value)| readable(&value.0))
    };
    format!("{} {}", field(b":method"), field(b":path"))
}

/// Everything that left, by place. Content is joined: its pieces are no difference.
fn story(lines: &[Line]) -> Story {
    let mut story = Story::new();
    let mut content: BTreeMap<(Option<u64>, Lane), Vec<u8>> = BTreeMap::new();
    for line in lines {
        let What::Out(out) = &line.what else { continue };
        if let Out::Body { way, bytes, .. } = out {
            content.entry((line.stream, lane(*way))).or_default().extend(&bytes.0);
        }
        let (lane, told) = told(out);
        story.entry((line.stream, lane)).or_default().extend(told);
    }
    for (place, bytes) in content {
        let lines = story.entry(place).or_default();
        let end = lines.iter().position(|line| line == "(end)").unwrap_or(lines.len());
        lines.splice(end..end, body(&bytes));
    }
    story.retain(|_, lines| !lines.is_empty());
    story
}

fn lane(way: Way) -> Lane {
    match way {
        Way::Request => Lane::Upstream,
        Way::Response => Lane::Caller,
    }
}

fn told(out: &Out) -> (Lane, Vec<String>) {
    let end = |end: bool| end.then(|| "(end)".to_owned());
    match out {
        Out::Headers { way, fields, end: over } => {
            (lane(*way), named("", fields).chain(end(*over)).collect())
        }
        Out::Body { way, end: over, .. } => (lane(*way), end(*over).into_iter().collect()),
        Out::Trailers { way, fields } => {
            (lane(*way), end(true).into_iter().chain(named("trailer ", fields)).collect())
        }
        Out::Cancel => (Lane::Upstream, vec!["(cancelled)".to_owned()]),
        Out::Reset => (Lane::Caller, vec!["(cut)".to_owned()]),
        Out::Call { call, cluster, headers, body: content, trailers, timeout_ms, refused } => {
            let first = format!("{call} to {}, {timeout_ms} ms", readable(&cluster.0));
            let refused = refused.map(|status| format!("{call} refused with status {status}"));
            let lines = std::iter::once(first).chain(named("", headers)).chain(body(&content.0));
            (Lane::Calls, lines.chain(named("trailer ", trailers)).chain(refused).collect())
        }
        Out::Log { level, text } => {
            let level = ["trace", "debug", "info", "warn", "error", "critical"]
                .get(usize::from(*level))
                .copied()
                .unwrap_or("?");
            (Lane::Log, vec![format!("{level}: {text}")])
        }
        Out::State { entries } => (Lane::State, named("", entries).collect()),
    }
}

fn named<'a>(what: &'a str, fields: &'a Fields) -> impl Iterator<Item = String> + 'a {
    let line = move |(name, value): &(Bytes, Bytes)| {
        format!("{what}{}: {}", readable(&name.0), readable(&value.0))
    };
    fields.iter().map(line)
}

/// Content as lines: of text where it is text.
fn body(bytes: &[u8]) -> Vec<String> {
    if bytes.is_empty() {
        return Vec::new();
    }
    let plain = |text: &&str| !text.chars().any(|c| c.is_control() && !"\n\r\t".contains(c));
    match std::str::from_utf8(bytes).ok().filter(plain) {
        Some(text) => text.split('\n').map(|line| format!("| {line}")).collect(),
        None => {
            let row = |row: &[u8]| {
                row.iter().fold("| ".to_owned(), |line, byte| format!("{line}{byte:02x}"))
            };
            bytes.chunks(ROW).map(row).collect()
        }
    }
}

fn readable(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.chars().any(char::is_control) => text.to_owned(),
        _ => bytes.escape_ascii().to_string(),
    }
}

/// Lines of one list and not of the other, by their longest common subsequence.
fn changes(before: &[String], after: &[String]) -> Vec<Change> {
    let same_start = before.iter().zip(after).take_while(|(one, other)| one == other).count();
    let (before, after) = (&before[same_start..], &after[same_start..]);
    let ends = before.iter().rev().zip(after.iter().rev());
    let same_end = ends.take_while(|(one, other)| one == other).count();
    let (before, after) = (&before[..before.len() - same_end], &after[..after.len() - same_end]);
    if before.len() > MOST || after.len() > MOST {
        let gone = before.iter().cloned().map(Change::Gone);
        return gone.chain(after.iter().cloned().map(Change::New)).collect();
    }
    let lengths = lengths(before, after);
    let (mut one, mut other) = (0, 0);
    let mut changes = Vec::new();
    while one < before.len() || other < after.len() {
        let (left, right) = (before.get(one), after.get(other));
        if left.is_some() && left == right {
            (one, other) = (one + 1, other + 1);
            continue;
        }
        let skip_left = right.is_none() || lengths[one + 1][other] >= lengths[one][other + 1];
        match (left, right) {
            (Some(line), _) if skip_left => {
                changes.push(Change::Gone(line.clone()));
                one += 1;
            }
            (_, Some(line)) => {
                changes.push(Change::New(line.clone()));
                other += 1;
            }
            _ => return changes,
        }
    }
    changes
}

/// Length of the longest common subsequence of what follows each pair of places.
fn lengths(before: &[String], after: &[String]) -> Vec<Vec<u32>> {
    let mut lengths = vec![vec![0; after.len() + 2]; before.len() + 2];
    for one in (0..before.len()).rev() {
        for other in (0..after.len()).rev() {
            lengths[one][other] = if before[one] == after[other] {
                lengths[one + 1][other + 1] + 1
            } else {
                lengths[one + 1][other].max(lengths[one][other + 1])
            };
        }
    }
    lengths
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    fn shown(before: &str, after: &str) -> String {
        let change = |change: &Change| match change {
            Change::Gone(line) => format!("-{line}"),
            Change::New(line) => format!("+{line}"),
        };
        let changes = changes(&list(before), &list(after));
        changes.iter().map(change).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn only_lines_that_differ_are_told() {
        for (before, after, want) in [
            ("a b c", "a b c", ""),
            ("a b c", "a x c", "-b +x"),
            ("a b c d", "a c d e", "-b +e"),
            ("", "a b", "+a +b"),
            ("a b", "", "-a -b"),
            ("a b a b", "b a b a", "-a +a"),
        ] {
            assert_eq!(shown(before, after), want, "{before} / {after}");
        }
    }

    #[test]
    fn pieces_of_content_are_no_difference_and_its_bytes_are() {
        let piece = |text: &str, end| Line {
            n: 1,
            at: 0,
            stream: Some(1),
            facts: None,
            details: None,
            what: What::Out(Out::Body { way: Way::Response, bytes: Bytes(text.into()), end }),
        };
        let (one, two) = ([piece("ab", true)], [piece("a", false), piece("b", true)]);
        assert_eq!(differences(&one, &two), []);
        let told = differences(&one, &[piece("ac", true)]);
        assert_eq!(told[0].to_string(), "stream 1 ( ), to the caller:\n  - | ab\n  + | ac\n");
    }
}
