//! Shared data of one `vm_id`: keys with a compare-and-swap number, across all machines.
//!
//! Envoy's rules: 0 writes whatever is there; a key that does not exist takes any number;
//! nothing is ever deleted.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::view::Status;

/// Locks, so that machines on different keys seldom wait for each other.
const SHARDS: usize = 16;

type Shard = HashMap<Vec<u8>, (Vec<u8>, u32)>;

/// Shared data; put one behind an `Arc` for each `vm_id`.
#[derive(Default)]
pub struct SharedData {
    hasher: RandomState,
    shards: [Mutex<Shard>; SHARDS],
}

impl SharedData {
    /// Value and number of a key; `NotFound` if it was never written.
    pub fn read(&self, key: &[u8]) -> Result<(Vec<u8>, u32), Status> {
        self.shard(key).get(key).cloned().ok_or(Status::NotFound)
    }

    /// Writes a key; `CasMismatch` if `cas` is neither 0 nor its number.
    pub fn write(&self, key: &[u8], value: &[u8], cas: u32) -> Result<(), Status> {
        let mut shard = self.shard(key);
        let Some(entry) = shard.get_mut(key) else {
            shard.insert(key.to_vec(), (value.to_vec(), 1));
            return Ok(());
        };
        if cas != 0 && cas != entry.1 {
            return Err(Status::CasMismatch);
        }
        // Never 0, which would mean "whatever is there".
        *entry = (value.to_vec(), entry.1.checked_add(1).unwrap_or(1));
        Ok(())
    }

    /// A writer that panicked left a whole entry behind, so its lock is taken over.
    fn shard(&self, key: &[u8]) -> MutexGuard<'_, Shard> {
        let index = (self.hasher.hash_one(key) as usize) % SHARDS;
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_number_does_not_overwrite() {
        let data = SharedData::default();
        assert_eq!(data.read(b"k"), Err(Status::NotFound));
        assert_eq!(data.write(b"k", b"one", 7), Ok(()));
        let (_, first) = data.read(b"k").unwrap();
        assert_eq!(data.write(b"k", b"two", first), Ok(()));
        assert_eq!(data.write(b"k", b"three", first), Err(Status::CasMismatch));
        assert_eq!(data.write(b"k", b"four", 0), Ok(()));
        assert_eq!(data.read(b"k").unwrap().0, b"four");
    }

    #[test]
    fn no_increment_of_many_threads_is_lost() {
        let data = SharedData::default();
        let add = || {
            for _ in 0..500 {
                while {
                    let (value, cas) = data.read(b"n").unwrap_or((vec![0; 4], 0));
                    let n = u32::from_le_bytes(value.try_into().unwrap()) + 1;
                    data.write(b"n", &n.to_le_bytes(), cas).is_err()
                } {}
            }
        };
        data.write(b"n", &[0; 4], 0).unwrap();
        std::thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(add))));
        assert_eq!(data.read(b"n").unwrap().0, 2000u32.to_le_bytes());
    }
}
