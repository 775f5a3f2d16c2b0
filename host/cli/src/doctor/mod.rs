//! What a running system says of itself, and what is to be done about it.
//!
//! Owns findings and how they are shown; each part of the system has a module. Invariant: a
//! check that could not be made is never a good one: it is bad, or says that it was not made.

pub mod counters;
pub mod key_service;

use serde_json::{Value, json};

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// As it should be.
    Ok,
    /// Not looked at, for the reason that is said.
    Skipped,
    /// Somebody should know.
    Warning,
    /// Something is broken, or soon will be.
    Bad,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Skipped => "skipped",
            Self::Warning => "warning",
            Self::Bad => "bad",
        }
    }
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at.
    pub check: &'static str,
    /// How it ended.
    pub state: State,
    /// What was seen.
    pub saw: String,
    /// What to do; empty where nothing is.
    pub advice: &'static str,
}

impl Finding {
    /// Good.
    pub fn ok(check: &'static str, saw: impl Into<String>) -> Self {
        Self { check, state: State::Ok, saw: saw.into(), advice: "" }
    }

    /// Not looked at.
    pub fn skipped(check: &'static str, why: impl Into<String>) -> Self {
        Self { check, state: State::Skipped, saw: why.into(), advice: "" }
    }

    /// Somebody should know.
    pub fn warning(check: &'static str, saw: impl Into<String>, advice: &'static str) -> Self {
        Self { check, state: State::Warning, saw: saw.into(), advice }
    }

    /// Broken.
    pub fn bad(check: &'static str, saw: impl Into<String>, advice: &'static str) -> Self {
        Self { check, state: State::Bad, saw: saw.into(), advice }
    }

    fn json(&self) -> Value {
        json!({
            "check": self.check, "state": self.state.name(), "saw": self.saw,
            "advice": (!self.advice.is_empty()).then_some(self.advice),
        })
    }

    fn text(&self) -> String {
        let word = match self.state {
            State::Ok => "ok",
            State::Skipped => "-",
            State::Warning => "WARNING",
            State::Bad => "BAD",
        };
        let line = format!("{word:<8} {:<20} {}", self.check, self.saw);
        match self.advice {
            "" => line,
            advice => format!("{line}\n{:30}→ {advice}", ""),
        }
    }
}

/// The worst of them.
pub fn worst(findings: &[Finding]) -> State {
    findings.iter().map(|finding| finding.state).max().unwrap_or(State::Skipped)
}

/// As one document.
pub fn document(findings: &[Finding]) -> Value {
    let findings_json: Vec<Value> = findings.iter().map(Finding::json).collect();
    json!({"state": worst(findings).name(), "checks": findings_json})
}

/// As text.
pub fn text(findings: &[Finding]) -> String {
    findings.iter().map(Finding::text).collect::<Vec<_>>().join("\n")
}
