//! The log of commands that keep running: lines on stderr, down to a level.
//!
//! Owns the one subscriber of the process. Invariant: nothing here writes to stdout, which
//! belongs to results and, under `postern gateway`, to the access log.

use std::io;

use serde_json::{Map, Value, json};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt;
use tracing_subscriber::prelude::*;

use crate::output::Output;
use crate::span;

/// Levels by name, from the fewest lines to the most.
const LEVELS: [(&str, LevelFilter); 5] = [
    ("error", LevelFilter::ERROR),
    ("warn", LevelFilter::WARN),
    ("info", LevelFilter::INFO),
    ("debug", LevelFilter::DEBUG),
    ("trace", LevelFilter::TRACE),
];

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

/// What is logged, and how.
#[derive(clap::Args)]
pub struct LogArgs {
    /// Lines on stderr for people, or one JSON object a line.
    #[arg(long = "log-format", value_name = "FORMAT", value_enum, default_value = "human")]
    pub format: Format,
    /// Least level: error, warn, info or debug; also by part, as in warn,postern_keys=debug.
    #[arg(
        long = "log-level",
        value_name = "LEVEL",
        env = "POSTERN_LOG",
        default_value = "info",
        value_parser = levels
    )]
    levels: Targets,
}

impl LogArgs {
    /// Starts the log of this process. Warnings of `always` are kept whatever the level is.
    pub fn start(&self, format: Format, always: Option<&str>) {
        let levels = match always {
            Some(part) if !self.levels.would_enable(part, &tracing::Level::WARN) => {
                self.levels.clone().with_target(part, LevelFilter::WARN)
            }
            _ => self.levels.clone(),
        };
        let lines = fmt::layer().with_writer(io::stderr).with_ansi(false);
        let registry = tracing_subscriber::registry().with(levels);
        match format {
            Format::Human => registry.with(lines).init(),
            Format::Json => registry.with(lines.json().flatten_event(true)).init(),
        }
    }
}

/// Says something in the form of a line of the JSON log, whatever the level is.
pub fn note(out: Output, level: &str, message: &str, fields: &Value) {
    let mut line = Map::new();
    line.insert("timestamp".into(), json!(span::shown(span::now())));
    line.insert("level".into(), json!(level));
    line.insert("message".into(), json!(message));
    line.extend(fields.as_object().cloned().unwrap_or_default());
    line.insert("target".into(), json!("postern"));
    out.note(&Value::Object(line).to_string());
}

fn levels(text: &str) -> Result<Targets, String> {
    let mut levels = Targets::new();
    for part in text.split(',') {
        levels = match part.split_once('=') {
            None => levels.with_default(level(part)?),
            Some((part, name)) => levels.with_target(part, level(name)?),
        };
    }
    Ok(levels)
}

fn level(name: &str) -> Result<LevelFilter, String> {
    let found = LEVELS.iter().find(|(known, _)| *known == name).map(|(_, level)| *level);
    let names = || LEVELS.map(|(name, _)| name).join(", ");
    found.ok_or_else(|| format!("expected one of {}, not {name:?}", names()))
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn levels_are_read_alone_and_by_part() {
        let levels = levels("warn,postern_keys=debug").unwrap();
        for (part, level, kept) in [
            ("postern_keys::http", Level::DEBUG, true),
            ("postern_keys::http", Level::TRACE, false),
            ("postern_runtime", Level::WARN, true),
            ("postern_runtime", Level::INFO, false),
        ] {
            assert_eq!(levels.would_enable(part, &level), kept, "{part} {level}");
        }
    }

    #[test]
    fn a_level_that_there_is_not_is_refused() {
        for text in ["", "loud", "INFO", "info,", "postern_keys=", "postern_keys=loud"] {
            assert!(levels(text).unwrap_err().contains("error, warn, info"), "{text}");
        }
    }
}
