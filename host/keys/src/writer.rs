//! Group commit: one task writes for all messages, and those that wait go into one transaction.
//!
//! A commit waits for the disk, whatever it holds. So a job that comes while another is written
//! joins it, and one that comes alone waits for nobody: the transaction is committed as soon as
//! no job waits, after [`MOST`] jobs or after [`LONGEST`].
//!
//! Knows no SQL and no message: a [`Ledger`] has both. Invariant: an answer is given when the
//! commit that holds its rows has come back, and never before; jobs are written in the order in
//! which they came; a job that fails takes its own rows with it and nobody else's; nothing is
//! tried again here, and [`Fault::Busy`] tells who asked that nothing was committed.

use std::future::Future;
use std::time::Duration;

use postern_core::redacted::Redacted;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};

use crate::fault::Fault;

/// Most jobs of one transaction. Each is a subtransaction of PostgreSQL's, which keeps 64 of
/// them at hand.
const MOST: usize = 64;
/// For how long a transaction takes in more: other replicas wait for it, and so do operators.
const LONGEST: Duration = Duration::from_millis(50);
/// Most jobs that wait. Whoever would be behind them has given up by then.
const QUEUE: usize = 256;
/// Time for each step of a transaction: longer than another replica may hold the write lock.
const PATIENCE: Duration = Duration::from_secs(5);

/// What writes the rows of jobs.
pub(crate) trait Ledger: Send + Sync + 'static {
    /// What is to be written.
    type Job: Send + Sync + 'static;
    /// What it gives.
    type Answer: Send + 'static;
    /// An open transaction; nothing of one that is dropped is kept.
    type Open: Send;

    /// Starts a transaction.
    fn begin(&self) -> impl Future<Output = Result<Self::Open, Fault>> + Send;

    /// Writes the rows of `job`, all or none.
    fn write(
        &self,
        open: &mut Self::Open,
        job: &Self::Job,
    ) -> impl Future<Output = Result<Self::Answer, Failed>> + Send;

    /// Makes what was written durable.
    fn commit(&self, open: Self::Open) -> impl Future<Output = Result<(), Fault>> + Send;
}

/// Why a job wrote nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failed {
    /// It failed by itself, and the transaction goes on without it.
    Alone(Fault),
    /// The transaction is gone, and what others wrote in it.
    Lost(Fault),
}

/// A job, and who waits for it.
struct Waiting<L: Ledger> {
    job: L::Job,
    reply: oneshot::Sender<Result<L::Answer, Fault>>,
}

/// Where jobs are put. The task ends with it.
pub(crate) struct Writer<L: Ledger> {
    queue: mpsc::Sender<Waiting<L>>,
}

impl<L: Ledger> Writer<L> {
    /// Starts the task that writes to `ledger`.
    pub(crate) fn start(ledger: L) -> Self {
        let (queue, jobs) = mpsc::channel(QUEUE);
        tokio::spawn(Task { ledger, jobs }.run());
        Self { queue }
    }

    /// What `job` gave, once it is durable.
    ///
    /// # Errors
    /// [`Fault::Crowded`] when too many wait; [`Fault::Stuck`] when the task has died of a bug;
    /// what the job or its transaction had.
    pub(crate) async fn written(&self, job: L::Job) -> Result<L::Answer, Fault> {
        let (reply, answer) = oneshot::channel();
        self.queue.try_send(Waiting { job, reply }).map_err(|error| match error {
            TrySendError::Full(_) => Fault::Crowded,
            TrySendError::Closed(_) => Fault::Stuck,
        })?;
        answer.await.unwrap_or(Err(Fault::Stuck))
    }

    /// Whether anything can be written; after a bug in a ledger only a restart helps.
    pub(crate) fn is_alive(&self) -> bool {
        !self.queue.is_closed()
    }
}

struct Task<L: Ledger> {
    ledger: L,
    jobs: mpsc::Receiver<Waiting<L>>,
}

/// Who has written, with the answer that is not given yet.
type Written<L> = (oneshot::Sender<Result<<L as Ledger>::Answer, Fault>>, <L as Ledger>::Answer);

impl<L: Ledger> Task<L> {
    async fn run(mut self) {
        while let Some(first) = self.jobs.recv().await {
            match within(self.ledger.begin()).await {
                Ok(open) => self.together(open, first).await,
                Err(fault) => self.refuse(first, &fault),
            }
        }
    }

    /// Writes `first` and whoever comes meanwhile.
    async fn together(&mut self, mut open: L::Open, first: Waiting<L>) {
        let (begun, mut written, mut next) = (Instant::now(), Vec::new(), Some(first));
        let mut parts: usize = 0;
        while let Some(Waiting { job, reply }) = next {
            parts += 1;
            let step = timeout(PATIENCE, self.ledger.write(&mut open, &job));
            // Nobody waits for the answer any more: nothing is written, nothing logged.
            let outcome = if reply.is_closed() { None } else { Some(step.await) };
            match outcome {
                None => {}
                Some(Ok(Ok(answer))) => written.push((reply, answer)),
                Some(Ok(Err(Failed::Alone(fault)))) => tell::<L>(reply, Err(fault)),
                Some(Ok(Err(Failed::Lost(fault)))) => {
                    tell::<L>(reply, Err(fault));
                    return tell_all::<L>(written, &taken_along());
                }
                Some(Err(_)) => {
                    tell::<L>(reply, Err(Fault::Stuck));
                    return tell_all::<L>(written, &Fault::Stuck);
                }
            }
            let more = parts < MOST && begun.elapsed() < LONGEST;
            next = if more { self.jobs.try_recv().ok() } else { None };
        }
        if written.is_empty() {
            return;
        }
        match within(self.ledger.commit(open)).await {
            Ok(()) => written.into_iter().for_each(|(reply, answer)| tell::<L>(reply, Ok(answer))),
            Err(fault) => tell_all::<L>(written, &fault),
        }
    }

    /// There is no transaction to be had: nobody who waits now gets one.
    fn refuse(&mut self, first: Waiting<L>, fault: &Fault) {
        tell::<L>(first.reply, Err(fault.clone()));
        while let Ok(waiting) = self.jobs.try_recv() {
            tell::<L>(waiting.reply, Err(fault.clone()));
        }
    }
}

/// Of whoever had written in a transaction that another job took with it.
fn taken_along() -> Fault {
    Fault::Busy(Redacted::new("the transaction was lost before its commit"))
}

fn tell<L: Ledger>(
    reply: oneshot::Sender<Result<L::Answer, Fault>>,
    outcome: Result<L::Answer, Fault>,
) {
    // Who has gone needs no answer.
    let _ = reply.send(outcome);
}

fn tell_all<L: Ledger>(written: Vec<Written<L>>, fault: &Fault) {
    written.into_iter().for_each(|(reply, _)| tell::<L>(reply, Err(fault.clone())));
}

/// A database that does not answer is one that is away.
async fn within<T>(step: impl Future<Output = Result<T, Fault>> + Send) -> Result<T, Fault> {
    timeout(PATIENCE, step).await.unwrap_or(Err(Fault::Stuck))
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
