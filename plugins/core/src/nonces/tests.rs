//! The table of nonces: once is good, twice is not, and what is full or forged refuses.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use sha2::{Digest, Sha256};

use super::*;
use crate::secret::Secret;

const MEMORY: Duration = Duration::from_secs(36);
const START: u64 = 36_000 * 50_000;

type Data = BTreeMap<String, (Vec<u8>, u32)>;

/// Shared data of a host, seen by several workers.
#[derive(Clone, Default)]
struct Host(Rc<RefCell<Data>>);

impl SharedData for Host {
    fn read(&mut self, key: &str) -> Option<(Vec<u8>, u32)> {
        self.0.borrow().get(key).cloned()
    }

    fn replace(&mut self, key: &str, value: &[u8], version: u32) -> bool {
        let mut data = self.0.borrow_mut();
        let now = data.get(key).map_or(ABSENT, |(_, version)| *version);
        let next = if now == ABSENT { 1 } else { now + 1 };
        let fits = now == version;
        fits.then(|| data.insert(key.to_owned(), (value.to_vec(), next)));
        fits
    }
}

/// Between a worker's reading and its writing another one meets the same nonce.
struct Race<'a> {
    host: Host,
    other: &'a mut Table,
    hash: [u8; 32],
    rounds: usize,
    met: Vec<Met>,
}

impl SharedData for Race<'_> {
    fn read(&mut self, key: &str) -> Option<(Vec<u8>, u32)> {
        let read = self.host.read(key);
        if self.rounds > 0 {
            self.rounds -= 1;
            self.met.push(self.other.meet(&self.hash, &mut self.host, UnixMillis(START)));
        }
        read
    }

    fn replace(&mut self, key: &str, value: &[u8], version: u32) -> bool {
        self.host.replace(key, value, version)
    }
}

struct Deaf;

impl SharedData for Deaf {
    fn read(&mut self, _: &str) -> Option<(Vec<u8>, u32)> {
        None
    }

    fn replace(&mut self, _: &str, _: &[u8], _: u32) -> bool {
        false
    }
}

fn worker() -> Table {
    Table::new(keys(3), MEMORY)
}

fn keys(byte: u8) -> MacKeys {
    MacKeys::new(Secret::new(vec![byte; 32]), None).unwrap()
}

fn hash(nonce: u32) -> [u8; 32] {
    Sha256::digest(nonce.to_be_bytes()).into()
}

/// A nonce whose slot is the first.
fn in_slot_zero(nonce: u32) -> [u8; 32] {
    let mut hash = hash(nonce);
    hash[..2].fill(0);
    hash
}

#[test]
fn a_nonce_is_new_once_whichever_worker_meets_it() {
    let (mut host, mut first, mut second) = (Host::default(), worker(), worker());
    let at = UnixMillis(START);
    for nonce in 0..3000 {
        assert_eq!(first.meet(&hash(nonce), &mut host, at), Met::New, "{nonce}");
        assert_eq!(first.meet(&hash(nonce), &mut host, at), Met::Before, "{nonce}");
        assert_eq!(second.meet(&hash(nonce), &mut host, at), Met::Before, "{nonce}");
    }
    assert!(host.0.borrow().len() <= usize::from(SLOTS));
}

#[test]
fn it_is_remembered_at_least_as_long_as_asked_and_not_for_ever() {
    for begun in [0, 1, 17_999, 18_000, 35_999] {
        let (mut host, mut table) = (Host::default(), worker());
        let begun = START + begun;
        assert_eq!(table.meet(&hash(1), &mut host, UnixMillis(begun)), Met::New);
        for later in [0, 1, 20_000, 36_000] {
            let at = UnixMillis(begun + later);
            assert_eq!(table.meet(&hash(1), &mut host, at), Met::Before, "{begun} + {later}");
        }
        let at = UnixMillis(begun + 72_000);
        assert_eq!(table.meet(&hash(1), &mut host, at), Met::New);
    }
}

