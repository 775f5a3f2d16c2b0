//! In virtual time, on a ledger that says what was done.

use std::sync::{Arc, Mutex};

use super::*;

/// A job at which the ledger panics.
const BUG: u32 = u32::MAX;

/// Milliseconds of each step, and what goes wrong.
#[derive(Clone, Default)]
struct Fake {
    begin: u64,
    write: u64,
    commit: u64,
    /// Jobs that fail by themselves, and one that takes the transaction with it.
    fails: Vec<u32>,
    loses: Option<u32>,
    /// What commits have.
    refuses: Option<Fault>,
    /// From the how many-th transaction on the database answers.
    answers_from: usize,
    done: Arc<Mutex<Vec<String>>>,
}

impl Fake {
    fn note(&self, what: impl Into<String>) {
        self.done.lock().unwrap().push(what.into());
    }

    fn done(&self) -> Vec<String> {
        self.done.lock().unwrap().clone()
    }
}

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

impl Ledger for Fake {
    type Job = u32;
    type Answer = u32;
    type Open = Vec<String>;

    async fn begin(&self) -> Result<Vec<String>, Fault> {
        self.note("begin");
        let begun = self.done().iter().filter(|what| *what == "begin").count();
        let time = if begun < self.answers_from { u64::MAX >> 24 } else { self.begin };
        tokio::time::sleep(ms(time)).await;
        Ok(Vec::new())
    }

    async fn write(&self, open: &mut Vec<String>, job: &u32) -> Result<u32, Failed> {
        tokio::time::sleep(ms(self.write)).await;
        assert_ne!(*job, BUG, "as a bug would end it");
        if self.loses == Some(*job) {
            return Err(Failed::Lost(Fault::NoRandomness));
        }
        if self.fails.contains(job) {
            return Err(Failed::Alone(Fault::NoRandomness));
        }
        open.push(job.to_string());
        Ok(job + 100)
    }

    async fn commit(&self, open: Vec<String>) -> Result<(), Fault> {
        tokio::time::sleep(ms(self.commit)).await;
        self.note(format!("commit {}", open.join(" ")));
        self.refuses.clone().map_or(Ok(()), Err)
    }
}

/// The outcome of each of these jobs, put in one after the other at once.
async fn outcomes(writer: &Arc<Writer<Fake>>, jobs: &[u32]) -> Vec<Result<u32, Fault>> {
    let mut tasks = Vec::new();
    for job in jobs.iter().copied() {
        let writer = Arc::clone(writer);
        tasks.push(tokio::spawn(async move { writer.written(job).await }));
        // Each is in the queue before the next.
        tokio::task::yield_now().await;
    }
    let mut all = Vec::new();
    for task in tasks {
        all.push(task.await.unwrap());
    }
    all
}

fn started(fake: &Fake) -> Arc<Writer<Fake>> {
    Arc::new(Writer::start(fake.clone()))
}

#[tokio::test(start_paused = true)]
async fn one_that_comes_alone_waits_for_its_own_commit_and_nothing_else() {
    let fake = Fake { begin: 1, write: 2, commit: 4, ..Fake::default() };
    let (writer, begun) = (started(&fake), Instant::now());
    assert_eq!(writer.written(1).await, Ok(101));
    assert_eq!(begun.elapsed(), ms(7));
    assert_eq!(fake.done(), ["begin", "commit 1"]);
}

#[tokio::test(start_paused = true)]
async fn those_that_wait_are_committed_together_in_the_order_in_which_they_came() {
    let fake = Fake { write: 1, commit: 10, ..Fake::default() };
    let writer = started(&fake);
    let first = outcomes(&writer, &[1]);
    let others = async {
        tokio::time::sleep(ms(5)).await;
        outcomes(&writer, &[2, 3, 4, 5]).await
    };
    let (first, others) = tokio::join!(first, others);
    assert_eq!((first, others), (vec![Ok(101)], vec![Ok(102), Ok(103), Ok(104), Ok(105)]));
    assert_eq!(fake.done(), ["begin", "commit 1", "begin", "commit 2 3 4 5"]);
}

#[tokio::test(start_paused = true)]
async fn a_transaction_takes_in_no_more_than_so_many_and_for_no_longer_than_so_long() {
    let fake = Fake { begin: 1, commit: 1, ..Fake::default() };
    let jobs: Vec<u32> = (0..100).collect();
    outcomes(&started(&fake), &jobs).await;
    let sizes = |fake: &Fake| -> Vec<usize> {
        let done = fake.done();
        let commits = done.iter().filter(|what| what.starts_with("commit"));
        commits.map(|commit| commit.split(' ').count() - 1).collect()
    };
    assert_eq!(sizes(&fake), [64, 36]);
    let slow = Fake { begin: 1, write: 20, ..Fake::default() };
    outcomes(&started(&slow), &jobs[..7]).await;
    assert_eq!(sizes(&slow), [3, 3, 1]);
}

