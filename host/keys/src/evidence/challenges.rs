//! Challenges that wait for a report, answered together (`plugins/crp/SPEC.md`, 3.5).
//!
//! Anybody may challenge. Owns the queue, how often it is answered and how long it may be.
//! Invariant: however many ask, there is one report at a time and one in an
//! [`Attester::between_challenges`]; nobody's challenge is put off for another's unless
//! [`MOST`] wait already.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use postern_core::redacted::Redacted;
use postern_core::time::UnixMillis;
use postern_crp::evidence::challenge::{self, Hash, MOST};
use postern_crp::evidence::with_path;
use tokio::sync::oneshot::{self, Sender};
use tokio::time::{Instant, sleep_until};

use super::Attester;
use crate::fault::Fault;

type Answer = Result<Vec<u8>, Fault>;
/// Runtime data that holds a challenge.
type Runtime = Box<dyn FnOnce(Hash) -> Vec<u8> + Send>;

struct Waiting {
    leaf: Hash,
    answer: Sender<Answer>,
}

#[derive(Default)]
struct Queue {
    waiting: Vec<Waiting>,
    /// Of who came last, so of the newest epoch.
    runtime: Option<(Runtime, UnixMillis)>,
    /// Earliest moment of the next report.
    next: Option<Instant>,
    /// There is a task that empties the queue.
    working: bool,
}

/// The queue.
#[derive(Clone)]
pub(crate) struct Challenges {
    queue: Arc<Mutex<Queue>>,
    attester: Arc<dyn Attester>,
}

impl Challenges {
    pub(crate) fn new(attester: Arc<dyn Attester>) -> Self {
        Self { queue: Arc::default(), attester }
    }

    /// The document for one nonce; `runtime` makes the runtime data for what it comes to.
    pub(crate) async fn answer(&self, nonce: &[u8], runtime: Runtime, now: UnixMillis) -> Answer {
        let (answer, answered) = oneshot::channel();
        self.join(Waiting { leaf: challenge::leaf(nonce), answer }, runtime, now)?;
        answered.await.unwrap_or(Err(Fault::Malformed("attester")))
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn join(&self, waiting: Waiting, runtime: Runtime, now: UnixMillis) -> Result<(), Fault> {
        let mut queue = self.lock();
        // Who went away makes room.
        queue.waiting.retain(|one| !one.answer.is_closed());
        if queue.waiting.len() >= MOST {
            return Err(Fault::Attestation(Redacted::new("too many challenges wait")));
        }
        queue.waiting.push(waiting);
        queue.runtime = Some((runtime, now));
        if !std::mem::replace(&mut queue.working, true) {
            tokio::spawn(self.clone().work());
        }
        Ok(())
    }

    /// Answers what waits, round after round, until nothing does.
    async fn work(self) {
        loop {
            let next = self.lock().next;
            if let Some(next) = next {
                sleep_until(next).await;
            }
            let Some((waiting, runtime, now)) = self.take() else { return };
            self.round(waiting, runtime, now).await;
        }
    }

    /// Everything that waits; with nothing, the work is done.
    fn take(&self) -> Option<(Vec<Waiting>, Runtime, UnixMillis)> {
        let mut queue = self.lock();
        queue.next = Some(Instant::now() + self.attester.between_challenges());
        let waiting = std::mem::take(&mut queue.waiting);
        let taken = queue.runtime.take().filter(|_| !waiting.is_empty());
        queue.working = taken.is_some();
        taken.map(|(runtime, now)| (waiting, runtime, now))
    }

    async fn round(&self, waiting: Vec<Waiting>, runtime: Runtime, now: UnixMillis) {
        let leaves: Vec<Hash> = waiting.iter().map(|one| one.leaf).collect();
        let (root, paths) = challenge::together(&leaves);
        let (attester, runtime) = (Arc::clone(&self.attester), runtime(root));
        // It may ask the kernel and another service.
        let made = tokio::task::spawn_blocking(move || attester.answer(&runtime, now)).await;
        let made = made.unwrap_or(Err(Fault::Malformed("attester")));
        for (one, path) in waiting.into_iter().zip(&paths) {
            let answer = made.as_ref().map(|document| with_path(document, path));
            // Who went away wants none.
            let _ = one.answer.send(answer.map_err(Clone::clone));
        }
    }
}
