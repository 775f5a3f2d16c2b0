//! What a command says: one document or text on stdout, messages on stderr.
//!
//! Invariant: with `--json` exactly one JSON document reaches stdout, whatever happens; but
//! while `postern gateway` serves, stdout is its access log and this module writes to stderr.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::failure::{Failure, Outcome};

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Output {
    /// One JSON document instead of text.
    pub json: bool,
}

impl Output {
    /// Prints a result: `value` with `--json`, else `text`.
    pub fn result(self, value: &Value, text: &str) -> Outcome {
        let rendered = if self.json { format!("{value:#}") } else { text.trim_end().to_owned() };
        if rendered.is_empty() {
            return Ok(());
        }
        line(&rendered)
    }

    /// Something a person should know; never part of the result.
    pub fn note(self, text: &str) {
        // A closed stderr is no reason to fail.
        let _ = writeln!(io::stderr(), "{text}");
    }

    /// Says what is being done if it takes longer than a second.
    pub fn progress(self, doing: &'static str) -> Progress {
        Progress::start(doing)
    }
}

fn line(text: &str) -> Outcome {
    let mut out = io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Ok(()) => Ok(()),
        // `postern … | head` is not an error of ours.
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(e) => Err(Failure::environment(format_args!("cannot write to stdout: {e}"))),
    }
}

/// A line on stderr while something takes longer than a second; gone when dropped.
pub struct Progress {
    stop: std::sync::mpsc::Sender<()>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Progress {
    fn start(doing: &'static str) -> Self {
        let (stop, stopped) = std::sync::mpsc::channel();
        let started = Instant::now();
        let thread = std::thread::spawn(move || {
            let live = io::stderr().is_terminal();
            let mut said = false;
            while stopped.recv_timeout(Duration::from_secs(1)).is_err_and(is_timeout) {
                let seconds = started.elapsed().as_secs();
                if live {
                    let _ = write!(io::stderr(), "\r{doing} … {seconds} s");
                } else if !said {
                    let _ = writeln!(io::stderr(), "{doing} …");
                }
                said = true;
            }
            if live && said {
                let _ = write!(io::stderr(), "\r\x1b[K");
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

fn is_timeout(error: std::sync::mpsc::RecvTimeoutError) -> bool {
    error == std::sync::mpsc::RecvTimeoutError::Timeout
}

impl Drop for Progress {
    fn drop(&mut self) {
        let _ = self.stop.send(());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Columns padded to their widest cell, two spaces apart; the first row is the header.
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|c| c.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::table;

    #[test]
    fn columns_line_up() {
        let rows = [vec!["id".into(), "name".into()], vec!["AbCd0123".into(), "é".into()]];
        assert_eq!(table(&rows), "id        name\nAbCd0123  é");
    }
}
