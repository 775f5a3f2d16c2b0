//! The caller of a step: sends, waits or goes away, and tells what it got.

use std::time::Duration;

use anyhow::Result;
use postern_rig::client::Client;
use postern_rig::message::Message;

use super::observation::message_lines;
use super::scenario::{PACE, Step};

/// A request that has been sent and not been answered yet.
pub struct Sent {
    client: Client,
    to_head: bool,
    answers: usize,
}

/// Fields of an answer that differ from run to run, or name the gateway.
const HIDDEN: [&str; 4] = ["date", "server", "x-request-id", "x-envoy-upstream-service-time"];

/// Sends a step; `None` when the caller has gone away after it.
pub fn send(port: u16, step: &Step) -> Result<Option<Sent>> {
    std::thread::park_timeout(step.after()?);
    let mut client = Client::connect(port, step.patience()?)?;
    let (pieces, to_head) = step.pieces();
    for (index, piece) in pieces.iter().enumerate() {
        if index > 0 {
            pause(PACE);
        }
        // An early answer may close the connection under our feet; it is still readable.
        if client.send(piece).is_err() {
            break;
        }
    }
    match &step.leaves {
        Some(span) => {
            pause(crate::scenario::duration(span)?);
            Ok(None)
        }
        None => Ok(Some(Sent { client, to_head, answers: step.answers })),
    }
}

/// Lets time pass.
pub fn pause(span: Duration) {
    let _ = postern_rig::wait::until(span, || None::<()>);
}

impl Sent {
    /// Reads what comes, as lines.
    pub fn answer(mut self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut finals = 0;
        while finals < self.answers {
            let Ok(answer) = self.next() else {
                lines.push("no answer in time".to_owned());
                break;
            };
            let Some(message) = answer else {
                lines.push("closed".to_owned());
                break;
            };
            finals += usize::from(message.status() >= 200);
            lines.extend(message_lines(&message, &HIDDEN));
        }
        lines.into_iter().map(|line| format!("caller: {line}")).collect()
    }

    fn next(&mut self) -> std::io::Result<Option<Message>> {
        if self.to_head { self.client.answer(true) } else { self.client.next_answer() }
    }
}
