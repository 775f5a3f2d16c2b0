//! The lines of an export, read in order and judged by as many threads as there are cores.
//!
//! Invariant: entries come out in the order of their lines, whatever order they were judged
//! in, and a bounded number of lines is in memory.

use std::io::{BufRead, Read};
use std::num::NonZero;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Scope, available_parallelism, scope};

use ed25519_dalek::VerifyingKey;

use crate::audit::entry::{Entry, Judge};

/// Longest line. The records of a batch have at most 60 KiB; as JSON text a byte takes up to
/// six (`\u0001`), and base64 adds a third to that.
pub const MAX_LINE: u64 = 1024 * 1024;
/// Lines, and bytes, that one thread judges at a time.
const LINES: usize = 1024;
const BYTES: usize = 1 << 20;
/// Most threads.
const THREADS: usize = 8;

/// A line that is too long or no text, or a file that cannot be read further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreadable;

/// Lines with a limit.
pub struct Lines<R> {
    reader: R,
}

impl<R: BufRead> Lines<R> {
    /// Of this reader.
    pub fn new(reader: R) -> Self {
        Self { reader }
    }

    /// The next line with its end; `None` behind the last.
    pub fn next_line(&mut self) -> Result<Option<String>, Unreadable> {
        let mut line = String::new();
        let read = Read::take(&mut self.reader, MAX_LINE).read_line(&mut line);
        match read {
            Ok(0) => Ok(None),
            Ok(_) if line.len() as u64 == MAX_LINE => Err(Unreadable),
            Ok(_) => Ok(Some(line)),
            Err(_) => Err(Unreadable),
        }
    }

    /// Some lines; whether there are more, or what comes next cannot be read.
    fn chunk(&mut self) -> (Vec<String>, Result<bool, Unreadable>) {
        let (mut lines, mut bytes) = (Vec::new(), 0);
        while lines.len() < LINES && bytes < BYTES {
            match self.next_line() {
                Ok(Some(line)) => {
                    bytes += line.len();
                    lines.push(line);
                }
                Ok(None) => return (lines, Ok(false)),
                Err(Unreadable) => return (lines, Err(Unreadable)),
            }
        }
        (lines, Ok(true))
    }
}

/// A thread that judges: what it is sent, and what it sends back.
struct Worker {
    lines: SyncSender<Vec<String>>,
    entries: Receiver<Vec<Entry>>,
}

impl Worker {
    fn start<'s>(threads: &'s Scope<'s, '_>, key: VerifyingKey) -> Self {
        let (lines, to_judge) = sync_channel::<Vec<String>>(1);
        let (judged, entries) = sync_channel(1);
        threads.spawn(move || {
            let judge = Judge::of_many(&key);
            for lines in to_judge {
                let entries = lines.iter().map(|line| judge.text(line)).collect();
                // The reader has found a break and left.
                if judged.send(entries).is_err() {
                    return;
                }
            }
        });
        Self { lines, entries }
    }
}

/// Gives every line's entry to `take`, in order, until it has an error.
pub(super) fn judged<E>(
    key: &VerifyingKey,
    mut lines: Lines<impl BufRead>,
    mut take: impl FnMut(Result<Entry, Unreadable>) -> Result<(), E>,
) -> Result<(), E> {
    let (first, more) = lines.chunk();
    // A few lines are not worth threads and tables.
    if more != Ok(true) {
        let judge = Judge::of_few(key);
        first.iter().try_for_each(|line| take(Ok(judge.text(line))))?;
        return more.map_or_else(|end| take(Err(end)), |_| Ok(()));
    }
    let count = available_parallelism().map_or(1, NonZero::get).min(THREADS);
    scope(|threads| {
        let workers: Vec<Worker> = (0..count).map(|_| Worker::start(threads, *key)).collect();
        let (mut next, mut end) = (Some(first), Ok(true));
        let (mut sent, mut taken) = (0_usize, 0_usize);
        loop {
            // Each has one chunk at work and one that waits.
            while sent - taken < 2 * count
                && let Some(chunk) = next.take()
            {
                if workers[sent % count].lines.send(chunk).is_err() {
                    return take(Err(Unreadable));
                }
                sent += 1;
                if end == Ok(true) {
                    let (chunk, more) = lines.chunk();
                    (next, end) = (Some(chunk), more);
                }
            }
            if taken == sent {
                return end.map_or_else(|end| take(Err(end)), |_| Ok(()));
            }
            let Ok(entries) = workers[taken % count].entries.recv() else {
                return take(Err(Unreadable));
            };
            taken += 1;
            entries.into_iter().try_for_each(|entry| take(Ok(entry)))?;
        }
    })
}
