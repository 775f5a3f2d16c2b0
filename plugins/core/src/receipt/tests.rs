//! Receipts in every order: reloads, two roots, two workers, forged slots.

use std::collections::BTreeMap;

use super::slot::{Claim, key};
use super::*;
use crate::secret::Secret;

/// Shared data with Envoy's semantics: a version names one write of the whole process.
#[derive(Default)]
struct Shared {
    values: BTreeMap<String, (Vec<u8>, u32)>,
    writes: u32,
    refuse: bool,
}

impl SharedData for Shared {
    fn read(&mut self, key: &str) -> Option<(Vec<u8>, u32)> {
        self.values.get(key).cloned()
    }

    fn replace(&mut self, key: &str, value: &[u8], version: u32) -> bool {
        let differs = self.values.get(key).is_some_and(|(_, have)| *have != version);
        if differs || self.refuse {
            return false;
        }
        self.writes += 1;
        self.values.insert(key.to_owned(), (value.to_vec(), self.writes));
        true
    }
}

fn keys() -> MacKeys {
    MacKeys::new(Secret::new(vec![7; 32]), None).unwrap()
}

const T0: UnixMillis = UnixMillis(1_000_000);

fn start(gate: &mut Sequence, shared: &mut Shared) -> AuditState {
    gate.state(&keys(), shared, T0)
}

/// The logger takes the log entry of a request.
fn log(seq: Option<&[u8]>, shared: &mut Shared, level: Level) -> Option<Given> {
    let keys = keys();
    let receipts = Receipts::new(&keys);
    let read = receipts.read(seq, shared)?;
    let given = read.given();
    read.give(&receipts, shared, level, T0).then_some(given)
}

fn request(gate: &mut Sequence, shared: &mut Shared, level: Level) -> (AuditState, Option<Given>) {
    let state = start(gate, shared);
    (state, log(gate.next().as_deref(), shared, level))
}

const IN_ORDER: (AuditState, Option<Given>) = (AuditState::Acknowledged, Some(Given::InOrder));

#[test]
fn every_logged_request_is_acknowledged() {
    let (mut gate, mut shared) = (Sequence::new([1; 16]), Shared::default());
    for _ in 0..5 {
        assert_eq!(request(&mut gate, &mut shared, Level::Room), IN_ORDER);
    }
}

#[test]
fn requests_that_overlap_on_a_worker_are_acknowledged() {
    let (mut gate, mut shared) = (Sequence::new([1; 16]), Shared::default());
    for _ in 0..3 {
        assert_eq!(start(&mut gate, &mut shared), AuditState::Acknowledged);
    }
    for _ in 0..3 {
        let seq = gate.next();
        assert_eq!(log(seq.as_deref(), &mut shared, Level::Room), Some(Given::InOrder));
        assert_eq!(start(&mut gate, &mut shared), AuditState::Acknowledged);
    }
}

#[test]
fn a_root_without_a_logger_denies_from_its_second_request_on() {
    let (mut gate, mut shared) = (Sequence::new([1; 16]), Shared::default());
    let mut seen = Vec::new();
    for _ in 0..3 {
        seen.push(start(&mut gate, &mut shared));
        gate.next();
    }
    assert_eq!(seen, [AuditState::Acknowledged, AuditState::Behind, AuditState::Behind]);
}

#[test]
fn a_reloaded_logger_names_the_gap_and_the_gate_recovers() {
    let (mut gate, mut shared) = (Sequence::new([1; 16]), Shared::default());
    assert_eq!(request(&mut gate, &mut shared, Level::Room), IN_ORDER);
    gate.next(); // The logger trapped here.
    assert_eq!(start(&mut gate, &mut shared), AuditState::Behind);
    gate.next(); // And was within its backoff here.
    assert_eq!(
        request(&mut gate, &mut shared, Level::Room),
        (AuditState::Behind, Some(Given::Unlogged { count: 2, root: [1; 16] }))
    );
    assert_eq!(request(&mut gate, &mut shared, Level::Room), IN_ORDER);
}

#[test]
fn two_roots_never_answer_for_each_other() {
    // Same first bytes: both want the same slot.
    let mut other = [1; 16];
    other[15] = 2;
    let (mut a, mut b) = (Sequence::new([1; 16]), Sequence::new(other));
    let mut shared = Shared::default();
    for _ in 0..2 {
        assert_eq!(request(&mut a, &mut shared, Level::Room), IN_ORDER);
        assert_eq!(request(&mut b, &mut shared, Level::Room), IN_ORDER);
    }
    // b's listener loses its logger; only b denies.
    b.next();
    assert_eq!(request(&mut a, &mut shared, Level::Room), IN_ORDER);
    assert_eq!(start(&mut b, &mut shared), AuditState::Behind);
    assert_ne!(a.slot, b.slot);
}

/// Another root wins the slot between the read and the write.
struct Race<'s>(&'s mut Shared, Option<Sequence>);

impl SharedData for Race<'_> {
    fn read(&mut self, key: &str) -> Option<(Vec<u8>, u32)> {
        let before = self.0.read(key);
        if let Some(mut other) = self.1.take() {
            assert_eq!(start(&mut other, self.0), AuditState::Acknowledged);
        }
        before
    }
    fn replace(&mut self, key: &str, value: &[u8], version: u32) -> bool {
        self.0.replace(key, value, version)
    }
}

#[test]
fn two_workers_that_want_one_slot_get_two() {
    let mut other = [1; 16];
    other[15] = 2;
    let (mut gate, mut shared) = (Sequence::new([1; 16]), Shared::default());
    let state = gate.state(&keys(), &mut Race(&mut shared, Some(Sequence::new(other))), T0);
    assert_eq!(state, AuditState::Acknowledged);
    assert_eq!((gate.slot, shared.values.len()), (Some(0x101 % SLOTS + 1), 2));
}

