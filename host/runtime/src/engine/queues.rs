//! Shared queues: named by `vm_id` and name, for all machines of the process.
//!
//! Envoy's rules: a name keeps its token for the life of the process; whoever registers it
//! last is the one that is woken, once for each entry, and what waits stays when the queue
//! changes hands. Envoy's queues grow without bound; these hold [`MOST_ENTRIES`] entries and
//! [`MOST_BYTES`] bytes each.
//!
//! Invariant: nobody is woken while the lock is held, so a waker may use the queues.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::view::{QueueToken, Status};

/// Most queues; the next name is refused.
const MOST_QUEUES: usize = 1024;
/// Most entries that wait in one queue.
pub const MOST_ENTRIES: usize = 16 * 1024;
/// Most bytes that wait in one queue.
pub const MOST_BYTES: usize = 16 << 20;

/// Tells a machine that an entry waits, on whatever thread it runs.
pub type Waker = Arc<dyn Fn(QueueToken) + Send + Sync>;

/// All queues; put them behind an `Arc` for the process.
#[derive(Default)]
pub struct Queues(Mutex<Table>);

#[derive(Default)]
struct Table {
    /// `vm_id` and name to token.
    names: HashMap<(Vec<u8>, Vec<u8>), QueueToken>,
    /// By token, which counts from 1.
    queues: Vec<Queue>,
}

struct Queue {
    entries: VecDeque<Vec<u8>>,
    bytes: usize,
    waker: Waker,
}

impl Queues {
    /// The token of a name, whose entries `waker` is told of from now on. One queue too
    /// many: `InternalFailure`.
    pub fn register(&self, vm_id: &[u8], name: &[u8], waker: Waker) -> Result<QueueToken, Status> {
        let mut table = self.table();
        let key = (vm_id.to_vec(), name.to_vec());
        if let Some(token) = table.names.get(&key).copied() {
            table.queue(token)?.waker = waker;
            return Ok(token);
        }
        if table.queues.len() >= MOST_QUEUES {
            return Err(Status::InternalFailure);
        }
        table.queues.push(Queue { entries: VecDeque::new(), bytes: 0, waker });
        let token =
            QueueToken::try_from(table.queues.len()).map_err(|_| Status::InternalFailure)?;
        table.names.insert(key, token);
        Ok(token)
    }

    /// The token of a name that somebody has registered. Otherwise: `NotFound`.
    pub fn resolve(&self, vm_id: &[u8], name: &[u8]) -> Result<QueueToken, Status> {
        let key = (vm_id.to_vec(), name.to_vec());
        self.table().names.get(&key).copied().ok_or(Status::NotFound)
    }

    /// Appends an entry and wakes who has registered. Unknown token: `NotFound`; a queue
    /// that is full: `InternalFailure`.
    pub fn enqueue(&self, token: QueueToken, entry: &[u8]) -> Result<(), Status> {
        let waker = self.table().queue(token)?.push(entry)?;
        waker(token);
        Ok(())
    }

    /// Takes the oldest entry. None: `Empty`; unknown token: `NotFound`.
    pub fn dequeue(&self, token: QueueToken) -> Result<Vec<u8>, Status> {
        let mut table = self.table();
        let queue = table.queue(token)?;
        let entry = queue.entries.pop_front().ok_or(Status::Empty)?;
        queue.bytes = queue.bytes.saturating_sub(entry.len());
        Ok(entry)
    }

    /// What a thread that panicked left behind is whole: its lock is taken over.
    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn queue(&mut self, token: QueueToken) -> Result<&mut Queue, Status> {
        let index = usize::try_from(token).ok().and_then(|token| token.checked_sub(1));
        index.and_then(|index| self.queues.get_mut(index)).ok_or(Status::NotFound)
    }
}

impl Queue {
    fn push(&mut self, entry: &[u8]) -> Result<Waker, Status> {
        let bytes = self.bytes.saturating_add(entry.len());
        if self.entries.len() >= MOST_ENTRIES || bytes > MOST_BYTES {
            return Err(Status::InternalFailure);
        }
        self.entries.push_back(entry.to_vec());
        self.bytes = bytes;
        Ok(Arc::clone(&self.waker))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nobody() -> Waker {
        Arc::new(|_| {})
    }

    #[test]
    fn a_name_keeps_its_token_and_its_entries_and_the_last_who_registers_is_woken() {
        let (queues, woken) = (Queues::default(), Arc::new(Mutex::new(Vec::new())));
        let waker = |who: &'static str| -> Waker {
            let woken = Arc::clone(&woken);
            Arc::new(move |token| woken.lock().unwrap().push((who, token)))
        };
        assert_eq!(queues.register(b"v", b"q", waker("first")), Ok(1));
        assert_eq!(queues.register(b"v", b"", nobody()), Ok(2));
        assert_eq!(queues.register(b"w", b"q", nobody()), Ok(3));
        assert_eq!(queues.enqueue(1, b"one"), Ok(()));
        assert_eq!(queues.register(b"v", b"q", waker("second")), Ok(1));
        assert_eq!(queues.enqueue(1, b""), Ok(()));
        assert_eq!(*woken.lock().unwrap(), [("first", 1), ("second", 1)]);
        assert_eq!(queues.dequeue(1), Ok(b"one".to_vec()));
        assert_eq!(queues.dequeue(1), Ok(Vec::new()));
        assert_eq!(queues.dequeue(1), Err(Status::Empty));
    }

    #[test]
    fn what_was_never_registered_is_not_found() {
        let queues = Queues::default();
        assert_eq!(queues.register(b"v", b"q", nobody()), Ok(1));
        assert_eq!(queues.resolve(b"v", b"q"), Ok(1));
        assert_eq!(queues.resolve(b"other", b"q"), Err(Status::NotFound));
        for token in [0, 2, u32::MAX] {
            assert_eq!(queues.enqueue(token, b"x"), Err(Status::NotFound));
            assert_eq!(queues.dequeue(token), Err(Status::NotFound));
        }
    }

    #[test]
    fn a_full_queue_takes_no_more_until_something_is_taken() {
        let queues = Queues::default();
        queues.register(b"", b"entries", nobody()).unwrap();
        queues.register(b"", b"bytes", nobody()).unwrap();
        assert!((0..MOST_ENTRIES).all(|_| queues.enqueue(1, b"").is_ok()));
        assert_eq!(queues.enqueue(1, b""), Err(Status::InternalFailure));
        assert_eq!(queues.enqueue(2, &vec![0; MOST_BYTES]), Ok(()));
        assert_eq!(queues.enqueue(2, b"x"), Err(Status::InternalFailure));
        assert_eq!(queues.dequeue(2).map(|entry| entry.len()), Ok(MOST_BYTES));
        assert_eq!(queues.enqueue(2, b"x"), Ok(()));
    }

    #[test]
    fn one_queue_too_many_is_refused() {
        let queues = Queues::default();
        let register = |n: usize| queues.register(b"v", n.to_string().as_bytes(), nobody());
        assert!((0..MOST_QUEUES).all(|n| register(n).is_ok()));
        assert_eq!(register(MOST_QUEUES), Err(Status::InternalFailure));
        assert_eq!(register(0), Ok(1));
    }
}
