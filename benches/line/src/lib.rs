//! One measured goal, as a line of JSON or of text.

#![forbid(unsafe_code)]

use serde::Serialize;

/// Which side of the goal is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Op {
    /// Not more.
    #[serde(rename = "<=")]
    AtMost,
    /// Not less.
    #[serde(rename = ">=")]
    AtLeast,
}

/// A line.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Line {
    /// Which goal.
    pub id: String,
    /// Ours divided by the other.
    pub ratio: Option<f64>,
    /// How the ratio is held against the goal.
    pub op: Op,
    /// The goal.
    pub goal: f64,
    /// Whether it is met.
    pub met: bool,
    /// Median of ours.
    pub ours: Option<f64>,
    /// Median of what it is compared with.
    pub other: Option<f64>,
    /// Of both.
    pub unit: &'static str,
    /// How often each was measured.
    pub runs: usize,
    /// Greatest minus least of ours, as a part of the median.
    pub spread: f64,
    /// What to know.
    pub note: String,
}

/// What is compared.
pub struct Pair<'a> {
    /// Ours, one figure a run.
    pub ours: &'a [f64],
    /// The other, one figure a run.
    pub other: &'a [f64],
}

impl Line {
    /// A line from figures of both sides.
    pub fn new(id: &str, pair: &Pair<'_>, (op, goal): (Op, f64), unit: &'static str) -> Self {
        let (ours, other) = (median(pair.ours), median(pair.other));
        let ratio = ours.zip(other).map(|(ours, other)| ours / other);
        let met = ratio.is_some_and(|ratio| match op {
            Op::AtMost => ratio <= goal,
            Op::AtLeast => ratio >= goal,
        });
        let (least, most) = (least(pair.ours), most(pair.ours));
        let spread = ours.map_or(0.0, |ours| (most - least) / ours);
        let (id, runs, note) = (id.to_owned(), pair.ours.len(), String::new());
        Self { id, ratio, op, goal, met, ours, other, unit, runs, spread, note }
    }

    /// What could not be measured, and why.
    pub fn missing(id: &str, note: &str) -> Self {
        let pair = Pair { ours: &[], other: &[] };
        let line = Self::new(id, &pair, (Op::AtMost, 1.0), "");
        Self { note: note.to_owned(), ..line }
    }

    /// The same with a note.
    pub fn noted(self, note: impl Into<String>) -> Self {
        Self { note: note.into(), ..self }
    }

    /// Writes it on standard output.
    pub fn print(&self, json: bool) {
        if json {
            println!("{}", serde_json::to_string(self).unwrap_or_default());
            return;
        }
        let Self { id, unit, note, runs, .. } = self;
        let (Some(ratio), Some(ours), Some(other)) = (self.ratio, self.ours, self.other) else {
            return println!("{id:16} not measured: {note}");
        };
        let op = if self.op == Op::AtMost { "<=" } else { ">=" };
        let met = if self.met { "met" } else { "NOT met" };
        println!(
            "{id:16} ratio {ratio:.3} (goal {op} {}) {met}: {ours:.2} against {other:.2} {unit}, \
             {runs} runs, spread {:.0} %. {note}",
            self.goal,
            self.spread * 100.0
        );
    }
}

/// The middle one.
pub fn median(figures: &[f64]) -> Option<f64> {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied()
}

fn least(figures: &[f64]) -> f64 {
    figures.iter().copied().fold(f64::INFINITY, f64::min)
}

fn most(figures: &[f64]) -> f64 {
    figures.iter().copied().fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_holds_the_ratio_of_medians_against_the_goal() {
        let pair = Pair { ours: &[3.0, 1.0, 2.0], other: &[4.0, 4.0, 8.0] };
        let line = Line::new("P7", &pair, (Op::AtLeast, 0.5), "requests/s");
        assert_eq!((line.ratio, line.met, line.runs, line.spread), (Some(0.5), true, 3, 1.0));
        let line = Line::new("P1", &pair, (Op::AtMost, 0.4), "us");
        assert!(!line.met);
    }

    #[test]
    fn what_was_not_measured_is_not_met() {
        let line = Line::missing("P7", "no envoy");
        assert!(!line.met && line.ratio.is_none());
        let text = serde_json::to_value(&line).unwrap();
        assert_eq!((text["met"].as_bool(), text["note"].as_str()), (Some(false), Some("no envoy")));
    }
}
