//! The table: nothing is lost between workers, and what is full or forged is told.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use proptest::prelude::*;
use sha2::{Digest, Sha256};

use super::*;
use crate::secret::Secret;

const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

type Data = BTreeMap<String, (Vec<u8>, u32)>;

/// Shared data of a host, seen by several workers. Of its writes, those on the list are lost to
/// another worker that is faster.
#[derive(Clone, Default)]
struct Host {
    data: Rc<RefCell<Data>>,
    races: Rc<RefCell<Vec<bool>>>,
}

impl SharedData for Host {
    fn read(&mut self, key: &str) -> Option<(Vec<u8>, u32)> {
        self.data.borrow().get(key).cloned()
    }

    fn replace(&mut self, key: &str, value: &[u8], version: u32) -> bool {
        if self.races.borrow_mut().pop() == Some(true) {
            // The same value, written by somebody else: a new version.
            if let Some((_, version)) = self.data.borrow_mut().get_mut(key) {
                *version += 1;
            }
        }
        let mut data = self.data.borrow_mut();
        let now = data.get(key).map_or(ABSENT, |(_, version)| *version);
        let fits = now == version;
        let next = if now == ABSENT { 1 } else { now + 1 };
        fits.then(|| data.insert(key.to_owned(), (value.to_vec(), next)));
        fits
    }
}

fn table() -> Table {
    Table::new(MacKeys::new(Secret::new(vec![5; 32]), None).unwrap())
}

fn key(name: &str) -> [u8; 32] {
    Sha256::digest(name).into()
}

/// The slot of a key, for who has the keys of [`table`].
fn place(key: &[u8; 32]) -> u16 {
    let [high, low, ..] = table().keys.sign(PLACE, &[key]);
    u16::from_be_bytes([high, low]) % SLOTS
}

fn add(entry: Entry) -> Option<Entry> {
    Some(Entry { until: UnixMillis(NOW.0 + 1000), value: entry.value + 1 })
}

fn value(table: &mut Table, host: &mut Host, key: &[u8; 32], now: UnixMillis) -> u64 {
    let mut seen = 0;
    let updated = table.update(key, host, now, &mut |entry| {
        seen = entry.value;
        None
    });
    assert_eq!(updated, Updated::Left);
    seen
}

#[test]
fn workers_see_each_others_changes_until_their_time_is_over() {
    let mut host = Host::default();
    let (mut one, mut other) = (table(), table());
    for _ in 0..3 {
        assert_eq!(one.update(&key("a"), &mut host, NOW, &mut add), Updated::Done);
        assert_eq!(other.update(&key("a"), &mut host, NOW, &mut add), Updated::Done);
    }
    assert_eq!(value(&mut one, &mut host, &key("a"), NOW), 6);
    assert_eq!(value(&mut one, &mut host, &key("b"), NOW), 0);
    assert_eq!(value(&mut other, &mut host, &key("a"), UnixMillis(NOW.0 + 999)), 6);
    assert_eq!(value(&mut other, &mut host, &key("a"), UnixMillis(NOW.0 + 1000)), 0);
}

#[test]
fn a_slot_that_is_full_has_no_room_for_another_key_until_one_is_over() {
    let mut host = Host::default();
    let mut table = table();
    let all = (0_u32..).map(|number| key(&number.to_string()));
    let of_slot: Vec<[u8; 32]> = all.filter(|key| place(key) == 7).take(MOST + 1).collect();
    for key in &of_slot[..MOST] {
        assert_eq!(table.update(key, &mut host, NOW, &mut add), Updated::Done);
    }
    assert_eq!(table.update(&of_slot[MOST], &mut host, NOW, &mut add), Updated::Full);
    assert_eq!(table.update(&of_slot[0], &mut host, NOW, &mut add), Updated::Done);
    let later = UnixMillis(NOW.0 + 1000);
    assert_eq!(table.update(&of_slot[MOST], &mut host, later, &mut add), Updated::Done);
    assert_eq!(host.data.borrow().len(), 1);
}

#[test]
fn what_others_have_written_or_put_back_is_forged() {
    let mut host = Host::default();
    let mut table = table();
    let update = |table: &mut Table, host: &mut Host| table.update(&key("a"), host, NOW, &mut add);
    assert_eq!(update(&mut table, &mut host), Updated::Done);
    let (name, (first, _)) = host.data.borrow().first_key_value().unwrap().clone_pair();
    assert_eq!(update(&mut table, &mut host), Updated::Done);
    let mut put = |bytes: &[u8], version| {
        host.data.borrow_mut().insert(name.clone(), (bytes.to_vec(), version));
        update(&mut table, &mut host)
    };
    assert_eq!(put(&first, 9), Updated::Forged);
    assert_eq!(put(b"", 10), Updated::Forged);
    assert_eq!(put(&[0; 40], 11), Updated::Forged);
    let mut other = first.clone();
    other[10] ^= 1;
    assert_eq!(put(&other, 12), Updated::Forged);
    // Another slot's value does not open here.
    let key = key("b");
    assert_ne!(place(&key), place(&self::key("a")));
    let elsewhere = BTreeMap::from([(format!("tally/{}", place(&key)), (first.clone(), 1))]);
    let mut host = Host { data: Rc::new(RefCell::new(elsewhere)), races: Rc::default() };
    let mut fresh = self::table();
    assert_eq!(fresh.update(&key, &mut host, NOW, &mut add), Updated::Forged);
}

trait ClonePair<K, V> {
    fn clone_pair(self) -> (K, V);
}

impl<K: Clone, V: Clone> ClonePair<K, V> for (&K, &V) {
    fn clone_pair(self) -> (K, V) {
        (self.0.clone(), self.1.clone())
    }
}

/// A host that does not write.
struct Deaf;

impl SharedData for Deaf {
    fn read(&mut self, _: &str) -> Option<(Vec<u8>, u32)> {
        None
    }

    fn replace(&mut self, _: &str, _: &[u8], _: u32) -> bool {
        false
    }
}

#[test]
fn a_host_that_does_not_write_changes_nothing() {
    assert_eq!(table().update(&key("a"), &mut Deaf, NOW, &mut add), Updated::Unwritten);
}

proptest! {
    /// However writes of several workers fall, each change that is done counts once.
    #[test]
    fn no_change_is_lost_or_counts_twice(
        turns in prop::collection::vec(0..3usize, 1..60),
        races in prop::collection::vec(any::<bool>(), 0..120),
    ) {
        let mut host = Host::default();
        let mut workers = [table(), table(), table()];
        let mut done = 0;
        *host.races.borrow_mut() = races;
        for turn in turns {
            let updated = workers[turn].update(&key("a"), &mut host, NOW, &mut add);
            match updated {
                Updated::Done => done += 1,
                Updated::Unwritten => {}
                other => prop_assert!(false, "{other:?}"),
            }
        }
        host.races.borrow_mut().clear();
        prop_assert_eq!(value(&mut workers[0], &mut host, &key("a"), NOW), done);
    }
}
