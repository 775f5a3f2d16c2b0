//! The score of a run: a table by row, and one JSON document.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::judge::{Outcome, Verdict};

/// Everything that came of a run.
pub struct Run {
    /// One for each case, in order.
    pub outcomes: Vec<Outcome>,
    /// Requests at the upstream that no case had sent, by their first lines.
    pub strays: Vec<String>,
}

/// Counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Score {
    /// As wanted.
    pub passed: usize,
    /// Not as wanted.
    pub failed: usize,
    /// Not as wanted, with a reason that is known.
    pub pending: usize,
    /// Not sent.
    pub not_applicable: usize,
}

impl Score {
    fn add(&mut self, verdict: &Verdict) {
        *match verdict {
            Verdict::Passed => &mut self.passed,
            Verdict::Failed(_) => &mut self.failed,
            Verdict::Pending(..) => &mut self.pending,
            Verdict::NotApplicable(_) => &mut self.not_applicable,
        } += 1;
    }
}

impl Run {
    /// The sum.
    pub fn score(&self) -> Score {
        let mut score = Score::default();
        self.outcomes.iter().for_each(|outcome| score.add(&outcome.verdict));
        score
    }

    /// Whether everything that was sent is as wanted; with `strict`, what is pending as well.
    pub fn is_good(&self, strict: bool) -> bool {
        let score = self.score();
        score.failed == 0 && self.strays.is_empty() && (!strict || score.pending == 0)
    }

    /// Counts by row, in the order of the table of attacks.
    pub fn rows(&self) -> Vec<(String, Score)> {
        let mut rows: BTreeMap<(String, u32), Score> = BTreeMap::new();
        for outcome in &self.outcomes {
            let (letters, number) = outcome.case.row.split_at(1);
            let key = (letters.to_owned(), number.parse().unwrap_or(0));
            rows.entry(key).or_default().add(&outcome.verdict);
        }
        // Requests, destinations, answers.
        let order = |letters: &str| "RDS".find(letters).unwrap_or(3);
        let mut rows: Vec<_> = rows.into_iter().collect();
        rows.sort_by_key(|((letters, number), _)| (order(letters), *number));
        rows.into_iter()
            .map(|((letters, number), score)| (format!("{letters}{number}"), score))
            .collect()
    }

    /// Header and rows of the score table, the sum last.
    pub fn table(&self) -> Vec<Vec<String>> {
        let words = ["row", "passed", "failed", "pending", "not applicable"];
        let line = |name: String, score: Score| {
            let Score { passed, failed, pending, not_applicable } = score;
            let numbers = [passed, failed, pending, not_applicable].map(|n| n.to_string());
            std::iter::once(name).chain(numbers).collect::<Vec<_>>()
        };
        let mut table = vec![words.map(str::to_owned).to_vec()];
        table.extend(self.rows().into_iter().map(|(row, score)| line(row, score)));
        table.push(line("all".into(), self.score()));
        table
    }

    /// One document.
    pub fn document(&self) -> Value {
        let counts = |score: Score| {
            json!({
                "passed": score.passed, "failed": score.failed,
                "pending": score.pending, "not_applicable": score.not_applicable,
            })
        };
        let rows = self.rows().into_iter().map(|(row, score)| {
            let mut counts = counts(score);
            counts["row"] = json!(row);
            counts
        });
        json!({
            "good": self.is_good(false),
            "score": counts(self.score()),
            "rows": rows.collect::<Vec<_>>(),
            "cases": self.outcomes.iter().map(case).collect::<Vec<_>>(),
            "strays": self.strays,
        })
    }
}

fn case(outcome: &Outcome) -> Value {
    let (verdict, why) = match &outcome.verdict {
        Verdict::Passed => ("passed", Value::Null),
        Verdict::Failed(lines) => ("failed", json!(lines)),
        Verdict::Pending(reason, lines) => {
            ("pending", json!([std::slice::from_ref(reason), lines].concat()))
        }
        Verdict::NotApplicable(why) => ("not_applicable", json!([why])),
    };
    json!({"name": outcome.case.name, "note": outcome.case.note, "verdict": verdict, "why": why})
}
