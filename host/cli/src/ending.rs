//! The end of a command that keeps running: a signal, or the end of stdin.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot::{Receiver, channel};

use crate::failure::{Outcome, Sort};

/// Who may ask for the end.
pub struct Ending {
    interrupt: Signal,
    terminate: Signal,
    stdin: Option<Receiver<()>>,
}

impl Ending {
    /// Takes signals from now on, and with `while_stdin` the end of stdin. Needs a runtime.
    pub fn watch(while_stdin: bool) -> Outcome<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt()).or_environment("signals")?,
            terminate: signal(SignalKind::terminate()).or_environment("signals")?,
            stdin: while_stdin.then(end_of_stdin),
        })
    }

    /// Waits until the end is asked for; again for each call.
    pub async fn asked(&mut self) {
        let stdin = self.stdin.as_mut();
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            Some(_) = async { Some(stdin?.await) } => self.stdin = None,
        }
    }
}

/// Reads on a thread of its own: nothing else can wait for a blocking stdin.
fn end_of_stdin() -> Receiver<()> {
    let (ended, wait) = channel();
    std::thread::spawn(move || {
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        drop(ended);
    });
    wait
}
