//! Which lines of policies their tests evaluate.

use postern_rego::{Coverage, Rules};
use serde_json::{Value, json};

use super::{is_test, lines};
use crate::failure::{Failure, Outcome};

/// Lines of all policies; those of tests do not count.
pub struct Lines {
    files: Vec<Coverage>,
    least: u8,
}

impl Lines {
    /// What the tests evaluated, and the percentage that is asked for.
    pub fn of(rules: &Rules, least: u8) -> Outcome<Self> {
        let mut files = rules.coverage().map_err(|found| Failure::found(lines(&[found])))?;
        files.retain(|file| !is_test(&file.file));
        files.sort_by(|a, b| a.file.cmp(&b.file));
        Ok(Self { files, least })
    }

    /// Whether it is as many as asked for.
    pub fn enough(&self) -> bool {
        self.percent() >= f64::from(self.least)
    }

    fn percent(&self) -> f64 {
        let count = |lines: fn(&Coverage) -> &Vec<u32>| -> usize {
            self.files.iter().map(|file| lines(file).len()).sum()
        };
        let (reached, missed) = (count(|file| &file.reached), count(|file| &file.missed));
        match reached + missed {
            0 => 100.0,
            all => reached as f64 * 100.0 / all as f64,
        }
    }

    /// For `--json`.
    pub fn document(&self) -> Value {
        let file = |one: &Coverage| json!({"file": one.file, "reached": one.reached.len(), "missed": one.missed});
        let files: Vec<Value> = self.files.iter().map(file).collect();
        json!({"percent": self.percent(), "least": self.least, "files": files})
    }

    /// For people: every line that no test evaluates.
    pub fn text(&self) -> String {
        let mut text = format!("\nlines evaluated by tests: {:.1} %", self.percent());
        if !self.enough() {
            text.push_str(&format!(", expected at least {} %", self.least));
        }
        for file in self.files.iter().filter(|file| !file.missed.is_empty()) {
            let missed: Vec<String> = file.missed.iter().map(ToString::to_string).collect();
            text.push_str(&format!("\n  {}: not {}", file.file, missed.join(", ")));
        }
        text
    }
}