#[test]
fn the_fill_level_travels_with_the_receipt() {
    let (mut gate, mut shared) = (Sequence::new([1; 16]), Shared::default());
    request(&mut gate, &mut shared, Level::FullForWrites);
    assert_eq!(request(&mut gate, &mut shared, Level::Full).0, AuditState::FullForWrites);
    assert_eq!(request(&mut gate, &mut shared, Level::Room).0, AuditState::Full);
    assert_eq!(request(&mut gate, &mut shared, Level::Room), IN_ORDER);
}

#[test]
fn a_forged_copied_or_replayed_slot_denies() {
    let (mut gate, mut shared) = (Sequence::new([1; 16]), Shared::default());
    request(&mut gate, &mut shared, Level::Room);
    let name = key(gate.slot.unwrap());
    let before = shared.values[&name].clone();
    request(&mut gate, &mut shared, Level::Room);
    let good = shared.values[&name].clone();
    let mut flipped = good.clone();
    flipped.0[20] ^= 1;
    let other = MacKeys::new(Secret::new(vec![8; 32]), None).unwrap();
    let mine = Slot { root: [1; 16], count: 2, level: Level::Room, written: T0 };
    for forged in [
        flipped.0,
        before.0,
        Vec::new(),
        b"rubbish".to_vec(),
        mine.seal(&other, &name),
        mine.seal(&keys(), "audit/9"),
        Slot { root: [2; 16], ..mine.clone() }.seal(&keys(), &name),
    ] {
        shared.values.insert(name.clone(), (forged, 99));
        assert_eq!(start(&mut gate, &mut shared), AuditState::Behind);
    }
    shared.values.insert(name, good);
    assert_eq!(start(&mut gate, &mut shared), AuditState::Acknowledged);
}

#[test]
fn a_forged_slot_is_an_alarm_for_the_logger_and_heals() {
    let (mut gate, mut shared) = (Sequence::new([1; 16]), Shared::default());
    request(&mut gate, &mut shared, Level::Room);
    shared.values.insert(key(gate.slot.unwrap()), (b"rubbish".to_vec(), 99));
    assert_eq!(
        request(&mut gate, &mut shared, Level::Room),
        (AuditState::Behind, Some(Given::Forged { root: [1; 16] }))
    );
    assert_eq!(request(&mut gate, &mut shared, Level::Room), IN_ORDER);
}

#[test]
fn a_replayed_malformed_or_absent_count_gets_no_receipt() {
    let (mut gate, mut shared) = (Sequence::new([1; 16]), Shared::default());
    start(&mut gate, &mut shared);
    let seq = gate.next().unwrap();
    assert_eq!(log(Some(&seq), &mut shared, Level::Room), Some(Given::InOrder));
    let outside = Claim { slot: SLOTS, root: [1; 16], count: 2 }.encode();
    let mut version = Claim { slot: gate.slot.unwrap(), root: [1; 16], count: 2 }.encode();
    version[0] = 2;
    for bad in [Some(&seq[..]), Some(&seq[..26]), Some(b""), Some(&outside), Some(&version), None] {
        assert_eq!(log(bad, &mut shared, Level::Room), None);
    }
}

#[test]
fn a_quiet_root_may_lose_its_slot_and_takes_another() {
    let mut other = [1; 16];
    other[15] = 2;
    let (mut a, mut b) = (Sequence::new([1; 16]), Sequence::new(other));
    let mut shared = Shared::default();
    request(&mut a, &mut shared, Level::Room);
    let later = T0.after(DEAD_AFTER);
    assert_eq!(b.state(&keys(), &mut shared, later), AuditState::Acknowledged);
    assert_eq!(a.slot, b.slot);
    assert_eq!(a.state(&keys(), &mut shared, later), AuditState::Acknowledged);
    assert_ne!(a.slot, b.slot);
    // Its count goes on where it was, so nothing looks lost.
    assert_eq!(log(a.next().as_deref(), &mut shared, Level::Room), Some(Given::InOrder));
}

#[test]
fn a_slot_lost_before_the_time_denies_until_then() {
    let (mut a, mut shared) = (Sequence::new([1; 16]), Shared::default());
    request(&mut a, &mut shared, Level::Room);
    let name = key(a.slot.unwrap());
    let old = Slot { root: [9; 16], count: 4, level: Level::Room, written: T0 };
    shared.values.insert(name.clone(), (old.seal(&keys(), &name), 99));
    let soon = T0.after(DEAD_AFTER - Duration::from_millis(1));
    assert_eq!(a.state(&keys(), &mut shared, soon), AuditState::Behind);
    assert_eq!(a.state(&keys(), &mut shared, T0.after(DEAD_AFTER)), AuditState::Acknowledged);
}

#[test]
fn without_a_free_slot_or_a_writable_host_every_request_is_denied() {
    let mut shared = Shared::default();
    for slot in 0..SLOTS {
        let held = Slot { root: [9; 16], count: 0, level: Level::Room, written: T0 };
        shared.values.insert(key(slot), (held.seal(&keys(), &key(slot)), 1));
    }
    let mut gate = Sequence::new([1; 16]);
    assert_eq!(start(&mut gate, &mut shared), AuditState::Behind);
    assert_eq!(gate.next(), None);

    let mut refusing = Shared { refuse: true, ..Shared::default() };
    assert_eq!(start(&mut Sequence::new([1; 16]), &mut refusing), AuditState::Behind);
}

#[test]
fn a_claim_reads_back_as_written() {
    let claim = Claim { slot: 1023, root: [3; 16], count: u64::MAX };
    assert_eq!(Claim::decode(&claim.encode()), Some(claim));
}