#[tokio::test(start_paused = true)]
async fn one_that_fails_takes_nobody_with_it() {
    let fake = Fake { begin: 1, fails: vec![2], ..Fake::default() };
    let all = outcomes(&started(&fake), &[1, 2, 3]).await;
    assert_eq!(all, [Ok(101), Err(Fault::NoRandomness), Ok(103)]);
    assert_eq!(fake.done(), ["begin", "commit 1 3"]);
}

#[tokio::test(start_paused = true)]
async fn who_was_in_a_lost_transaction_hears_that_nothing_was_committed() {
    let fake = Fake { begin: 1, loses: Some(2), ..Fake::default() };
    let writer = started(&fake);
    let all = outcomes(&writer, &[1, 2, 3]).await;
    assert_eq!(all, [Err(taken_along()), Err(Fault::NoRandomness), Ok(103)]);
    assert_eq!(fake.done(), ["begin", "begin", "commit 3"]);
    assert_eq!(writer.written(1).await, Ok(101), "and can do it again");
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_fails_is_told_to_all_and_not_tried_again() {
    let fake = Fake { begin: 1, refuses: Some(Fault::Stuck), ..Fake::default() };
    let all = outcomes(&started(&fake), &[1, 2]).await;
    assert_eq!(all, [Err(Fault::Stuck), Err(Fault::Stuck)]);
    assert_eq!(fake.done(), ["begin", "commit 1 2"]);
}

#[tokio::test(start_paused = true)]
async fn a_stuck_database_is_waited_for_so_long_whatever_it_was_to_do() {
    let never = u64::MAX >> 24;
    let fakes = [
        Fake { begin: never, ..Fake::default() },
        Fake { write: never, ..Fake::default() },
        Fake { commit: never, ..Fake::default() },
    ];
    for fake in fakes {
        let (writer, begun) = (started(&fake), Instant::now());
        assert_eq!(outcomes(&writer, &[1, 2]).await[0], Err(Fault::Stuck));
        assert!(begun.elapsed() <= PATIENCE * 2 + ms(1), "{:?}", begun.elapsed());
    }
    // It answers again.
    let fake = Fake { answers_from: 2, ..Fake::default() };
    let writer = started(&fake);
    assert_eq!(outcomes(&writer, &[1, 2]).await, [Err(Fault::Stuck), Err(Fault::Stuck)]);
    assert_eq!(writer.written(3).await, Ok(103));
}

#[tokio::test(start_paused = true)]
async fn beyond_a_full_queue_it_is_refused_at_once() {
    let fake = Fake { begin: 1000, ..Fake::default() };
    let (writer, begun) = (started(&fake), Instant::now());
    let most = u32::try_from(QUEUE).unwrap();
    let jobs: Vec<u32> = (0..most + 3).collect();
    let outcomes = outcomes(&writer, &jobs).await;
    let refused = outcomes.iter().filter(|one| **one == Err(Fault::Crowded)).count();
    // One is in the hands of the task.
    assert_eq!(refused, 2);
    assert_eq!(outcomes.iter().filter(|one| one.is_ok()).count(), QUEUE + 1);
    assert!(begun.elapsed() > ms(1000));
}

#[tokio::test(start_paused = true)]
async fn for_whom_nobody_waits_any_more_nothing_is_written() {
    let fake = Fake { commit: 10, ..Fake::default() };
    let writer = started(&fake);
    let gone = timeout(ms(5), outcomes(&writer, &[1]));
    let other = async {
        tokio::time::sleep(ms(2)).await;
        let gone = timeout(ms(3), writer.written(2)).await;
        assert!(gone.is_err());
        writer.written(3).await
    };
    let (_, other) = tokio::join!(gone, other);
    assert_eq!(other, Ok(103));
    assert_eq!(fake.done(), ["begin", "commit 1", "begin", "commit 3"]);
}

#[tokio::test(start_paused = true)]
async fn a_writer_that_has_died_says_so_and_takes_nothing() {
    let writer = Writer::start(Fake::default());
    assert!(writer.is_alive());
    assert_eq!(writer.written(BUG).await, Err(Fault::Stuck));
    assert!(!writer.is_alive());
    assert_eq!(writer.written(1).await, Err(Fault::Stuck));
}

#[tokio::test(start_paused = true)]
async fn jobs_that_fail_count_among_those_of_a_transaction() {
    let fake = Fake { fails: (100..200).collect(), write: 0, ..Fake::default() };
    let writer = Arc::new(Writer::start(fake.clone()));
    let mut asking = tokio::task::JoinSet::new();
    for job in 100..200 {
        let writer = Arc::clone(&writer);
        asking.spawn(async move { writer.written(job).await });
    }
    assert!(asking.join_all().await.iter().all(Result::is_err));
    let begun = fake.done().iter().filter(|what| *what == "begin").count();
    assert_eq!(begun, 2);
}