#[test]
fn a_clock_that_steps_back_forgets_nothing() {
    let (mut host, mut table) = (Host::default(), worker());
    assert_eq!(table.meet(&hash(1), &mut host, UnixMillis(START)), Met::New);
    assert_eq!(table.meet(&hash(1), &mut host, UnixMillis(START - 90_000)), Met::Before);
    assert_eq!(table.meet(&hash(1), &mut host, UnixMillis(START + 1)), Met::Before);
    let year = 365 * 86_400_000;
    let mut host = Host::default();
    let mut meet =
        |nonce: u32, at: u64| table.meet(&in_slot_zero(nonce), &mut host, UnixMillis(at));
    (0..128).for_each(|nonce| assert_eq!(meet(nonce, START + year), Met::New));
    assert_eq!(meet(128, START + year), Met::Full);
    assert_eq!(meet(128, START), Met::Full);
    assert_eq!(meet(128, START + 36_000), Met::New, "a clock that was wrong locks nobody out");
    assert_eq!(meet(5, START + 36_000), Met::Before);
    assert_eq!(meet(5, START + 72_000), Met::New);
}

#[test]
fn of_two_workers_at_once_one_is_refused() {
    let (mut one, mut other) = (worker(), worker());
    let hash = hash(1);
    let mut race =
        Race { host: Host::default(), other: &mut other, hash, rounds: 1, met: Vec::new() };
    assert_eq!(one.meet(&hash, &mut race, UnixMillis(START)), Met::Before);
    assert_eq!(race.met, [Met::New]);
}

#[test]
fn a_full_slot_refuses_until_its_generation_has_passed() {
    let (mut host, mut table) = (Host::default(), worker());
    let mut meet =
        |nonce: u32, at: u64| table.meet(&in_slot_zero(nonce), &mut host, UnixMillis(START + at));
    for nonce in 0..128 {
        assert_eq!(meet(nonce, 0), Met::New);
    }
    assert_eq!(meet(128, 0), Met::Full);
    assert_eq!(meet(3, 0), Met::Before);
    assert_eq!(meet(128, 36_000), Met::New, "the next generation has room of its own");
    assert_eq!(meet(3, 36_000), Met::Before);
}

#[test]
fn a_value_that_is_not_ours_is_no_memory() {
    let (mut host, mut table) = (Host::default(), worker());
    let at = UnixMillis(START);
    assert_eq!(table.meet(&in_slot_zero(1), &mut host, at), Met::New);
    let sealed = host.read("nonce/0").unwrap();
    let mut bad = vec![Vec::new(), vec![0; 200], sealed.0[1..].to_vec()];
    for place in [0, 9, 16, 17, 30, sealed.0.len() - 1] {
        let mut other = sealed.0.clone();
        other[place] ^= 1;
        bad.push(other);
    }
    bad.push(Slot::default().seal(&keys(4), "nonce/0"));
    bad.push(Slot::default().seal(&keys(3), "nonce/1"));
    for value in bad {
        host.0.borrow_mut().insert("nonce/0".into(), (value, 9));
        assert_eq!(table.meet(&in_slot_zero(2), &mut host, at), Met::Forged);
        assert_eq!(worker().meet(&in_slot_zero(2), &mut host, at), Met::Forged);
    }
}

#[test]
fn a_value_put_back_to_an_earlier_one_is_noticed_by_who_saw_the_later() {
    let (mut host, mut table) = (Host::default(), worker());
    let at = UnixMillis(START);
    assert_eq!(table.meet(&in_slot_zero(1), &mut host, at), Met::New);
    let before = host.read("nonce/0").unwrap();
    assert_eq!(table.meet(&in_slot_zero(2), &mut host, at), Met::New);
    host.0.borrow_mut().insert("nonce/0".into(), before);
    assert_eq!(table.meet(&in_slot_zero(2), &mut host, at), Met::Forged);
    host.0.borrow_mut().remove("nonce/0");
    assert_eq!(table.meet(&in_slot_zero(2), &mut host, at), Met::Forged);
}

#[test]
fn a_host_that_does_not_write_makes_nothing_new() {
    assert_eq!(worker().meet(&hash(1), &mut Deaf, UnixMillis(START)), Met::Unwritten);
}
