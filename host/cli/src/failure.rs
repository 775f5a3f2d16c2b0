//! Why a command did not end well, sorted by who can do something about it.
//!
//! Owns the exit codes of the `postern` command. Invariant: every error carries its
//! kind from the place where it was understood; nothing guesses it later.

use std::fmt;

/// Whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The command worked and what it looked at is bad.
    Found,
    /// The command was called wrongly.
    Usage,
    /// Something around us is missing, unreachable or unreadable.
    Environment,
    /// A mistake of this program.
    Bug,
}

impl Kind {
    /// The exit code.
    pub fn code(self) -> u8 {
        match self {
            Self::Found => 1,
            Self::Usage => 2,
            Self::Environment => 3,
            Self::Bug => 4,
        }
    }

    /// The name in `--json` output.
    pub fn name(self) -> &'static str {
        match self {
            Self::Found => "found",
            Self::Usage => "usage",
            Self::Environment => "environment",
            Self::Bug => "bug",
        }
    }
}

/// A command's error.
#[derive(Debug)]
pub struct Failure {
    /// Exit code class.
    pub kind: Kind,
    /// What happened; empty when the report was already printed.
    pub error: anyhow::Error,
}

/// What every command returns.
pub type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    /// Called wrongly.
    pub fn usage(text: impl fmt::Display) -> Self {
        Self { kind: Kind::Usage, error: anyhow::anyhow!("{text}") }
    }

    /// The world around us.
    pub fn environment(text: impl fmt::Display) -> Self {
        Self { kind: Kind::Environment, error: anyhow::anyhow!("{text}") }
    }

    /// What was looked at is bad.
    pub fn found(text: impl fmt::Display) -> Self {
        Self { kind: Kind::Found, error: anyhow::anyhow!("{text}") }
    }

    /// What was looked at is bad, and the command's own report has said so.
    pub fn reported() -> Self {
        Self::found("")
    }

    /// Our own mistake.
    pub fn bug(text: impl fmt::Display) -> Self {
        Self { kind: Kind::Bug, error: anyhow::anyhow!("{text}") }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.error)
    }
}

/// Sorts any error where it is understood.
pub trait Sort<T> {
    /// The caller's mistake.
    fn or_usage(self, doing: impl fmt::Display) -> Outcome<T>;
    /// The environment's fault.
    fn or_environment(self, doing: impl fmt::Display) -> Outcome<T>;
    /// Something bad was found.
    fn or_found(self, doing: impl fmt::Display) -> Outcome<T>;
    /// Ours.
    fn or_bug(self, doing: impl fmt::Display) -> Outcome<T>;
}

impl<T, E: fmt::Display> Sort<T> for Result<T, E> {
    fn or_usage(self, doing: impl fmt::Display) -> Outcome<T> {
        self.map_err(|e| Failure::usage(format_args!("{doing}: {e}")))
    }

    fn or_environment(self, doing: impl fmt::Display) -> Outcome<T> {
        self.map_err(|e| Failure::environment(format_args!("{doing}: {e}")))
    }

    fn or_found(self, doing: impl fmt::Display) -> Outcome<T> {
        self.map_err(|e| Failure::found(format_args!("{doing}: {e}")))
    }

    fn or_bug(self, doing: impl fmt::Display) -> Outcome<T> {
        self.map_err(|e| Failure::bug(format_args!("{doing}: {e}")))
    }
}
