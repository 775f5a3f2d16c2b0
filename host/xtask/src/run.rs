//! Child processes and the exit codes that their failures become.

use std::fmt;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

/// A failure with an exit code of its own.
#[derive(Debug)]
pub struct Failure {
    code: u8,
    text: String,
}

impl Failure {
    /// Something was examined and is not as it should be (exit 1).
    pub fn found(text: impl Into<String>) -> anyhow::Error {
        Self { code: 1, text: text.into() }.into()
    }

    /// The command line asks for something that does not exist (exit 2).
    pub fn usage(text: impl Into<String>) -> anyhow::Error {
        Self { code: 2, text: text.into() }.into()
    }

    /// The machine lacks something (exit 3).
    pub fn environment(text: impl Into<String>) -> anyhow::Error {
        Self { code: 3, text: text.into() }.into()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Failure {}

/// The exit code for an error: its own, or 3 for one that the machine caused.
pub fn exit_code(error: &anyhow::Error) -> u8 {
    if let Some(failure) = error.downcast_ref::<Failure>() {
        return failure.code;
    }
    if error.chain().any(|cause| cause.is::<std::io::Error>()) { 3 } else { 4 }
}

/// Runs `command` with its output shown; an unsuccessful end is an error.
pub fn shown(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot start {}", line(command)))?;
    if status.success() {
        return Ok(());
    }
    Err(Failure::found(format!("{} ended with {status}", line(command))))
}

/// Runs `command` and returns what it printed, or what it complained about.
pub fn quiet(command: &mut Command) -> Result<String, String> {
    match command.stdin(Stdio::null()).output() {
        Err(error) => Err(format!("cannot start {}: {error}", line(command))),
        Ok(output) if output.status.success() => {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        }
        // Some tools complain on stdout.
        Ok(output) => Err(tail(&String::from_utf8_lossy(&[output.stdout, output.stderr].concat()))),
    }
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.trim().lines().collect();
    lines.get(lines.len().saturating_sub(3)..).unwrap_or_default().join(" | ")
}

/// The command as a user would type it.
pub fn line(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|word| word.to_string_lossy().into_owned()));
    words.join(" ")
}
