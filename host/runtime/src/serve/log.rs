//! Lines of access logs, written by a thread of their own.
//!
//! Invariant: a request never waits for a log; lines that nobody takes in time are counted.

use std::io::{self, BufWriter, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use super::process::Process;
use crate::config::{AccessLogger, Output};
use crate::proxy::line::{Ended, line};
use crate::proxy::route;

/// Lines that wait at most.
const WAITING: usize = 16 * 1024;

/// Where a worker puts its lines.
#[derive(Clone)]
pub(super) struct Lines {
    sender: SyncSender<String>,
    process: Arc<Process>,
}

impl Lines {
    /// Writes one line to each logger that wants the request.
    pub fn write(&self, loggers: &[AccessLogger], ended: &Ended<'_>) {
        for logger in loggers {
            let Output::Stdout(format) = &logger.output else { continue };
            let field = |name: &str| ended.exchange.request_field(name.as_bytes());
            if logger.filter.as_ref().is_some_and(|wanted| !route::holds(wanted, field)) {
                continue;
            }
            if self.sender.try_send(line(format, ended)).is_err() {
                self.process.lost_lines.fetch_add(1, Relaxed);
            }
        }
    }
}

/// Starts the thread; it ends when the last [`Lines`] is gone.
pub(super) fn start(process: &Arc<Process>) -> io::Result<(Lines, JoinHandle<()>)> {
    let (sender, lines) = sync_channel(WAITING);
    let writer = std::thread::Builder::new().name("postern-log".to_owned());
    let writer = writer.spawn(move || write_all(&lines, io::stdout()))?;
    Ok((Lines { sender, process: Arc::clone(process) }, writer))
}

/// Flushes whenever nothing more waits.
fn write_all(lines: &Receiver<String>, out: impl Write) {
    let mut out = BufWriter::new(out);
    while let Ok(line) = lines.recv() {
        let mut next = Some(line);
        while let Some(line) = next {
            // Standard output that is closed loses the lines, and nothing else.
            let _ = writeln!(out, "{line}");
            next = lines.try_recv().ok();
        }
        let _ = out.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_out_in_their_order() {
        let (sender, lines) = sync_channel(4);
        ["a", "b"].iter().for_each(|line| sender.send((*line).to_owned()).unwrap());
        drop(sender);
        let mut out = Vec::new();
        write_all(&lines, &mut out);
        assert_eq!(out, b"a\nb\n");
    }
}
