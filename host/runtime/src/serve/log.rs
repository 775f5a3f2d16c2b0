//! Lines of access logs, written by a thread of their own.
//!
//! Invariant: a request never waits for a log, and neither does the end of the gateway for
//! longer than [`LAST_LINES`]; lines that nobody takes in time are counted.

use std::io::{self, BufWriter, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use super::process::Process;
use crate::config::{AccessLogger, Output};
use crate::proxy::line::{Ended, line};
use crate::proxy::route;

/// Lines that wait at most.
const WAITING: usize = 16 * 1024;
/// Bytes of lines that wait at most: a line holds what callers have sent.
const MOST_HELD: usize = 16 << 20;
/// Time for what waits when the gateway ends.
const LAST_LINES: Duration = Duration::from_secs(2);

/// Where a worker puts its lines.
#[derive(Clone)]
pub(super) struct Lines {
    sender: SyncSender<String>,
    held: Arc<AtomicUsize>,
    process: Arc<Process>,
}

/// The thread that writes.
pub(super) struct Writer {
    /// Closed when the thread has ended.
    ended: Receiver<()>,
}

impl Writer {
    /// Waits until everything is written, unless nobody takes it.
    pub fn join(self) {
        let _ = self.ended.recv_timeout(LAST_LINES);
    }
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
            if !self.keep(line(format, ended)) {
                self.process.lost_lines.fetch_add(1, Relaxed);
            }
        }
    }

    /// Whether there is room for the line.
    fn keep(&self, line: String) -> bool {
        let length = line.len();
        if self.held.load(Relaxed).saturating_add(length) > MOST_HELD {
            return false;
        }
        // Counted before the writer can take it away.
        self.held.fetch_add(length, Relaxed);
        let sent = self.sender.try_send(line).is_ok();
        if !sent {
            self.held.fetch_sub(length, Relaxed);
        }
        sent
    }
}

/// Starts the thread; it ends when the last [`Lines`] is gone.
pub(super) fn start(process: &Arc<Process>) -> io::Result<(Lines, Writer)> {
    let (sender, lines) = sync_channel(WAITING);
    let (alive, ended) = sync_channel(0);
    let held = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&held);
    let thread = std::thread::Builder::new().name("postern-log".to_owned());
    thread.spawn(move || {
        write_all(&lines, &counted, io::stdout());
        drop::<SyncSender<()>>(alive);
    })?;
    Ok((Lines { sender, held, process: Arc::clone(process) }, Writer { ended }))
}

/// Flushes whenever nothing more waits.
fn write_all(lines: &Receiver<String>, held: &AtomicUsize, out: impl Write) {
    let mut out = BufWriter::new(out);
    while let Ok(line) = lines.recv() {
        let mut next = Some(line);
        while let Some(line) = next {
            // Standard output that is closed loses the lines, and nothing else.
            let _ = writeln!(out, "{line}");
            held.fetch_sub(line.len(), Relaxed);
            next = lines.try_recv().ok();
        }
        let _ = out.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Gateway;

    fn lines() -> (Lines, Receiver<String>) {
        let gateway = Gateway::parse(include_str!("../../../../envoy/envoy.yaml")).unwrap();
        let (sender, lines) = sync_channel(WAITING);
        let process = Arc::new(Process::new(String::new(), gateway, Vec::new()));
        (Lines { sender, held: Arc::default(), process }, lines)
    }

    #[test]
    fn lines_come_out_in_their_order_and_hold_nothing_then() {
        let (kept, lines) = lines();
        assert!(["a", "b"].iter().all(|line| kept.keep((*line).to_owned())));
        let held = Arc::clone(&kept.held);
        assert_eq!(held.load(Relaxed), 2);
        drop(kept);
        let mut out = Vec::new();
        write_all(&lines, &held, &mut out);
        assert_eq!(out, b"a\nb\n");
        assert_eq!(held.load(Relaxed), 0);
    }

    #[test]
    fn large_lines_that_nobody_takes_are_lost_before_there_are_many() {
        let (kept, _lines) = lines();
        let large = "x".repeat(MOST_HELD / 4);
        let took = [(); 5].map(|()| kept.keep(large.clone()));
        assert_eq!(took, [true, true, true, true, false]);
        assert_eq!(kept.held.load(Relaxed), MOST_HELD);
    }

    #[test]
    fn the_end_does_not_wait_for_a_reader_that_has_stopped() {
        let (alive, ended) = sync_channel::<()>(0);
        let began = std::time::Instant::now();
        Writer { ended }.join();
        assert!(began.elapsed() >= LAST_LINES);
        drop(alive);
    }
}
